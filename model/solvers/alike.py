"""Conic programs of one pattern, solved side by side by ``model.interior_point``.

What a program fixes keeps its place in the pattern with entries of zero, so programs that fix other columns
are alike. What does not converge goes to Clarabel, one by one, and so do small programs, which it solves
before a pattern would be found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.program import Array, Program
from model.solvers.conic import FIXED, TOLERANCE, ConicResult, miss_allowed, misses, solve_conic

if TYPE_CHECKING:
    from model.interior_point.pattern import Pattern

# Programs with fewer columns than this are solved one by one.
MANY = 2000
# Where a dual vector is enough it is iterated to ALMOST: its cut misses cents of an hour's cost of 10,000 $.
# One that got no further than ENOUGH misses 16 cents, and a point that got no further than GOOD is looked
# at: Clarabel takes ten times as long for the last digits.
ALMOST, ENOUGH, GOOD = 1e-5, 1e-4, 1e-6
# Patterns that are remembered: of the hours' programs there is one.
REMEMBERED = 4


@dataclass(frozen=True, eq=False)
class Shape:
    """What programs alike have in common: which rows are equalities, which have an upper and which a lower
    limit, and the pattern of these and the cones' rows, one after the other.

    ``row_of``, ``columns``: of every entry; ``source``: where it is in ``A``'s and then ``cone_A``'s data.
    ``sign``: of every row, -1 where the pattern's is the negative: a lower limit, and a cone's.
    """

    equal: Array
    above: Array
    below: Array
    row_of: Array
    columns: Array
    source: Array
    sign: Array
    pattern: "Pattern"


_shapes: dict[tuple, Shape] = {}


def solve_alike(programs: Sequence[Program], *, exact: bool) -> list[ConicResult]:
    """Solve programs without integers, those together that differ in their values alone.

    ``exact`` as in :func:`solve_conic`.
    """
    results: dict[int, ConicResult] = {}
    alike: dict[Shape, list[int]] = {}
    for k, program in enumerate(programs):
        if len(program.c) < MANY:
            results[k] = solve_conic(program, exact=exact)
        else:
            alike.setdefault(_shape(program), []).append(k)
    for shape, numbers in alike.items():
        results |= zip(numbers, _solve_group(shape, [programs[k] for k in numbers], exact), strict=True)
    return [results[k] for k in range(len(programs))]


def _solve_group(shape: Shape, programs: Sequence[Program], exact: bool) -> list[ConicResult]:
    # Imported where it is needed: the compiler behind it takes as long as a small instance.
    from model.interior_point.method import Group, solve

    fixed = [p.lower == p.upper for p in programs]
    # A box that one of them needs holds for the others too.
    pairs = list(zip(programs, fixed, strict=True))
    at_most = np.flatnonzero(np.any([p.enforced_upper & ~held for p, held in pairs], axis=0))
    at_least = np.flatnonzero(np.any([p.enforced_lower & ~held for p, held in pairs], axis=0))
    sizes = len(programs[0].c), len(shape.columns), len(shape.sign), len(at_most), len(at_least)
    c, entries, side, upper, lower = (np.zeros((size, len(pairs))) for size in sizes)
    for e, (p, held) in enumerate(pairs):
        c[:, e] = np.where(held, 0.0, p.c)
        entries[:, e], side[:, e] = _values(shape, p, held)
        upper[:, e] = np.where(held, 1.0, p.upper)[at_most]
        lower[:, e] = np.where(held, -1.0, p.lower)[at_least]
    with np.errstate(all="ignore"):
        found = solve(
            shape.pattern,
            Group(c, entries, side, at_most, upper, at_least, lower),
            TOLERANCE if exact else ALMOST,
        )
    results = []
    for e, (p, held) in enumerate(pairs):
        result = None
        if found.missed[e] <= (GOOD if exact else ENOUGH):
            x = np.where(held, p.lower, found.x[:, e])
            result = _result(shape, p, x, found.y[:, e], int(found.steps[e]))
        if result is None or (exact and misses(p, x) > miss_allowed(p, result)):
            result = solve_conic(p, exact=exact)
        results.append(result)
    return results


def _values(shape: Shape, p: Program, held: Array) -> tuple[Array, Array]:
    """Entries and sides with what is fixed put in; rows that nothing is left of say nothing."""
    entries = shape.sign[shape.row_of] * np.concatenate([p.A.data, p.cone_A.data])[shape.source]
    side = shape.sign * np.concatenate(
        [p.row_upper[shape.equal], p.row_upper[shape.above], p.row_lower[shape.below], -p.cone_b]
    )
    moved = np.where(held, p.lower, 0.0)[shape.columns]
    side -= np.bincount(shape.row_of, entries * moved, len(side))
    entries[held[shape.columns]] = 0.0
    idle = np.bincount(shape.row_of, entries != 0.0, len(side)) == 0
    linear = np.arange(len(side)) < len(shape.equal) + len(shape.above) + len(shape.below)
    # One that is missed keeps its side, which nothing can meet: it ends without a solution.
    met = np.where(np.arange(len(side)) < len(shape.equal), np.abs(side) <= FIXED, side >= -FIXED)
    side[idle & met & linear] = 1.0
    side[: len(shape.equal)][(idle & met)[: len(shape.equal)]] = 0.0
    return entries, side


def _shape(p: Program) -> Shape:
    equal = p.row_lower == p.row_upper
    above, below = np.isfinite(p.row_upper) & ~equal, np.isfinite(p.row_lower) & ~equal
    parts = (p.A.indptr, p.A.indices, p.cone_A.indptr, p.cone_A.indices, p.cone_dims, equal, above, below)
    key = tuple(hash(part.tobytes()) for part in parts)
    if key not in _shapes:
        while len(_shapes) >= REMEMBERED:
            _shapes.pop(next(iter(_shapes)))
        _shapes[key] = _new_shape(p, *map(np.flatnonzero, (equal, above, below)))
    return _shapes[key]


def _new_shape(p: Program, equal: Array, above: Array, below: Array) -> Shape:
    from model.interior_point.pattern import pattern_of

    rows = np.concatenate([equal, above, below])
    numbered = p.A.copy()
    numbered.data = np.arange(p.A.nnz)
    linear = numbered[rows]
    starts = np.concatenate([linear.indptr, linear.indptr[-1] + p.cone_A.indptr[1:]])
    columns = np.concatenate([linear.indices, p.cone_A.indices])
    return Shape(
        equal=equal,
        above=above,
        below=below,
        row_of=np.repeat(np.arange(len(starts) - 1), np.diff(starts)),
        columns=columns,
        source=np.concatenate([linear.data, p.A.nnz + np.arange(p.cone_A.nnz)]),
        sign=np.repeat([1.0, -1.0], [len(equal) + len(above), len(below) + len(p.cone_b)]),
        pattern=pattern_of(len(p.c), len(equal), len(above) + len(below), p.cone_dims, starts, columns),
    )


def _result(shape: Shape, p: Program, x: Array, y: Array, steps: int) -> ConicResult:
    row_duals = np.zeros(len(p.row_lower))
    n_equal, n_above, n_below = len(shape.equal), len(shape.above), len(shape.below)
    of_equal, of_above, of_below, of_cones = np.split(y, np.cumsum([n_equal, n_above, n_below]))
    row_duals[shape.equal] = -of_equal
    row_duals[shape.above] -= of_above
    row_duals[shape.below] += of_below
    return ConicResult("solved", x, row_duals, of_cones, steps, "interior point, side by side")
