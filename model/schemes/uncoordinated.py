"""No coordination: no peer-to-peer trade, batteries behind the meter by rule, the TSO serves what comes.

The rule: a battery takes the surplus of its own bus and gives to the deficit of its own bus, as much and as
early as it can. What is left open, feeding in as the feeder's limits let, is settled by least energy from
above: the sun is curtailed only where a limit forces it. The do-nothing reference.
"""

from functools import partial

import numpy as np

from model.convex import least
from model.data import Feeder, Instance
from model.decision import Decision, Progress
from model.metrics import Schedule
from model.outcome import Outcome
from model.program import Array
from model.schemes.coordination import Coordination

TRADES = ("buy_in", "buy_out", "sell_in", "sell_out")


def decide(c: Coordination, gap: float, ended: float, progress: Progress) -> Decision:
    """The feeders' flows with every battery by rule and no trade, and the TSO's dispatch.

    Raises Stopped where a program has no solution or none in time.
    """
    progress("batteries by rule")
    charge, discharge, energy = by_rule(c.instance)
    fixed: dict[int, float] = {}
    for name, power in (("charge", charge), ("discharge", discharge), ("energy", energy)):
        columns = c.columns(name)
        fixed |= dict(zip(columns.ravel().tolist(), (power / c.instance.base_mva).ravel(), strict=True))
    for name in TRADES:
        fixed |= dict.fromkeys(c.columns(name).ravel().tolist(), 0.0)
    fixed |= dict.fromkeys(c.program.column("x").tolist(), 0.0)
    alone = c.dsos.with_fixed(fixed)
    progress("flows")
    fees = c.instance.fees
    # No fee is worth curtailing for: fees only tell the accounts.
    worth = 1.0 + 10.0 * (fees.access_per_mwh + fees.network_per_mwh)
    energy = c.cost(c.P_boundary, worth) + c.fees
    found = c.whole(alone, energy, least(alone, energy, ended), gap, ended)
    progress("dispatch")
    return Decision(
        c.problem,
        c.program,
        Outcome("solved", c.answered(found.x)),
        objective=found.value,
        recount=partial(cost, worth),
        proof=found,
        gap=found.gap,
    )


def cost(worth: float, schedule: Schedule) -> float:
    """Fees, and the energy from above at a price in $/MWh, in $."""
    paid = schedule.payments()
    energy = worth * sum(float(f.P_boundary.sum()) for f in schedule.feeders)
    return sum(paid.values()) - paid["energy"] - paid["wear"] + energy


def by_rule(instance: Instance) -> tuple[Array, Array, Array]:
    """Charge and discharge in MW and energy in MWh of every battery, ADN by ADN, (batteries, T)."""
    rows = [_by_rule(feeder, instance.hours) for feeder in instance.feeders]
    charge, discharge, energy = (np.concatenate(part) for part in zip(*rows, strict=True))
    return charge, discharge, energy


def _by_rule(feeder: Feeder, hours: int) -> tuple[Array, Array, Array]:
    charge, discharge, energy = np.zeros((3, len(feeder.bess), hours))
    loads = {bus.bus_i: np.array(bus.pd_mw) for bus in feeder.buses}
    for bus in {bess.bus for bess in feeder.bess}:
        surplus = sum((np.array(pv.available_mw) for pv in feeder.pv if pv.bus == bus), np.zeros(hours))
        surplus = surplus - loads[bus]
        for k, bess in enumerate(feeder.bess):
            if bess.bus != bus:
                continue
            # The day ends where it began: from empty, the level at midnight rises from day to day until it
            # repeats, at the latest when the battery is full or empty at some hour of the day.
            level, before = 0.0, -1.0
            while level > before:
                before = level
                for t in range(hours):
                    room = (bess.energy_mwh - level) / bess.efficiency_charge
                    charge[k, t] = max(min(surplus[t], bess.p_max_mw, room), 0.0)
                    discharge[k, t] = max(
                        min(-surplus[t], bess.p_max_mw, level * bess.efficiency_discharge), 0.0
                    )
                    level += bess.efficiency_charge * charge[k, t]
                    level -= discharge[k, t] / bess.efficiency_discharge
                    energy[k, t] = level = min(max(level, 0.0), bess.energy_mwh)
            surplus = surplus - charge[k] + discharge[k]
    return charge, discharge, energy
