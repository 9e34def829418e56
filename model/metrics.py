"""A solved problem in MW and $: the schedule, what each party pays, and a table by ADN and hour.

Everything here is computed from the schedule's numbers and the instance, never from the model's
expressions, so that it checks them. Imports, exports and losses come from physical flows.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from model.data import Instance
from model.outcome import Outcome
from model.problem import Problem
from model.program import Array, Program


@dataclass(frozen=True)
class FeederSchedule:
    """One ADN; arrays are (device or bus or branch, hour), power in MW, energy in MWh.

    ``l_pu`` and ``v_pu`` are the squared current and voltage in per unit, ``P_mw`` and ``Q_mvar``
    the sending-end flows, all by child bus.
    """

    P_boundary: Array
    p_import: Array
    p_export: Array
    P_mw: Array
    Q_mvar: Array
    l_pu: Array
    v_pu: Array
    pv: Array
    charge: Array
    discharge: Array
    energy: Array
    grid_import: Array
    grid_export: Array
    sell_in: Array
    sell_out: Array
    buy_in: Array
    buy_out: Array


@dataclass(frozen=True)
class Schedule:
    """The point of a problem in MW; ``trades`` is (arc, hour), ``lam`` is (bus, hour) in $/MWh."""

    instance: Instance
    feeders: list[FeederSchedule]
    trades: Array
    pg: list[Array]
    shed: Array
    spill: Array
    theta: Array
    lam: Array

    @property
    def boundary_price(self) -> Array:
        """$/MWh at each ADN's boundary, (ADN, hour): its settlement's price."""
        inst = self.instance
        if inst.settlement == "tariff":
            return np.tile(inst.tariff_per_mwh, (inst.n_adns, 1))
        row = {bus.bus_i: n for n, bus in enumerate(inst.transmission.buses)}
        return self.lam[[row[feeder.host_bus] for feeder in inst.feeders]]

    def payments(self) -> dict[str, float]:
        """The leaders' cost in $ by receiver: energy, access, wheeling, network, local, wear."""
        inst, fees = self.instance, self.instance.fees
        wheeling = np.array([arc.wheeling_per_mwh for arc in inst.arcs])
        boundary = np.array([f.P_boundary for f in self.feeders])
        wear = sum(
            bess.wear_per_mwh * float(np.sum(f.charge[k] + f.discharge[k]))
            for feeder, f in zip(inst.feeders, self.feeders, strict=True)
            for k, bess in enumerate(feeder.bess)
        )
        return {
            "energy": float(np.sum(self.boundary_price * boundary)),
            "access": fees.access_per_mwh * sum(float(np.sum(f.p_import + f.p_export)) for f in self.feeders),
            "wheeling": float(wheeling @ self.trades.sum(axis=1)),
            "network": fees.network_per_mwh
            * sum(float(np.sum(f.grid_import) + np.sum(f.grid_export)) for f in self.feeders),
            "local": fees.local_per_mwh * sum(float(np.sum(f.sell_in)) for f in self.feeders),
            "wear": float(wear),
        }

    def generation_cost(self) -> Array:
        """The follower's cost in $ per hour: blocks, shedding, spillage."""
        net = self.instance.transmission
        cost = net.voll_per_mwh * self.shed.sum(axis=0) + net.spill_per_mwh * self.spill.sum(axis=0)
        for gen, dispatch in zip(net.gens, self.pg, strict=True):
            cost = cost + np.array([b.cost_per_mwh for b in gen.blocks]) @ dispatch
        return cost

    def social_cost(self) -> float:
        """Generation, shedding, spillage and battery wear in $: what is used up. Fees are transfers."""
        return float(self.generation_cost().sum()) + self.payments()["wear"]

    def phantom_losses_mwh(self) -> float:
        """Energy that slack cones lose beyond physics: sum r (l - (P^2 + Q^2) / v), in MWh."""
        base = self.instance.base_mva
        return base * sum(
            float(np.sum(_resistance(feeder, base) * (f.l_pu - _squared_current(feeder, f, base))))
            for feeder, f in zip(self.instance.feeders, self.feeders, strict=True)
        )

    def missing_losses_mva(self) -> float:
        """The most that a branch loses less than its flow explains in an hour: |z| ((P^2 + Q^2) / v - l)."""
        base = self.instance.base_mva
        missing = [
            np.hypot(_resistance(feeder, base), _reactance(feeder, base))
            * (_squared_current(feeder, f, base) - f.l_pu)
            for feeder, f in zip(self.instance.feeders, self.feeders, strict=True)
        ]
        return base * float(max(part.max(initial=0.0) for part in missing))

    def overcurrent_mva(self) -> float:
        """The most by which a branch's current, in MVA at nominal voltage, exceeds its rating."""
        base = self.instance.base_mva
        beyond = [
            base * np.sqrt(np.maximum(f.l_pu, 0.0)) - _of_branches(feeder, "rate_a_mva")
            for feeder, f in zip(self.instance.feeders, self.feeders, strict=True)
        ]
        return float(max(part.max(initial=0.0) for part in beyond))

    def losses_mwh(self) -> float:
        """Energy that the flows lose by physics: sum r (P^2 + Q^2) / v, in MWh."""
        base = self.instance.base_mva
        return base * sum(
            float(np.sum(_resistance(feeder, base) * _squared_current(feeder, f, base)))
            for feeder, f in zip(self.instance.feeders, self.feeders, strict=True)
        )


