"""The decomposition by ADN and hour: blocks, cuts, points, workers, and what the certificate makes of
them.
"""

import os
import signal
import time
from dataclasses import replace

import brute_force
import numpy as np
import pytest
from small_cases import small_instance
from toys import relay, toy

from generators import instance
from model.bounds import safe_bound
from model.certificate import certify
from model.data import InputError
from model.hour_blocks import Cuts, blocks_of, cut_rows, with_cuts
from model.price_hull import hour_loads
from model.program import compile_model
from model.schemes import build
from model.solvers import auto, solve, workers
from model.solvers.decomposed import Decomposed
from model.solvers.hour_market import HourMarket
from model.solvers.price_regions import applies
from model.solvers.recourse import Recourse
from model.solvers.relaxation import solve_relaxation
from model.solvers.warm import Warm
from model.solvers.workers import Cluster, Here

TOYS = {"two": toy(2, 3), "congested": toy(3, 2, rate_mw=4.0), "relay": relay(), "one hour": toy(2, 1)}


def silent(message):
    pass


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


@pytest.fixture(scope="module", params=TOYS)
def recourse(request):
    problem, program = compiled(TOYS[request.param])
    markets = {t: HourMarket(problem, program, t) for t in range(problem.instance.hours)}
    native = {t: market.solve(np.zeros(len(market.host_rows)))[0] for t, market in markets.items()}
    own = Recourse(problem, program, hour_loads(problem, program, native), markets)
    own.workers = Here(own.feeders)
    own.trial(np.zeros(len(own.blocks.of_column)))
    return own


def some_points(program, n, seed=0):
    """Points of a relaxation, each the best at other costs of what cannot be negative."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        dearer = np.where(program.lower >= 0, 300 * rng.random(len(program.c)), 0.0)
        found = solve_relaxation(replace(program, c=program.c + dearer))
        assert found.status == "solved"
        yield found.x


# Blocks.


def test_every_own_column_row_and_cone_belongs_to_one_block_and_energy_joins_hours(recourse):
    blocks, problem, program = recourse.blocks, recourse.problem, recourse.program
    own = np.concatenate(blocks.columns)
    assert len(np.unique(own)) == len(own) == (blocks.of_column >= 0).sum()
    for d, b in problem.m.feeder.items():
        for variable in (b.charge, b.discharge, b.energy, b.charging, b.P_boundary):
            assert (blocks.of_column[program.columns[variable.name]] < 0).all(), variable.name
        for variable in (b.P, b.l, b.pv_p, b.grid_import, b.selling, b.p_import):
            at = blocks.of_column[program.columns[variable.name]].reshape(-1, blocks.hours)
            assert (at == d * blocks.hours + np.arange(blocks.hours)).all(), variable.name
    assert (blocks.of_column[program.columns["x"]] < 0).all()
    # Rows and cones hold own columns of their block only, shared rows none.
    p = blocks.program
    for matrix, owner in ((p.A, blocks.of_row), (p.cone_A, blocks.of_cone_row)):
        entry = matrix.tocoo()
        inside = blocks.of_column[entry.col] >= 0
        assert (blocks.of_column[entry.col][inside] == owner[entry.row][inside]).all()


def test_totals_in_place_of_trades_leave_the_relaxation_as_it_is(recourse):
    relaxed = solve_relaxation(recourse.program.relaxed())
    total = solve_relaxation(recourse.blocks.program)
    value = recourse.program.objective(relaxed.x)
    assert recourse.blocks.program.objective(total.x) == pytest.approx(value, rel=1e-6, abs=1e-5)


def test_the_shared_columns_of_a_point_meet_the_shared_program(recourse):
    """With eta the blocks' costs at that point, the cost is the same and no row is missed."""
    blocks = recourse.blocks
    for x in some_points(blocks.program, 5):
        s = shared_point(blocks, x)
        program = recourse.relaxation
        assert program.objective(s) == pytest.approx(blocks.program.objective(x), rel=1e-9, abs=1e-7)
        assert program.box_misses(s).max() < 1e-6
        # A cut has the cost of a megawatt-hour as a coefficient, and the point its solver's tolerance.
        assert np.maximum(program.row_lower - program.A @ s, 0).max() < 1e-3


