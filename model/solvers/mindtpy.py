"""Pyomo's MindtPy by extended cutting planes on HiGHS (Westerlund and Pettersson 1995); mode ``big_m``.

MindtPy's outer approximation needs a nonlinear solver that no extra here brings (docs/formulation.md);
cutting planes need none. The planes are taken outside the cones, where they are valid for convex functions
only: so ``P^2 + Q^2 <= v l`` is stated as ``|(2 P, 2 Q, v - l)| <= v + l``.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.mindtpy.extended_cutting_plane import MindtPy_ECP_Solver
from pyomo.contrib.mindtpy.util import get_main_elapsed_time
from pyomo.opt import TerminationCondition
from pyomo.repn import generate_standard_repn

from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers.linear import FINE, refuse_products
from model.solvers.pyomo_door import polished

CONE_TOLERANCE = 1e-7  # of the cones as stated here, so that none misses 1e-6 as the certificate states them
MANY = 100_000  # rounds: time ends it


def available() -> str | None:
    """MindtPy comes with Pyomo, HiGHS is always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Rounds of HiGHS on the planes so far; a point comes with the last round only."""
    refuse_products(problem, program, "mindtpy")
    solver = CuttingPlanes(progress)
    with _convex_cones(problem.m):
        solver.solve(
            problem.m,
            strategy="ECP",
            mip_solver="appsi_highs",
            time_limit=max(1, math.ceil(time_limit_s)),  # whole seconds
            mip_solver_mipgap=gap / 2,  # the certificate's gap is to the recomputed objective
            ecp_tolerance=CONE_TOLERANCE,
            absolute_bound_tolerance=CONE_TOLERANCE,
            iteration_limit=MANY,
            stalling_limit=MANY,
            logging_level=logging.CRITICAL,
        )
    bound = solver.bound if math.isfinite(solver.bound) else None
    ending = solver.ending
    if ending is None and solver.best_solution_found is None:
        ending = "time_limit"  # met between two rounds
    message = f"MindtPy: {ending or 'cones satisfied'}, {solver.rounds} rounds"
    if ending is not None:
        return Outcome(ending, bound=bound, nodes=solver.nodes, message=message)
    x = np.array([np.nan if v.value is None else v.value for v in program.variables])
    x = np.where(np.isnan(x), program.lower, x)  # a variable that stands in no row: any value in its box
    x[program.integer] = np.round(x[program.integer])
    return Outcome("solved", polished(problem, program, x, gap), bound, nodes=solver.nodes, message=message)


class CuttingPlanes(MindtPy_ECP_Solver):
    """MindtPy's extended cutting planes without what they do not use, in the time that is left."""

    def __init__(self, progress: Callable[[str], None]):
        super().__init__()
        self.progress = progress
        self.bound, self.nodes, self.rounds = -math.inf, 0, 0
        self.ending: str | None = None  # the outcome's status where HiGHS ended without an optimum

    def check_subsolver_validity(self) -> None:
        """MindtPy asks for a nonlinear solver here, which cutting planes never call."""

    def MindtPy_initialization(self) -> None:
        """MindtPy would set as many binaries as it can, a MILP as hard as the problem. No need."""

    def solve_main(self) -> tuple[Any, Any]:
        """One round of HiGHS. Its interface forgets a time limit between rounds unless given anew."""
        left = max(0.01, self.config.time_limit - get_main_elapsed_time(self.timing))
        self.config.mip_solver_args = {"timelimit": left, "options": FINE}
        mip, results = super().solve_main()
        highs = self.mip_opt._solver_model
        info = highs.getInfo()
        self.rounds += 1
        self.nodes += max(int(info.mip_node_count), 0)
        self.bound = max(self.bound, float(info.mip_dual_bound))
        self.progress(f"round {self.rounds}: bound {self.bound:.2f}")
        if results is not None and results.solver.termination_condition is TerminationCondition.optimal:
            return mip, results
        told = highs.modelStatusToString(highs.getModelStatus()).lower()
        self.ending = {"infeasible": "infeasible", "time limit reached": "time_limit"}.get(told, "error")
        return mip, None  # where MindtPy ends


@contextmanager
def _convex_cones(m: pyo.ConcreteModel) -> Iterator[None]:
    """Cones with a product stated by a norm while the block lasts."""
    m.norm = pyo.ConstraintList()
    replaced = []
    for feeder in m.feeder.values():
        for row in feeder.current_cone.values():
            body = generate_standard_repn(row.body)
            heads = [pair for pair in body.quadratic_vars if pair[0] is not pair[1]]
            if heads:
                ((v, current),) = heads
                squares = sum(4 * one**2 for one, other in body.quadratic_vars if one is other)
                m.norm.add(pyo.sqrt(squares + (v - current) ** 2) <= v + current)
                replaced.append(row)
                row.deactivate()
    try:
        yield
    finally:
        m.del_component(m.norm)
        for row in replaced:
            row.activate()
