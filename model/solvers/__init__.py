"""Solvers and methods behind one door; one a file, one line here.

A method is a module with ``available()``, which says why it cannot run here or None, and
``solve(problem, program, gap, time_limit_s, progress) -> Outcome``.
"""

from collections.abc import Callable

from model.data import InputError
from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers import auto, bound_only, decomposed, gurobi, highs, mindtpy, naive, scip

METHODS = {
    "auto": auto,
    "decomposed": decomposed,
    "highs": highs,
    "naive": naive,
    "gurobi": gurobi,
    "scip": scip,
    "mindtpy": mindtpy,
    "relaxation": bound_only,
}
# Methods that read the Pyomo model itself, which then must be whole.
READ_PYOMO = ("gurobi", "scip", "mindtpy")


def check_method(method: str) -> None:
    """Raises InputError for a method that is unknown, not installed or without a licence."""
    if method not in METHODS:
        raise InputError("method", method, ", ".join(METHODS))
    missing = METHODS[method].available()
    if missing is not None:
        raise InputError("method", method, missing)


def solve(
    problem: Problem,
    program: Program,
    method: str = "auto",
    gap: float = 1e-3,
    time_limit_s: float = 600.0,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Solve a problem to a relative gap within a time limit in seconds.

    ``program`` is ``compile_problem(problem)``. ``progress`` is told what is being done. Raises InputError
    for a method that cannot run, one of ``READ_PYOMO`` where the problem is not built whole, and a gap or
    time limit that is not positive.
    """
    check_method(method)
    if method in READ_PYOMO and problem.pattern is not None:
        raise InputError("method", method, "a method that needs no Pyomo model, as the problem is stamped")
    for field, value in (("gap", gap), ("time_limit", time_limit_s)):
        if not value > 0:
            raise InputError(field, value, "a number above 0")
    return METHODS[method].solve(problem, program, gap, time_limit_s, progress or (lambda message: None))
