"""What programs of one pattern have in common: the pattern of their Newton systems, ordered and factorised.

A Newton system has the program's columns, its equality rows and those inequality rows that have many
entries; the other rows and the cones are eliminated into the columns, as what they join is small:

    [ sum of G_k' W_k^-2 G_k   A'   G_w' ]
    [ A                                  ]      w: the wide rows
    [ G_w                          -W_w^2 ]
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, csr_array, eye_array
from scipy.sparse.linalg import splu

from model.interior_point.ldl import elimination_tree, factor_rows, postorder
from model.program import Array, cone_starts

# Inequality rows with more entries than this stay rows: eliminated, they would join each with each.
WIDE = 6


@dataclass(frozen=True, eq=False)
class Pattern:
    """The pattern of programs with ``n`` columns, ``equal`` rows, then ``at_most`` rows, then cones of
    ``dims``, by rows in ``starts`` and ``columns``.

    ``place``: of every column, equality row and wide row, its number in the order of elimination.
    ``of_*``: where in the Newton matrix (``k_*``, its upper triangle by columns) an entry goes, or a product
    of two, whose places among the entries are ``pairs``, by rows, and for cones all pairs of their columns.
    ``l_starts``: of the factor by columns; ``row_starts``, ``l_columns``: of its rows.
    """

    n: int
    equal: int
    at_most: int
    dims: Array
    starts: Array
    columns: Array
    wide: Array
    place: Array
    sign: Array
    of_diagonal: Array
    of_equal: Array
    of_wide: Array
    wide_entries: Array
    pair_starts: Array
    pairs: Array
    of_pair: Array
    cone_columns: Array
    cone_column_starts: Array
    of_cone_pair: Array
    cone_pair_starts: Array
    k_starts: Array
    k_rows: Array
    l_starts: Array
    row_starts: Array
    l_columns: Array


def pattern_of(n: int, equal: int, at_most: int, dims: Array, starts: Array, columns: Array) -> Pattern:
    """Order and factorise: ``starts`` and ``columns`` hold the rows one after the other."""
    lengths = np.diff(starts)
    linear = np.arange(equal, equal + at_most)
    is_wide = lengths[linear] > WIDE
    wide = np.full(at_most, -1)
    wide[is_wide] = n + equal + np.arange(int(is_wide.sum()))
    size = n + equal + int(is_wide.sum())
    entries_of = np.split(np.arange(starts[-1]), starts[1:-1])

    pairs, pair_starts = _pairs([entries_of[row][: 0 if is_wide[row - equal] else None] for row in linear])
    wide_entries = np.concatenate([np.zeros(0, int), *(entries_of[row] for row in linear[is_wide])])
    first = equal + at_most + cone_starts(dims) if len(dims) else np.zeros(0, int)
    of_cone = [
        np.unique(columns[starts[row] : starts[row + dim]]) for row, dim in zip(first, dims, strict=True)
    ]
    cone_pairs, cone_pair_starts = _pairs(of_cone)

    row_of = np.repeat(np.arange(len(lengths)), lengths)
    equal_entries = np.arange(starts[equal])
    diagonal = np.arange(size)
    one = [diagonal, columns[equal_entries], columns[wide_entries], columns[pairs[0]], cone_pairs[0]]
    other = [
        diagonal,
        n + row_of[equal_entries],
        wide[row_of[wide_entries] - equal],
        columns[pairs[1]],
        cone_pairs[1],
    ]
    i, j = np.concatenate(one).astype(np.int64), np.concatenate(other).astype(np.int64)
    place = _order(size, i, j)
    k_starts, k_rows, _ = _upper(size, place[i], place[j])
    parent, _, _ = elimination_tree(size, k_starts, k_rows)
    place = postorder(parent)[place]
    k_starts, k_rows, of_entry = _upper(size, place[i], place[j])
    of = np.split(of_entry, np.cumsum([len(part) for part in one])[:-1])
    parent, counts, row_counts = elimination_tree(size, k_starts, k_rows)
    row_starts = np.concatenate([[0], np.cumsum(row_counts)])
    l_columns = np.zeros(row_starts[-1], dtype=np.uint32)
    factor_rows(size, k_starts, k_rows, parent, row_starts, l_columns)
    sign = np.ones(size)
    sign[place[n:]] = -1.0
    return Pattern(
        n=n,
        equal=equal,
        at_most=at_most,
        dims=dims.astype(np.int64),
        starts=starts.astype(np.int64),
        columns=_unsigned(place[columns]),
        wide=np.where(is_wide, place[np.maximum(wide, 0)], -1),
        place=place,
        sign=sign,
        of_diagonal=of[0][np.argsort(place)],
        of_equal=of[1],
        of_wide=of[2],
        wide_entries=wide_entries,
        pair_starts=pair_starts,
        pairs=pairs,
        of_pair=of[3],
        cone_columns=place[np.concatenate([np.zeros(0, int), *of_cone])],
        cone_column_starts=np.concatenate([[0], np.cumsum([len(own) for own in of_cone])]).astype(int),
        of_cone_pair=of[4],
        cone_pair_starts=cone_pair_starts,
        k_starts=k_starts,
        k_rows=k_rows,
        l_starts=_unsigned(np.concatenate([[0], np.cumsum(counts)])),
        row_starts=_unsigned(row_starts),
        l_columns=l_columns,
    )


def _pairs(groups: list) -> tuple[Array, Array]:
    """All pairs (a, b), a not after b, within each group, (2, pairs), and where each group's begin."""
    found = [np.array(group)[np.stack(np.triu_indices(len(group)))] for group in groups if len(group)]
    sizes = [len(group) * (len(group) + 1) // 2 for group in groups]
    return np.concatenate([np.zeros((2, 0), int), *found], axis=1), np.concatenate(
        [[0], np.cumsum(sizes)]
    ).astype(int)


def _order(size: int, i: Array, j: Array) -> Array:
    """The number at which each row and column is eliminated: least degree first (SuperLU's)."""
    both = csr_array((np.ones(2 * len(i)), (np.append(i, j), np.append(j, i))), shape=(size, size))
    dominant = csc_matrix(both + 10.0 * size * eye_array(size))
    options = {"SymmetricMode": True}
    order: Array = splu(
        dominant, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options
    ).perm_c.astype(np.int64)
    return order


def _upper(size: int, i: Array, j: Array) -> tuple[Array, Array, Array]:
    """The upper triangle by columns, and the place in it of each entry (i, j)."""
    keys, of_entry = np.unique(np.maximum(i, j) * size + np.minimum(i, j), return_inverse=True)
    return _unsigned(np.searchsorted(keys, np.arange(size + 1) * size)), _unsigned(keys % size), of_entry


def _unsigned(numbers: Array) -> Array:
    return numbers.astype(np.uint32)
