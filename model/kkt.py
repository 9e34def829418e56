"""The follower's optimality conditions, and certified bounds on everything in them.

Pyomo's ``core.kkt`` derives the conditions from the follower's block; this module names the
multipliers, bounds them, and hands out the complementary pairs for a mode to linearise.

Lagrangian (core.kkt's signs, minimisation): ``cost + lam (pd + P - supply) + mu_lo (lo - body)
+ mu_up (body - up)``, so ``lam`` is the cost of one more unit of load and every ``mu >= 0``.

=============  ==============  ===============  ===========================================
row            limit           d phi / d limit  certified box of the multiplier
=============  ==============  ===============  ===========================================
nodal_balance  load            +lam             [-spill_cost, voll] (columns spill, shed)
flow_limit     lower           +mu_flow_lo      [0, rent / rate]
flow_limit     upper           -mu_flow_up      [0, rent / rate]
pg             lower           +mu_pg_lo        [0, cost + spill_cost (+ ramps)]
pg             upper           -mu_pg_up        [0, voll - cost (+ ramps)]
shed           lower           +mu_shed         [0, voll + spill_cost]
spill          lower           +mu_spill        [0, voll + spill_cost]
ramp_limit     lower           +mu_ramp_lo      [0, rent / ramp]
ramp_limit     upper           -mu_ramp_up      [0, rent / ramp]
=============  ==============  ===============  ===========================================

Where the boxes come from. *Prices*: stationarity of shed and spill. *Rent*: at an optimal
dual, strong duality reads ``sum rate mu_flow + sum width mu_pg_up + sum ramp mu_ramp =
sum lam load - phi`` with every term on the left at least 0 and ``phi >= 0``; with lam in its box the right
side is at most ``rent = voll load^+ + spill_cost load^-``, summed over the hours that are coupled (one
without ramps, all with). *Blocks*: stationarity ``cost - lam - mu_pg_lo + mu_pg_up (+- ramps) = 0``, and a
block is not at both its bounds. All hold at every optimal dual, so no optimum is cut off.
"""

from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo
from pyomo.common.enums import ObjectiveSense
from pyomo.common.numeric_types import RegisterIntegerType
from pyomo.core.base.var import VarData
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from model.boxes import BOTH, UPPER
from model.data import InputError
from model.per_unit import TransmissionData

# core.kkt multiplies the objective by its sense, an enum Pyomo otherwise warns about.
RegisterIntegerType(ObjectiveSense)

LoadBox = dict[int, list[tuple[float, float]]]


@dataclass(frozen=True)
class Pair:
    """One complementarity ``0 <= multiplier  perp  slack >= 0`` with certified upper bounds.

    ``slack`` is a Pyomo expression that is affine in follower variables.
    """

    multiplier: VarData
    multiplier_bound: float
    slack: object
    slack_bound: float


@dataclass(frozen=True)
class Multipliers:
    """The follower's multipliers by name, keyed like the row or variable they belong to."""

    lam: dict[tuple[int, int], VarData]
    mu_flow: dict[tuple[int, int], tuple[VarData, VarData]]
    mu_pg: dict[tuple[int, int, int], tuple[VarData, VarData]]
    mu_shed: dict[tuple[int, int], VarData]
    mu_spill: dict[tuple[int, int], VarData]
    mu_ramp: dict[tuple[int, int], tuple[VarData, VarData]]


def check_provable(data: TransmissionData) -> None:
    """Raises InputError where no multiplier bound can be proven: a rating, ramp or block of zero."""
    limits = {
        "rate_a_mw": data.rate,
        "ramp_mw_per_h": tuple(data.ramp.values()),
        "p_max_mw": tuple(data.block_width.values()),
    }
    for field, values in limits.items():
        if min(values, default=1.0) <= 0:
            raise InputError(field, min(values), "more than 0, or no multiplier bound can be proven")


def derive_conditions(f: pyo.Block, boundary: list[pyo.Var]) -> Multipliers:
    """Apply ``core.kkt`` to the follower with the boundary power as given data.

    The complementarities that core.kkt states are removed: every one of them comes back as a
    :class:`Pair` from :func:`complementary_pairs`, for a mode to put into rows.
    """
    kkt = pyo.TransformationFactory("core.kkt")
    kkt.apply_to(f, parameterize_wrt=boundary)
    n_stated = len(f.kkt.complements)
    f.kkt.del_component("complements")
    f.kkt.del_component("lagrangean")

    def of(component: pyo.Component) -> dict:
        return {key: kkt.get_multiplier_from_object(f, component[key]) for key in component}

    ramp = f.find_component("ramp_limit")
    multipliers = Multipliers(
        lam=of(f.nodal_balance),
        mu_flow=of(f.flow_limit),
        mu_pg=of(f.pg),
        mu_shed={key: lo for key, (lo, _) in of(f.shed).items()},
        mu_spill={key: lo for key, (lo, _) in of(f.spill).items()},
        mu_ramp=of(ramp) if ramp is not None else {},
    )
    two_sided = len(multipliers.mu_flow) + len(multipliers.mu_pg) + len(multipliers.mu_ramp)
    n_named = 2 * two_sided + len(multipliers.mu_shed) + len(multipliers.mu_spill)
    if n_named != n_stated:
        raise AssertionError(f"core.kkt states {n_stated} complementarities, {n_named} are named here")
    return multipliers