def shared_point(blocks, x):
    own = np.where(blocks.of_column >= 0, blocks.program.c * x, 0.0)
    eta = np.bincount(blocks.of_column[blocks.of_column >= 0], own[blocks.of_column >= 0], blocks.n_blocks)
    return np.append(x[blocks.shared], eta)


# Cuts.


@pytest.mark.parametrize("seed", range(5))
def test_no_dual_vector_makes_a_cut_that_a_feasible_point_violates(recourse, seed):
    """Right, disturbed, or drawn at random."""
    blocks, rng = recourse.blocks, np.random.default_rng(seed)
    known = recourse.cuts
    size = rng.choice([0.0, 1e-3, 1.0, 100.0])
    drawn = rng.random() < 0.5
    cuts = Cuts(
        known.block,
        [(0.0 if drawn else y) + size * rng.normal(size=len(y)) for y in known.row_duals],
        [(0.0 if drawn else z) + size * rng.normal(size=len(z)) for z in known.cone_duals],
    )
    sides, coefficients = cut_rows(blocks, cuts)
    assert np.isfinite(sides).all()
    for x in some_points(blocks.program, 3, seed):
        beyond = sides - coefficients @ shared_point(blocks, x)
        # What the point's solver leaves, 1e-7 p.u. or so, times the vector's size.
        limit = [1e-5 * (1 + np.abs(y).sum() + np.abs(z).sum()) for y, z in zip(*cuts_of(cuts), strict=True)]
        assert (beyond <= limit).all()


def cuts_of(cuts):
    return cuts.row_duals, cuts.cone_duals


def test_a_cut_is_tight_where_it_was_taken(recourse):
    s = np.zeros(len(recourse.blocks.of_column))
    trial = recourse.trial(s)
    at = np.append(trial.s[recourse.blocks.shared], trial.own_cost)
    p, n = recourse.relaxation, len(recourse.base.row_lower)
    slack = p.A[n:] @ at - p.row_lower[n:]
    last = {b: k for k, b in enumerate(recourse.cut_block)}
    assert max(abs(slack[k]) for k in last.values()) < 1e-4 * max(trial.value, 1.0)


def test_vectors_that_do_not_fit_or_overflow(recourse):
    cuts = recourse.cuts
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(recourse.blocks, replace(cuts, row_duals=[y[:-1] for y in cuts.row_duals]))
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(recourse.blocks, replace(cuts, block=cuts.block + recourse.blocks.n_blocks))
    huge = replace(cuts, row_duals=[np.full_like(y, 1e308) for y in cuts.row_duals])
    assert (cut_rows(recourse.blocks, huge)[0] == -np.inf).all()


def test_the_bound_of_the_shared_program_rises_to_the_welfare_bound(recourse):
    """Cuts at the relaxation's own point close it, up to the price range in which they hold the power."""
    relaxed = solve_relaxation(recourse.blocks.program)
    value = recourse.blocks.program.objective(relaxed.x)
    for _ in range(12):
        warm = Warm(len(recourse.base.c))
        found = warm.solve(recourse.relaxation, ([], []), 60.0)
        bound = safe_bound(recourse.relaxation, found.row_duals, np.zeros(0))
        assert bound <= value + 1e-6 * max(abs(value), 1.0)
        recourse.trial(recourse.proposal(found.x))
    assert bound == pytest.approx(value, rel=1e-3)


# The method.


