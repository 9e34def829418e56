"""The Newton systems of four programs side by side: their matrices, products with their rows."""

from typing import Any

import numpy as np

from model.interior_point.lanes import (
    LANES,
    above,
    add,
    compiled,
    divide,
    filled,
    get,
    inlined,
    largest,
    multiply,
    negative,
    put,
    root,
    scaled,
    size,
    subtract,
)
from model.program import Array


@compiled
def rests(
    at_equal: Array,
    equal: int,
    starts: Array,
    columns: Array,
    entries: Array,
    box_columns: Array,
    n_upper: int,
    linear: Array,
    h: Array,
    u: Array,
    s: Array,
    z: Array,
    r: Array,
    rz: Array,
    measures: Array,
) -> None:
    """What the optimality conditions miss: ``r`` of columns and equality rows, ``rz`` of others; flat.

    ``measures``, (4, 4): the sum and the largest size of ``rz``, ``h z`` and ``s z``, which are read for it.
    """
    total, most, of_h, of_s = filled(0.0), filled(0.0), filled(0.0), filled(0.0)
    for i in range(len(r)):
        r[i] = linear[i]
    for k in range(len(box_columns)):
        j, v, side, slack = box_columns[k], get(z, k), get(h, k), get(s, k)
        at = get(u, j) if k < n_upper else negative(get(u, j))
        put(r, j, add(get(r, j), v if k < n_upper else negative(v)))
        rest = add(subtract(slack, side), at)
        put(rz, k, rest)
        total, most = add(total, rest), largest(size(rest), most)
        of_h, of_s = add(of_h, multiply(side, v)), add(of_s, multiply(slack, v))
    for row in range(len(starts) - 1):
        k = row - equal + len(box_columns)
        v = get(u, at_equal[row]) if row < equal else get(z, k)
        along = filled(0.0)
        for p in range(starts[row], starts[row + 1]):
            j, entry = columns[p], get(entries, p)
            along = add(along, multiply(entry, get(u, j)))
            put(r, j, add(get(r, j), multiply(entry, v)))
        if row < equal:
            put(r, at_equal[row], add(get(r, at_equal[row]), along))
        else:
            side, slack = get(h, k), get(s, k)
            rest = add(along, subtract(slack, side))
            put(rz, k, rest)
            total, most = add(total, rest), largest(size(rest), most)
            of_h, of_s = add(of_h, multiply(side, v)), add(of_s, multiply(slack, v))
    put(measures, 0, total)
    put(measures, 1, most)
    put(measures, 2, of_h)
    put(measures, 3, of_s)


@compiled
def right_side(
    equal: int,
    starts: Array,
    columns: Array,
    entries: Array,
    box_columns: Array,
    n_upper: int,
    wide: Array,
    g: Array,
    pressed: Array,
    out: Array,
) -> None:
    """Add what the eliminated rows leave, ``-G' pressed``, and of wide ones ``-g``; all flat."""
    for k in range(len(box_columns)):
        j, v = box_columns[k], get(pressed, k)
        put(out, j, subtract(get(out, j), v) if k < n_upper else add(get(out, j), v))
    for row in range(equal, len(starts) - 1):
        k = row - equal + len(box_columns)
        if row - equal < len(wide) and wide[row - equal] >= 0:
            put(out, wide[row - equal], negative(get(g, k)))
            continue
        v = get(pressed, k)
        for p in range(starts[row], starts[row + 1]):
            j = columns[p]
            put(out, j, subtract(get(out, j), multiply(get(entries, p), v)))


@compiled
def rows_of(
    equal: int,
    starts: Array,
    columns: Array,
    entries: Array,
    box_columns: Array,
    n_upper: int,
    u: Array,
    out: Array,
) -> None:
    """``G u``; all flat."""
    for k in range(len(box_columns)):
        v = get(u, box_columns[k])
        put(out, k, v if k < n_upper else negative(v))
    for row in range(equal, len(starts) - 1):
        total = filled(0.0)
        for p in range(starts[row], starts[row + 1]):
            total = add(total, multiply(get(entries, p), get(u, columns[p])))
        put(out, row - equal + len(box_columns), total)


@compiled
def take_wide(n_boxes: int, wide: Array, u: Array, dz: Array) -> None:
    """The multipliers of wide rows, which the system has among its unknowns; all flat."""
    for k in range(len(wide)):
        if wide[k] >= 0:
            put(dz, n_boxes + k, get(u, wide[k]))


