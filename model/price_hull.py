"""Price regions of the follower, and the tight disjunction over them.

In one hour the follower's optimal cost phi is a convex, piecewise linear function of the ADNs'
load L at their host buses. On a *price region* (a critical region of the parametric follower, Gal and
Nedoma 1972) it is affine, prices ``lam`` are constant, and the leaders' payment is the linear
``lam L``. A tree of closed polytopes covers the box of reachable loads; its leaves are explored
(inside one region) or not. A load in an unexplored leaf pays at least ``phi(D + L) - phi(D)``, so a
program over the leaves bounds the bilevel problem from below however little has been explored.

For one hour the disjunction "L lies in one leaf" is written by disaggregation (Balas 1985):
every leaf has its share ``z`` and its part of the load. All in per unit and $.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array, csr_array

from model.problem import Problem
from model.program import Array, Program


@dataclass(frozen=True, eq=False)
class Region:
    """Where the prices at the host buses are ``lam``.

    ``value``: the native value phi(D + L) - lam L, in $. The dispatch ``base + slope L`` (pg, shed,
    spill, theta; in the program's order) is feasible and optimal on the region. ``facets`` are the
    halfspaces ``g L <= h``, as (G, h), that can bind within the load box.
    """

    lam: Array
    value: float
    base: Array
    slope: Array
    facets: tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Leaf:
    """A closed polytope ``G L <= h`` of loads; ``region`` is None where it is not explored."""

    G: Array
    h: Array
    region: Region | None = None
    parent: "Leaf | None" = None

    def within(self, ancestors: "tuple[Leaf, ...] | list[Leaf]") -> bool:
        """True where this leaf is one of the leaves given or was split off from one."""
        leaf: Leaf | None = self
        while leaf is not None:
            if any(leaf is other for other in ancestors):
                return True
            leaf = leaf.parent
        return False


@dataclass(frozen=True, eq=False)
class HourCuts:
    """Rows ``on_joined s + on_loads L >= sides`` on columns ``joined`` and the loads of one hour.

    They hold in each of the hour's leaves apart, so the hull states columns and rows for every leaf:
    (cuts, columns), (cuts, hosts), (cuts,).
    """

    joined: Array
    on_joined: Array
    on_loads: Array
    sides: Array

    def kept(self, numbers: Array) -> "HourCuts":
        """Some of the cuts."""
        return HourCuts(self.joined, self.on_joined[numbers], self.on_loads[numbers], self.sides[numbers])


@dataclass(frozen=True, eq=False)
class HourLoads:
    """One hour's loads: host columns, their box, the leaves of its tree, and phi at native load.

    ``boundary``: for every host bus the columns of the ADNs' boundary power. ``box``: (host, 2). ``cost`` and
    ``native``: the program's coefficients of the hour's cost and native value, (columns,), of which few are
    not zero. ``price_cap``: the largest absolute price. ``native_cost``: phi at native load, in $. ``cuts``:
    what else of the hour each leaf has.
    """

    boundary: list[Array]
    box: Array
    cost: coo_array
    native: coo_array
    price_cap: float
    native_cost: float
    cuts: HourCuts | None = None

    def load(self, x: Array) -> Array:
        """The ADNs' load at the hosts, at a point of the program."""
        return np.array([x[columns].sum() for columns in self.boundary])


def hour_loads(problem: Problem, program: Program, native_cost: dict[int, float]) -> dict[int, HourLoads]:
    """The loads of every hour; ``native_cost`` is phi at native load, in $, or a little more."""
    m, affine = problem.m, program.objective_map
    hosts = sorted({feeder.host_bus for feeder in problem.instance.feeders})
    first = {d: program.columns[b.P_boundary.name].start for d, b in m.feeder.items()}
    at = [[d for d, feeder in enumerate(problem.instance.feeders) if feeder.host_bus == i] for i in hosts]
    prices = program.column(m.follower.kkt.gamma.name)
    price_cap = float(np.maximum(np.abs(program.lower[prices]), np.abs(program.upper[prices])).max())
    loads = {}
    for t in m.follower.hour_cost:
        boundary = [np.array([first[d] + t for d in hosted]) for hosted in at]
        box = np.array([[program.lower[own].sum(), program.upper[own].sum()] for own in boundary])
        cost, _ = affine.row(m.follower.hour_cost[t])
        native, _ = affine.row(m.follower.native_value[t])
        terms = coo_array(cost), coo_array(native)
        loads[t] = HourLoads(boundary, box, *terms, price_cap, native_cost[t])
    return loads


def whole(hour: HourLoads) -> Leaf:
    """The unexplored leaf that covers all loads of the hour's box."""
    return Leaf(np.zeros((0, len(hour.box))), np.zeros(0))


def split(leaf: Leaf, region: Region, facets: list[int]) -> list[Leaf]:
    """Children that cover ``leaf``: inside the region, and one unexplored leaf beyond each chosen facet.

    ``leaf = (leaf and all facets) or union_i (leaf and facets before i and not facet i)``, all
    closed, so that nothing is lost.
    """
    children = []
    G, h = leaf.G, leaf.h
    for k in facets:
        g, limit = region.facets[0][k], region.facets[1][k]
        children.append(Leaf(np.vstack([G, -g]), np.append(h, -limit), None, leaf))
        G, h = np.vstack([G, g]), np.append(h, limit)
    return [Leaf(G, h, region, leaf), *children]


@dataclass(frozen=True, eq=False)
class _View:
    """The loads seen from a few directions: ``directions L``, in ``box``; what leaves and prices ask of L
    is there.

    With few congested lines all prices and facets of an hour lie in a small subspace: total load, and a
    flow or two.
    """

    directions: Array
    box: Array
    extent: Array

    @cached_property
    def inverse(self) -> Array:
        """Coefficients by least squares."""
        return np.linalg.pinv(self.directions.T)

    def of(self, g: Array) -> tuple[Array, Array]:
        """Coefficients with ``g L = coefficients (directions L)``, and the most by which that can be
        wrong, of one g or of rows of them.
        """
        if len(self.directions) == g.shape[-1]:
            return g, np.zeros(g.shape[:-1])
        # Refined once; however near this is, what it misses is told.
        found = g @ self.inverse.T
        found += (g - found @ self.directions) @ self.inverse.T
        found[np.abs(found) < 1e-13 * np.abs(found).max(axis=-1, keepdims=True, initial=0.0)] = 0.0
        size = np.abs(g) + np.abs(found) @ np.abs(self.directions)
        missed = np.abs(g - found @ self.directions) + 4 * g.shape[-1] * np.finfo(float).eps * size
        return found, missed @ self.extent


def _view(hour: HourLoads, leaves: list[Leaf], known: tuple[Region, ...]) -> _View:
    """The directions that matter to the leaves and prices of an hour; the loads themselves where all do."""
    n = len(hour.box)
    extent = np.abs(hour.box).max(axis=1)
    if hour.cuts is not None:  # few columns apart from the loads, which may be stated as they are
        return _View(np.eye(n), hour.box, extent)
    prices = [leaf.region.lam for leaf in leaves if leaf.region is not None] + [
        region.lam for region in known
    ]
    normals = np.vstack([*(leaf.G for leaf in leaves), *prices, np.zeros((0, n))])
    picked: list[Array] = []
    span = np.zeros((0, n))  # an orthonormal basis of what is picked
    for g in normals:
        size = float(np.linalg.norm(g))
        rest = g - span.T @ (span @ g)
        rest -= span.T @ (span @ rest)
        if size and float(np.linalg.norm(rest)) > 1e-9 * size:
            picked.append(g / np.abs(g).max())
            span = np.vstack([span, rest / np.linalg.norm(rest)])
    if len(picked) >= n:
        return _View(np.eye(n), hour.box, extent)
    directions = np.array(picked).reshape(-1, n)
    ends = np.stack([directions * hour.box[:, 0], directions * hour.box[:, 1]])
    box = np.column_stack([ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)])
    # Rounded outwards, so that a load in its box is one seen from here.
    slack = 1e-12 * (1.0 + np.abs(box).max(axis=1, initial=0.0))
    return _View(directions, box + np.column_stack([-slack, slack]), extent)


