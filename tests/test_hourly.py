"""The hours apart: a relaxation whatever the reference, cuts that hold, and a search that says what is left.

A point of the relaxation is carried over by hand, from what the compiled program calls its variables.
"""

import functools
import math
import time
from dataclasses import replace
from types import SimpleNamespace

import brute_force
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs import apart, hourly_search, native_hours, unproven, whole_search
from small_cases import small_instance
from test_hour_blocks import some_points
from toys import ramping, relay, toy

from generators import instance
from model import by_hour
from model.by_hour import blocks_by_hour, stored_levels
from model.certificate import _bound_of_parts, certify
from model.hour_blocks import Cuts, cut_rows, with_totals
from model.price_hull import Leaf, Region, hull
from model.program import compile_model
from model.schemes import build
from model.solvers import alike, auto, hour_points, hourly, price_regions, solve
from model.solvers.answered import Answered
from model.solvers.auto import welfare
from model.solvers.hour_program import Hour, Question, hours_of
from model.solvers.hourly import HourlySearch
from model.solvers.linear import solve_linear
from model.solvers.relaxation import solve_relaxation

TOYS = {
    "congested": toy(3, 3, rate_mw=4.0),
    "one host": toy(1, 4, rate_mw=2.5),
    "relay": relay(),
    "without batteries": toy(2, 3, rate_mw=4.0, battery=0.0),
}
# Small cases of two hours, settled at prices and without ramps.
SMALL = (3, 4, 40, 82, 119)
CLOSED, PROVEN = (3, 4, 40), (3, 4, 40, 82)
ENUMERATED = GAP = 1e-5
# References: none, much as prices are, far beyond, and so large that a price of 100 $ is lost beside them.
SIZES = (0.0, 1.0, 300.0, 1e5, 1e18)


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


@functools.cache
def prepared(name):
    """A problem, its program, its hours, and points of its relaxation and of the problem itself."""
    problem, program = compiled(TOYS[name])
    total = with_totals(problem, program)
    n = len(program.c)
    points = list(some_points(total, 3)) + list(swinging_points(problem, program, total))
    points += [np.append(x, total.A[n - len(total.c) :, :n] @ x) for x in solved_points(problem, program)]
    return problem, program, native_hours(problem, program), points


def swinging_points(problem, program, total):
    """Points at which batteries go from empty to full and back, whatever the price."""
    stored = stored_levels(program, problem.instance.hours)
    for sign in (1.0, -1.0):
        c = total.c.copy()
        c[stored] += sign * 1e3 * (-1.0) ** np.arange(problem.instance.hours)
        found = solve_relaxation(replace(total, c=c))
        assert found.status == "solved"
        yield found.x


def solved_points(problem, program):
    first = welfare(problem, program, 1e-3, 60.0, lambda told: None)
    return [first.x, whole_search(problem, program, 1e-3).x]


def rough(name, seed, size):
    """Random references: flat, steps in time, of some batteries only, or of every battery and hour."""
    problem, program, *_ = prepared(name)
    rng = np.random.default_rng(seed)
    shape = stored_levels(program, problem.instance.hours).shape
    kind = rng.integers(4)
    found = rng.normal(size=shape)
    if kind == 0:
        found = np.repeat(rng.normal(size=(shape[0], 1)), shape[1], axis=1)
    elif kind == 1:
        found = np.sign(found)
    elif kind == 2:
        found *= rng.random((shape[0], 1)) < 0.5
    return size * found


def carried_over(problem, program, blocks, reference, x):
    """A point of the relaxation with totals as one of the program by hour, and each hour's own cost."""
    T = problem.instance.hours
    energy = x[stored_levels(program, T)]
    inflow = energy - np.roll(energy, 1, axis=1)
    worth = np.roll(reference, -1, axis=1) - reference
    apart = [energy[k, t] for k in range(len(energy)) for t in range(T) if worth[k, t]]
    together = np.where(worth == 0, energy, 0.0).sum(axis=0)
    hosts = sorted({feeder.host_bus for feeder in problem.instance.feeders})
    loads = np.zeros((T, len(hosts)))
    for d, feeder in enumerate(problem.instance.feeders):
        loads[:, hosts.index(feeder.host_bus)] += x[program.columns[f"feeder[{d}].P_boundary"]]
    point = np.concatenate(
        [x[blocks.kept], inflow.ravel(), inflow.sum(axis=0), loads.ravel(), together, apart]
    )
    # Every leader's cost is one of an hour, and so is what the reference makes of a battery's inflow.
    own = (reference * inflow).sum(axis=0)
    for name, where in program.columns.items():
        if not name.startswith(by_hour.FOLLOWER) and not name.endswith(".energy"):
            own += (program.c[where] * x[where]).reshape(-1, T).sum(axis=0)
    return point, own


