"""Schemes side by side: what they cost and do on the same instances, as a table and as figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from reports.draw import INK, Panel, Picture, colour, marker
from reports.rows import each
from reports.tables import Table, number, percent, seconds, text

# In the order of tables and figures.
ORDER = ("dso-led", "tso-led", "price-taking", "centralised", "uncoordinated", "nash")
# What is shown of all measures: name, words, unit, format; shares are printed as percent.
SHOWN = (
    ("battery_cycles", "equivalent full cycles", "", "{:.3f}"),
    ("pv_shifted_share", "sun shifted by batteries", "%", ""),
    ("arbitrage_per_mwh", "arbitrage value by throughput", "$/MWh", "{:.2f}"),
    ("self_consumption", "self-consumption", "%", ""),
    ("self_sufficiency", "self-sufficiency", "%", ""),
    ("import_mwh", "imports", "MWh", "{:,.2f}"),
    ("export_mwh", "exports", "MWh", "{:,.2f}"),
    ("import_peak_mw", "peak of the boundary", "MW", "{:.3f}"),
    ("p2p_within_mwh", "traded within ADNs", "MWh", "{:,.2f}"),
    ("p2p_across_mwh", "traded across ADNs", "MWh", "{:,.2f}"),
    ("losses_mwh", "losses in the feeders", "MWh", "{:.3f}"),
    ("curtailed_mwh", "sun curtailed", "MWh", "{:.3f}"),
    ("v_min_pu", "lowest voltage", "p.u.", "{:.4f}"),
    ("v_max_pu", "highest voltage", "p.u.", "{:.4f}"),
    ("dso_cost", "the DSOs' cost", "$", "{:,.2f}"),
    ("generation_cost", "generation cost", "$", "{:,.2f}"),
    ("fees", "fees", "$", "{:,.2f}"),
    ("wear", "battery wear", "$", "{:,.2f}"),
    ("congestion_rent", "congestion rent", "$", "{:,.2f}"),
    ("social_cost", "social cost", "$", "{:,.2f}"),
    ("above_centralised", "social cost above centralised", "$", "{:,.2f}"),
    ("price", "price of anarchy or hierarchy: the same, relative", "%", ""),
    ("costs_follower", "generation cost above the TSO's least", "$", "{:,.2f}"),
    ("follower_regret", "follower's regret", "$", "{:.1g}"),
)
BARS = (
    "arbitrage_per_mwh battery_cycles pv_shifted_share self_consumption import_mwh above_centralised".split()
)
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval (Student's t; NaN limits for one value alone)."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean of independent values and its 95 % interval; NaN where there is no value."""
    known = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=float)
    if not len(known):
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(known.mean())
    if len(known) == 1:
        return Interval(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(known) - 1) * stats.sem(known))
    return Interval(mean, mean - half, mean + half, len(known))


