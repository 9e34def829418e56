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
from model.program import Array

# Inequality rows with more entries than this stay rows: eliminated, they would join each with each.
WIDE = 6


@dataclass(frozen=True, eq=False)
class Pattern:
    """The pattern of programs with ``n`` columns, ``equal`` rows, then ``at_most`` rows, then cones of
    ``dims``, by rows in ``starts`` and ``columns``.

    ``place``: of every column, equality row and wide row, its number in the order of elimination.
    ``rows``, ``entries``: which of the program's each is. Rows of a kind, and cones, follow the columns they
    join: what is near in one vector is near in all.
    ``of_*``: where in the Newton matrix (``k_*``, its upper triangle by columns) an entry goes, or a product
    of two, whose places among the entries are ``pairs``, by rows, and for cones all pairs of their columns.
    ``changing``: the places of what depends on the scaling.
    ``l_starts``: of the factor by columns; ``row_starts``, ``l_columns``: of its rows.
    """

    n: int
    equal: int
    at_most: int
    dims: Array
    rows: Array
    entries: Array
    starts: Array
    columns: Array
    wide: Array
    place: Array
    sign: Array
    changing: Array
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


@dataclass(frozen=True)
class _Rows:
    """Rows and the unknown that each is in the system, -1 of those that are eliminated. ``group``: of every
    row, its own number among all linear rows and cones.
    """

    equal: int
    at_most: int
    dims: Array
    starts: Array
    columns: Array
    unknown: Array

    @property
    def group(self) -> Array:
        linear = self.equal + self.at_most
        return np.concatenate(
            [np.arange(linear), np.repeat(linear + np.arange(len(self.dims)), self.dims)]
        ).astype(int)

    @property
    def of_entry(self) -> Array:
        return np.repeat(np.arange(len(self.unknown)), np.diff(self.starts))


def pattern_of(n: int, equal: int, at_most: int, dims: Array, starts: Array, columns: Array) -> Pattern:
    """Order and factorise: ``starts`` and ``columns`` hold the rows one after the other."""
    stays = np.diff(starts) > WIDE
    stays[:equal], stays[equal + at_most :] = True, False
    size = n + int(stays.sum())
    unknown = np.where(stays, n - 1 + np.cumsum(stays), -1)
    dims, starts, columns = (part.astype(np.int64) for part in (dims, starts, columns))
    given = _Rows(equal, at_most, dims, starts, columns, unknown)
    i, j = map(np.concatenate, _Joined(given, size).pairs_of_unknowns())
    place = _order(size, i, j)
    k_starts, k_rows, _ = _upper(size, place[i], place[j])
    parent, _, _ = elimination_tree(size, k_starts, k_rows)
    place = postorder(parent)[place]

    own, rows, entries = _sorted(given, place)
    joined = _Joined(own, size)
    one, other = joined.pairs_of_unknowns()
    k_starts, k_rows, of_entry = _upper(size, np.concatenate(one), np.concatenate(other))
    of_diagonal, of_equal, of_wide, of_pair, of_cone_pair = np.split(
        _unsigned(of_entry), np.cumsum([len(part) for part in one])[:-1]
    )
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
        dims=own.dims,
        rows=rows,
        entries=entries,
        starts=own.starts,
        columns=_unsigned(own.columns),
        wide=own.unknown[equal : equal + at_most],
        place=place,
        sign=sign,
        changing=np.unique(np.concatenate([of_diagonal, of_pair, of_cone_pair])),
        of_diagonal=of_diagonal,
        of_equal=of_equal,
        of_wide=of_wide,
        wide_entries=_unsigned(joined.wide_entries),
        pair_starts=joined.pair_starts,
        pairs=_unsigned(joined.pairs),
        of_pair=of_pair,
        cone_columns=_unsigned(joined.cone_columns),
        cone_column_starts=joined.cone_column_starts,
        of_cone_pair=of_cone_pair,
        cone_pair_starts=joined.cone_pair_starts,
        k_starts=k_starts,
        k_rows=k_rows,
        l_starts=_unsigned(np.concatenate([[0], np.cumsum(counts)])),
        row_starts=_unsigned(row_starts),
        l_columns=l_columns,
    )


class _Joined:
    """What rows join in a system of so many unknowns."""

    def __init__(self, rows: _Rows, size: int):
        self.rows, self.size = rows, size
        first, after = rows.equal, rows.equal + rows.at_most
        is_wide = rows.unknown[first:after] >= 0
        of_entry = rows.of_entry
        linear = np.arange(rows.starts[first], rows.starts[after])
        of_wide = is_wide[of_entry[linear] - first]
        self.wide_entries = linear[of_wide]
        lengths = np.where(is_wide, 0, np.diff(rows.starts[first : after + 1]))
        self.pairs, self.pair_starts = _pairs(linear[~of_wide], lengths)
        conic = np.arange(rows.starts[after], rows.starts[-1])
        cone_of = rows.group[of_entry[conic]] - after
        found = np.unique(cone_of * size + rows.columns[conic])
        self.cone_columns = found % size
        widths = np.bincount(found // size, minlength=len(rows.dims))
        self.cone_column_starts = _starts(widths)
        self.cone_pairs, self.cone_pair_starts = _pairs(self.cone_columns, widths)

    def pairs_of_unknowns(self) -> tuple[list[Array], list[Array]]:
        """Of the diagonal, the equality rows' entries, the wide ones', the pairs and the cones' pairs."""
        columns, own = self.rows.columns, self.rows.unknown[self.rows.of_entry]
        diagonal, equal, wide = (
            np.arange(self.size),
            slice(self.rows.starts[self.rows.equal]),
            self.wide_entries,
        )
        one = [diagonal, columns[equal], columns[wide], columns[self.pairs[0]], self.cone_pairs[0]]
        other = [diagonal, own[equal], own[wide], columns[self.pairs[1]], self.cone_pairs[1]]
        return one, other


def _sorted(rows: _Rows, place: Array) -> tuple[_Rows, Array, Array]:
    """Columns by their places; rows of a kind, and cones, by the first of their columns; which rows and which
    entries these are.
    """
    columns, group, of_entry = place[rows.columns], rows.group, rows.of_entry
    linear = rows.equal + rows.at_most
    first = np.full(linear + len(rows.dims), len(place))
    np.minimum.at(first, group[of_entry], columns)
    kind = np.searchsorted([rows.equal, linear], np.arange(len(first)), side="right")
    groups = np.lexsort([first, kind])
    order = np.argsort(np.argsort(groups)[group], kind="stable")
    lengths = np.diff(rows.starts)[order]
    starts = _starts(lengths)
    entries = np.arange(starts[-1]) + np.repeat(rows.starts[:-1][order] - starts[:-1], lengths)
    dims = rows.dims[groups[linear:] - linear]
    unknown = np.where(rows.unknown < 0, -1, place[rows.unknown])[order]
    return _Rows(rows.equal, rows.at_most, dims, starts, columns[entries], unknown), order, entries


def _starts(lengths: Array) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _pairs(members: Array, lengths: Array) -> tuple[Array, Array]:
    """All pairs (a, b), a not after b, within groups of these lengths, (2, pairs), and where each group's
    begin.
    """
    begin, starts = _starts(lengths), _starts(lengths * (lengths + 1) // 2)
    pairs = np.zeros((2, starts[-1]), dtype=np.int64)
    for length in np.unique(lengths):
        (groups,) = np.nonzero(lengths == length)
        within = np.stack(np.triu_indices(length))
        at = starts[groups, None] + np.arange(within.shape[1])
        pairs[:, at] = members[begin[groups, None] + within[:, None]]
    return pairs, starts


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
