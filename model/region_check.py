"""What a bound over price regions rests on, checked from the instance: the regions and the cover.

A bound proven in parts holds if (1) the parts together cover every load, and (2) on every explored
leaf the payment is what its region says. For (2) the region's dispatch, affine in the load, must be
feasible on the whole leaf and cost what the region's plane says, and its prices must have multipliers
that are zero wherever the dispatch leaves a limit: then both are optimal on the whole leaf. That phi is near
the plane would not do: a price may change within what a tolerance of phi, which counts native load, hides.
"""

from collections.abc import Iterator

import highspy
import numpy as np
from scipy.sparse import csr_array

from model.data import Instance
from model.follower_check import TIGHT, FollowerRestated, tightly_solved
from model.outcome import Bounded
from model.price_hull import HourLoads, Leaf

Array = np.ndarray

# How far a region may be from the truth: dispatch in per unit, prices relative to the largest, cost relative
# to the hour's cost. Regions come from a basis and miss by 1e-16; at the edge of a leaf more than rounding
# could hide a cheaper price. What the cost misses is subtracted from the bound.
POWER = 1e-9
PRICE = 1e-9
COST = 1e-8


def region_error(
    instance: Instance, follower: FollowerRestated, hour: int, loads: HourLoads, leaf: Leaf
) -> float:
    """How much, in $, the payment on a leaf may differ from ``lam L``; infinite where that does not hold.

    With ramps no hour has a phi of its own, so no region holds.
    """
    region = leaf.region
    if region is None or any(gen.ramp_mw_per_h is not None for gen in instance.transmission.gens):
        return np.inf
    numbers = (leaf.G, leaf.h, region.lam, region.base, region.slope, np.array([region.value]))
    if not all(np.isfinite(part).all() for part in numbers):
        return np.inf
    base = instance.base_mva
    power = POWER * base
    hosts = sorted({feeder.host_bus for feeder in instance.feeders})
    at = [follower.row[i] for i in hosts]
    n, n_blocks = len(follower.native), len(follower.block_cost)
    pieces = np.split(np.column_stack([region.base, region.slope]), np.cumsum([n_blocks, n, n]))
    pg, shed, spill = (base * piece for piece in pieces[:3])
    theta = np.insert(pieces[3], follower.ref, 0.0, axis=0)

    # Columns: at no load of the ADNs, then per p.u. of load at each host.
    net = follower.at @ pg + shed - spill - follower.outflow @ theta
    net[:, 0] -= follower.native[:, hour]
    net[at, np.arange(1, len(hosts) + 1)] -= base
    extent = np.append(1.0, np.abs(loads.box).max(axis=1))
    if np.abs(net @ np.diag(extent)).max() > power:
        return np.inf
    flow = follower.flow @ theta
    limits = [pg, -pg, shed, spill, -flow, flow]
    room = [np.zeros(n_blocks), follower.block_width, np.zeros(n), np.zeros(n), follower.rate, follower.rate]
    slack = np.vstack(limits)
    slack[:, 0] += np.concatenate(room)
    if _least(slack, leaf, loads.box, power) < -power:
        return np.inf

    penalties = instance.transmission.voll_per_mwh * shed + instance.transmission.spill_per_mwh * spill
    cost = follower.block_cost @ pg + penalties.sum(axis=0)
    difference = float(np.abs(cost - np.append(region.value, region.lam)) @ extent)
    # A limit that the dispatch never leaves may have a multiplier.
    held = np.abs(slack) @ extent <= power
    missed = _price_error(follower, at, region.lam / base, held)
    if missed > PRICE * max(float(np.abs(region.lam).max()) / base, 1.0):
        return np.inf
    error = difference + missed * float(follower.block_width.sum() + np.abs(follower.native[:, hour]).sum())
    return error if error <= COST * max(abs(region.value), 1.0) else np.inf


def _price_error(follower: FollowerRestated, at: list[int], lam: Array, held: Array) -> float:
    """By how much, in $/MWh, the best multipliers with prices ``lam`` at the hosts miss optimality.

    ``held``: where the dispatch is always at its limit: blocks at zero and at their width, no shedding, no
    spillage, flows at their rating forwards and backwards. Columns of the linear program: the prices of all
    buses, the multipliers of every line's two directions, the error.
    """
    net, n, n_lines = follower.net, len(follower.native), len(follower.rate)
    n_blocks = len(follower.block_cost)
    kinds = np.split(held, np.cumsum([n_blocks, n_blocks, n, n, n_lines]))
    idle, full, no_shed, no_spill, forwards, backwards = kinds
    cost, voll, spill = follower.block_cost, np.full(n, net.voll_per_mwh), np.full(n, net.spill_per_mwh)
    of_block, of_bus = follower.at.T.toarray(), np.eye(n)
    # Rows "price at most": no more than another MW of a block would cost, and so on.
    most = np.vstack(
        [of_block[~full], -of_block[~idle], of_bus, -of_bus[~no_shed], -of_bus, of_bus[~no_spill]]
    )
    limit = [cost[~full], -cost[~idle], voll, -voll[~no_shed], spill, -spill[~no_spill]]
    flow = follower.flow.toarray()
    angle = np.hstack([follower.outflow.T.toarray(), flow.T, -flow.T])[np.arange(n) != follower.ref]
    given = dict(zip(at, lam, strict=True))
    bounds = [(given.get(i), given.get(i)) for i in range(n)]
    bounds += [(0.0, None if may else 0.0) for may in (*forwards, *backwards)] + [(0.0, None)]
    lp = {
        "c": np.append(np.zeros(n + 2 * n_lines), 1.0),
        "A_ub": np.hstack([most, np.zeros((len(most), 2 * n_lines)), -np.ones((len(most), 1))]),
        "b_ub": np.concatenate(limit),
        "A_eq": np.hstack([angle / np.abs(flow).max(initial=1.0), np.zeros((n - 1, 1))]),
        "b_eq": np.zeros(n - 1),
        "bounds": bounds,
    }
    found = tightly_solved(**lp)
    return float(found.fun) if found.status == 0 else np.inf


