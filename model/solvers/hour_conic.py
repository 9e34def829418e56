"""One ADN's hours as small conic programs, solved again and again at other shared values.

A block of ``model.hour_blocks`` is solved with its shared columns at given values ``s`` and a price on
its boundary power, which stays free:

    minimise  c_own u + price P + penalty |s' - s|   subject to the block's rows and cones at (u, P, s').

The deviation s' - s, paid dearly, keeps every program feasible; it is zero wherever s can be served and its
price is less than the penalty. The dual vector is a cut, tight at s. What differs between the hours of a
feeder are limits only, so its hours share one compiled program (one factorisation pattern in Clarabel),
with data replaced. Everything here can be pickled and sent to a worker once.
"""

from dataclasses import dataclass, replace

import clarabel
import numpy as np
from scipy.sparse import csc_array, csr_array, hstack, identity, vstack

from model.hour_blocks import Blocks
from model.program import Array

TOLERANCE = 1e-7
NO_ROOM = 1e-7  # p.u.
# Of a point that is to be kept, one after another until no row is missed by more than MISSED (p.u.): where
# there is hardly an interior, a stricter tolerance may end less exactly.
HELD = (1e-8, 1e-9, 1e-7, 1e-6)
MISSED = 2e-7
SOLVED = ("Solved", "AlmostSolved")


@dataclass(frozen=True, eq=False)
class Pattern:
    """What blocks have in common: own columns first, then shared ones.

    ``priced`` marks the shared columns that have a price; ``penalty`` is what others cost to move, in $ per
    unit.
    """

    c: Array
    A: csr_array
    cone_A: csr_array
    cone_dims: Array
    equal: Array
    at_most: Array
    at_least: Array
    bounded_above: Array
    bounded_below: Array
    priced: Array
    penalty: Array
    binary: Array
    fixed: Array

    @property
    def n_own(self) -> int:
        """Own columns."""
        return len(self.c)


@dataclass(frozen=True, eq=False)
class HourData:
    """What is a block's own: its pattern's number, limits, boxes of own and priced columns, shared
    columns.
    """

    pattern: int
    row_lower: Array
    row_upper: Array
    cone_b: Array
    lower: Array
    upper: Array
    shared: Array


@dataclass(frozen=True, eq=False)
class FeederHours:
    """The blocks of one ADN."""

    patterns: list[Pattern]
    hours: list[HourData]


@dataclass(frozen=True, eq=False)
class Answer:
    """A block at given shared values: its dual vector, its point, and how far its shared columns had to move.

    ``x`` are the own columns, ``power`` the priced ones, ``moved`` is s' - s of all shared columns (zero at
    the priced ones), ``cost`` is c_own u. ``solved`` is False where the program had no solution; ``missed``
    is the most by which the point misses a row.
    """

    solved: bool
    missed: float
    row_duals: Array
    cone_duals: Array
    x: Array
    power: Array
    moved: Array
    cost: float


def feeder_hours(blocks: Blocks, d: int, penalty: Array) -> FeederHours:
    """The hours of ADN d, cut out of the relaxation; ``penalty`` of every column, in $ per unit."""
    p = blocks.program
    patterns: list[Pattern] = []
    known: dict[bytes, int] = {}
    hours = []
    for b in range(d * blocks.hours, (d + 1) * blocks.hours):
        rows, cones, own = blocks.rows[b], blocks.cone_rows[b], blocks.columns[b]
        entries = _entries(p.A, rows)
        cone_entries = _entries(p.cone_A, cones)
        shared = np.unique(entries[1][blocks.of_column[entries[1]] < 0])
        columns = np.concatenate([own, shared])
        order = np.argsort(columns)
        place = order[np.searchsorted(columns[order], entries[1])]
        cone_place = order[np.searchsorted(columns[order], cone_entries[1])]
        low, up = p.row_lower[rows], p.row_upper[rows]
        equal = low == up
        parts = (
            p.c[own], entries[0], place, entries[2], cone_entries[0], cone_place, cone_entries[2],
            blocks.cone_dims[b], equal, np.isfinite(up) & ~equal, np.isfinite(low) & ~equal,
            p.enforced_upper[own], p.enforced_lower[own], blocks.priced[shared], penalty[shared],
            p.integer[own], p.lower[own] == p.upper[own],
        )  # fmt: skip
        key = b"".join(part.tobytes() for part in parts)
        if key not in known:
            known[key] = len(patterns)
            patterns.append(
                Pattern(
                    c=parts[0],
                    A=csr_array((parts[3], (parts[1], parts[2])), shape=(len(rows), len(columns))),
                    cone_A=csr_array((parts[6], (parts[4], parts[5])), shape=(len(cones), len(own))),
                    cone_dims=parts[7],
                    equal=parts[8],
                    at_most=parts[9],
                    at_least=parts[10],
                    bounded_above=parts[11],
                    bounded_below=parts[12],
                    priced=parts[13],
                    penalty=parts[14],
                    binary=parts[15],
                    fixed=parts[16],
                )
            )
        hours.append(HourData(known[key], low, up, p.cone_b[cones], p.lower[own], p.upper[own], shared))
    return FeederHours(patterns, hours)


