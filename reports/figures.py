"""The growth figures: sizes beside closed forms, times and memory with fits, gaps and statuses.

Each function takes the rows of ``Results`` and returns a ``Picture``, or None where the rows hold
nothing to draw.
"""

import math

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from reports.draw import (
    COLOURS,
    INK,
    MUTED,
    Panel,
    Picture,
    colour,
    compact,
    linear_axes,
    log_n_axis,
    log_y_axis,
    marker,
    marker_size,
    width,
)
from reports.fits import MEASURES, PHASES, CountLaw, Fit
from reports.rows import CENSORED, COUNTS, FINISHED, STATUSES

FARTHEST_N = 10_000  # closed forms are drawn beyond the built sizes, but no farther than this
SMALLEST_GAP = 1e-6  # gaps below are drawn here: solvers cannot tell them from zero
_STATUS_COLOURS = {name: COLOURS[i] for i, name in zip((2, 1, 4, 3, 5, 0, 5), STATUSES, strict=True)}
_STATUS_MARKERS = dict(zip(STATUSES, ("o", "s", "^", "v", "X", "P", "d"), strict=True))


def growth(rows: pd.DataFrame, laws: list[CountLaw], fits: list[Fit]) -> Picture:
    """The first picture: variables with their closed form far beyond the built sizes, and solve time."""
    farthest = _horizon(rows, laws)
    crossovers = [law.crossover for law in laws if law.count == "n_vars" and law.crossover]
    sight = (
        "Points are built models, lines the closed form: on these axes a steeper line is a faster growth. "
    )
    if any(crossover < farthest for crossover in crossovers):
        sight += (
            "Beyond the dotted mark trading pairs outweigh the ADNs themselves and the line bends upward. "
        )
    sight += (
        "In the second panel every mark is one finished run, the line the fitted law; hollow triangles are "
        "runs stopped by a limit, which enter no fit."
    )
    return Picture(
        "growth",
        "Growth",
        sight,
        (_count_panel(rows, laws, "n_vars", farthest), _measure_panel(rows, fits, "solve_s", "Solve time")),
    )


def sizes(rows: pd.DataFrame, laws: list[CountLaw]) -> Picture | None:
    """Every count over the built sizes."""
    counts = [count for count in COUNTS if rows[count].notna().any()]
    if not counts:
        return None
    farthest = int(rows["n_adns"].max())
    return Picture(
        "sizes",
        "Sizes",
        "Every point must lie on its line: the lines are not fitted, they are computed before the model "
        "is built. A straight line is linear growth, one that bends upward quadratic. Where two curves "
        "coincide, the narrower lies on the wider.",
        tuple(_count_panel(rows, laws, count, farthest) for count in counts),
    )


def times(rows: pd.DataFrame, fits: list[Fit]) -> Picture | None:
    """Seconds by phase, one panel a phase."""
    phases = [phase for phase in PHASES if phase not in ("generate_s", "total_s") and (rows[phase] > 0).any()]
    if not phases:
        return None
    return Picture(
        "times",
        "Times by phase",
        "On logarithmic axes a power law is a straight line and its exponent the slope: 1 doubles the "
        "time with twice the ADNs, 2 makes it four times as long. A line that starts flat and bends upward "
        "is such growth above a constant part. Hollow triangles are runs stopped by a limit; they enter no "
        "fit.",
        tuple(_measure_panel(rows, fits, phase, PHASES[phase].capitalize()) for phase in phases),
    )


def memory(rows: pd.DataFrame, fits: list[Fit]) -> Picture | None:
    """Peak memory of each run's process."""
    if not (rows["peak_mb"] > 0).any():
        return None
    return Picture(
        "memory",
        "Peak memory",
        "The interpreter and its libraries take the same memory at every N: the constant part of the fitted "
        "law. The slope steepens as the model outgrows them.",
        (_measure_panel(rows, fits, "peak_mb", "Peak memory of the process", unit="MB"),),
    )


