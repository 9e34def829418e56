"""The disjunction over price regions on a market that is known in full: two hosts, three planes."""

from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import linprog
from scipy.sparse import coo_array
from toys import toy
from uneven import uneven

from generators import instance
from model import price_hull
from model.price_hull import HourLoads, Leaf, Region, hour_loads, hull, split, whole
from model.program import compile_model
from model.schemes import build
from model.solvers.chebyshev import Balls, chebyshev
from model.solvers.hour_market import HourMarket
from model.solvers.relaxation import solve_relaxation

BOX = np.array([[-1.0, 2.0], [0.5, 3.0]])
# phi(D + L) = max over planes of lam L + value; the first is phi at native load, L = 0.
PRICES = np.array([[20.0, 30.0], [50.0, 35.0], [25.0, 60.0]])
VALUES = np.array([100.0, 80.0, 55.0])
NATIVE = 100.0
NOTHING = coo_array((0,))
# Floating point and a linear program solved to 1e-9 of sizes of 100.
CLOSE = {"rel": 1e-7, "abs": 1e-7}


def region(k):
    """Where plane k is the highest: its facets against the other two."""
    others = [n for n in range(len(VALUES)) if n != k]
    none = np.zeros((0, 2))
    facets = PRICES[others] - PRICES[k], VALUES[k] - VALUES[others]
    return Region(PRICES[k], VALUES[k], none, none, facets)


def planes(load):
    return PRICES @ load + VALUES


def loads(seed, n=200):
    return np.random.default_rng(seed).uniform(BOX[:, 0], BOX[:, 1], (n, 2))


def inside(leaf, load, room=0.0):
    return bool((leaf.G @ load <= leaf.h + room).all())


def test_every_plane_is_the_highest_somewhere():
    assert {int(np.argmax(planes(load))) for load in loads(0)} == {0, 1, 2}


@pytest.fixture(scope="module")
def tree():
    """The box split at every region in turn: three explored leaves and what is left unexplored."""
    leaves, root = [], whole(HourLoads([], BOX, NOTHING, NOTHING, 0.0, 0.0))
    waiting, k = [root], 0
    while waiting and k < 3:
        leaf = waiting.pop(0)
        centre, radius = chebyshev(leaf, BOX)
        if radius <= 1e-9:
            continue
        k = int(np.argmax(planes(centre)))
        first, *rest = split(leaf, region(k), [0, 1])
        leaves.append(first)
        waiting += rest
    return root, leaves


def test_splitting_loses_no_load_and_shares_only_edges(tree):
    root, _ = tree
    children = split(root, region(0), [0, 1])
    assert [leaf.region is None for leaf in children] == [False, True, True]
    assert all(leaf.parent is root for leaf in children)
    for load in loads(1):
        holding = [n for n, leaf in enumerate(children) if inside(leaf, load)]
        assert len(holding) == 1
        assert (holding == [0]) == (int(np.argmax(planes(load))) == 0)


def test_splitting_at_one_facet_only_keeps_the_other_side_of_it():
    root = Leaf(np.array([[1.0, 0.0]]), np.array([1.5]))
    own = region(0)
    near, far = split(root, own, [1])
    assert near.region is own and far.region is None
    for load in loads(2):
        within = load[0] <= 1.5
        low = own.facets[0][1] @ load <= own.facets[1][1]
        assert inside(near, load) == (within and low)
        assert inside(far, load) == (within and not low)


def test_a_leaf_is_within_itself_and_its_ancestors_only(tree):
    root, _ = tree
    child, sibling, _ = split(root, region(0), [0, 1])
    grandchild = split(sibling, region(1), [0])[0]
    assert grandchild.within((root,)) and grandchild.within([sibling]) and grandchild.within((grandchild,))
    assert child.within((sibling, child))
    assert not grandchild.within((child,)) and not root.within((child,)) and not child.within(())


def test_the_chebyshev_ball_is_the_largest_that_fits():
    square = Leaf(np.zeros((0, 2)), np.zeros(0))
    centre, radius = chebyshev(square, BOX)
    assert radius == pytest.approx(1.25) and centre[1] == pytest.approx(1.75)
    assert centre[0] + 1e-9 >= -1.0 + 1.25 and centre[0] <= 2.0 - 1.25 + 1e-9
    # The right triangle x >= -1, y >= 0.5, 3 x + 4 y <= 14: legs of 5 and 3.75, so 6.25 across.
    corner = Leaf(np.array([[3.0, 4.0]]), np.array([14.0]))
    centre, radius = chebyshev(corner, np.array([[-1.0, 9.0], [0.5, 9.0]]))
    assert radius == pytest.approx(5 * 3.75 / (5 + 3.75 + 6.25))  # twice the area by the perimeter
    assert centre == pytest.approx([-1.0 + radius, 0.5 + radius])


