"""TSO-led, top-down coordination: the TSO fixes the exchange at every boundary, the DSOs follow.

The TSO minimises generation cost over its dispatch and the exchange schedule, subject to what every feeder
can follow: the conic relaxation with the DSOs' binaries relaxed, as the conventional scheme needs it. Its
optimum is not unique (merit order is flat, wear is not its own), so ties go to the DSOs' cost, then to the
least losses, which keep the cones tight. At that schedule the DSOs minimise the sum of their costs, trades
included, first relaxed, then with their binaries restored within an imbalance band.

What the DSOs decide does not enter the TSO's cost, and whatever the TSO may choose they can follow. So the
leader's problem needs no optimality conditions of its followers, and convex programs in sequence are exact.
"""

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np

from model.certificate import FEASIBILITY, MONEY, Check
from model.convex import HELD, Least, Stopped, least, tied
from model.decision import Decision, Progress
from model.metrics import Schedule
from model.outcome import Outcome
from model.program import Array, Program
from model.schemes.coordination import Coordination
from model.schemes.price_taking import cost_at
from model.solvers.books import keep_books
from model.solvers.follower import SOUND

# An ADN may leave its schedule by this part of its peak load, at this price beside the energy's: dearer than
# any energy of the default instances (30 to 45 $/MWh), far cheaper than lost load (1,000).
BAND = 0.05
IMBALANCE_PER_MWH = 50.0
# What a dollar of generation cost is first priced at where ties are broken, in $ and in MWh: of the order
# that holds it on the default instances (40 $ of fees and wear, 2 to 10 MWh).
PRICE, PRICE_MWH = 40.0, 5.0
# A schedule of least losses leaves the cones no interior, which an interior-point method needs: so much is as
# good as kept, p.u. The certificate lets the same pass.
ROOM = 1e-6


def decide(c: Coordination, gap: float, ended: float, progress: Progress) -> Decision:
    """The TSO's schedule, the DSOs' answer with whole binaries, the TSO's dispatch of that.

    ``alternatives``: where time is left, other schedules of the same generation cost with the DSOs' relaxed
    answers, pushed to both ends of battery use, exchange and sun used. Raises Stopped where a program has no
    solution or none in time.
    """
    progress("generation cost")
    first = least(c.grids, c.generation, ended)
    progress("ties: the DSOs' cost, then losses")
    own = c.fees + c.wear
    if c.instance.settlement == "tariff":
        own = own + c.cost(c.P_boundary, np.array(c.instance.tariff_per_mwh)[None, :])

    def sound(x: Array) -> Array:
        return c.booked(c.flowing(x), own, ended)

    start = sound(first.x)
    # All the losses together weigh as much as the DSOs' cost may rise.
    lost = float(c.losses @ start)
    weight = HELD * max(abs(float(own @ start)), 1.0) / lost if lost > 0 else 0.0
    tie = own + weight * c.losses
    second = tied(c.relaxed, tie, first, start, PRICE, ended, sound, gap=gap, around=True)
    # The DSOs' relaxed answer to its own schedule: the bound holds for every schedule of the face, this too.
    planned = second.x
    exchange = planned[c.P_boundary]
    prices = c.settled_prices(planned)
    progress("binaries restored")
    peak = [np.sum([bus.pd_mw for bus in feeder.buses], axis=0).max() for feeder in c.instance.feeders]
    band = BAND * np.array(peak)[:, None] / c.instance.base_mva
    banded = c.scheduled(exchange, band)
    priced = c.fees + c.wear + c.cost(c.P_boundary, prices)
    scheduled_cost = float(priced @ planned)
    for columns in (c.imbalance_up, c.imbalance_down):
        priced = priced + c.cost(columns, IMBALANCE_PER_MWH)
    relaxed, found = _followed(c, banded, priced, planned, gap, ended)
    x = c.answered(found.x)
    imbalance = x[c.imbalance_up] + x[c.imbalance_down]
    exchange_mw = exchange * c.instance.base_mva
    others = alternatives(c, first, start, ended, progress)
    return Decision(
        c.problem,
        c.program,
        Outcome("solved", x),
        objective=float(priced @ x),
        recount=partial(cost, prices, exchange_mw),
        proof=found,
        gap=max(found.gap, first.gap, second.gap),
        checks=(
            Check("generation cost is least", first.gap, gap),
            Check("generation cost held", _beyond(planned, first), HELD),
            Check("the DSOs' cost is least", second.gap, gap),
        ),
        exchange=exchange_mw,
        imbalance_per_mwh=IMBALANCE_PER_MWH,
        figures={
            "scheduled_generation_cost": first.value,
            "restoring_costs_dsos": found.value - scheduled_cost,
            "band_saves_dsos": scheduled_cost - relaxed.value,
            "leaving_costs_tso": float(c.generation @ (x - planned)),
            "imbalance_mwh": c.instance.base_mva * float(imbalance.sum()),
            "alternatives": float(len(others)),
        },
        alternatives=others,
    )