def leaders_cost(program, x):
    at = np.zeros(len(program.c), dtype=bool)
    for name, where in program.columns.items():
        at[where] = not name.startswith(by_hour.FOLLOWER)
    return float(program.c[at] @ x[: len(program.c)][at])


# The program by hour.


@pytest.mark.parametrize("name", TOYS)
@settings(max_examples=12, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SIZES))
def test_every_point_of_the_relaxation_is_one_by_hour_and_costs_the_same(name, seed, size):
    problem, program, hours, points = prepared(name)
    reference = rough(name, seed, size)
    blocks = blocks_by_hour(problem, program, reference, hours)
    p = blocks.program
    assert not p.integer.any() and len(p.c) == len(p.lower) == p.A.shape[1] == p.cone_A.shape[1]
    for x in points:
        y, own = carried_over(problem, program, blocks, reference, x)
        # A row of a cone or an account adds up hundreds of what a solver leaves of each.
        assert p.row_misses(y).max() < 1e-6 and p.cone_misses(y).max(initial=0.0) < 1e-6
        assert p.box_misses(y).max() < 1e-6
        rounding = 1e-12 * max(size, 1.0) * (1 + reference.size)
        cost = leaders_cost(program, x)
        assert p.c @ y == pytest.approx(cost, rel=1e-9, abs=1e-7 + rounding)
        assert own.sum() == pytest.approx(
            cost + (reference * (own_inflow(program, problem, x))).sum(), rel=1e-9, abs=1e-7 + rounding
        )


def own_inflow(program, problem, x):
    energy = x[stored_levels(program, problem.instance.hours)]
    return energy - np.roll(energy, 1, axis=1)


@pytest.mark.parametrize("name", TOYS)
def test_all_but_storage_belongs_to_one_hour(name):
    problem, program, hours, _ = prepared(name)
    T = problem.instance.hours
    blocks = blocks_by_hour(problem, program, rough(name, 1, 30.0), hours)
    p, K = blocks.program, len(stored_levels(program, T))
    own = np.concatenate(blocks.columns)
    assert len(np.unique(own)) == len(own) == len(p.c) - len(blocks.shared)
    for matrix, owner in ((p.A, blocks.of_row), (p.cone_A, blocks.of_cone_row)):
        entry = matrix.tocoo()
        inside = blocks.of_column[entry.col] >= 0
        assert (blocks.of_column[entry.col][inside] == owner[entry.row][inside]).all()
    assert (blocks.of_column[blocks.batteries] == np.arange(T)).all() and blocks.batteries.shape == (K, T)
    assert (blocks.of_column[blocks.inflow] < 0).all() and (blocks.of_column[blocks.loads_at] < 0).all()
    # A battery's row in an hour: its inflow, and what the relaxation's row said of its flows.
    relaxed = program.relaxed()
    for k in range(K):
        for t in range(T):
            here, there = p.A[[blocks.dynamics[k, t]]], relaxed.A[[blocks.dynamics_before[k, t]]]
            flows = there[:, blocks.kept[blocks.kept < len(relaxed.c)]].toarray()
            assert np.array_equal(here.toarray()[0, : flows.shape[1]], flows[0]) and flows.any()
            assert here[0, blocks.batteries[k, t]] == 1.0
            assert there[0, stored_levels(program, T)[k, t]] == 1.0


def test_levels_are_one_column_an_hour_and_one_for_every_change_of_a_reference():
    problem, program, hours, _ = prepared("congested")
    shape = stored_levels(program, 3).shape
    flat = blocks_by_hour(problem, program, np.ones(shape), hours)
    rising = np.ones(shape)
    rising[1, 0] = 2.0
    stepped = blocks_by_hour(problem, program, rising, hours)
    assert (
        len(stepped.program.c) == len(flat.program.c) + 2
    )  # the step up, and the step back in the last hour
    assert len(flat.shared) == 3 * (2 + len(hours[0].box))


