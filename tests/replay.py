"""Both grids stated once more for pandapower, from the instance alone.

pandapower's Newton power flow and its interior-point DC optimal power flow (PIPS, written in Python) share no
line and no solver with this project, whose linear programs all end in HiGHS.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from model.data import Feeder, Instance
from model.metrics import FeederSchedule

pandapower = pytest.importorskip("pandapower")
idx_brch = pytest.importorskip("pandapower.pypower.idx_brch")

Array = np.ndarray
NEWTON_MVA = 1e-9
# Feasibility, gradient, complementarity and cost conditions of PIPS, all relative.
PIPS = dict.fromkeys(("PDIPM_FEASTOL", "PDIPM_GRADTOL", "PDIPM_COMPTOL", "PDIPM_COSTTOL"), 1e-8)
# A variable or line this far (MW) from its limits is off them; PIPS comes within 1e-6 of one that binds.
AWAY = 1e-3
TRANSMISSION_KV = 100.0
# Every line is 1 km long and has no shunt.
SERIES_ONLY = {"length_km": 1.0, "c_nf_per_km": 0.0}


@dataclass(frozen=True)
class AcHour:
    """A feeder's AC power flow in one hour, by child bus: p.u., kA, MW and Mvar at the sending end."""

    v_pu: Array
    i_ka: Array
    p_mw: Array
    q_mvar: Array
    losses_mw: float
    boundary_mw: float
    boundary_mvar: float


class FeederReplay:
    """A feeder as an AC network: the root holds ``v_root``, all else is a fixed injection."""

    def __init__(self, feeder: Feeder):
        self.feeder = feeder
        self.net = net = pandapower.create_empty_network()
        made = pandapower.create_buses(net, len(feeder.buses), feeder.base_kv)
        bus = {own.bus_i: number for own, number in zip(feeder.buses, made, strict=True)}
        # The schedule's arrays are by child bus, in this order, with flows from parent to child.
        tree = feeder.parents()
        self.children = [bus[j] for j in tree]
        branches = [branch for _, branch in tree.values()]
        pandapower.create_lines_from_parameters(
            net,
            [bus[i] for i, _ in tree.values()],
            self.children,
            r_ohm_per_km=[branch.br_r_ohm for branch in branches],
            x_ohm_per_km=[branch.br_x_ohm for branch in branches],
            max_i_ka=[branch.rate_a_mva / feeder.base_kv / 3**0.5 for branch in branches],
            **SERIES_ONLY,
        )
        pandapower.create_ext_grid(net, bus[feeder.root_bus], vm_pu=feeder.v_root)
        pandapower.create_loads(net, [*made, *self.children], p_mw=0.0)
        if feeder.pv:
            pandapower.create_sgens(net, [bus[pv.bus] for pv in feeder.pv], p_mw=0.0)
        if feeder.bess:
            stored = [bess.energy_mwh for bess in feeder.bess]
            pandapower.create_storages(net, [bus[bess.bus] for bess in feeder.bess], 0.0, stored)

    def hour(self, f: FeederSchedule, pv_mvar: Array, t: int, extra_mva: Array | None = None) -> AcHour:
        """The power flow at a schedule's injections; ``extra_mva`` is complex load more at the child buses.

        In pandapower loads and storages count what they take, static generators what they give.
        """
        net, feeder = self.net, self.feeder
        extra = np.zeros(len(self.children)) if extra_mva is None else extra_mva
        net.load["p_mw"] = [*(own.pd_mw[t] for own in feeder.buses), *np.real(extra)]
        net.load["q_mvar"] = [*(own.qd_mvar[t] for own in feeder.buses), *np.imag(extra)]
        if feeder.pv:
            net.sgen["p_mw"], net.sgen["q_mvar"] = f.pv[:, t], pv_mvar[:, t]
        if feeder.bess:
            net.storage["p_mw"] = f.charge[:, t] - f.discharge[:, t]
        pandapower.runpp(net, init="flat", tolerance_mva=NEWTON_MVA, numba=False)
        return AcHour(
            net.res_bus.vm_pu.to_numpy(copy=True)[self.children],
            net.res_line.i_from_ka.to_numpy(copy=True),
            net.res_line.p_from_mw.to_numpy(copy=True),
            net.res_line.q_from_mvar.to_numpy(copy=True),
            float(net.res_line.pl_mw.sum()),
            float(net.res_ext_grid.p_mw.sum()),
            float(net.res_ext_grid.q_mvar.sum()),
        )


@dataclass(frozen=True)
class DcHour:
    """A DC optimal power flow in MW, radians, $ and $/MWh.

    ``lam`` is the cost of one more MWh of load at a bus, ``mu_lo`` and ``mu_up`` what one more MW of
    rating saves on a line that is full against and along its direction. pandapower calls them ``lam_p``,
    ``MU_ST`` and ``MU_SF``; its signs are the project's. ``dispatch_unique`` and ``prices_unique``: whether
    this is the only optimum.
    """

    cost: float
    lam: Array
    mu_lo: Array
    mu_up: Array
    theta: Array
    flow_mw: Array
    gen_mw: Array
    shed_mw: Array
    spill_mw: Array
    dispatch_unique: bool
    prices_unique: bool


