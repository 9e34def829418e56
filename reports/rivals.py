"""Methods compared on the same instances: time to the same gap, and effort in conic relaxations.

A race is one instance with one gap target and one time limit, run by several methods. The default method's
solve time is what the others are set against; one joint conic relaxation (the method ``relaxation``, a bound
alone) is the unit of effort.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.profiles import UNIT
from reports.rows import FINISHED, GROUP, each, name_series
from reports.study import DEFAULT
from reports.tables import Cell, Table, number, percent, seconds, text, whole

# Ended without the gap, for want of time, memory or progress; what failed otherwise has no time at all.
SHORT = ("time_limit", "gap_limit", "memory_limit")
_COURSE = [name for name in GROUP if name not in ("method", "mode")]
_TARGET = ["gap_target", "time_limit_s"]


@dataclass(frozen=True)
class Ratio:
    """How many times as long; ``sense`` is "more than " or "less than " where a limit ended one run."""

    value: float
    sense: str = ""

    @property
    def words(self) -> str:
        style = "{:,.0f}" if self.value >= 100 else "{:.3g}"
        return f"{self.sense}{style.format(self.value)}"


@dataclass(frozen=True)
class Standing:
    """One method at one size of one growth curve: its runs over the seeds, medians, and ratios if known.

    ``race``: ADNs, growth curve, gap target and time limit in s. ``slower``: its solve time over the
    default's; ``solve_effort`` and ``total_effort``: the solve, and build to certificate, over the solve
    of one conic relaxation.
    """

    race: tuple[int, str, float, float]
    method: str
    mode: str
    statuses: tuple[str, ...]
    message: str
    solve_s: float
    slower: Ratio | None
    solve_effort: Ratio | None
    total_effort: Ratio | None

    @property
    def where(self) -> str:
        """The size and the growth curve in words."""
        return f"N = {self.race[0]} ({self.race[1]})"

    @property
    def n_reached(self) -> int:
        return self.statuses.count("certified")

    @property
    def outcome(self) -> str:
        """The statuses, each once, with their numbers where there are several."""
        counts = {status: self.statuses.count(status) for status in dict.fromkeys(self.statuses)}
        if len(counts) == 1:
            return self.statuses[0]
        return ", ".join(f"{count} {status}" for status, count in counts.items())


def standings(rows: pd.DataFrame) -> list[Standing]:
    """Every method of every race, races of different seeds together; none where all rows have one method."""
    if rows["method"].nunique() < 2:
        return []
    rows = rows.assign(
        course=name_series(rows, _COURSE),
        recipe=rows["options"].map(lambda options: str(sorted(options.items()))),
    )
    rows = rows.sort_values(["n_adns", "course", "gap_target", "time_limit_s"], kind="stable")
    found = []
    for race, runs in rows.groupby(["n_adns", "course", *_TARGET], sort=False, dropna=False):
        places = runs.groupby(["method", "mode"], sort=False)
        if runs["method"].nunique() < 2:
            continue
        for (method, mode), own in sorted(places, key=lambda place: place[0][0] != DEFAULT):  # type: ignore[misc, index]
            ratios: tuple[list[Ratio | None], ...] = ([], [], [])
            for run in each(own):
                same = runs[(runs["seed"] == run.seed) & (runs["recipe"] == run.recipe)]
                default, unit = _last(same, DEFAULT), _last(same, UNIT)
                ratios[0].append(None if method in (DEFAULT, UNIT) else _slower(run, default))
                ratios[1].append(_effort(run, run.solve_s, unit))
                ratios[2].append(_effort(run, run.total_s, unit))
            about = (str(method), str(mode), tuple(own["status"]), own["message"].iloc[-1])
            medians = [_median(ratio) for ratio in ratios]
            found.append(Standing(race, *about, own["solve_s"].dropna().median(), *medians))  # type: ignore[arg-type]
    return found


def _last(race: pd.DataFrame, method: str) -> pd.Series | None:
    own = race[race["method"] == method]
    return None if own.empty else own.iloc[-1]


def _slower(run: Any, default: pd.Series | None) -> Ratio | None:
    """Time to the gap over the default's; at least the time limit's where the run did not get there."""
    if default is None or default["status"] != "certified" or not default["solve_s"] > 0:
        return None
    if run.status == "certified":
        return Ratio(run.solve_s / default["solve_s"])
    return Ratio(run.time_limit_s / default["solve_s"], "more than ") if run.status in SHORT else None


def _effort(run: Any, spent: float, unit: pd.Series | None) -> Ratio | None:
    """A time in conic relaxations; at most so many where the relaxation alone ran into its limit."""
    if unit is None or run.status not in (*FINISHED, "time_limit") or not spent > 0:
        return None
    if unit["status"] in FINISHED and unit["solve_s"] > 0:
        return Ratio(spent / unit["solve_s"], "" if run.status in FINISHED else "more than ")
    if unit["status"] == "time_limit" and run.status in FINISHED:
        return Ratio(spent / unit["time_limit_s"], "less than ")
    return None


def _median(ratios: list[Ratio | None]) -> Ratio | None:
    """Over the seeds; limits count as what they limit, and one of them makes the median such a limit."""
    known = [ratio for ratio in ratios if ratio is not None]
    senses = {ratio.sense for ratio in known if ratio.sense}
    if not known or len(senses) > 1:
        return None
    return Ratio(float(pd.Series([ratio.value for ratio in known]).median()), "".join(senses))


def table(found: list[Standing]) -> Table:
    """Every standing: whether the gap was reached, in which time, and how that compares."""
    columns = [
        *(
            "ADNs",
            "curve",
            "gap target",
            "time limit (s)",
            "method",
            "mode",
            "runs",
            "gap reached",
            "outcome",
        ),
        *("solve (s)", "times the default", "solve in relaxations", "total in relaxations", "message"),
    ]
    lines = [
        [
            whole(one.race[0]),
            text(one.race[1]),
            percent(one.race[2]),
            seconds(one.race[3]),
            text(one.method),
            text(one.mode),
            whole(len(one.statuses)),
            whole(one.n_reached),
            text(one.outcome),
            seconds(one.solve_s),
            *(_cell(ratio) for ratio in (one.slower, one.solve_effort, one.total_effort)),
            text(one.message),
        ]
        for one in found
    ]
    return Table("Methods on the same instances, medians over the seeds", columns, lines)


def _cell(ratio: Ratio | None) -> Cell:
    return number(math.nan) if ratio is None else Cell(ratio.words, ratio.value, True)


def sentences(found: list[Standing]) -> str:
    """Time to the gap of every rival at the largest size with one, and the effort at the largest size."""
    parts = []
    raced = [one for one in found if one.method not in (DEFAULT, UNIT)]
    judged = [one for one in raced if one.slower is not None]
    if judged:
        last = judged[-1]
        told = [
            f"{one.method} {one.slower.words if one.slower else f'no time ({one.outcome})'}"
            for one in raced
            if one.race == last.race
        ]
        parts.append(
            f"Time to a gap of {percent(last.race[2]).text} at {last.where}, in multiples of {DEFAULT}'s, "
            f"with a time limit of {seconds(last.race[3]).text} s: {', '.join(told)}."
        )
    for last in [one for one in found if one.method == DEFAULT][-1:]:
        if last.total_effort and last.solve_effort:
            parts.append(
                f"In units of one joint conic relaxation {DEFAULT} takes {last.total_effort.words} in total "
                f"({last.solve_effort.words} to solve) at {last.where}."
            )
    return " ".join(parts) or f"No method can be set against {DEFAULT} or the conic relaxation."