def measured(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One line a run that has measures: its measures beside what identifies it, and what relates schemes.

    ``above_centralised``: social cost, $, above the bound proven for ``centralised`` on the same instance,
    and ``price`` the same by that bound: of anarchy for ``nash``, of hierarchy where somebody leads.
    ``costs_follower``: generation cost above the least that ``tso-led`` found: what the leaders' moves cost
    the follower. Missing where the other scheme has no result on that instance.
    """
    lines = [dict(row) | dict(row.get("measures") or {}) for row in rows if row.get("measures")]
    found = pd.DataFrame(lines)
    if found.empty:
        return found
    for name in dict.fromkeys(name for name, *_ in SHOWN if name not in RELATED):
        found[name] = pd.to_numeric(found[name]) if name in found else math.nan
    central = found[found["scheme"] == "centralised"].drop_duplicates("instance").set_index("instance")
    bound = found["instance"].map(pd.to_numeric(central["bound"])) if len(central) else math.nan
    found["above_centralised"] = found["social_cost"] - bound
    found["price"] = found["above_centralised"] / bound
    led = found[found["scheme"] == "tso-led"].drop_duplicates("instance").set_index("instance")
    scheduled = led["figures"].map(lambda figures: (figures or {}).get("scheduled_generation_cost"))
    found["costs_follower"] = found["generation_cost"] - found["instance"].map(scheduled).astype(float)
    return found


RELATED = ("above_centralised", "price", "costs_follower")


def schemes_in(found: pd.DataFrame) -> list[str]:
    """The schemes of some runs in the order in which they are shown, unknown ones last."""
    names = list(dict.fromkeys(found["scheme"]))
    return [name for name in ORDER if name in names] + [name for name in names if name not in ORDER]


def cells(found: pd.DataFrame) -> Table:
    """Every measure shown, one column a scheme: means over the runs."""
    schemes = schemes_in(found)
    lines = []
    for name, words, unit, style in SHOWN:
        means = [interval(found.loc[found["scheme"] == scheme, name].tolist()).mean for scheme in schemes]
        values = [percent(mean) if unit == "%" else number(mean, style) for mean in means]
        shown_unit = f" ({unit})" if unit not in ("", "%") else ""
        lines.append([text(words + shown_unit), *values])
    runs = int(found.groupby("scheme").size().max())
    title = "All schemes" if runs == 1 else f"All schemes, means over up to {runs} instances"
    return Table(title, ["measure", *schemes], lines)


def endings(rows: Sequence[Mapping[str, Any]]) -> Table:
    """How every scheme ended: certificate, gap and time."""
    lines = [
        [
            text(row["instance"]),
            text(row["scheme"]),
            text(row["status"]),
            percent(math.nan if row["gap"] is None else row["gap"]),
            seconds(row["seconds"]),
            text(row["message"]),
        ]
        for row in rows
    ]
    return Table("How the schemes ended", ["instance", "scheme", "status", "gap", "s", "message"], lines)


def write_comparison(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    schedules: Mapping[str, Mapping[str, pd.DataFrame]],
    by_adn: pd.DataFrame,
    about: str,
) -> list[Table]:
    """Write measures.csv, ranges.csv, adns.csv, schedule-*.csv and two figures of some instances' schemes.

    ``schedules`` are by instance and scheme; the first instance that has any is the one whose day is drawn.
    Of several, the names of their files tell the instance too. Returns the tables to print: how the schemes
    ended and, where any has a schedule, the measures.
    """
    found = measured(rows)
    for instance, own in schedules.items():
        for scheme, schedule in own.items():
            name = scheme if len(schedules) == 1 else f"{scheme}-{instance}"
            schedule.to_csv(folder / f"schedule-{name}.csv", index=False)
    if found.empty:
        return [endings(rows)]
    shown = ["instance", "seed", "scheme", "status", "gap", "seconds", *(name for name, *_ in SHOWN)]
    found[shown].to_csv(folder / "measures.csv", index=False)
    by_adn.to_csv(folder / "adns.csv", index=False)
    ranges = [
        {"instance": row["instance"], "scheme": row["scheme"], "measure": name, "least": low, "most": high}
        for row in rows
        for name, (low, high) in row["ranges"].items()
    ]
    columns = ["instance", "scheme", "measure", "least", "most"]
    pd.DataFrame(ranges, columns=columns).to_csv(folder / "ranges.csv", index=False)
    day = next(own for own in schedules.values() if own)
    for picture in (profiles(day, about), bars(found, about)):
        picture.write_png(folder / f"{picture.name}.png")
    return [endings(rows), cells(found)]


def profiles(schedules: Mapping[str, pd.DataFrame], about: str) -> Picture:
    """A day of every scheme on one instance: boundary power, battery energy, trade and prices."""
    panels = (
        ("p_boundary_mw", "Boundary power", "sum over the ADNs (MW)", "sum"),
        ("energy_mwh", "Battery energy", "stored in all ADNs (MWh)", "sum"),
        ("p2p_mw", "Peer-to-peer trade", "within and across ADNs (MW)", "sum"),
        ("price_per_mwh", "Prices", "mean at the host buses ($/MWh)", "mean"),
    )
    days = {
        scheme: schedule.assign(p2p_mw=schedule["p2p_within_mw"] + schedule["p2p_sold_mw"]).groupby("hour")
        for scheme, schedule in schedules.items()
    }
    caption = (
        f"{about}. Boundary power is physical, positive when the ADNs import. Where lines coincide, the "
        "later scheme's is narrower and lies on the others."
    )
    return Picture(
        "profiles",
        "One day, all schemes",
        caption,
        tuple(
            _profile(title, label, {scheme: day[name].agg(how) for scheme, day in days.items()})
            for name, title, label, how in panels
        ),
    )


def _profile(title: str, label: str, lines: Mapping[str, pd.Series]) -> Panel:
    def draw(axes: Axes) -> None:
        for k, (scheme, values) in enumerate(lines.items()):
            axes.plot(
                values.index,
                values.to_numpy(),
                drawstyle="steps-mid",
                color=colour(k),
                linewidth=max(3.4 - 0.5 * k, 1.0),
                label=scheme,
            )
        hours = next(iter(lines.values())).index
        axes.set_xticks(list(hours)[:: max(1, -(-len(hours) // 8))])
        axes.set_xlabel("hour")
        axes.set_ylabel(label)

    low = min(float(values.min()) for values in lines.values())
    high = max(float(values.max()) for values in lines.values())
    words = f"{label} by hour, one line a scheme ({', '.join(lines)}), from {low:.3g} to {high:.3g}."
    return Panel(title, words, draw)


def bars(found: pd.DataFrame, about: str) -> Picture:
    """The measures behind the claims, one bar a scheme: means, 95 % intervals, and what ties leave open."""
    words = {name: (label, unit) for name, label, unit, _ in SHOWN}
    caption = (
        f"{about}. Bars are means, marks where the axis does not start at zero; thin lines are 95 % "
        "intervals of the mean (none for one instance alone). The hollow band on tso-led is the mean range "
        "over schedules that cost the TSO the same."
    )
    return Picture(
        "measures",
        "Measures by scheme",
        caption,
        tuple(_bar(found, name, *words[name]) for name in BARS if found[name].notna().any()),
    )


def _bar(found: pd.DataFrame, name: str, label: str, unit: str) -> Panel:
    schemes = schemes_in(found)
    scale = 100.0 if unit == "%" else 1.0
    means = {scheme: interval(found.loc[found["scheme"] == scheme, name].tolist()) for scheme in schemes}
    band = tie_range(found[found["scheme"] == "tso-led"], name)

    ends = np.array([(own.mean, own.low, own.high) for own in means.values()]).ravel()
    known = (scale * ends[np.isfinite(ends)]).tolist()
    # Where all are large and alike, the axis shows their differences; a bar would tell of its length.
    cut = bool(known) and min(known) > 0.5 * max(known)

    def draw(axes: Axes) -> None:
        for k, (scheme, own) in enumerate(means.items()):
            if not own.n:
                continue
            if cut:
                axes.plot(
                    [k], [scale * own.mean], marker=marker(k), markersize=8, color=colour(k), linewidth=0
                )
            else:
                axes.bar(k, scale * own.mean, width=0.7, color=colour(k), linewidth=0)
            if own.n > 1:
                axes.plot([k, k], [scale * own.low, scale * own.high], color=INK, linewidth=1.4)
            if scheme == "tso-led" and band is not None:
                low, high = scale * band[0], scale * band[1]
                axes.bar(k, high - low, 0.7, bottom=low, fill=False, edgecolor=INK, linewidth=0.9)
        axes.set_xticks(range(len(schemes)), schemes, rotation=30, ha="right")
        axes.set_xlim(-0.6, len(schemes) - 0.4)
        axes.grid(False, axis="x")
        if cut:
            room = 0.25 * max(max(known) - min(known), 1e-3 * max(known))
            axes.set_ylim(min(known) - room, max(known) + room)
        else:
            axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylabel(unit)

    told = ", ".join(f"{scheme} {scale * own.mean:.4g}" for scheme, own in means.items() if own.n)
    return Panel(label[0].upper() + label[1:], f"{told}{' ' + unit if unit else ''}.", draw)


def tie_range(led: pd.DataFrame, name: str) -> tuple[float, float] | None:
    """Mean least and most of a measure over the schedules that cost the TSO the same; None if not known."""
    ends = [(row.ranges or {}).get(name) for row in each(led)] if "ranges" in led else []
    known = [(low, high) for low, high in filter(None, ends) if low is not None and high is not None]
    known = [end for end in known if np.isfinite(end).all()]
    return None if not known else tuple(np.mean(known, axis=0).tolist())  # type: ignore[return-value]
