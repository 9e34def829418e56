"""Where ADNs stand and with whom they trade: hosts, electrical distance, partner graph.

All of it is nested: what is said of ADN d depends on the seed and on ADNs 0..d, never on how many follow.
"""

from fractions import Fraction
from functools import cache
from heapq import heapify, heapreplace

import numpy as np
import numpy.typing as npt

from generators.ieee import case30
from generators.streams import streams

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def hosts(n_adns: int) -> list[int]:
    """Host bus of ADN 0..n-1: the Sainte-Lague sequence on the buses' native load.

    A bus that hosts n ADNs already bids load / (2 n + 1); the highest bid gets the next ADN, the lower
    bus number among equals. Exact fractions, so that equal bids are equal on every machine.
    """
    bus = case30().bus
    tenths = {int(i): round(10 * float(pd)) for i, pd in zip(bus.bus_i, bus.pd, strict=True) if pd > 0}
    bids = [(-Fraction(load), i, 1) for i, load in tenths.items()]
    heapify(bids)
    sequence = []
    for _ in range(n_adns):
        _, i, divisor = bids[0]
        sequence.append(i)
        heapreplace(bids, (-Fraction(tenths[i], divisor + 2), i, divisor + 2))
    return sequence


@cache
def electrical_distance() -> tuple[Array, float]:
    """Distances between transmission buses in p.u., and their mean over pairs of load buses.

    ``X_ii + X_jj - 2 X_ij`` with X the pseudo-inverse of the unscaled susceptance Laplacian, rounded to
    six digits so that ties are ties on every machine. Rows and columns in the order of the bus table.
    """
    case = case30()
    position = {int(i): k for k, i in enumerate(case.bus.bus_i)}
    laplacian = np.zeros((len(position), len(position)))
    for f_bus, t_bus, br_x in zip(case.branch.f_bus, case.branch.t_bus, case.branch.br_x, strict=True):
        f, t, b = position[f_bus], position[t_bus], 1 / br_x
        laplacian[[f, t], [f, t]] += b
        laplacian[[f, t], [t, f]] -= b
    x = np.linalg.pinv(laplacian, hermitian=True)
    distance = np.round(np.diag(x)[:, None] + np.diag(x)[None, :] - 2 * x, 6)
    np.fill_diagonal(distance, 0.0)
    loads = np.flatnonzero(case.bus.pd > 0)
    among = distance[np.ix_(loads, loads)]
    mean = among.sum() / (len(loads) * (len(loads) - 1))
    return distance, round(float(mean), 6)


def positions(host_buses: list[int]) -> Integers:
    """Row of each host in the distance table."""
    order = {int(i): k for k, i in enumerate(case30().bus.bus_i)}
    return np.array([order[i] for i in host_buses])


def partners(host_buses: list[int], nearest: int | None, seed: int) -> list[tuple[int, int]]:
    """Pairs (earlier ADN, later ADN) that trade, both ways, in the order in which the later ones join.

    ``nearest=None``: every pair. Else ADN d trades with the ``min(nearest, d)`` electrically nearest among
    ADNs 0..d-1, equal distances in an order drawn with ``[seed, d]``.
    """
    if nearest is None:
        return [(e, d) for d in range(len(host_buses)) for e in range(d)]
    distance, _ = electrical_distance()
    rows = positions(host_buses)
    pairs = []
    for d in range(1, len(host_buses)):
        draw = streams(seed, d).ties.random(d)
        chosen = np.lexsort((draw, distance[rows[d], rows[:d]]))[:nearest]
        pairs += [(e, d) for e in sorted(chosen.tolist())]
    return pairs


def wheeling(
    host_buses: list[int], pairs: list[tuple[int, int]], base: float, per_distance: float
) -> list[float]:
    """Wheeling fee of each pair in $/MWh: ``base + per_distance * distance / mean distance``."""
    if not pairs:
        return []
    distance, mean = electrical_distance()
    rows = positions(host_buses)
    earlier, later = np.array(pairs).T
    return np.round(base + per_distance * distance[rows[earlier], rows[later]] / mean, 4).tolist()