@pytest.mark.parametrize("seed", range(5))
def test_balls_in_what_halfspaces_leave_are_those_of_the_leaves_they_make(seed):
    rng = np.random.default_rng(seed)
    leaf = Leaf(rng.normal(size=(2, 2)), rng.uniform(0.5, 2.0, 2))
    balls, cut = Balls(leaf, BOX), 0
    for _ in range(12):
        g, limit = rng.normal(size=2), float(rng.normal())
        beyond = Leaf(np.vstack([leaf.G, -g]), np.append(leaf.h, -limit))
        radius = chebyshev(beyond, BOX)[1]
        assert balls.beyond(g, limit) == pytest.approx(radius, abs=1e-9)
        within = Leaf(np.vstack([leaf.G, g]), np.append(leaf.h, limit))
        if chebyshev(within, BOX)[1] > 0.1:
            leaf, cut = within, cut + 1
            balls.cut(g, limit)
        assert balls.ball()[1] == pytest.approx(chebyshev(leaf, BOX)[1], abs=1e-9)
    assert cut


def test_a_leaf_beyond_its_box_has_no_ball():
    beyond = Leaf(np.array([[1.0, 0.0]]), np.array([-3.0]))
    centre, radius = chebyshev(beyond, BOX)
    assert radius == -1.0 and centre == pytest.approx(BOX.mean(axis=1))
    edge = Leaf(np.array([[1.0, 0.0]]), np.array([-1.0]))
    assert chebyshev(edge, BOX)[1] == pytest.approx(0.0, abs=1e-9)


def market():
    """A program of one hour: two ADNs at host 0, one at host 1; phi and the native value as columns.

    Minimised is phi - native, the payment of the relaxation, where phi is at least every plane.
    """
    m = pyo.ConcreteModel()
    m.P = pyo.Var([0, 1, 2])
    for k, bounds in enumerate([(-0.4, 0.9), (-0.6, 1.1), (0.5, 3.0)]):
        m.P[k].bounds = bounds
    m.phi, m.native = pyo.Var(bounds=(0, 1000)), pyo.Var(bounds=(0, NATIVE))
    m.above = pyo.ConstraintList()
    for lam, value in zip(PRICES, VALUES, strict=True):
        m.above.add(m.phi - lam[0] * (m.P[0] + m.P[1]) - lam[1] * m.P[2] >= value)
    m.cost = pyo.Objective(expr=m.phi - m.native + 7.0)
    program = compile_model(m)
    number = program.objective_map.number
    cost, native = np.zeros(len(program.c)), np.zeros(len(program.c))
    cost[number[id(m.phi)]] = native[number[id(m.native)]] = 1.0
    p = program.column("P")
    return program, HourLoads([p[:2], p[2:]], BOX, coo_array(cost), coo_array(native), 60.0, NATIVE)


def payment(program, hour, chosen, known, load):
    """The least payment at a load, by linear programming; None where no leaf given holds it."""
    built = hull(program, {0: hour}, {0: chosen}, {0: known})
    whole_program = built.program
    lower, upper = whole_program.lower.copy(), whole_program.upper.copy()
    p = program.column("P")
    lower[p[2]] = upper[p[2]] = load[1]
    rows = [np.isin(np.arange(len(lower)), p[:2]).astype(float)]  # the ADNs at host 0 together
    A, low, up = whole_program.A.toarray(), whole_program.row_lower, whole_program.row_upper
    below, above = np.isfinite(low), np.isfinite(up)
    found = linprog(
        whole_program.c,
        np.vstack([-A[below], A[above]]),
        np.concatenate([-low[below], up[above]]),
        np.array(rows),
        [load[0]],
        bounds=np.column_stack([lower, upper]),
        method="highs",
    )
    return None if found.status else found.fun + whole_program.c0


def test_an_explored_leaf_pays_its_prices_and_holds_no_load_beyond(tree):
    root, _ = tree
    program, hour = market()
    for k in range(3):
        own = region(k)
        leaf = split(root, own, [0, 1])[0]
        for load in loads(3, 40):
            paid = payment(program, hour, (leaf,), (own,), load)
            if int(np.argmax(planes(load))) == k:
                assert paid == pytest.approx(PRICES[k] @ load + 7.0, **CLOSE)
            else:
                assert paid is None


