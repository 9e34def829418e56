"""Solvers that read the Pyomo model themselves, through Pyomo's own interfaces."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition

from model.outcome import Outcome
from model.problem import Problem
from model.program import Array, Program
from model.solvers.follower import Follower

STATUSES = {
    TerminationCondition.convergenceCriteriaSatisfied: "solved",
    TerminationCondition.maxTimeLimit: "time_limit",
    TerminationCondition.provenInfeasible: "infeasible",
    TerminationCondition.infeasibleOrUnbounded: "infeasible",
}


def solve_through_pyomo(
    interface: str,
    options: dict[str, float],
    nodes: Callable[[Any], int],
    problem: Problem,
    program: Program,
    gap: float,
    time_limit_s: float,
) -> Outcome:
    """Solve the Pyomo model by a registered interface; ``nodes`` reads the node count off its solver."""
    solver = SolverFactory(interface)
    with warnings.catch_warnings():
        # Gurobi's interface watches the model for changes and warns that it does not watch suffixes.
        warnings.filterwarnings("ignore", message="ModelChangeDetector does not detect changes to suffixes")
        results = solver.solve(
            problem.m,
            time_limit=time_limit_s,
            rel_gap=gap / 2,  # the certificate's gap is to the recomputed objective, so leave it room
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            solver_options=options,
        )
    x = None
    if results.solution_status in (SolutionStatus.feasible, SolutionStatus.optimal):
        values = results.solution_loader.get_vars()
        x = np.array([values.get(v, np.nan) for v in program.variables])
        # A variable that stands in no row never reaches the solver; any value in its box will do.
        x = np.where(np.isnan(x), program.lower, x)
        x[program.integer] = np.round(x[program.integer])
        x = polished(problem, program, x, gap)
    bound = results.objective_bound
    return Outcome(
        STATUSES.get(results.termination_condition, "error"),
        x,
        None if bound is None or not np.isfinite(bound) else float(bound),
        nodes=nodes(solver),
        message=str(results.termination_condition.name),
    )


def polished(problem: Problem, program: Program, x: Array, gap: float) -> Array:
    """The follower's exact answer to the point's boundary power, where it is not worse than the gap.

    These solvers keep the follower's conditions to a tolerance relative to costs of thousands of $.
    """
    exact = Follower(problem, program)(x)
    if exact is None:
        return x
    worse = program.objective(exact) - program.objective(x)
    return exact if worse <= gap * max(abs(program.objective(x)), 1.0) else x
