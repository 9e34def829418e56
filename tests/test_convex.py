"""Convex programs in sequence, and what is done where a solver ends far from a point."""

import time
from dataclasses import replace

import numpy as np
import pytest
from toys import relay, toy

from model import convex
from model.convex import HELD, Stopped, held, least, tied
from model.outcome import Outcome
from model.schemes import coordination, run, share, tso_led
from model.solvers.relaxation import solve_relaxation


@pytest.fixture(scope="module")
def shared():
    return share(toy(2, 4))


def soon():
    return time.monotonic() + 60


def test_a_least_has_its_bound_and_its_gap(shared):
    found = least(shared.relaxed, shared.generation, soon())
    assert found.bound == pytest.approx(found.value, rel=1e-7)
    assert found.gap == pytest.approx((found.value - found.bound) / found.value)
    claimed = replace(found, claimed=found.value - 1.0, bound=found.value - 2.0)
    assert claimed.gap == pytest.approx(1.0 / found.value)
    assert replace(found, value=0.5, bound=0.0).gap == 0.5  # of 1 $ where the cost is less


def spent_of(first, x):
    return (first.program.objective(x) - first.value) / first.value


def tie(shared, cost, first, price, **how):
    """A tie broken by ``cost``, with points exact and with digits around the first one."""

    def sound(x):
        return shared.booked(shared.flowing(x), cost, soon())

    how = {"around": True, "gap": 1e-6} | how
    return tied(shared.relaxed, cost, first, sound(first.x), price, soon(), sound, **how)


def test_a_cost_held_stays_within_a_millionth_while_another_falls(shared):
    first = least(shared.relaxed, shared.generation, soon())
    free = least(shared.relaxed, shared.fees, soon())
    second = tie(shared, shared.fees, first, 40.0)
    assert spent_of(first, second.x) <= HELD
    assert free.value < 0.99 * second.value  # what saves fees costs generation
    # The bound is that of the program with a row more, and no row holds more than what is spent.
    assert len(second.program.row_lower) == len(shared.relaxed.row_lower) + 1
    assert second.program.violation(second.x) <= 1e-7
    assert second.program.row_upper[-1] == pytest.approx(first.value * (1 + spent_of(first, second.x)))
    assert second.bound <= second.value * (1 + 1e-9)
    assert second.gap <= 1e-6


def test_a_price_that_breaks_a_tie_gives_what_a_row_that_holds_the_cost_gives(shared):
    """The row in place of the price, at what was spent: the same cost, and the price is its multiplier."""
    first = least(shared.relaxed, shared.generation, soon())
    own = shared.fees + shared.wear
    second = tie(shared, own, first, 1.0)  # a price that is raised
    price = -second.row_duals[-1]
    assert price > 1.0
    spent = max(spent_of(first, second.x), 1e-7)
    held_by_row = least(held(shared.relaxed, shared.generation, first.value, spent), own, soon())
    assert second.value == pytest.approx(held_by_row.value, rel=1e-5)
    # A price above makes a point that spends less and costs more.
    dearer = least(shared.relaxed, own + 10 * price * shared.generation, soon(), first.x)
    assert own @ dearer.x >= second.value - 1e-6
    assert spent_of(first, dearer.x) <= spent_of(first, second.x) + 1e-9


@pytest.mark.parametrize("price", [0.01, 5.0, 500.0])
def test_from_any_price_most_of_what_is_allowed_is_spent(shared, price):
    """Too low or too high: nearly what a row that holds the cost gives, never beyond it."""
    first = least(shared.relaxed, shared.generation, soon())
    throughput = np.zeros(len(shared.program.c))
    throughput[np.concatenate([shared.columns("charge"), shared.columns("discharge")])] = 100.0
    for sense in (1.0, -1.0):
        end = tie(shared, sense * throughput, first, price, gap=np.inf, around=False)
        assert spent_of(first, end.x) <= HELD * (1 + 1e-6)
        assert shared.relaxed.violation(end.x) <= 1e-6
        row = held(shared.relaxed, shared.generation, first.value, HELD)
        furthest = least(row, sense * throughput, soon())
        assert end.value >= furthest.bound - 1e-3
        rest = sense * float(throughput @ first.x)
        assert rest - end.value >= 0.5 * (rest - furthest.value) - 1e-3


def test_what_spends_too_much_is_drawn_towards_what_does_not(shared, monkeypatch):
    """One price, too low: the point is on the way, exact, spends what is allowed and saves some of it."""
    monkeypatch.setattr(convex, "PRICES", 1)
    first = least(shared.relaxed, shared.generation, soon())
    own = shared.fees + shared.wear
    start = shared.booked(shared.flowing(first.x), own, soon())
    free = least(shared.relaxed, own + 0.1 * shared.generation, soon())
    assert spent_of(first, free.x) > 2 * HELD
    drawn = tie(shared, own, first, 0.1)
    assert 0.5 * HELD <= spent_of(first, drawn.x) <= HELD
    assert drawn.bound <= drawn.value < float(own @ start)
    assert shared.relaxed.cone_misses(drawn.x).max() <= 1e-12
    monkeypatch.setattr(convex, "DRAWN", 0)  # nothing on the way: then the start
    assert tie(shared, own, first, 0.1).x == pytest.approx(start, abs=1e-9)


