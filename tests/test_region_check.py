"""The check of price regions and of their cover, against sampling and enumeration."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog
from toys import toy
from uneven import uneven

from generators import instance
from model.follower_check import FollowerRestated
from model.outcome import Bounded
from model.price_hull import Leaf, hour_loads, split, whole
from model.program import compile_model
from model.region_check import (
    _cover,
    _key,
    _least,
    _price_error,
    _whole_tree,
    covers,
    explored_leaves,
    region_error,
)
from model.schemes import build
from model.solvers.chebyshev import chebyshev
from model.solvers.hour_market import HourMarket
from model.stamping import compile_problem


def cheaper(gen, factor):
    blocks = (block.model_copy(update={"cost_per_mwh": factor * block.cost_per_mwh}) for block in gen.blocks)
    return gen.model_copy(update={"blocks": tuple(blocks)})


class Explored:
    """One hour's region around a load, the leaf it fills, and what its check needs."""

    def __init__(self, rates, hour, share, costs=1.0):
        case = uneven()
        lines = tuple(
            own.model_copy(update={"rate_a_mw": rates * own.rate_a_mw}) for own in case.transmission.branches
        )
        gens = tuple(cheaper(gen, costs) for gen in case.transmission.gens)
        net = case.transmission.model_copy(update={"branches": lines, "gens": gens})
        self.case = case.model_copy(update={"transmission": net})
        problem = build(self.case)
        program = compile_model(problem.m)
        self.follower = FollowerRestated(self.case)
        self.hours = hour_loads(problem, program, dict.fromkeys(range(3), 0.0))
        self.hour, self.loads = hour, self.hours[hour]
        low, high = self.loads.box.T
        self.region = HourMarket(problem, program, hour).region(low + share * (high - low), self.loads)
        facets = list(range(len(self.region.facets[1])))
        self.root = whole(self.loads)
        self.leaf = split(self.root, self.region, facets)[0]

    def error(self, leaf=None, hour=None, **changes):
        leaf = leaf or self.leaf
        leaf = replace(leaf, region=replace(self.region, **changes))
        hour = self.hour if hour is None else hour
        return region_error(self.case, self.follower, hour, self.loads, leaf)


# One price everywhere; lines that bind and load that is shed.
CASES = {"one price": (1.0, 2, 0.7), "congested": (0.35, 1, 0.9)}


@pytest.fixture(scope="module", params=CASES)
def explored(request):
    return Explored(*CASES[request.param])


def test_the_cases_have_facets_room_and_congestion(explored):
    assert len(explored.region.facets[1]) == 3
    assert chebyshev(explored.leaf, explored.loads.box)[1] > 1e-3
    spread = np.ptp(Explored(*CASES["congested"]).region.lam) / explored.case.base_mva
    assert spread > 100 and np.ptp(Explored(*CASES["one price"]).region.lam) < 1e-6


def test_a_region_of_the_follower_holds_within_rounding(explored):
    """1e-8 of the hour's cost is the limit of the check; a right region is off by rounding only."""
    assert explored.error() <= 1e-9 * abs(explored.region.value)


def test_a_leaf_without_a_region_or_without_room_proves_nothing(explored):
    bare = replace(explored.leaf, region=None)
    assert region_error(explored.case, explored.follower, explored.hour, explored.loads, bare) == math.inf
    n = len(explored.loads.box)
    point = Leaf(np.eye(n)[[0]], explored.loads.box[[0], 0])
    assert explored.error(point) == math.inf
    nowhere = Leaf(np.eye(n)[[0]], explored.loads.box[[0], 0] - 1.0)
    assert explored.error(nowhere) == math.inf


def test_a_region_of_another_hour_proves_nothing(explored):
    assert explored.error(hour=0) == math.inf


def test_a_wrong_price_or_value_proves_nothing(explored):
    region = explored.region
    for n in range(len(region.lam)):
        for sign in (1.0, -1.0):
            lam = region.lam.copy()
            lam[n] += sign * 1e-3 * abs(lam[n])
            assert explored.error(lam=lam) == math.inf
    for change in (1e-5, -1e-5):
        assert explored.error(value=region.value * (1 + change)) == math.inf