@pytest.mark.parametrize(
    "reference",
    [np.zeros((2, 3)), np.zeros((3, 2)), np.zeros(9), np.full((3, 3), np.nan), np.full((3, 3), np.inf)],
)
def test_a_reference_has_a_price_for_every_battery_and_hour(reference):
    problem, program, hours, _ = prepared("congested")
    with pytest.raises(ValueError, match="a price for every battery and hour"):
        blocks_by_hour(problem, program, reference, hours)


def restated(program, change):
    """The compiled program with something changed where the first battery's energy stands."""
    at = program.columns["feeder[0].energy"].start
    A = program.A.tolil()
    row = int(np.flatnonzero(A[:, [at]].toarray().ravel() == 1.0)[0])
    if change == "level doubled":
        A[row, at] = 2.0
    elif change == "level falls":
        A[row, at] = -1.0
    elif change == "a third level":
        A[row, program.columns["feeder[1].energy"].start] = 1.0
    elif change == "another order of hours":
        A[row, at - 1 + 3], A[row, at + 1] = 0.0, -1.0
    elif change == "in another row":
        A[0, at] = 1.0
    found = replace(program, A=A.tocsr())
    found.A.eliminate_zeros()
    if change in ("inflow", "outflow"):
        side = "row_lower" if change == "inflow" else "row_upper"
        found = replace(found, **{side: getattr(found, side) + 0.1 * (np.arange(A.shape[0]) == row)})
    if change == "a cost of its own":
        found = replace(found, c=found.c + 1.0 * (np.arange(len(found.c)) == at))
    if change == "never empty":
        found = replace(found, lower=found.lower + 1e-3 * (np.arange(len(found.c)) == at))
    if change == "in a cone":
        cones = program.cone_A.tolil()
        cones[0, at] = 1.0
        found = replace(found, cone_A=cones.tocsr())
    return found


@pytest.mark.parametrize(
    "change",
    [
        "level doubled",
        "level falls",
        "a third level",
        "another order of hours",
        "in another row",
        "inflow",
        "outflow",
        "in a cone",
        "a cost of its own",
        "never empty",
    ],
)
def test_storage_stated_otherwise_is_refused(change):
    problem, program, hours, _ = prepared("congested")
    with pytest.raises(ValueError):
        blocks_by_hour(problem, restated(program, change), np.zeros((3, 3)), hours)
    blocks_by_hour(problem, restated(program, "as it is"), np.zeros((3, 3)), hours)


# Cuts.


@functools.cache
def taken(name):
    """The dual vectors of a search's cuts, of whatever reference."""
    problem, program, *_ = prepared(name)
    cuts = hourly_search(problem, program, 1e-6).cuts
    assert len(cuts.block) >= 3 * problem.instance.hours
    return cuts