class FeederSolver:
    """Solves the hours of one ADN; holds a Clarabel solver a pattern, and one more where values are held."""

    def __init__(self, feeder: FeederHours):
        self.feeder = feeder
        self.solvers: dict[tuple, _PatternSolver] = {}

    def solve(
        self, hour: int, values: Array, price: Array, held: bool = False, binaries: Array | None = None
    ) -> Answer:
        """The block of an hour at values of its shared columns and a price on each priced one, $ per p.u.

        ``held``: the values may not move, and the program may be infeasible; then ``binaries`` may fix the
        block's own.
        """
        data = self.feeder.hours[hour]
        pattern = self.feeder.patterns[data.pattern]
        if binaries is not None:
            lower, upper = data.lower.copy(), data.upper.copy()
            lower[pattern.binary] = upper[pattern.binary] = binaries
            data = replace(data, lower=lower, upper=upper)
        if held:
            data = forced(pattern, data, values)
            pattern = replace(pattern, fixed=data.lower == data.upper)
        best = None
        for tolerance in HELD if held else (TOLERANCE,):
            key = data.pattern, tolerance, held, pattern.fixed.tobytes()
            if key not in self.solvers:
                self.solvers[key] = _PatternSolver(pattern, data, held, tolerance)
            answer = self.solvers[key].solve(data, values, price)
            if best is None or (answer.solved, -answer.missed) > (best.solved, -best.missed):
                best = answer
            if best.solved and best.missed <= MISSED:
                break
        assert best is not None
        return best


def forced(pattern: Pattern, data: HourData, values: Array) -> HourData:
    """The data with columns fixed that their rows and boxes leave no choice.

    A row whose least activity is all it may have holds its columns at their bounds: nothing is traded where a
    total is zero, nothing sold where nothing is made. An interior-point method has no interior there and
    ends inaccurate.
    """
    n = pattern.n_own
    given = pattern.A[:, n:] @ np.where(pattern.priced, 0.0, values)
    low, up = data.row_lower - given, data.row_upper - given
    own, priced = pattern.A[:, :n], pattern.A[:, n:][:, pattern.priced]
    open_rows = np.diff(priced.indptr) > 0  # the price's column is free
    lower, upper = data.lower.copy(), data.upper.copy()
    positive, negative = own.maximum(0), own.minimum(0)
    for _ in range(3):
        least = positive @ lower + negative @ upper
        most = positive @ upper + negative @ lower
        to_least = (least >= up - NO_ROOM) & ~open_rows
        to_most = (most <= low + NO_ROOM) & ~open_rows
        n_fixed = int((lower == upper).sum())
        for rows, at_lower, at_upper in ((to_least, positive, negative), (to_most, negative, positive)):
            down = (at_lower.T @ rows.astype(float)) != 0
            above = (at_upper.T @ rows.astype(float)) != 0
            upper[down] = lower[down]
            lower[above] = upper[above]
        if int((lower == upper).sum()) == n_fixed:
            break
    return replace(data, lower=lower, upper=upper)


