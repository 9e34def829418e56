"""Accounts kept beside power that stands: the least there are, with whole binaries, hour by hour."""

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pytest
from toys import relay, toy

from generators import instance
from model.convex import least
from model.schemes import centralised, run, share
from model.solvers.binaries import leader_binaries
from model.solvers.books import account_columns, keep_books
from model.solvers.linear import solve_linear
from model.solvers.relaxation import components


def soon():
    return time.monotonic() + 60


@pytest.fixture(scope="module", params=["toy", "relay"])
def shared(request):
    return share({"toy": toy(2, 4), "relay": relay()}[request.param])


def planned(c):
    return least(c.grids, c.generation + c.wear, soon())


def by_enumeration(c, power):
    """The least fees beside a power: of every hour linear programs for all sides of the binaries."""
    program, mine = c.program, account_columns(c.program)
    binary = np.isin(np.arange(len(mine)), leader_binaries(program))
    shift = c.relaxed.A @ np.where(mine, 0.0, power)
    total = 0.0
    for t in range(c.instance.hours):
        own = np.flatnonzero(mine & (hour_of(c) == t))
        rows = np.flatnonzero(abs(c.relaxed.A[:, own]).sum(axis=1) > 0)
        sides, costs = np.flatnonzero(binary[own]), []
        for values in itertools.product((0.0, 1.0), repeat=len(sides)):
            lower, upper = program.lower[own], program.upper[own]
            lower[sides] = upper[sides] = values
            limits = (side[rows] - shift[rows] for side in (c.relaxed.row_lower, c.relaxed.row_upper))
            found = solve_linear(c.fees[own], c.relaxed.A[rows][:, own], *limits, lower, upper)
            costs.append(found.objective if found.status == "solved" else np.inf)
        total += min(costs)
    return total


def hour_of(c):
    """The hour of every column: of the model's variables it is the last index."""
    sizes = (where.stop - where.start for where in c.program.columns.values())
    return np.concatenate([np.arange(size) % c.instance.hours for size in sizes])


def test_what_is_not_an_account_is_power_and_accounts_join_no_hours(shared):
    """Without accounts no row of an account holds; beside power, every part of the accounts has one hour."""
    mine = account_columns(shared.program)
    names = {name.rpartition(".")[2] for name, where in shared.program.columns.items() if mine[where].any()}
    power = {name.rpartition(".")[2] for name in shared.program.columns} - names
    assert power == {
        *("P", "Q", "l", "v", "pv_p", "pv_q", "charge", "discharge", "energy", "charging", "P_boundary"),
        *("imbalance_up", "imbalance_down", "pg", "shed", "spill", "theta", "gamma", "alpha", "binding"),
    }
    held = np.isfinite(shared.grids.row_lower) | np.isfinite(shared.grids.row_upper)
    assert not (abs(shared.grids.A[held]) @ mine.astype(float)).any()
    rows = np.flatnonzero(abs(shared.relaxed.A) @ mine.astype(float) > 0)
    none = np.zeros(0, dtype=int)
    part = shared.relaxed.part(np.flatnonzero(mine), rows, none, none)
    label, hours = components(part)[0], hour_of(shared)[mine]
    assert label.max() + 1 == shared.instance.hours
    assert all(len(set(hours[label == number])) == 1 for number in range(shared.instance.hours))


def test_the_social_cost_of_power_alone_is_that_of_all(shared):
    social = shared.generation + shared.wear
    alone, whole = planned(shared), least(shared.relaxed, social, soon())
    assert alone.value == pytest.approx(whole.value, rel=1e-6)
    assert not alone.x[account_columns(shared.program)].any()


def test_books_cost_what_enumeration_says(shared):
    start = planned(shared)
    x = keep_books(shared.program, shared.relaxed, shared.fees, start.x, 0.0, soon())
    assert shared.relaxed.violation(x) <= 1e-7
    binaries = x[leader_binaries(shared.program)]
    assert (binaries == np.round(binaries)).all()
    power = ~account_columns(shared.program) & ~shared.program.integer
    assert x[power] == pytest.approx(start.x[power], abs=1e-7)
    assert float(shared.fees @ x) == pytest.approx(by_enumeration(shared, x), rel=1e-6)


