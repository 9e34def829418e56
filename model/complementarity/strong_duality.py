"""Strong duality: the follower's cost may not exceed its dual objective.

The dual objective at the load served has the products ``lam P_boundary``, so the program
is bilinear: exact, but only for solvers that branch on products (SCIP, Gurobi).
"""

import pyomo.environ as pyo

from model.kkt import Pair
from model.program import Array, Program


def add(m: pyo.ConcreteModel, pairs: list[Pair]) -> None:
    """hour_cost - native_value - sum lam P_boundary <= 0, per hour; one row in all with ramps.

    By weak duality the left side is never negative, so the row puts every complementarity at once.
    """
    del pairs  # one row says what they say one by one
    f = m.follower
    hours = list(f.hour_cost)
    coupled = f.find_component("ramp_limit") is not None
    groups = [hours] if coupled else [[t] for t in hours]
    m.complementarity = pyo.Block()

    @m.complementarity.Constraint(range(len(groups)))
    def strong_duality(b, n):
        return sum(f.hour_cost[t] - f.native_value[t] - m.boundary_value[t] for t in groups[n]) <= 0


def complete(program: Program, x: Array) -> Array:
    """The mode has no variables of its own."""
    del program
    return x
