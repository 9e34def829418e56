"""Twins in a program, solved as one: peers without devices, whose accounts are alike but for their load.

The columns of such a peer's account ``grid_import + buy_in + buy_out = pd`` stand in no other rows but those
where every twin's stand alike: the ADN's markets and limits. The sum of the accounts, in the sums of the
columns, is the same program. A point of it, shared out by the loads, is one of the whole, and its multiplier
is every twin's.
"""

from collections import defaultdict
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
    A, by_column = program.A, program.A.tocsc()
    in_cone = np.diff(program.cone_A.tocsc().indptr) > 0
    plain = ~in_cone & ~program.integer & (program.lower == 0.0) & ~program.enforced_upper
    account = (program.row_lower == program.row_upper) & (program.row_upper >= 0.0)
    account &= (np.diff(A.indptr) > 0) & ~((pattern(A) @ (~plain).astype(float)) > 0)
    account[A.tocoo().row[A.data <= 0.0]] = False
    alike = defaultdict(list)
    for row in np.flatnonzero(account).tolist():
        where = slice(A.indptr[row], A.indptr[row + 1])
        columns = A.indices[where]
        # What each column is here and in its other rows.
        seen = []
        for j, value in zip(columns.tolist(), A.data[where].tolist(), strict=True):
            at = slice(by_column.indptr[j], by_column.indptr[j + 1])
            entries = zip(by_column.indices[at].tolist(), by_column.data[at].tolist(), strict=True)
            others = tuple(sorted((i, a) for i, a in entries if i != row))
            seen.append((others, value, float(program.c[j])))
        if not any(account[i] for others, *_ in seen for i, _ in others):
            order = sorted(range(len(seen)), key=seen.__getitem__)
            alike[tuple(seen[k] for k in order)].append((row, columns[order]))
    return [
        (np.array([row for row, _ in group]), np.array([columns for _, columns in group]))
        for group in alike.values()
        if len(group) > 1
    ]