class TransmissionReplay:
    """The follower as pandapower's DC optimal power flow, with piecewise linear costs."""

    def __init__(self, instance: Instance):
        self.grid = grid = instance.transmission
        self.row = {bus.bus_i: n for n, bus in enumerate(grid.buses)}
        self.net = net = pandapower.create_empty_network(sn_mva=instance.base_mva)
        made = pandapower.create_buses(net, len(grid.buses), TRANSMISSION_KV)
        z_base = TRANSMISSION_KV**2 / instance.base_mva
        if grid.branches:
            pandapower.create_lines_from_parameters(
                net,
                [made[self.row[line.f_bus]] for line in grid.branches],
                [made[self.row[line.t_bus]] for line in grid.branches],
                r_ohm_per_km=0.0,
                x_ohm_per_km=[line.br_x * z_base for line in grid.branches],
                max_i_ka=[line.rate_a_mw / TRANSMISSION_KV / 3**0.5 for line in grid.branches],
                max_loading_percent=100.0,
                **SERIES_ONLY,
            )
        # The tool wants a slack unit; this one gives nothing and only sets the angle.
        pandapower.create_ext_grid(net, made[self.row[grid.ref_bus]], min_p_mw=0.0, max_p_mw=0.0)
        self.ends = [np.cumsum([0.0, *(block.p_max_mw for block in gen.blocks)]) for gen in grid.gens]
        units = pandapower.create_gens(
            net,
            [made[self.row[gen.gen_bus]] for gen in grid.gens],
            p_mw=0.0,
            min_p_mw=0.0,
            max_p_mw=[ends[-1] for ends in self.ends],
            controllable=True,
        )
        pieces = [
            [
                [low, high, b.cost_per_mwh]
                for low, high, b in zip(ends[:-1], ends[1:], gen.blocks, strict=True)
            ]
            for gen, ends in zip(grid.gens, self.ends, strict=True)
        ]
        pandapower.create_pwl_costs(net, units, "gen", pieces)
        # Shedding is dear generation at every bus, spillage negative generation, both as large as need be.
        most = self._enough(instance)
        for low, high, cost in ((0.0, most, grid.voll_per_mwh), (-most, 0.0, -grid.spill_per_mwh)):
            units = pandapower.create_sgens(
                net,
                made,
                p_mw=0.0,
                min_p_mw=low,
                max_p_mw=high,
                min_q_mvar=0.0,
                max_q_mvar=0.0,
                controllable=True,
            )
            pandapower.create_poly_costs(net, units, "sgen", cp1_eur_per_mw=cost)
        pandapower.create_loads(net, made, p_mw=0.0, controllable=False)

    @staticmethod
    def _enough(instance: Instance) -> float:
        """More than anyone sheds or spills: all capacity, native load and feeder ratings together, in MW."""
        grid = instance.transmission
        capacity = sum(block.p_max_mw for gen in grid.gens for block in gen.blocks)
        load = sum(max(bus.pd_mw) for bus in grid.buses)
        roots = sum(2 * branch.rate_a_mva for feeder in instance.feeders for branch in feeder.branches)
        return capacity + load + roots

    def hour(self, load_mw: Array) -> DcHour:
        """The optimal power flow at a load per bus."""
        net, n = self.net, len(self.row)
        net.load["p_mw"] = load_mw
        pandapower.rundcopp(net, PDIPM_MAX_IT=300, **PIPS)
        flow = net.res_line.p_from_mw.to_numpy(copy=True)
        gen = net.res_gen.p_mw.to_numpy(copy=True)
        extra = net.res_sgen.p_mw.to_numpy(copy=True)
        shed, spill = extra[:n], -extra[n:]
        # Multipliers of lines stand only in the internal branch table, in the lines' order.
        mu = net._ppc_opf["branch"][:, [idx_brch.MU_ST, idx_brch.MU_SF]].real
        dispatch_unique, prices_unique = self._unique(gen, shed, spill, flow)
        return DcHour(
            float(net.res_cost),
            net.res_bus.lam_p.to_numpy(copy=True),
            mu[:, 0],
            mu[:, 1],
            np.radians(net.res_bus.va_degree.to_numpy()),
            flow,
            gen,
            shed,
            spill,
            dispatch_unique,
            prices_unique,
        )

    def _unique(self, gen: Array, shed: Array, spill: Array, flow: Array) -> tuple[bool, bool]:
        """Whether this is the only dispatch, and these the only prices.

        An interior-point method ends inside the optimal face: what is off its limit in any optimum is off
        it here (strict complementarity, Goldman and Tucker 1956). Take the rows of the balances and of the
        full lines, and the columns of the variables that are off their limits: there is one dispatch where
        these columns are independent, one price vector where these rows are.
        """
        grid, n = self.grid, len(self.row)
        at_bus = np.eye(n)
        columns = [
            at_bus[self.row[unit.gen_bus]]
            for unit, ends, p in zip(grid.gens, self.ends, gen, strict=True)
            if np.abs(ends - p).min() > AWAY  # inside one of its blocks
        ]
        columns += [*at_bus[shed > AWAY], *at_bus[spill > AWAY]]
        incidence = np.zeros((len(grid.branches), n))
        for k, line in enumerate(grid.branches):
            incidence[k, [self.row[line.f_bus], self.row[line.t_bus]]] = 1.0, -1.0
        flows = incidence / np.array([[line.br_x] for line in grid.branches])
        full = np.array([line.rate_a_mw for line in grid.branches]) - np.abs(flow) < AWAY
        injections = np.array(columns).reshape(-1, n).T
        angles = [i for i in range(n) if i != self.row[grid.ref_bus]]
        rows = np.block(
            [
                [injections, -(incidence.T @ flows)[:, angles]],
                [np.zeros((full.sum(), injections.shape[1])), flows[full][:, angles]],
            ]
        )
        rank = np.linalg.matrix_rank(rows)
        return bool(rank == rows.shape[1]), bool(rank == rows.shape[0])
