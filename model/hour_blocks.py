"""Blocks of a program, and the cuts that stand in for them.

Generalised Benders decomposition (Geoffrion 1972). Some columns are *shared*; each of the others belongs to
one *block*, with its own rows and cones. For any dual vector (y, z in the cones) of a block's rows and
cones, every feasible point satisfies

    c_own u  >=  y+ row_lower - y- row_upper - z cone_b + sum_own min(r lower, r upper) + r_shared s,

    r = c_own - A'y - cone_A'z  (s: shared columns, whose own cost is not in c_own).

That is a *cut* on ``eta``, the block's cost, in terms of the shared columns alone; it holds whatever solver
gave (y, z), because what they miss is absorbed by the boxes, as in ``model.bounds``.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, hstack, vstack

from model.bounds import project_to_cones
from model.problem import Problem
from model.program import Array, Program, cone_starts, narrow

# Cuts that are computed together.
TOGETHER = 24


@dataclass(frozen=True, eq=False)
class Blocks:
    """A relaxed program and the block of each column, row and cone row: its number, -1 where shared.

    ``hours``: number of hours T.
    """

    program: Program
    hours: int
    n_blocks: int
    of_column: Array
    of_row: Array
    of_cone_row: Array

    @cached_property
    def shared(self) -> Array:
        """The shared columns."""
        return np.flatnonzero(self.of_column < 0)

    @cached_property
    def rows(self) -> list[Array]:
        """The rows of every block."""
        return _grouped(self.of_row, self.n_blocks)

    @cached_property
    def cone_rows(self) -> list[Array]:
        """The cone rows of every block."""
        return _grouped(self.of_cone_row, self.n_blocks)

    @cached_property
    def columns(self) -> list[Array]:
        """The own columns of every block."""
        return _grouped(self.of_column, self.n_blocks)

    @cached_property
    def touched(self) -> list[Array]:
        """The shared columns that the rows and cone rows of every block touch."""
        found = []
        for A, owner in (self.program.A, self.of_row), (self.program.cone_A, self.of_cone_row):
            entries = np.flatnonzero(self.of_column[A.indices] < 0)
            rows = np.searchsorted(A.indptr, entries, side="right") - 1
            found.append(np.column_stack([owner[rows], A.indices[entries]]))
        block, column = np.unique(np.concatenate(found), axis=0).T
        return [column[block == b] for b in range(self.n_blocks)]

    @cached_property
    def cone_dims(self) -> list[Array]:
        """The cones' dimensions of every block."""
        dims = self.program.cone_dims
        if not len(dims):
            return [dims] * self.n_blocks
        own = self.of_cone_row[cone_starts(dims)]
        return [dims[which] for which in _grouped(own, self.n_blocks)]

    @cached_property
    def products(self) -> Array:
        """How many products a computed reduced cost of each column sums at most."""
        p = self.program
        return (
            np.bincount(p.A.indices, minlength=len(p.c))
            + np.bincount(p.cone_A.indices, minlength=len(p.c))
            + 4
        )

    @cached_property
    def extents(self) -> tuple[Array, Array, Array]:
        """The largest that the absolute products of every column, row and cone row may sum to."""
        p = self.program
        extent = self.products * np.maximum(np.abs(p.lower), np.abs(p.upper))
        with np.errstate(invalid="ignore", over="ignore"):
            return extent, abs(p.A) @ extent, abs(p.cone_A) @ extent

    @cached_property
    def position(self) -> Array:
        """Of every column of ``program``: its number in the shared program, -1 for an own column."""
        position = np.full(len(self.of_column), -1)
        position[self.shared] = np.arange(len(self.shared))
        return position

    @cached_property
    def relaxation(self) -> Program:
        """What is shared: its columns and rows, then one ``eta`` a block in an implied box."""
        p, shared = self.program, self.shared
        own = np.flatnonzero(self.of_column >= 0)
        least = np.minimum(p.c[own] * p.lower[own], p.c[own] * p.upper[own])
        most = np.maximum(p.c[own] * p.lower[own], p.c[own] * p.upper[own])
        block = self.of_column[own]
        eta = np.array([np.bincount(block, part, self.n_blocks) for part in (least, most)])
        # Wider by far more than its own rounding.
        slack = 1e-9 * (1.0 + np.bincount(block, np.abs(least) + np.abs(most), self.n_blocks))
        rows = np.flatnonzero(self.of_row < 0)
        kept = p.A[rows][:, shared]
        free = np.zeros(self.n_blocks, dtype=bool)
        none = csr_array((0, len(shared) + self.n_blocks))
        return replace(
            p,
            c=np.append(p.c[shared], np.ones(self.n_blocks)),
            A=hstack([kept, csr_array((len(rows), self.n_blocks))], format="csr"),
            row_lower=p.row_lower[rows],
            row_upper=p.row_upper[rows],
            lower=np.append(p.lower[shared], eta[0] - slack),
            upper=np.append(p.upper[shared], eta[1] + slack),
            integer=np.append(p.integer[shared], free),
            enforced_lower=np.append(p.enforced_lower[shared], free),
            enforced_upper=np.append(p.enforced_upper[shared], free),
            cone_A=none,
            cone_b=np.zeros(0),
            cone_dims=np.zeros(0, dtype=int),
            cone_variables=0,
            columns={},
            variables=[],
        )


