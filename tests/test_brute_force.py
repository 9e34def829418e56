"""Every mode and method against the bilevel optimum found by enumeration (``brute_force``)."""

import functools
import importlib.util
import math
from collections import Counter

import brute_force
import numpy as np
import pytest
from follower_lp import follower_lp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from proofs import hourly_search, native_hours, part_programs, whole_search
from small_cases import small_instance

from model.bounds import safe_bound
from model.certificate import FEASIBILITY, Certificate, certify
from model.problem import Problem
from model.program import Program, compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.auto import welfare

# The enumeration's conic programs often have no interior; their solvers are then good for about this much.
ENUMERATED = 1e-5
GAP = 1e-5
RUNS = [
    ("big_m", "auto"),
    ("big_m", "highs"),
    ("big_m", "gurobi"),
    ("sos1", "gurobi"),
    ("strong_duality", "gurobi"),
]
if importlib.util.find_spec("pyscipopt"):
    RUNS += [("big_m", "scip"), ("sos1", "scip"), ("strong_duality", "scip")]
# What the certificate accepts must be right, whichever method found it. In these tests the project's own
# methods must also certify every case; a longer campaign counts what they leave open.
OWN = ("auto", "highs")
# Shards run in parallel; each draws seeds of its own.
SHARDS, DRAWS = 6, 6
STOPPED_EARLY = (2008, 2016, 2018, 2024, 2030)
ONCE_FAILED = {
    36: "a network of one bus has no lines: KeyError",
    47: "ramps: the default method left a gap of 20 %",
    56: "a network of one bus, two ADNs that trade",
    82: "an optimum on a price kink that the interior point missed by 2e-7 p.u.: gap 12 %",
    129: "trade without a fee: the enumeration's own solvers are unsure",
    165: "a negative tariff: Gurobi's point violates the rows",
    178: "SCIP's objective is not the payments",
    1161675: "SCIP's follower errs by 4e-5 $ of 88 $, all of it to the leaders' good",
    10043: "the bound lies 2e-6 $ above the objective of a point feasible to 1e-8 p.u.",
    10074: "the enumeration leaves itself 1e-8 MW at 1000 $/MWh",
    10134: "a dispatch out of balance by 7e-8 MW at 1000 $/MWh",
    30257: "Gurobi's bound is 1e-5 $ too high, 10 $/MWh times 1e-6 MW",
    1911639: "Clarabel's point misses its rows by 8e-9 p.u., and costs a millionth less than its bound",
    10001: "SCIP's price is wrong by 3e-6 $ in the follower, 5e-3 $ to the leaders: a ramp almost binds",
}


def run(problem: Problem, program: Program, method: str) -> Certificate:
    limit = 20.0 if method in OWN else 3.0
    return certify(problem, program, solve(problem, program, method, GAP, limit), GAP)


def check(seed: int, runs=RUNS) -> dict[str, str]:
    """Compare every run on one case with its bilevel optimum; the statuses by run.

    Raises ArithmeticError where the enumeration's own solvers do not agree.
    """
    case = small_instance(seed)
    optimum = brute_force.solve(case)
    scale = max(abs(optimum.cost), 1.0)
    # A point feasible to the certificate's tolerance may cost less than any feasible one, by what that power
    # is worth; the enumeration leaves itself some room too.
    worth = float(np.abs(optimum.prices).sum()) * case.n_adns
    tolerated = FEASIBILITY * case.base_mva * worth
    below = ENUMERATED * scale + tolerated
    above = ENUMERATED * scale + brute_force.TOUCH * worth
    told = {}
    built = {mode: build(case, mode=mode) for mode in dict.fromkeys(mode for mode, _ in runs)}
    compiled = {mode: compile_model(problem.m) for mode, problem in built.items()}
    for mode, method in runs:
        certificate = run(built[mode], compiled[mode], method)
        where = f"seed {seed}, {mode}, {method}: {certificate}, enumerated {optimum}"
        told[f"{method} {mode}"] = certificate.status
        if math.isinf(optimum.cost):
            assert certificate.status == "infeasible" or method not in OWN, where
            assert certificate.status not in ("certified", "gap_limit"), where
            continue
        if certificate.status == "error":
            assert certificate.message, where
            continue
        if certificate.bound is not None:
            # A solver that branches keeps its rows, cuts and cones to a tolerance too: its bound is its word.
            unproven = tolerated if certificate.bound_by == "solver" else 0.0
            assert certificate.bound <= optimum.cost + above + unproven, where
        if certificate.objective is not None:
            assert certificate.objective >= optimum.cost - below, where
        if certificate.status == "certified":
            assert certificate.objective <= optimum.cost + GAP * scale + above, where
    return told


