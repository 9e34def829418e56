"""Nash among the DSOs: each DSO's own problem, its moves, and the proof that no deviation gains more."""

import time

import brute_force
import numpy as np
import pytest
from small_cases import small_instance
from toys import feeder, toy

from model.convex import Stopped
from model.schemes import nash, run, share
from model.schemes.price_taking import forecast_net_load

GAP = 1e-3


@pytest.mark.long
@pytest.mark.parametrize("seed", [8, 21])
def test_no_dso_gains_more_than_is_said_by_leaving_the_equilibrium(seed):
    """The best deviation of each DSO by enumeration, the others where they are.

    In the case of seed 8 one price clears at which ADN 0 sells dearly, another at which ADN 1 buys cheaply.
    """
    case = small_instance(seed)
    extra = feeder(case.feeders[0].host_bus, case.hours, sun=0.0, battery=0.0)
    case = case.model_copy(update={"feeders": (case.feeders[0], extra), "arcs": (), "settlement": "lmp"})
    found = run(case, "nash")
    assert found.certificate.status == ("gap_limit" if seed == 8 else "certified")
    power = np.array([f.P_boundary for f in found.schedule.feeders]) / case.base_mva
    alone = [brute_force.solve(nash.alone(case, d, power)).cost for d in range(2)]
    assert found.certificate.bound == pytest.approx(sum(alone), rel=GAP, abs=GAP)
    gain = found.certificate.objective - sum(alone)
    if seed == 8:
        assert gain > 100
        assert found.certificate.gap > 0.1
    else:
        assert gain <= GAP * sum(max(abs(cost), 1.0) for cost in alone)


def test_the_others_are_native_load_of_their_hosts():
    """ADNs 0 and 2 at bus 1, ADN 1 at bus 2: to ADN 0 what the others take is load, here below zero once."""
    case = toy(3, 2)
    power = np.array([[9.0, 9.0], [0.1, 0.2], [-0.5, 0.3]])  # p.u. on 10 MVA
    own = nash.alone(case, 0, power)
    assert [bus.pd_mw for bus in own.transmission.buses] == [
        pytest.approx((3.0 - 5.0, 3.0 + 3.0)),
        pytest.approx((6 * 0.6 + 1.0, 6 * 1.0 + 2.0)),
    ]
    assert (own.feeders, own.arcs) == ((case.feeders[0],), ())


@pytest.fixture(scope="module")
def placed():
    """ADN 0 of two at the do-nothing decision, and where both stand."""
    case = toy(2, 4)
    power = forecast_net_load(case)
    c = share(nash.alone(case, 0, power))
    x = run(c.instance, "uncoordinated", shared=c).decision.outcome.x
    return case, power, c, nash.Game(c.program, x, 0.0, 0.0, moved=True)


def test_a_dso_moves_where_that_gains_and_stays_where_it_may_not_move(placed):
    case, power, c, before = placed
    ended = time.monotonic() + 60
    at = c.program.objective(c.answered(before.x))
    stayed = nash.play(case, 0, power, before, GAP, ended, may_move=False)
    assert not stayed.moved
    assert stayed.x[c.P_boundary] == pytest.approx(before.x[c.P_boundary])
    assert at - stayed.bound > 10.0  # it would gain
    moved = nash.play(case, 0, power, before, GAP, ended)
    assert moved.moved
    cost = moved.program.objective(moved.x)
    assert moved.bound <= cost < at - 10.0
    settled = nash.play(case, 0, power, moved, GAP, ended)
    assert not settled.moved
    assert settled.x[c.P_boundary] == pytest.approx(moved.x[c.P_boundary])


def test_leaving_ones_place_has_a_price(placed):
    *_, c, before = placed
    x = c.answered(before.x)
    program = nash.proximal(c, x)
    assert program.objective(x) == pytest.approx(c.program.objective(x))
    assert program.row_misses(x)[c.program.rows["exchange_schedule"]].max() <= 1e-12
    off = x.copy()
    off[c.P_boundary[0, 1]] += 0.02
    off[c.imbalance_up[0, 1]] += 0.02
    off[c.P_boundary[0, 3]] -= 0.01
    off[c.imbalance_down[0, 3]] += 0.01
    assert program.row_misses(off)[c.program.rows["exchange_schedule"]].max() <= 1e-12
    more = program.objective(off) - c.program.objective(off)
    assert more == pytest.approx(nash.PROXIMAL_PER_MWH * 0.3)  # MWh


def test_a_second_move_is_a_proximal_one(placed, monkeypatch):
    case, power, c, before = placed
    solved = []
    real = nash.solve

    def note(problem, program, **options):
        solved.append(float(np.abs(program.c[c.imbalance_up]).sum()))
        return real(problem, program, **options)

    monkeypatch.setattr(nash, "solve", note)
    nash.play(case, 0, power, None, GAP, time.monotonic() + 60)
    nash.play(case, 0, power, before, GAP, time.monotonic() + 60)
    assert [price > 0 for price in solved] == [False, False, True]


def test_a_proof_with_a_fault_proves_nothing(placed):
    *_, c, before = placed
    outcome = nash.solve(c.problem, c.program)
    assert nash.proven(c.problem, c.program, outcome) == pytest.approx(outcome.least, rel=1e-6)
    outcome.x[c.P_boundary[0, 0]] += 0.1
    assert nash.proven(c.problem, c.program, outcome) == -np.inf


def test_without_time_there_is_no_answer(placed):
    case, power, *_ = placed
    with pytest.raises(Stopped, match="ADN 0 has no answer in time"):
        nash.play(case, 0, power, None, GAP, time.monotonic())


def test_a_game_that_does_not_end_says_how_much_could_be_gained(monkeypatch):
    """With one round, in which nobody may move again, the gains are those of the first answers."""
    monkeypatch.setattr(nash, "ROUNDS", 1)
    found = run(toy(2, 4, rate_mw=3.0, load_mw=9.0), "nash")
    assert found.decision.figures["rounds"] == 1
    assert found.certificate.gap == max(found.decision.figures[f"gain_limit_{d}"] for d in range(2))