def gaps(rows: pd.DataFrame) -> Picture:
    """The gap of every run over N against its target, one panel a growth curve."""
    return Picture(
        "gaps",
        "Gaps and statuses",
        "One mark is one run. Marks on or below the dashed target are certified; marks above it are "
        "solved with the gap shown; marks on the top line have no gap because no feasible point or no "
        "bound was found.",
        tuple(_gap_panel(group, str(series)) for series, group in rows.groupby("series", sort=False)),
    )


def _horizon(rows: pd.DataFrame, laws: list[CountLaw]) -> int:
    """How far to draw the closed forms of the variables: past the crossover where that is in reach."""
    built = int(rows["n_adns"].max())
    crossovers = [law.crossover for law in laws if law.count == "n_vars" and law.crossover]
    wanted = max([10 * built, *(6 * crossover for crossover in crossovers)])
    digit = 10 ** math.floor(math.log10(wanted))
    return max(built, min(FARTHEST_N, math.ceil(wanted / digit) * digit))


def _count_panel(rows: pd.DataFrame, laws: list[CountLaw], count: str, farthest: int) -> Panel:
    """One count: beyond the built sizes on logarithmic axes, otherwise on linear ones."""
    series = list(dict.fromkeys(rows["series"]))
    built = rows.dropna(subset=[count])
    here = [law for law in laws if law.count == count]
    beyond = farthest > rows["n_adns"].max()

    def draw(axes: Axes) -> None:
        grid = np.unique(np.geomspace(int(rows["n_adns"].min()), farthest, 60).round())
        for law in here:
            number = series.index(law.series)
            values = [value for value in (law.at(n) for n in grid) if value is not None]
            if len(values) == len(grid) and min(values) > 0:
                axes.plot(grid, values, color=colour(number), linewidth=width(number), zorder=2)
            if beyond and law.crossover is not None and law.crossover < farthest:
                _mark_crossover(axes, law.crossover)
        for number, name in enumerate(series):
            points = built[built["series"] == name].drop_duplicates(["n_adns", count])
            if len(points):
                _dots(axes, points, count, number, label=name)
        label = f"{COUNTS[count]} (number)"
        if beyond:
            log_n_axis(axes, [*(10**power for power in range(5) if 10**power < 0.7 * farthest), farthest])
            log_y_axis(axes, label)
        else:
            linear_axes(axes, label)

    words = "; ".join(f"{law.series} {law.words}" for law in here) or "no closed form is stated"
    title = COUNTS[count].capitalize() + (" and their closed form" if beyond else "")
    return Panel(title, f"{COUNTS[count]} against the number of ADNs. {words}.", draw)


def _mark_crossover(axes: Axes, n: float) -> None:
    axes.axvline(n, color=MUTED, linestyle=":", linewidth=1.2)
    place = axes.get_xaxis_transform()
    words = f"crossover\nN = {n:,.0f}"
    axes.text(n * 0.9, 0.04, words, color=MUTED, fontsize=8.5, transform=place, ha="right", va="bottom")


def _dots(axes: Axes, points: pd.DataFrame, column: str, number: int, label: str) -> None:
    axes.plot(
        points["n_adns"].to_numpy(dtype=float),
        points[column].to_numpy(dtype=float),
        linestyle="",
        marker=marker(number),
        color=colour(number),
        markersize=marker_size(number),
        label=label,
        zorder=3,
    )


