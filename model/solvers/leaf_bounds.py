"""What an hour costs at least, leaf by leaf, at a price of what its batteries take in.

Nothing but the batteries' inflow joins the hours of the master program. At a price of it the hours are apart,
and the least that one costs is that of its cheapest leaf: a program of a few columns, with the hour's cuts
(Lagrangian relaxation, Geoffrion 1974). Most leaves cost far more than the cheapest one at any price near,
so hardly any has to be looked at again when prices or cuts change. Together the leaves' dual vectors are one
of the master program with all leaves, which nobody has to solve.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import highspy
import numpy as np
from scipy.sparse import coo_array, csr_array

from model.bounds import safe_bound
from model.by_hour import HourBlocks
from model.price_hull import HourLoads, Hull, Leaf, Region, hull, stated_cuts, stated_planes
from model.program import Array
from model.solvers.linear import linear_solver, run_either

# Seconds for a program of one leaf, which takes some milliseconds.
LEAF_S = 10.0
# So many leaves' programs stay loaded; each takes up to half a MiB.
LOADED = 500
# By how much, in p.u., the limits of a leaf without a solution are widened until it has one.
WIDER = 1e-6, 1e-3
# Rows of a leaf's share in the inflow and the cost: at most of each, and at least; of these the inflow's, and
# the cost's at most.
JOINED, MOST, LEAST, COST = 4, 0, 2, 1
# A proof with fewer cuts may say less by this part.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Use:
    """What is used of a leaf: its share, and per share the loads at the hosts, the batteries' inflow in sum
    and the hour's cost.
    """

    hour: int
    leaf: Leaf
    share: float
    load: Array
    inflow: float
    cost: float


@dataclass(frozen=True, eq=False)
class Least:
    """The least that a leaf costs, in $, at a price of the inflow, where, and the dual vector that says so.

    ``facts``: how many cuts and, of a leaf that is not explored, known regions it rests on.
    """

    price: float
    value: float
    facts: tuple[int, int]
    use: Use | None = None
    own: Array | None = None
    common: Array | None = None


@dataclass(frozen=True, eq=False)
class Proof:
    """Of an hour: what its cheapest leaf costs, in $, every leaf's dual vector, what they have in common, and
    the numbers of the cuts that it takes among the hour's.
    """

    value: float
    own: list[Array]
    common: Array
    cuts: Array


@dataclass(frozen=True)
class _Loaded:
    """A leaf's program and the solver that holds it, which rested on ``facts``, one after another: after the
    program's rows there are the later planes of each, then its later cuts.
    """

    node: Hull
    highs: highspy.Highs
    facts: tuple[tuple[int, int], ...]


class _Begin(NamedTuple):
    """A leaf's own rows after the shares of its loads: its limits, the known planes of one that is not
    explored, the shares of the inflow and the cost, and the cuts.
    """

    limits: int
    planes: int
    joined: int
    cuts: int


# What a leaf costs, its loads, inflow and cost there, its own duals and those of what joins leaves.
Word = tuple[float, Array, float, float, Array, Array] | None


class LeafBounds:
    """The least costs of the leaves of all hours, as far as they were asked for."""

    def __init__(self, blocks: HourBlocks):
        self.relaxed = blocks.relaxation
        n = len(blocks.shared)
        self.columns = {
            t: np.array([blocks.position[blocks.inflow[t]], n + t, *blocks.position[blocks.loads_at[t]]])
            for t in range(blocks.hours)
        }
        hours = np.concatenate(list(self.columns.values()))
        no_rows, n_all = np.zeros(0, dtype=int), len(self.relaxed.c)
        self.alone = {t: self.relaxed.part(columns, no_rows) for t, columns in self.columns.items()}
        # What joins the hours.
        others = np.setdiff1d(np.arange(n_all), hours)
        self.between = self.relaxed.part(others, np.arange(len(self.relaxed.row_lower)))
        self.found: dict[Leaf, Least] = {}
        self.loaded: dict[Leaf, _Loaded] = {}
        self.renew({})

    def renew(self, hours: dict[int, HourLoads]) -> None:
        """The hours with all cuts so far, in terms of the master's columns."""
        self.hours = {t: self._apart(hour) for t, hour in hours.items()}

    @staticmethod
    def _apart(hour: HourLoads) -> HourLoads:
        """The same in terms of the columns of the hour alone: inflow, cost and loads."""
        assert hour.cuts is not None
        n = 2 + len(hour.box)
        return replace(
            hour,
            boundary=[np.array([i]) for i in range(2, n)],
            cost=coo_array((n,)),
            native=coo_array((n,)),
            cuts=replace(hour.cuts, joined=np.arange(2)),
        )

    def prices(self, row_duals: Array) -> dict[int, float]:
        """What a unit of inflow costs in every hour, by duals of the relaxation's rows."""
        priced = self.relaxed.c - self.relaxed.A.T @ row_duals
        return {t: float(priced[columns[0]]) for t, columns in self.columns.items()}

    def joint(self, row_duals: Array) -> float:
        """What a bound has besides the hours' least costs, by duals of the relaxation's rows, in $."""
        return safe_bound(self.between, row_duals, np.zeros(0))

    def least(self, t: int, leaf: Leaf, price: float) -> float:
        """What the leaf costs at least by what is known of it, or of the one that it was split off from."""
        known = self._known(leaf)
        return -np.inf if known is None else self._at(t, self.found[known], price)

    def _known(self, leaf: Leaf) -> Leaf | None:
        """The leaf, or the nearest that it was split off from, of which something is known."""
        known: Leaf | None = leaf
        while known is not None and known not in self.found:
            known = known.parent
        return known

    def _at(self, t: int, found: Least, price: float) -> float:
        """What is known at one price, at another one: the inflow is in its box."""
        column, dearer = self.columns[t][0], price - found.price
        inflow = self.relaxed.lower[column] if dearer > 0 else self.relaxed.upper[column]
        return float(found.value + dearer * inflow)

    def cheapest(self, t: int, leaves: Iterable[Leaf], price: float, known: tuple[Region, ...]) -> Least:
        """What the leaf that costs least at the price costs, by all cuts and known regions."""
        bounds = {leaf: self.least(t, leaf, price) for leaf in leaves}
        while True:
            leaf = min(bounds, key=lambda leaf: bounds[leaf])
            found = self.found.get(leaf)
            if found is not None and found.price == price and found.facts == self._facts(t, leaf, known):
                return found
            bounds[leaf] = self.solved(t, leaf, price, known).value

    def _facts(self, t: int, leaf: Leaf, known: tuple[Region, ...]) -> tuple[int, int]:
        cuts = self.hours[t].cuts
        assert cuts is not None
        return len(cuts.sides), 0 if leaf.region is not None else len(known)

    def solved(
        self,
        t: int,
        leaf: Leaf,
        price: float,
        known: tuple[Region, ...],
        kept: Array | None = None,
    ) -> Least:
        """The least that a leaf costs by all cuts, or by the hour's cuts ``kept``, numbers of theirs."""
        found = self._last(t, leaf, price, known) if kept is None else None
        if found is None:
            found = self._afresh(t, leaf, price, known, kept)
        facts = self._facts(t, leaf, known)
        before = self.least(t, leaf, price) if kept is None else -np.inf
        if found is None:  # no word from the solver: what was known stands
            least = Least(price, before, facts)
        else:
            value, load, inflow, cost, own, common = found
            least = Least(price, value, facts, Use(t, leaf, 1.0, load, inflow, cost), own, common)
        if kept is None:
            self.found[leaf] = least
        return least

    def _afresh(
        self, t: int, leaf: Leaf, price: float, known: tuple[Region, ...], kept: Array | None
    ) -> Word:
        hour = self.hours[t]
        if kept is not None:
            assert hour.cuts is not None
            hour = replace(hour, cuts=hour.cuts.kept(kept))
        columns = self.columns[t]
        alone = replace(self.alone[t], c=np.append([price, 1.0], np.zeros(len(columns) - 2)))
        node = hull(alone, {t: hour}, {t: (leaf,)}, {t: known})
        p = node.program
        # What joins the leaves is free here: then its duals are the same for all of them. So are a leaf's own
        # loads, inflow and cost: rows with its share limit them, as they do beside other leaves.
        lower, upper = p.lower.copy(), p.upper.copy()
        free = np.concatenate([np.arange(len(columns)), *node.loads[t], *node.joined[t]])
        lower[free], upper[free] = -np.inf, np.inf
        # Where cuts say that an hour cannot be in a leaf, it costs more than it ever may.
        facts, own = self._facts(t, leaf, known), node.own[t][0]
        row_lower, row_upper = p.row_lower.copy(), p.row_upper.copy()
        # That the follower's cost is at least zero joins the leaves too; where it bound in one of them, the
        # duals of what joins them would be its own. A known plane says more; without any it binds in all.
        if known:
            row_lower[node.common[t][0]] = -np.inf
        begin = self._begin(t, leaf, facts[1])
        row_upper[own[begin.joined + COST]] = np.inf
        highs = linear_solver(p.c, p.A, row_lower, row_upper, lower, upper)
        highs.setOptionValue("presolve", "off")
        loaded = _Loaded(node, highs, (facts,))
        if kept is None:
            self._keep(leaf, loaded)
        limits = own[begin.limits : begin.planes]
        found = self._run(t, leaf, loaded)
        for wider in WIDER:
            if found is not None or not len(limits):
                break
            # A leaf that rounding has left empty. Wider limits take no dual vector away, and cost no more.
            for row in limits:
                highs.changeRowBounds(int(row), -np.inf, wider)
            found = self._run(t, leaf, loaded)
        return found

    def _last(self, t: int, leaf: Leaf, price: float, known: tuple[Region, ...]) -> Word:
        """The leaf's program as it was last, with the known regions and cuts since then; None where that does
        not do.
        """
        loaded, facts = self.loaded.get(leaf), self._facts(t, leaf, known)
        if loaded is None:
            return None
        node, highs, (n_cuts, n_planes) = loaded.node, loaded.highs, loaded.facts[-1]
        if leaf.region is None and known and not n_planes:  # with the payment's floor
            return None
        parts, share, hour = node.loads[t][0], node.shares[t], self.hours[t]
        if leaf.region is None:
            planes = stated_planes(hour, known[n_planes:])
            _add_rows(highs, np.concatenate([node.paid[t], parts, share]), planes)
        _add_rows(highs, np.concatenate([node.joined[t][0], parts, share]), stated_cuts(hour, n_cuts))
        highs.changeColCost(0, price)
        loaded = replace(loaded, facts=(*loaded.facts, facts))
        self._keep(leaf, loaded)
        return self._run(t, leaf, loaded)

    def _keep(self, leaf: Leaf, loaded: _Loaded) -> None:
        """Keep a leaf's program, and let go of the one that was needed longest ago."""
        self.loaded.pop(leaf, None)
        self.loaded[leaf] = loaded
        if len(self.loaded) > LOADED:
            del self.loaded[next(iter(self.loaded))]

    def proof(
        self, t: int, leaves: tuple[Leaf, ...], price: float, known: tuple[Region, ...], near: float
    ) -> Proof | None:
        """Dual vectors of all leaves that say what the cheapest one costs.

        None without a word from the solver on the cheapest one. Leaves that are known to cost more by
        ``near``, in $, have their proof; others are solved, by no more cuts than it takes.
        """
        cheapest = self.cheapest(t, leaves, price, known)
        if cheapest.common is None:
            return None
        n = self._facts(t, leaves[0], known)[0]
        kept = np.zeros(0, dtype=int)
        value, own = np.inf, {}
        for leaf in sorted(leaves, key=lambda leaf: self.least(t, leaf, price)):
            far = self.least(t, leaf, price) > cheapest.value + near
            moved = self._moved(t, leaf, price) if far else None
            if moved is not None:
                own[leaf] = self._whole(t, leaf, *moved, known)
                continue
            enough = False
            if len(kept):
                least, by = self.solved(t, leaf, price, known, kept), kept
                enough = least.value >= cheapest.value - ROUNDING * abs(cheapest.value)
            if not enough:
                least, by = self.solved(t, leaf, price, known), np.arange(n)
                if least.own is not None:
                    kept = np.union1d(kept, np.flatnonzero(least.own[len(least.own) - n :]))
            if least.own is not None:
                value = min(value, least.value)
            else:  # no word from the solver: what was known before
                least, by = self._moved(t, leaf, price) or (least, by)
            own[leaf] = self._whole(t, leaf, least, by, known)
        return Proof(value, [own[leaf] for leaf in leaves], cheapest.common, kept)

    def _moved(self, t: int, leaf: Leaf, price: float) -> tuple[Least, Array] | None:
        """What is known of a leaf at another price as a dual vector at this one, and its cuts; None where
        there is none.

        A leaf's limits begin with those of the one that it was split off from, known regions and cuts only
        grow in number: so a vector fits with zeros put in between.
        """
        known: Leaf | None = leaf
        while known is not None and (known not in self.found or self.found[known].own is None):
            known = known.parent
        if known is None or (leaf.region is None) != (known.region is None):
            return None
        found = self.found[known]
        assert found.own is not None
        n, planes = found.facts
        own = np.insert(
            found.own, np.full(len(leaf.h) - len(known.h), self._begin(t, known, planes).planes), 0.0
        )
        # The inflow's share of its box takes up what the price changes.
        dearer = price - found.price
        own[self._begin(t, leaf, planes).joined + (LEAST if dearer > 0 else MOST)] += dearer
        return replace(found, own=own), np.arange(n)

    def _whole(self, t: int, leaf: Leaf, least: Least, by: Array, known: tuple[Region, ...]) -> Array:
        """A leaf's dual vector by some cuts as one by all; without one, zeros, which is as safe."""
        n_cuts, n_planes = self._facts(t, leaf, known)
        begin = self._begin(t, leaf, n_planes)
        full = np.zeros(begin.cuts + n_cuts)
        if least.own is not None:
            before = self._begin(t, leaf, least.facts[1])
            full[: before.joined] = least.own[: before.joined]
            full[begin.joined : begin.cuts] = least.own[before.joined : before.cuts]
            full[begin.cuts + by] = least.own[before.cuts :]
        return full

    def _begin(self, t: int, leaf: Leaf, n_planes: int) -> _Begin:
        """Where kinds of rows begin among a leaf's own."""
        limits = 2 * len(self.hours[t].box)
        planes = limits + len(leaf.h)
        return _Begin(limits, planes, planes + n_planes, planes + n_planes + JOINED)

    def _run(self, t: int, leaf: Leaf, loaded: _Loaded) -> Word:
        found = run_either(loaded.highs, LEAF_S)
        if found.status != "solved" or found.x is None or found.row_duals is None:
            return None
        node, x, duals = loaded.node, found.x, found.row_duals
        own, later = duals[node.own[t][0]], duals[len(node.program.row_lower) :]
        if len(later):
            # Planes come before what is joined, cuts last.
            grown = np.diff(loaded.facts, axis=0)[:, ::-1]
            of_plane = np.tile([True, False], len(grown)).repeat(grown.ravel())
            planes = self._begin(t, leaf, loaded.facts[0][1]).joined
            own = np.concatenate([own[:planes], later[of_plane], own[planes:], later[~of_plane]])
        return found.objective, x[node.loads[t][0]], *x[node.joined[t][0]], own, duals[node.common[t]]


def _add_rows(highs: highspy.Highs, columns: Array, values: Array) -> None:
    """Rows over the same columns, each at least zero."""
    rows = csr_array(values)
    n, zero = rows.shape[0], np.zeros(rows.shape[0])
    highs.addRows(n, zero, zero + np.inf, rows.nnz, rows.indptr[:n], columns[rows.indices], rows.data)