@pytest.mark.parametrize("part", ["base", "slope"])
def test_no_entry_of_the_dispatch_may_be_wrong(explored, part):
    """1e-3 p.u. or radians at one place: out of balance by kilowatts, or another cost."""
    right = getattr(explored.region, part)
    for place in np.ndindex(right.shape):
        wrong = right.copy()
        wrong[place] += 1e-3
        assert explored.error(**{part: wrong}) == math.inf, place


def test_a_dispatch_that_is_balanced_but_dear_proves_nothing(explored):
    """A block down and shedding up: nothing is out of balance, the plane says what the dispatch costs."""
    region, base = explored.region, explored.region.base.copy()
    net, case = explored.case.transmission, explored.case
    first = next(
        k
        for k, (bus, width) in enumerate(
            (gen.gen_bus, block.p_max_mw) for gen in net.gens for block in gen.blocks
        )
        if base[k] > 1e-2 and bus == 9
    )
    price = [block.cost_per_mwh for gen in net.gens for block in gen.blocks][first]
    base[first] -= 1e-2
    base[3 + 2] += 1e-2  # shedding at bus 9, the third
    dearer = 1e-2 * case.base_mva * (net.voll_per_mwh - price)
    assert explored.error(base=base, value=region.value + dearer) == math.inf


@pytest.mark.parametrize(("share", "holds"), [(0.99, True), (1.0, True), (1.01, False)])
def test_what_prices_miss_counts_for_all_power_and_only_up_to_its_limit(monkeypatch, share, holds):
    """Each MW of units and native load may be worth that much more; at 47 $/MWh up to 4.7e-8 $/MWh."""
    own = Explored(1.0, 1, 0.02)
    net, lam = own.case.transmission, own.region.lam / own.case.base_mva
    assert lam == pytest.approx(47.0) and own.error() < 1e-9
    missed = share * (1e-9 * (np.abs(own.region.lam).max() / own.case.base_mva))
    monkeypatch.setattr("model.region_check._price_error", lambda *arguments: missed)
    power = sum(block.p_max_mw for gen in net.gens for block in gen.blocks)
    power += sum(bus.pd_mw[1] for bus in net.buses)
    assert own.error() == (pytest.approx(missed * power, rel=1e-6) if holds else math.inf)


@pytest.mark.parametrize(("share", "holds"), [(0.99, True), (1.01, False)])
def test_below_a_dollar_a_mwh_prices_may_miss_what_they_may_at_a_dollar(monkeypatch, share, holds):
    own = Explored(1.0, 1, 0.02, costs=0.02)
    assert own.region.lam / own.case.base_mva == pytest.approx(0.94) and own.error() < 1e-9
    monkeypatch.setattr("model.region_check._price_error", lambda *arguments: share * 1e-9)
    assert (own.error() < math.inf) == holds


@pytest.mark.parametrize(("share", "holds"), [(0.5, True), (0.99, True), (1.01, False)])
def test_what_a_plane_misses_is_told_to_the_cent_and_only_up_to_its_limit(explored, share, holds):
    wrong = share * 1e-8 * abs(explored.region.value)
    found = explored.error(value=explored.region.value + wrong)
    assert found == (pytest.approx(wrong, rel=1e-3) if holds else math.inf)


@pytest.mark.parametrize(("share", "holds"), [(1.0, True), (1.01, False)])
def test_a_limit_may_be_missed_by_a_billionth_per_unit(explored, monkeypatch, share, holds):
    power = 1e-9 * explored.case.base_mva
    monkeypatch.setattr("model.region_check._least", lambda *arguments: -share * power)
    assert math.isfinite(explored.error()) == holds