@pytest.mark.parametrize("name", TOYS)
def test_the_method_agrees_with_the_default_one(name):
    problem, program = compiled(TOYS[name])
    outcome = solve(problem, program, "decomposed", 1e-3, 60.0)
    certificate = certify(problem, program, outcome, 1e-3)
    reference = certify(problem, program, solve(problem, program, "auto", 1e-4, 60.0), 1e-4)
    assert certificate.bound_by == "safe" and not [c for c in certificate.checks if not c.passed]
    scale = max(abs(reference.objective), 1.0)
    assert certificate.bound <= reference.objective + 1e-6 * scale
    assert certificate.objective >= reference.bound - 1e-6 * scale
    if name != "relay":  # its conflict is between binaries within an hour of an ADN as well
        assert certificate.status == "certified", certificate


def test_a_generated_instance_is_certified():
    problem, program = compiled(instance(3, seed=1))
    outcome = solve(problem, program, "decomposed", 5e-3, 60.0)
    certificate = certify(problem, program, outcome, 5e-3)
    assert certificate.status == "certified" and certificate.bound_by == "safe", certificate
    assert len(outcome.cuts.block) > 0 and outcome.parts[0].n_cuts > 0


SEEDS = [seed for seed in range(40) if small_instance(seed).settlement == "lmp"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_method_encloses_the_enumerated_optimum(seed):
    case = small_instance(seed)
    problem, program = compiled(case)
    if not applies(problem):
        with pytest.raises(InputError, match="no ramps"):
            solve(problem, program, "decomposed", 1e-5, 10.0)
        return
    certificate = certify(problem, program, solve(problem, program, "decomposed", 1e-5, 10.0), 1e-5)
    optimum = brute_force.solve(case)
    scale = max(abs(optimum.cost), 1.0)
    tolerated = 1e-5 * scale + 1e-6 * case.base_mva * float(np.abs(optimum.prices).sum()) * case.n_adns
    if certificate.bound is not None:
        assert certificate.bound <= optimum.cost + tolerated
    if certificate.objective is not None:
        assert certificate.objective >= optimum.cost - tolerated


def test_a_tariff_is_refused_by_name():
    problem, program = compiled(toy(2, 2, settlement="tariff"))
    with pytest.raises(InputError, match="settlement lmp"):
        solve(problem, program, "decomposed", 1e-3, 10.0)


def test_time_that_is_up_ends_the_method_with_what_it_has():
    problem, program = compiled(instance(2))
    began = time.monotonic()
    outcome = solve(problem, program, "decomposed", 1e-9, 2.0)
    assert time.monotonic() - began < 20.0
    certificate = certify(problem, program, outcome, 1e-9)
    assert certificate.status in ("time_limit", "gap_limit"), certificate
    assert certificate.bound is not None and certificate.bound_by == "safe"


def test_the_default_method_decomposes_where_there_are_many_adns(monkeypatch):
    monkeypatch.setattr(auto, "MANY", 2)
    problem, program = compiled(toy(2, 2))
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert outcome.cuts is not None
    assert certify(problem, program, outcome, 1e-3).status == "certified"
    # Where it finds no point, the relaxation as a whole is solved.
    monkeypatch.setattr(Recourse, "compose", lambda *arguments: None)
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert outcome.cuts is None and certify(problem, program, outcome, 1e-3).status == "certified"


# The certificate.


@pytest.fixture(scope="module")
def proven():
    problem, program = compiled(TOYS["congested"])
    outcome = solve(problem, program, "decomposed", 1e-3, 60.0)
    return problem, program, outcome, certify(problem, program, outcome, 1e-3)


def test_cuts_spoilt_do_not_lift_the_bound(proven):
    problem, program, outcome, certificate = proven
    assert certificate.status == "certified"
    for spoil in (2.0, -1.0, 0.0):
        cuts = replace(outcome.cuts, row_duals=[spoil * y for y in outcome.cuts.row_duals])
        found = certify(problem, program, replace(outcome, cuts=cuts), 1e-3)
        assert found.bound is None or found.bound <= certificate.bound + 1e-6 * abs(certificate.bound)


@pytest.mark.parametrize("spoil", ["shape", "block", "missing", "other"])
def test_cuts_of_another_program_prove_nothing(proven, spoil):
    problem, program, outcome, _ = proven
    cuts = {
        "shape": replace(outcome.cuts, cone_duals=[z[:-1] for z in outcome.cuts.cone_duals]),
        "block": replace(outcome.cuts, block=outcome.cuts.block - 100),
        "missing": None,
        "other": outcome.cuts.first(1),
    }[spoil]
    found = certify(problem, program, replace(outcome, cuts=cuts), 1e-3)
    assert found.bound is None and found.status != "certified"


def test_the_shared_program_holds_no_more_cuts_than_a_part_had(proven):
    problem, program, outcome, _ = proven
    blocks = blocks_of(problem, program)
    sides, coefficients = cut_rows(blocks, outcome.cuts)
    for part in outcome.parts:
        base = with_cuts(blocks.relaxation, sides[: part.n_cuts], coefficients[: part.n_cuts])
        assert len(part.row_duals) >= len(base.row_lower)


# Linear programs.


def test_a_warm_program_ends_where_a_cold_one_does_and_tells_why_it_is_infeasible():
    problem, program = compiled(TOYS["two"])
    base = blocks_of(problem, program).relaxation
    warm, cold = Warm(len(base.c)), Warm(len(base.c))
    first = warm.solve(base, ([], []), 60.0)
    lower = base.lower.copy()
    at = int(np.flatnonzero((base.lower == 0) & (base.upper > 0.01) & (base.c > 0))[0])
    lower[at] = 0.005
    again = warm.solve(base.with_bounds(lower, base.upper), ([], []), 60.0)
    assert again.objective == pytest.approx(
        cold.solve(base.with_bounds(lower, base.upper), ([], []), 60.0).objective
    )
    assert again.objective >= first.objective - 1e-9
    far = with_cuts(base, np.array([1e4]), base.A[:1] * 0 + base.A[:1])
    found = warm.solve(far, ([], []), 60.0)
    assert found.status == "infeasible" and found.row_duals is not None
    bounds = [safe_bound(far, sign * 1e6 * found.row_duals, np.zeros(0)) for sign in (1, -1)]
    assert max(bounds) > far.most_cost


# Workers.


@pytest.fixture
def cluster():
    yield workers.choose
    workers.choose(Cluster(n_workers=0))


def answered(problem, program):
    search = Decomposed(problem, program, silent)
    recourse = search.recourse
    with workers.workers(recourse.feeders, silent) as recourse.workers:
        trial = recourse.trial(np.zeros(len(recourse.blocks.of_column)))
        return recourse, trial


def test_a_cluster_answers_as_this_process_does_and_outlives_a_lost_worker(cluster, monkeypatch):
    monkeypatch.setattr(workers, "FEW", 2)
    problem, program = compiled(TOYS["congested"])
    cluster(Cluster(n_workers=0))
    _, here = answered(problem, program)
    cluster(Cluster(n_workers=2))
    search = Decomposed(problem, program, silent)
    recourse = search.recourse
    with workers.workers(recourse.feeders, silent) as recourse.workers:
        there = recourse.trial(np.zeros(len(recourse.blocks.of_column)))
        assert there.value == here.value and (there.own_cost == here.own_cost).all()
        pid = next(iter(recourse.workers.client.run(os.getpid).values()))
        os.kill(pid, signal.SIGKILL)
        recourse.asked = [None] * recourse.blocks.n_blocks
        again = recourse.trial(np.zeros(len(recourse.blocks.of_column)))
        assert again.value == here.value


def test_a_scheduler_that_does_not_answer_is_told_in_one_line(cluster, monkeypatch):
    cluster(Cluster(scheduler="tcp://127.0.0.1:1"))
    problem, program = compiled(TOYS["two"])
    with pytest.raises(InputError, match="scheduler: got 'tcp://127.0.0.1:1'"):
        answered(problem, program)
