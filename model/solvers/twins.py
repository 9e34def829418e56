"""Twins in a program, solved as one: peers without devices, whose accounts are alike but for their load.

The columns of such a peer's account ``grid_import + buy_in + buy_out = pd`` stand in no other rows but those
where every twin's stand alike: the ADN's markets and limits. The sum of the accounts, in the sums of the
columns, is the same program. A point of it, shared out by the loads, is one of the whole, and its multiplier
is every twin's.
"""

from dataclasses import dataclass, replace

import numpy as np

from model.hour_blocks import pattern
from model.program import Array, Program


@dataclass(frozen=True, eq=False)
class Merged:
    """A program with twins as one.

    ``columns``, ``rows``: of every column and row of the whole program, the one that stands for it.
    ``shares``: the part of it that a column takes.
    """

    program: Program
    columns: Array
    shares: Array
    rows: Array

    def point(self, x: Array) -> Array:
        """The point of the whole program."""
        return self.shares * x[self.columns]

    def together(self, x: Array) -> Array:
        """The point of the merged program that a point of the whole program is."""
        return np.bincount(self.columns, weights=x, minlength=len(self.program.c))

    def row_duals(self, y: Array) -> Array:
        """The dual vector of the whole program's rows."""
        return y[self.rows]


def merge(program: Program) -> Merged:
    """Merge the twins of a program without products."""
    n, m = len(program.c), len(program.row_lower)
    stands, shares, stands_row = np.arange(n), np.ones(n), np.arange(m)
    equal = program.row_lower == program.row_upper
    upper, side = program.upper.copy(), program.row_upper.copy()
    for rows, columns in _twins(program):
        total = side[rows].sum()
        part = side[rows] / total if total > 0 else np.full(len(rows), 1 / len(rows))
        first = columns[0]
        stands[columns] = first
        shares[columns] = part[:, None]
        stands_row[rows] = rows[0]
        upper[first] = program.upper[columns].sum(axis=0)
        side[rows[0]] = total
    kept, kept_rows = np.flatnonzero(stands == np.arange(n)), np.flatnonzero(stands_row == np.arange(m))
    # Of a merged account both sides are the sum.
    whole = replace(program, upper=upper, row_lower=np.where(equal, side, program.row_lower), row_upper=side)
    smaller = whole.part(kept, kept_rows)
    return Merged(smaller, np.searchsorted(kept, stands), shares, np.searchsorted(kept_rows, stands_row))


def _twins(program: Program) -> list[tuple[Array, Array]]:
    """Groups of twins: their rows, (k,), and the columns of each of them in the same order, (k, columns)."""
    A = program.A
    in_cone = np.diff(program.cone_A.tocsc().indptr) > 0
    plain = ~in_cone & ~program.integer & (program.lower == 0.0) & ~program.enforced_upper
    account = (program.row_lower == program.row_upper) & (program.row_upper >= 0.0)
    account &= (np.diff(A.indptr) > 0) & ~((pattern(A) @ (~plain).astype(float)) > 0)
    row = np.repeat(np.arange(A.shape[0]), np.diff(A.indptr))
    account[row[A.data <= 0.0]] = False
    # A column in two accounts makes neither of them a twin.
    times = np.bincount(A.indices[account[row]], minlength=A.shape[1])
    account[row[account[row] & (times[A.indices] > 1)]] = False
    entries = np.flatnonzero(account[row])
    if not len(entries):
        return []
    columns, of_row = A.indices[entries], row[entries]
    # What each column is here and in its other rows.
    others = A[:, columns].tocsc()
    others.sort_indices()
    stands = np.repeat(np.arange(len(columns)), np.diff(others.indptr))
    elsewhere = others.indices != of_row[stands]
    seen = _padded(stands[elsewhere], len(columns), others.indices[elsewhere], others.data[elsewhere])
    kind = _kinds(np.column_stack([seen, A.data[entries], program.c[columns]]))
    order = np.lexsort([kind, of_row])
    rows, number = np.unique(of_row[order], return_inverse=True)
    alike = _kinds(_padded(number, len(rows), kind[order]))
    starts = np.searchsorted(number, np.arange(len(rows)))
    groups = np.split(np.argsort(alike, kind="stable"), np.cumsum(np.bincount(alike))[:-1])
    lengths = np.bincount(number)
    columns = columns[order]
    return [
        (rows[own], columns[starts[own][:, None] + np.arange(lengths[own[0]])])
        for own in groups
        if len(own) > 1
    ]


def _padded(item: Array, n_items: int, *parts: Array) -> Array:
    """The parts of every item in a row, and as much of nothing as it takes; ``item`` is in order."""
    counts = np.bincount(item, minlength=n_items)
    within = np.arange(len(item)) - (np.cumsum(counts) - counts)[item]
    table = np.full((len(parts), n_items, counts.max(initial=0)), np.inf)
    for k, part in enumerate(parts):
        table[k, item, within] = part
    return np.hstack([*table])


def _kinds(table: Array) -> Array:
    """A number for every row of a table, the same for rows that are equal."""
    number: Array = np.unique(table, axis=0, return_inverse=True)[1]
    return number.ravel()
