"""Sparse LDL' factors of four quasidefinite matrices of one pattern (Davis 2005, Vanderbei 1995)."""

import numpy as np

from model.interior_point.lanes import (
    LANES,
    above,
    add,
    compiled,
    divide,
    filled,
    get,
    multiply,
    put,
    scaled,
    shifted,
    subtract,
)
from model.program import Array

# Added to pivots in the direction of their sign; one of the wrong sign, or smaller than SMALLEST, is RAISED.
ADDED, SMALLEST, RAISED = 1e-8, 1e-13, 2e-7


@compiled
def elimination_tree(n: int, starts: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Parent of each column of the factor of an upper triangle by columns, and how many entries each of its
    columns and of its rows has beside the diagonal, (n,).
    """
    parent, mark = np.full(n, -1), np.full(n, -1)
    of_column, of_row = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for j in range(n):
        mark[j] = j
        for p in range(starts[j], starts[j + 1]):
            i = np.int64(rows[p])
            while mark[i] != j:
                if parent[i] == -1:
                    parent[i] = j
                of_column[i] += 1
                of_row[j] += 1
                mark[i] = j
                i = parent[i]
    return parent, of_column, of_row


@compiled
def postorder(parent: Array) -> Array:
    """A number for each node so that every subtree's are contiguous, its root's last: what is eliminated
    together lies together.
    """
    n = len(parent)
    size, number = np.ones(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        if parent[i] >= 0:
            size[parent[i]] += size[i]
    # Where the next subtree of a node's children begins; parents come after their children.
    following = np.zeros(n + 1, np.int64)
    for i in range(n - 1, -1, -1):
        above = parent[i] if parent[i] >= 0 else n
        begin = following[above]
        following[above] += size[i]
        following[i] = begin
        number[i] = begin + size[i] - 1
    return number


@compiled
def factor_rows(n: int, starts: Array, rows: Array, parent: Array, row_starts: Array, columns: Array) -> None:
    """Columns of every row of the factor, in an order in which they can be eliminated, into ``columns``."""
    mark, path = np.full(n, -1), np.zeros(n, np.int64)
    for k in range(n):
        mark[k] = k
        top = row_starts[k + 1]
        for p in range(starts[k], starts[k + 1]):
            i = np.int64(rows[p])
            length = 0
            while mark[i] != k:
                mark[i] = k
                path[length] = i
                length += 1
                i = parent[i]
            while length > 0:
                length -= 1
                top -= 1
                columns[top] = path[length]


@compiled
def factorise(
    n: int,
    starts: Array,
    rows: Array,
    entries: Array,
    sign: Array,
    l_starts: Array,
    l_rows: Array,
    l_entries: Array,
    row_starts: Array,
    columns: Array,
    inverse: Array,
) -> None:
    """Row by row: ``l_entries`` and the inverse pivots, of the upper triangle in ``entries``."""
    following = l_starts[:n].copy()
    y = np.zeros(LANES * n)
    for k in range(n):
        d = filled(0.0)
        for p in range(starts[k], starts[k + 1]):
            if rows[p] == k:
                d = get(entries, p)
            else:
                put(y, rows[p], get(entries, p))
        for i in range(row_starts[k], row_starts[k + 1]):
            c = columns[i]
            v, end = get(y, c), following[c]
            put(y, c, filled(0.0))
            for p in range(l_starts[c], end):
                r = l_rows[p]
                put(y, r, subtract(get(y, r), multiply(get(l_entries, p), v)))
            pivot = multiply(v, get(inverse, c))
            put(l_entries, end, pivot)
            l_rows[end] = k
            following[c] = end + 1
            d = subtract(d, multiply(v, pivot))
        size = above(shifted(scaled(d, sign[k]), ADDED), SMALLEST, RAISED)
        put(inverse, k, divide(filled(sign[k]), size))


@compiled
def solve(n: int, l_starts: Array, l_rows: Array, l_entries: Array, inverse: Array, x: Array) -> None:
    """Overwrite the right-hand sides ``x`` with the solutions."""
    for i in range(n):
        v = get(x, i)
        for p in range(l_starts[i], l_starts[i + 1]):
            r = l_rows[p]
            put(x, r, subtract(get(x, r), multiply(get(l_entries, p), v)))
    for i in range(n - 1, -1, -1):
        v = multiply(get(x, i), get(inverse, i))
        for p in range(l_starts[i], l_starts[i + 1]):
            v = subtract(v, multiply(get(l_entries, p), get(x, l_rows[p])))
        put(x, i, v)


@compiled
def residual(n: int, starts: Array, rows: Array, entries: Array, x: Array, rhs: Array, out: Array) -> None:
    """``rhs - K x`` of the symmetric matrix whose upper triangle is given."""
    for i in range(LANES * n):
        out[i] = rhs[i]
    for j in range(n):
        v, total = get(x, j), filled(0.0)
        for p in range(starts[j], starts[j + 1]):
            i, entry = rows[p], get(entries, p)
            put(out, i, subtract(get(out, i), multiply(entry, v)))
            if i != j:
                total = add(total, multiply(entry, get(x, i)))
        put(out, j, subtract(get(out, j), total))
