"""HiGHS on the whole single-level program (mode ``big_m``), by outer approximation with Clarabel.

The way without price regions: every complementarity is a binary of the search. It starts from the default
method's point, because HiGHS alone finds none for a single ADN in minutes.
"""

import time
from collections.abc import Callable

from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers import auto
from model.solvers.linear import refuse_products


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Branch on the whole single-level program, starting from the default method's point, unless the
    relaxation's bound is near enough to it already.
    """
    refuse_products(problem, program, "highs")
    ended = time.monotonic() + time_limit_s
    start = auto.welfare(problem, program, gap, time_limit_s, progress)
    if start.x is None:
        return start
    if start.status == "solved" and start.closes(program.objective(start.x), gap):
        return start
    return auto.on_complementarities(program, start, gap, ended, progress)
