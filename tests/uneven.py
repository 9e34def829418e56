"""An instance in which no two numbers are alike, so that no index, sign or unit goes unnoticed."""

import numpy as np
import pyomo.environ as pyo

from model.data import (
    Arc,
    Bess,
    Block,
    Bus,
    Feeder,
    FeederBranch,
    FeederBus,
    Fees,
    Gen,
    Instance,
    Line,
    Pv,
    Transmission,
)

HOURS = 3
# Each feeder's tree, child to parent, read off its branches below.
PARENT = ({7: 4, 1: 4, 8: 7, 3: 8, 6: 1}, *4 * ({1: 0, 2: 1},))


def _bus(number, pd, qd):
    return FeederBus(bus_i=number, pd_mw=pd, qd_mvar=qd)


def _branch(f, t, r, x, rate):
    return FeederBranch(f_bus=f, t_bus=t, br_r_ohm=r, br_x_ohm=x, rate_a_mva=rate)


def _bess(bus, power, energy, into, out, wear):
    return Bess(
        bus=bus,
        p_max_mw=power,
        energy_mwh=energy,
        efficiency_charge=into,
        efficiency_discharge=out,
        wear_per_mwh=wear,
    )


def _branching() -> Feeder:
    """Two branches at the root, one turned round; two inverters and two batteries at one bus; a load bus that
    is no peer, a peer that sells nothing, and a bus that only takes reactive power."""
    return Feeder(
        host_bus=9,
        base_kv=11.0,
        root_bus=4,
        v_root=1.02,
        vmin=0.93,
        vmax=1.07,
        buses=(
            _bus(7, (0.61, 0.83, 0.47), (0.21, 0.33, 0.11)),
            _bus(4, (0.0,) * HOURS, (0.0,) * HOURS),
            _bus(1, (0.0,) * HOURS, (0.05, -0.04, 0.02)),
            _bus(8, (0.35, 0.29, 0.53), (0.13, 0.09, 0.17)),
            _bus(3, (0.19, 0.23, 0.31), (0.07, 0.08, 0.06)),
            _bus(6, (0.0, 0.37, 0.27), (0.0, 0.15, 0.12)),
        ),
        branches=(
            _branch(7, 4, 0.51, 0.32, 5.3),
            _branch(4, 1, 0.43, 0.39, 4.1),
            _branch(7, 8, 0.37, 0.28, 3.7),
            _branch(3, 8, 0.29, 0.25, 2.9),
            _branch(1, 6, 0.33, 0.22, 2.3),
        ),
        peers=(8, 7, 6),
        pv=(
            Pv(bus=8, s_mva=1.3, available_mw=(0.2, 1.1, 0.6)),
            Pv(bus=7, s_mva=0.9, available_mw=(0.1, 0.7, 0.5)),
            Pv(bus=8, s_mva=0.7, available_mw=(0.3, 0.4, 0.65)),
        ),
        bess=(
            _bess(8, 0.45, 1.1, 0.93, 0.91, 2.1),
            _bess(7, 0.55, 1.3, 0.97, 0.89, 3.2),
            _bess(8, 0.26, 0.8, 0.95, 0.92, 1.4),
        ),
    )


def _line_feeder(host: int, size: float, rate: float, peers: tuple[int, ...], pv: tuple[Pv, ...]) -> Feeder:
    """Root 0 and buses 1, 2 in a row."""
    pd = size * np.array([[0.5, 0.9, 0.7], [0.4, 0.2, 0.6]])
    return Feeder(
        host_bus=host,
        base_kv=12.66,
        root_bus=0,
        v_root=0.99,
        vmin=0.9,
        vmax=1.1,
        buses=(
            _bus(0, (0.0,) * HOURS, (0.0,) * HOURS),
            _bus(1, tuple(pd[0]), tuple(0.4 * pd[0])),
            _bus(2, tuple(pd[1]), tuple(0.3 * pd[1])),
        ),
        branches=(_branch(0, 1, 0.6, 0.35, rate), _branch(1, 2, 0.41, 0.31, 0.7 * rate)),
        peers=peers,
        pv=pv,
        bess=(),
    )