@compiled
def combined(left: Array, r: Array, out: Array) -> None:
    """``-left r``; flat."""
    part = negative(get(left, 0))
    for i in range(len(r) // LANES):
        put(out, i, multiply(part, get(r, i)))


@compiled
def raise_to(r: Array, out: Array) -> None:
    """Raise ``out``, (4,), to the largest size in r, flat; to infinity where something is no number."""
    most, total = get(out, 0), filled(0.0)
    for i in range(len(r) // LANES):
        most = largest(size(get(r, i)), most)
        total = add(total, get(r, i))
    put(out, 0, most)
    sums = np.empty(LANES)
    put(sums, 0, total)
    for e in range(LANES):
        if not np.isfinite(sums[e]):
            out[e] = np.inf


@compiled
def by_sign(sign: Array, a: Array, b: Array, out: Array) -> None:
    """The product of two vectors where the sign is positive, and where it is not, (2, 4); flat."""
    positive, other = filled(0.0), filled(0.0)
    for i in range(len(sign)):
        product = multiply(get(a, i), get(b, i))
        if sign[i] > 0.0:
            positive = add(positive, product)
        else:
            other = add(other, product)
    put(out, 0, positive)
    put(out, 1, other)


@compiled
def advance(u: Array, du: Array, step: Array) -> None:
    """Go so far; where the step is 0 nothing moves, whatever it is. Flat."""
    far = get(step, 0)
    if step.min() > 0.0:
        for i in range(len(u) // LANES):
            put(u, i, add(get(u, i), multiply(far, get(du, i))))
    else:
        for i in range(len(u)):
            if step[i % LANES] > 0.0:
                u[i] += step[i % LANES] * du[i]


@compiled
def advance_by_sign(sign: Array, u: Array, du: Array, positive: Array, other: Array) -> None:
    """The same with a step of its own, (4,), where the sign is positive, and another one where it is not."""
    far, aside = get(positive, 0), get(other, 0)
    if min(positive.min(), other.min()) > 0.0:
        for i in range(len(sign)):
            put(u, i, add(get(u, i), multiply(far if sign[i] > 0.0 else aside, get(du, i))))
    else:
        for i in range(len(u)):
            step = positive[i % LANES] if sign[i // LANES] > 0.0 else other[i % LANES]
            if step > 0.0:
                u[i] += step * du[i]


@compiled
def keep(better: Array, now: Array, out: Array) -> None:
    """Copy the programs that are better; flat."""
    for i in range(len(now)):
        if better[i % LANES]:
            out[i] = now[i]


@compiled
def cone_blocks(
    first: int,
    starts: Array,
    columns: Array,
    entries: Array,
    dims: Array,
    cone_columns: Array,
    cone_column_starts: Array,
    length: int,
) -> Array:
    """Each cone's rows as a dense block over its columns, row by row, (length, 4)."""
    out = np.zeros((length, LANES))
    row, at = first, 0
    for k in range(len(dims)):
        own = cone_columns[cone_column_starts[k] : cone_column_starts[k + 1]]
        for _ in range(dims[k]):
            for p in range(starts[row], starts[row + 1]):
                j = 0
                while own[j] != columns[p]:
                    j += 1
                for e in range(LANES):
                    out[at + j, e] = entries[p, e]
            at += len(own)
            row += 1
    return out


@compiled
def pair_products(
    pairs: Array,
    dims: Array,
    cone_column_starts: Array,
    cone_pair_starts: Array,
    entries: Array,
    blocks: Array,
    of_rows: Array,
    of_cones: Array,
) -> None:
    """The products of entries that every matrix needs: of the eliminated rows ``g_i g_j``, of cones
    ``g_i' J g_j``; flat.
    """
    for p in range(pairs.shape[1]):
        put(of_rows, p, multiply(get(entries, pairs[0, p]), get(entries, pairs[1, p])))
    at = 0
    for k in range(len(dims)):
        width, p = cone_column_starts[k + 1] - cone_column_starts[k], cone_pair_starts[k]
        for i in range(width):
            for j in range(i, width):
                total = multiply(get(blocks, at + i), get(blocks, at + j))
                for q in range(1, dims[k]):
                    row = at + q * width
                    total = subtract(total, multiply(get(blocks, row + i), get(blocks, row + j)))
                put(of_cones, p, total)
                p += 1
        at += width * dims[k]


@compiled
def place_entries(of_equal: Array, of_wide: Array, wide_entries: Array, entries: Array, out: Array) -> None:
    """What every matrix has of equality rows and wide ones; flat."""
    for p in range(len(of_equal)):
        put(out, of_equal[p], get(entries, p))
    for p in range(len(of_wide)):
        put(out, of_wide[p], get(entries, wide_entries[p]))


@compiled
def assemble(
    changing: Array,
    of_diagonal: Array,
    box_columns: Array,
    wide: Array,
    pair_starts: Array,
    of_pair: Array,
    dims: Array,
    cone_column_starts: Array,
    of_cone_pair: Array,
    cone_pair_starts: Array,
    of_rows: Array,
    of_cones: Array,
    blocks: Array,
    w: Array,
    eta: Array,
    v: Array,
    out: Array,
) -> None:
    """What changes of the upper triangle, at a scaling; flat. ``v``: room for as many rows as a cone has
    columns.
    """
    n_boxes = len(box_columns)
    for p in range(len(changing)):
        put(out, changing[p], filled(0.0))
    for k in range(n_boxes):
        i = of_diagonal[box_columns[k]]
        put(out, i, add(get(out, i), divide(filled(1.0), get(w, k))))
    for k in range(len(wide)):
        weight = get(w, n_boxes + k)
        if wide[k] >= 0:
            put(out, of_diagonal[wide[k]], negative(weight))
        for p in range(pair_starts[k], pair_starts[k + 1]):
            i = of_pair[p]
            put(out, i, add(get(out, i), divide(get(of_rows, p), weight)))
    begin, at = n_boxes + len(wide), 0
    for k in range(len(dims)):
        width, dim = cone_column_starts[k + 1] - cone_column_starts[k], dims[k]
        # W^-2 = (2 J w w' J - J) / eta^2
        stretch = get(eta, k)
        factor = divide(filled(1.0), multiply(stretch, stretch))
        twice = scaled(factor, 2.0)
        for i in range(width):
            total = multiply(get(w, begin), get(blocks, at + i))
            for q in range(1, dim):
                total = subtract(total, multiply(get(w, begin + q), get(blocks, at + q * width + i)))
            put(v, i, total)
        p = cone_pair_starts[k]
        for i in range(width):
            left = multiply(twice, get(v, i))
            for j in range(i, width):
                own = subtract(multiply(left, get(v, j)), multiply(factor, get(of_cones, p)))
                put(out, of_cone_pair[p], add(get(out, of_cone_pair[p]), own))
                p += 1
        begin += dim
        at += width * dim


@inlined
def _within(a: Any, least: float, most: float) -> Any:
    """Each moved between these; 1 in place of 0."""
    return negative(largest(negative(largest(above(a, 0.0, 1.0), filled(least))), filled(-most)))


@compiled
def equilibrate(
    n: int, equal_and_at_most: int, starts: Array, columns: Array, entries: Array, dims: Array, passes: int
) -> tuple[Array, Array]:
    """Scale rows and columns to a largest entry near 1 (Ruiz 2001), the rows of a cone alike: ``entries`` in
    place; the factors of rows and columns; all flat.
    """
    m = len(starts) - 1
    of_row, of_column = np.ones(LANES * m), np.ones(LANES * n)
    rows, cols = np.zeros(LANES * m), np.zeros(LANES * n)
    for _ in range(passes):
        cols[:] = 0.0
        for row in range(m):
            most = filled(0.0)
            for p in range(starts[row], starts[row + 1]):
                j, own = columns[p], size(get(entries, p))
                most = largest(own, most)
                put(cols, j, largest(own, get(cols, j)))
            put(rows, row, most)
        row = equal_and_at_most
        for k in range(len(dims)):
            most = get(rows, row)
            for q in range(row + 1, row + dims[k]):
                most = largest(get(rows, q), most)
            for q in range(row, row + dims[k]):
                put(rows, q, most)
            row += dims[k]
        for sizes, factors in ((rows, of_row), (cols, of_column)):
            for i in range(len(sizes) // LANES):
                own = divide(filled(1.0), root(_within(get(sizes, i), 1e-4, 1e4)))
                put(sizes, i, own)
                put(factors, i, multiply(get(factors, i), own))
        for row in range(m):
            own = get(rows, row)
            for p in range(starts[row], starts[row + 1]):
                put(entries, p, multiply(get(entries, p), multiply(own, get(cols, columns[p]))))
    return of_row, of_column