def test_where_the_sun_is_spilled_a_region_holds_too():
    """Spillage leaves the bus and costs; the plane is a few cents, so what it may miss is relative to a $."""
    case = toy(2, 2, load_mw=0.5, sun=6.0)
    problem = build(case)
    program = compile_model(problem.m)
    follower = FollowerRestated(case)
    loads = hour_loads(problem, program, dict.fromkeys(range(2), 0.0))[1]
    low = loads.box[:, 0]
    region = HourMarket(problem, program, 1).region(low, loads)
    n, n_blocks = len(follower.native), len(follower.block_cost)
    spilled = (region.base + region.slope @ low)[n_blocks + n : n_blocks + 2 * n]
    assert spilled.sum() > 0.1 and region.lam / case.base_mva == pytest.approx(-1.0) and abs(region.value) < 1
    leaf = split(whole(loads), region, list(range(len(region.facets[1]))))[0]
    assert region_error(case, follower, 1, loads, leaf) < 1e-10
    for share, holds in ((0.99, True), (1.01, False)):
        wrong = replace(leaf, region=replace(region, value=region.value + share * 1e-8))
        found = region_error(case, follower, 1, loads, wrong)
        assert found == (pytest.approx(share * 1e-8, rel=1e-2) if holds else math.inf)


# Blocks at 20 and 32 $/MWh at bus 1, at 45 at bus 2, a line from 1 to 2, shedding at 1000, spilling at 1.
# Which limits a dispatch never leaves: i(dle) or f(ull) blocks, no shedding, no spillage, the line's ratings.
# Then the prices of both buses, and by how much they miss.
@pytest.mark.parametrize(
    ("blocks", "shed", "spill", "line", "prices", "missed"),
    [
        ("f-i", "00", "00", "", (32, 32), 0),
        ("f-i", "00", "00", "", (31, 31), 1),
        ("f-i", "00", "00", "", (33, 33), 1),
        ("f-i", "00", "00", "", (32, 33), math.inf),
        ("f-i", "00", "00", "", (32, None), 0),
        ("f-i", "00", "00", "", (None, 33), 1),
        ("f--", "00", "00", "forwards", (32, 45), 0),
        ("f--", "00", "00", "forwards", (32, 44), 1),
        ("f--", "00", "00", "backwards", (32, 45), math.inf),
        ("fi-", "00", "00", "backwards", (32, 45), math.inf),
        ("fi-", "00", "00", "forwards", (20, 45), 0),
        ("fi-", "00", "00", "forwards", (19, 45), 1),
        ("fi-", "00", "00", "forwards", (33, 45), 1),
        ("iif", "00", "00", "backwards", (20, 45), math.inf),
        ("iif", "00", "00", "", (20, 20), 25),
        ("iii", "00", "00", "", (20, 20), 0),
        ("iii", "00", "00", "", (22, 22), 2),
        ("fff", "00", "00", "", (46, 46), 0),
        ("fff", "00", "00", "", (42, 42), 3),
        ("fff", "0-", "00", "", (1000, 1000), 0),
        ("fff", "0-", "00", "", (998, 998), 2),
        ("fff", "00", "00", "", (1003, 1003), 3),
        ("iii", "00", "-0", "", (-1, -1), 0),
        ("iii", "00", "-0", "", (0, 0), 1),
        ("iii", "00", "00", "", (-4, -4), 3),
    ],
)
def test_prices_need_multipliers_that_vanish_where_the_dispatch_leaves_a_limit(
    blocks, shed, spill, line, prices, missed
):
    held = [kind == side for side in "if" for kind in blocks]
    held += [kind == "0" for kind in shed + spill] + [line == side for side in ("forwards", "backwards")]
    at = [i for i in (0, 1) if prices[i] is not None]
    lam = np.array([float(prices[i]) for i in at])
    found = _price_error(FollowerRestated(toy()), at, lam, np.array(held))
    assert found == pytest.approx(missed, abs=1e-9)


def test_prices_that_give_more_equations_than_unknowns_are_no_contradiction():
    """Five hosts on a congested network: HiGHS's presolve alone calls such multipliers infeasible."""
    case = instance(5, 2, congestion="strong")
    problem = build(case, stamped=True)
    program = compile_problem(problem)
    loads = hour_loads(problem, program, dict.fromkeys(range(24), 0.0))[6]
    market, follower, rng = HourMarket(problem, program, 6), FollowerRestated(case), np.random.default_rng(0)
    low, high = loads.box.T
    congested = 0
    for _ in range(6):
        region = market.region(low + rng.random(len(low)) * (high - low), loads)
        leaf = split(whole(loads), region, list(range(len(region.facets[1]))))[0]
        assert region_error(case, follower, 6, loads, leaf) < 1e-6
        congested += np.ptp(region.lam) > 1.0
    assert congested > 1


