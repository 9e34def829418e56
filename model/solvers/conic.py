"""Clarabel on the second-order cone relaxation of a program (Goulart and Chen 2024)."""

import time
from dataclasses import dataclass, replace

import clarabel
import numpy as np
from scipy.sparse import csc_array

from model.program import Array, Program, cone_starts, touched

TOLERANCE = 1e-8
# What a row of fixed columns may miss, in p.u.
FIXED = 1e-9
# A point that misses more than this, in p.u., is looked for again, and one for which that may be worth more
# than this part of its cost.
EXACT, WORTH = 1e-7, 1e-7
# Whether linear solves are refined, which takes as long again and seldom changes the result, and rows and
# columns scaled. Programs with fewer columns than SMALL are refined at once: it costs them little, and where
# costs are small too, digits count.
ATTEMPTS = (False, True), (True, True), (True, False)
SMALL = 1000
# Without refinement: what has no end by then stalls, for as long as it is let.
ITERATIONS = 50
SOLVED = ("Solved", "AlmostSolved")
# Clarabel's own: what stalls with a gap below this, relative to what it is counted by, is almost solved.
ALMOST = 5e-5
STATUSES = {"MaxTime": "time_limit", "PrimalInfeasible": "infeasible", "AlmostPrimalInfeasible": "infeasible"}


@dataclass(frozen=True)
class ConicResult:
    """Point and dual vectors in the program's own rows, cones and signs (see ``certificate.safe_bound``)."""

    status: str
    x: Array
    row_duals: Array
    cone_duals: Array
    iterations: int
    message: str


def solve_conic(
    program: Program,
    chosen: Array | None = None,
    time_limit_s: float = np.inf,
    *,
    exact: bool = True,
    tolerance: float = TOLERANCE,
    size: float = 0.0,
) -> ConicResult:
    """Solve a program without integers over the chosen columns (a mask; default all).

    The chosen columns must share no row or cone with the others. Columns whose box is a point are
    substituted; redundant boxes are left out. What does not end is tried again with more care, and so is
    what misses a row, unless the point need not be ``exact``: the dual vector proves what it proves.

    ``size``: the cost in $ that tolerances are relative to where the program's own cost is less, as it is
    around a point (:meth:`Program.around`); such programs are refined at once.
    """
    ended = time.monotonic() + time_limit_s
    best, least = ConicResult("error", *(np.zeros(0),) * 3, 0, ""), np.inf
    for refined, scaled in ATTEMPTS[1 if size or len(program.c) < SMALL else 0 :]:
        left = ended - time.monotonic()
        result, missed = _attempt(program, chosen, left, tolerance, size, refined=refined, scaled=scaled)
        if best.status != "solved":
            best, least = result, missed
        elif result.status == "solved":
            # Dual vectors of other scales prove less.
            duals, point = result if scaled else best, result if missed < least else best
            best = replace(point, row_duals=duals.row_duals, cone_duals=duals.cone_duals)
            least = min(missed, least)
        if best.status == "error":
            continue
        if not exact:
            break
        if best.status != "solved" or least <= miss_allowed(program, best, size):
            break
    return best


def misses(program: Program, x: Array, of: tuple[Array, Array, Array] | None = None) -> float:
    """The most that x misses a row, a box or a cone; ``of``: which rows, columns and cones, default all.

    Not by how much its slacks differ from a solver's: where there is room, that misses nothing.
    """
    excess = program.row_excess(x), program.box_misses(x), program.cone_misses(x)
    if of is not None:
        excess = tuple(own[which] for own, which in zip(excess, of, strict=True))
    return max(float(own.max(initial=0.0)) for own in excess)


def miss_allowed(program: Program, result: ConicResult, size: float = 0.0) -> float:
    """How much an exact point may miss, in p.u.: no more than is worth little at its dearest row."""
    dearest = max(float(np.abs(result.row_duals).max(initial=0.0)), 1.0)
    return min(EXACT, WORTH * max(abs(float(program.c @ result.x)), size, 1.0) / dearest)