@dataclass(frozen=True)
class Hull:
    """A program with the disjunctions of some hours, and the columns of each leaf's share and of its load
    as seen from ``directions``: (leaf, direction). ``paid``: what each unexplored leaf pays, -1 of others.
    ``joined``: of hours with cuts, each leaf's part of the
    cuts' columns: (leaf, column). ``own``: the rows of each of an hour's leaves, cuts last; ``whole``: the
    row by which an hour's shares sum to one; ``common``: its other rows.
    """

    program: Program
    shares: dict[int, Array]
    loads: dict[int, Array]
    paid: dict[int, Array]
    directions: dict[int, Array]
    joined: dict[int, Array]
    own: dict[int, list[Array]]
    common: dict[int, Array]
    whole: dict[int, int]

    def with_fixed(self, values: dict[int, float]) -> "Hull":
        """The same with some columns at a value."""
        return replace(self, program=self.program.with_fixed(values))


def hull(
    relaxed: Program,
    hours: dict[int, HourLoads],
    chosen: dict[int, tuple[Leaf, ...]],
    known: dict[int, tuple[Region, ...]],
) -> Hull:
    """The relaxation with, for each hour in ``chosen``, the load in one of the leaves given there.

    The hour's payment becomes a column of its own: at least ``phi(D + L) - phi(D)``, equal to
    ``lam L`` on the share of an explored leaf, and on an unexplored one at least what each
    ``known`` region's plane says.
    """
    rows = _Rows(len(relaxed.c))
    c = relaxed.c.copy()
    shares, loads, paid, directions, joined, own, common, whole_at = {}, {}, {}, {}, {}, {}, {}, {}
    before = len(relaxed.row_lower)
    for t, leaves in chosen.items():
        hour, first = hours[t], rows.n
        spent = hour.cost.coords[0]
        c[spent] -= hour.cost.data
        c[hour.native.coords[0]] += hour.native.data
        most = hour.price_cap * float(np.abs(hour.box).max(axis=1).sum())
        payment = rows.columns([-most], [most], 1.0)[0]
        rows.add([payment, *spent], [1.0, *-hour.cost.data], -hour.native_cost, np.inf)
        view = _view(hour, [*leaves], known[t])
        planes = _planes(hour, known[t], view)
        z = rows.columns(np.zeros(len(leaves)), np.ones(len(leaves)))
        low, high = np.minimum(view.box[:, 0], 0), np.maximum(view.box[:, 1], 0)
        parts = np.array([rows.columns(low, high) for _ in leaves])
        total_columns, total_values = [payment], [1.0]
        paid_at = np.full(len(leaves), -1)
        of_leaf = []
        for k, (leaf, share, part) in enumerate(zip(leaves, z, parts, strict=True)):
            begun = rows.n
            rows.add_shares(part, share, *view.box.T)
            in_view, errors = view.of(leaf.G)
            limits = np.column_stack([in_view, -leaf.h - errors])
            rows.add_all(np.append(part, share), limits, -np.inf, 0.0)
            if leaf.region is not None:
                in_view, error = view.of(leaf.region.lam)
                total_columns += [*part, share]
                total_values += [*-in_view, float(error)]
            else:
                paid_at[k] = rows.columns([-most], [most])[0]
                total_columns.append(paid_at[k])
                total_values.append(-1.0)
                rows.add_all(np.concatenate([[paid_at[k]], part, [share]]), planes, 0.0, np.inf)
            of_leaf.append(np.arange(begun, rows.n))
        if hour.cuts is not None:
            joined[t], of_cuts = _state_cuts(rows, relaxed, hour.cuts, view, z, parts)
            of_leaf = [np.append(mine, cuts) for mine, cuts in zip(of_leaf, of_cuts, strict=True)]
        rows.add(total_columns, total_values, 0.0, np.inf)
        whole_at[t] = before + rows.n
        rows.add(z, np.ones(len(z)), 1.0, 1.0)
        for b, direction in enumerate(view.directions):
            at = np.flatnonzero(direction)
            columns = np.concatenate([hour.boundary[i] for i in at])
            weight = np.concatenate([np.full(len(hour.boundary[i]), direction[i]) for i in at])
            rows.add([*parts[:, b], *columns], [*np.ones(len(leaves)), *-weight], 0.0, 0.0)
        shares[t], loads[t], directions[t], paid[t] = z, parts, view.directions, paid_at
        own[t] = [before + mine for mine in of_leaf]
        others = np.setdiff1d(np.arange(first, rows.n), np.concatenate(of_leaf))
        common[t] = before + others[others != whole_at[t] - before]
    program = rows.attached_to(replace(relaxed, c=c))
    return Hull(program, shares, loads, paid, directions, joined, own, common, whole_at)


