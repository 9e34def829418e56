"""Naive big-M: HiGHS on the whole single-level program, cones by outer approximation, no start.

What one gets who writes the KKT conditions down and calls an open solver; kept as a baseline. Clarabel's
relaxation gives the first planes, and the bound until HiGHS has a better one, but no point.
"""

import time
from collections.abc import Callable

from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers.linear import refuse_products
from model.solvers.outer_approximation import branch
from model.solvers.relaxation import solve_relaxation


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Branch on every binary of the program from nothing but the relaxation's planes."""
    refuse_products(problem, program, "naive")
    ended = time.monotonic() + time_limit_s
    progress("conic relaxation")
    relaxation = solve_relaxation(program.relaxed(), time_limit_s)
    if relaxation.status != "solved":
        return Outcome(relaxation.status, message=relaxation.message)
    return branch(program, relaxation.x, gap, ended - time.monotonic(), progress)