def add_native_value(f: pyo.Block, data: TransmissionData, mult: Multipliers, hours: range) -> None:
    """The dual objective at native demand, ``sum lam pd - rate mu_flow - width mu_pg_up - ramp mu_ramp``.

    The dual objective at the load the follower serves is this plus ``sum lam P_boundary``.
    """

    @f.Expression(hours)
    def native_value(f, t):
        value = sum(mult.lam[i, t] * data.pd[i][t] for i in data.buses)
        value -= sum(rate * sum(mult.mu_flow[k, t]) for k, rate in enumerate(data.rate))
        value -= sum(width * mult.mu_pg[g, k, t][1] for (g, k), width in data.block_width.items())
        return value - sum(data.ramp[g] * sum(pair) for (g, s), pair in mult.mu_ramp.items() if s == t)


def box_follower(f: pyo.Block, data: TransmissionData, load: LoadBox, hours: range) -> None:
    """Finite boxes that every optimal dispatch satisfies; set after core.kkt, so that none is priced.

    Angles: the flow limits along the shortest path to the reference bus. Shedding: phi is at most the cost
    of shedding all load and spilling all surplus where they are. Spillage: what enters must leave.
    """
    row = {i: n for n, i in enumerate(data.buses)}
    reach = np.array([rate / b for rate, b in zip(data.rate, data.susceptance, strict=True)])
    ends = np.array([[row[i], row[j]] for i, j in data.lines]).reshape(-1, 2)
    shortest: dict[tuple[int, int], float] = {}
    for (i, j), width in zip(np.sort(ends, axis=1), reach, strict=True):
        shortest[i, j] = min(width, shortest.get((i, j), np.inf))
    pairs = np.array(list(shortest)).reshape(-1, 2)
    graph = coo_array((list(shortest.values()), (pairs[:, 0], pairs[:, 1])), shape=(len(row), len(row)))
    angle = dijkstra(graph.tocsr(), directed=False, indices=row[data.ref_bus])
    capacity = sum(data.block_width.values())
    high = [sum(max(load[i][t][1], 0.0) for i in data.buses) for t in hours]
    low = [sum(max(-load[i][t][0], 0.0) for i in data.buses) for t in hours]
    shed_cost = [data.voll * up + data.spill_cost * down for up, down in zip(high, low, strict=True)]
    for t in hours:
        # Ramps couple the hours: then only the cost of all hours together is bounded.
        shed = (sum(shed_cost) if data.ramp else shed_cost[t]) / data.voll
        spill = capacity + shed + low[t]
        for i in data.buses:
            f.shed[i, t].setub(shed)
            f.spill[i, t].setub(spill)
            if i != data.ref_bus:
                f.theta[i, t].setlb(-angle[row[i]])
                f.theta[i, t].setub(angle[row[i]])
    f.redundant_box.update({f.theta: BOTH, f.shed: UPPER, f.spill: UPPER})


def congestion_rent(data: TransmissionData, load: LoadBox, hours: range) -> dict[int, float]:
    """The most that ``sum rate mu_flow + ...`` can be at an optimal dual, per hour, in $."""
    rent = {
        t: sum(
            max(data.voll * max(high, 0.0), data.spill_cost * max(-low, 0.0))
            for low, high in (load[i][t] for i in data.buses)
        )
        for t in hours
    }
    return dict.fromkeys(hours, sum(rent.values())) if data.ramp else rent


def complementary_pairs(
    f: pyo.Block, data: TransmissionData, mult: Multipliers, load: LoadBox, hours: range
) -> list[Pair]:
    """Every complementarity of the follower with its certified bounds; boxes all multipliers too."""
    rent = congestion_rent(data, load, hours)
    pairs = []

    def pair(multiplier: VarData, bound: float, slack: object, slack_bound: float) -> None:
        multiplier.setub(bound)
        pairs.append(Pair(multiplier, bound, slack, slack_bound))

    f.redundant_box.update({f.kkt.gamma: BOTH, f.kkt.alpha: UPPER})
    for variable in mult.lam.values():
        variable.setlb(-data.spill_cost)
        variable.setub(data.voll)
    for (k, t), (lo, up) in mult.mu_flow.items():
        rate, flow = data.rate[k], f.flow_limit[k, t].body
        pair(lo, rent[t] / rate, flow + rate, 2 * rate)
        pair(up, rent[t] / rate, rate - flow, 2 * rate)
    for (g, k, t), (lo, up) in mult.mu_pg.items():
        cost, width = data.block_cost[g, k], data.block_width[g, k]
        ramping = rent[t] / data.ramp[g] if g in data.ramp else 0.0
        pair(lo, cost + data.spill_cost + ramping, f.pg[g, k, t], width)
        pair(up, data.voll - cost + ramping, width - f.pg[g, k, t], width)
    for (i, t), multiplier in mult.mu_shed.items():
        pair(multiplier, data.voll + data.spill_cost, f.shed[i, t], f.shed[i, t].ub)
    for (i, t), multiplier in mult.mu_spill.items():
        pair(multiplier, data.voll + data.spill_cost, f.spill[i, t], f.spill[i, t].ub)
    for (g, t), (lo, up) in mult.mu_ramp.items():
        ramp, change = data.ramp[g], f.ramp_limit[g, t].body
        pair(lo, rent[t] / ramp, change + ramp, 2 * ramp)
        pair(up, rent[t] / ramp, ramp - change, 2 * ramp)
    return pairs
