"""The follower's answer to given boundary power, as a point of the single-level program.

The dispatch is a linear program in the program's own rows. Its prices are often not unique, because optima
like to sit on price kinks; the optimistic bilevel problem means the dual-optimal prices that cost the leaders
least, which a second linear program over the multipliers complementary to the dispatch finds.
"""

import numpy as np

from model.complementarity import MODES
from model.problem import Problem
from model.program import Array, Program
from model.solvers.linear import solve_linear

# A limit of the follower binds where less than this is left, in p.u. It absorbs the interior-point
# error in the boundary power, which puts an optimum a hair beside its kink: half of what the
# certificate lets pass.
KINK = 5e-7
# Half of what the certificate lets pass: an interior-point method that ends almost solved may miss it.
SOUND = 5e-7


class Follower:
    """The follower of one problem, ready to answer many points of its program."""

    def __init__(self, problem: Problem, program: Program):
        f, affine = problem.m.follower, program.objective_map
        self.complete = MODES[problem.mode].complete
        self.program = program
        self.dispatch = np.concatenate([program.column(v.name) for v in (f.pg, f.shed, f.spill, f.theta)])
        self.rows = _rows(program, ["follower.nodal_balance", "follower.flow_limit", "follower.ramp_limit"])
        self.cost = affine.row(f.cost.expr)[0][self.dispatch]
        self.multipliers = np.concatenate([program.column(v.name) for v in (f.kkt.gamma, f.kkt.alpha)])
        self.stationarity = _rows(program, ["follower.kkt.stationarity_conditions"])
        self.native = affine.row(sum(f.native_value.values()))[0][self.multipliers]
        self.slack, self.slack_constant = affine.matrix([pair.slack for pair in problem.pairs])
        self.priced = np.array([affine.number[id(pair.multiplier)] for pair in problem.pairs])

    def __call__(self, x: Array) -> Array | None:
        """A copy of x with the dispatch, optimistic prices and complementarity columns filled in.

        None where the follower's program has no solution (it always has one within the boxes).
        """
        program, own = self.program, self.dispatch
        x = x.copy()
        x[own] = 0.0
        shift = program.A[self.rows] @ x
        primal = solve_linear(
            self.cost,
            program.A[self.rows][:, own],
            program.row_lower[self.rows] - shift,
            program.row_upper[self.rows] - shift,
            program.lower[own],
            np.where(program.enforced_upper[own], program.upper[own], np.inf),
        )
        if primal.x is None:
            return None
        x[own] = primal.x
        # The least payment is the most native value over the multipliers complementary to the dispatch.
        upper = program.upper.copy()
        upper[self.priced[self.slack @ x + self.slack_constant > KINK]] = 0.0
        dual = solve_linear(
            -self.native,
            program.A[self.stationarity][:, self.multipliers],
            program.row_lower[self.stationarity],
            program.row_upper[self.stationarity],
            program.lower[self.multipliers],
            upper[self.multipliers],
        )
        if dual.x is None:
            return None
        x[self.multipliers] = dual.x
        return self.complete(program, x)

    def sound(self, x: Array) -> Array | None:
        """The same, and None too where the point misses a row or a cone by more than ``SOUND``."""
        answer = self(x)
        return None if answer is None or self.program.violation(answer) > SOUND else answer


def _rows(program: Program, names: list[str]) -> Array:
    found = [program.rows[name] for name in names if name in program.rows]
    return np.concatenate([np.arange(where.start, where.stop) for where in found])
