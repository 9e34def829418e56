"""HiGHS on linear and mixed-integer linear programs (Huangfu and Hall 2018)."""

from dataclasses import dataclass

import highspy
import numpy as np
from scipy.sparse import csr_array

from model.data import InputError
from model.problem import Problem
from model.program import Array, Program

STATUSES = {
    highspy.HighsModelStatus.kOptimal: "solved",
    highspy.HighsModelStatus.kTimeLimit: "time_limit",
    highspy.HighsModelStatus.kMemoryLimit: "memory_limit",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible",
}

# Tolerances of HiGHS where binaries count: its own is what the certificate lets pass, with nothing to spare.
FINE = {"primal_feasibility_tolerance": 1e-9, "mip_feasibility_tolerance": 1e-9}


@dataclass(frozen=True)
class LinearResult:
    """Point and row duals; a dual is positive where the row's lower side binds."""

    status: str
    x: Array | None
    row_duals: Array | None
    objective: float


def linear_solver(
    c: Array,
    A: csr_array,
    row_lower: Array,
    row_upper: Array,
    lower: Array,
    upper: Array,
    integer: Array | None = None,
) -> highspy.Highs:
    """A silent HiGHS instance that holds ``min c x, row_lower <= A x <= row_upper, lower <= x <= upper``."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(c), len(row_lower)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = c, lower, upper
    lp.row_lower_, lp.row_upper_ = row_lower, row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = A.indptr, A.indices, A.data
    if integer is not None:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in integer]
    highs = highspy.Highs()
    highs.silent()
    highs.passModel(lp)
    return highs


def refuse_products(problem: Problem, program: Program, method: str) -> None:
    """Raises InputError for a mode whose program HiGHS cannot take."""
    if len(program.sos1) or program.bilinear:
        allowed = f"big_m with method {method}: HiGHS has neither SOS1 nor products"
        raise InputError("mode", problem.mode, allowed)


def run(highs: highspy.Highs, time_limit_s: float = np.inf) -> LinearResult:
    """Run a loaded instance. HiGHS counts its run time over all calls, so the limit is put on top."""
    if np.isfinite(time_limit_s):
        highs.setOptionValue("time_limit", highs.getRunTime() + max(time_limit_s, 0.01))
    highs.run()
    status = STATUSES.get(highs.getModelStatus(), "error")
    info = highs.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return LinearResult(status, None, None, np.inf)
    solution = highs.getSolution()
    duals = np.array(solution.row_dual) if solution.dual_valid else None
    return LinearResult(status, np.array(solution.col_value), duals, info.objective_function_value)


def solve_linear(
    c: Array,
    A: csr_array,
    row_lower: Array,
    row_upper: Array,
    lower: Array,
    upper: Array,
    time_limit_s: float = np.inf,
) -> LinearResult:
    """Solve one linear program; where the simplex method loses its way, by an interior-point method."""
    return run_either(linear_solver(c, A, row_lower, row_upper, lower, upper), time_limit_s)


def run_either(highs: highspy.Highs, time_limit_s: float = np.inf) -> LinearResult:
    """Run a loaded linear program; where the simplex method loses its way, by an interior-point method."""
    found = run(highs, time_limit_s)
    if found.status == "error":
        highs.clearSolver()
        highs.setOptionValue("solver", "ipm")
        found = run(highs, time_limit_s)
        highs.setOptionValue("solver", "choose")
    return found