@pytest.mark.parametrize("name", TOYS)
@settings(max_examples=15, derandomize=True, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from((0.0, 1.0, 300.0, 1e5)),
    st.sampled_from(("right", "disturbed", "random", "spoilt")),
    st.sampled_from((1e-6, 1.0, 1e3)),
)
def test_no_dual_vector_cuts_off_what_an_hour_can_do(name, seed, size, kind, noise):
    problem, program, hours, points = prepared(name)
    reference = rough(name, seed, size)
    blocks = blocks_by_hour(problem, program, reference, hours)
    rng = np.random.default_rng(seed)
    known = taken(name)
    vectors = [list(known.row_duals), list(known.cone_duals)]
    for own in vectors:
        for k, y in enumerate(own):
            own[k] = {"random": 0.0, "right": 1.0}.get(kind, 1.0) * y
            if kind != "right":
                own[k] = own[k] + noise * rng.normal(size=len(y))
            if kind == "spoilt":
                spoilt = rng.random(len(y)) < 0.1
                own[k] = np.where(spoilt, rng.choice([np.nan, np.inf, -np.inf, 1e308], len(y)), own[k])
    cuts = Cuts(known.block, *vectors, reference)
    sides, coefficients = cut_rows(blocks, cuts)
    assert not np.isnan(sides).any()
    if kind in ("right", "disturbed"):
        assert np.isfinite(sides).all()
    holds = np.isfinite(sides)
    for x in points:
        y, own = carried_over(problem, program, blocks, reference, x)
        s = np.append(y[blocks.shared], own)
        beyond = (sides - coefficients @ s)[holds]
        # What the point's solver leaves, 1e-7 p.u. or so, times the vector's size.
        sizes = np.array(
            [
                np.abs(y[np.isfinite(y)]).sum() + np.abs(z[np.isfinite(z)]).sum()
                for y, z in zip(*vectors, strict=True)
            ]
        )
        assert (beyond <= 1e-6 * (1 + size + sizes[holds])).all()


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("lam", [None, 20.0])
def test_leaves_that_see_the_loads_from_few_directions_cut_nothing_off(lam, noise):
    """Two hosts, seen from no direction or as their sum: what a leaf does not see of a cut is given up."""
    problem, program, hours, points = prepared("congested")
    known, rng = taken("congested"), np.random.default_rng(0)
    blocks = blocks_by_hour(problem, program, known.reference, hours)
    cuts = replace(
        known,
        row_duals=[y + noise * rng.normal(size=len(y)) for y in known.row_duals],
        cone_duals=[z + noise * rng.normal(size=len(z)) for z in known.cone_duals],
    )
    sides, coefficients = cut_rows(blocks, cuts)
    loads = blocks.hour_loads(hours, sides, coefficients, cuts.block)
    nothing = np.zeros(0)
    region = None if lam is None else Region(np.full(2, lam), 0.0, nothing, nothing, (nothing, nothing))
    leaf = Leaf(np.zeros((0, 2)), nothing, region)
    made = hull(blocks.relaxation, loads, dict.fromkeys(hours, (leaf, leaf)), dict.fromkeys(hours, ()))
    assert all(np.array_equal(seen, np.eye(2)) for seen in made.directions.values())
    p = made.program
    for x in points:
        y, own = carried_over(problem, program, blocks, known.reference, x)
        s = np.append(y[blocks.shared], own)
        lower, upper = p.lower.copy(), p.upper.copy()
        # Etas may be more than an hour costs by what the point's solver left.
        lower[: len(s)], upper[: len(s)] = s - 1e-6, s + 1e-6
        upper[len(blocks.shared) : len(s)] += 1e-3 * (1 + noise)
        lower, upper = np.maximum(lower, p.lower - 1e-6), np.minimum(upper, p.upper + 1e-3 * (1 + noise))
        found = solve_linear(p.c, p.A, p.row_lower, p.row_upper, lower, upper)
        assert found.status == "solved"


def test_vectors_of_another_shape_are_no_cuts():
    problem, program, hours, _ = prepared("congested")
    blocks, known = blocks_by_hour(problem, program, np.zeros((3, 3)), hours), taken("congested")
    for spoilt in (
        replace(known, row_duals=[y[:-1] for y in known.row_duals]),
        replace(known, cone_duals=[np.append(z, 0.0) for z in known.cone_duals]),
        replace(known, block=known.block + 3),
        replace(known, block=known.block - 3),
        replace(known, row_duals=known.row_duals[:-1]),
    ):
        with pytest.raises(ValueError):
            cut_rows(blocks, spoilt)


@pytest.mark.parametrize("name", TOYS)
def test_a_cut_is_the_hours_cost_where_it_was_taken(name):
    """At the answer's own inflow and load, where the hour can do what it was asked."""
    problem, program, hours, _ = prepared(name)
    reference = rough(name, 5, 30.0)
    blocks = blocks_by_hour(problem, program, reference, hours)
    hosts = len(hours[0].box)
    for t, hour in enumerate(hours_of(blocks)):
        lam, nowhere = np.full(hosts, 300.0), (np.zeros((0, hosts)), np.zeros(0))
        answer = Hour.answers([hour], [Question(t, reference[:, t], 0.0, lam, *nowhere)])[0]
        assert answer.moved < 1e-6
        cuts = Cuts(np.array([t]), [answer.row_duals], [answer.cone_duals], reference)
        sides, coefficients = cut_rows(blocks, cuts)
        s = np.zeros(len(blocks.shared) + blocks.n_blocks)
        s[blocks.position[blocks.loads_at[t]]] = answer.load
        s[len(blocks.shared) + t] = answer.value - 300.0 * answer.load.sum()
        beyond = float((sides - coefficients @ s)[0])
        assert beyond == pytest.approx(0.0, abs=1e-5 * max(abs(answer.value), 1.0))


