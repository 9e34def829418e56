"""The follower stated a second time, from the instance alone and in MW, for the certificate.

Deliberately shares no line with ``dc_flow`` or with the methods: it is what they are checked against.
"""

import math

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import block_diag, coo_array, csr_array, hstack, identity, vstack

from model.data import Instance
from model.metrics import Schedule

Array = np.ndarray


class FollowerCheck:
    """The follower stated again, in MW and from the instance alone, at the schedule's boundary power.

    ``regret``: cost of the schedule's dispatch above the optimum, in $. ``price_regret``: how far the dual
    objective that the schedule's prices alone support stays below the optimum, in $ (infinite for a price
    outside [-spill, voll]). ``imbalance_mw``: largest nodal imbalance of the schedule's dispatch.
    """

    def __init__(self, instance: Instance, schedule: Schedule):
        net, hours = instance.transmission, instance.hours
        row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
        load = np.array([bus.pd_mw for bus in net.buses], dtype=float)
        for feeder, f in zip(instance.feeders, schedule.feeders, strict=True):
            load[row[feeder.host_bus]] += f.P_boundary
        self._incidence(instance, row)
        injection = schedule.shed - schedule.spill - self.outflow @ schedule.theta
        for gen, dispatch in zip(net.gens, schedule.pg, strict=True):
            injection[row[gen.gen_bus]] += dispatch.sum(axis=0)
        self.imbalance_mw = float(np.abs(injection - load).max())

        ramping = any(gen.ramp_mw_per_h is not None for gen in net.gens)
        groups = [range(hours)] if ramping else [range(t, t + 1) for t in range(hours)]
        phi = [self._optimal_cost(instance, load, group) for group in groups]
        cost = schedule.generation_cost()
        dual = [self._price_value(instance, load, schedule.lam, group) for group in groups]
        self.regret = max(sum(cost[t] for t in group) - best for group, best in zip(groups, phi, strict=True))
        self.price_regret = max(best - value for best, value in zip(phi, dual, strict=True))
        self.scale = max(max(phi), 1.0)

    def _incidence(self, instance: Instance, row: dict[int, int]) -> None:
        net = instance.transmission
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

    def _limits(self, instance: Instance, group: range) -> tuple[csr_array, Array]:
        """Rows ``G (pg, theta) <= h`` of the group's hours: line ratings and ramps."""
        n_blocks, n = len(self.block_cost), self.flow.shape[1]
        one = hstack([csr_array((len(self.rate), n_blocks)), self.flow])
        both = vstack([one, -one])
        rows, limits = [block_diag([both] * len(group))], [np.tile(self.rate, 2 * len(group))]
        width = n_blocks + n
        first = 0
        for gen in instance.transmission.gens:
            last = first + len(gen.blocks)
            if gen.ramp_mw_per_h is not None:
                for step in range(len(group) - 1):
                    change = np.zeros(width * len(group))
                    change[step * width + first : step * width + last] = -1.0
                    change[(step + 1) * width + first : (step + 1) * width + last] = 1.0
                    rows.append(csr_array(np.vstack([change, -change])))
                    limits.append(np.full(2, gen.ramp_mw_per_h))
            first = last
        return csr_array(vstack(rows)), np.concatenate(limits)

    def _box(self) -> list[tuple[float | None, float | None]]:
        """Bounds of one hour's (pg, theta); the reference angle is zero."""
        box: list[tuple[float | None, float | None]] = [(0.0, width) for width in self.block_width]
        for i in range(self.flow.shape[1]):
            box.append((0.0, 0.0) if i == self.ref else (None, None))
        return box

    def _optimal_cost(self, instance: Instance, load: Array, group: range) -> float:
        """phi of the group's hours: min cost over (pg, theta) and then (shed, spill), hour by hour."""
        net, hours, n = instance.transmission, len(group), self.flow.shape[1]
        G, h = self._limits(instance, group)
        balance = block_diag([hstack([self.at, -self.outflow])] * hours)
        slack = block_diag([hstack([identity(n), -identity(n)])] * hours)
        G = csr_array((G.data, G.indices, G.indptr), shape=(G.shape[0], G.shape[1] + slack.shape[1]))
        cost = np.concatenate([self.block_cost, np.zeros(n)])
        penalty = np.repeat([net.voll_per_mwh, net.spill_per_mwh], n)
        result = linprog(
            np.concatenate([np.tile(cost, hours), np.tile(penalty, hours)]),
            G,
            h,
            csr_array(hstack([balance, slack])),
            load[:, list(group)].T.ravel(),
            bounds=self._box() * hours + [(0.0, None)] * (2 * n * hours),
            method="highs",
        )
        return float(result.fun) if result.status == 0 else math.nan

    def _price_value(self, instance: Instance, load: Array, lam: Array, group: range) -> float:
        """The dual objective at given prices: lam load plus the least of cost minus revenue."""
        net = instance.transmission
        prices = lam[:, list(group)]
        slack = 1e-7 * net.voll_per_mwh
        if prices.min() < -net.spill_per_mwh - slack or prices.max() > net.voll_per_mwh + slack:
            return -math.inf
        G, h = self._limits(instance, group)
        cost = np.concatenate(
            [np.concatenate([self.block_cost - self.at.T @ p, self.outflow.T @ p]) for p in prices.T]
        )
        least = linprog(cost, G, h, bounds=self._box() * len(group), method="highs")
        if least.status != 0:
            return -math.inf
        return float(np.sum(prices * load[:, list(group)]) + least.fun)
