"""The growth figures: sizes beside closed forms, times and memory with fits, gaps and statuses.

Each function takes the rows of ``Results`` and returns a ``Picture``, or None where the rows hold
nothing to draw.
"""

import math
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from reports.challenge import Challenge
from reports.counts import CountLaw
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
from reports.fits import MEASURES, PHASES, Fit, observed
from reports.laws import FORMULAS
from reports.rows import COUNTS, PHASE_MEMORY, STATUSES

FARTHEST_N = 10_000  # closed forms are drawn beyond the built sizes, but no farther than this
LEGEND = 48  # characters beside a mark that a narrow panel has room for
SMALLEST_GAP = 1e-6  # gaps below are drawn here: solvers cannot tell them from zero
_STATUS_COLOURS = {name: COLOURS[i] for i, name in zip((2, 1, 4, 3, 5, 0, 5), STATUSES, strict=True)}
_STATUS_MARKERS = dict(zip(STATUSES, ("o", "s", "^", "v", "X", "P", "d"), strict=True))


def growth(
    counted: pd.DataFrame, laws: list[CountLaw], rows: pd.DataFrame, fits: list[Fit], names: list[str]
) -> Picture:
    """The first picture: variables with their closed form far beyond the built sizes, and solve time.

    ``names`` gives the curves of both panels their colours.
    """
    farthest = _horizon(counted, laws)
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
        "runs stopped by a limit, which enter the fit as lower limits."
    )
    panels = (
        _count_panel(counted, laws, "n_vars", farthest, names),
        _measure_panel(rows, fits, "solve_s", "Solve time", names),
    )
    return Picture("growth", "Growth", sight, panels)


def sizes(rows: pd.DataFrame, laws: list[CountLaw], names: list[str]) -> Picture | None:
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
        tuple(_count_panel(rows, laws, count, farthest, names) for count in counts),
    )


def times(rows: pd.DataFrame, fits: list[Fit], names: list[str]) -> Picture | None:
    """Seconds by phase, one panel a phase."""
    phases = [phase for phase in PHASES if phase not in ("generate_s", "total_s") and (rows[phase] > 0).any()]
    if not phases:
        return None
    return Picture(
        "times",
        "Times by phase",
        "On logarithmic axes a power law is a straight line and its exponent the slope: 1 doubles the "
        "time with twice the ADNs, 2 makes it four times as long. A line that starts flat and bends upward "
        "is such growth above a constant part. Hollow triangles are runs stopped by a limit in that phase: "
        "lower limits.",
        tuple(_measure_panel(rows, fits, phase, PHASES[phase].capitalize(), names) for phase in phases),
    )


def memory(rows: pd.DataFrame, fits: list[Fit], names: list[str]) -> Picture | None:
    """Peak memory of each run's processes, and that of each phase of one growth curve."""
    if not (rows["peak_mb"] > 0).any():
        return None
    sight = (
        "The interpreter and its libraries take the same memory at every N: the constant part of the fitted "
        "law. The slope steepens as the model outgrows them."
    )
    panels = [_measure_panel(rows, fits, "peak_mb", "Peak memory of the run", names, unit="MB")]
    if (rows[list(PHASE_MEMORY)] > 0).any(axis=None):
        sight += " The second panel shows which phase needs the most: the highest line there is the peak."
        panels.append(_phase_memory_panel(rows))
    return Picture("memory", "Peak memory", sight, tuple(panels))


def _phase_memory_panel(rows: pd.DataFrame) -> Panel:
    """Medians over the runs of each size, of the curve with the most sizes."""
    known = rows[(rows[list(PHASE_MEMORY)] > 0).any(axis=1)]
    series = str(known.groupby("series", sort=False)["n_adns"].nunique().idxmax())
    medians = known[known["series"] == series].groupby("n_adns")[list(PHASE_MEMORY)].median()

    def draw(axes: Axes) -> None:
        for number, (column, phase) in enumerate(PHASE_MEMORY.items()):
            own = medians[column].dropna()
            axes.plot(
                own.index.to_numpy(dtype=float),
                own.to_numpy(dtype=float),
                marker=marker(number),
                color=colour(number),
                markersize=5,
                linewidth=1.6,
                label=phase,
            )
        log_n_axis(axes, sorted(int(n) for n in rows["n_adns"].unique()))
        log_y_axis(axes, "peak memory (MB)")

    last = medians.iloc[-1].dropna()
    told = ", ".join(f"{PHASE_MEMORY[str(name)]} {value:.0f} MB" for name, value in last.items())
    return Panel(
        f"By phase, {series}", f"peak memory within each phase; at N = {medians.index[-1]}: {told}.", draw
    )


