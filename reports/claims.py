"""DSO-led or TSO-led? Three claims of the source, each confirmed, refuted or mixed by paired runs.

A study is a results folder of its own, ``study`` within the results: the same instances under several
schemes. Every difference is dso-led less tso-led on one instance; means over instances have 95 % intervals
(Student's t). A claim holds of a measure where the whole interval is on its side, and stays there when every
tso-led run is replaced by the schedule that costs the TSO the same and suits the claim least.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.compare import Interval, bars, cells, interval, measured, schemes_in
from reports.draw import INK, MUTED, Panel, Picture, colour
from reports.rows import read_results
from reports.tables import Cell, Table, number, percent, text, whole

LED, RIVAL = "dso-led", "tso-led"
FOLDER = "study"
CONFIRMED, REFUTED, MIXED = "confirmed", "refuted", "mixed"
# Fees of an instance change together and are one factor.
FEES = ("access_per_mwh", "network_per_mwh", "local_per_mwh", "wheeling_per_mwh", "wheeling_distance_per_mwh")


@dataclass(frozen=True)
class Measure:
    """A measure of a claim: the claim wants it larger (``sense`` 1) or smaller (-1) under DSO-led."""

    name: str
    words: str
    sense: int
    unit: str
    is_share: bool = False

    @property
    def scale(self) -> float:
        return 100.0 if self.is_share else 1.0


@dataclass(frozen=True)
class Claim:
    """A claim in words, and what it is measured by, the first measure first."""

    words: str
    measures: tuple[Measure, ...]


CLAIMS = (
    Claim(
        "DSO-led coordination uses batteries more efficiently",
        (
            Measure("arbitrage_per_mwh", "arbitrage value by throughput", 1, "$/MWh"),
            Measure("pv_shifted_share", "share of the sun shifted by batteries", 1, "%-points", True),
        ),
    ),
    Claim(
        "DSO-led coordination raises local self-consumption",
        (
            Measure("self_consumption", "self-consumption", 1, "%-points", True),
            Measure("self_sufficiency", "self-sufficiency", 1, "%-points", True),
        ),
    ),
    Claim(
        "DSO-led coordination lowers imports from the transmission network",
        (Measure("import_mwh", "imports", -1, "MWh"),),
    ),
)


@dataclass(frozen=True)
class Effect:
    """A measure under DSO-led less under TSO-led at one level of one factor.

    ``least``: the same against the schedules of equal generation cost that suit the claim least.
    """

    measure: Measure
    level: str
    led: float
    rival: float
    difference: Interval
    least: Interval

    @property
    def verdict(self) -> str:
        """Confirmed or refuted where both intervals say so; one instance alone proves nothing."""
        sides = {_side(self.difference, self.measure.sense), _side(self.least, self.measure.sense)}
        return sides.pop() if len(sides) == 1 else MIXED

    @property
    def relative(self) -> float:
        return self.difference.mean / abs(self.rival) if self.rival else math.nan


def _side(found: Interval, sense: int) -> str:
    if sense * found.low > 0 and sense * found.high > 0:
        return CONFIRMED
    return REFUTED if sense * found.low < 0 and sense * found.high < 0 else MIXED


@dataclass(frozen=True)
class Study:
    """The section: a paragraph a claim, figure, tables, and the rows as written."""

    text: str
    picture: Picture
    tables: list[Table]
    records: list[dict[str, Any]] = field(repr=False)


def study(results: Path) -> Study | None:
    """The study of a results folder; None where it holds none with both schemes.

    Raises ReportError for damaged rows.
    """
    folder = Path(results) / FOLDER
    if not (folder / "rows.jsonl").is_file():
        return None
    records = read_results(folder).records
    certified = [record for record in records if record["status"] == "certified"]
    found = measured(certified)
    if found.empty or not {LED, RIVAL} <= set(found["scheme"]):
        return None
    sizes = [{"N =": int(n)} for n in found["n_adns"]]
    found = found.assign(level=levels([own | n for own, n in zip(found["options"], sizes, strict=True)]))
    by_level = {str(level): own for level, own in found.groupby("level", sort=False)}
    known = effects(by_level)
    names = list(dict.fromkeys(one.level for one in known))
    if not names:
        return None
    base = names[0]
    at_base = by_level[base]
    n_seeds = int(at_base[at_base["scheme"] == LED]["instance"].nunique())
    about = f"{_count(n_seeds, 'instance')} of N = {at_base['n_adns'].iloc[0]}, default data"
    pictured = bars(at_base, about)
    picture = Picture(
        "claims",
        "DSO-led or TSO-led?",
        "First row: DSO-led less TSO-led, mean and 95 % interval by level of one factor at a time; thin grey "
        "lines against the schedules of equal generation cost that suit the claim least. Below: "
        + pictured.caption,
        (*(_forest(known, claim.measures[0]) for claim in CLAIMS), *pictured.panels),
    )
    left_out = len(records) - len(certified)
    basis = (
        f"Every difference is between two certified runs on the same instance, {about}; self-consumption, "
        "imports and battery use come from physical flows."
    )
    if left_out:
        basis += f" {left_out} of {len(records)} runs are not certified and were left out."
    paragraphs = [*(_verdict(claim, known, base) for claim in CLAIMS), basis]
    tables = [verdicts(known, base), flips(known, base), by_factor(known), cells(at_base)]
    tables += [one for one in [own_figures(at_base)] if one.lines]
    return Study("\n\n".join(paragraphs), picture, tables, records)


def levels(options: Sequence[dict[str, Any]]) -> list[str]:
    """The level of every run in words: in what its options differ from the most frequent ones."""
    recipes = [json.dumps(own, sort_keys=True) for own in options]
    base = json.loads(pd.Series(recipes).value_counts(sort=True).index[0])
    return [_level(base, own) for own in options]


def _level(base: dict[str, Any], own: dict[str, Any]) -> str:
    changed = [name for name in own if own[name] != base.get(name)]
    words = [f"{name.replace('_', ' ')} {own[name]}" for name in changed if name not in FEES]
    fees = [name for name in changed if name in FEES]
    ratios = {round(own[name] / base[name], 9) for name in fees if base.get(name)}
    if len(fees) == len(FEES) and len(ratios) == 1:
        words.append(f"fees times {ratios.pop():g}")
    else:
        words += [f"{name.replace('_', ' ')} {own[name]}" for name in fees]
    return ", ".join(words) or "default"


def effects(by_level: dict[str, pd.DataFrame]) -> list[Effect]:
    """All measures of all claims at every level with pairs, the default level first, then by name."""
    order = sorted(by_level, key=lambda level: (level != "default", level))
    found = []
    for level in order:
        own = by_level[level]
        led = own[own["scheme"] == LED].drop_duplicates("instance").set_index("instance")
        rival = own[own["scheme"] == RIVAL].drop_duplicates("instance").set_index("instance")
        pairs = led.index.intersection(rival.index)
        if not len(pairs):
            continue
        for measure in (measure for claim in CLAIMS for measure in claim.measures):
            a, b = led.loc[pairs, measure.name], rival.loc[pairs, measure.name]
            worst = [
                _worst(ranges, measure, value)
                for ranges, value in zip(rival.loc[pairs, "ranges"], b, strict=True)
            ]
            differences = (a - b).tolist()
            least = (a - np.array(worst)).tolist()
            means = float(a.mean()), float(b.mean())
            found.append(Effect(measure, level, *means, interval(differences), interval(least)))
    return found


def _worst(ranges: Any, measure: Measure, value: float) -> float:
    """The end of a run's range that suits the claim least; its own value where no range is known."""
    ends = (ranges or {}).get(measure.name) if isinstance(ranges, dict) else None
    known = [end for end in (*(ends or ()), value) if end is not None and math.isfinite(end)]
    return math.nan if not known else max(known) if measure.sense > 0 else min(known)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _verdict(claim: Claim, known: list[Effect], base: str) -> str:
    """The claim, its verdict, every effect at the default, and where that flips."""
    own = [one for one in known if one.measure in claim.measures and one.level == base]
    told = [
        f"{one.measure.words} {_signed(one.difference.mean * one.measure.scale)} {one.measure.unit}"
        f" ({_limits(one)}: {one.verdict})"
        for one in own
    ]
    flipped = [
        f"for {one.measure.words} at {', '.join(turned)}"
        for one in own
        if (turned := elsewhere(one, known, _turned(one.verdict)))
    ]
    n_others = len({one.level for one in known}) - 1
    ending = ""
    if flipped:
        ending = f" It flips {' and '.join(flipped)}."
    elif n_others and any(_turned(one.verdict) for one in own):
        ending = f" It flips at none of the {_count(n_others, 'other level')}."
    return f"{claim.words}: {judged(own)}. Measured: {'; '.join(told)}.{ending}"


