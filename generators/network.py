"""The transmission network of an instance: its scale, what the ADNs leave of its load, its ratings.

Loads, ratings, susceptances and generating units scale together with ``s``, so that an instance
on a scaled network is the IEEE network in other units of power.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from generators import profiles
from generators.ieee import BASE_MVA_30, case30
from generators.options import COST_BLOCKS, Options
from model.data import Block, Bus, Feeder, Gen, Line, Transmission

BASE_MVA = 10.0  # of the instance
ADN_SHARE = 0.8  # most that ADNs replace of a bus's native load, at their peak
DIGITS = 6


def peak_by_bus(feeders: Sequence[Feeder]) -> dict[int, float]:
    """MW per host bus: the sum of its ADNs' peak loads."""
    peaks: dict[int, float] = defaultdict(float)
    for feeder in feeders:
        total = np.sum([bus.pd_mw for bus in feeder.buses], axis=0)
        peaks[feeder.host_bus] += float(total.max())
    return dict(peaks)


def scale(peaks: dict[int, float], network: str) -> float:
    """``m = max_b peak_b / (0.8 load_b)`` for ``scaled``, ``max(1, m)`` for ``fixed``."""
    bus = case30().bus
    load = dict(zip(bus.bus_i, bus.pd, strict=True))
    m = round(max(peak / (ADN_SHARE * load[i]) for i, peak in peaks.items()), DIGITS)
    return m if network == "scaled" else max(1.0, m)


def transmission(feeders: Sequence[Feeder], options: Options) -> Transmission:
    """The network above ``feeders``; its reactances in per unit on ``BASE_MVA``."""
    case = case30()
    peaks = peak_by_bus(feeders)
    s = scale(peaks, options.network)
    replaced = np.array([peaks.get(i, 0.0) for i in case.bus.bus_i])
    shape = profiles.system_shape(profiles.clock_hours(options.hours))
    native_mw = np.round((s * case.bus.pd.to_numpy() - replaced)[:, None] * shape[None, :], DIGITS)
    buses = zip(case.bus.bus_i.tolist(), native_mw.tolist(), strict=True)
    columns = ("f_bus", "t_bus", "br_x", f"rate_{options.congestion}")
    branches = zip(*(case.branch[name].tolist() for name in columns), strict=True)
    gens = zip(*(case.gen[name].tolist() for name in ("gen_bus", "c2", "c1", "pmax")), strict=True)
    ramp = None if options.ramp_mw_per_h is None else round(options.ramp_mw_per_h * s, DIGITS)
    return Transmission(
        buses=tuple(Bus(bus_i=i, pd_mw=tuple(pd)) for i, pd in buses),
        branches=tuple(
            Line(
                f_bus=f_bus,
                t_bus=t_bus,
                br_x=float(f"{br_x * BASE_MVA / BASE_MVA_30 / s:.9g}"),
                rate_a_mw=round(rate * s, DIGITS),
            )
            for f_bus, t_bus, br_x, rate in branches
        ),
        gens=tuple(
            Gen(
                gen_bus=gen_bus,
                blocks=cost_blocks(c2, c1, pmax, s, options.cost_scale),
                ramp_mw_per_h=ramp,
            )
            for gen_bus, c2, c1, pmax in gens
        ),
        ref_bus=case.ref_bus,
        voll_per_mwh=options.voll_per_mwh,
        spill_per_mwh=options.spill_per_mwh,
    )


def cost_blocks(c2: float, c1: float, pmax: float, s: float, cost_scale: float) -> tuple[Block, ...]:
    """``c2 p^2 + c1 p`` in equal blocks, each at its mean marginal cost; ``s`` stretches the power only."""
    size = pmax / COST_BLOCKS
    return tuple(
        Block(
            p_max_mw=round(size * s, DIGITS),
            cost_per_mwh=round(cost_scale * (c1 + 2 * c2 * (k + 0.5) * size), DIGITS),
        )
        for k in range(COST_BLOCKS)
    )
