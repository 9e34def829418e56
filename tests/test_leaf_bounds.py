"""What the hours cost at least, leaf by leaf, against the master program with all leaves and all cuts."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
from proofs import begun

from generators import instance
from model.bounds import safe_bound
from model.price_hull import Leaf, hull, whole
from model.program import compile_model
from model.schemes import build
from model.solvers import hourly, leaf_bounds
from model.solvers.chebyshev import chebyshev
from model.solvers.linear import LinearResult, solve_linear

GAP = 1e-3


@pytest.fixture(scope="module")
def searched():
    """A search after its root, and its bound."""
    problem = build(instance(3, 1, hours=6))
    search = begun(problem, compile_model(problem.m), GAP)
    part = search._root()
    return search, part


def whole_master(search):
    """The master with all leaves and cuts, solved."""
    chosen = {t: tuple(leaves) for t, leaves in search.trees.items()}
    p = hull(search.relaxed, search.node_hours, chosen, search._known()).program
    found = solve_linear(p.c, p.A, p.row_lower, p.row_upper, p.lower, p.upper)
    assert found.status == "solved"
    return p, found


def lagrangian(search, of_rows):
    prices, known = search.leaves.prices(of_rows), search._known()
    costs = [
        min(search.leaves.solved(t, leaf, prices[t], known[t]).value for leaf in leaves)
        for t, leaves in search.trees.items()
    ]
    return search.leaves.joint(of_rows) + sum(costs)


def test_prices_of_the_master_with_all_leaves_give_its_value(searched):
    search, part = searched
    p, found = whole_master(search)
    of_rows = found.row_duals[: len(search.relaxed.row_lower)]
    assert lagrangian(search, of_rows) == pytest.approx(found.objective, rel=1e-7)
    # What the search has proven is nearly all that its cuts tell.
    assert part.bound <= found.objective + 1e-6 * abs(found.objective)
    assert part.bound >= found.objective - GAP * abs(found.objective)


def test_other_prices_give_less_and_their_proof_says_just_that(searched, monkeypatch):
    search, _ = searched
    _, found = whole_master(search)
    best, rng = found.row_duals[: len(search.relaxed.row_lower)], np.random.default_rng(0)
    nothing = replace(search.first, parts=()).least
    assert nothing == -math.inf
    for away in (0.0, 1.0, 30.0):
        of_rows = best + away * rng.normal(size=len(best))
        value = lagrangian(search, of_rows)
        assert value <= found.objective + 1e-6 * abs(found.objective)
        part = search._proof(search_part(nothing), {}, of_rows)
        node = hull(search.relaxed, search.node_hours, part.chosen, part.known).program
        assert part.bound == safe_bound(node, part.row_duals, part.cone_duals)
        assert part.bound == pytest.approx(value, rel=1e-7)
        assert part.chosen == {t: tuple(leaves) for t, leaves in search.trees.items()}


def test_a_floor_of_the_payment_that_binds_in_some_leaves_loses_no_proof(searched):
    """Where loads are negative, the follower's cost would be below zero in some leaves but for its floor."""
    search, _ = searched
    own = copy.copy(search)
    own.node_hours = {t: replace(hour, native_cost=-50.0) for t, hour in search.node_hours.items()}
    own.leaves = leaf_bounds.LeafBounds(search.blocks)
    own.leaves.renew(own.node_hours)
    _, found = whole_master(own)
    of_rows = found.row_duals[: len(own.relaxed.row_lower)]
    value = lagrangian(own, of_rows)
    # It does bind: without it the master says less.
    without = copy.copy(own)
    without.node_hours = {t: replace(hour, native_cost=1e6) for t, hour in own.node_hours.items()}
    assert whole_master(without)[1].objective < found.objective - 1.0
    part = own._proof(search_part(-math.inf), {}, of_rows)
    assert part.bound == pytest.approx(value, rel=1e-7) and part.bound <= found.objective


def test_without_a_known_plane_the_floor_holds_and_with_one_it_is_let_go(searched):
    search, _ = searched
    t, known = next((t, regions) for t, regions in search._known().items() if regions)
    hour = search.node_hours[t]
    everywhere = whole(hour)
    first, afresh = (leaf_bounds.LeafBounds(search.blocks) for _ in range(2))
    for own in (first, afresh):
        own.renew(search.node_hours)
    floor = first.solved(t, everywhere, 5.0, ())
    # Without any, the payment would be at its box.
    box = hour.price_cap * np.abs(hour.box).max(axis=1).sum()
    later = first.solved(t, everywhere, 5.0, known)
    assert later.value - box / 2 < floor.value <= later.value + 1e-6 * abs(later.value)
    again = afresh.solved(t, everywhere, 5.0, known)
    assert later.value == pytest.approx(again.value, rel=1e-7)
    assert later.common == pytest.approx(again.common, abs=1e-7)


