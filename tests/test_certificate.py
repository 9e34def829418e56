"""The certificate accepts what is right and rejects whatever was changed."""

from dataclasses import replace

import numpy as np
import pytest
from toys import toy

from generators import instance
from model.bounds import safe_bound
from model.certificate import certify
from model.follower_check import FollowerRestated
from model.outcome import Outcome
from model.program import compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.relaxation import solve_relaxation


@pytest.fixture(scope="module")
def solved():
    problem = build(toy(2, 4, rate_mw=4.0))
    program = compile_model(problem.m)
    return problem, program, solve(problem, program, "highs", 1e-5, 60.0)


def _columns(solved, name):
    problem, program, _ = solved
    return program.column(name)


def test_the_solution_itself_passes(solved):
    problem, program, outcome = solved
    certificate = certify(problem, program, outcome, 1e-4)
    assert certificate.status == "certified", certificate
    assert all(check.passed for check in certificate.checks)


CORRUPTIONS = {
    "a branch flow": ("feeder[0].P", 0.01, "rows"),
    "a voltage": ("feeder[1].v", 0.01, "rows"),
    "a current": ("feeder[0].l", -0.002, "cones"),
    "an energy level": ("feeder[0].energy", 0.001, "rows"),
    "a trade": ("x", 0.001, "rows"),
    "a binary": ("feeder[0].importing", -0.4, "integrality"),
    "a generating unit": ("follower.pg", 0.01, "follower's balance"),
    "an angle": ("follower.theta", 0.01, "follower's balance"),
    "boundary power": ("feeder[0].P_boundary", 0.01, "follower's balance"),
    "an account": ("feeder[1].p_import", 0.001, "rows"),
    "a price": ("follower.kkt.gamma", 5.0, "prices are dual optimal"),
    "a multiplier": ("follower.kkt.alpha", 1.0, "rows"),
    "shedding": ("follower.shed", 0.001, "follower's balance"),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_a_change_in_one_place_is_rejected_and_named(solved, what):
    problem, program, outcome = solved
    name, change, check_name = CORRUPTIONS[what]
    x = outcome.x.copy()
    column = _columns(solved, name)
    # The entry farthest from its box, so that the change is not caught as a mere bound violation.
    room = np.minimum(x - program.lower, program.upper - x)[column]
    at = column[np.argmax(room)] if change > 0 or what == "a current" else column[np.argmax(x[column])]
    x[at] += change
    certificate = certify(problem, program, replace(outcome, x=x), 1e-4)
    assert certificate.status == "error"
    assert check_name in [check.name for check in certificate.checks if not check.passed]
    assert check_name in certificate.message


def _failed(problem, program, outcome, x):
    certificate = certify(problem, program, replace(outcome, x=x), 1e-4)
    assert certificate.status == "error"
    return {check.name for check in certificate.checks if not check.passed}


def test_a_balanced_but_dear_dispatch_is_rejected(solved):
    """One block down, the next block of the same unit up: nothing is wrong but the cost."""
    problem, program, outcome = solved
    x = outcome.x.copy()
    number = program.objective_map.number
    cheap, dear = (number[id(problem.m.follower.pg[0, k, 0])] for k in (0, 1))
    x[cheap] -= 0.01
    x[dear] += 0.01
    failed = _failed(problem, program, outcome, x)
    assert "follower's dispatch is optimal" in failed
    assert not failed & {"follower's balance", "follower's limits", "prices are dual optimal"}


def test_a_dispatch_cheaper_than_the_optimum_is_rejected(solved):
    problem, program, outcome = solved
    x = outcome.x.copy()
    x[program.objective_map.number[id(problem.m.follower.pg[0, 0, 0])]] -= 0.01
    assert "follower's dispatch is optimal" in _failed(problem, program, outcome, x)


def test_a_dispatch_beyond_a_block_is_rejected(solved):
    problem, program, outcome = solved
    x = outcome.x.copy()
    x[program.objective_map.number[id(problem.m.follower.pg[0, 0, 0])]] += 1.0
    assert {"follower's limits", "boxes"} <= _failed(problem, program, outcome, x)


def test_an_objective_that_is_not_the_payments_is_rejected(solved):
    """The linear objective holds multipliers; the payments do not."""
    problem, program, outcome = solved
    x = outcome.x.copy()
    mu = problem.multipliers.mu_flow[0, 0][0]
    x[program.objective_map.number[id(mu)]] += 1.0
    failed = _failed(problem, program, outcome, x)
    assert "objective" in failed and "prices are dual optimal" not in failed


def test_both_members_of_a_special_ordered_set_are_rejected():
    problem = build(toy(1, 2), mode="sos1")
    program = compile_model(problem.m)
    outcome = solve(problem, program, "auto", 0.05)
    x = outcome.x.copy()
    x[program.sos1[0]] = 0.5 * program.upper[program.sos1[0]]
    assert "special ordered sets" in _failed(problem, program, outcome, x)


@pytest.mark.parametrize("which", [2, 3])  # the first is for a bound that rests on no hour
def test_a_check_that_cannot_be_made_is_not_passed(solved, monkeypatch, which):
    """Where the independent follower has no answer in one hour, nothing is certified."""
    problem, program, outcome = solved
    answer = FollowerRestated.optimal_cost
    calls = []

    def sometimes(self, load, *near):
        calls.append(load)
        found = answer(self, load, *near)
        if len(calls) == which:
            found[2] = np.nan
        return found

    monkeypatch.setattr(FollowerRestated, "optimal_cost", sometimes)
    assert certify(problem, program, outcome, 1e-4).status == "error"


def test_ramps_enter_the_independent_follower():
    loose = toy(1, 4, load_mw=9.0)
    gens = tuple(gen.model_copy(update={"ramp_mw_per_h": 0.5}) for gen in loose.transmission.gens)
    tight = loose.model_copy(update={"transmission": loose.transmission.model_copy(update={"gens": gens})})
    free, held = FollowerRestated(loose), FollowerRestated(tight)
    apart = sum(free.optimal_cost(free.native[:, [t]]).item() for t in range(4))
    assert free.optimal_cost(free.native).sum() == pytest.approx(apart)
    assert held.optimal_cost(held.native).sum() > apart + 1


def test_a_claimed_bound_above_the_objective_is_rejected(solved):
    problem, program, outcome = solved
    certificate = certify(problem, program, replace(outcome, bound=1e6), 1e-4)
    assert certificate.status == "error" and "bound" in certificate.message


def test_a_price_that_is_not_dual_optimal_is_rejected_though_the_dispatch_is_right(solved):
    """All prices of an hour moved together with their multipliers: the regret stays zero."""
    problem, program, outcome = solved
    x = outcome.x.copy()
    lam = [program.objective_map.number[id(problem.multipliers.lam[i, 0])] for i in (1, 2)]
    x[lam] += 30.0
    certificate = certify(problem, program, replace(outcome, x=x), 1e-4)
    failed = [check.name for check in certificate.checks if not check.passed]
    assert "prices are dual optimal" in failed
    assert "follower's dispatch is optimal" not in failed


def test_nothing_is_certified_without_a_bound_or_a_point(solved):
    problem, program, outcome = solved
    blind = replace(outcome, bound=None, parts=())
    assert certify(problem, program, blind, 1e-4).status == "gap_limit"
    assert certify(problem, program, Outcome("solved"), 1e-4).status == "error"
    assert (
        certify(problem, program, replace(outcome, x=np.full_like(outcome.x, np.nan)), 1e-4).status == "error"
    )


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 1.0, 100.0])
def test_the_safe_bound_stays_below_the_optimum_for_any_dual_vector(solved, noise):
    problem, program, outcome = solved
    best = certify(problem, program, outcome, 1e-4)
    relaxed = program.relaxed()
    root = outcome.parts[0]
    rng = np.random.default_rng(int(noise * 1e6))
    for _ in range(25):
        y = root.row_duals * (1 + noise * rng.standard_normal(len(root.row_duals)))
        y += noise * rng.standard_normal(len(y))
        z = root.cone_duals + noise * rng.standard_normal(len(root.cone_duals))
        assert safe_bound(relaxed, y, z) <= best.objective
    assert safe_bound(relaxed, 0 * y, 0 * z) <= best.objective


@pytest.mark.long
@pytest.mark.parametrize(("n_adns", "seed"), [(1, 0), (2, 1), (5, 0)])
def test_the_safe_bound_loses_less_than_a_millionth(n_adns, seed):
    assert 0 <= safe_loss(n_adns, seed) < 1e-6


def safe_loss(n_adns: int, seed: int) -> float:
    """What the safe bound gives away on a default instance, relative to the relaxation's value."""
    program = compile_model(build(instance(n_adns, seed)).m)
    relaxed = program.relaxed()
    result = solve_relaxation(relaxed)
    value = relaxed.objective(result.x)
    return (value - safe_bound(relaxed, result.row_duals, result.cone_duals)) / abs(value)
