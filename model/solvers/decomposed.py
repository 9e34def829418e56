"""The search over price regions with the hours apart and no program of all ADNs and hours, for many ADNs.

Bounds and points both come from the hours' programs (``hourly``, ``hour_points``), which go to the workers
of a dask cluster (``workers``).
"""

import time
from collections.abc import Callable

from model import by_hour
from model.data import InputError
from model.outcome import Outcome
from model.problem import Problem
from model.program import Program
from model.solvers import guided
from model.solvers.hourly import HourlySearch
from model.solvers.memory import give_back
from model.solvers.workers import connected


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """A point of the single-level program, and a bound proven by cuts on the hours and price regions.

    Raises InputError for a tariff or ramps: it needs hours with prices of their own. A single hour is left to
    the default method: there is nothing to take it apart from.
    """
    ended = time.monotonic() + time_limit_s
    if not problem.prices_by_hour:
        raise InputError("method", "decomposed", "settlement lmp and no ramps for this method; else auto")
    if not by_hour.applies(problem):
        from model.solvers import auto  # which needs this module

        return auto.solve(problem, program, gap, time_limit_s, progress)
    with connected(problem.instance.n_adns, progress) as connect:
        known = None
        if problem.instance.n_adns >= guided.MANY:
            known = guided.guide(problem, gap, ended, connect, progress)
            give_back()
        if known is None:
            search = HourlySearch(problem, program, progress)
        else:
            search = guided.Guided(problem, program, progress, known)
        search.join(connect, ended)
        progress("hours apart")
        first = search.idle()
        if first is None:
            return Outcome("error", message="no point with batteries at rest was found")
        outcome = search.solve(first, gap, ended)
    del search
    give_back()
    return outcome
