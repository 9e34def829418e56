"""Convex programs in sequence, and what is done where a solver ends far from a point."""

import time
from dataclasses import replace

import numpy as np
import pytest
from toys import relay, toy

from model import convex
from model.convex import HELD, Stopped, held, least
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


def test_a_cost_held_stays_within_a_millionth_while_another_falls(shared):
    first = least(shared.relaxed, shared.generation, soon())
    face = held(shared.relaxed, shared.generation, first.value)
    free = least(shared.relaxed, shared.fees, soon())
    second = least(face, shared.fees, soon())
    assert shared.generation @ second.x <= first.value * (1 + HELD) + 1e-6
    assert free.value < 0.99 * second.value  # what saves fees costs generation
    assert len(face.row_lower) == len(shared.relaxed.row_lower) + 1


def test_where_the_solver_finds_no_end_the_sequence_stops(shared, monkeypatch):
    def fail(program, time_limit_s):
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
    """The banded program's point is spoilt: the schedule's own point stands in, and is certified."""
    real, calls = coordination.Coordination.whole, []

    def spoil_first(self, *given):
        found = real(self, *given)
        calls.append(found)
        return replace(found, x=found.x + 1e-3) if len(calls) == 1 else found

    monkeypatch.setattr(coordination.Coordination, "whole", spoil_first)
    monkeypatch.setattr(tso_led, "alternatives", lambda *given: ())
    found = run(shared.instance, "tso-led", shared=shared)
    assert found.certificate.status == "certified"
    assert len(calls) == 2
    figures = found.decision.figures
    assert figures["imbalance_mwh"] == figures["band_saves_dsos"] == 0.0
    assert figures["restoring_costs_dsos"] == pytest.approx(0.0, abs=1e-5)
