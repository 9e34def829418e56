"""The default method: conic relaxation, binaries by direction, the follower's answer.

1. Clarabel solves the convex relaxation (the welfare bound), HiGHS the follower's multipliers.
2. Each binary of the leaders is set to the side its row allows. Where every one has such a side, the relaxed
   point is already integral; else the binaries are fixed there and the program is solved again, and outer
   approximation on HiGHS branches on them where that costs more than the gap allows.
3. HiGHS solves the follower at that boundary power, with the prices that cost the leaders least.
"""

import time
from collections.abc import Callable

import numpy as np

from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers.binaries import round_by_direction
from model.solvers.follower import respond
from model.solvers.relaxation import solve_relaxation


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """A point of the single-level program and the welfare bound with its dual vectors."""
    started = time.monotonic()
    progress("conic relaxation")
    relaxed = program.relaxed()
    relaxation = solve_relaxation(relaxed, time_limit_s)
    if relaxation.status != "solved":
        return Outcome(relaxation.status, message=relaxation.message)
    bound = relaxed.objective(relaxation.x)
    x, undecided = round_by_direction(program, relaxation.x)
    if undecided.any():
        progress(f"{int(undecided.sum())} binaries without a direction")
        fixed = np.where(program.integer, np.round(x), np.nan)
        lower = np.where(np.isnan(fixed), relaxed.lower, fixed)
        upper = np.where(np.isnan(fixed), relaxed.upper, fixed)
        left = time_limit_s - (time.monotonic() - started)
        again = solve_relaxation(relaxed.with_bounds(lower, upper), left)
        if again.status != "solved":
            return Outcome(
                again.status, bound=bound, row_duals=relaxation.row_duals, cone_duals=relaxation.cone_duals
            )
        x = again.x
    progress("follower")
    point = respond(problem, program, x)
    return Outcome(
        "solved",
        point,
        bound,
        relaxation.row_duals,
        relaxation.cone_duals,
        message=f"{relaxation.message}, {relaxation.iterations} iterations",
    )
