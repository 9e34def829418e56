"""Special ordered sets of type 1 (Beale and Tomlin 1970), for solvers that branch on them."""

import pyomo.environ as pyo

from model.boxes import UPPER, add_redundant_boxes
from model.kkt import Pair
from model.program import Array, Program


def add(m: pyo.ConcreteModel, pairs: list[Pair]) -> None:
    """At most one of (multiplier, slack) is not zero; the slack gets a variable of its own."""
    index = range(len(pairs))
    m.complementarity = pyo.Block()
    m.complementarity.slack = pyo.Var(index, bounds=lambda b, n: (0, pairs[n].slack_bound))

    add_redundant_boxes(m.complementarity)
    m.complementarity.redundant_box[m.complementarity.slack] = UPPER

    @m.complementarity.Constraint(index)
    def slack_value(b, n):
        return pairs[n].slack - b.slack[n] == 0

    @m.complementarity.SOSConstraint(index, sos=1)
    def one_is_zero(b, n):
        return [pairs[n].multiplier, b.slack[n]], [1, 2]


def complete(program: Program, x: Array) -> Array:
    """Set the slack variables to the slacks at x."""
    slack = program.column("complementarity.slack")
    rows = program.rows["complementarity.slack_value"]
    x = x.copy()
    x[slack] = 0.0
    x[slack] = program.A[rows] @ x - program.row_lower[rows]
    return x
