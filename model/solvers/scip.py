"""SCIP through Pyomo's direct interface: every mode; needs the extra ``scip``."""

from collections.abc import Callable
from importlib.util import find_spec

from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers.pyomo_door import solve_through_pyomo


def available() -> str | None:
    """Why SCIP cannot run here, or None."""
    if find_spec("pyscipopt") is None:
        return "a method that is installed (scip needs the extra: pip install 'tso-dso-benchmark[scip]')"
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Spatial branch and bound by SCIP."""
    progress("scip")
    options = {"numerics/feastol": 1e-9, "display/verblevel": 0}
    try:
        return solve_through_pyomo(
            "scip_direct",
            options,
            lambda solver: int(solver._solver_model.getNTotalNodes()),
            problem,
            program,
            gap,
            time_limit_s,
        )
    except Exception as error:  # pyscipopt raises nothing narrower
        if not str(error).startswith("SCIP:"):
            raise
        return Outcome("error", message=str(error))
