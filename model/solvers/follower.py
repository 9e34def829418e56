"""The follower's answer to given boundary power, as a point of the single-level program.

The dispatch is a linear program in the program's own rows. Its prices are often not unique, because optima
like to sit on price kinks; the optimistic bilevel problem means the dual-optimal prices that cost the leaders
least, which a second linear program over the dual-optimal face finds.
"""

import numpy as np
from scipy.sparse import csr_array, vstack

from model.complementarity import MODES
from model.problem import Problem
from model.program import Array, Program
from model.solvers.linear import solve_linear

# How far from dual-optimal, relative to the hour's cost, an optimistic price may be. It absorbs
# the interior-point error in the boundary power, which puts an optimum a hair beside its kink.
FACE_TOLERANCE = 1e-9


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
    prices = _optimistic_multipliers(problem, program, x)
    if prices is None:
        return None
    x = prices
    return MODES[problem.mode].complete(program, x)


def _optimistic_multipliers(problem: Problem, program: Program, x: Array) -> Array | None:
    """min payment over multipliers that are dual feasible and dual optimal at the load served."""
    f = problem.m.follower
    multipliers = np.concatenate([program.column(v.name) for v in (f.kkt.gamma, f.kkt.alpha)])
    rows = _rows(program, ["follower.kkt.stationarity_conditions"])
    hours = list(f.hour_cost)
    worth = _boundary_worth(problem, program, x)
    native = np.array([program.objective_map.row(f.native_value[t])[0] for t in hours])
    phi = np.array([program.objective_map.row(f.hour_cost[t])[0] @ x for t in hours])
    dual_value = native + worth
    if f.find_component("ramp_limit") is not None:  # ramps couple the hours: only their sum is optimal
        dual_value, phi = dual_value.sum(axis=0, keepdims=True), phi.sum(keepdims=True)
    face = phi - FACE_TOLERANCE * np.maximum(np.abs(phi), 1.0)
    result = solve_linear(
        -native.sum(axis=0)[multipliers],
        vstack([program.A[rows][:, multipliers], csr_array(dual_value[:, multipliers])], format="csr"),
        np.concatenate([program.row_lower[rows], face]),
        np.concatenate([program.row_upper[rows], np.full(len(face), np.inf)]),
        program.lower[multipliers],
        program.upper[multipliers],
    )
    if result.x is None:
        return None
    x = x.copy()
    x[multipliers] = result.x
    return x


def _boundary_worth(problem: Problem, program: Program, x: Array) -> Array:
    """Coefficients of ``sum lam P_boundary`` in the multipliers, per hour, at the x given."""
    f = problem.m.follower
    balance = program.rows["follower.nodal_balance"]
    boundary = np.concatenate([program.column(b.P_boundary.name) for b in problem.m.feeder.values()])
    served = -(program.A[balance][:, boundary] @ x[boundary])
    hour_number = {t: n for n, t in enumerate(f.hour_cost)}
    worth = np.zeros((len(hour_number), len(program.c)))
    for load, key in zip(served, f.nodal_balance, strict=True):
        column = program.objective_map.number[id(problem.multipliers.lam[key])]
        worth[hour_number[key[-1]], column] = load
    return worth


def _rows(program: Program, names: list[str]) -> Array:
    found = [program.rows[name] for name in names if name in program.rows]
    return np.concatenate([np.arange(where.start, where.stop) for where in found])
