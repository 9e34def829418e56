"""A primal-dual interior-point method for conic programs of one pattern, four side by side.

    minimise  c x   subject to  A x = b,  G x + s = h,  s in K (an orthant and second-order cones).

Nesterov and Todd's scaling, Mehrotra's predictor and corrector (Vandenberghe 2010; Domahidi, Chu and Boyd
2013), and sparse factors that share what does not depend on the data: Clarabel's way with one program, at a
fraction of its time with many. Points and dual vectors each go as far as they can, as costs are linear (Toh,
Todd and Tutuncu 1999). Where one of the four ends, the next program takes its lane: they take unlike numbers
of steps. It does not detect infeasibility: what does not converge has no solution here.
"""

from dataclasses import dataclass, fields

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
    """The data of programs, (..., programs).

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
    """Points, (n, programs), dual vectors of the rows, (rows, programs), and what they miss, (programs,): the
    largest of what the scaled rows miss and the relative gap. ``steps``: of each.
    """

    x: Array
    y: Array
    missed: Array
    steps: Array


def solve(pattern: Pattern, group: Group, tolerance: float) -> Solutions:
    """Iterate until each program misses less than the tolerance, or gets no further."""
    return _Method(pattern, group, tolerance).run()


@dataclass(frozen=True)
class _Scaled:
    """Four programs scaled, flat, but for the factors of rows, unknowns and costs, (..., 4).

    ``linear``: costs, and of equality rows the negative sides. ``h``: the sides of boxes and other rows.
    ``blocks``, ``of_rows``, ``of_cones``: :mod:`newton`'s. ``matrix``: what all of a program's matrices have.
    """

    entries: Array
    of_row: Array
    of_unknown: Array
    of_cost: Array
    linear: Array
    h: Array
    blocks: Array
    of_rows: Array
    of_cones: Array
    matrix: Array

    def take(self, lane: int, other: "_Scaled", at: int) -> None:
        """Another one's program in place of an own one."""
        for field in fields(self):
            _lanes(getattr(self, field.name))[:, lane] = _lanes(getattr(other, field.name))[:, at]