def test_a_leaf_beyond_a_facet_of_its_region_proves_nothing(explored):
    """There the dispatch breaks a limit or costs more than the follower's."""
    explored_root = explored.root
    assert explored.error(explored_root) == math.inf
    n = len(explored.region.facets[1])
    for k in range(n):
        facets = [own for own in range(n) if own != k]
        wide = split(explored_root, explored.region, facets)[0]
        beyond = split(explored_root, explored.region, [*facets, k])[-1]
        if chebyshev(beyond, explored.loads.box)[1] > 1e-3:
            assert explored.error(wide) == math.inf, k


def test_the_least_value_over_a_leaf_is_that_of_a_linear_program():
    rng = np.random.default_rng(9)
    box = np.array([[-1.0, 2.0], [0.5, 3.0]])
    leaf = Leaf(np.array([[1.0, 1.0], [-2.0, 1.0]]), np.array([3.0, 2.0]))
    for _ in range(50):
        rows = rng.normal(size=(4, 3))
        each = [row[0] + linprog(row[1:], leaf.G, leaf.h, bounds=box).fun for row in rows]
        # Rows that the box alone keeps above -1e-5 are not looked at, the others exactly.
        assert _least(rows, leaf, box, 1e-5) == pytest.approx(min(0.0, *each), abs=1e-9)
    safe = np.array([[5.0, 1.0, 1.0], [7.0, -1.0, -1.0]])
    assert _least(safe, leaf, box, 1e-5) == 0.0
    nowhere = Leaf(np.array([[1.0, 0.0]]), np.array([-9.0]))
    assert _least(np.array([[-1.0, 1.0, 0.0]]), nowhere, box, 1e-5) == -math.inf


def test_rows_that_the_box_settles_need_no_linear_program(monkeypatch):
    monkeypatch.setattr("model.region_check.highspy", None)
    box = np.array([[-1.0, 2.0], [0.5, 3.0]])
    everywhere = Leaf(np.zeros((0, 2)), np.zeros(0))
    assert (
        _least(np.array([[1.0, 1.0, 0.0], [2.0, -1.0, 0.0], [0.0, 0.0, 1.0]]), everywhere, box, 1e-5) == 0.0
    )


def bounded(chosen=(), fixed=()):
    return Bounded(dict(chosen), {}, np.zeros(0), np.zeros(0), 0.0, dict(fixed))


def test_boxes_cover_exactly_where_no_choice_is_left_out():
    """Against enumeration of every choice, for random boxes over keys of two to three choices."""
    rng = np.random.default_rng(10)
    verdicts = []
    for _ in range(300):
        sizes = {("hour", k): int(rng.integers(1, 4)) for k in range(3)}
        boxes = []
        for _ in range(rng.integers(1, 6)):
            box = {}
            for key, size in sizes.items():
                if rng.uniform() < 0.7:
                    own = [n for n in range(size) if rng.uniform() < 0.75]
                    box[key] = frozenset(own or [0])
            boxes.append(box)
        every = itertools.product(*(range(size) for size in sizes.values()))
        expected = all(
            any(all(choice[n] in box.get(key, {choice[n]}) for n, key in enumerate(sizes)) for box in boxes)
            for choice in every
        )
        verdicts.append(expected)
        assert _cover(boxes, sizes) == expected
    assert 50 < sum(verdicts) < 250
    assert not _cover([], {})
    assert _cover([{}], {})


@pytest.fixture(scope="module")
def tree(explored_once):
    """A tree of two splits: the root at the region's facets, and the first leaf beyond at one of its own."""
    own = explored_once
    first, second, *rest = split(own.root, own.region, [0, 1])
    other = replace(own.region, lam=own.region.lam + 1.0)
    inner = split(second, other, [1, 0])
    return own.root, (first, *rest, *inner)


@pytest.fixture(scope="module")
def explored_once():
    return Explored(*CASES["one price"])


def test_a_whole_tree_covers_its_box_and_nothing_may_be_missing(tree):
    root, leaves = tree
    assert _whole_tree(leaves) and _whole_tree(leaves[::-1])
    for k in range(len(leaves)):
        assert not _whole_tree(leaves[:k] + leaves[k + 1 :])
    assert _whole_tree((root,))
    assert not _whole_tree(())


