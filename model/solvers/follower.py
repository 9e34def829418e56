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
# error in the boundary power, which puts an optimum a hair beside its kink.
KINK = 1e-7


def respond(problem: Problem, program: Program, x: Array) -> Array | None:
    """A copy of x with the follower's dispatch, optimistic prices and complementarity columns filled in.

    None where the follower's program has no solution (it always has one within the boxes).
    """
    f = problem.m.follower
    x = x.copy()
    dispatch = np.concatenate([program.column(v.name) for v in (f.pg, f.shed, f.spill, f.theta)])
    rows = _rows(program, ["follower.nodal_balance", "follower.flow_limit", "follower.ramp_limit"])
    x[dispatch] = 0.0
    shift = program.A[rows] @ x
    cost, _ = program.objective_map.row(f.cost.expr)
    primal = solve_linear(
        cost[dispatch],
        program.A[rows][:, dispatch],
        program.row_lower[rows] - shift,
        program.row_upper[rows] - shift,
        program.lower[dispatch],
        np.where(program.enforced_upper[dispatch], program.upper[dispatch], np.inf),
    )
    if primal.x is None:
        return None
    x[dispatch] = primal.x
    priced = _optimistic_multipliers(problem, program, x)
    return None if priced is None else MODES[problem.mode].complete(program, priced)


def _optimistic_multipliers(problem: Problem, program: Program, x: Array) -> Array | None:
    """min payment over the multipliers that are dual feasible and complementary to the dispatch in x."""
    f = problem.m.follower
    affine = program.objective_map
    multipliers = np.concatenate([program.column(v.name) for v in (f.kkt.gamma, f.kkt.alpha)])
    rows = _rows(program, ["follower.kkt.stationarity_conditions"])
    upper = program.upper.copy()
    for pair in problem.pairs:
        if affine.value(pair.slack, x) > KINK:
            upper[affine.number[id(pair.multiplier)]] = 0.0
    native, _ = affine.row(sum(f.native_value.values()))
    result = solve_linear(
        -native[multipliers],
        program.A[rows][:, multipliers],
        program.row_lower[rows],
        program.row_upper[rows],
        program.lower[multipliers],
        upper[multipliers],
    )
    if result.x is None:
        return None
    x = x.copy()
    x[multipliers] = result.x
    return x


def _rows(program: Program, names: list[str]) -> Array:
    found = [program.rows[name] for name in names if name in program.rows]
    return np.concatenate([np.arange(where.start, where.stop) for where in found])