def test_an_unexplored_leaf_pays_at_least_every_known_plane_and_never_more_than_phi_says(tree):
    """By convexity phi(D + L) - phi(D) is a bound wherever the load is; planes known may not be all."""
    root, _ = tree
    program, hour = market()
    for load in loads(4, 40):
        everything = planes(load).max() - NATIVE + 7.0
        for known in ((), (region(1),), (region(1), region(2))):
            assert payment(program, hour, (root,), known, load) == pytest.approx(everything, **CLOSE)
    # Without the follower's own rows only the planes known are left.
    bare = replace(program, A=program.A[:0], row_lower=program.row_lower[:0], row_upper=program.row_upper[:0])
    nothing = replace(hour, cost=0 * hour.cost, native=0 * hour.native)
    bare = replace(bare, c=0 * bare.c)
    for load in loads(5, 20):
        known = (region(1), region(2))
        told = max(planes(load)[[1, 2]].max() - NATIVE, -NATIVE)
        assert payment(bare, nothing, (root,), known, load) == pytest.approx(told + 7.0, **CLOSE)


def test_leaves_together_pay_the_convex_hull_of_what_each_pays(tree):
    """The disaggregated form by its definition: the least share-weighted payment over loads in the leaves."""
    root, _ = tree
    program, hour = market()
    first, *rest = split(root, region(0), [0, 1])
    second = split(rest[0], region(1), [1])[0]
    chosen, known = (first, second, rest[1]), (region(0), region(1))
    corners = [
        (load, price)
        for leaf in chosen
        for load in vertices(leaf)
        for price in [max(planes(load)[[0, 1]]) - NATIVE if leaf.region is None else leaf.region.lam @ load]
    ]
    points = np.array([load for load, _ in corners])
    prices = np.array([price for _, price in corners])
    for load in loads(6, 30):
        mixed = linprog(
            prices, A_eq=np.vstack([points.T, np.ones(len(points))]), b_eq=[*load, 1.0], method="highs"
        )
        least = max(mixed.fun, planes(load).max() - NATIVE) if mixed.status == 0 else None
        found = payment(program, hour, chosen, known, load)
        if least is None:
            assert found is None
        else:
            assert found >= mixed.fun + 7.0 - 1e-6
            assert found == pytest.approx(least + 7.0, rel=1e-6, abs=1e-6)


def vertices(leaf):
    """Corners of a leaf within the box."""
    G = np.vstack([leaf.G, np.eye(2), -np.eye(2)])
    h = np.concatenate([leaf.h, BOX[:, 1], -BOX[:, 0]])
    found = []
    for i in range(len(h)):
        for j in range(i):
            if abs(np.linalg.det(G[[i, j]])) > 1e-9:
                point = np.linalg.solve(G[[i, j]], h[[i, j]])
                if (G @ point <= h + 1e-9).all():
                    found.append(point)
    return found


def test_shares_and_loads_of_the_hull_are_the_columns_it_says(tree):
    root, _ = tree
    program, hour = market()
    first, *rest = split(root, region(0), [0, 1])
    built = hull(program, {0: hour, 1: hour}, {0: (first, *rest)}, {0: (region(0),)})
    own = built.program
    assert set(built.shares) == set(built.loads) == {0}
    shares, parts = built.shares[0], built.loads[0]
    assert own.lower[shares].tolist() == [0.0] * 3 and own.upper[shares].tolist() == [1.0] * 3
    assert parts.shape == (3, 2)
    # A part of a load may be zero, so its box holds zero too.
    assert own.lower[parts].tolist() == [[-1.0, 0.0]] * 3 and own.upper[parts].tolist() == [[2.0, 3.0]] * 3
    # The largest price times the largest loads, 60 (2 + 3).
    payments = np.flatnonzero(own.upper == 300.0)
    assert len(payments) == 1 + 2 and (own.lower[payments] == -300.0).all()
    added = np.arange(len(program.c), len(own.c))
    assert len(added) == 1 + 3 + 6 + 2
    assert not own.integer[added].any() and not own.enforced_lower[added].any()
    assert not own.enforced_upper[added].any()
    assert own.cone_A.shape[1] == len(own.c) == own.A.shape[1]
    assert own.c[added].sum() == 1.0 and not own.c[: len(program.c)].any()
    assert program.c.any(), "the program itself is as it was"