class _PatternSolver:
    def __init__(self, pattern: Pattern, first: HourData, held: bool, tolerance: float):
        self.pattern = p = pattern
        n, priced = p.n_own, np.flatnonzero(p.priced)
        self.given = np.flatnonzero(~p.priced)
        elastic = self.given[:0] if held else self.given
        self.elastic, self.priced = elastic, priced
        self.free = ~p.fixed
        self.fixed_A, self.fixed_cone_A = p.A[:, :n][:, p.fixed], p.cone_A[:, p.fixed]
        own, of_price, of_move = p.A[:, :n][:, self.free], p.A[:, n + priced], p.A[:, n + elastic]
        self.shared_A = p.A[:, n:]
        every = hstack([own, of_price, of_move, -of_move], format="csr")
        n_all, n_free = every.shape[1], own.shape[1]
        self.n_free = n_free
        unit = identity(n_all, format="csr")
        above, below = np.zeros(n_all, dtype=bool), np.zeros(n_all, dtype=bool)
        above[:n_free], below[:n_free] = p.bounded_above[self.free], p.bounded_below[self.free]
        below[n_free + len(priced) :] = True
        self.above, self.below = above[:n_free], below[:n_free]
        no_own = csr_array((p.cone_A.shape[0], n_all - n_free))
        touched = np.diff(every.indptr) > 0 if held else np.ones(len(p.equal), dtype=bool)
        self.equal, self.at_most, self.at_least = (m & touched for m in (p.equal, p.at_most, p.at_least))
        matrix = vstack(
            [every[self.equal], every[self.at_most], -every[self.at_least], unit[above], -unit[below]]
            + ([hstack([-p.cone_A[:, self.free], no_own])] if len(p.cone_dims) else []),
            format="csc",
        )
        self.counts = [int(part.sum()) for part in (self.equal, self.at_most, self.at_least, above, below)]
        kinds = [clarabel.ZeroConeT(self.counts[0]), clarabel.NonnegativeConeT(sum(self.counts[1:]))]
        kinds += [clarabel.SecondOrderConeT(int(dim)) for dim in p.cone_dims]
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.direct_solve_method = "qdldl"
        settings.presolve_enable = False  # it would drop rows whose limits are to be replaced
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
        self.cost = np.concatenate([p.c[self.free], np.zeros(len(priced)), np.tile(p.penalty[elastic], 2)])
        start = self._limits(first, np.zeros(self.shared_A.shape[1]))
        self.solver = clarabel.DefaultSolver(
            csc_array((n_all, n_all)), self.cost, matrix, start, kinds, settings
        )

    def _limits(self, data: HourData, values: Array) -> Array:
        p = self.pattern
        at = data.lower[p.fixed]
        shift = self.shared_A[:, self.given] @ values[self.given] + self.fixed_A @ at
        low, up = data.row_lower - shift, data.row_upper - shift
        return np.concatenate(
            [
                up[self.equal],
                up[self.at_most],
                -low[self.at_least],
                data.upper[self.free][self.above],
                -data.lower[self.free][self.below],
                np.zeros(2 * len(self.elastic)),
                data.cone_b + self.fixed_cone_A @ at,
            ]
        )

    def solve(self, data: HourData, values: Array, price: Array) -> Answer:
        p, n = self.pattern, self.n_free
        cost = self.cost.copy()
        cost[n : n + len(self.priced)] += price
        self.solver.update(q=cost, b=self._limits(data, values))
        solution = self.solver.solve()
        z, point = np.array(solution.z), np.array(solution.x)
        x = data.lower.copy()
        x[self.free] = point[:n]
        ends = np.cumsum(self.counts)
        duals = np.zeros(len(p.equal))
        duals[self.equal] = -z[: ends[0]]
        duals[self.at_most] = -z[ends[0] : ends[1]]
        duals[self.at_least] += z[ends[1] : ends[2]]
        moved = np.zeros(self.shared_A.shape[1])
        more, less = np.split(point[n + len(self.priced) :], 2)
        moved[self.elastic] = more - less
        return Answer(
            solved=str(solution.status) in SOLVED,
            missed=self._missed(data, values, x, point),
            row_duals=duals,
            cone_duals=z[ends[4] :],
            x=x,
            power=point[n : n + len(self.priced)],
            moved=moved,
            cost=float(p.c @ x),
        )

    def _missed(self, data: HourData, values: Array, x: Array, point: Array) -> float:
        x = np.clip(x, data.lower, data.upper)
        shared = values.copy()
        shared[self.priced] = point[self.n_free : self.n_free + len(self.priced)]
        more, less = np.split(point[self.n_free + len(self.priced) :], 2)
        shared[self.elastic] += more - less
        value = self.pattern.A @ np.concatenate([x, shared])
        return float(np.maximum(data.row_lower - value, value - data.row_upper).max(initial=0.0))


def _entries(matrix: csr_array, rows: Array) -> tuple[Array, Array, Array]:
    """Row number within ``rows``, column and value of every entry."""
    part = matrix[rows].tocoo()
    return part.row, part.col, part.data