def _resistance(feeder, base_mva: float) -> Array:
    """Branch resistances in p.u. by child bus, as a column."""
    return _of_branches(feeder, "br_r_ohm") / (feeder.base_kv**2 / base_mva)


def _reactance(feeder, base_mva: float) -> Array:
    return _of_branches(feeder, "br_x_ohm") / (feeder.base_kv**2 / base_mva)


def _of_branches(feeder, field: str) -> Array:
    """A number of every branch by child bus, as a column."""
    return np.array([[getattr(branch, field)] for _, branch in feeder.parents().values()])


def _squared_current(feeder, f: FeederSchedule, base_mva: float) -> Array:
    """(P^2 + Q^2) / v of every branch and hour, in p.u.: what the flows alone explain."""
    return (f.P_mw**2 + f.Q_mvar**2) / base_mva**2 / _sending_v(feeder, f)


def _sending_v(feeder, f: FeederSchedule) -> Array:
    """Squared voltage at the sending end of every branch, (branch, hour)."""
    parents = feeder.parents()
    row = {j: n for n, j in enumerate(parents)}
    root = np.full(f.v_pu.shape[1], feeder.v_root**2)
    return np.array([root if i == feeder.root_bus else f.v_pu[row[i]] for i, _ in parents.values()])


def extract(problem: Problem, program: Program, x: Array) -> Schedule:
    """Read a point of the program back into MW, MWh and $/MWh."""
    inst = problem.instance
    base, hours = inst.base_mva, inst.hours

    def values(name: str) -> Array:
        return x[program.columns[name]].reshape(-1, hours)

    feeders = []
    for d in range(inst.n_adns):
        own = f"feeder[{d}]"
        power = {
            name: base * values(f"{own}.{name}")
            for name in (
                "charge",
                "discharge",
                "energy",
                "grid_import",
                "grid_export",
                "sell_in",
                "sell_out",
                "buy_in",
                "buy_out",
            )
        }
        boundary = {
            name: base * values(f"{own}.{name}")[0] for name in ("P_boundary", "p_import", "p_export")
        }
        feeders.append(
            FeederSchedule(
                P_mw=base * values(f"{own}.P"),
                Q_mvar=base * values(f"{own}.Q"),
                l_pu=values(f"{own}.l"),
                v_pu=values(f"{own}.v"),
                pv=base * values(f"{own}.pv_p"),
                **power,
                **boundary,
            )
        )
    buses = [bus.bus_i for bus in inst.transmission.buses]
    theta = np.zeros((len(buses), hours))
    theta[[i for i, bus in enumerate(buses) if bus != inst.transmission.ref_bus]] = values("follower.theta")
    pg, start = [], 0
    blocks = base * values("follower.pg")
    for gen in inst.transmission.gens:
        pg.append(blocks[start : start + len(gen.blocks)])
        start += len(gen.blocks)
    number = program.objective_map.number
    lam = np.array([[x[number[id(problem.multipliers.lam[i, t])]] for t in range(hours)] for i in buses])
    return Schedule(
        inst,
        feeders,
        base * values("x"),
        pg,
        base * values("follower.shed"),
        base * values("follower.spill"),
        theta,
        lam / base,
    )


def schedule(problem: Problem, program: Program, outcome: Outcome) -> pd.DataFrame:
    """The outcome's point as a table; see :func:`table`. Raises ValueError where there is no point."""
    if outcome.x is None:
        raise ValueError("an outcome without a point has no schedule")
    return table(extract(problem, program, outcome.x))


def table(schedule: Schedule) -> pd.DataFrame:
    """One line per ADN and hour, ready for a CSV file; power in MW, energy in MWh."""
    inst = schedule.instance
    prices = schedule.boundary_price
    traded = np.zeros((2, inst.n_adns, inst.hours))
    partners = np.array([(arc.seller, arc.buyer) for arc in inst.arcs], dtype=int).reshape(-1, 2)
    for total, adn in zip(traded, partners.T, strict=True):
        np.add.at(total, adn, schedule.trades)
    parts = []
    for d, (feeder, f) in enumerate(zip(inst.feeders, schedule.feeders, strict=True)):
        load = np.sum([bus.pd_mw for bus in feeder.buses], axis=0)
        losses = np.sum(_resistance(feeder, inst.base_mva) * f.l_pu, axis=0) * inst.base_mva
        available = (
            np.sum([pv.available_mw for pv in feeder.pv], axis=0) if feeder.pv else np.zeros(inst.hours)
        )
        columns = {
            "adn": d,
            "hour": range(inst.hours),
            "host_bus": feeder.host_bus,
            "load_mw": load,
            "pv_mw": f.pv.sum(axis=0),
            "pv_available_mw": available,
            "charge_mw": f.charge.sum(axis=0),
            "discharge_mw": f.discharge.sum(axis=0),
            "energy_mwh": f.energy.sum(axis=0),
            "p_boundary_mw": f.P_boundary,
            "p2p_within_mw": f.sell_in.sum(axis=0),
            "p2p_sold_mw": traded[0, d],
            "p2p_bought_mw": traded[1, d],
            "price_per_mwh": prices[d],
            "losses_mw": losses,
            "v_min_pu": np.sqrt(f.v_pu.min(axis=0)),
            "v_max_pu": np.sqrt(f.v_pu.max(axis=0)),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
