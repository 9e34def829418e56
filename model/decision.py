"""What a coordination scheme returns: a point, what it claims of it, and what stands beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from model.certificate import Check
from model.convex import Least
from model.metrics import Schedule
from model.outcome import Outcome
from model.problem import Problem
from model.program import Array, Program

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Decision:
    """What a scheme made of an instance, before anybody checked it.

    ``outcome``: a point of ``problem`` (``program`` is its program) as of any method, without proof where the
    scheme is not that one program. Such a scheme says what cost it minimised last: ``objective`` in $,
    ``recount``, which adds the same up from a schedule, and ``proof``, whose bound holds for it, or just a
    ``bound`` that others have proven. ``gap``: the largest relative gap of its programs. ``checks``: its
    further claims. ``exchange``: the schedule that the ADNs had to keep to, (ADN, T) in MW, and
    ``imbalance_per_mwh`` what leaving it costs. ``figures``: named numbers of that scheme alone.
    ``alternatives``: points as good for whom the scheme lets decide first.
    """

    problem: Problem
    program: Program
    outcome: Outcome
    objective: float | None = None
    recount: Callable[[Schedule], float] | None = None
    proof: Least | None = None
    bound: float | None = None
    gap: float | None = None
    checks: tuple[Check, ...] = ()
    exchange: Array | None = None
    imbalance_per_mwh: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    alternatives: tuple[Array, ...] = ()
