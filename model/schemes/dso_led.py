"""DSO-led coordination: the DSOs lead with their feeders, the TSO follows with its dispatch.

The optimistic bilevel problem as one program: the follower's optimality conditions stand in for its
optimisation, and strong duality makes the energy payment linear. Mixed-integer second-order cone program.
"""

import time
from typing import TYPE_CHECKING

import pyomo.environ as pyo

from model import boundary, branch_flow, dc_flow, kkt, resources, trading
from model.boxes import add_redundant_boxes
from model.complementarity import MODES
from model.convex import SHORTEST_S
from model.data import Instance
from model.decision import Decision, Progress
from model.per_unit import FeederData, TransmissionData, feeder_data, transmission_data
from model.problem import Problem
from model.solvers import solve
from model.stamping import add_hourly_parameters, compile_problem, pattern_hours

if TYPE_CHECKING:
    from model.schemes.coordination import Coordination


def build(instance: Instance, mode: str, stamped: bool) -> Problem:
    """The DSO-led problem of an instance with the follower's complementarities in ``mode``."""
    hours = range(instance.hours)
    feeders = [feeder_data(feeder, instance.base_mva) for feeder in instance.feeders]
    network = transmission_data(instance.transmission, instance.base_mva)

    m = pyo.ConcreteModel(name=instance.name)
    if stamped:
        pattern = pyo.ConcreteModel(name=instance.name)
        some_hours = pattern_hours(instance.hours)
        hourly = add_hourly_parameters(pattern, feeders, some_hours)
        add_adns(pattern, instance, hourly, some_hours)
        own_cost = fees(pattern, instance, hourly, some_hours) + wear(pattern, hourly, some_hours)
        pattern.leader_cost = pyo.Objective(expr=own_cost)
        add_boundaries(m, feeders, hours)
    else:
        pattern = None
        add_adns(m, instance, feeders, hours)
    multipliers, pairs = add_follower(m, instance, feeders, network, hours)
    MODES[mode].add(m, pairs)
    payment = boundary.settlement_payment(m, instance, hours)
    if not stamped:
        payment += fees(m, instance, feeders, hours) + wear(m, feeders, hours)
    m.leader_cost = pyo.Objective(expr=payment)
    return Problem(instance, "dso-led", mode, m, multipliers, pairs, pattern)


def decide(c: "Coordination", gap: float, ended: float, progress: Progress) -> Decision:
    """The bilevel problem solved by the default method, proof included."""
    problem = build(c.instance, "big_m", stamped=True)
    program = compile_problem(problem)
    left = max(ended - time.monotonic(), SHORTEST_S)
    return Decision(problem, program, solve(problem, program, "auto", gap, left, progress))


def add_adns(m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range) -> None:
    """All ADNs, and what joins them."""
    add_redundant_boxes(m)
    m.feeder = pyo.Block(range(len(feeders)))
    for d, data in enumerate(feeders):
        add_feeder(m.feeder[d], data, hours)
    add_coordination(m, instance, feeders, hours)


def add_boundaries(m: pyo.ConcreteModel, feeders: list[FeederData], hours: range) -> None:
    """Of all ADNs only what the follower sees."""
    m.feeder = pyo.Block(range(len(feeders)))
    for d, data in enumerate(feeders):
        add_redundant_boxes(m.feeder[d])
        boundary.add_boundary_variables(m.feeder[d], data, hours)


def add_feeder(b: pyo.Block, data: FeederData, hours: range) -> None:
    """One ADN: its physics, its devices, its peers' accounts."""
    add_redundant_boxes(b)
    branch_flow.add_flow_variables(b, data, hours)
    resources.add_pv_variables(b, data, hours)
    resources.add_bess_variables(b, data, hours)
    trading.add_account_variables(b, data, hours)
    boundary.add_boundary_variables(b, data, hours)

    branch_flow.add_active_balance(b, data, hours)
    branch_flow.add_reactive_balance(b, data, hours)
    branch_flow.add_voltage_drop(b, data, hours)
    branch_flow.add_current_cone(b, data, hours)
    resources.add_inverter_cone(b, data, hours)
    resources.add_energy_dynamics(b, data, hours)
    resources.add_charge_or_discharge(b, data, hours)
    trading.add_peer_account(b, data, hours)
    trading.add_own_output_limit(b, data, hours)
    trading.add_sell_or_buy(b, data, hours)
    trading.add_local_market(b, data, hours)
    boundary.add_import_or_export(b, data, hours)


def add_coordination(
    m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range
) -> None:
    """What joins the ADNs: trades on the partner graph and the boundary accounts."""
    trading.add_trades(m, instance, feeders, hours)
    trading.add_trade_balance(m, instance, feeders, hours)
    trading.add_seller_or_buyer(m, instance, feeders, hours)
    trading.add_surplus_limits(m, instance, feeders, hours)
    boundary.add_boundary_account(m, instance, hours)


def add_follower(
    m: pyo.ConcreteModel,
    instance: Instance,
    feeders: list[FeederData],
    network: TransmissionData,
    hours: range,
) -> tuple[kkt.Multipliers, list[kkt.Pair]]:
    """The TSO's dispatch and its optimality conditions, complementarities left to the mode."""
    kkt.check_provable(network)
    hosted = boundary.hosted(m, instance)
    m.follower = f = pyo.Block()
    add_redundant_boxes(f)
    dc_flow.add_dispatch_variables(f, network, hours)
    dc_flow.add_nodal_balance(f, network, hosted, hours)
    dc_flow.add_flow_limits(f, network, hours)
    if network.ramp:
        dc_flow.add_ramps(f, network, hours)
    dc_flow.add_generation_cost(f, network, hours)

    multipliers = kkt.derive_conditions(f, [b.P_boundary for b in m.feeder.values()])
    kkt.add_native_value(f, network, multipliers, hours)
    load = boundary.load_box(instance, feeders, network, hours)
    kkt.box_follower(f, network, load, hours)
    pairs = kkt.complementary_pairs(f, network, multipliers, load, hours)
    boundary.add_boundary_value(m, multipliers, hosted, hours)
    return multipliers, pairs


def fees(m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range):
    """Access, wheeling, network and local fees, in $."""
    total = trading.wheeling_fees(m, instance, hours)
    for b, data in zip(m.feeder.values(), feeders, strict=True):
        total += boundary.access_fees(b, instance, hours)
        total += trading.peer_fees(b, instance, data, hours)
    return total


def wear(m: pyo.ConcreteModel, feeders: list[FeederData], hours: range):
    """Battery wear of all ADNs, in $."""
    blocks = zip(m.feeder.values(), feeders, strict=True)
    return sum(resources.wear_cost(b, data, hours) for b, data in blocks)