def challenge(fits: list[Fit]) -> Picture | None:
    """The laws of the solve time, fitted to the smaller sizes, with what they foretell of the larger ones."""
    panels = tuple(
        _challenge_panel(fit, fit.challenge)
        for fit in fits
        if fit.measure == "solve_s" and fit.challenge is not None
    )
    if not panels:
        return None
    return Picture(
        "challenge",
        "Challenge by held-out sizes",
        "Each law was fitted to the sizes left of the dotted line alone. Right of it stand the intervals in "
        "which it expects the mean of each larger size, side by side, and as a bar what was measured there; "
        "a hollow triangle is a lower limit. A law that misses is refuted and drawn thin.",
        panels,
    )


def _challenge_panel(fit: Fit, trial: Challenge) -> Panel:
    sizes = [*trial.fitted, *trial.held]
    step = math.log(sizes[-1] / sizes[0]) / 120  # between the laws' intervals at one size

    def draw(axes: Axes) -> None:
        grid = np.geomspace(sizes[0], sizes[-1], 80)
        for number, (law, one) in enumerate(trial.trials.items()):
            stands = law not in trial.refuted
            shade, line = colour(number), 1.8 if stands else 0.7
            shown = one.curve.at(grid)
            axes.plot(grid, shown, color=shade, linewidth=line, linestyle="-" if stands else "--")
            places = np.array(trial.held) * math.exp((number - 2.5) * step)
            middle = np.clip(one.value, one.low, one.high)
            axes.errorbar(
                places,
                middle,
                yerr=[middle - one.low, one.high - middle],
                color=shade,
                linestyle="",
                marker=marker(number),
                markersize=3.5,
                linewidth=line,
                capsize=2,
                label=f"{FORMULAS[law]}{'' if stands else ', refuted'}",
            )
        seen = ~trial.is_limit
        held = np.array(trial.held, dtype=float)
        axes.plot(
            held[seen], trial.measured[seen], "_", color=INK, markersize=16, markeredgewidth=2, zorder=4
        )
        axes.plot(held[~seen], trial.measured[~seen], "^", color=INK, markerfacecolor="none", zorder=4)
        axes.axvline(math.sqrt(trial.fitted[-1] * trial.held[0]), color=MUTED, linestyle=":", linewidth=1.2)
        log_n_axis(axes, sizes)
        low, high = trial.measured.min(), trial.measured.max()
        floor = min(float(one.curve.at(np.array([sizes[0]]))[0]) for one in trial.trials.values())
        axes.set_yscale("log")
        axes.set_ylim(max(floor, low / 1e4) / 2, high * 8)
        log_y_axis(axes, "solve time (s)")

    standing = ", ".join(FORMULAS[law] for law in trial.standing) or "none"
    told = f"laws fitted to N up to {trial.fitted[-1]} against larger sizes; those that stand: {standing}."
    return Panel(fit.series, told, draw)


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


def _count_panel(
    rows: pd.DataFrame, laws: list[CountLaw], count: str, farthest: int, series: list[str]
) -> Panel:
    """One count: beyond the built sizes on logarithmic axes, otherwise on linear ones."""
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


def _measure_panel(
    rows: pd.DataFrame, fits: list[Fit], measure: str, title: str, names: list[str], unit: str = "s"
) -> Panel:
    by_series = {fit.series: fit for fit in fits if fit.measure == measure}
    series = [name for name in names if name in by_series]
    told = {name: observed(rows[rows["series"] == name], measure) for name in series}

    def draw(axes: Axes) -> None:
        for name in series:
            number, fit, at = names.index(name), by_series[name], told[name]
            own = pd.DataFrame({"n_adns": at.n[~at.is_limit], measure: at.y[~at.is_limit]})
            label = fill(f"{name}: {fit.exponent_text}", LEGEND)
            _dots(axes, own, measure, number, label=label)
            axes.plot(
                at.n[at.is_limit],
                at.y[at.is_limit],
                linestyle="",
                marker="^",
                markerfacecolor="none",
                markeredgecolor=colour(number),
                markersize=8,
            )
            if fit.fitted:
                grid = np.geomspace(float(at.n.min()), float(at.n.max()), 60)
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
