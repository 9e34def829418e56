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

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, hstack, vstack

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
class HourLoads:
    """One hour's loads: host columns, their box, the leaves of its tree, and phi at native load.

    ``boundary``: for every host bus the columns of the ADNs' boundary power. ``box``: (host, 2). ``cost`` and
    ``native``: the program's coefficients of the hour's cost and native value. ``price_cap``: the largest
    absolute price. ``native_cost``: phi at native load, in $.
    """

    boundary: list[Array]
    box: Array
    cost: Array
    native: Array
    price_cap: float
    native_cost: float

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
        loads[t] = HourLoads(boundary, box, cost, native, price_cap, native_cost[t])
    return loads


def chebyshev(leaf: Leaf, box: Array) -> tuple[Array, float]:
    """Centre and radius of the largest ball in a leaf and the box; the radius is negative if none."""
    n = len(box)
    G = np.vstack([leaf.G, np.eye(n), -np.eye(n)])
    h = np.concatenate([leaf.h, box[:, 1], -box[:, 0]])
    radius = np.append(np.zeros(n), -1.0)
    found = linprog(
        radius,
        np.column_stack([G, np.linalg.norm(G, axis=1)]),
        h,
        bounds=[(None, None)] * n + [(0, None)],
        method="highs",
    )
    return (found.x[:n], float(found.x[n])) if found.status == 0 else (box.mean(axis=1), -1.0)


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


@dataclass(frozen=True)
class Hull:
    """A program with the disjunctions of some hours, and the columns of each leaf's share and load."""

    program: Program
    shares: dict[int, Array]
    loads: dict[int, Array]


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
    shares, loads = {}, {}
    for t, leaves in chosen.items():
        hour = hours[t]
        n_hosts = len(hour.box)
        c -= hour.cost - hour.native
        most = hour.price_cap * float(np.abs(hour.box).max(axis=1).sum())
        payment = rows.columns([-most], [most], [1.0])[0]
        spent = np.flatnonzero(hour.cost)
        rows.add([payment, *spent], [1.0, *-hour.cost[spent]], -hour.native_cost, np.inf)
        z = rows.columns(np.zeros(len(leaves)), np.ones(len(leaves)))
        low, high = np.minimum(hour.box[:, 0], 0), np.maximum(hour.box[:, 1], 0)
        parts = np.array([rows.columns(low, high) for _ in leaves])
        total_columns, total_values = [payment], [1.0]
        for leaf, share, part in zip(leaves, z, parts, strict=True):
            for b, (least, greatest) in enumerate(hour.box):
                rows.add([part[b], share], [1.0, -greatest], -np.inf, 0.0)
                rows.add([part[b], share], [1.0, -least], 0.0, np.inf)
            for g, limit in zip(leaf.G, leaf.h, strict=True):
                rows.add([*part, share], [*g, -limit], -np.inf, 0.0)
            if leaf.region is not None:
                total_columns += list(part)
                total_values += list(-leaf.region.lam)
                continue
            paid = rows.columns([-most], [most])[0]
            total_columns.append(paid)
            total_values.append(-1.0)
            for region in known[t]:
                rows.add(
                    [paid, *part, share],
                    [1.0, *-region.lam, hour.native_cost - region.value],
                    0.0,
                    np.inf,
                )
        rows.add(total_columns, total_values, 0.0, np.inf)
        rows.add(z, np.ones(len(z)), 1.0, 1.0)
        for b in range(n_hosts):
            own = hour.boundary[b]
            rows.add([*parts[:, b], *own], [*np.ones(len(leaves)), *-np.ones(len(own))], 0.0, 0.0)
        shares[t], loads[t] = z, parts
    return Hull(rows.attached_to(replace(relaxed, c=c)), shares, loads)


class _Rows:
    """Rows and columns to be added to a program."""

    def __init__(self, n_columns: int):
        self.first = self.next = n_columns
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.cost: list[float] = []
        self.entries: tuple[list[int], list[int], list[float]] = ([], [], [])
        self.row_lower: list[float] = []
        self.row_upper: list[float] = []

    def columns(
        self, lower: Array | list[float], upper: Array | list[float], cost: list[float] | None = None
    ) -> Array:
        numbers = np.arange(self.next, self.next + len(lower))
        self.next += len(lower)
        self.lower.extend(lower)
        self.upper.extend(upper)
        self.cost.extend(cost or [0.0] * len(lower))
        return numbers

    def add(
        self, columns: Array | list[int], values: Array | list[float], lower: float, upper: float
    ) -> None:
        row = len(self.row_lower)
        self.entries[0].extend([row] * len(columns))
        self.entries[1].extend(columns)
        self.entries[2].extend(values)
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def attached_to(self, program: Program) -> Program:
        extra = self.next - self.first
        row, column, value = self.entries
        own = csr_array((value, (row, column)), shape=(len(self.row_lower), self.next))
        wide = hstack([program.A, csr_array((program.A.shape[0], extra))])
        free = np.zeros(extra, dtype=bool)  # every box here follows from the rows
        return replace(
            program,
            c=np.append(program.c, self.cost),
            A=vstack([wide, own], format="csr"),
            row_lower=np.append(program.row_lower, self.row_lower),
            row_upper=np.append(program.row_upper, self.row_upper),
            lower=np.append(program.lower, self.lower),
            upper=np.append(program.upper, self.upper),
            integer=np.append(program.integer, free),
            enforced_lower=np.append(program.enforced_lower, free),
            enforced_upper=np.append(program.enforced_upper, free),
            cone_A=hstack([program.cone_A, csr_array((program.cone_A.shape[0], extra))], format="csr"),
        )