def test_a_larger_gap_leaves_the_books_within_it(shared):
    start = planned(shared)
    best, near = (
        shared.fees @ keep_books(shared.program, shared.relaxed, shared.fees, start.x, gap, soon())
        for gap in (0.0, 0.1)
    )
    assert best * (1 - 1e-9) <= near <= best / (1 - 0.1)


def test_power_that_keeps_no_side_has_no_books():
    """A battery that charges and discharges at once; and power that misses a row of its own."""
    c = share(toy(2, 4))
    start = planned(c).x
    spoilt = start.copy()
    spoilt[c.columns("charge")[0, 0]] += 1e-3
    assert keep_books(c.program, c.relaxed, c.fees, spoilt, 0.0, soon()) is None
    assert keep_books(c.program, c.relaxed, c.fees, start, 0.0, soon()) is not None


def test_without_time_there_are_no_books():
    case = instance(5, 0, hours=2)
    c = share(case)
    start = planned(c).x
    assert keep_books(c.program, c.relaxed, c.fees, start, 0.0, time.monotonic()) is None


def test_boxes_of_the_relaxed_program_count():
    """No trade across: the books do without."""
    c = share(relay())
    start, x = planned(c), c.program.column("x")
    alone = c.relaxed.with_fixed(dict.fromkeys(x.tolist(), 0.0))
    kept, free = (keep_books(c.program, p, c.fees, start.x, 0.0, soon()) for p in (alone, c.relaxed))
    assert not kept[x].any()
    assert free[x].sum() > 1e-3
    assert c.fees @ kept > c.fees @ free * (1 + 1e-6)


def test_without_columns_a_program_keeps_its_places(shared):
    some = np.zeros(len(shared.program.c), dtype=bool)
    some[shared.program.column("imbalance_up")] = True
    less = shared.relaxed.without(some)
    assert less.A.shape == shared.relaxed.A.shape
    assert not less.lower[some].any()
    assert not less.upper[some].any()
    assert np.isinf(less.row_lower[shared.exchange_rows]).all()
    others = np.setdiff1d(np.arange(len(less.row_lower)), shared.exchange_rows)
    assert (less.row_upper[others] == shared.relaxed.row_upper[others]).all()


def test_centralised_keeps_the_least_fees_beside_its_plan(monkeypatch):
    c = share(relay())
    found = run(relay(), "centralised", shared=c)
    assert found.certificate.status == "certified"
    x = found.decision.outcome.x
    assert float(c.fees @ x) <= by_enumeration(c, x) * (1 + 2e-3)
    monkeypatch.setattr(centralised, "keep_books", lambda *given: None)
    assert run(relay(), "centralised", shared=c).certificate.status == "error"
    monkeypatch.setattr(centralised, "time", SimpleNamespace(monotonic=lambda: np.inf))
    assert run(relay(), "centralised", shared=c).certificate.status == "time_limit"


def test_whole_takes_the_books_where_they_are_within_the_gap():
    """A relay of trade is undone in the books alone; where that forgoes too much, by looking further."""
    c = share(relay())
    cost = c.fees + c.wear + 20.0 * c.losses
    start = least(c.dsos, cost, soon())
    wide = c.whole(c.dsos, cost, start, 1.0, soon())
    power = ~account_columns(c.program) & ~c.program.integer & (c.dsos.lower < c.dsos.upper)
    assert wide.x[power] == pytest.approx(start.x[power], abs=1e-7)
    tight = c.whole(c.dsos, cost, start, 1e-4, soon())
    assert tight.gap <= 1e-4
    assert start.value <= tight.value * (1 + 1e-7)
    assert tight.value <= wide.value * (1 + 1e-9)
