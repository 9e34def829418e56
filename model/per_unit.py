"""Per-unit data of an instance: the one place where MW, ohm and $/MWh become per unit.

Power is in p.u. on ``instance.base_mva``, so an hour of one p.u. is ``base_mva`` MWh; money
stays in $. Squared voltages and currents are on the feeder's ``base_kv``.
"""

from dataclasses import dataclass, replace

from model.data import Feeder, Instance, Transmission


@dataclass(frozen=True)
class FeederData:
    """One feeder in per unit. Dicts are keyed by bus, by child bus for branches, or by device.

    ``root_capacity`` bounds the power through the root's branches; ``output`` and
    ``intake`` bound what a load bus can ever give or take in an hour; ``boundary_box`` is the least and
    most power that the root can take in each hour; ``surplus`` the sun's power less the load. Tuples of
    ``pd``, ``qd``, ``pv_available``, ``surplus`` and ``boundary_box`` are by hour; nothing else is.
    """

    root: int
    buses: tuple[int, ...]
    branches: tuple[tuple[int, int], ...]
    children: dict[int, tuple[int, ...]]
    r: dict[int, float]
    x: dict[int, float]
    rate: dict[int, float]
    v_root: float
    v_min: float
    v_max: float
    pd: dict[int, tuple[float, ...]]
    qd: dict[int, tuple[float, ...]]
    load_buses: tuple[int, ...]
    peers: tuple[int, ...]
    sellers: tuple[int, ...]
    pv_at: dict[int, tuple[int, ...]]
    pv_rating: tuple[float, ...]
    pv_available: tuple[tuple[float, ...], ...]
    surplus: tuple[float, ...]
    bess_at: dict[int, tuple[int, ...]]
    bess_power: tuple[float, ...]
    bess_energy: tuple[float, ...]
    bess_efficiency: tuple[tuple[float, float], ...]
    bess_wear: tuple[float, ...]
    output: dict[int, float]
    intake: dict[int, float]
    boundary_box: tuple[tuple[float, float], ...]

    @property
    def root_capacity(self) -> float:
        return sum(self.v_max**0.5 * self.rate[j] for j in self.children[self.root])

    @property
    def sold_capacity(self) -> float:
        """Most an ADN can sell to others; the root's capacity where it owns no device."""
        return sum(self.output[i] for i in self.sellers) or self.root_capacity

    @property
    def bought_capacity(self) -> float:
        """Most an ADN can buy from others; the root's capacity where it has no peer."""
        return sum(self.intake[i] for i in self.peers) or self.root_capacity


@dataclass(frozen=True)
class TransmissionData:
    """The follower's network in per unit; costs in $ per p.u. and hour."""

    buses: tuple[int, ...]
    ref_bus: int
    pd: dict[int, tuple[float, ...]]
    lines: tuple[tuple[int, int], ...]
    susceptance: tuple[float, ...]
    rate: tuple[float, ...]
    gen_bus: tuple[int, ...]
    block_width: dict[tuple[int, int], float]
    block_cost: dict[tuple[int, int], float]
    ramp: dict[int, float]
    voll: float
    spill_cost: float


