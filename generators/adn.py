"""One ADN: the IEEE 33-bus feeder with its own loads, PV and batteries."""

from functools import cache

import numpy as np
import numpy.typing as npt

from generators import profiles
from generators.ieee import case33
from generators.options import Options
from generators.streams import Streams, streams
from model.data import Bess, Feeder, FeederBranch, FeederBus, Pv

Array = npt.NDArray[np.float64]

DIGITS = 6  # of MW, Mvar and MWh: watts
V_ROOT = 1.0  # p.u., the source's root voltage

# Drawn per ADN
SIZE = (0.8, 1.1)  # of the ADN's loads, relative to the source's
COMMERCIAL_SHARE = (0.0, 0.8)
SHIFT_H = (-1.0, 1.0)  # of consumers' habits
SOLAR_SHIFT_H = (-0.5, 0.5)  # longitude within the time zone
CLOUD_DEPTH = (0.0, 0.5)
# Drawn per bus. No factor but SIZE exceeds 1, so a load never exceeds 1.1 times the source's: at that
# load the feeder without any device still keeps its voltage limits, hence every instance is feasible.
BUS_SIZE = (0.9, 1.0)
BUS_SHARE_SPREAD = 0.2
BUS_SHIFT_H = (-0.5, 0.5)
NOISE = (0.9, 1.0)  # per bus and hour
# Drawn per device: relative weight in the total
DEVICE_WEIGHT = (0.5, 1.5)

INVERTER_RATIO = 1.1  # MVA of inverter per MW of panels


def adn(d: int, seed: int, host_bus: int, options: Options) -> Feeder:
    """ADN ``d`` (0-based) at ``host_bus``: a function of its arguments, whatever the instance's size."""
    case = case33()
    clock = profiles.clock_hours(options.hours)
    rng = streams(seed, d)
    pd_mw = loads(clock, rng.load)
    peak_mw = float(pd_mw.sum(axis=0).max())
    qd_mvar = np.round(pd_mw * case.reactive_ratio[:, None], DIGITS)
    peers, pv_buses, bess_buses = sites(options, rng.devices)
    vmin, vmax = case.voltage_limits
    return Feeder(
        host_bus=host_bus,
        base_kv=case.base_kv,
        root_bus=case.root_bus,
        v_root=V_ROOT,
        vmin=vmin,
        vmax=vmax,
        buses=tuple(
            FeederBus(bus_i=i, pd_mw=tuple(p), qd_mvar=tuple(q))
            for i, p, q in zip(case.bus.bus_i.tolist(), pd_mw.tolist(), qd_mvar.tolist(), strict=True)
        ),
        branches=_branches(),
        peers=tuple(peers),
        pv=_pv(pv_buses, peak_mw, clock, options, rng),
        bess=_bess(bess_buses, peak_mw, options, rng.devices),
    )


def loads(clock: profiles.Clock, rng: np.random.Generator) -> Array:
    """Active load in MW, one row per bus, one column per step.

    The source's load, times a size of the ADN and of the bus, times a mix of household and commercial
    shape with shifts of the ADN and of the bus, times noise.
    """
    nominal = case33().pd_mw
    n = len(nominal)
    size = rng.uniform(*SIZE) * rng.uniform(*BUS_SIZE, n)
    share = rng.uniform(*COMMERCIAL_SHARE) + rng.uniform(-BUS_SHARE_SPREAD, BUS_SHARE_SPREAD, n)
    share = np.clip(share, 0, 1)[:, None]
    shift = rng.uniform(*SHIFT_H) + rng.uniform(*BUS_SHIFT_H, n)
    hour = clock[None, :] + 0.5 + shift[:, None]
    shape = (1 - share) * profiles.households(hour) + share * profiles.commercial(hour)
    noise = rng.uniform(*NOISE, (n, len(clock)))
    return np.round((nominal * size)[:, None] * shape * noise, DIGITS)


def sites(options: Options, rng: np.random.Generator) -> tuple[list[int], list[int], list[int]]:
    """Buses of the peers (in rising order), of the PV units and of the batteries.

    Half of the batteries stand beside a PV unit, more if there are too few peers: the number of peers
    with a device is the same in every ADN, so that sizes of models are exact.
    """
    peers = sorted(rng.permutation(case33().load_buses)[: options.n_peers].tolist())
    order = rng.permutation(peers).tolist()
    beside = min(options.n_pv, (options.n_bess + 1) // 2)
    beside = max(beside, options.n_pv + options.n_bess - options.n_peers)
    first = options.n_pv - beside
    return peers, order[: options.n_pv], order[first : first + options.n_bess]


def _pv(
    buses: list[int], peak_mw: float, clock: profiles.Clock, options: Options, rng: Streams
) -> tuple[Pv, ...]:
    panels_mw = options.pv_penetration * peak_mw * _shares(len(buses), rng.devices)
    solar_hour = clock.astype(np.float64) + (0.5 + rng.sun.uniform(*SOLAR_SHIFT_H))
    depth = rng.sun.uniform(*CLOUD_DEPTH)
    output = profiles.clear_sky(solar_hour) * profiles.clouds(len(clock), depth, rng.sun)
    available_mw = np.round(panels_mw[:, None] * output[None, :], DIGITS)
    return tuple(
        Pv(bus=bus, s_mva=round(INVERTER_RATIO * panels, DIGITS), available_mw=tuple(available))
        for bus, panels, available in zip(buses, panels_mw.tolist(), available_mw.tolist(), strict=True)
    )


def _bess(buses: list[int], peak_mw: float, options: Options, rng: np.random.Generator) -> tuple[Bess, ...]:
    power_mw = options.bess_power_share * peak_mw * _shares(len(buses), rng)
    return tuple(
        Bess(
            bus=bus,
            p_max_mw=round(p, DIGITS),
            energy_mwh=round(options.bess_hours * p, DIGITS),
            efficiency_charge=options.efficiency_charge,
            efficiency_discharge=options.efficiency_discharge,
            wear_per_mwh=options.wear_per_mwh,
        )
        for bus, p in zip(buses, power_mw.tolist(), strict=True)
    )


def _shares(n: int, rng: np.random.Generator) -> Array:
    weights = rng.uniform(*DEVICE_WEIGHT, n)
    return weights / weights.sum() if n else weights


@cache
def _branches() -> tuple[FeederBranch, ...]:
    columns = ("f_bus", "t_bus", "br_r", "br_x", "rate_assumed")
    rows = zip(*(case33().closed[name].tolist() for name in columns), strict=True)
    return tuple(
        FeederBranch(f_bus=f_bus, t_bus=t_bus, br_r_ohm=br_r, br_x_ohm=br_x, rate_a_mva=float(rate))
        for f_bus, t_bus, br_r, br_x, rate in rows
    )