def judged(own: list[Effect]) -> str:
    """The verdict on a claim: that of its measures where they agree."""
    verdicts_of = {one.verdict for one in own}
    return verdicts_of.pop() if len(verdicts_of) == 1 else MIXED


def _turned(verdict: str) -> str | None:
    """The opposite verdict; none of what is mixed."""
    return {CONFIRMED: REFUTED, REFUTED: CONFIRMED}.get(verdict)


def elsewhere(at_base: Effect, known: list[Effect], verdict: str | None) -> list[str]:
    """The other levels at which the same measure has a verdict."""
    return [
        one.level
        for one in known
        if one.measure == at_base.measure and one.level != at_base.level and one.verdict == verdict
    ]


def flips(known: list[Effect], base: str) -> Table:
    """For every measure, at which levels the finding of the default holds, flips or stays open."""
    lines = []
    for one in known:
        if one.level == base:
            places = (elsewhere(one, known, verdict) for verdict in (CONFIRMED, REFUTED, MIXED))
            lines.append(
                [text(one.measure.words), text(one.verdict), *(text(", ".join(own)) for own in places)]
            )
    columns = ["measure", "at the default", "confirmed at", "refuted at", "mixed at"]
    return Table("Where findings hold and where they flip", columns, lines)


def own_figures(found: pd.DataFrame) -> Table:
    """What schemes tell of themselves beside the measures: means over the instances."""
    lines = []
    for scheme in schemes_in(found):
        told = pd.DataFrame([own or {} for own in found.loc[found["scheme"] == scheme, "figures"]])
        for name in told.columns:
            if not name.startswith("gain_limit"):
                own = interval(told[name].tolist())
                values = (number(value, "{:,.3f}") for value in (own.mean, own.low, own.high))
                lines.append([text(scheme), text(name.replace("_", " ")), *values])
    columns = ["scheme", "figure ($, MWh, $/MWh or a count)", "mean", "from", "to"]
    return Table("Figures of single schemes at the default", columns, lines)


