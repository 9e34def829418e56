"""Instances small enough to check by hand or on size-limited solvers."""

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

LOAD = (0.6, 1.0, 0.8, 0.9)
SUN = (0.0, 1.0, 0.4, 0.0)


def feeder(host_bus: int, hours: int, size: float = 1.0, sun: float = 2.5, battery: float = 0.5) -> Feeder:
    """Root 0, load buses 1 and 2 in a row; PV and a battery at bus 2 where their size is not 0."""
    load = [size * LOAD[t % 4] for t in range(hours)]
    available = tuple(sun * SUN[t % 4] for t in range(hours))
    unit = {"efficiency_charge": 0.95, "efficiency_discharge": 0.95, "wear_per_mwh": 2.0}
    return Feeder(
        host_bus=host_bus,
        base_kv=12.66,
        root_bus=0,
        v_root=1.0,
        vmin=0.9,
        vmax=1.1,
        buses=(
            FeederBus(bus_i=0, pd_mw=(0.0,) * hours, qd_mvar=(0.0,) * hours),
            FeederBus(bus_i=1, pd_mw=tuple(load), qd_mvar=tuple(0.5 * p for p in load)),
            FeederBus(bus_i=2, pd_mw=tuple(0.5 * p for p in load), qd_mvar=tuple(0.2 * p for p in load)),
        ),
        branches=(
            FeederBranch(f_bus=0, t_bus=1, br_r_ohm=0.5, br_x_ohm=0.3, rate_a_mva=6.0),
            FeederBranch(f_bus=1, t_bus=2, br_r_ohm=0.4, br_x_ohm=0.4, rate_a_mva=4.0),
        ),
        peers=(1, 2),
        pv=(Pv(bus=2, s_mva=1.1 * sun, available_mw=available),) if sun else (),
        bess=(Bess(bus=2, p_max_mw=battery, energy_mwh=2 * battery, **unit),) if battery else (),
    )


def transmission(hours: int, rate_mw: float = 8.0, load_mw: float = 6.0) -> Transmission:
    """A cheap bus 1 and a dear bus 2, joined by one line."""
    return Transmission(
        buses=(
            Bus(bus_i=1, pd_mw=(load_mw / 2,) * hours),
            Bus(bus_i=2, pd_mw=tuple(load_mw * LOAD[t % 4] for t in range(hours))),
        ),
        branches=(Line(f_bus=1, t_bus=2, br_x=0.1, rate_a_mw=rate_mw),),
        gens=(
            Gen(
                gen_bus=1,
                blocks=(Block(p_max_mw=5.0, cost_per_mwh=20.0), Block(p_max_mw=9.0, cost_per_mwh=32.0)),
            ),
            Gen(gen_bus=2, blocks=(Block(p_max_mw=10.0, cost_per_mwh=45.0),)),
        ),
        ref_bus=1,
        voll_per_mwh=1000.0,
        spill_per_mwh=1.0,
    )


def toy(
    n_adns: int = 1,
    hours: int = 2,
    settlement: str = "lmp",
    rate_mw: float = 8.0,
    load_mw: float = 6.0,
    **devices: float,
) -> Instance:
    """N three-bus ADNs on a two-bus transmission network, complete partners."""
    arcs = [(d, e) for d in range(n_adns) for e in range(n_adns) if d != e]
    return Instance(
        name=f"toy-{n_adns}",
        seed=0,
        hours=hours,
        base_mva=10.0,
        settlement=settlement,
        partners="complete",
        network="fixed",
        congestion="none",
        transmission=transmission(hours, rate_mw, load_mw),
        feeders=tuple(feeder(1 + d % 2, hours, 1.0 + 0.3 * d, **devices) for d in range(n_adns)),
        arcs=tuple(Arc(seller=d, buyer=e, wheeling_per_mwh=4.0) for d, e in arcs),
        fees=Fees(access_per_mwh=4.0, network_per_mwh=6.0, local_per_mwh=2.0),
        tariff_per_mwh=tuple((30.0, 36.0, 44.0, 36.0)[t % 4] for t in range(hours)),
    )


def relay(settlement: str = "lmp") -> Instance:
    """Three ADNs in a chain of partners: 0 has sun to spare, 2 has none, and 1 may trade with both."""
    case = toy(3, 2, settlement=settlement)
    feeders = list(case.feeders)
    bright = tuple(pv.model_copy(update={"available_mw": (0.0, 6.0), "s_mva": 6.0}) for pv in feeders[0].pv)
    feeders[0] = feeders[0].model_copy(update={"pv": bright})
    feeders[2] = feeders[2].model_copy(update={"pv": (), "bess": ()})
    chain = tuple(arc for arc in case.arcs if 1 in (arc.seller, arc.buyer))
    return case.model_copy(update={"arcs": chain, "feeders": tuple(feeders)})


def ramping() -> Instance:
    """One ADN, and a cheap unit that may hardly follow the load from one hour to the next."""
    case = toy(1, 2)
    gens, buses = list(case.transmission.gens), list(case.transmission.buses)
    gens[0] = gens[0].model_copy(update={"ramp_mw_per_h": 0.1})
    buses[0] = buses[0].model_copy(update={"pd_mw": (0.5, 9.0)})
    net = case.transmission.model_copy(update={"gens": tuple(gens), "buses": tuple(buses)})
    return case.model_copy(update={"transmission": net})
