"""Centralised coordination: one planner minimises the social cost of both grids.

Social cost is generation (with shedding and spillage) and battery wear; fees are transfers and count for
nothing, so that its optimum bounds the social cost of every other scheme. Not to be confused with the welfare
bound of ``dso-led``, which counts fees and bounds the leaders' cost alone.
"""

from model.convex import least
from model.decision import Decision, Progress
from model.metrics import Schedule
from model.outcome import Outcome
from model.schemes.coordination import Coordination

# Peers' accounts leave the social cost as it is. A fee counts for this part of itself, so that no account
# runs in circles by more than an interior-point method can see; the gap says what that costs.
TIE = 1e-2


def decide(c: Coordination, gap: float, ended: float, progress: Progress) -> Decision:
    """Least social cost, its safe bound first, then a point with whole binaries and few fees.

    Raises Stopped where a program has no solution or none in time.
    """
    social = c.generation + c.wear
    progress("social cost")
    planned = least(c.relaxed, social, ended)
    progress("accounts")
    tied = social + TIE * c.fees
    relaxed = least(c.relaxed, tied, ended)
    found = c.whole(c.relaxed, tied, relaxed, gap / 2, ended)
    progress("dispatch")
    x = c.answered(found.x)
    value = float(social @ x)
    return Decision(
        c.problem,
        c.program,
        Outcome("solved", x),
        objective=value,
        recount=Schedule.social_cost,
        proof=planned,
        gap=(value - planned.bound) / max(abs(value), 1.0),
    )
