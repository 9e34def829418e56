"""The conic relaxation alone, as a whole: the welfare bound and no point.

One such solve is the unit in which the effort of the other methods is told.
"""

from collections.abc import Callable

from model.bounds import safe_bound
from model.outcome import Bounded, Outcome
from model.problem import Problem
from model.program import Program
from model.solvers.relaxation import solve_relaxation


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """The bound with its dual vector; ``solved`` without a point."""
    progress("conic relaxation")
    relaxed = program.relaxed()
    relaxation = solve_relaxation(relaxed, time_limit_s)
    message = f"{relaxation.message}, {relaxation.iterations} iterations"
    if relaxation.status != "solved":
        return Outcome(relaxation.status, message=message)
    duals = relaxation.row_duals, relaxation.cone_duals
    part = Bounded({}, {}, *duals, safe_bound(relaxed, *duals))
    return Outcome("solved", parts=(part,), message=f"a bound alone; {message}")