def test_the_last_choice_is_of_explored_leaves_however_dear_they_seem(searched):
    search, _ = searched
    own = copy.copy(search)
    own.bounds = [-1e9]  # nothing is cheap enough
    # One leaf an hour, once as it is and once as if little were known of it, which costs less.
    last_one = {t: [leaf for leaf in leaves if leaf.region][-1] for t, leaves in search.trees.items()}
    chosen = {t: (leaf, Leaf(leaf.G, leaf.h, None, leaf)) for t, leaf in last_one.items()}
    known = {t: regions[:1] for t, regions in search._known().items()}
    node = hull(search.relaxed, search.node_hours, chosen, known)
    found = {last: own._picked(node, chosen, math.inf, last) for last in (False, True)}
    value = {last: float(node.program.c @ x) for last, (_, x) in found.items()}
    assert value[False] < value[True] - 1e-6
    assert all(leaf.region is not None for (leaf,) in found[True][0].values())
    assert any(leaf.region is None for (leaf,) in found[False][0].values())


def test_explored_leaves_may_be_picked_unless_a_better_point_cannot_be_in_them(searched, monkeypatch):
    search, _ = searched
    own, price = copy.copy(search), search.leaves.prices(search.of_rows)
    mattering = {t: (leaves[0],) for t, leaves in search.trees.items()}
    least = {
        t: {leaf: search.leaves.least(t, leaf, price[t]) for leaf in leaves}
        for t, leaves in search.trees.items()
    }
    for room, most in ((0.0, 8), (20.0, 8), (math.inf, 8), (math.inf, 1)):
        monkeypatch.setattr(hourly, "EXPLORED", most)
        own.bounds = [search.best.value - room]
        for t, leaves in own._pickable({}, mattering).items():
            assert mattering[t][0] in leaves
            near = [
                leaf
                for leaf, cost in least[t].items()
                if leaf.region is not None and cost <= min(least[t].values()) + room
            ]
            cheap = sorted(near, key=lambda leaf: least[t][leaf])[:most]
            assert set(leaves) == {mattering[t][0], *cheap}


def test_leaves_known_to_be_dear_are_proven_by_what_is_known_of_them_at_other_prices(searched, monkeypatch):
    search, _ = searched
    _, found = whole_master(search)
    best, rng = found.row_duals[: len(search.relaxed.row_lower)], np.random.default_rng(2)
    lagrangian(search, best)
    solved, again = search.leaves.solved, []
    monkeypatch.setattr(search.leaves, "solved", lambda *given: again.append(given) or solved(*given))
    # All but the cheapest are dear.
    monkeypatch.setattr(hourly, "NEAR", 0.0)
    for away in (1e-3, 0.1, 1.0):
        for sign in (-1.0, 1.0):
            of_rows = best + sign * away * np.abs(rng.normal(size=len(best)))
            again.clear()
            part = search._proof(search_part(-math.inf), {}, of_rows)
            assert len(again) < sum(map(len, search.trees.values()))
            assert part.bound == pytest.approx(lagrangian(search, of_rows), rel=1e-7)


def test_leaves_split_since_then_are_proven_by_what_is_known_of_the_whole(searched, monkeypatch):
    search, _ = searched
    _, found = whole_master(search)
    of_rows, rng = found.row_duals[: len(search.relaxed.row_lower)], np.random.default_rng(3)
    lagrangian(search, of_rows)
    trees = {}
    for t, leaves in search.trees.items():
        trees[t] = list(leaves)
        for leaf in (leaf for leaf in leaves if leaf.region is None):
            g = rng.normal(size=len(leaf.G.T))
            at = float(g @ chebyshev(leaf, search.hours[t].box)[0])
            halves = [(g, at), (-g, -at)]
            trees[t].remove(leaf)
            trees[t] += [
                Leaf(np.vstack([leaf.G, side]), np.append(leaf.h, limit), None, leaf)
                for side, limit in halves
            ]
    monkeypatch.setattr(search, "trees", trees)
    solved, again = search.leaves.solved, []
    monkeypatch.setattr(search.leaves, "solved", lambda *given: again.append(given) or solved(*given))
    part = search._proof(search_part(-math.inf), {}, of_rows + 0.01 * rng.normal(size=len(of_rows)))
    assert 0 < len(again) < sum(map(len, trees.values()))
    assert part.chosen == {t: tuple(leaves) for t, leaves in trees.items()}
    duals = part.row_duals[: len(of_rows)]
    assert part.bound == pytest.approx(lagrangian(search, duals), rel=1e-7)


def search_part(bound):
    from model.outcome import Bounded

    return Bounded({}, {}, np.zeros(0), np.zeros(0), bound)


def test_what_is_known_of_a_leaf_at_other_prices_is_no_more_than_it_costs(searched):
    search, _ = searched
    rng = np.random.default_rng(1)
    seen = 0
    for t, leaves in search.trees.items():
        known = search._known()[t]
        for leaf in leaves:
            search.leaves.solved(t, leaf, 0.0, known)
            for price in rng.normal(scale=200.0, size=2):
                before = search.leaves.least(t, leaf, price)
                after = search.leaves.solved(t, leaf, price, known).value
                assert before <= after + 1e-6 * abs(after)
                seen += before > -math.inf
    assert seen > 20