@dataclass(frozen=True, eq=False)
class Cuts:
    """Dual vectors of blocks: of cut k the block's number and the duals of its rows and cone rows.

    ``reference``: that of ``model.by_hour``, (K, T).
    """

    block: Array
    row_duals: list[Array]
    cone_duals: list[Array]
    reference: Array

    def part(self, where: slice) -> "Cuts":
        """Some of the cuts."""
        return Cuts(self.block[where], self.row_duals[where], self.cone_duals[where], self.reference)


def cut_rows(blocks: Blocks, cuts: Cuts) -> tuple[Array, csr_array]:
    """Right-hand sides (k,) and coefficients (k, shared columns and etas) of ``row s >= side``.

    Sides are rounded down by a bound on all rounding errors; one whose numbers overflow is -inf and says
    nothing. Raises ValueError for vectors that do not fit their block.
    """
    fits = [
        0 <= b < blocks.n_blocks and y.shape == blocks.rows[b].shape and z.shape == blocks.cone_rows[b].shape
        for b, y, z in zip(cuts.block, cuts.row_duals, cuts.cone_duals, strict=True)
    ]
    if not all(fits):
        raise ValueError("a cut's dual vectors do not fit its block")
    order = np.argsort(cuts.block, kind="stable")
    parts = []
    for b in np.unique(cuts.block):
        numbers = np.flatnonzero(cuts.block == b)
        alone = _Alone(blocks, int(b))
        # What a cut is computed from is many times what it comes to, so few at a time.
        for k in range(0, len(numbers), TOGETHER):
            some = numbers[k : k + TOGETHER]
            parts.append(alone.cuts([cuts.row_duals[n] for n in some], [cuts.cone_duals[n] for n in some]))
    sides, coefficients = np.zeros(len(order)), csr_array((0, len(blocks.shared) + blocks.n_blocks))
    sides[order] = np.concatenate([sides[:0], *(side for side, _ in parts)])
    coefficients = vstack([coefficients, *(own for _, own in parts)], format="csr")
    return sides, coefficients[np.argsort(order)]


