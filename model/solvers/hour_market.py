"""One hour of the follower as a small dense linear program, and its critical region at a load."""

import highspy
import numpy as np
from scipy.sparse import csr_array

from model.price_hull import HourLoads, Region
from model.problem import Problem
from model.program import Array, Program
from model.solvers.linear import linear_solver, run


class HourMarket:
    """The follower's dispatch of one hour: ``rows`` hold balances, then flows; loads enter at the hosts."""

    def __init__(self, problem: Problem, program: Program, t: int):
        f = problem.m.follower
        columns = [_at(program.columns[v.name], v, t) for v in (f.pg, f.shed, f.spill, f.theta)]
        own = np.concatenate(columns).astype(int)  # a network of one bus has no angles
        balance = _at(program.rows[f.nodal_balance.name], f.nodal_balance, t)
        limits = program.rows.get(f.flow_limit.name)  # a network of one bus has no lines
        rows = balance if limits is None else np.concatenate([balance, _at(limits, f.flow_limit, t)])
        self.A = program.A[rows][:, own].toarray()
        self.row_lower, self.row_upper = program.row_lower[rows], program.row_upper[rows]
        self.lower = np.where(program.enforced_lower[own], program.lower[own], -np.inf)
        self.upper = np.where(program.enforced_upper[own], program.upper[own], np.inf)
        self.cost = program.objective_map.row(f.hour_cost[t])[0][own]
        buses = [key[0] for key in f.nodal_balance if key[1] == t]
        hosts = sorted({feeder.host_bus for feeder in problem.instance.feeders})
        self.host_rows = np.array([buses.index(i) for i in hosts])

    def solve(self, load: Array) -> tuple[float, Array, Array, Array]:
        """Cost, dispatch, row duals and the mask of basic variables (dispatch, then row values)."""
        row_lower, row_upper = self.row_lower.copy(), self.row_upper.copy()
        row_lower[self.host_rows] += load
        row_upper[self.host_rows] += load
        highs = linear_solver(self.cost, csr_array(self.A), row_lower, row_upper, self.lower, self.upper)
        result = run(highs)
        if result.x is None or result.row_duals is None:
            raise ArithmeticError(f"the follower's hour ended as {result.status}")
        basis = highs.getBasis()
        status = [*basis.col_status, *basis.row_status]
        basic = np.array([kind == highspy.HighsBasisStatus.kBasic for kind in status])
        return result.objective, result.x, result.row_duals, basic

    def region(self, load: Array, hour: HourLoads) -> Region | None:
        """The critical region around a load: where the optimal basis stays feasible.

        The basic variables are affine in the load; each of their bounds is a halfspace, kept
        where it can bind in the hour's box. None where the basis is singular or a host's balance is basic.
        """
        cost, dispatch, duals, basic = self.solve(load)
        m, n = self.A.shape
        if basic.sum() != m or basic[n + self.host_rows].any():
            return None
        full = np.hstack([self.A, -np.eye(m)])
        moved = np.zeros((m + n, len(load)))
        moved[n + self.host_rows, np.arange(len(load))] = 1.0
        try:
            moved[basic] = -np.linalg.solve(full[:, basic], full[:, ~basic] @ moved[~basic])
        except np.linalg.LinAlgError:
            return None
        value = np.concatenate([dispatch, self.A @ dispatch])
        at_zero = value - moved @ load
        lower = np.concatenate([self.lower, self.row_lower])
        upper = np.concatenate([self.upper, self.row_upper])
        G = np.vstack([moved[basic], -moved[basic]])
        h = np.concatenate([upper[basic] - at_zero[basic], at_zero[basic] - lower[basic]])
        reach = np.where(G > 0, G * hour.box[:, 1], G * hour.box[:, 0]).sum(axis=1)
        can_bind = np.isfinite(h) & (reach > h + 1e-9)
        size = np.abs(G[can_bind]).max(axis=1, initial=0.0)
        lam = duals[self.host_rows]
        return Region(
            lam=lam,
            value=float(cost - lam @ load),
            base=at_zero[:n],
            slope=moved[:n],
            facets=(G[can_bind] / size[:, None], h[can_bind] / size),
        )


def _at(where: slice, component: dict, t: int) -> Array:
    """Columns or rows of an indexed component that belong to hour t."""
    return np.array([where.start + n for n, key in enumerate(component) if key[-1] == t])