def uneven(settlement: str = "lmp", ramps: bool = False) -> Instance:
    """Five ADNs on a three-bus ring with a double line.

    ADN 0 has everything and trades; 1 has peers, no device, and trades; 2 has neither and trades; 3 has no
    peer and no partner; 4 has sun and no partner. 0 and 1 share a host.
    """
    return Instance(
        name="uneven",
        seed=0,
        hours=HOURS,
        base_mva=7.0,
        settlement=settlement,
        partners="complete",
        network="fixed",
        congestion="none",
        transmission=Transmission(
            buses=(
                Bus(bus_i=5, pd_mw=(3.1, 4.3, 3.7)),
                Bus(bus_i=2, pd_mw=(1.9, 2.6, 2.3)),
                Bus(bus_i=9, pd_mw=(2.2, 3.4, 0.0)),
            ),
            branches=(
                Line(f_bus=5, t_bus=2, br_x=0.11, rate_a_mw=6.1),
                Line(f_bus=9, t_bus=2, br_x=0.17, rate_a_mw=4.7),
                Line(f_bus=9, t_bus=5, br_x=0.23, rate_a_mw=5.2),
                Line(f_bus=2, t_bus=5, br_x=0.31, rate_a_mw=3.3),
            ),
            gens=(
                Gen(
                    gen_bus=9,
                    blocks=(Block(p_max_mw=4.5, cost_per_mwh=21.0), Block(p_max_mw=6.5, cost_per_mwh=33.0)),
                    ramp_mw_per_h=1.7 if ramps else None,
                ),
                Gen(gen_bus=5, blocks=(Block(p_max_mw=8.5, cost_per_mwh=47.0),)),
            ),
            ref_bus=2,
            voll_per_mwh=900.0,
            spill_per_mwh=3.0,
        ),
        feeders=(
            _branching(),
            _line_feeder(9, 0.8, 3.1, (2, 1), ()),
            _line_feeder(5, 1.1, 4.3, (), ()),
            _line_feeder(2, 1.2, 5.7, (), ()),
            _line_feeder(5, 0.9, 3.9, (1,), (Pv(bus=1, s_mva=1.6, available_mw=(0.4, 1.5, 0.8)),)),
        ),
        arcs=(
            Arc(seller=0, buyer=1, wheeling_per_mwh=4.1),
            Arc(seller=2, buyer=0, wheeling_per_mwh=5.3),
            Arc(seller=0, buyer=2, wheeling_per_mwh=3.7),
            Arc(seller=1, buyer=0, wheeling_per_mwh=2.9),
        ),
        fees=Fees(access_per_mwh=4.3, network_per_mwh=6.1, local_per_mwh=2.2),
        tariff_per_mwh=(31.0, 37.0, 43.0),
    )


def draw_point(m: pyo.ConcreteModel, seed: int = 0) -> None:
    """Give every variable a value of its own; no row need hold there."""
    rng = np.random.default_rng(seed)
    for variable in m.component_data_objects(pyo.Var, descend_into=True):
        variable.set_value(rng.uniform(0.3, 1.7), skip_validation=True)


def branch(feeder: Feeder, i: int, j: int) -> FeederBranch:
    """The branch between two buses, whichever way round it was written."""
    return next(own for own in feeder.branches if {own.f_bus, own.t_bus} == {i, j})


def surplus(row) -> float:
    """``body - limit`` of an equality or of a row with an upper limit only, in the model's unit."""
    low, body, up = row.to_bounded_expression(evaluate_bounds=True)
    assert up is not None and (low is None or row.equality), row.name
    return pyo.value(body) - up


def box(variables) -> dict:
    """Lower and upper bound of every member of a variable."""
    return {key: (v.lb, v.ub) for key, v in variables.items()}


def values(variables, unit: float = 1.0) -> dict:
    """Value of every member of a variable, in a unit given by its size."""
    return {key: unit * v.value for key, v in variables.items()}


def root_capacity_mw(d: int, case: Instance) -> float:
    """The power that the ratings at the root let through at the highest voltage."""
    feeder = case.feeders[d]
    at_root = [branch(feeder, i, j) for j, i in PARENT[d].items() if i == feeder.root_bus]
    return feeder.vmax * sum(own.rate_a_mva for own in at_root)


def output_mw(feeder: Feeder, bus: int) -> float:
    """The most that the devices at a bus can give."""
    pv = sum(own.s_mva for own in feeder.pv if own.bus == bus)
    return pv + sum(own.p_max_mw for own in feeder.bess if own.bus == bus)


def intake_mw(feeder: Feeder, bus: int) -> float:
    """The most that a load bus can take: its load, its batteries, and its output passed on."""
    load = max(next(own.pd_mw for own in feeder.buses if own.bus_i == bus))
    battery = sum(own.p_max_mw for own in feeder.bess if own.bus == bus)
    return load + battery + output_mw(feeder, bus)


def sold_capacity_mw(d: int, case: Instance) -> float:
    """The most an ADN can sell to others."""
    feeder = case.feeders[d]
    own = sum(output_mw(feeder, i) for i in feeder.peers)
    return own if own else root_capacity_mw(d, case)


def bought_capacity_mw(d: int, case: Instance) -> float:
    """The most an ADN can buy from others."""
    feeder = case.feeders[d]
    own = sum(intake_mw(feeder, i) for i in feeder.peers)
    return own if own else root_capacity_mw(d, case)
