"""The convex relaxation of a program, solved component by component.

Without its complementarity rows the single-level program falls apart: the leaders with the
follower's dispatch (cones: Clarabel), and for every hour the follower's multipliers alone (linear: HiGHS).
Its optimum is the welfare bound: by weak duality the multipliers reach exactly phi at native load.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components

from model.bounds import safe_bound
from model.program import Array, Program, touched
from model.solvers.conic import SMALL, TOLERANCE, solve_conic
from model.solvers.linear import solve_linear
from model.solvers.twins import merge

# Clarabel's tolerance on programs of fewer columns than SMALL: their bounds may be asked for to 1e-7, and
# their costs are small enough for digits to count.
FINER = 1e-9


@dataclass(frozen=True)
class RelaxationResult:
    """Point and dual vectors of the relaxed program."""

    status: str
    x: Array
    row_duals: Array
    cone_duals: Array
    iterations: int
    message: str = ""


def solve_relaxation(
    program: Program,
    time_limit_s: float = np.inf,
    near: Array | None = None,
    size: float = 0.0,
    *,
    exact: bool = True,
) -> RelaxationResult:
    """Solve a program without integers or products; conic components together, linear ones together.

    ``near``: a point that the solution is looked for around. Where costs or limits are told apart by less
    than a millionth of themselves, only differences from such a point have the digits. Tolerances are then
    relative to ``size``, in $, by default the cost there. ``exact`` as in :func:`solve_conic`.
    """
    started = time.monotonic()
    merged = merge(program)
    program = merged.program
    origin = np.zeros(len(program.c))
    if near is not None:
        origin = merged.together(near)
        program, size = program.around(origin), size or max(abs(float(program.c @ origin)), 1.0)
    conic = conic_columns(program)
    linear = _solve_linear_part(program, ~conic, time_limit_s)
    if linear.status != "solved":
        x = merged.point(origin + linear.x)
        return replace(linear, x=x, row_duals=merged.row_duals(linear.row_duals))
    left = time_limit_s - (time.monotonic() - started)
    tolerance = FINER if len(program.c) < SMALL else TOLERANCE
    result = solve_conic(program, conic, left, exact=exact, tolerance=tolerance, size=size)
    return RelaxationResult(
        result.status,
        merged.point(origin + result.x + linear.x),
        merged.row_duals(result.row_duals + linear.row_duals),
        result.cone_duals,
        result.iterations,
        result.message,
    )


def follow_ray(
    program: Program, result: RelaxationResult, enough: float
) -> tuple[float, tuple[Array, Array]]:
    """Safe bound and dual vector of an infeasible program, its ray followed until the bound is enough."""
    ray = touched(program.A, conic_columns(program))
    for length in 10.0 ** np.arange(9):
        duals = np.where(ray, length, 1.0) * result.row_duals, length * result.cone_duals
        bound = safe_bound(program, *duals)
        if bound > enough:
            return bound, duals
    return -math.inf, (result.row_duals, result.cone_duals)


def components(program: Program) -> tuple[Array, Array]:
    """The connected component of every column, and of every row and then cone."""
    n = len(program.c)
    # A cone ties its variables together: one node a row of A and one a cone.
    owner = np.repeat(np.arange(len(program.cone_dims)), program.cone_dims)
    places = owner, np.arange(len(owner))
    gather = csr_array((np.ones(len(owner)), places), shape=(len(program.cone_dims), len(owner)))
    touches = vstack([abs(program.A), gather @ abs(program.cone_A)]).tocoo()
    size = n + touches.shape[0]
    graph = csr_array((np.ones(touches.nnz), (touches.col, n + touches.row)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    return label[:n], label[n:]


def conic_columns(program: Program) -> Array:
    """True for the columns whose connected component has a cone."""
    of_column, of_row = components(program)
    return np.isin(of_column, np.unique(of_row[len(program.row_lower) :]))


def _solve_linear_part(program: Program, chosen: Array, time_limit_s: float) -> RelaxationResult:
    x = np.zeros(len(program.c))
    row_duals = np.zeros(len(program.row_lower))
    cone_duals = np.zeros(len(program.cone_b))
    if not chosen.any():
        return RelaxationResult("solved", x, row_duals, cone_duals, 0, "HiGHS")
    A = program.A[:, chosen]
    rows = np.diff(A.indptr) > 0
    result = solve_linear(
        program.c[chosen],
        A[rows],
        program.row_lower[rows],
        program.row_upper[rows],
        program.lower[chosen],
        program.upper[chosen],
        time_limit_s,
    )
    if result.x is not None and result.row_duals is not None:
        x[chosen] = result.x
        row_duals[rows] = result.row_duals
    return RelaxationResult(result.status, x, row_duals, cone_duals, 0, "HiGHS")
