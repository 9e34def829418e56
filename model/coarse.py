"""A coarser instance: the ADNs of one host in groups, and a feeder for each group.

A group of m has the feeder of one of its ADNs with impedances divided by m and ratings multiplied by m,
which is exactly what m ADNs alike are together: with the same voltages, all powers are m times as large. Its
load and what the sun offers are the group's in every hour, its batteries' power and energy the group's in
sum. So the grid sees nearly the same ADNs, and what a search finds out about the coarser instance, such as
prices and which price regions matter, nearly holds for the instance itself (the coarse level of a multilevel
method, Brandt 1977). It proves nothing of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from model.data import Arc, Bess, Feeder, Instance, Pv
from model.program import Array


@dataclass(frozen=True)
class Coarse:
    """``group``: of every ADN of the instance the number of its group, an ADN of the coarser one, (N,)."""

    instance: Instance
    group: Array


def coarsened(case: Instance, n_groups: int) -> Coarse:
    """The instance in some ``n_groups`` groups, at least one a host, of sizes as even as hosts allow."""
    at: dict[int, list[int]] = defaultdict(list)
    for d, feeder in enumerate(case.feeders):
        at[feeder.host_bus].append(d)
    groups: list[list[int]] = []
    for own in at.values():
        n = min(max(1, round(len(own) * n_groups / case.n_adns)), len(own))
        groups += [own[len(own) * g // n : len(own) * (g + 1) // n] for g in range(n)]
    group = np.zeros(case.n_adns, dtype=int)
    for g, own in enumerate(groups):
        group[own] = g
    feeders = tuple(_joined([case.feeders[d] for d in own]) for own in groups)
    return Coarse(case.model_copy(update={"feeders": feeders, "arcs": _arcs(case, group)}), group)


def _arcs(case: Instance, group: Array) -> tuple[Arc, ...]:
    """Groups trade where any of their ADNs do, at the mean of the fees."""
    fees: dict[tuple[int, int], list[float]] = defaultdict(list)
    for arc in case.arcs:
        seller, buyer = int(group[arc.seller]), int(group[arc.buyer])
        if seller != buyer:
            fees[seller, buyer].append(arc.wheeling_per_mwh)
    return tuple(
        Arc(seller=seller, buyer=buyer, wheeling_per_mwh=float(np.mean(own)))
        for (seller, buyer), own in sorted(fees.items())
    )


def _joined(members: Sequence[Feeder]) -> Feeder:
    # The one with most kinds of devices: what it lacks the group lacks too.
    first, m = max(members, key=lambda feeder: bool(feeder.pv) + bool(feeder.bess)), len(members)
    loads = _times(
        _sum(bus.pd_mw for feeder in members for bus in feeder.buses), _sum(bus.pd_mw for bus in first.buses)
    )
    return first.model_copy(
        update={
            "buses": tuple(
                bus.model_copy(
                    update={"pd_mw": _scaled(loads, bus.pd_mw), "qd_mvar": _scaled(loads, bus.qd_mvar)}
                )
                for bus in first.buses
            ),
            "branches": tuple(
                branch.model_copy(
                    update={
                        "br_r_ohm": branch.br_r_ohm / m,
                        "br_x_ohm": branch.br_x_ohm / m,
                        "rate_a_mva": branch.rate_a_mva * m,
                    }
                )
                for branch in first.branches
            ),
            "pv": _pv(first.pv, [pv for feeder in members for pv in feeder.pv]),
            "bess": _bess(first.bess, [bess for feeder in members for bess in feeder.bess]),
        }
    )


def _pv(first: Sequence[Pv], all_of_them: Sequence[Pv]) -> tuple[Pv, ...]:
    offered = _times(_sum(pv.available_mw for pv in all_of_them), _sum(pv.available_mw for pv in first))
    rated = _times(_sum([pv.s_mva] for pv in all_of_them), _sum([pv.s_mva] for pv in first))
    return tuple(
        pv.model_copy(
            update={
                "s_mva": _scaled(rated, [pv.s_mva])[0],
                "available_mw": _scaled(offered, pv.available_mw),
            }
        )
        for pv in first
    )


def _bess(first: Sequence[Bess], all_of_them: Sequence[Bess]) -> tuple[Bess, ...]:
    times = _times(
        _sum([bess.p_max_mw, bess.energy_mwh] for bess in all_of_them),
        _sum([bess.p_max_mw, bess.energy_mwh] for bess in first),
    )
    return tuple(
        bess.model_copy(
            update=dict(
                zip(
                    ("p_max_mw", "energy_mwh"),
                    _scaled(times, [bess.p_max_mw, bess.energy_mwh]),
                    strict=True,
                )
            )
        )
        for bess in first
    )


def _sum(series: Iterable[Sequence[float]]) -> Array:
    return np.sum([np.asarray(own) for own in series], axis=0)


def _times(total: Array, own: Array) -> Array:
    """How many times ``own`` gives the total; 1 where it gives nothing."""
    return np.where(own > 0, total / np.where(own > 0, own, 1.0), 1.0)


def _scaled(times: Array, series: Sequence[float]) -> tuple[float, ...]:
    return tuple((times * np.asarray(series)).tolist())