@pytest.mark.long
@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_cases_that_once_failed(seed):
    assert_own_certify(seed, check(seed))


def assert_own_certify(seed: int, told: dict[str, str]) -> None:
    own = {status for name, status in told.items() if name.split()[0] in OWN}
    assert own == {"certified"} or own == {"infeasible"}, f"seed {seed}: {told}"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(14))
def test_the_default_method_finds_the_optimum_in_every_mode(seed):
    """It needs no mode's complementarities, unless ramps join the hours: then it branches on big-M's."""
    told = check(seed, [("sos1", "auto"), ("strong_duality", "auto")])
    if any(gen.ramp_mw_per_h is not None for gen in small_instance(seed).transmission.gens):
        assert set(told.values()) <= {"certified", "gap_limit"}, told
    else:
        assert_own_certify(seed, told)


def test_the_cases_are_as_small_and_as_varied_as_they_should_be():
    """At most six binaries are a choice of the leaders, in at most two hours."""
    cases = [small_instance(seed) for seed in range(200)]
    sizes = [brute_force.Leaders(case, relaxed=False).n_binaries for case in cases]
    assert max(sizes) == 6 and min(sizes) >= 1
    assert {(case.n_adns, case.hours) for case in cases} == {(1, 1), (1, 2), (2, 1)}
    assert {len(case.transmission.buses) for case in cases} == {1, 2, 3}
    assert {case.settlement for case in cases} == {"lmp", "tariff"}


@functools.cache
def enumerated(seed: int) -> brute_force.Optimum:
    return brute_force.solve(small_instance(seed))


@pytest.mark.long
@pytest.mark.parametrize(("mode", "method"), [run for run in RUNS if run[1] != "auto"])
def test_a_solver_that_stops_early_gives_its_bound_and_not_its_point(mode, method):
    """Asked for a gap of 90 % only, on cases of which each solver leaves some open."""
    left = []
    for seed in STOPPED_EARLY:
        problem = build(small_instance(seed), mode=mode)
        program = compile_model(problem.m)
        outcome = solve(problem, program, method, 0.9, 5.0)
        if outcome.x is None or outcome.bound is None:
            continue
        optimum = enumerated(seed).cost
        scale = max(abs(optimum), 1.0)
        assert outcome.bound <= optimum + ENUMERATED * scale, f"seed {seed}"
        left.append(program.objective(outcome.x) - outcome.bound > 1e-2 * scale)
    assert sum(left) >= 1


@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_mode_and_method_finds_the_enumerated_optimum(shard):
    solved: Counter[str] = Counter()

    @settings(max_examples=DRAWS, derandomize=True, deadline=None, phases=[Phase.generate])
    @given(st.integers(1000, 10**9))
    def compare(seed):
        told = check(seed * SHARDS + shard)
        assert_own_certify(seed * SHARDS + shard, told)
        solved.update(name for name, status in told.items() if status in ("certified", "infeasible"))

    compare()
    # Others may run out of time on a busy machine now and then, none may live on its errors.
    assert solved.keys() == {f"{method} {mode}" for mode, method in RUNS}
    assert min(solved.values()) >= DRAWS - 2, solved


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_left_out_by_the_enumerations_own_pruning(seed):
    case = small_instance(seed)
    pruned, whole = brute_force.solve(case), brute_force.solve(case, exhaustive=True)
    assert whole.n_programs >= pruned.n_programs
    assert pruned.cost == pytest.approx(whole.cost, rel=ENUMERATED, abs=ENUMERATED)