class _Method:
    """Vectors are flat, of four programs a row; those over columns and equality rows are in the pattern's
    order of elimination.
    """

    def __init__(self, pattern: Pattern, group: Group, tolerance: float):
        self.pattern, self.group, self.tolerance = pattern, group, tolerance
        p, size = pattern, len(pattern.place)
        self.at_column, self.at_equal = p.place[: p.n], p.place[p.n + p.rows[: p.equal]]
        above, below = self.at_column[group.at_most], self.at_column[group.at_least]
        # In the order of the columns, as rows are.
        self.above, self.below = np.argsort(above), np.argsort(below)
        self.boxes = np.concatenate([above[self.above], below[self.below]]).astype(np.uint32)
        self.n_boxes = len(self.boxes)
        nl = self.n_boxes + p.at_most
        self.cones = nl + np.concatenate([[0], np.cumsum(p.dims)]).astype(np.int64)
        self.degree = nl + len(p.dims)
        widths = np.diff(p.cone_column_starts)
        self.n_block_entries = int((widths * p.dims).sum())
        self.scaled = own = self._prepared(0)
        n_programs = group.c.shape[1]
        # Of every lane the program in it, -1 where there is none; the next program.
        self.program = np.where(np.arange(LANES) < n_programs, np.arange(LANES), -1)
        self.next = min(LANES, n_programs)
        self.rows = p.equal, p.starts, p.columns, own.entries, self.boxes, len(group.at_most)
        m = LANES * int(self.cones[-1])
        self.scaling = nl, self.cones, np.zeros(m), np.ones(LANES * len(p.dims))
        self.assembly = (
            p.changing,
            p.of_diagonal,
            self.boxes,
            p.wide,
            p.pair_starts,
            p.of_pair,
            p.dims,
            p.cone_column_starts,
            p.of_cone_pair,
            p.cone_pair_starts,
            own.of_rows,
            own.of_cones,
            own.blocks,
            *self.scaling[2:],
            np.zeros(LANES * int(widths.max(initial=0))),
            own.matrix,
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
        # The identity of the cones' algebra, where every program begins.
        self.identity = np.zeros(m // LANES)
        self.identity[:nl] = self.identity[self.cones[:-1]] = 1.0
        self.u, self.best_u = np.zeros((2, LANES * size))
        self.s, self.z = np.tile(self.identity.repeat(LANES), (2, 1))
        self.best_z = np.zeros(m)
        self.point, self.second, self.pressed = np.zeros((3, m))
        self.steps, self.least = np.zeros(LANES, dtype=int), np.full(LANES, np.inf)
        self.told = Solutions(
            np.zeros((p.n, n_programs)),
            np.zeros((len(p.rows), n_programs)),
            np.zeros(n_programs),
            np.zeros(n_programs, dtype=int),
        )

    def _prepared(self, first: int) -> _Scaled:
        """Four programs from a number on; the last one stands for what there is not."""
        p, group, size = self.pattern, self.group, len(self.pattern.place)
        own = np.minimum(np.arange(first, first + LANES), group.c.shape[1] - 1)
        entries = group.entries[p.entries][:, own].reshape(-1)
        n_linear = p.equal + p.at_most
        factors = newton.equilibrate(size, n_linear, p.starts, p.columns, entries, p.dims, PASSES)
        of_row, of_unknown = (of.reshape(-1, LANES) for of in factors)
        c = group.c[:, own] * of_unknown[self.at_column]
        of_cost = 1.0 / np.clip(np.abs(c).max(axis=0), *SIZES)
        side = group.side[p.rows][:, own] * of_row
        linear = np.zeros((size, LANES))
        linear[self.at_column], linear[self.at_equal] = c * of_cost, -side[: p.equal]
        upper, lower = group.upper[self.above][:, own], group.lower[self.below][:, own]
        limits = np.concatenate([upper, -lower]) / of_unknown[self.boxes]
        blocks = newton.cone_blocks(
            n_linear,
            p.starts,
            p.columns,
            entries.reshape(-1, LANES),
            p.dims,
            p.cone_columns,
            p.cone_column_starts,
            self.n_block_entries,
        ).reshape(-1)
        of_rows, of_cones = np.zeros(LANES * p.pairs.shape[1]), np.zeros(LANES * len(p.of_cone_pair))
        by_cone = p.dims, p.cone_column_starts, p.cone_pair_starts
        newton.pair_products(p.pairs, *by_cone, entries, blocks, of_rows, of_cones)
        matrix = np.zeros(LANES * len(p.k_rows))
        newton.place_entries(p.of_equal, p.of_wide, p.wide_entries, entries, matrix)
        h = np.concatenate([limits, side[p.equal :]]).reshape(-1)
        return _Scaled(
            entries, of_row, of_unknown, of_cost, linear.reshape(-1), h, blocks, of_rows, of_cones, matrix
        )

    def run(self) -> Solutions:
        """All programs, each from its point and dual vector of least squares."""
        u, s, z = self.u, self.s, self.z
        du, ds, dz = np.zeros_like(u), np.zeros_like(s), np.zeros_like(z)
        r, rz, g = np.zeros_like(u), np.zeros_like(s), np.zeros_like(s)
        going, beginning = self.program >= 0, np.ones(LANES, dtype=bool)
        whole = np.ones(LANES)
        while True:
            missed = self._missed(r, rz)
            self._judge(going & ~beginning, missed)
            # Far from the end a gap says little: relative to a cost that passes zero it may become anything.
            worse = np.where(self.least < KEPT, WORSE, np.inf)
            worse = np.where(self.least < NEAR * self.tolerance, WORSE_NEAR, worse)
            better = (missed > self.tolerance) & (missed < worse * self.least) & (self.steps < STEPS)
            going &= beginning | better
            for lane in np.flatnonzero(~going & (self.program >= 0)):
                self._tell(int(lane))
                going[lane] = beginning[lane] = self._take(int(lane))
            if not going.any():
                return self.told
            self.steps += going & ~beginning
            cones.scaling(*self.scaling[:2], s, z, *self.scaling[2:], self.point)
            self._factorise()
            enough = np.maximum(OF_MISSED * missed, OF_TOLERANCE * self.tolerance)
            enough[beginning] = OF_TOLERANCE * self.tolerance
            enough[~going] = np.inf
            # Towards complementarity of 0, where unscaled leaves the slacks themselves.
            np.subtract(rz, s, out=g)
            if beginning.any():
                self._least_squares(beginning, self.at_equal, r, rz)
                _lanes(g)[:, beginning] = -_lanes(self.scaled.h)[:, beginning]
            self._direction(whole, r, rz, g, du, ds, dz, np.where(beginning, enough, np.inf))
            if beginning.any():
                point, slacks = du.copy(), -dz
            primal, dual = self._longest(ds, dz, 1.0)
            sigma = ((1.0 - primal) * (1.0 - dual)) ** 1.5
            cones.second_order(*self.scaling, ds, dz, self.second)
            left, shift = 1.0 - sigma, sigma * self.gap / self.degree
            left[beginning] = 1.0
            cones.unscaled(*self.scaling, self.point, self.second, shift, left, rz, g)
            if beginning.any():
                self._least_squares(beginning, self.at_column, r, rz)
                _lanes(g)[:, beginning] = 0.0
            self._direction(left, r, rz, g, du, ds, dz, enough)
            longest = np.minimum(FRACTION * self._longest(ds, dz, 1.0 / FRACTION), 1.0)
            going &= beginning | (longest.min(axis=0) > SHORT)
            primal, dual = np.where(going & ~beginning, longest, 0.0)
            newton.advance_by_sign(self.pattern.sign, u, du, primal, dual)
            newton.advance(s, ds, primal)
            newton.advance(z, dz, dual)
            if beginning.any():
                self._begin(beginning, point, slacks, du, dz)
                beginning[:] = False

    def _judge(self, begun: Array, missed: Array) -> None:
        """Keep the best of every lane's iterates."""
        better = begun & (missed < np.minimum(self.least, KEPT))
        self.least = np.where(begun, np.minimum(self.least, missed), self.least)
        if better.any():
            newton.keep(better, self.u, self.best_u)
            newton.keep(better, self.z, self.best_z)

    def _tell(self, lane: int) -> None:
        """What a lane's program came to."""
        number, own = self.program[lane], self.scaled
        found, duals = _lanes(self.best_u)[:, lane], _lanes(self.best_z)[self.n_boxes :, lane]
        self.told.x[:, number] = (found * own.of_unknown[:, lane])[self.at_column]
        y = np.concatenate([found[self.at_equal], duals]) * own.of_row[:, lane] / own.of_cost[lane]
        self.told.y[self.pattern.rows, number] = y
        self.told.missed[number], self.told.steps[number] = self.least[lane], self.steps[lane]

    def _take(self, lane: int) -> bool:
        """The next program in a lane; false where all have one."""
        if self.next == self.group.c.shape[1]:
            self.program[lane] = -1
            return False
        at = self.next % LANES
        if at == 0:
            self.coming = self._prepared(self.next)
        self.scaled.take(lane, self.coming, at)
        self.program[lane], self.next = self.next, self.next + 1
        self.steps[lane], self.least[lane] = 0, np.inf
        for v, beginning in ((self.u, 0.0), (self.s, self.identity), (self.z, self.identity)):
            _lanes(v)[:, lane] = beginning
        for v in (self.best_u, self.best_z):
            _lanes(v)[:, lane] = 0.0
        return True

    def _least_squares(self, lanes: Array, of: Array, r: Array, rz: Array) -> None:
        """Of some lanes the rests with which a direction at the identity is a solution of least squares."""
        _lanes(r)[:, lanes] = _lanes(rz)[:, lanes] = 0.0
        _lanes(r)[np.ix_(of, lanes)] = _lanes(self.scaled.linear)[np.ix_(of, lanes)]

    def _begin(self, lanes: Array, point: Array, slacks: Array, dual: Array, dz: Array) -> None:
        """Begin at the point and the dual vector of least squares, moved into the cones.

        Multipliers of wide rows, among the unknowns of a system, are in z.
        """
        for inside, moved in ((self.s, slacks), (self.z, dz)):
            cones.into_cones(*self.scaling[:2], moved)
            _lanes(inside)[:, lanes] = _lanes(moved)[:, lanes]
        for at, solved in ((self.at_column, point), (self.at_equal, dual)):
            _lanes(self.u)[np.ix_(at, lanes)] = _lanes(solved)[np.ix_(at, lanes)]

    def _missed(self, r: Array, rz: Array) -> Array:
        """The largest of what the scaled rows miss and the relative gap, (4,); fills the rests."""
        measures, of_unknowns = np.zeros((4, LANES)), np.zeros((2, LANES))
        linear, own = self.scaled.linear, (self.u, self.s, self.z)
        newton.rests(self.at_equal, *self.rows, linear, self.scaled.h, *own, r, rz, measures.reshape(-1))
        total, most, of_h, self.gap = measures
        newton.by_sign(self.pattern.sign, linear, self.u, of_unknowns.reshape(-1))
        cost, worth = of_unknowns[0], of_unknowns[1] - of_h
        sizes = np.minimum(np.abs(cost), np.abs(worth))
        missed = np.abs(cost - worth) / np.maximum(sizes, self.scaled.of_cost)
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
            self.scaled.matrix,
            p.sign,
            l_starts,
            l_rows,
            l_entries,
            p.row_starts,
            p.l_columns,
            pivots,
        )

    def _solve(self, found: Array, enough: Array) -> None:
        """For the right-hand side, refined where it misses more than is enough."""
        p = self.pattern
        found[:] = self.rhs
        ldl.solve(*self.factor, found)
        for _ in range(ROUNDS if np.isfinite(enough).any() else 0):
            matrix = p.k_starts, p.k_rows, self.scaled.matrix
            ldl.residual(self.factor[0], *matrix, found, self.rhs, self.missed)
            most = np.zeros(LANES)
            newton.raise_to(self.missed, most)
            more = most > enough
            if not more.any():
                break
            ldl.solve(*self.factor, self.missed)
            newton.advance(found, self.missed, np.where(more, 1.0, 0.0))

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
        newton.right_side(*self.rows, self.pattern.wide, g, self.pressed, self.rhs)
        self._solve(du, enough)
        newton.rows_of(*self.rows, du, ds)
        cones.steps(*self.scaling, left, rz, g, ds, dz)
        newton.take_wide(self.n_boxes, self.pattern.wide, du, dz)

    def _longest(self, ds: Array, dz: Array, most: float) -> Array:
        """How far the slacks and the multipliers may go, (2, 4)."""
        steps = np.full((2, LANES), most)
        cones.longest(*self.scaling[:2], self.s, ds, steps[0])
        cones.longest(*self.scaling[:2], self.z, dz, steps[1])
        return steps


def _lanes(v: Array) -> Array:
    """A vector as (length, 4)."""
    return v.reshape(-1, LANES)
