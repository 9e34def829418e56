"""The default method: conic relaxation, binaries by direction, the follower's answer.

1. Clarabel solves the convex relaxation (the welfare bound), HiGHS the follower's multipliers.
2. Each binary of the leaders is set to the side its row allows. Where every one has such a side, the relaxed
   point is already integral; else the binaries are fixed there and the program is solved again, and outer
   approximation on HiGHS branches on them where that costs more than the gap allows.
3. HiGHS solves the follower at that boundary power, with the prices that cost the leaders least.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.outcome import Outcome
from model.problem import Problem
from model.program import Array, Program
from model.solvers.binaries import leader_binaries, round_by_direction
from model.solvers.follower import respond
from model.solvers.outer_approximation import branch
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
    outcome = Outcome(
        "solved",
        bound=relaxed.objective(relaxation.x),
        row_duals=relaxation.row_duals,
        cone_duals=relaxation.cone_duals,
        message=f"{relaxation.message}, {relaxation.iterations} iterations",
    )
    x, undecided = round_by_direction(program, relaxation.x)
    if undecided.any():
        progress(f"{int(undecided.sum())} binaries without a direction")
        left = time_limit_s - (time.monotonic() - started)
        outcome = _with_binaries(program, relaxed, x, outcome, gap, left, progress)
        if outcome.x is None:
            return outcome
        x = outcome.x
    progress("follower")
    return replace(outcome, x=respond(problem, program, x))


def _with_binaries(
    program: Program,
    relaxed: Program,
    x: Array,
    outcome: Outcome,
    gap: float,
    time_limit_s: float,
    progress: Callable[[str], None],
) -> Outcome:
    """Solve again with the leaders' binaries as in x; branch where that costs more than half the gap."""
    ended = time.monotonic() + time_limit_s
    integer = np.zeros_like(program.integer)
    integer[leader_binaries(program)] = True
    lower, upper = np.where(integer, x, relaxed.lower), np.where(integer, x, relaxed.upper)
    again = solve_relaxation(relaxed.with_bounds(lower, upper), time_limit_s)
    start = x
    if again.status == "solved":
        start = again.x
        value = relaxed.objective(again.x)
        if value - (outcome.bound or 0.0) <= 0.5 * gap * max(abs(value), 1.0):
            return replace(outcome, x=again.x)
    # HiGHS must not start from a point that is integral only to an interior-point method's tolerance.
    start = np.where(integer, np.round(start), start)
    result = branch(replace(relaxed, integer=integer), start, gap / 2, ended - time.monotonic(), progress)
    bounds = [value for value in (outcome.bound, result.bound) if value is not None]
    return replace(outcome, status=result.status, x=result.x, bound=max(bounds), nodes=result.nodes)