def test_an_hour_asked_for_too_much_answers_with_a_cut_and_its_moves_are_dear():
    """More inflow than its batteries take, and a load out of reach: both at a penalty beyond every price."""
    problem, program, hours, _ = prepared("congested")
    hour = hours_of(blocks_by_hour(problem, program, np.zeros((3, 3)), hours))[0]
    hosts = len(hours[0].box)
    free, worth = np.zeros(hosts), np.zeros(3)
    nowhere = np.zeros((0, hosts)), np.zeros(0)
    usual = Hour.answers([hour], [Question(0, worth, 0.0, free, *nowhere)])[0]
    much = Hour.answers([hour], [Question(0, worth, 100.0, free, *nowhere)])[0]
    dearest = np.abs(hour.merged.program.c).max()
    assert usual.moved < 1e-6 < 90.0 < much.moved
    assert much.value - usual.value > 3 * 90.0 * dearest
    far = Hour.answers([hour], [Question(0, worth, 0.0, free, np.ones((1, hosts)), np.array([-100.0]))])[0]
    assert far.moved > 90.0 and far.value - usual.value > 3 * 90.0 * dearest


def test_an_inflow_that_is_free_costs_no_more_than_any_that_is_asked_for():
    problem, program, hours, _ = prepared("congested")
    reference = rough("congested", 7, 30.0)
    hosts, nowhere = len(hours[0].box), (np.zeros((0, len(hours[0].box))), np.zeros(0))
    for t, hour in enumerate(hours_of(blocks_by_hour(problem, program, reference, hours))):
        free = Hour.answers([hour], [Question(t, reference[:, t], None, np.zeros(hosts), *nowhere)])[0]
        inflow = free.x[hour.batteries].sum()
        for other in (inflow - 0.01, inflow, inflow + 0.01):
            asked = Hour.answers([hour], [Question(t, reference[:, t], other, np.zeros(hosts), *nowhere)])[0]
            assert asked.value >= free.value - 1e-5 * max(abs(free.value), 1.0)
            if other == inflow:
                assert asked.value == pytest.approx(free.value, rel=1e-5)


def test_columns_held_stay_where_they_are_held_and_their_duals_are_tangents():
    problem, program, hours, _ = prepared("congested")
    blocks = blocks_by_hour(problem, program, np.zeros((3, 3)), hours)
    hour, hosts = hours_of(blocks)[1], len(hours[0].box)
    nowhere = np.zeros((0, hosts)), np.zeros(0)

    def held(inflows):
        fixed = dict(zip(hour.batteries.tolist(), inflows, strict=True))
        return Hour.answers([hour], [Question(1, np.zeros(3), None, np.full(hosts, 30.0), *nowhere, fixed)])[
            0
        ]

    first = held([0.0, 0.01, -0.01])
    assert first.x[hour.batteries] == pytest.approx([0.0, 0.01, -0.01], abs=1e-8)
    slopes = -blocks.program.A[blocks.rows[1]][:, blocks.batteries[:, 1]].T @ first.row_duals
    for other in ([0.01, 0.01, 0.0], [-0.02, 0.0, 0.01], [0.0, 0.02, -0.02]):
        change = slopes @ (np.array(other) - first.x[hour.batteries])
        assert held(other).value >= first.value + change - 1e-4 * abs(first.value)
    assert held([100.0, 0.0, 0.0]) is None


def test_the_point_has_to_be_exact_where_points_are_made_of_it(monkeypatch):
    problem, program, hours, _ = prepared("congested")
    hour, hosts = hours_of(blocks_by_hour(problem, program, np.zeros((3, 3)), hours))[1], len(hours[0].box)
    right, asked = alike.solve_conic, []

    def watched(node, **settings):
        asked.append(settings)
        return right(node, **settings)

    monkeypatch.setattr(alike, "solve_conic", watched)
    question = Question(1, np.zeros(3), 0.0, np.full(hosts, 30.0), np.zeros((0, hosts)), np.zeros(0))
    Hour.answers([hour], [question])[0]
    Hour.answers([hour], [replace(question, inflow=None, fixed={int(hour.batteries[0]): 0.0})])[0]
    assert asked == [{"exact": False}, {"exact": True}]


