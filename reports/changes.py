"""Two results set against each other, run by run: what changed, and whether that is more than noise.

Runs of one order are pairs. Counts have no noise: any difference is a change. Of times, memory and nodes the
ratio is taken pair by pair, times in units of the reference workload that was timed beside each run; a change
is said where the mean of the ratios' logarithms differs from 0 by a t test, all tests together at 5 % (Holm
1979), and by more than what one machine's day differs from another's.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reports.draw import MUTED, Panel, Picture, colour, log_n_axis, log_ratio_axis, marker, marker_size
from reports.fits import MEASURES, PHASES
from reports.publish import Section, publish
from reports.rows import (
    COUNTS,
    FINISHED,
    GROUP,
    ReportError,
    Results,
    each,
    name_series,
    read_results,
    versions,
)
from reports.tables import Cell, Table, number, seconds, text, whole

FEWEST_PAIRS = 3
SIGNIFICANT = 0.05
# Smaller changes are not told from how a machine was that day: 5 % of a time, 2 % of a memory.
SMALLEST = {**dict.fromkeys(PHASES, 0.05), "peak_mb": 0.02, "nodes": 0.0}
SIDES = ("before", "after")
_RECIPE = "recipe"
_KEY = ["n_adns", "seed", *GROUP, "gap_target", _RECIPE]


@dataclass(frozen=True)
class Change:
    """One measure on one growth curve: the ratio after over before with its 95 % interval, from ``n`` pairs.

    ``verdict`` is what a reader may take from it; ``is_change`` whether that is more than noise.
    """

    series: str
    measure: str
    n: int
    ratio: float
    low: float
    high: float
    verdict: str
    is_change: bool

    @property
    def percent(self) -> str:
        return f"{100 * (self.ratio - 1):+.0f} % [{100 * (self.low - 1):+.0f}, {100 * (self.high - 1):+.0f}]"


@dataclass(frozen=True)
class Comparison:
    """The pairs of two results, fields ``<name>_before`` and ``<name>_after``, and what changed in them."""

    folders: tuple[str, str]
    pairs: pd.DataFrame
    alone: tuple[int, int]
    counts: pd.DataFrame
    statuses: pd.DataFrame
    changes: list[Change]
    notes: list[str]

    @property
    def sentences(self) -> list[str]:
        """The answer, most certain first."""
        told = [_counts_in_words(self.counts, len(self.pairs))]
        moved = [one for one in self.changes if one.is_change]
        told += [
            f"{MEASURES[one.measure].capitalize()} with {one.series}: {one.verdict}, {one.percent} over "
            f"{one.n} pairs."
            for one in moved
        ]
        quiet = sum(one.n >= FEWEST_PAIRS for one in self.changes) - len(moved)
        if quiet:
            told.append(f"{quiet} other comparisons of times, memory and nodes show no change beyond noise.")
        if len(self.statuses):
            told.append(f"{len(self.statuses)} of {len(self.pairs)} runs ended with another status.")
        return told


def compare_results(before: Results, after: Results) -> Comparison:
    """Pair the runs of two results and judge what changed. Raises ReportError where no run has a pair."""
    sides = [_last(side.rows) for side in (before, after)]
    pairs = sides[0].merge(sides[1], on=_KEY, suffixes=("_before", "_after"))
    if pairs.empty:
        raise ReportError(
            "results folder", str(after.folder), f"runs of the same order as in {before.folder}"
        )
    pairs = pairs.assign(series=name_series(pairs, (*GROUP, "gap_target")))
    alone = (len(sides[0]) - len(pairs), len(sides[1]) - len(pairs))
    statuses = pairs[pairs["status_before"] != pairs["status_after"]]
    folders = (str(before.folder), str(after.folder))
    changes = _judged(
        [
            _change(own, str(name), measure)
            for name, own in pairs.groupby("series", sort=False)
            for measure in SMALLEST
        ]
    )
    return Comparison(folders, pairs, alone, _counts(pairs), statuses, changes, _notes(before, after, alone))


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    """The last run of each order."""
    recipe = rows["options"].map(lambda options: str(sorted(options.items())))
    known = {name: rows[name].fillna(-1) for name in ("seed", "hours", "gap_target")}
    return rows.assign(**known, **{_RECIPE: recipe}).drop(columns="series").drop_duplicates(_KEY, keep="last")


def _counts(pairs: pd.DataFrame) -> pd.DataFrame:
    """One line per count, curve and size at which both sides have a count and differ."""
    parts = []
    for count in COUNTS:
        both = {side: pairs[f"{count}_{side}"] for side in SIDES}
        part = pairs[["series", "n_adns"]].assign(count=count, **both)
        parts.append(part[(part["before"] != part["after"]).fillna(False)])
    return pd.concat(parts).drop_duplicates(ignore_index=True)


def _counts_in_words(counts: pd.DataFrame, n_pairs: int) -> str:
    if counts.empty:
        return f"All counts are equal in {n_pairs} pairs of runs."
    parts = []
    for (count, series), own in counts.groupby(["count", "series"], sort=False):  # type: ignore[misc]
        more = own["after"] - own["before"]
        by_adn = (more / own["n_adns"]).unique()
        some = f"{by_adn[0]:+,.0f} an ADN" if len(by_adn) == 1 else f"{more.min():+,} to {more.max():+,}"
        parts.append(f"{COUNTS[str(count)]} {some} with {series}")
    return f"Counts changed, which is no noise: {'; '.join(parts)}."


def _ratios(pairs: pd.DataFrame, measure: str) -> pd.Series:
    """After over before of the pairs that ended on both sides; times by the reference workload if known."""
    ended = pairs["status_before"].isin(FINISHED) & pairs["status_after"].isin(FINISHED)
    old, new = pairs[f"{measure}_before"].astype(float), pairs[f"{measure}_after"].astype(float)
    if measure == "nodes":
        old, new = old + 1, new + 1
    ratios = new / old
    if measure in PHASES:
        speed = pairs["reference_s_before"] / pairs["reference_s_after"]
        ratios = ratios * (speed if speed.notna().all() else 1.0)
    return ratios.where(ended & (old > 0) & (new > 0)).dropna()


def _change(pairs: pd.DataFrame, series: str, measure: str) -> tuple[str, str, np.ndarray]:
    return series, measure, np.log(_ratios(pairs, measure).to_numpy(dtype=float))


def _judged(samples: list[tuple[str, str, np.ndarray]]) -> list[Change]:
    """A verdict for every sample of logarithms of ratios, all tests together."""
    tested = [
        place for place, (_, _, logs) in enumerate(samples) if len(logs) >= FEWEST_PAIRS and np.ptp(logs) > 0
    ]
    chances = [float(stats.ttest_1samp(samples[place][2], 0.0).pvalue) for place in tested]
    holds = dict(zip(tested, multipletests(chances, SIGNIFICANT, "holm")[0], strict=True)) if tested else {}
    found = []
    for place, (series, measure, logs) in enumerate(samples):
        if not len(logs):
            continue
        mean = float(logs.mean())
        reach = math.nan
        if len(logs) >= FEWEST_PAIRS:
            freedom = len(logs) - 1
            reach = float(stats.t.ppf(1 - SIGNIFICANT / 2, freedom) * stats.sem(logs))
        is_same_everywhere = len(logs) >= FEWEST_PAIRS and place not in holds
        certain = bool(holds.get(place, is_same_everywhere and mean != 0))
        is_change = certain and abs(math.expm1(mean)) > SMALLEST[measure]
        ends = (math.exp(mean - reach), math.exp(mean + reach)) if reach == reach else (math.nan, math.nan)
        words = (
            _words(is_change, certain, mean, measure)
            if len(logs) >= FEWEST_PAIRS
            else "too few pairs to tell"
        )
        found.append(Change(series, measure, len(logs), math.exp(mean), *ends, words, is_change))
    return found


def _words(is_change: bool, certain: bool, mean: float, measure: str) -> str:
    if is_change:
        up, down = ("slower", "faster") if measure in PHASES else ("more", "less")
        return up if mean > 0 else down
    if certain and mean != 0:
        return f"no more than a machine's day ({100 * SMALLEST[measure]:.0f} %)"
    return "no more than noise"


def _notes(before: Results, after: Results, alone: tuple[int, int]) -> list[str]:
    notes = [
        f"{name}: {note}" for name, side in zip(SIDES, (before, after), strict=True) for note in side.notes
    ]
    if any(alone):
        notes.append(f"Without a pair: {alone[0]} runs before, {alone[1]} after.")
    for name, values in _versions(before).items():
        other = _versions(after).get(name, "none")
        if other != values:
            notes.append(f"{name}: {values} before, {other} after.")
    if any(side.rows["reference_s"].isna().any() for side in (before, after)):
        notes.append(
            "Some runs have no time of the reference workload: their curves' times are compared as they are."
        )
    return notes


def _versions(side: Results) -> dict[str, str]:
    found = {name: ", ".join(values) for name, values in versions(side.rows).items()}
    for name in ("commit", "cpu"):
        found[name] = ", ".join(sorted(set(side.rows[name]) - {""})) or "not recorded"
    return found


def table(found: Comparison) -> Table:
    """Every measure of every curve."""
    lines = [
        [
            text(one.series),
            text(MEASURES[one.measure]),
            whole(one.n),
            number(one.ratio, "{:.3f}"),
            text(f"{one.low:.3f} to {one.high:.3f}" if one.low == one.low else None),
            Cell(one.verdict, alarm=one.is_change),
        ]
        for one in found.changes
    ]
    columns = ["curve", "measure", "pairs", "after over before", "95 % interval", "verdict"]
    return Table("Times (by the reference workload), memory and nodes: after over before", columns, lines)


def _sizes(found: Comparison) -> Table:
    lines = [
        [
            text(COUNTS[line.count]),
            text(line.series),
            whole(line.n_adns),
            whole(line.before),
            whole(line.after),
            whole(line.after - line.before),
        ]
        for line in each(found.counts)
    ]
    return Table("Counts that changed", ["count", "curve", "ADNs", *SIDES, "difference"], lines)


def _statuses(found: Comparison) -> Table:
    lines = [
        [
            whole(row["n_adns"]),
            text(row["series"]),
            whole(row["seed"]),
            text(row["status_before"]),
            text(row["status_after"]),
        ]
        for _, row in found.statuses.iterrows()
    ]
    return Table("Runs that ended otherwise", ["ADNs", "curve", "seed", *SIDES], lines)


def _by_size(found: Comparison) -> Table:
    lines = []
    for (series, n_adns), own in found.pairs.groupby(["series", "n_adns"], sort=False):  # type: ignore[misc]
        cells = [
            number(float(np.exp(np.log(_ratios(own, name)).mean())) if len(_ratios(own, name)) else None)
            for name in SMALLEST
        ]
        spent = [seconds(own[f"total_s_{side}"].median()) for side in SIDES]
        lines.append([whole(n_adns), text(series), whole(len(own)), *cells, *spent])
    columns = [
        "ADNs",
        "curve",
        "pairs",
        *(MEASURES[name] for name in SMALLEST),
        "total before (s)",
        "total after (s)",
    ]
    return Table("After over before by size, geometric means; totals as measured", columns, lines)


def _picture(found: Comparison) -> Picture | None:
    shown = [
        name
        for name in ("build_s", "compile_s", "solve_s", "certify_s", "total_s", "peak_mb")
        if len(_ratios(found.pairs, name))
    ]
    if not shown:
        return None
    return Picture(
        "changes",
        "Changes",
        "One mark is one pair of runs. On the line at 1 nothing changed; marks scattered about it are noise, "
        "marks that all lie on one side of it a change.",
        tuple(_panel(found, measure) for measure in shown),
    )


def _panel(found: Comparison, measure: str) -> Panel:
    series = list(dict.fromkeys(found.pairs["series"]))
    told = "; ".join(
        f"{one.series} {one.percent}, {one.verdict}" for one in found.changes if one.measure == measure
    )

    def draw(axes: Axes) -> None:
        for place, name in enumerate(series):
            own = found.pairs[found.pairs["series"] == name]
            ratios = _ratios(own, measure)
            sizes = own.loc[ratios.index, "n_adns"].to_numpy(dtype=float)
            axes.plot(
                sizes, ratios.to_numpy(), linestyle="", marker=marker(place), color=colour(place),
                markersize=marker_size(place), label=name, zorder=3,
            )  # fmt: skip
        axes.axhline(1.0, color=MUTED, linewidth=1.2)
        log_n_axis(axes, sorted(int(n) for n in found.pairs["n_adns"].unique()))
        log_ratio_axis(axes, "after over before (times)")

    return Panel(MEASURES[measure].capitalize(), f"ratio of each pair of runs against N; {told}.", draw)


HOW_TO_READ = (
    ("Pair", "The runs of one order, before and after: the same size, seed, options, method and gap target."),
    ("Counts", "Have no noise. Any difference is a change of the model."),
    (
        "More than noise",
        "The mean of the ratios' logarithms differs from 0 by a t test, all tests of this page together at 5 "
        "% (Holm), and by more than 5 % of a time or 2 % of a memory. Times are in units of the reference "
        "workload.",
    ),
)


def write_changes(before: Path, after: Path, output: Path) -> tuple[Path, Comparison]:
    """Write index.html, report.md and the figure; returns the path of index.html. Raises ReportError."""
    for folder in (before, after):
        if Path(output).resolve() == Path(folder).resolve():
            raise ReportError("output folder", str(output), "a folder other than the results folders")
    found = compare_results(read_results(before), read_results(after))
    return publish(lambda: _gather(found), {}, Path(output)), found


def _gather(found: Comparison) -> dict[str, Any]:
    said = found.sentences
    n_changes = sum(one.is_change for one in found.changes)
    changed = [*([] if found.counts.empty else said[:1]), *said[1 : 1 + n_changes]]
    headline = " ".join(changed[:3]) or "Nothing changed beyond noise."
    rest = [one for one in said if one not in changed[:3]]
    sections = [
        Section(
            "sizes",
            "Sizes",
            _counts_in_words(found.counts, len(found.pairs)),
            None,
            [_sizes(found)] if len(found.counts) else [],
        ),
        Section(
            "measures", "Times, memory and nodes", "Pair by pair.", None, [table(found), _by_size(found)]
        ),
    ]
    if len(found.statuses):
        sections.append(
            Section("statuses", "Statuses", "Runs whose status is another one.", None, [_statuses(found)])
        )
    return {
        "title": "Comparison of two results",
        "subtitle": f"{len(found.pairs)} pairs of runs; before: {found.folders[0]}, after: {found.folders[1]}"
        "",
        "headline": headline,
        "verdict": rest,
        "warnings": [],
        "notes": found.notes,
        "hero": _picture(found),
        "behind": [("changes by measure and size", "measures")],
        "how_to_read": HOW_TO_READ,
        "sections": sections,
        "downloads": [],
        "beside": [],
    }
