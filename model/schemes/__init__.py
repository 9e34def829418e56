"""Coordination schemes, one a file; each reads like the paper.

A scheme is a module with ``decide(coordination, gap, ended, progress) -> Decision``: from what all schemes
share (:mod:`model.schemes.coordination`) to a point and what is claimed of it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pyomo.common.gc_manager import PauseGC

from model.certificate import Certificate
from model.complementarity import MODES
from model.convex import Stopped
from model.data import InputError, Instance
from model.decision import Decision, Progress
from model.decision_check import certify_decision
from model.measures import measures
from model.metrics import Schedule, extract
from model.outcome import Outcome
from model.problem import Problem
from model.schemes import centralised, coordination, dso_led, nash, price_taking, tso_led, uncoordinated
from model.schemes.coordination import Coordination

SCHEMES = {
    "dso-led": dso_led,
    "tso-led": tso_led,
    "price-taking": price_taking,
    "centralised": centralised,
    "uncoordinated": uncoordinated,
    "nash": nash,
}


def check_scheme(scheme: str) -> None:
    """Raises InputError for a name not registered."""
    if scheme not in SCHEMES:
        raise InputError("scheme", scheme, ", ".join(SCHEMES))


def build(instance: Instance, scheme: str = "dso-led", mode: str = "big_m", stamped: bool = False) -> Problem:
    """The problem of a scheme that is one program; raises InputError for a name not registered.

    ``stamped``: the ADNs are stated as a pattern for :func:`model.stamping.compile_problem`, which is many
    times faster; else the Pyomo model is whole.
    """
    check_scheme(scheme)
    if scheme != "dso-led":
        raise InputError("scheme", scheme, "dso-led, the one scheme that is a single program")
    if mode not in MODES:
        raise InputError("mode", mode, ", ".join(MODES))
    # A model is millions of live objects and no garbage: collecting while building only costs time.
    with PauseGC():
        return dso_led.build(instance, mode, stamped)


@dataclass(frozen=True, eq=False)
class Result:
    """A scheme's decision on an instance, checked. ``schedule`` is None where there is no point."""

    scheme: str
    decision: Decision
    certificate: Certificate
    schedule: Schedule | None

    def measures(self) -> dict[str, float]:
        """Of the schedule, see :mod:`model.measures`. Raises ValueError where there is none."""
        if self.schedule is None:
            raise ValueError("a result without a schedule has no measures")
        return measures(self.schedule, self.decision.exchange, self.decision.imbalance_per_mwh)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Least and most of every measure over the schedule and its alternatives; nothing without those."""
        others = [measures(schedule) for schedule in self.alternatives()]
        if not others:
            return {}
        own = self.measures()
        return {
            name: (min(m[name] for m in (own, *others)), max(m[name] for m in (own, *others))) for name in own
        }

    def alternatives(self) -> list[Schedule]:
        """Schedules as good for whom the scheme lets decide first, beside the one it took."""
        decision = self.decision
        return [extract(decision.problem, decision.program, x) for x in decision.alternatives]


def share(instance: Instance) -> Coordination:
    """What all schemes on an instance share; raises InputError where no multiplier bound can be proven."""
    return coordination.compiled(coordination.build(instance))


def decide(
    shared: Coordination,
    scheme: str,
    gap: float = 1e-3,
    time_limit_s: float = 600.0,
    progress: Callable[[str], None] | None = None,
) -> Decision:
    """A scheme's decision to a relative gap within a time limit; one without a point where it stopped.

    Raises InputError for a name not registered.
    """
    check_scheme(scheme)
    ended = time.monotonic() + time_limit_s
    tell: Progress = progress or (lambda message: None)
    try:
        return SCHEMES[scheme].decide(shared, gap, ended, tell)
    except Stopped as stop:
        return Decision(shared.problem, shared.program, Outcome(stop.status, message=stop.message))


def checked(scheme: str, decision: Decision, gap: float = 1e-3) -> Result:
    """A decision with its certificate and its schedule."""
    certificate = certify_decision(decision, gap)
    x = decision.outcome.x
    schedule = None if x is None else extract(decision.problem, decision.program, x)
    return Result(scheme, decision, certificate, schedule)


def run(
    instance: Instance,
    scheme: str,
    gap: float = 1e-3,
    time_limit_s: float = 600.0,
    progress: Callable[[str], None] | None = None,
    shared: Coordination | None = None,
) -> Result:
    """One scheme on an instance; ``shared`` saves building what all schemes on it share once more."""
    shared = share(instance) if shared is None else shared
    return checked(scheme, decide(shared, scheme, gap, time_limit_s, progress), gap)