def test_an_hour_that_cannot_be_solved_gives_no_cut(monkeypatch):
    problem, program, *_ = prepared("congested")
    whole, asked = alike.solve_conic, []

    def moody(node, **settings):
        asked.append(node)
        found = whole(node, **settings)
        return replace(found, status="error") if len(asked) % 3 == 0 else found

    monkeypatch.setattr(alike, "solve_conic", moody)
    search = apart(problem, program)
    outcome = search.solve(unproven(problem, program), 1e-3, time.monotonic() + 60.0)
    assert 0 < search.n_cuts < len(asked)
    certificate = certify(problem, program, outcome, 1e-3)
    assert certificate.bound_by == "safe" and certificate.bound <= certificate.objective
    # Hours that never answer leave the boxes of their costs.
    monkeypatch.setattr(alike, "solve_conic", lambda node, **_: replace(whole(node), status="error"))
    search = apart(problem, program)
    outcome = search.solve(unproven(problem, program), 1e-3, time.monotonic() + 60.0)
    assert search.n_cuts == 0
    certificate = certify(problem, program, outcome, 1e-3)
    assert certificate.status == "gap_limit" and certificate.bound <= certificate.objective


def test_questions_not_put_would_hardly_have_been_missed(monkeypatch):
    """Put all the same: what joins two answers is no less than the hour's cost between them."""
    problem, program = compiled(instance(2, 0, hours=12))
    search, told = apart(problem, program), []
    most_short = Answered.most_short

    def asked_too(answered, use):
        most = most_short(answered, use)
        if math.isfinite(most):
            answer = search.ask([search._question(use, search._paid(use))])[0]
            paid = use.leaf.region.lam @ use.load
            assert answer.value - use.cost - paid <= most + 1e-5 * abs(answer.value)
            told.append(most)
        return most

    monkeypatch.setattr(Answered, "most_short", asked_too)
    outcome = search.solve(search.idle(), 1e-3, math.inf)
    each = search.fine * 1e-3 * search.best.value / 12
    assert min(told) < each < max(told)
    assert certify(problem, program, outcome, 1e-3).status == "certified"


def test_the_cuts_that_held_the_last_point_are_enough_to_hold_it():
    problem, program = compiled(instance(2, 0, hours=6))
    search = apart(problem, program)
    search.solve(search.idle(), 1e-3, math.inf)
    reference, n_cuts, bound = search.reference, search.n_cuts, search.bounds[-1]
    search._again(reference)
    assert len(search.tight) == search.n_cuts == len(search.answered.questions) < n_cuts
    part = search._proof(replace(search.first.parts[0], bound=-math.inf), {}, search.of_rows)
    assert part.bound >= bound - search.fine * 1e-3 * search.best.value
    # Of another reference they hold it nearly as well.
    search._again(reference + 1e-2)
    assert all((q.worth == reference[:, q.hour] + 1e-2).all() for q in search.answered.questions)
    part = search._proof(replace(search.first.parts[0], bound=-math.inf), {}, search.of_rows)
    assert part.bound >= bound - 1e-2 * search.best.value


# The bound, by the certificate, against the enumerated optimum.


@functools.cache
def enumerated(seed):
    case = small_instance(seed)
    assert case.hours == 2 and case.settlement == "lmp"
    return brute_force.solve(case)


def proven(problem, program, outcome):
    """The certificate's bound from the parts alone."""
    return _bound_of_parts(problem, program, outcome)


@pytest.mark.long
@pytest.mark.parametrize("seed", SMALL)
def test_the_small_cases_are_closed_or_left_to_the_search_over_the_whole(seed):
    problem, program = compiled(small_instance(seed))
    optimum = enumerated(seed)
    scale = max(abs(optimum.cost), 1.0)
    outcome = hourly_search(problem, program, GAP)
    found = certify(problem, program, outcome, GAP)
    assert found.status == "certified" or seed not in CLOSED and found.status == "gap_limit", found
    assert found.bound_by == "safe" and found.bound <= optimum.cost + ENUMERATED * scale
    assert found.objective >= optimum.cost - ENUMERATED * scale
    if seed in PROVEN:  # whatever point was found
        assert found.bound >= optimum.cost - 2 * ENUMERATED * scale
    closed = certify(problem, program, solve(problem, program, "auto", GAP, 20.0), GAP)
    assert closed.status == "certified" and closed.objective == pytest.approx(optimum.cost, abs=2e-5 * scale)