class _Alone:
    """One block by itself: its own columns and the shared ones that it touches, its rows and cone rows."""

    def __init__(self, blocks: Blocks, b: int):
        p, rows, cone_rows = blocks.program, blocks.rows[b], blocks.cone_rows[b]
        shared = blocks.touched[b]
        columns = np.sort(np.append(blocks.columns[b], shared))
        self.part = p.part(columns, rows, cone_rows, blocks.cone_dims[b])
        self.own = blocks.of_column[columns] == b
        self.cost = np.where(self.own, self.part.c, 0.0)
        extent, of_rows, of_cones = blocks.extents
        self.of_cost = float(np.abs(self.cost) @ extent[columns])
        self.of_rows, self.of_cones = of_rows[rows], of_cones[cone_rows]
        self.stated = np.append(blocks.position[shared], len(blocks.shared) + b)
        self.width = len(blocks.shared) + blocks.n_blocks

    def cuts(self, row_duals: list[Array], cone_duals: list[Array]) -> tuple[Array, csr_array]:
        """Right-hand sides and coefficients of the cuts by these dual vectors."""
        p, own = self.part, self.own
        y, z = np.array(row_duals), np.array(cone_duals)
        y, z = np.where(np.isfinite(y), y, 0.0), np.where(np.isfinite(z), z, 0.0)
        y[(y > 0) & np.isinf(p.row_lower)] = 0.0
        y[(y < 0) & np.isinf(p.row_upper)] = 0.0
        z = project_to_cones(z.ravel(), np.tile(p.cone_dims, len(z))).reshape(z.shape)
        side = np.where(y > 0, p.row_lower, np.where(y < 0, p.row_upper, 0.0))
        with np.errstate(invalid="ignore", over="ignore"):
            reduced = self.cost - (p.A.T @ y.T).T - (p.cone_A.T @ z.T).T
            r = reduced[:, own]
            boxed = np.where(r == 0, 0.0, r * np.where(r > 0, p.lower[own], p.upper[own]))
            terms = y * side, -z * p.cone_b, boxed
            value = sum(term.sum(axis=1) for term in terms)
            size = sum(np.abs(term).sum(axis=1) for term in terms)
            # A computed sum of m products is within m u of the sum of their absolute values (u: unit
            # roundoff).
            unit, count = np.finfo(float).eps, sum(term.shape[1] for term in terms) + 4
            most = self.of_cost + np.abs(y) @ self.of_rows + np.abs(z) @ self.of_cones
            value -= 2 * unit * (most + count * size)
        value[~np.isfinite(value)] = -np.inf
        on_stated = np.hstack([-reduced[:, ~own], np.ones((len(y), 1))])
        starts = len(self.stated) * np.arange(len(y) + 1)
        coefficients = csr_array(
            (on_stated.ravel(), np.tile(self.stated, len(y)), starts), shape=(len(y), self.width)
        )
        coefficients.eliminate_zeros()
        return value, coefficients