def test_the_cheapest_leaf_is_found_without_looking_at_all_of_them(searched, monkeypatch):
    search, _ = searched
    solved, asked = search.leaves.solved, []
    for t, leaves in search.trees.items():
        known = search._known()[t]
        costs = [solved(t, leaf, 10.0, known).value for leaf in leaves]
        monkeypatch.setattr(search.leaves, "solved", lambda *given: asked.append(given) or solved(*given))
        found = search.leaves.cheapest(t, leaves, 10.5, known)
        monkeypatch.setattr(search.leaves, "solved", solved)
        assert found.value == pytest.approx(min(solved(t, leaf, 10.5, known).value for leaf in leaves))
        assert found.value == pytest.approx(min(costs), rel=0.1)
    assert 0 < len(asked) < sum(map(len, search.trees.values()))


def test_a_leaf_resumed_with_later_cuts_and_regions_costs_what_it_does_afresh(searched):
    search, _ = searched
    leaves, rng, grown = search.leaves, np.random.default_rng(4), np.zeros(2)
    every = dict(leaves.hours)
    for t, own in search.trees.items():
        known, cuts = search._known()[t], every[t].cuts
        for first in (1, len(cuts.sides) // 2, len(cuts.sides)):
            leaves.loaded.clear()
            leaves.hours[t] = replace(every[t], cuts=cuts.kept(np.arange(first)))
            for leaf in own:
                leaves.solved(t, leaf, 5.0, known[: len(known) // 2])
            leaves.hours[t] = every[t]
            for leaf in own:
                price = float(100 * rng.normal())
                last = leaves.solved(t, leaf, price, known)
                grown += np.ptp(leaves.loaded[leaf].facts, axis=0)
                afresh = leaves.solved(t, leaf, price, known, np.arange(len(cuts.sides)))
                assert last.value == pytest.approx(afresh.value, rel=1e-7, abs=1e-7)
                assert len(last.own) == len(afresh.own) and last.facts == afresh.facts
                assert last.common == pytest.approx(afresh.common, abs=1e-9)
    assert (grown > 0).all()


def test_no_more_programs_stay_loaded_than_memory_has_room_for(searched, monkeypatch):
    search, _ = searched
    monkeypatch.setattr(leaf_bounds, "LOADED", 3)
    _, found = whole_master(search)
    search.leaves.loaded.clear()
    lagrangian(search, found.row_duals[: len(search.relaxed.row_lower)])
    asked = [(t, leaf) for t, leaves in search.trees.items() for leaf in leaves]
    first, second, third = (leaf for _, leaf in asked[-3:])
    assert list(search.leaves.loaded) == [first, second, third]
    t = asked[-3][0]
    search.leaves.solved(t, first, 1.0, search._known()[t])
    assert list(search.leaves.loaded) == [second, third, first]
    t, leaf = asked[0]
    search.leaves.solved(t, leaf, 1.0, search._known()[t])
    assert list(search.leaves.loaded) == [third, first, leaf]


def test_a_leaf_that_rounding_has_left_empty_costs_what_is_beside_it(searched):
    search, _ = searched
    leaves, (t, own) = search.leaves, next(iter(search.trees.items()))
    known, g = search._known()[t], np.ones(len(search.hours[t].box))
    leaf = max(own, key=lambda leaf: chebyshev(leaf, search.hours[t].box)[1])
    at = float(g @ chebyshev(leaf, search.hours[t].box)[0])

    def held(gap):
        rows, limits = np.vstack([leaf.G, g, -g]), np.append(leaf.h, [at - gap, -at])
        return leaves.solved(t, Leaf(rows, limits, leaf.region, leaf), 5.0, known)

    line = held(0.0)
    for gap in (1e-9, 1e-7, 1e-5):
        empty = held(gap)
        assert empty.own is not None and line.value - 1e-2 * abs(line.value) < empty.value
        # Duals of the limits say that there is nothing between them.
        a, b = 2 * len(search.hours[t].box), len(leaf.h)
        assert empty.value <= line.value + 1e-5 * abs(line.value)
        assert (empty.own[a + b : a + b + 2] <= 1e-9).all()


def test_a_proof_takes_fewer_cuts_than_there_are(searched):
    search, part = searched
    assert 0 < len(search.tight) < search.n_cuts


def test_a_leaf_without_a_word_from_the_solver_makes_no_bound_wrong(searched, monkeypatch):
    search, _ = searched
    _, found = whole_master(search)
    of_rows = found.row_duals[: len(search.relaxed.row_lower)]
    lagrangian(search, of_rows)
    run, calls = leaf_bounds.run_either, []

    def now_and_then(*given, **more):
        calls.append(None)
        nothing = LinearResult("error", None, None, np.inf)
        return nothing if len(calls) % 3 == 0 else run(*given, **more)

    monkeypatch.setattr(leaf_bounds, "run_either", now_and_then)
    part = search._proof(search_part(-math.inf), {}, of_rows)
    assert calls and part.bound <= found.objective + 1e-6 * abs(found.objective)
