"""The multiplier bounds: enough as built, and refused by the certificate where they are not."""

from dataclasses import replace

import brute_force
import numpy as np
import pytest
from toys import relay, toy

from generators import instance
from model import kkt
from model.certificate import certify
from model.multiplier_check import shortfall
from model.program import compile_model
from model.schemes import build, dso_led
from model.solvers import solve

MODES = ("big_m", "sos1", "strong_duality")
CASES = {
    "plain": toy(2, 2),
    "congested": toy(1, 4, rate_mw=1.0),
    "surplus": toy(2, 2, load_mw=0.5, sun=6.0),
    "relay": relay(),
    "ieee30": instance(2, hours=3, congestion="strong"),
    "ramps": instance(2, hours=3, ramp_mw_per_h=6.0),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_the_models_own_bounds_are_what_the_second_derivation_asks_for(name, mode):
    problem = build(CASES[name], mode=mode)
    assert shortfall(problem, compile_model(problem.m)) < 1e-12


def _smaller(factor, chosen):
    """``kkt.complementary_pairs`` with the chosen pairs' bounds too small by a factor."""
    derive = kkt.complementary_pairs

    def pairs(f, data, mult, load, hours):
        found = []
        for pair in derive(f, data, mult, load, hours):
            multiplier, slack = chosen(pair.multiplier.name, mult)
            bound = pair.multiplier_bound * (factor if multiplier else 1.0)
            pair.multiplier.setub(bound)
            found.append(
                replace(
                    pair,
                    multiplier_bound=bound,
                    slack_bound=pair.slack_bound * (factor if slack else 1.0),
                )
            )
        return found

    return pairs


def _of(kind):
    def chosen(name, mult):
        variables = {
            "mu_flow": [v for pair in mult.mu_flow.values() for v in pair],
            "mu_pg_lo": [lo for lo, _ in mult.mu_pg.values()],
            "mu_pg_up": [up for _, up in mult.mu_pg.values()],
            "mu_shed": mult.mu_shed.values(),
            "mu_spill": mult.mu_spill.values(),
            "mu_ramp": [v for pair in mult.mu_ramp.values() for v in pair],
        }[kind]
        return (name in {v.name for v in variables},) * 2

    return chosen


KINDS = ("mu_flow", "mu_pg_lo", "mu_pg_up", "mu_shed", "mu_spill", "mu_ramp")


@pytest.mark.long
@pytest.mark.parametrize("side", ["multiplier", "slack"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_bound_is_compared_on_both_sides(monkeypatch, kind, side):
    chosen = _of(kind)

    def one_side(name, mult):
        multiplier, slack = chosen(name, mult)
        return multiplier and side == "multiplier", slack and side == "slack"

    monkeypatch.setattr(kkt, "complementary_pairs", _smaller(0.999, one_side))
    problem = build(CASES["ramps"])
    assert shortfall(problem, compile_model(problem.m)) == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_price_box_that_is_too_small_is_noticed(side):
    problem = build(CASES["plain"])
    program = compile_model(problem.m)
    prices = program.column("follower.kkt.gamma")
    box = {name: getattr(program, name).copy() for name in ("lower", "upper")}
    box[side][prices[-1]] *= 0.99
    assert shortfall(problem, program.with_bounds(**box)) == pytest.approx(0.01)


def test_a_bound_deliberately_too_small_costs_the_optimum_and_is_caught(monkeypatch):
    """The multiplier of a binding line held below its value: HiGHS then proves a wrong optimum.

    In hour 1 the price at the ADN is 32 $/MWh, just beyond the end of the block at 20; a little discharge
    brings all its load to 20, worth the battery's wear of 20. Beyond the line the price is 45, so the
    line's multiplier is 13 or 25; a bound of about 18 forbids the second.
    """
    case = toy(1, 2, rate_mw=1.0, load_mw=5.1, sun=0.0)
    (feeder,) = case.feeders
    worn = tuple(bess.model_copy(update={"wear_per_mwh": 20.0}) for bess in feeder.bess)
    case = case.model_copy(update={"feeders": (feeder.model_copy(update={"bess": worn}),)})
    optimum = brute_force.solve(case)
    assert optimum.prices[0, 1] == 20.0

    def certified():
        problem = build(case)
        program = compile_model(problem.m)
        return certify(problem, program, solve(problem, program, "highs", 1e-5, 30.0), 1e-5)

    sound = certified()
    assert sound.status == "certified"
    assert sound.objective == pytest.approx(optimum.cost, rel=1e-4)
    rent = kkt.congestion_rent

    def too_small(data, load, hours):
        sound = rent(data, load, hours)
        return sound | {1: 18.0 * case.base_mva * data.rate[0]}

    monkeypatch.setattr(kkt, "congestion_rent", too_small)
    wrong = certified()
    assert wrong.status == "error" and wrong.message == "failed: multiplier bounds"
    others = [check for check in wrong.checks if check.name != "multiplier bounds"]
    assert len(others) > 5 and all(check.passed for check in others), "nothing else would have told"
    assert wrong.bound > optimum.cost + 0.1, "the case is not vacuous"
    assert wrong.gap < 1e-5, "and would have been certified"


def test_an_infeasibility_that_bounds_too_small_have_made_is_an_error(monkeypatch):
    case = toy(1, 2, rate_mw=1.0)
    rent = kkt.congestion_rent
    monkeypatch.setattr(kkt, "congestion_rent", lambda *data: {t: 1e-3 * r for t, r in rent(*data).items()})
    problem = build(case)
    program = compile_model(problem.m)
    outcome = solve(problem, program, "highs", 1e-5, 30.0)
    certificate = certify(problem, program, outcome, 1e-5)
    assert outcome.status == "infeasible", "brute force finds an optimum"
    assert (certificate.status, certificate.message) == ("error", "failed: multiplier bounds")


def test_a_mode_that_needs_no_bound_has_none_to_be_too_small():
    """Strong duality limits no pair, but its boxes serve the safe bound and are compared too."""
    problem = build(CASES["plain"], mode="strong_duality")
    program = compile_model(problem.m)
    upper = program.upper.copy()
    columns = program.column("follower.kkt.alpha")
    upper[columns[np.argmax(upper[columns])]] *= 0.5
    assert shortfall(problem, program.with_bounds(program.lower, upper)) == pytest.approx(0.5)


def test_the_scheme_asks_for_the_bounds_it_is_checked_for():
    """``dso_led`` reads ``kkt`` by module, so that the tests above change what is built."""
    assert dso_led.kkt is kkt