def cost(prices: Array, exchange_mw: Array, schedule: Schedule) -> float:
    """The DSOs' cost at the schedule's prices in $/MWh, and what leaving the schedule costs them, in $."""
    left = sum(np.abs(f.P_boundary - own).sum() for f, own in zip(schedule.feeders, exchange_mw, strict=True))
    return cost_at(prices, schedule) + IMBALANCE_PER_MWH * float(left)


def _followed(
    c: Coordination, banded: Program, cost: Array, planned: Array, gap: float, ended: float
) -> tuple[Least, Least]:
    """The relaxed least within the band, and a point with whole binaries that has its bound.

    ``planned`` is the point that made the schedule. Raises Stopped.
    """
    exchange = planned[c.P_boundary]
    # The schedule as planned, which nobody leaves, is seldom far from the best: then a bound will do, which
    # is had many times sooner than a point. What is forgone is in the gap.
    relaxed = least(banded, cost, ended, exact=False)
    books = keep_books(c.program, banded, cost, planned, gap / 2, ended)
    if books is not None:
        kept = _netted(c, replace(relaxed, x=books, value=float(cost @ books)), exchange)
        if _astray(kept) <= 1 and kept.gap <= gap:
            return relaxed, kept
    relaxed = least(banded, cost, ended)
    found = _netted(c, c.whole(banded, cost, relaxed, gap, ended), exchange)
    if _astray(found) > 1:
        # The price of imbalance has its kink where the schedule has no interior, and a solver may end beside
        # it, or miss rows by as much as leaving is worth. Then it is begun from the schedule as planned.
        start = replace(relaxed, x=planned, value=float(cost @ planned))
        kept = _netted(c, c.whole(banded, cost, start, np.inf, ended), exchange)
        found = min(found, kept, key=_astray)
    return relaxed, found


def _netted(c: Coordination, found: Least, exchange: Array) -> Least:
    """The same with what leaves the schedule, up or down: an interior-point method has a little of both."""
    x = found.x.copy()
    x[c.imbalance_up] = np.maximum(x[c.P_boundary] - exchange, 0.0)
    x[c.imbalance_down] = np.maximum(exchange - x[c.P_boundary], 0.0)
    return replace(found, x=x, value=float(found.program.c @ x))


def _astray(found: Least) -> float:
    """More than 1 where a point misses its program by more than is sound, or costs less than its bound."""
    return max(found.program.violation(found.x) / SOUND, -found.gap / MONEY)


def follow(c: Coordination, exchange: Array, ended: float, *, exact: bool = True) -> Least:
    """The DSOs' relaxed answer to an exchange schedule, (ADN, T) in p.u.: least fees and wear.

    Energy costs them the same whatever they do: the schedule is given, and at ``lmp`` so are its prices.
    """
    return least(c.scheduled(exchange, np.array([[ROOM]])), c.fees + c.wear, ended, exact=exact)


def alternatives(
    c: Coordination, first: Least, start: Array, ended: float, progress: Progress
) -> tuple[Array, ...]:
    """The DSOs' answers to schedules at the ends of the TSO's optimal face, as many as time allows.

    ``start`` is a point of the face.
    """
    base_mva = c.instance.base_mva
    exchange, throughput, sun = np.zeros((3, len(c.program.c)))
    exchange[c.P_boundary] = np.sign(start[c.P_boundary]) * base_mva
    throughput[np.concatenate([c.columns("charge"), c.columns("discharge")])] = base_mva
    sun[c.columns("pv_p")] = base_mva
    found: list[Array] = []
    for name, direction in (("battery use", throughput), ("exchange", exchange), ("sun", sun)):
        for sense in (1.0, -1.0):
            if time.monotonic() >= ended:
                return tuple(found)
            progress(f"other schedules: {'least' if sense > 0 else 'most'} {name}")
            with suppress(Stopped):  # what is found is still true
                end = tied(c.grids, sense * direction, first, start, PRICE_MWH, ended, c.flowing)
                answer = c.flowing(follow(c, end.x[c.P_boundary], ended, exact=False).x)
                answer = c.booked(answer, c.fees, ended)
                if c.relaxed.violation(answer) <= FEASIBILITY:  # else the solver ended far from a point
                    found.append(answer)
    return tuple(found)


def _beyond(x: Array, first: Least) -> float:
    """By how much the cost at x exceeds its least, relative to that."""
    return (first.program.objective(x) - first.value) / max(abs(first.value), 1.0)
