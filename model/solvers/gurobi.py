"""Gurobi through Pyomo's persistent interface: every mode; asked for by name only.

The free licence that comes with gurobipy takes 2,000 variables, 2,000 rows and 200 variables in
quadratic terms; a larger program ends as an ``error`` with Gurobi's own words.
"""

from collections.abc import Callable

from pyomo.common.errors import PyomoException

from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers.pyomo_door import solve_through_pyomo


def available() -> str | None:
    """Why Gurobi cannot run here, or None."""
    try:
        import gurobipy
    except ImportError:
        return "a method that is installed (gurobi needs the package gurobipy)"
    try:
        with gurobipy.Env(params={"OutputFlag": 0}):
            return None
    except gurobipy.GurobiError as error:
        return f"a method with a licence (gurobi says: {error})"


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Branch and bound by Gurobi; products of ``strong_duality`` as nonconvex rows."""
    import gurobipy

    progress("gurobi")
    # Without more care (NumericFocus) points that it calls feasible missed cones by 3e-5.
    options = {"FeasibilityTol": 1e-9, "IntFeasTol": 1e-9, "OptimalityTol": 1e-9, "NonConvex": 2}
    options |= {"NumericFocus": 2}
    try:
        return solve_through_pyomo(
            "gurobi_persistent",
            options,
            lambda solver: int(solver._solver_model.NodeCount),
            problem,
            program,
            gap,
            time_limit_s,
        )
    except (gurobipy.GurobiError, PyomoException) as error:
        return Outcome("error", message=f"Gurobi: {error}")