def test_where_there_is_no_time_for_another_price_the_best_so_far_stands(shared, monkeypatch):
    real, calls = convex.least, []

    def late(*given, **how):
        calls.append(given)
        if len(calls) > 1:
            raise Stopped("time_limit", "late")
        return real(*given, **how)

    first = least(shared.relaxed, shared.generation, soon())
    monkeypatch.setattr(convex, "least", late)
    found = tie(shared, shared.fees + shared.wear, first, 1e-3, gap=0.0)
    assert len(calls) == 2
    assert spent_of(first, found.x) <= HELD
    calls.append(None)
    with pytest.raises(Stopped, match="late"):
        tie(shared, shared.fees, first, 40.0)


def test_where_the_solver_is_lost_around_a_point_it_begins_from_nowhere(shared, monkeypatch):
    real, lost = convex.solve_relaxation, []

    def lost_nearby(program, time_limit_s, near, size, *, exact):
        if near is not None:
            lost.append(size)
            return replace(real(program, time_limit_s), status=status)
        return real(program, time_limit_s, near, size, exact=exact)

    first = least(shared.relaxed, shared.generation, soon())
    expected = tie(shared, shared.fees, first, 40.0)
    monkeypatch.setattr(convex, "solve_relaxation", lost_nearby)
    status = "error"
    found = tie(shared, shared.fees, first, 40.0)
    assert lost and found.value == pytest.approx(expected.value, rel=1e-4)
    status = "time_limit"  # then there is no time to begin again
    with pytest.raises(Stopped) as stop:
        tie(shared, shared.fees, first, 40.0)
    assert stop.value.status == "time_limit"


def test_around_a_point_a_program_has_the_same_least_and_the_same_proof(shared):
    plain = least(shared.relaxed, shared.generation + shared.wear, soon())
    start = least(shared.relaxed, shared.generation, soon())
    around = least(shared.relaxed, shared.generation + shared.wear, soon(), start.x)
    assert around.value == pytest.approx(plain.value, rel=1e-7)
    assert around.bound == pytest.approx(plain.bound, rel=1e-7)
    assert shared.relaxed.violation(around.x) <= 1e-7


def test_where_the_solver_finds_no_end_the_sequence_stops(shared, monkeypatch):
    def fail(program, time_limit_s, *given, **how):
        return replace(solve_relaxation(program, 60), status="error", message="lost")

    monkeypatch.setattr(convex, "solve_relaxation", fail)
    with pytest.raises(Stopped, match="lost") as stop:
        least(shared.relaxed, shared.generation, soon())
    assert stop.value.status == "error"


def test_where_binaries_do_not_settle_all_go_to_their_sides(shared, monkeypatch):
    """Then nothing needs a branch."""
    cost = shared.fees + shared.wear + 20.0 * shared.losses
    start = least(shared.dsos, cost, soon())
    monkeypatch.setattr(coordination, "settle", lambda *given: None)
    monkeypatch.setattr(coordination, "branch", None)
    found = shared.whole(shared.dsos, cost, start, 1e-3, soon())
    whole = found.x[shared.program.integer & (shared.dsos.lower < shared.dsos.upper)]
    assert np.abs(whole - np.round(whole)).max() <= 1e-9
    assert found.value == pytest.approx(start.value, rel=1e-3)


def test_without_a_whole_point_the_sequence_stops(monkeypatch):
    c = share(relay())
    start = least(c.dsos, c.fees, soon())
    monkeypatch.setattr(coordination, "settle", lambda *given: None)
    monkeypatch.setattr(coordination, "least", lambda *given: (_ for _ in ()).throw(Stopped("error", "")))
    monkeypatch.setattr(coordination, "branch", lambda *given: Outcome("time_limit", message="late"))
    with pytest.raises(Stopped, match="no point with whole binaries; late"):
        c.whole(c.dsos, c.fees, start, 1e-3, soon())


def test_a_schedule_is_kept_where_no_sound_point_beside_it_is_found(shared, monkeypatch):
    """Points beside the plan and in the band are spoilt: the schedule's own stands in, certified."""
    real, calls = coordination.Coordination.whole, []

    def spoil_first(self, *given):
        found = real(self, *given)
        calls.append(found)
        return replace(found, x=found.x + 1e-3) if len(calls) == 1 else found

    monkeypatch.setattr(coordination.Coordination, "whole", spoil_first)
    monkeypatch.setattr(tso_led, "keep_books", lambda *given: None)
    monkeypatch.setattr(tso_led, "alternatives", lambda *given: ())
    found = run(shared.instance, "tso-led", shared=shared)
    assert found.certificate.status == "certified"
    assert len(calls) == 2
    figures = found.decision.figures
    assert figures["imbalance_mwh"] == 0.0
    # Nobody leaves, and leaving would save nothing.
    assert figures["restoring_costs_dsos"] == pytest.approx(0.0, abs=1e-5)
    assert figures["band_saves_dsos"] == pytest.approx(0.0, abs=1e-6)
