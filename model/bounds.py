"""Lower bounds that hold whatever a solver did: recomputed from dual vectors."""

import math

import numpy as np

from model.program import Array, Program, cone_starts, tail_norms


def safe_bound(program: Program, row_duals: Array, cone_duals: Array) -> float:
    """A lower bound on a convex program that holds for any dual vector, in $.

    ``y`` (rows; positive at the lower side) and ``z`` (cones, projected into them) give, for every
    feasible x, ``c x >= sum y+ row_lower - y- row_upper - z cone_b + r x`` with
    ``r = c - A'y - cone_A'z``, and the boxes bound ``r x``. Every rounding error is bounded and
    subtracted (Neumaier and Shcherbina 2004; Jansson 2004 for cones). A vector of another
    program's shape, or one whose numbers overflow, proves nothing: -inf.
    """
    if row_duals.shape != program.row_lower.shape or cone_duals.shape != program.cone_b.shape:
        return -math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            bound = _bound(program, row_duals, cone_duals)
        except (OverflowError, ValueError):  # what math.fsum makes of infinities
            return -math.inf
    return bound if math.isfinite(bound) else -math.inf


def _bound(program: Program, row_duals: Array, cone_duals: Array) -> float:
    y = np.where(np.isfinite(row_duals), row_duals, 0.0)
    y = np.where((y > 0) & np.isinf(program.row_lower), 0.0, y)
    y = np.where((y < 0) & np.isinf(program.row_upper), 0.0, y)
    side = np.where(y > 0, program.row_lower, np.where(y < 0, program.row_upper, 0.0))
    z = project_to_cones(np.where(np.isfinite(cone_duals), cone_duals, 0.0), program.cone_dims)
    reduced = program.c - program.A.T @ y - program.cone_A.T @ z
    extent = np.maximum(np.abs(program.lower), np.abs(program.upper))
    box = np.where(reduced > 0, reduced * program.lower, reduced * program.upper)
    box = np.where(reduced == 0, 0.0, box)

    # A computed sum of n products is within n u of the sum of their absolute values (u: unit roundoff).
    unit = np.finfo(float).eps
    in_column = np.diff(program.A.tocsc().indptr) + np.diff(program.cone_A.tocsc().indptr) + 4
    size = np.abs(program.c) + abs(program.A).T @ np.abs(y) + abs(program.cone_A).T @ np.abs(z)
    rounding = math.fsum(in_column * unit * size * extent)
    terms = np.concatenate([y * side, -z * program.cone_b, box, [program.c0]])
    rounding += 4 * unit * math.fsum(np.abs(terms))
    return math.fsum(terms) - 2 * rounding


def project_to_cones(z: Array, dims: Array) -> Array:
    """A point inside the product of second-order cones near z: heads raised to their tails' norms."""
    if not len(dims):
        return z
    z = z.copy()
    starts = cone_starts(dims)
    # One part in 1e14 more than the norm covers the norm's own rounding.
    z[starts] = np.maximum(z[starts], tail_norms(z, starts) * (1 + 1e-14))
    return z
