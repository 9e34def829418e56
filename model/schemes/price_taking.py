"""Price-taking top-down coordination: the TSO announces prices, the DSOs answer them, the TSO clears again.

The TSO clears on forecast net load, demand less sun, without losses and batteries. The DSOs take the prices
of that as given and minimise the sum of their costs, trades included. Nobody foresees what the answers do to
the prices, at which energy is settled. Under settlement ``tariff`` the DSOs answer the tariff.
"""

from functools import partial

import numpy as np

from model.convex import least
from model.data import Instance
from model.decision import Decision, Progress
from model.metrics import Schedule
from model.outcome import Outcome
from model.per_unit import feeder_data
from model.program import Array
from model.schemes.coordination import Coordination


def decide(c: Coordination, gap: float, ended: float, progress: Progress) -> Decision:
    """The DSOs' answer to announced prices and the TSO's dispatch of it.

    Raises Stopped where a program has no solution or none in time.
    """
    progress("announced prices")
    announced = announced_prices(c)
    progress("the DSOs' answer")
    cost = c.fees + c.wear + c.cost(c.P_boundary, announced)
    relaxed = least(c.dsos, cost, ended)
    found = c.whole(c.dsos, cost, relaxed, gap, ended)
    progress("dispatch")
    x = c.answered(found.x)
    settled = c.settled_prices(x)
    power_mw = c.instance.base_mva * x[c.P_boundary]
    return Decision(
        c.problem,
        c.program,
        Outcome("solved", x),
        objective=found.value,
        recount=partial(cost_at, announced),
        proof=found,
        gap=found.gap,
        figures={
            "announced_payment": float((announced * power_mw).sum()),
            "settled_payment": float((settled * power_mw).sum()),
            "largest_price_error_per_mwh": float(np.abs(settled - announced).max()),
        },
    )


def cost_at(prices: Array, schedule: Schedule) -> float:
    """The DSOs' fees, wear and energy at given prices in $/MWh, (ADN, T), in $."""
    power = np.array([f.P_boundary for f in schedule.feeders])
    paid = schedule.payments()
    return sum(paid.values()) - paid["energy"] + float((prices * power).sum())


def announced_prices(c: Coordination) -> Array:
    """$/MWh at the ADNs' host buses, (ADN, T): the tariff, or the TSO's on forecast net load."""
    forecast = np.zeros(len(c.program.c))
    forecast[c.P_boundary] = forecast_net_load(c.instance)
    return c.settled_prices(c.answered(forecast))


def forecast_net_load(instance: Instance) -> Array:
    """Demand less what the sun offers, within what the root can take, p.u., (ADN, T)."""
    net = []
    for feeder in instance.feeders:
        data = feeder_data(feeder, instance.base_mva)
        load = np.sum(list(data.pd.values()), axis=0)
        sun = np.sum(data.pv_available, axis=0) if data.pv_available else np.zeros(instance.hours)
        net.append(np.clip(load - sun, *np.array(data.boundary_box).T))
    return np.array(net)