def _measure_panel(rows: pd.DataFrame, fits: list[Fit], measure: str, title: str, unit: str = "s") -> Panel:
    series = list(dict.fromkeys(rows["series"]))
    by_series = {fit.series: fit for fit in fits if fit.measure == measure}
    finished = rows[rows["status"].isin(FINISHED) & (rows[measure] > 0)]
    stopped = rows[rows["status"].isin(CENSORED) & (rows[measure] > 0)]

    def draw(axes: Axes) -> None:
        for number, name in enumerate(series):
            fit, own = by_series[name], finished[finished["series"] == name]
            limits = stopped[stopped["series"] == name]
            _dots(axes, own, measure, number, label=f"{name}: {fit.exponent_text}")
            axes.plot(
                limits["n_adns"].to_numpy(dtype=float),
                limits[measure].to_numpy(),
                linestyle="",
                marker="^",
                markerfacecolor="none",
                markeredgecolor=colour(number),
                markersize=8,
            )
            if fit.fitted:
                grid = np.geomspace(float(own["n_adns"].min()), float(own["n_adns"].max()), 60)
                axes.plot(grid, fit.at(grid), color=colour(number), linewidth=width(number) * 0.7)
        log_n_axis(axes, sorted(int(n) for n in rows["n_adns"].unique()))
        log_y_axis(axes, f"{MEASURES[measure] if unit != 's' else title.lower()} ({unit})")

    words = "; ".join(f"{name} {by_series[name].exponent_text}, {by_series[name].law}" for name in series)
    return Panel(title, f"{title} against the number of ADNs. {words}.", draw)


def _gap_panel(group: pd.DataFrame, series: str) -> Panel:
    order = sorted(int(n) for n in group["n_adns"].unique())
    position = {n: place for place, n in enumerate(order)}
    present = [status for status in STATUSES if (group["status"] == status).any()]
    known = group["gap"].clip(lower=SMALLEST_GAP)
    top = 3.0 * max([1e-2, *known.dropna(), *group["gap_target"].dropna()])

    def draw(axes: Axes) -> None:
        turn = group.groupby("n_adns").cumcount().to_numpy()
        size = group.groupby("n_adns")["status"].transform("size").to_numpy()
        places = np.array([position[int(n)] for n in group["n_adns"]], dtype=float)
        table = pd.DataFrame(
            {
                "x": places + (turn - (size - 1) / 2) * np.minimum(0.15, 0.6 / size),  # side by side
                "gap": known.fillna(top).to_numpy(dtype=float),
                "status": group["status"].to_numpy(),
            }
        )
        sns.scatterplot(
            table,
            x="x",
            y="gap",
            hue="status",
            style="status",
            hue_order=present,
            style_order=present,
            palette=_STATUS_COLOURS,
            markers=_STATUS_MARKERS,
            s=46,
            edgecolor="none",
            ax=axes,
            zorder=3,
        )
        for n, target in group[["n_adns", "gap_target"]].dropna().drop_duplicates().itertuples(index=False):
            place = position[int(n)]
            axes.plot(
                [place - 0.42, place + 0.42], [target, target], color=INK, linestyle="--", linewidth=1.2
            )
        axes.set_yscale("log")
        axes.set_ylim(SMALLEST_GAP / 2, top * 2)
        powers = range(round(math.log10(SMALLEST_GAP)), math.floor(math.log10(top / 2)) + 1)
        ticks = [10.0**power for power in powers]
        labels = [f"{compact(100 * tick)} %" for tick in ticks]
        labels[0] = f"≤ {labels[0]}"
        if group["gap"].isna().any():
            ticks, labels = [*ticks, top], [*labels, "none"]
        axes.set_yticks(ticks, labels)
        axes.set_yticks([], minor=True)
        axes.set_xticks(range(len(order)), [str(n) for n in order])
        axes.set_xlim(-0.6, len(order) - 0.4)
        axes.set_xlabel("ADNs, N")
        axes.set_ylabel("relative gap (dashed: target)")

    counts = ", ".join(f"{int((group['status'] == status).sum())} {status}" for status in present)
    worst = group["gap"].max()
    reach = "no run has a gap" if pd.isna(worst) else f"the largest gap is {100 * worst:.3g} percent"
    return Panel(series, f"relative gap of each run against N; {counts}; {reach}.", draw)