def feeder_data(feeder: Feeder, base_mva: float) -> FeederData:
    """The per-unit data of one feeder."""
    z_base = feeder.base_kv**2 / base_mva
    parents = feeder.parents()
    children: dict[int, list[int]] = {bus.bus_i: [] for bus in feeder.buses}
    for j, (i, _) in parents.items():
        children[i].append(j)
    loads = {bus.bus_i: bus for bus in feeder.buses}
    pv_at = {i: tuple(k for k, pv in enumerate(feeder.pv) if pv.bus == i) for i in parents}
    bess_at = {i: tuple(k for k, b in enumerate(feeder.bess) if b.bus == i) for i in parents}
    pd = {j: tuple(p / base_mva for p in loads[j].pd_mw) for j in parents}
    pv_available = tuple(tuple(p / base_mva for p in pv.available_mw) for pv in feeder.pv)
    pv_rating = tuple(pv.s_mva / base_mva for pv in feeder.pv)
    bess_power = tuple(b.p_max_mw / base_mva for b in feeder.bess)
    output = {
        i: sum(pv_rating[k] for k in pv_at[i]) + sum(bess_power[k] for k in bess_at[i])
        for i in feeder.load_buses
    }
    # A bus takes its load and its battery's charge, and no more than its output to pass on to the grid.
    intake = {i: max(pd[i]) + sum(bess_power[k] for k in bess_at[i]) + output[i] for i in feeder.load_buses}
    data = FeederData(
        root=feeder.root_bus,
        buses=tuple(parents),
        branches=tuple((i, j) for j, (i, _) in parents.items()),
        children={i: tuple(js) for i, js in children.items()},
        r={j: branch.br_r_ohm / z_base for j, (_, branch) in parents.items()},
        x={j: branch.br_x_ohm / z_base for j, (_, branch) in parents.items()},
        rate={j: branch.rate_a_mva / base_mva for j, (_, branch) in parents.items()},
        v_root=feeder.v_root**2,
        v_min=feeder.vmin**2,
        v_max=feeder.vmax**2,
        pd=pd,
        qd={j: tuple(q / base_mva for q in loads[j].qd_mvar) for j in parents},
        load_buses=feeder.load_buses,
        peers=feeder.peers,
        sellers=feeder.sellers,
        pv_at=pv_at,
        pv_rating=pv_rating,
        pv_available=pv_available,
        surplus=tuple(
            sum(sun[t] for sun in pv_available) - sum(load[t] for load in pd.values())
            for t in range(len(feeder.buses[0].pd_mw))
        ),
        bess_at=bess_at,
        bess_power=bess_power,
        bess_energy=tuple(b.energy_mwh / base_mva for b in feeder.bess),
        bess_efficiency=tuple((b.efficiency_charge, b.efficiency_discharge) for b in feeder.bess),
        bess_wear=tuple(b.wear_per_mwh * base_mva for b in feeder.bess),
        output=output,
        intake=intake,
        boundary_box=(),
    )
    return replace(data, boundary_box=_boundary_box(data))


def _boundary_box(data: FeederData) -> tuple[tuple[float, float], ...]:
    """Least and most power the root can take, by hour: loads, devices, losses, ratings."""
    battery = sum(data.bess_power)
    losses = sum(data.r[j] * data.rate[j] ** 2 for j in data.buses)
    capacity = data.root_capacity
    box = []
    for t in range(len(data.pd[data.buses[0]])):
        load = sum(data.pd[j][t] for j in data.buses)
        least = -data.surplus[t] - battery
        box.append((max(least, -capacity), min(load + battery + losses, capacity)))
    return tuple(box)


def transmission_data(net: Transmission, base_mva: float) -> TransmissionData:
    """The per-unit data of the transmission network."""
    blocks = {(g, k): block for g, gen in enumerate(net.gens) for k, block in enumerate(gen.blocks)}
    return TransmissionData(
        buses=tuple(bus.bus_i for bus in net.buses),
        ref_bus=net.ref_bus,
        pd={bus.bus_i: tuple(p / base_mva for p in bus.pd_mw) for bus in net.buses},
        lines=tuple((line.f_bus, line.t_bus) for line in net.branches),
        susceptance=tuple(1.0 / line.br_x for line in net.branches),
        rate=tuple(line.rate_a_mw / base_mva for line in net.branches),
        gen_bus=tuple(gen.gen_bus for gen in net.gens),
        block_width={key: block.p_max_mw / base_mva for key, block in blocks.items()},
        block_cost={key: block.cost_per_mwh * base_mva for key, block in blocks.items()},
        ramp={
            g: gen.ramp_mw_per_h / base_mva for g, gen in enumerate(net.gens) if gen.ramp_mw_per_h is not None
        },
        voll=net.voll_per_mwh * base_mva,
        spill_cost=net.spill_per_mwh * base_mva,
    )


def price(instance: Instance, per_mwh: float) -> float:
    """$/MWh as $ per p.u. and hour."""
    return per_mwh * instance.base_mva