@pytest.mark.parametrize("seed", range(30))
def test_the_planes_are_the_followers_cost_and_its_prices(seed):
    """At loads far and near: the highest plane is phi by scipy, and its prices are a subgradient."""
    case = small_instance(seed)
    rng = np.random.default_rng(seed)
    low, high = brute_force.reach(case)
    ramping = any(gen.ramp_mw_per_h is not None for gen in case.transmission.gens)
    groups = [list(range(case.hours))] if ramping else [[t] for t in range(case.hours)]
    planes = [brute_force.planes_at_hosts(case, own, low[:, own], high[:, own]) for own in groups]
    for load in rng.uniform(low, high, (5, *low.shape)):
        tops = [
            max((float(np.sum(p.lam * load[:, own]) + p.value), k) for k, p in enumerate(known))
            for own, known in zip(groups, planes, strict=True)
        ]
        row = {bus.bus_i: n for n, bus in enumerate(case.transmission.buses)}
        at = [row[i] for i in brute_force.hosts(case)]
        served = np.array([bus.pd_mw for bus in case.transmission.buses], dtype=float)
        served[at] += load
        cost, prices = follower_lp(case, served)
        assert sum(top for top, _ in tops) == pytest.approx(cost, rel=1e-8, abs=1e-7)
        ours = np.zeros_like(load)
        for own, known, (_, k) in zip(groups, planes, tops, strict=True):
            ours[:, own] = known[k].lam
        assert ours == pytest.approx(prices[at], abs=1e-6), "at a random load the price is unique"


@pytest.mark.long
@pytest.mark.parametrize("seed", [17, 35, 82, 105, 117, 119])
def test_no_dual_vector_proves_more_than_the_enumerated_optimum(seed):
    assert check_bound(seed) == "price regions"


@pytest.mark.long
@pytest.mark.parametrize("seed", [3, 4, 40, 82])
def test_no_dual_vector_proves_more_with_the_hours_apart_either(seed):
    told = check_hours_apart(seed)
    # A proof that holds may have no point that meets it: the search over the whole finds that one.
    assert told == "price regions" or seed == 82 and told == "price regions, a gap left open"


def check_hours_apart(seed: int) -> str:
    """The same where an outcome has a point and hours that are apart, else ``none`` or ``relaxation``."""
    problem = build(small_instance(seed))
    first = welfare(problem, compile_model(problem.m), GAP, 20.0, lambda told: None)
    return "none" if first.x is None else check_bound(seed, hourly_search)


def check_bound(seed: int, search=whole_search) -> str:
    """Every part of a proof disturbed at random: the least of their bounds stays below the optimum.

    Returns what the proof is made of: ``price regions``, the ``relaxation`` alone, or ``none``.
    """
    case = small_instance(seed)
    optimum = brute_force.solve(case)
    problem = build(case)
    program = compile_model(problem.m)
    outcome = search(problem, program, GAP, 20.0)
    if not outcome.parts:
        assert math.isinf(optimum.cost), f"seed {seed}"
        return "none"
    nodes = part_programs(problem, program, outcome, native_hours(problem, program))
    rng = np.random.default_rng(seed)
    slack = ENUMERATED * max(abs(optimum.cost), 1.0)
    proven = [
        min(
            safe_bound(
                node,
                part.row_duals + noise * rng.standard_normal(len(part.row_duals)),
                part.cone_duals + noise * rng.standard_normal(len(part.cone_duals)),
            )
            for part, node in zip(outcome.parts, nodes, strict=True)
        )
        for noise in np.repeat([0.0, 1e-6, 1e-3, 1.0, 1e3], 20)
    ]
    assert max(proven) <= optimum.cost + slack, f"seed {seed}"
    if not outcome.trees:
        return "relaxation"
    if certify(problem, program, outcome, GAP).status != "certified":
        return "price regions, a gap left open"
    assert proven[0] >= optimum.cost - 2 * slack, f"seed {seed}: undisturbed, they prove it"
    return "price regions"
