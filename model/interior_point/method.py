"""A primal-dual interior-point method for four conic programs of one pattern side by side.

    minimise  c x   subject to  A x = b,  G x + s = h,  s in K (an orthant and second-order cones).

Nesterov and Todd's scaling, Mehrotra's predictor and corrector (Vandenberghe 2010; Domahidi, Chu and Boyd
2013), and sparse factors that share what does not depend on the data: Clarabel's way with one program, at a
fraction of its time with many. It does not detect infeasibility: what does not converge has no solution here.
"""

from dataclasses import dataclass

import numpy as np

from model.interior_point import cones, ldl, newton
from model.interior_point.lanes import LANES
from model.interior_point.pattern import Pattern
from model.program import Array

STEPS = 60
# The part of the way to the boundary that is gone.
FRACTION = 0.99
# Passes of the equilibration.
PASSES = 5
# A solve is refined so many times at most, while it misses more than these parts of what the program misses
# and of the tolerance.
ROUNDS, OF_MISSED, OF_TOLERANCE = 2, 1e-6, 1e-4
# A program whose largest miss has become so many times its least one ends, sooner where that was this many
# tolerances, as what rounding spoils there does not come back; and so does one whose steps are this short.
WORSE, WORSE_NEAR, NEAR, SHORT = 1e3, 10.0, 100.0, 1e-8
# Between these the largest cost is brought to 1.
SIZES = 1e-4, 1e4
# Iterates this good are kept.
KEPT = 1e-4


@dataclass(frozen=True)
class Group:
    """The data of four programs, (..., 4).

    ``entries`` and ``side`` belong to the pattern's rows: ``A x = side``, ``G x <= side``, ``side - G x`` in
    a cone. ``at_most`` and ``at_least``: the columns with boxes above and below, ``upper`` and ``lower``.
    """

    c: Array
    entries: Array
    side: Array
    at_most: Array
    upper: Array
    at_least: Array
    lower: Array


@dataclass(frozen=True)
class Solutions:
    """Points, (n, 4), dual vectors of the rows, (rows, 4), and what they miss, (4,): the largest of what the
    scaled rows miss and the relative gap. ``steps``: of all four.
    """

    x: Array
    y: Array
    missed: Array
    steps: int


def solve(pattern: Pattern, group: Group, tolerance: float) -> Solutions:
    """Iterate until each program misses less than the tolerance, or gets no further."""
    return _Method(pattern, group, tolerance).run()


