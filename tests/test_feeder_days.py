"""What stored energy is worth by the ADNs' own days: slopes, duality, and whose columns are whose."""

from dataclasses import replace

import numpy as np
import pytest
from proofs import apart
from scipy.sparse import block_array, csr_array, eye_array
from test_decomposed import TOYS, compiled, native_prices

from generators import instance
from model.by_hour import stored_levels
from model.price_hull import Leaf
from model.solvers.conic import solve_conic
from model.solvers.feeder_days import Day, Days
from model.solvers.hour_program import Answer

CASES = {name: TOYS[name] for name in ("two", "congested", "tight", "relay")} | {
    "IEEE": instance(2, seed=1, hours=4)
}


@pytest.fixture(params=CASES)
def search(request):
    search = apart(*compiled(CASES[request.param]))
    assert search.idle() is not None
    return search


def days_of(search):
    return Days(search.program, search.blocks)


def questions(search):
    points = search.points
    return days_of(search).questions(points.answers, points.pressed)


def joined(search, prices):
    """All ADNs and hours at prices of their load, batteries' levels and all: what the days take apart."""
    blocks, (K, T) = search.blocks, search.blocks.batteries.shape
    rows = np.flatnonzero(blocks.of_row >= 0)
    p, m = blocks.program.part(np.arange(len(blocks.program.c)), rows), K * T
    every = np.arange(m)
    net = csr_array((-np.ones(m), (every, blocks.batteries.ravel())), shape=(m, len(p.c)))
    before = np.roll(every.reshape(K, T), 1, axis=1).ravel()
    rise = eye_array(m) - csr_array((np.ones(m), (every, before)), shape=(m, m))
    levels = stored_levels(search.program, T).ravel()
    cost = p.c.copy()
    cost[blocks.batteries] = 0.0
    cost[blocks.loads_at] = prices
    on = np.ones(m, dtype=bool)
    return rows, replace(
        p,
        c=np.append(cost, np.zeros(m)),
        A=block_array([[p.A, None], [net, rise]], format="csr"),
        row_lower=np.append(p.row_lower, np.zeros(m)),
        row_upper=np.append(p.row_upper, np.zeros(m)),
        lower=np.append(p.lower, search.program.lower[levels]),
        upper=np.append(p.upper, search.program.upper[levels]),
        integer=np.append(p.integer, ~on),
        enforced_lower=np.append(p.enforced_lower, on),
        enforced_upper=np.append(p.enforced_upper, on),
        cone_A=block_array([[p.cone_A, csr_array((len(p.cone_b), m))]], format="csr"),
    )


def test_at_the_prices_of_all_days_together_each_day_costs_what_it_does_there(search):
    """Strong duality: what joins the ADNs priced by its duals, their days add up to all of them together, and
    stored energy is worth the same."""
    days, blocks = days_of(search), search.blocks
    rows, program = joined(search, native_prices(search))
    together = solve_conic(program)
    assert together.status == "solved"
    y = np.zeros(len(blocks.program.row_lower))
    y[rows] = together.row_duals[: len(rows)]
    nothing = np.zeros(0)
    answers = [Answer(nothing, nothing, 0.0, 0.0, y[own], nothing) for own in blocks.rows]
    asked = days.questions(answers, [0.0 * price for price in native_prices(search)])
    for question, columns in zip(asked, days.columns, strict=True):
        day = days.programs[question.program]
        own = solve_conic(replace(day.own, c=question.cost))
        # No point of the day costs less than the joint one's: it is a best one at these prices.
        cost = question.cost @ together.x[columns]
        assert own.status == "solved" and question.cost @ own.x == pytest.approx(cost, rel=1e-5, abs=1e-5)
    worth = days.worth(search.ask_days(days, asked))
    own = together.row_duals[len(rows) :].reshape(worth.shape)
    # Where a level is at a limit its price may be any of a range: the middle ones agree.
    assert np.median(np.abs(worth - own)) < 1e-3 * np.abs(own).max()