def _attempt(
    program: Program,
    chosen: Array | None,
    time_limit_s: float,
    tolerance: float,
    size: float,
    refined: bool,
    scaled: bool,
) -> tuple[ConicResult, float]:
    """One solve, and the most that its point misses a row, a box or a cone."""
    n = len(program.c)
    chosen = np.ones(n, dtype=bool) if chosen is None else chosen
    fixed = program.lower == program.upper
    free = chosen & ~fixed
    x = np.where(fixed & chosen, program.lower, 0.0)
    rows = np.flatnonzero(touched(program.A, chosen))
    # A row of fixed columns alone says nothing, and has no interior where it holds with equality.
    held = ~touched(program.A, free)[rows]
    value = (program.A @ x)[rows]
    kept = ~held | (value < program.row_lower[rows] - FIXED) | (value > program.row_upper[rows] + FIXED)
    rows = rows[kept]
    in_cone = np.logical_or.reduceat(touched(program.cone_A, chosen), cone_starts(program.cone_dims))
    cones = np.flatnonzero(np.repeat(in_cone, program.cone_dims))
    low, up = program.row_lower[rows], program.row_upper[rows]
    equal = low == up
    above, below = np.isfinite(up) & ~equal, np.isfinite(low) & ~equal
    at_most = np.flatnonzero(program.enforced_upper & free)
    at_least = np.flatnonzero(program.enforced_lower & free)
    # Clarabel's rows: side - M x in its cone.
    boxes = np.concatenate([at_most, at_least])
    parts = [
        (1.0, up[equal]),
        (1.0, up[above]),
        (-1.0, low[below]),
        (1.0, program.upper[at_most]),
        (-1.0, program.lower[at_least]),
        (-1.0, -program.cone_b[cones]),
    ]
    sign = np.concatenate([np.full(len(side), one) for one, side in parts])
    side = np.concatenate([side for _, side in parts])
    # Entries by hand: for small programs sparse matrices cost more to put together than cones to solve.
    linear = program.A[np.concatenate([rows[equal], rows[above], rows[below]])]
    conic = program.cone_A[cones]
    counts = np.concatenate([np.diff(linear.indptr), np.ones(len(boxes), dtype=int), np.diff(conic.indptr)])
    row = np.repeat(np.arange(len(side)), counts)
    column = np.concatenate([linear.indices, boxes, conic.indices])
    entry = sign[row] * np.concatenate([linear.data, np.ones(len(boxes)), conic.data])
    rhs = sign * side - np.bincount(row, entry * x[column], len(side))
    ours = free[column]
    places = row[ours], (np.cumsum(free) - 1)[column[ours]]
    stacked = csc_array((entry[ours], places), shape=(len(side), int(free.sum())))
    n_equal = int(equal.sum())
    n_linear = int(above.sum() + below.sum()) + len(at_most) + len(at_least)
    kinds = [clarabel.ZeroConeT(n_equal), clarabel.NonnegativeConeT(n_linear)]
    kinds += [clarabel.SecondOrderConeT(int(dim)) for dim in program.cone_dims[in_cone]]

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    # The default picks faer on larger programs: no faster alone, many times slower on a busy machine.
    settings.direct_solve_method = "qdldl"
    settings.equilibrate_enable = scaled
    settings.iterative_refinement_enable = refined
    if not refined:
        settings.max_iter = ITERATIONS
    settings.tol_gap_rel = settings.tol_feas = tolerance
    settings.tol_gap_abs = tolerance * max(size, 1.0)
    settings.reduced_tol_gap_abs = ALMOST * max(size, 1.0)
    if np.isfinite(time_limit_s):
        settings.time_limit = max(time_limit_s, 0.01)
    quadratic = csc_array((int(free.sum()), int(free.sum())))
    solution = clarabel.DefaultSolver(quadratic, program.c[free], stacked, rhs, kinds, settings).solve()

    message = str(solution.status)
    x[free] = solution.x
    z = np.array(solution.z)
    row_duals = np.zeros(len(program.row_lower))
    row_duals[rows[equal]] = -z[:n_equal]
    stop = n_equal + int(above.sum())
    row_duals[rows[above]] = -z[n_equal:stop]
    row_duals[rows[below]] += z[stop : stop + int(below.sum())]
    cone_duals = np.zeros(len(program.cone_b))
    cone_duals[cones] = z[n_equal + n_linear :]
    status = "solved" if message in SOLVED else STATUSES.get(message, "error")
    missed = misses(program, x, (rows, free, in_cone))
    return ConicResult(status, x, row_duals, cone_duals, solution.iterations, f"Clarabel: {message}"), missed