@pytest.mark.long
@pytest.mark.parametrize("seed", SMALL)
def test_no_reference_and_no_dual_vector_proves_more_than_the_enumerated_optimum(seed, monkeypatch):
    monkeypatch.setattr(hourly, "REFERENCES", 1)
    problem, program = compiled(small_instance(seed))
    most = enumerated(seed).cost + ENUMERATED * max(abs(enumerated(seed).cost), 1.0)
    rng = np.random.default_rng(seed)
    for size in SIZES:
        search = apart(problem, program)
        search.refer(size * rng.normal(size=search.reference.shape))
        first = replace(unproven(problem, program), parts=())
        outcome = search.solve(first, GAP, time.monotonic() + 10.0)
        if outcome.cuts is None:  # no linear program with such numbers was solved
            assert size == SIZES[-1] and not outcome.parts
            continue
        assert proven(problem, program, outcome) <= most
        cuts, parts = outcome.cuts, outcome.parts
        forged = [replace(cuts, reference=cuts.reference + rng.normal(size=cuts.reference.shape))]
        for noise in np.repeat([1e-6, 1e-3, 1.0, 1e3], 3):
            forged.append(
                replace(
                    cuts,
                    row_duals=[y + noise * rng.normal(size=len(y)) for y in cuts.row_duals],
                    cone_duals=[z + noise * rng.normal(size=len(z)) for z in cuts.cone_duals],
                )
            )
        for other in forged:
            size = rng.choice([0.0, 1e-3, 1.0])
            disturbed = [
                replace(part, row_duals=part.row_duals + size * rng.normal(size=len(part.row_duals)))
                for part in parts
            ]
            assert proven(problem, program, replace(outcome, cuts=other, parts=tuple(disturbed))) <= most


# Instances.


@pytest.mark.parametrize(("n_adns", "seed"), [(2, 0), (3, 1)])
def test_both_searches_agree_on_generated_instances(n_adns, seed):
    problem, program = compiled(instance(n_adns, seed, hours=8))
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    found = certify(problem, program, outcome, 1e-3)
    assert found.status == "certified" and found.bound_by == "safe", found
    other = certify(problem, program, whole_search(problem, program, 1e-3), 1e-3)
    assert other.status == "certified" and other.bound_by == "safe", other
    tolerance = 1e-6 * abs(found.objective)
    assert found.bound <= other.objective + tolerance and other.bound <= found.objective + tolerance
    assert abs(found.objective - other.objective) <= max(found.abs_gap, other.abs_gap) + tolerance


def test_a_point_whose_rows_the_scaled_solve_misses_is_certified():
    """Two ADNs that move prices much: Clarabel, equilibrated, calls a point solved that misses its rows."""
    problem, program = compiled(instance(2, 0, partners="nearest:4", network="scaled"))
    found = certify(problem, program, solve(problem, program, "auto", 0.03, 60.0), 0.03)
    assert found.status == "certified" and found.bound_by == "safe", found


@pytest.mark.parametrize("name", TOYS)
def test_the_toys_are_certified_with_the_hours_apart(name):
    problem, program, *_ = prepared(name)
    outcome = hourly_search(problem, program, 1e-3)
    found = certify(problem, program, outcome, 1e-3)
    assert outcome.cuts is not None and outcome.cuts.reference is not None
    assert found.bound_by == "safe" and found.bound <= found.objective, found
    assert found.status == "certified" or name == "relay", found


def spilling():
    """Loads so small and generation so bound that power is spilt: prices below zero in the middle hours."""
    case = toy(2, 3, rate_mw=1.0, load_mw=0.5, sun=9.0)
    net = case.transmission.model_copy(update={"spill_per_mwh": 30.0})
    return case.model_copy(update={"transmission": net})


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [
        spilling(),
        toy(2, 2, rate_mw=0.2),
        toy(2, 3, load_mw=40.0, rate_mw=1.0),
        toy(2, 2, battery=1e-3),
        instance(2, 0, hours=4, network="scaled", congestion="strong"),
    ],
    ids=["negative prices", "hardly a line", "shedding", "tiny batteries", "scaled, strong congestion"],
)
def test_hard_cases_leave_a_bound_that_holds(case):
    problem, program = compiled(case)
    outcome = hourly_search(problem, program, 1e-4, 60.0)
    found = certify(problem, program, outcome, 1e-4)
    assert found.status in ("certified", "gap_limit"), found
    assert found.bound_by == "safe"
    best = certify(problem, program, solve(problem, program, "auto", 1e-4, 20.0), 1e-4)
    assert found.bound <= best.objective + 1e-6 * abs(best.objective)