@pytest.mark.parametrize("case", [uneven(), toy(3, 2)], ids=["uneven", "toy"])
def test_hour_loads_are_the_boundary_powers_at_each_host(case):
    problem = build(case)
    program = compile_model(problem.m)
    native = {t: 100.0 + t for t in range(case.hours)}
    found = hour_loads(problem, program, native)
    assert set(found) == set(native)
    hosts = sorted({feeder.host_bus for feeder in case.feeders})
    x = np.random.default_rng(8).normal(size=len(program.c))
    for variable, value in zip(program.variables, x, strict=True):
        variable.set_value(value, skip_validation=True)
    for t, hour in found.items():
        power = [
            [problem.m.feeder[d].P_boundary[t] for d, own in enumerate(case.feeders) if own.host_bus == host]
            for host in hosts
        ]
        assert hour.load(x) == pytest.approx([sum(v.value for v in own) for own in power])
        assert hour.box[:, 0] == pytest.approx([sum(v.lb for v in own) for own in power])
        assert hour.box[:, 1] == pytest.approx([sum(v.ub for v in own) for own in power])
        assert hour.cost @ x == pytest.approx(pyo.value(problem.m.follower.hour_cost[t]))
        assert hour.native @ x == pytest.approx(pyo.value(problem.m.follower.native_value[t]))
        assert hour.price_cap == case.base_mva * case.transmission.voll_per_mwh
        assert hour.native_cost == native[t]


def test_the_largest_price_may_be_that_of_spillage():
    case = toy(1, 1)
    net = case.transmission.model_copy(update={"spill_per_mwh": 2000.0})
    problem = build(case.model_copy(update={"transmission": net}))
    assert hour_loads(problem, compile_model(problem.m), {0: 0.0})[0].price_cap == 20000.0


# Many hosts, few directions.


def test_where_prices_are_the_same_at_all_hosts_only_total_load_matters():
    """Three hosts, 20 $/MWh below a total of 3 and 30 above: one direction holds all that is asked of a
    load.
    """
    ones = np.ones(3)
    box = np.array([[0.0, 2.0]] * 3)
    low = Region(20 * ones, 100.0, *[np.zeros((0, 3))] * 2, (ones[None], np.array([3.0])))
    high = Region(30 * ones, 70.0, *[np.zeros((0, 3))] * 2, (-ones[None], np.array([-3.0])))
    leaves = (Leaf(ones[None], np.array([3.0]), low), Leaf(-ones[None], np.array([-3.0]), high))
    view = price_hull._view(HourLoads([], box, NOTHING, NOTHING, 0.0, 0.0), [*leaves], (low, high))
    assert len(view.directions) == 1 and view.box[0] == pytest.approx([0.0, 6.0], abs=1e-11)
    assert view.box[0, 0] <= 0.0 and view.box[0, 1] >= 6.0
    coefficients, error = view.of(30 * ones)
    assert coefficients @ view.directions == pytest.approx(30 * ones) and 0 <= error < 1e-12


def test_a_normal_outside_the_picked_directions_is_charged_what_it_misses():
    view = price_hull._View(np.array([[1.0, 1.0, 1.0]]), np.array([[0.0, 6.0]]), np.full(3, 2.0))
    coefficients, error = view.of(np.array([1.0, 1.0, 1.3]))
    missed = np.abs(np.array([1.0, 1.0, 1.3]) - coefficients @ view.directions)
    assert error == pytest.approx(2.0 * missed.sum()) and error > 0.1


def test_a_hull_over_few_directions_bounds_what_all_directions_do():
    """On a generated market with five hosts: never above the hull that sees every host, and above the
    relaxation.
    """
    case = instance(5, seed=1, hours=1, congestion="none")
    problem = build(case)
    program = compile_model(problem.m)
    market = HourMarket(problem, program, 0)
    native = {0: market.solve(np.zeros(5))[0]}
    hours = hour_loads(problem, program, native)
    root = whole(hours[0])
    found = market.region(hours[0].box.mean(axis=1), hours[0])
    leaves = tuple(split(root, found, list(range(len(found.facets[1])))))
    seen = hull(program.relaxed(), hours, {0: leaves}, {0: (found,)})
    assert len(seen.directions[0]) < 5
    value = seen.program.objective(solve_relaxation(seen.program).x)
    with pytest.MonkeyPatch.context() as patch:
        eye = price_hull._View(np.eye(5), hours[0].box, np.abs(hours[0].box).max(axis=1))
        patch.setattr(price_hull, "_view", lambda *arguments: eye)
        full = hull(program.relaxed(), hours, {0: leaves}, {0: (found,)})
    all_seen = full.program.objective(solve_relaxation(full.program).x)
    relaxed = program.objective(solve_relaxation(program.relaxed()).x)
    assert relaxed - 1e-3 <= value <= all_seen + 1e-3
