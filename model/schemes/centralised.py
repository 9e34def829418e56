"""Centralised coordination: one planner minimises the social cost of both grids.

Social cost is generation (with shedding and spillage) and battery wear; fees are transfers and count for
nothing, so that its optimum bounds the social cost of every other scheme. Not to be confused with the welfare
bound of ``dso-led``, which counts fees and bounds the leaders' cost alone.
"""

import time

from model.convex import Stopped, least
from model.decision import Decision, Progress
from model.metrics import Schedule
from model.outcome import Outcome
from model.schemes.coordination import Coordination
from model.solvers.books import keep_books


def decide(c: Coordination, gap: float, ended: float, progress: Progress) -> Decision:
    """Least social cost of power alone, its safe bound first; then the accounts of least fees beside it.

    Raises Stopped where a program has no solution or none in time.
    """
    social = c.generation + c.wear
    progress("social cost")
    planned = least(c.grids, social, ended)
    power = c.whole(c.grids, social, planned, gap / 2, ended).x
    progress("accounts")
    kept = keep_books(c.program, c.relaxed, c.fees, power, gap, ended)
    if kept is None:
        late = time.monotonic() >= ended
        raise Stopped("time_limit" if late else "error", "no accounts beside the planned power")
    progress("dispatch")
    x = c.answered(kept)
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