def with_totals(problem: Problem, program: Program) -> Program:
    """The relaxation with two more columns for every ADN and hour: all it sells and all it buys across.

    Rows of an ADN hold those in place of its trades: every trade of one direction has the same entry there.
    The leaders' binaries stay marked as integer.
    """
    instance, hours = problem.instance, problem.instance.hours
    relaxed = program.relaxed()
    leaders = program.integer.copy()
    for name, where in program.columns.items():
        if name.startswith("complementarity."):
            leaders[where] = False
    kept = np.cumsum(~program.complementarity_rows) - 1
    owner = np.full(len(relaxed.row_lower), -1)
    where_x = program.columns["x"]
    trades = np.zeros(len(program.c), dtype=bool)
    trades[where_x] = True
    for name, keys in program.row_keys.items():
        owner[kept[program.rows[name]]] = [d for d, _ in keys]

    n, pairs = (
        len(program.c),
        np.array([(a.seller, a.buyer) for a in instance.arcs], dtype=int).reshape(-1, 2),
    )
    n_totals = instance.n_adns * hours
    arc, hour = np.divmod(np.arange(where_x.stop - where_x.start), hours)
    seller, buyer = pairs[arc].T if len(arc) else (arc, arc)
    A = relaxed.A.tocoo()
    of_trade = trades[A.col]
    row, column, value = A.row[of_trade], A.col[of_trade] - where_x.start, A.data[of_trade]
    sold = owner[row] == seller[column]
    if not (sold | (owner[row] == buyer[column])).all():
        raise ValueError("a trade stands in a row of neither of its partners")
    into = n + np.where(sold, seller[column], n_totals // hours + buyer[column]) * hours + hour[column]
    one, first = np.unique(np.column_stack([row, into]), axis=0, return_index=True)
    same = csr_array((value[first], one.T), shape=(len(relaxed.row_lower), n + 2 * n_totals))
    if len(value) and not np.array_equal(value, np.asarray(same[row, into]).ravel()):
        raise ValueError("trades of one direction differ in a row")
    rest = csr_array((A.data[~of_trade], (A.row[~of_trade], A.col[~of_trade])), shape=same.shape)
    number = np.arange(len(arc))
    total_rows = csr_array(
        (
            np.concatenate([np.ones(2 * len(arc)), -np.ones(2 * n_totals)]),
            (
                np.concatenate(
                    [seller * hours + hour, n_totals + buyer * hours + hour, np.arange(2 * n_totals)]
                ),
                np.concatenate([where_x.start + number, where_x.start + number, n + np.arange(2 * n_totals)]),
            ),
        ),
        shape=(2 * n_totals, n + 2 * n_totals),
    )
    most = abs(total_rows[:, :n]) @ program.upper
    free = np.zeros(2 * n_totals, dtype=bool)
    return replace(
        relaxed,
        c=np.append(relaxed.c, np.zeros(2 * n_totals)),
        A=narrow(vstack([rest + same, total_rows], format="csr")),
        row_lower=np.append(relaxed.row_lower, np.zeros(2 * n_totals)),
        row_upper=np.append(relaxed.row_upper, np.zeros(2 * n_totals)),
        lower=np.append(relaxed.lower, np.zeros(2 * n_totals)),
        upper=np.append(relaxed.upper, most * (1 + 1e-12)),
        integer=np.append(leaders, free),
        enforced_lower=np.append(relaxed.enforced_lower, free),
        enforced_upper=np.append(relaxed.enforced_upper, free),
        cone_A=csr_array(
            (relaxed.cone_A.data, relaxed.cone_A.indices, relaxed.cone_A.indptr),
            shape=(relaxed.cone_A.shape[0], n + 2 * n_totals),
        ),
        variables=[],
    )


def pattern(matrix: csr_array) -> csr_array:
    """One where the matrix has an entry."""
    return csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def _extremes(pattern: csr_array, label: Array) -> tuple[Array, Array]:
    """Least and greatest label in every row; -1 is no label, and what a row without one has as greatest."""
    row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    own = label[pattern.indices]
    row, own = row[own >= 0], own[own >= 0]
    least = np.full(pattern.shape[0], np.iinfo(int).max)
    most = np.full(pattern.shape[0], -1)
    first = np.flatnonzero(np.diff(row, prepend=-1))
    if len(first):
        least[row[first]] = np.minimum.reduceat(own, first)
        most[row[first]] = np.maximum.reduceat(own, first)
    return least, most


def block_owner(pattern: csr_array, of_column: Array) -> Array:
    """The block of every row: that of its own columns, -1 where it has none."""
    least, most = _extremes(pattern, of_column)
    if (most > least).any():
        raise ValueError("a row holds own columns of two blocks")
    return most


def row_owners(program: Program, of_column: Array) -> tuple[Array, Array]:
    """The block of every row and of every cone row of a program whose columns have these."""
    of_cone_row = block_owner(pattern(program.cone_A), of_column)
    if len(program.cone_dims):
        of_cone = np.maximum.reduceat(of_cone_row, cone_starts(program.cone_dims))
        of_cone_row = np.repeat(of_cone, program.cone_dims)
    return block_owner(pattern(program.A), of_column), of_cone_row


def _grouped(label: Array, n: int) -> list[Array]:
    """The positions of each label 0..n-1, in order."""
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(n + 1))
    return [order[ends[k] : ends[k + 1]] for k in range(n)]
