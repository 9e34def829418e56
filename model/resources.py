"""Distributed energy resources of one feeder: photovoltaics (PV) and batteries (BESS).

Devices are indexed by their position in the feeder's lists. Power in per unit on
``base_mva``, energy in per unit times hours; a step lasts one hour.
"""

import pyomo.environ as pyo

from model.boxes import BOTH, UPPER
from model.per_unit import FeederData


def add_pv_variables(b: pyo.Block, data: FeederData, hours: range) -> None:
    """Active power between 0 and what the sun offers; reactive power within the rating."""
    units = range(len(data.pv_rating))
    b.pv_p = pyo.Var(units, hours, bounds=lambda b, k, t: (0, data.pv_available[k][t]))
    b.pv_q = pyo.Var(units, hours, bounds=lambda b, k, t: (-data.pv_rating[k], data.pv_rating[k]))
    b.redundant_box[b.pv_q] = BOTH


def add_inverter_cone(b: pyo.Block, data: FeederData, hours: range) -> None:
    """p^2 + q^2 <= s^2: the inverter's apparent power rating."""

    @b.Constraint(range(len(data.pv_rating)), hours)
    def inverter_cone(b, k, t):
        return b.pv_p[k, t] ** 2 + b.pv_q[k, t] ** 2 <= data.pv_rating[k] ** 2


def add_bess_variables(b: pyo.Block, data: FeederData, hours: range) -> None:
    """Charge, discharge, stored energy, and the binary that tells charging (1) from discharging."""
    units = range(len(data.bess_power))
    b.charge = pyo.Var(units, hours, bounds=lambda b, k, t: (0, data.bess_power[k]))
    b.discharge = pyo.Var(units, hours, bounds=lambda b, k, t: (0, data.bess_power[k]))
    b.energy = pyo.Var(units, hours, bounds=lambda b, k, t: (0, data.bess_energy[k]))
    b.charging = pyo.Var(units, hours, domain=pyo.Binary)
    b.redundant_box.update({b.charge: UPPER, b.discharge: UPPER, b.charging: BOTH})


def add_energy_dynamics(b: pyo.Block, data: FeederData, hours: range) -> None:
    """e_t = e_{t-1} + eta_c charge_t - discharge_t / eta_d, cyclic over the horizon."""

    @b.Constraint(range(len(data.bess_power)), hours)
    def energy_dynamics(b, k, t):
        into, out = data.bess_efficiency[k]
        flows = -into * b.charge[k, t] + b.discharge[k, t] / out
        if len(hours) == 1:
            return flows == 0  # the level that ends the only hour is the one that began it
        before = hours[-1] if t == hours[0] else t - 1
        return b.energy[k, t] - b.energy[k, before] + flows == 0


def add_charge_or_discharge(b: pyo.Block, data: FeederData, hours: range) -> None:
    """charge <= p_max z and discharge <= p_max (1 - z): never both."""
    units = range(len(data.bess_power))

    @b.Constraint(units, hours)
    def charge_limit(b, k, t):
        return b.charge[k, t] - data.bess_power[k] * b.charging[k, t] <= 0

    @b.Constraint(units, hours)
    def discharge_limit(b, k, t):
        return b.discharge[k, t] + data.bess_power[k] * b.charging[k, t] <= data.bess_power[k]


def wear_cost(b: pyo.Block, data: FeederData, hours: range):
    """Battery wear in $: a price on every MWh charged and discharged."""
    units = range(len(data.bess_power))
    return sum(data.bess_wear[k] * (b.charge[k, t] + b.discharge[k, t]) for k in units for t in hours)