def test_worth_is_the_slope_of_the_days_cost(search):
    """Of a convex cost: between what one unit less saves and what one more adds."""
    days = days_of(search)
    for question in questions(search):
        day = days.programs[question.program]
        (worth,) = Day.answers([day], [question])
        program, step = replace(day.own, c=question.cost), 1e-4

        def cost(row, change, program=program):
            lower, upper = program.row_lower.copy(), program.row_upper.copy()
            lower[row] += change
            upper[row] += change
            found = solve_conic(replace(program, row_lower=lower, row_upper=upper))
            assert found.status == "solved"
            return program.c @ found.x

        for row, own in [*zip(day.dynamics, worth, strict=True)][:6]:
            at, more, less = cost(row, 0.0), cost(row, step), cost(row, -step)
            slack = 1e-3 * max(np.abs(worth).max(), 1.0)
            assert (at - less) / step - slack <= own <= (more - at) / step + slack


def test_a_day_is_one_adns_and_all_batteries_have_one(search):
    days, blocks, program = days_of(search), search.blocks, search.program
    owner = np.full(len(program.c), -1)
    for name, where in program.columns.items():
        if name.startswith("feeder["):
            owner[where] = int(name[len("feeder[") : name.index("]")])
    of_battery = owner[search.points.levels[:, 0]]
    with_batteries = sorted(set(of_battery.tolist()))
    assert len(days.programs) == len(with_batteries)
    for d, columns, numbers in zip(with_batteries, days.columns, days.numbers, strict=True):
        kept = blocks.kept[columns[columns < len(blocks.kept)]]
        named = owner[kept[kept < len(owner)]]
        assert set(named[named >= 0].tolist()) == {d}
        k = np.unique(numbers // blocks.hours)
        assert (of_battery[k] == d).all() and len(numbers) == (of_battery == d).sum() * blocks.hours
    numbers = np.concatenate(days.numbers)
    assert sorted(numbers.tolist()) == list(range(blocks.batteries.size))


def test_what_a_leaf_costs_is_paid_by_the_load_at_its_host(search):
    days, blocks, points = days_of(search), search.blocks, search.points
    t, host = 1, blocks.loads_at.shape[1] - 1
    pressed = [press.copy() for press in points.pressed]
    pressed[t][host] += 5.0
    for before, after, columns in zip(
        questions(search), days.questions(points.answers, pressed), days.columns, strict=True
    ):
        row = np.zeros(columns.max() + 1 + len(blocks.of_column))
        row[: len(blocks.of_column)] = blocks.program.A[[days.into[t, host]]].toarray().ravel()
        np.testing.assert_allclose(after.cost - before.cost, 5.0 * row[columns], atol=1e-9)


def pressed_in_hours(how, lower):
    """What leaves cost that hold the loads of some hours back by ``lower``, in p.u.; others do not."""
    search = apart(*compiled(TOYS["tight"]))
    search.idle()
    points, prices = search.points, native_prices(search)
    rest, edge = np.zeros(points.flows.shape), np.eye(len(prices[0]))
    seen = points._look(rest, prices)
    leaves = [Leaf(edge, load - lower.get(t, -1.0)) for t, load in enumerate(seen.loads)]
    getattr(points, how)(leaves, prices, rest, *(() if how == "look" else (-np.inf, 1e-4, np.inf)))
    return points.pressed


@pytest.mark.parametrize("how", ["look", "better"])
def test_a_leaf_that_holds_the_load_back_has_a_price(how):
    """A load a little lower than it would be costs more, and the price says how much."""
    before, pressed, after = pressed_in_hours(how, {1: 0.002})
    assert not np.any([before, after]) and (pressed >= -1e-6).all()
    if how == "look":  # else the hour keeps to the leaf by itself
        assert (pressed > 1.0).all()


@pytest.mark.parametrize("how", ["look", "better"])
def test_a_leaf_out_of_reach_has_no_price_and_leaves_the_others_theirs(how):
    """No battery takes a load that far: the penalty would else be what energy is worth in all hours."""
    before, pressed, out = pressed_in_hours(how, {1: 0.002, 2: 5.0})
    assert not np.any([before, out])
    alone = pressed_in_hours("look", {1: 0.002})[1]
    assert (pressed <= alone + 1e-3).all()
    if how == "look":
        np.testing.assert_allclose(pressed, alone, atol=1e-3)


def test_without_answers_the_reference_stays(search):
    first = search.reference
    search.ask_days = lambda days, told: [None for _ in told]
    assert search._worth() is first
    search.points.answers = []
    assert search._worth() is first


def test_an_adn_without_batteries_has_no_day():
    search = apart(*compiled(TOYS["without batteries"]))
    assert days_of(search).programs == [] and search.idle() is not None
    assert search._worth().shape == (0, search.blocks.hours)