def _state_cuts(
    rows: "_Rows",
    program: Program,
    cuts: HourCuts,
    view: _View,
    shares: Array,
    parts: Array,
) -> tuple[Array, list[Array]]:
    """Columns and rows of an hour's cuts for every leaf; the leaves' parts of the joined columns, and each
    leaf's rows among those added, cuts last.
    """
    low, high = program.lower[cuts.joined], program.upper[cuts.joined]
    stated = _stated(cuts, view)
    found, where = [], []
    for share, part in zip(shares, parts, strict=True):
        begun = rows.n
        own = rows.columns(np.minimum(low, 0.0), np.maximum(high, 0.0))
        rows.add_shares(own, share, low, high)
        rows.add_all(np.concatenate([own, part, [share]]), stated, 0.0, np.inf)
        where.append(np.arange(begun, rows.n))
        found.append(own)
    for column, own in zip(cuts.joined, np.array(found).T, strict=True):
        rows.add([column, *own], [-1.0, *np.ones(len(own))], 0.0, 0.0)
    return np.array(found), where


def _stated(cuts: HourCuts, view: _View) -> Array:
    """Rows over a leaf's part of the joined columns, its part of the loads and its share, at least zero."""
    on_loads, errors = view.of(cuts.on_loads)
    sides = cuts.sides - errors
    # Penalties of an hour are steep: rows of that size have HiGHS lose its way. Powers of two, so exact.
    size = np.abs(np.column_stack([cuts.on_joined, on_loads, sides])).max(axis=1, initial=1.0)
    scale = 2.0 ** -np.ceil(np.log2(size))
    return np.column_stack([cuts.on_joined, on_loads, -sides]) * scale[:, None]


