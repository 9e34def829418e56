"""The follower stated a second time, from the instance alone and in MW, for the certificate.

Deliberately shares no line with ``dc_flow`` or with the methods: it is what they are checked against.
scipy's ``linprog`` is HiGHS underneath, reached by other code with another statement of the problem.
"""

from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, hstack, identity, kron, vstack

from model.data import Instance
from model.metrics import Schedule

Array = np.ndarray

# HiGHS's own 1e-7 MW times a price would be more than what the certificate lets a small phi be off.
TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def tightly_solved(**program: Any) -> Any:
    """linprog's result, without HiGHS's presolve where that finds none: it takes rounding for a contradiction
    where prices given leave more equations than unknowns, and for an error, in one of four programs, where it
    leaves 1e-9 to 1e-7 $ per radian of costs of zero (the network of 1,000 ADNs).
    """
    for presolve in (True, False):
        result = linprog(**program, method="highs", options=TIGHT | {"presolve": presolve})
        if result.status == 0:
            break
    return result


class FollowerCheck:
    """A schedule's follower side against the follower restated, at the schedule's boundary power.

    ``regret``: largest distance, in $, between the cost of the schedule's dispatch and the optimum of
    an hour (of all hours together with ramps). ``price_regret``: how far the dual objective that the
    schedule's prices alone support stays below the optimum, in $ (infinite for a price outside
    [-spill, voll]), at the load within ``within_mw`` of the schedule's that suits them best: optima sit
    on price kinks, and a solver leaves them a hair beside.
    ``imbalance_mw`` and ``excess_mw``: by how much the dispatch misses the balance of a bus or a rating,
    block, ramp or sign. NaN, which passes no check, where an optimum could not be found.
    """

    def __init__(self, instance: Instance, schedule: Schedule, within_mw: float):
        net = instance.transmission
        follower = FollowerRestated(instance)
        load = follower.native.copy()
        for feeder, f in zip(instance.feeders, schedule.feeders, strict=True):
            load[follower.row[feeder.host_bus]] += f.P_boundary
        injection = schedule.shed - schedule.spill - follower.outflow @ schedule.theta
        for gen, dispatch in zip(net.gens, schedule.pg, strict=True):
            injection[follower.row[gen.gen_bus]] += dispatch.sum(axis=0)
        self.imbalance_mw = float(np.abs(injection - load).max())

        phi = follower.optimal_cost(load)
        spent = np.array(schedule.generation_cost())
        near = follower.optimal_cost(load, schedule.lam, within_mw)
        value = follower.price_value(load, schedule.lam)
        if any(gen.ramp_mw_per_h is not None for gen in net.gens):
            phi, spent, near, value = (part.sum(keepdims=True) for part in (phi, spent, near, value))
        self.regret = float(np.max(np.abs(spent - phi)))
        self.price_regret = float(np.max(near - value))
        self.scale = float(np.max([*phi, 1.0]))
        self.excess_mw = self._excess(instance, follower, schedule)

    @staticmethod
    def _excess(instance: Instance, follower: "FollowerRestated", schedule: Schedule) -> float:
        flow = np.abs(follower.flow @ schedule.theta) - follower.rate[:, None]
        blocks = np.vstack(schedule.pg)
        beyond = [flow, blocks - follower.block_width[:, None], -blocks, -schedule.shed, -schedule.spill]
        for gen, dispatch in zip(instance.transmission.gens, schedule.pg, strict=True):
            if gen.ramp_mw_per_h is not None:
                beyond.append(np.abs(np.diff(dispatch.sum(axis=0)))[None, :] - gen.ramp_mw_per_h)
        return float(np.max(np.concatenate([part.ravel() for part in beyond])))


