"""All schemes on the same instances, one after the other in this process, what they share built once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from model.data import InputError, Instance

if TYPE_CHECKING:
    from model.certificate import Certificate


@dataclass(frozen=True)
class Comparison:
    """What the schemes came to.

    ``rows``: one an instance and scheme, with ``instance`` (its digest), ``scheme``, ``status``, ``gap``,
    ``bound``, ``seconds``, and ``measures``, ``ranges`` and ``figures`` as in a row of a sweep.
    ``schedules``, tables as of ``tso-dso solve``, and ``certificates`` are by instance and scheme, ``by_adn``
    the measures of every ADN. A scheme that found no point has neither schedule nor measures.
    """

    rows: list[dict[str, Any]]
    schedules: dict[str, dict[str, pd.DataFrame]]
    by_adn: pd.DataFrame
    certificates: "dict[str, dict[str, Certificate]]"


def compare(
    cases: Sequence[Instance],
    schemes: Sequence[str],
    gap: float,
    time_limit_s: float,
    tell: Callable[[str, str], None] = lambda scheme, doing: None,
) -> Comparison:
    """Every scheme on every instance to a relative gap, each within a time limit.

    ``tell`` is called with a scheme and what it does. Raises InputError for a name not registered and for an
    instance that is there twice.
    """
    from model.schemes import check_scheme

    for scheme in schemes:
        check_scheme(scheme)
    names = [case.digest() for case in cases]
    for name in names:
        if names.count(name) > 1:
            raise InputError("instance", name, "every instance once")
    found = [_on_one(case, schemes, gap, time_limit_s, tell) for case in cases]
    return Comparison(
        rows=[row for one in found for row in one.rows],
        schedules={name: own for one in found for name, own in one.schedules.items()},
        by_adn=pd.concat([one.by_adn for one in found]),
        certificates={name: own for one in found for name, own in one.certificates.items()},
    )


def _on_one(
    case: Instance,
    schemes: Sequence[str],
    gap: float,
    time_limit_s: float,
    tell: Callable[[str, str], None],
) -> Comparison:
    from model.measures import by_adn
    from model.metrics import table
    from model.schemes import run, share

    name, shared = case.digest(), share(case)
    rows, schedules, parts, certificates = [], {}, [], {}
    for scheme in schemes:
        started = time.perf_counter()
        result = run(case, scheme, gap, time_limit_s, lambda doing, own=scheme: tell(own, doing), shared)  # type: ignore[misc]
        certificate = result.certificate
        certificates[scheme] = certificate
        row: dict[str, Any] = {
            "instance": name,
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
            parts.append(own.reset_index().assign(scheme=scheme, instance=name))
        rows.append(row)
    adns = pd.concat(parts) if parts else pd.DataFrame()
    return Comparison(rows, {name: schedules}, adns, {name: certificates})