# Time.


def ending(monkeypatch, looks):
    """A clock that jumps to the end once it has been looked at so often."""
    seen = []

    def monotonic():
        seen.append(None)
        return 0.0 if len(seen) <= looks else 100.0

    for module in (auto, hourly, price_regions, hour_points):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=monotonic))
    return 50.0, seen


TIGHT = toy(3, 3, load_mw=7.0, rate_mw=1.0)


# Looks at the clock: one for each of the three hours' trees, some for every round and every point.
LOOKS = (0, 2, 3, 4, 7, 10, 14, 21, 30, 45)


@pytest.mark.parametrize("looks", LOOKS)
def test_time_that_ends_at_once_or_between_rounds_leaves_a_point_and_a_bound(monkeypatch, looks):
    problem, program = compiled(TIGHT)
    first = welfare(problem, program, 1e-6, 60.0, lambda told: None)
    search, asked = apart(problem, program), []
    put = search._put
    ended, seen = ending(monkeypatch, looks)
    # No cut is asked for after the time.
    monkeypatch.setattr(search, "_put", lambda questions: (asked.append(len(seen)), put(questions))[1])
    outcome = search.solve(first, 1e-7, ended)
    assert max(asked, default=0) <= looks
    found = certify(problem, program, outcome, 1e-7)
    assert outcome.status == found.status == "time_limit", found
    assert found.bound_by == "safe" and first.least - 1e-6 <= found.bound <= found.objective
    assert found.objective <= program.objective(first.x) + 1e-9
    if looks >= 30:
        assert outcome.cuts is not None and found.bound > first.least + 1.0


@pytest.mark.parametrize("looks", [4, 8, 16, 30, 50, 64])
def test_the_default_method_never_ends_with_less_than_the_welfare_bound(monkeypatch, looks):
    problem, program = compiled(TIGHT)
    first = welfare(problem, program, 1e-6, 60.0, lambda told: None)
    ended, seen = ending(monkeypatch, looks)
    outcome = auto.solve(problem, program, 1e-7, ended, lambda told: None)
    found = certify(problem, program, outcome, 1e-7)
    # It may be done before the clock was looked at so often.
    assert found.status == ("time_limit" if len(seen) > looks else "certified") and found.bound_by == "safe"
    assert first.least - 1e-6 <= found.bound <= found.objective <= program.objective(first.x) + 1e-9


def test_the_default_method_closes_what_its_references_leave_open():
    """Three references from the welfare bound leave some 1.5e-4; the search over the whole does the rest."""
    problem, program = compiled(TIGHT)
    found = certify(problem, program, auto.solve(problem, program, 1e-4, 60.0, lambda told: None), 1e-4)
    assert found.status == "certified" and found.bound_by == "safe"


def test_the_default_method_keeps_the_better_proof(monkeypatch):
    """What the search over the whole does not reach stays proven by the hours."""
    problem, program = compiled(TIGHT)
    first = welfare(problem, program, 1e-6, 60.0, lambda told: None)
    known = hourly_search(problem, program, 1e-5)
    assert known.least > first.least + 1.0
    monkeypatch.setattr(HourlySearch, "solve", lambda self, first, gap, ended: known)
    for bound, least in ((first.least, known.least), (1e9, 1e9)):
        parts = (replace(first.parts[0], bound=bound),)
        monkeypatch.setattr(
            price_regions.Search, "run", lambda self, *_, own=parts: replace(self.first, parts=own)
        )
        found = auto.solve(problem, program, 1e-9, 60.0, lambda told: None)
        assert found.least == least and program.objective(found.x) == program.objective(known.x)
        assert (found.cuts is None) == (found.trees == {}) == (bound == 1e9)
        own = certify(problem, program, found, 1e-9).bound
        assert own == pytest.approx(known.least if found.cuts else first.least, rel=1e-6)


def test_hours_are_apart_where_storage_alone_joins_several_with_prices_of_their_own():
    assert by_hour.applies(build(toy(1, 2)))
    assert not by_hour.applies(build(toy(1, 1)))
    assert not by_hour.applies(build(toy(1, 2, settlement="tariff")))
    assert not by_hour.applies(build(ramping()))