def _signed(value: float) -> str:
    return f"{value:+.3g}"


def _limits(one: Effect) -> str:
    if one.difference.n < 2:
        return f"{_count(one.difference.n, 'instance')}, no interval"
    low, high = (_signed(end * one.measure.scale) for end in (one.difference.low, one.difference.high))
    return f"95 % interval {low} to {high}, {one.difference.n} instances"


def verdicts(known: list[Effect], base: str) -> Table:
    """Every measure of every claim at the default."""
    lines = []
    for claim in CLAIMS:
        for one in known:
            if one.measure in claim.measures and one.level == base:
                lines.append([text(claim.words), *_cells(one)])
    columns = ["claim", "measure", "verdict", LED, RIVAL, *_COLUMNS]
    return Table("The claims at the default", columns, lines)


_COLUMNS = ["difference", "from", "to", "relative", "against the least suiting tie", "unit", "instances"]


def _cells(one: Effect) -> list[Cell]:
    scale = one.measure.scale
    numbers = (one.led, one.rival, one.difference.mean, one.difference.low, one.difference.high)
    return [
        text(one.measure.words),
        text(one.verdict),
        *(number(scale * value, "{:,.4g}") for value in numbers),
        percent(one.relative),
        number(scale * one.least.mean, "{:,.4g}"),
        text(one.measure.unit),
        whole(one.difference.n),
    ]


def by_factor(known: list[Effect]) -> Table:
    """Every measure at every level."""
    lines = [[text(one.level), *_cells(one)] for one in known]
    return Table("One factor at a time", ["level", "measure", "verdict", LED, RIVAL, *_COLUMNS], lines)


def _forest(known: list[Effect], measure: Measure) -> Panel:
    """Differences of one measure, one line a level."""
    own = [one for one in known if one.measure == measure]

    def draw(axes: Axes) -> None:
        for k, one in enumerate(reversed(own)):
            for found, shade, thick, lift in (
                (one.least, MUTED, 1.0, -0.18),
                (one.difference, colour(0), 2.0, 0.0),
            ):
                ends = np.array([found.low, found.high]) * measure.scale
                if np.isfinite(ends).all():
                    axes.plot(ends, [k + lift] * 2, color=shade, linewidth=thick)
            axes.plot([one.difference.mean * measure.scale], [k], "o", color=colour(0), markersize=5)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(own)), [one.level for one in reversed(own)], fontsize=7)
        axes.set_xlabel(f"{LED} less {RIVAL} ({measure.unit})")

    told = ", ".join(f"{one.level} {_signed(one.difference.mean * measure.scale)}" for one in own)
    return Panel(measure.words[0].upper() + measure.words[1:], f"{told} {measure.unit}.", draw)
