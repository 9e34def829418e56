"""The bounds on the follower's multipliers, derived a second time from the instance alone and in MW.

A box that is too small for some optimal multiplier cuts off optima: the program's bound would then exceed
the optimum, and no dual vector would show it. So the certificate compares every box, and every constant of a
``big_m`` row, with what the derivation in ``model.kkt`` asks for, stated here without per-unit data.
"""

from collections.abc import Iterator

import numpy as np

from model.data import Feeder, Instance
from model.problem import Problem
from model.program import Program


def shortfall(problem: Problem, program: Program) -> float:
    """Largest part, between 0 and 1, by which a multiplier's bound stays below what is needed."""
    needs = _Needs(problem.instance)
    base = problem.instance.base_mva
    number = program.objective_map.number
    missing = [0.0]

    def compare(given: float, needed: float) -> None:
        missing.append((needed - given) / needed if needed > 0 else 0.0)

    for variable in problem.multipliers.lam.values():
        column = number[id(variable)]
        compare(program.upper[column], base * needs.voll)
        compare(-program.lower[column], base * needs.spill_price)
    needed: dict[int, tuple[float, float]] = {}
    for variable, price, slack in _pairs(problem, needs):
        needed[id(variable)] = base * price, slack / base
        compare(program.upper[number[id(variable)]], base * price)
    limits = _mode_limits(problem, program)
    for n, pair in enumerate(problem.pairs):
        price, slack = needed[id(pair.multiplier)]
        multiplier_limit, slack_limit = limits(n)
        compare(multiplier_limit, price)
        compare(slack_limit, slack)
    return float(np.max(missing))


def _mode_limits(problem: Problem, program: Program):
    """What a mode lets pair n's multiplier and slack be, by its rows or columns."""
    unlimited = np.inf, np.inf
    if problem.mode == "big_m":
        binding = program.column("complementarity.binding")
        names = "complementarity.multiplier_limit", "complementarity.slack_limit"
        matrices = [program.A[program.rows[name]][:, binding] for name in names] if len(binding) else []
        constants = [np.abs(matrix.diagonal()) for matrix in matrices]
        return lambda n: (constants[0][n], constants[1][n])
    if problem.mode == "sos1":
        slack = program.column("complementarity.slack")
        return lambda n: (np.inf, program.upper[slack[n]])
    return lambda n: unlimited


class _Needs:
    """Prices in $/MWh, power in MW; ``rent``, ``shed`` and ``spill`` by hour."""

    def __init__(self, instance: Instance):
        net, hours = instance.transmission, instance.hours
        self.voll, self.spill_price = net.voll_per_mwh, net.spill_per_mwh
        self.net = net
        row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
        low = np.array([bus.pd_mw for bus in net.buses], dtype=float)
        high = low.copy()
        for feeder in instance.feeders:
            least, most = _boundary_box(feeder, hours)
            low[row[feeder.host_bus]] += least
            high[row[feeder.host_bus]] += most
        need, surplus = np.maximum(high, 0.0), np.maximum(-low, 0.0)
        # Where ramps join the hours, only what all hours cost together is bounded.
        self.ramping = any(gen.ramp_mw_per_h is not None for gen in net.gens)
        rent = np.maximum(self.voll * need, self.spill_price * surplus).sum(axis=0)
        lost = (self.voll * need + self.spill_price * surplus).sum(axis=0)
        self.rent = np.full(hours, rent.sum()) if self.ramping else rent
        self.shed = (np.full(hours, lost.sum()) if self.ramping else lost) / self.voll
        capacity = sum(block.p_max_mw for gen in net.gens for block in gen.blocks)
        self.spill = capacity + self.shed + surplus.sum(axis=0)


def _boundary_box(feeder: Feeder, hours: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and most power, MW, that a feeder can take in each hour."""
    load = np.sum([bus.pd_mw for bus in feeder.buses], axis=0)
    sun = np.sum([pv.available_mw for pv in feeder.pv], axis=0) if feeder.pv else np.zeros(hours)
    battery = sum(bess.p_max_mw for bess in feeder.bess)
    losses = sum(k.br_r_ohm * (k.rate_a_mva / feeder.base_kv) ** 2 for k in feeder.branches)
    at_root = [k.rate_a_mva for k in feeder.branches if feeder.root_bus in (k.f_bus, k.t_bus)]
    most = feeder.vmax * sum(at_root)
    return np.maximum(load - sun - battery, -most), np.minimum(load + battery + losses, most)


def _pairs(problem: Problem, needs: _Needs) -> Iterator[tuple[object, float, float]]:
    """Every inequality's multiplier with the least bounds it needs: in $/MWh, and its slack in MW."""
    net, mult = needs.net, problem.multipliers
    both = needs.voll + needs.spill_price
    for (k, t), pair in mult.mu_flow.items():
        rate = net.branches[k].rate_a_mw
        for variable in pair:
            yield variable, needs.rent[t] / rate, 2 * rate
    for (g, k, t), (lo, up) in mult.mu_pg.items():
        block, ramp = net.gens[g].blocks[k], net.gens[g].ramp_mw_per_h
        ramping = 0.0 if ramp is None else needs.rent[t] / ramp
        yield lo, block.cost_per_mwh + needs.spill_price + ramping, block.p_max_mw
        yield up, needs.voll - block.cost_per_mwh + ramping, block.p_max_mw
    for (_, t), variable in mult.mu_shed.items():
        yield variable, both, needs.shed[t]
    for (_, t), variable in mult.mu_spill.items():
        yield variable, both, needs.spill[t]
    for (g, t), pair in mult.mu_ramp.items():
        ramp = net.gens[g].ramp_mw_per_h
        assert ramp is not None
        for variable in pair:
            yield variable, needs.rent[t] / ramp, 2 * ramp