@pytest.mark.parametrize("k", range(5))
def test_no_leaf_of_a_tree_may_be_smaller_than_it_was_split(tree, k):
    _, leaves = tree
    assert len(leaves) == 5
    leaf = leaves[k]
    for row in range(len(leaf.h)):
        h, G = leaf.h.copy(), leaf.G.copy()
        h[row] -= 1e-9
        G[row] *= 1 + 1e-9
        for cut in (replace(leaf, h=h), replace(leaf, G=G)):
            assert not _whole_tree(leaves[:k] + (cut,) + leaves[k + 1 :]), row


def test_a_tree_has_one_root_without_rows_and_one_inside_a_split(tree, explored_once):
    root, leaves = tree
    assert not _whole_tree((*leaves, whole(explored_once.loads))), "two roots"
    half = Leaf(np.eye(len(explored_once.loads.box))[[0]], np.array([0.0]))
    assert not _whole_tree((half,)), "a root that is not the whole box"
    inside = leaves[0]
    assert not _whole_tree((*leaves, replace(inside))), "two children inside their regions"
    unexplored = replace(inside, region=None)
    assert not _whole_tree((unexplored, *leaves[1:])), "no child inside a region"


def test_rows_are_compared_by_value_with_one_zero():
    assert _key(np.array([[0.0, 1.0]])) == _key(np.array([[-0.0, 1.0]]))
    assert _key(np.array([[0.0, 1.0]])) != _key(np.array([[0.0, 1.0 + 1e-15]]))
    assert _key(np.array([[1e-20]])) != _key(np.array([[2e-20]]))
    assert _key(np.zeros((1, 2))) != _key(np.zeros((2, 1)))


def test_parts_cover_every_choice_of_leaves_and_of_the_binaries_they_fix(tree):
    _, leaves = tree
    trees = {0: leaves, 2: leaves}
    integer = np.array([False, True, True])
    parts = (
        bounded({0: leaves[:2]}),
        bounded({0: leaves[2:], 2: leaves[:3]}, {1: 0.0}),
        bounded({0: leaves[2:], 2: leaves[:3]}, {1: 1.0}),
        bounded({0: leaves[1:], 2: leaves[3:]}),
    )
    assert covers(parts, trees, integer)
    for k in range(len(parts)):
        assert not covers(parts[:k] + parts[k + 1 :], trees, integer)
    assert not covers((), trees, integer)
    # The same split, on a column that is no binary or at a value that no binary takes.
    for column, value in ((0, 1.0), (1, 0.5), (1, 2.0)):
        sides = (bounded(fixed={column: 0.0}), bounded(fixed={column: value}))
        assert not covers(sides, trees, integer)
    assert covers((bounded(fixed={2: 0.0}), bounded(fixed={2: 1.0})), trees, integer)
    broken = trees | {2: leaves[1:]}
    assert not covers(parts, broken, integer)


def test_leaves_split_off_since_are_within_the_leaves_a_part_names(tree):
    root, leaves = tree
    second = leaves[-1].parent
    assert covers((bounded({0: (leaves[0], second, *leaves[1:2])}),), {0: leaves}, np.zeros(0, dtype=bool))
    assert not covers((bounded({0: (leaves[0], second)}),), {0: leaves}, np.zeros(0, dtype=bool))
    assert covers((bounded({0: (root,)}),), {0: leaves}, np.zeros(0, dtype=bool))


def test_every_explored_leaf_is_named_once_in_each_of_its_hours(tree):
    root, leaves = tree
    explored = [leaf for leaf in leaves if leaf.region is not None]
    assert len(explored) == 2
    parts = (bounded({1: (explored[0], root)}), bounded({1: (explored[0],)}))
    found = list(explored_leaves(parts, {3: leaves}))
    expected = [(1, explored[0]), (3, explored[0]), (3, explored[1])]
    assert sorted((t, id(leaf)) for t, leaf in found) == sorted((t, id(leaf)) for t, leaf in expected)
    assert list(explored_leaves((), {})) == []