def stated_cuts(hour: HourLoads, first: int) -> Array:
    """An hour's cuts from number ``first`` on as :func:`hull` states them for a leaf: rows over its part of
    the joined columns, of the loads, and its share, each at least zero.
    """
    assert hour.cuts is not None
    return _stated(hour.cuts.kept(np.arange(first, len(hour.cuts.sides))), _view(hour, [], ()))


def _planes(hour: HourLoads, known: tuple[Region, ...], view: _View) -> Array:
    """Rows over what an unexplored leaf pays, its part of the loads and its share, each at least zero."""
    in_view, errors = view.of(np.array([region.lam for region in known]).reshape(-1, len(hour.box)))
    values = np.array([region.value for region in known])
    return np.column_stack([np.ones(len(values)), -in_view, hour.native_cost - values + errors])


def stated_planes(hour: HourLoads, known: tuple[Region, ...]) -> Array:
    """The planes of known regions of an hour with cuts as :func:`hull` states them for an unexplored leaf:
    rows over what it pays, its part of the loads, and its share, each at least zero.
    """
    return _planes(hour, known, _view(hour, [], ()))


class _Rows:
    """Rows and columns to be added to a program."""

    def __init__(self, n_columns: int):
        self.first = self.next = n_columns
        self.n = 0
        # Limits and costs of columns; entries' rows, columns and values; limits of rows.
        none, nowhere = np.zeros(0), np.zeros(0, dtype=int)
        self.boxes = [(none, none, none)]
        self.entries = [(nowhere, nowhere, none)]
        self.limits = [(none, none)]

    def columns(self, lower: Array | list[float], upper: Array | list[float], cost: float = 0.0) -> Array:
        n = len(lower)
        numbers = np.arange(self.next, self.next + n)
        self.next += n
        self.boxes.append((np.asarray(lower), np.asarray(upper), np.full(n, cost)))
        return numbers

    def add(
        self, columns: Array | list[int], values: Array | list[float], lower: float, upper: float
    ) -> None:
        self._add_each(np.atleast_2d(columns), np.atleast_2d(values), lower, upper)

    def add_all(self, columns: Array, values: Array, lower: float, upper: float) -> None:
        """Rows over the same columns: ``values`` (rows, columns)."""
        self._add_each(np.broadcast_to(columns, values.shape), values, lower, upper)

    def add_shares(self, parts: Array, share: int, low: Array, high: Array) -> None:
        """Each part between its limits times the share."""
        pairs = np.column_stack([parts, np.full(len(parts), share)])
        self._add_each(pairs, np.column_stack([np.ones(len(parts)), -high]), -np.inf, 0.0)
        self._add_each(pairs, np.column_stack([np.ones(len(parts)), -low]), 0.0, np.inf)

    def _add_each(self, columns: Array, values: Array, lower: float, upper: float) -> None:
        m = len(values)
        numbers = np.arange(self.n, self.n + m)
        self.n += m
        self.entries.append((np.repeat(numbers, columns.shape[1]), columns.ravel(), values.ravel()))
        self.limits.append((np.full(m, lower), np.full(m, upper)))

    def attached_to(self, program: Program) -> Program:
        lower, upper, cost = (np.concatenate(parts) for parts in zip(*self.boxes, strict=True))
        row_lower, row_upper = (np.concatenate(parts) for parts in zip(*self.limits, strict=True))
        row, column, value = (np.concatenate(parts) for parts in zip(*self.entries, strict=True))
        # Rows come in their order. Every box here follows from them.
        starts = np.append(0, np.cumsum(np.bincount(row, minlength=self.n)))
        rows = csr_array((value, column, starts), shape=(self.n, self.next))
        return program.extended(cost, lower, upper, rows, row_lower, row_upper)
