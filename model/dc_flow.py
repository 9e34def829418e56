"""The follower: the TSO's DC optimal power flow, hour by hour, with the ADNs as given load.

Power in per unit on ``base_mva``, angles in radians, costs in $. A line's flow is
``susceptance (theta_f - theta_t)``. Shedding at the value of lost load and spillage at a small
price, neither bounded, keep the follower feasible for whatever the leaders do. Formulation:
Stott, Jardim and Alsac (2009); cost blocks from the quadratic costs.
"""

import pyomo.environ as pyo

from model.per_unit import TransmissionData


def add_dispatch_variables(f: pyo.Block, data: TransmissionData, hours: range) -> None:
    """Generation per block, shedding, spillage and angles (the reference bus stands at zero)."""
    f.pg = pyo.Var(list(data.block_width), hours, bounds=lambda f, g, k, t: (0, data.block_width[g, k]))
    f.shed = pyo.Var(data.buses, hours, domain=pyo.NonNegativeReals)
    f.spill = pyo.Var(data.buses, hours, domain=pyo.NonNegativeReals)
    f.theta = pyo.Var([i for i in data.buses if i != data.ref_bus], hours)


def line_flow(f: pyo.Block, data: TransmissionData, k: int, t: int):
    """Flow on line k from its f_bus to its t_bus."""
    i, j = data.lines[k]
    b = data.susceptance[k]
    flow = 0.0
    if i != data.ref_bus:
        flow = flow + b * f.theta[i, t]
    if j != data.ref_bus:
        flow = flow - b * f.theta[j, t]
    return flow


def add_nodal_balance(f: pyo.Block, data: TransmissionData, hosted: dict, hours: range) -> None:
    """sum pg + shed - spill - outflow + inflow = pd + sum P_boundary; dual ``lam``, the price."""
    gens_at = {i: [(g, k) for g, k in data.block_width if data.gen_bus[g] == i] for i in data.buses}
    leaving = {i: [k for k, line in enumerate(data.lines) if line[0] == i] for i in data.buses}
    entering = {i: [k for k, line in enumerate(data.lines) if line[1] == i] for i in data.buses}

    @f.Constraint(data.buses, hours)
    def nodal_balance(f, i, t):
        supply = sum(f.pg[g, k, t] for g, k in gens_at[i]) + f.shed[i, t] - f.spill[i, t]
        supply -= sum(line_flow(f, data, k, t) for k in leaving[i])
        supply += sum(line_flow(f, data, k, t) for k in entering[i])
        return supply - sum(power[t] for power in hosted[i]) == data.pd[i][t]


def add_flow_limits(f: pyo.Block, data: TransmissionData, hours: range) -> None:
    """-rate <= flow <= rate; duals ``mu_flow_lo``, ``mu_flow_up``."""

    @f.Constraint(range(len(data.lines)), hours)
    def flow_limit(f, k, t):
        return (-data.rate[k], line_flow(f, data, k, t), data.rate[k])


def add_ramps(f: pyo.Block, data: TransmissionData, hours: range) -> None:
    """-ramp <= pg_t - pg_{t-1} <= ramp for units that have a limit; duals ``mu_ramp_lo/_up``."""
    blocks = {g: [k for h, k in data.block_width if h == g] for g in data.ramp}

    @f.Constraint(list(data.ramp), hours[1:])
    def ramp_limit(f, g, t):
        change = sum(f.pg[g, k, t] - f.pg[g, k, t - 1] for k in blocks[g])
        return (-data.ramp[g], change, data.ramp[g])


def add_generation_cost(f: pyo.Block, data: TransmissionData, hours: range) -> None:
    """Generation, shedding and spillage in $, by hour and in all: the follower's objective."""

    @f.Expression(hours)
    def hour_cost(f, t):
        generation = sum(cost * f.pg[g, k, t] for (g, k), cost in data.block_cost.items())
        lost = data.voll * sum(f.shed[i, t] for i in data.buses)
        return generation + lost + data.spill_cost * sum(f.spill[i, t] for i in data.buses)

    f.cost = pyo.Objective(expr=sum(f.hour_cost[t] for t in hours))