class FollowerRestated:
    """The follower's matrices in MW and $/MWh; ``native`` is (bus, hour) without ADNs."""

    def __init__(self, instance: Instance):
        net = instance.transmission
        self.net = net
        self.row = row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
        self.native = np.array([bus.pd_mw for bus in net.buses], dtype=float)
        n, n_lines = len(net.buses), len(net.branches)
        ends = np.array([[row[k.f_bus], row[k.t_bus]] for k in net.branches], dtype=int).reshape(-1, 2)
        number = np.arange(n_lines)
        signs = np.concatenate([np.ones(n_lines), -np.ones(n_lines)])
        shape = (n_lines, n)
        incidence = coo_array((signs, (np.tile(number, 2), ends.T.ravel())), shape=shape).tocsr()
        susceptance = np.array([instance.base_mva / k.br_x for k in net.branches])
        self.flow = csr_array(incidence.multiply(susceptance[:, None]))
        self.outflow = csr_array(incidence.T @ self.flow)
        self.rate = np.array([k.rate_a_mw for k in net.branches])
        blocks = [(row[gen.gen_bus], b.p_max_mw, b.cost_per_mwh) for gen in net.gens for b in gen.blocks]
        self.block_cost = np.array([cost for *_, cost in blocks])
        self.block_width = np.array([width for _, width, _ in blocks])
        position = (np.array([at for at, *_ in blocks]), np.arange(len(blocks)))
        self.at = csr_array((np.ones(len(blocks)), position), shape=(n, len(blocks)))
        self.ref = row[net.ref_bus]
        # The same for every hour, whatever its load.
        self.limits, self.balance = cache(self._limits), cache(self._balance)

    def _limits(self, hours: int) -> tuple[csr_array, Array]:
        """Rows ``G (pg, theta) <= h`` of some hours in a row: line ratings and ramps."""
        n_blocks, n = len(self.block_cost), self.flow.shape[1]
        one = hstack([csr_array((len(self.rate), n_blocks)), self.flow])
        both = vstack([one, -one])
        rows, limits = [kron(identity(hours), both)], [np.tile(self.rate, 2 * hours)]
        width = n_blocks + n
        first = 0
        for gen in self.net.gens:
            last = first + len(gen.blocks)
            if gen.ramp_mw_per_h is not None:
                for step in range(hours - 1):
                    change = np.zeros(width * hours)
                    change[step * width + first : step * width + last] = -1.0
                    change[(step + 1) * width + first : (step + 1) * width + last] = 1.0
                    rows.append(csr_array(np.vstack([change, -change])))
                    limits.append(np.full(2, gen.ramp_mw_per_h))
            first = last
        return csr_array(vstack(rows)), np.concatenate(limits)

    def _balance(self, hours: int, moving: bool) -> csr_array:
        """Rows of (pg, theta) of some hours in a row, of (shed, spill) and, if ``moving``, of moved load."""
        n = self.flow.shape[1]
        own = kron(identity(hours), hstack([self.at, -self.outflow]))
        slack = kron(identity(hours), hstack([identity(n), -identity(n)]))
        moves = [-identity(n * hours)] if moving else []
        return csr_array(hstack([own, slack, *moves]))

    def _box(self) -> list[tuple[float | None, float | None]]:
        """Bounds of one hour's (pg, theta); the reference angle is zero."""
        box: list[tuple[float | None, float | None]] = [(0.0, width) for width in self.block_width]
        for i in range(self.flow.shape[1]):
            box.append((0.0, 0.0) if i == self.ref else (None, None))
        return box

    def optimal_cost(self, load: Array, prices: Array | None = None, within_mw: float = 0.0) -> Array:
        """phi of some hours in a row, (hour,): min cost over (pg, theta), then (shed, spill), hour by hour.

        With ramps it is the sum that is least. With ``prices``, (bus, hour), the load may move by
        ``within_mw`` at every bus, and what more load would pay at these prices is taken off.
        """
        net, hours, n = self.net, load.shape[1], self.flow.shape[1]
        G, h = self.limits(hours)
        rows = self.balance(hours, prices is not None)
        moves = np.zeros(0) if prices is None else -prices.T.ravel()
        G = csr_array((G.data, G.indices, G.indptr), shape=(G.shape[0], rows.shape[1]))
        own = np.tile(np.concatenate([self.block_cost, np.zeros(n)]), hours)
        penalty = np.tile(np.repeat([net.voll_per_mwh, net.spill_per_mwh], n), hours)
        cost = np.concatenate([own, penalty, moves])
        box = self._box() * hours
        box += [(0.0, None)] * (2 * n * hours) + [(-within_mw, within_mw)] * len(moves)
        result = tightly_solved(c=cost, A_ub=G, b_ub=h, A_eq=rows, b_eq=load.T.ravel(), bounds=box)
        if result.status != 0:
            return np.full(hours, np.nan)
        parts = np.split(cost * result.x, [len(own), len(own) + len(penalty)])
        return np.hstack([part.reshape(hours, -1) for part in parts]).sum(axis=1)

    def price_value(self, load: Array, prices: Array) -> Array:
        """The dual objective of every hour at given prices: lam load plus the least of cost minus revenue."""
        net, hours = self.net, load.shape[1]
        slack = 1e-7 * net.voll_per_mwh
        outside = (prices < -net.spill_per_mwh - slack) | (prices > net.voll_per_mwh + slack)
        prices = np.where(outside, 0.0, prices)  # worth nothing anyway, and linprog takes no infinite costs
        G, h = self.limits(hours)
        cost = np.concatenate(
            [np.concatenate([self.block_cost - self.at.T @ p, self.outflow.T @ p]) for p in prices.T]
        )
        least = tightly_solved(c=cost, A_ub=G, b_ub=h, bounds=self._box() * hours)
        if least.status != 0:
            return np.full(hours, -np.inf)
        value = (prices * load).sum(axis=0) + (cost * least.x).reshape(hours, -1).sum(axis=1)
        return np.where(outside.any(axis=0), -np.inf, value)