def _least(affine: Array, leaf: Leaf, box: Array, power: float) -> float:
    """Least value over a leaf of rows ``a0 + a L``, or 0; linear programs where the box leaves it open."""
    low = affine[:, 0] + np.where(
        affine[:, 1:] > 0, affine[:, 1:] * box[:, 0], affine[:, 1:] * box[:, 1]
    ).sum(axis=1)
    unsure = affine[low < -power]
    if not len(unsure):
        return 0.0
    n = len(box)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n, len(leaf.h)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(n), box[:, 0], box[:, 1]
    lp.row_lower_, lp.row_upper_ = np.full(len(leaf.h), -np.inf), leaf.h
    rows = csr_array(leaf.G)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.indptr, rows.indices, rows.data
    # One instance for all rows: each begins where the last one ended, a tenth of the time of one by one.
    # Stated here, as the certificate shares no code with the solvers.
    highs = highspy.Highs()
    highs.silent()
    for option, value in TIGHT.items():
        highs.setOptionValue(option, value)
    highs.passModel(lp)
    least = 0.0
    for row in unsure:
        highs.changeColsCost(n, np.arange(n, dtype=np.int32), row[1:])
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return -np.inf
        least = min(least, float(row[0] + highs.getInfo().objective_function_value))
    return least


def explored_leaves(
    parts: tuple[Bounded, ...], trees: dict[int, tuple[Leaf, ...]]
) -> Iterator[tuple[int, Leaf]]:
    """Every explored leaf that a part or a tree names, with its hour, once an hour."""
    seen = set()
    named = [
        (t, leaf)
        for source in (*(part.chosen for part in parts), trees)
        for t in source
        for leaf in source[t]
    ]
    for t, leaf in named:
        if leaf.region is not None and (t, id(leaf)) not in seen:
            seen.add((t, id(leaf)))
            yield t, leaf


def covers(parts: tuple[Bounded, ...], trees: dict[int, tuple[Leaf, ...]], integer: Array) -> bool:
    """True where the trees cover their boxes, and every choice of a leaf in each hour and of a value of
    each binary that some part fixes lies in some part. ``integer``: the program's binary columns.
    """
    if not all(_whole_tree(leaves) for leaves in trees.values()):
        return False
    if not all(
        integer[column] and value in (0.0, 1.0) for part in parts for column, value in part.fixed.items()
    ):
        return False
    boxes: list[dict[tuple[str, int], frozenset[int]]] = []
    sizes: dict[tuple[str, int], int] = {}
    for part in parts:
        box = {}
        for t, leaves in part.chosen.items():
            sizes["hour", t] = len(trees[t])
            box["hour", t] = frozenset(k for k, leaf in enumerate(trees[t]) if leaf.within(leaves))
        for column, value in part.fixed.items():
            sizes["binary", column] = 2
            box["binary", column] = frozenset([int(value)])
        boxes.append(box)
    return _cover(boxes, sizes)


def _cover(boxes: list[dict[tuple[str, int], frozenset[int]]], sizes: dict[tuple[str, int], int]) -> bool:
    """Key by key: for every choice of the key, the boxes that hold it must cover the other keys."""
    narrow = {key for box in boxes for key in box if len(box[key]) < sizes[key]}
    if not narrow:
        return bool(boxes)
    # The key that most boxes narrow splits them best.
    key = max(sorted(narrow), key=lambda k: sum(k in box and len(box[k]) < sizes[k] for box in boxes))
    fitting = {
        tuple(n for n, box in enumerate(boxes) if key not in box or choice in box[key])
        for choice in range(sizes[key])
    }
    rest = [{other: own for other, own in box.items() if other != key} for box in boxes]
    return all(_cover([rest[n] for n in chosen], sizes) for chosen in fitting)


def _whole_tree(leaves: tuple[Leaf, ...]) -> bool:
    """True where the leaves cover their box: every split leaf's children are all there and cover it.

    Inside, a child has its parent's rows and m more; for each of these there is a child with the rows
    before it and the row itself turned round.
    """
    children: dict[int, list[Leaf]] = {}
    level = {id(leaf): leaf for leaf in leaves}
    seen: dict[int, Leaf] = {}
    while level:
        seen |= level
        for leaf in level.values():
            if leaf.parent is not None:
                children.setdefault(id(leaf.parent), []).append(leaf)
        above = {id(leaf.parent): leaf.parent for leaf in level.values() if leaf.parent is not None}
        level = {key: leaf for key, leaf in above.items() if key not in seen}
    roots = [leaf for leaf in seen.values() if leaf.parent is None]
    if len(roots) != 1 or len(roots[0].h):
        return False
    for key, own in children.items():
        parent = seen[key]
        inside = [leaf for leaf in own if leaf.region is not None]
        if len(inside) != 1:
            return False
        rows = np.column_stack([inside[0].G, inside[0].h])
        n = len(parent.h)
        if not np.array_equal(rows[:n], np.column_stack([parent.G, parent.h])):
            return False
        expected = {_key(np.vstack([rows[: n + i], -rows[n + i]])) for i in range(len(rows) - n)}
        if not expected <= {_key(np.column_stack([leaf.G, leaf.h])) for leaf in own}:
            return False
    return True


def _key(rows: Array) -> tuple[int, bytes]:
    return len(rows), (rows + 0.0).tobytes()