class _Method:
    """Vectors are flat, of four programs a row; those over columns and equality rows are in the pattern's
    order of elimination.
    """

    def __init__(self, pattern: Pattern, group: Group, tolerance: float):
        self.pattern, self.tolerance = pattern, tolerance
        p, size = pattern, len(pattern.place)
        entries = group.entries[p.entries]
        n_linear = p.equal + p.at_most
        factors = newton.equilibrate(size, n_linear, p.starts, p.columns, entries.reshape(-1), p.dims, PASSES)
        self.of_row, self.of_unknown = (of.reshape(-1, LANES) for of in factors)
        self.at_column, self.at_equal = p.place[: p.n], p.place[p.n + p.rows[: p.equal]]
        c = group.c * self.of_unknown[self.at_column]
        self.of_cost = 1.0 / np.clip(np.abs(c).max(axis=0), *SIZES)
        side = group.side[p.rows] * self.of_row
        self.cost, self.worth = np.zeros((2, size, LANES))
        self.cost[self.at_column] = c * self.of_cost
        self.worth[self.at_equal] = -side[: p.equal]
        self.cost, self.worth = self.cost.reshape(-1), self.worth.reshape(-1)
        self.linear = self.cost + self.worth
        above, below = self.at_column[group.at_most], self.at_column[group.at_least]
        # In the order of the columns, as rows are.
        first, then = np.argsort(above), np.argsort(below)
        boxes = np.concatenate([above[first], below[then]]).astype(np.uint32)
        limits = np.concatenate([group.upper[first], -group.lower[then]]) / self.of_unknown[boxes]
        self.h = np.concatenate([limits, side[p.equal :]]).reshape(-1)
        self.n_boxes = len(boxes)
        nl = self.n_boxes + p.at_most
        starts = nl + np.concatenate([[0], np.cumsum(p.dims)]).astype(np.int64)
        self.degree = nl + len(p.dims)
        self.rows = p.equal, p.starts, p.columns, entries.reshape(-1), boxes, len(group.at_most)
        widths = np.diff(p.cone_column_starts)
        blocks = newton.cone_blocks(
            n_linear,
            p.starts,
            p.columns,
            entries,
            p.dims,
            p.cone_columns,
            p.cone_column_starts,
            int((widths * p.dims).sum()),
        ).reshape(-1)
        of_rows, of_cones = np.zeros(LANES * p.pairs.shape[1]), np.zeros(LANES * len(p.of_cone_pair))
        by_cone = p.dims, p.cone_column_starts
        newton.pair_products(p.pairs, *by_cone, p.cone_pair_starts, self.rows[3], blocks, of_rows, of_cones)
        m = len(self.h)
        w, eta = np.zeros(m), np.ones(LANES * len(p.dims))
        self.scaling = nl, starts, w, eta
        self.scaled, self.second, self.pressed = np.zeros((3, m))
        self.matrix = np.zeros(LANES * len(p.k_rows))
        newton.place_entries(p.of_equal, p.of_wide, p.wide_entries, self.rows[3], self.matrix)
        self.assembly = (
            p.changing,
            p.of_diagonal,
            boxes,
            p.wide,
            p.pair_starts,
            p.of_pair,
            *by_cone,
            p.of_cone_pair,
            p.cone_pair_starts,
            of_rows,
            of_cones,
            blocks,
            w,
            eta,
            np.zeros(LANES * int(widths.max(initial=0))),
            self.matrix,
        )
        n_factor = int(p.l_starts[-1])
        self.factor = (
            size,
            p.l_starts,
            np.zeros(n_factor, dtype=np.uint32),
            np.zeros(LANES * n_factor),
            np.zeros(LANES * size),
        )
        self.rhs, self.missed = np.zeros((2, LANES * size))

    def run(self) -> Solutions:
        u, s, z = self._begin()
        du, ds, dz = np.zeros_like(u), np.zeros_like(s), np.zeros_like(z)
        r, rz, g = np.zeros_like(u), np.zeros_like(s), np.zeros_like(s)
        best_u, best_z = u.copy(), z.copy()
        least, going = np.full(LANES, np.inf), np.ones(LANES, dtype=bool)
        whole, any_miss = np.ones(LANES), np.full(LANES, np.inf)
        steps = 0
        while True:
            missed = self._missed(u, s, z, r, rz)
            better = going & (missed < np.minimum(least, KEPT))
            least = np.where(going, np.minimum(least, missed), least)
            if better.any():
                newton.keep(better, u, best_u)
                newton.keep(better, z, best_z)
            # Far from the end a gap says little: relative to a cost that passes zero it may become anything.
            worse = np.where(least < KEPT, WORSE, np.inf)
            worse = np.where(least < NEAR * self.tolerance, WORSE_NEAR, worse)
            going &= (missed > self.tolerance) & (missed < worse * least)
            if not going.any() or steps == STEPS:
                break
            steps += 1
            nl, starts, w, eta = self.scaling
            cones.scaling(nl, starts, s, z, w, eta, self.scaled)
            self._factorise()
            # Towards complementarity of 0, where unscaled leaves the slacks themselves.
            np.subtract(rz, s, out=g)
            self._direction(whole, r, rz, g, du, ds, dz, any_miss)
            sigma = (1.0 - self._longest(s, ds, z, dz, 1.0)) ** 3
            cones.second_order(*self.scaling, ds, dz, self.second)
            enough = np.maximum(OF_MISSED * missed, OF_TOLERANCE * self.tolerance)
            enough[~going] = np.inf
            left, shift = 1.0 - sigma, sigma * self.gap / self.degree
            cones.unscaled(*self.scaling, self.scaled, self.second, shift, left, rz, g)
            self._direction(left, r, rz, g, du, ds, dz, enough)
            step = np.minimum(FRACTION * self._longest(s, ds, z, dz, 1.0 / FRACTION), 1.0)
            going &= step > SHORT
            step = np.where(going, step, 0.0)
            for now, change in ((u, du), (s, ds), (z, dz)):
                newton.advance(now, change, step)
        found, duals = best_u.reshape(-1, LANES), best_z.reshape(-1, LANES)[self.n_boxes :]
        x = (found * self.of_unknown)[self.at_column]
        y = np.zeros_like(self.of_row)
        y[self.pattern.rows] = np.concatenate([found[self.at_equal], duals]) * self.of_row / self.of_cost
        return Solutions(x, y, least, steps)

    def _begin(self) -> tuple[Array, Array, Array]:
        """The point of least squares, and the dual vector of least squares, moved into the cones."""
        nl, starts, w, _ = self.scaling
        w.reshape(-1, LANES)[:nl] = w.reshape(-1, LANES)[starts[:-1]] = 1.0
        self._factorise()
        u, v = np.zeros((2, len(self.linear)))
        s, z = np.zeros((2, len(self.h)))
        # The equality rows' side, and the other rows' in least squares.
        self.rhs[:] = -self.worth
        self._add_rows(-self.h, -self.h)
        enough = np.full(LANES, OF_TOLERANCE * self.tolerance)
        self._solve(u, enough)
        newton.rows_of(*self.rows, u, s)
        s = self.h - s
        self.rhs[:] = -self.cost
        self._solve(v, enough)
        newton.rows_of(*self.rows, v, z)
        for inside in (s, z):
            cones.into_cones(nl, starts, inside)
        # Multipliers of wide rows, among the unknowns of a system, are in z.
        point = np.zeros((len(self.pattern.place), LANES))
        point[self.at_column] = u.reshape(-1, LANES)[self.at_column]
        point[self.at_equal] = v.reshape(-1, LANES)[self.at_equal]
        return point.reshape(-1), s, z

    def _missed(self, u: Array, s: Array, z: Array, r: Array, rz: Array) -> Array:
        """The largest of what the scaled rows miss and the relative gap, (4,); fills the rests."""
        measures, of_unknowns = np.zeros((4, LANES)), np.zeros((2, LANES))
        newton.rests(self.at_equal, *self.rows, self.linear, self.h, u, s, z, r, rz, measures.reshape(-1))
        total, most, of_h, self.gap = measures
        newton.by_sign(self.pattern.sign, self.linear, u, of_unknowns.reshape(-1))
        cost, worth = of_unknowns[0], of_unknowns[1] - of_h
        missed = np.abs(cost - worth) / np.maximum(np.minimum(np.abs(cost), np.abs(worth)), self.of_cost)
        missed[np.isnan(missed)] = np.inf
        newton.raise_to(r, missed)
        missed = np.maximum(missed, np.where(np.isfinite(total), most, np.inf))
        return missed

    def _factorise(self) -> None:
        p = self.pattern
        newton.assemble(*self.assembly)
        size, l_starts, l_rows, l_entries, pivots = self.factor
        ldl.factorise(
            size,
            p.k_starts,
            p.k_rows,
            self.matrix,
            p.sign,
            l_starts,
            l_rows,
            l_entries,
            p.row_starts,
            p.l_columns,
            pivots,
        )

    def _add_rows(self, g: Array, pressed: Array) -> None:
        newton.right_side(*self.rows, self.pattern.wide, g, pressed, self.rhs)

    def _solve(self, found: Array, enough: Array) -> None:
        """For the right-hand side, refined where it misses more than is enough."""
        p = self.pattern
        found[:] = self.rhs
        ldl.solve(*self.factor, found)
        for _ in range(ROUNDS if np.isfinite(enough).any() else 0):
            ldl.residual(self.factor[0], p.k_starts, p.k_rows, self.matrix, found, self.rhs, self.missed)
            most = np.zeros(LANES)
            newton.raise_to(self.missed, most)
            if (most <= enough).all():
                break
            ldl.solve(*self.factor, self.missed)
            newton.advance(found, self.missed, np.ones(LANES))

    def _direction(
        self,
        left: Array,
        r: Array,
        rz: Array,
        g: Array,
        du: Array,
        ds: Array,
        dz: Array,
        enough: Array,
    ) -> None:
        """Steps that take away ``left`` of the rests, and of complementarity what ``g`` says."""
        cones.inverse_square(*self.scaling, g, self.pressed)
        newton.combined(left, r, self.rhs)
        self._add_rows(g, self.pressed)
        self._solve(du, enough)
        newton.rows_of(*self.rows, du, ds)
        cones.steps(*self.scaling, left, rz, g, ds, dz)
        newton.take_wide(self.n_boxes, self.pattern.wide, du, dz)

    def _longest(self, s: Array, ds: Array, z: Array, dz: Array, most: float) -> Array:
        nl, starts, _, _ = self.scaling
        step = np.full(LANES, most)
        cones.longest(nl, starts, s, ds, step)
        cones.longest(nl, starts, z, dz, step)
        return step
