"""All schemes on one instance, one after the other in this process, what they share built once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from model.data import Instance

if TYPE_CHECKING:
    from model.certificate import Certificate


@dataclass(frozen=True)
class Comparison:
    """What the schemes came to.

    ``rows``: one a scheme, with ``scheme``, ``status``, ``gap``, ``bound``, ``seconds``, and ``measures``,
    ``ranges`` and ``figures`` as in a row of a sweep. ``schedules`` are tables as of ``tso-dso solve``,
    ``by_adn`` the measures of every ADN. A scheme that found no point has neither schedule nor measures.
    """

    rows: list[dict[str, Any]]
    schedules: dict[str, pd.DataFrame]
    by_adn: pd.DataFrame
    certificates: "dict[str, Certificate]"


def compare(
    case: Instance,
    schemes: Sequence[str],
    gap: float,
    time_limit_s: float,
    tell: Callable[[str, str], None] = lambda scheme, doing: None,
) -> Comparison:
    """Every scheme on ``case`` to a relative gap, each within a time limit.

    ``tell`` is called with a scheme and what it does. Raises InputError for a name not registered.
    """
    from model.measures import by_adn
    from model.metrics import table
    from model.schemes import check_scheme, run, share

    for scheme in schemes:
        check_scheme(scheme)
    rows, schedules, parts, certificates = [], {}, [], {}
    shared = share(case)
    for scheme in schemes:
        started = time.perf_counter()
        result = run(case, scheme, gap, time_limit_s, lambda doing, own=scheme: tell(own, doing), shared)  # type: ignore[misc]
        certificate = result.certificate
        certificates[scheme] = certificate
        row: dict[str, Any] = {
            "instance": case.digest(),
            "seed": case.seed,
            "scheme": scheme,
            "status": certificate.status,
            "message": certificate.message,
            "gap": certificate.gap,
            "bound": certificate.bound,
            "follower_regret": certificate.follower_regret,
            "seconds": time.perf_counter() - started,
            "measures": {},
            "ranges": {},
            "figures": result.decision.figures,
        }
        if result.schedule is not None:
            row |= {"measures": result.measures(), "ranges": result.ranges()}
            schedules[scheme] = table(result.schedule)
            decision = result.decision
            own = by_adn(result.schedule, decision.exchange, decision.imbalance_per_mwh)
            parts.append(own.reset_index().assign(scheme=scheme))
        rows.append(row)
    return Comparison(rows, schedules, pd.concat(parts) if parts else pd.DataFrame(), certificates)
