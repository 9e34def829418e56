"""The tables of the report, ready to print: every cell has its text and, where it sorts, its number."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.counts import CountLaw
from reports.fits import MEASURES, NORMALISED, PHASES, Fit, amount
from reports.laws import FORMULAS
from reports.rows import CENSORED, COUNTS, PHASE_MEMORY, STATUSES, each, versions

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One cell: ``text`` as printed, ``key`` the number it sorts by (None: it sorts by its text)."""

    text: str
    key: float | None = None
    is_number: bool = False
    alarm: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a title that stands above it."""

    title: str
    columns: list[str]
    lines: list[list[Cell]]


def text(value: Any) -> Cell:
    """A cell of words; nothing is printed as a dash."""
    return Cell(str(value) if value not in (None, "") and not pd.isna(value) else MISSING)


def number(value: float | None, style: str = "{:,.3g}") -> Cell:
    """A number in the given format; a missing one sorts last."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return Cell(MISSING, None, True)
    printed = style.format(value)
    if printed.startswith("-") and not any(digit in printed for digit in "123456789"):
        printed = printed[1:]  # no negative zero
    return Cell(printed, float(value), True)


def whole(value: Any) -> Cell:
    """A whole number with thousands separated."""
    return number(value, "{:,.0f}")


def percent(value: float) -> Cell:
    """A fraction as percent."""
    return number(100 * value, "{:,.0f} %" if abs(value) >= 10 else "{:.3g} %")


def seconds(value: float) -> Cell:
    """A time to three figures, or to whole seconds from 100 s on."""
    return number(value, "{:,.0f}" if value >= 100 else "{:.3g}")


def closed_forms(laws: list[CountLaw]) -> Table:
    """The coefficients of every closed form, its law in words and its crossover."""
    lines = [
        [
            text(COUNTS[law.count]),
            text(law.series),
            whole(law.a),
            whole(law.b),
            whole(law.c),
            text(law.words),
            whole(law.crossover),
        ]
        for law in laws
    ]
    columns = ["count", "curve", "a (once)", "b (an ADN)", "c (an arc)", "law", "crossover N"]
    return Table("Closed forms: count = a + b N + c A, with A directed partner arcs", columns, lines)


def sizes(compared: pd.DataFrame) -> Table:
    """Built and predicted counts side by side; ``compared`` as from ``compare_counts``."""
    columns = ["ADNs", "curve", "arcs", "equal"]
    for name in COUNTS.values():
        columns += [name, "predicted"]
    lines = []
    variant = compared.groupby(["series", "n_adns", "n_arcs", "count"], dropna=False, sort=False).cumcount()
    groups = compared.groupby(["series", "n_adns", "n_arcs", variant], dropna=False, sort=False)
    for (series, n_adns, n_arcs, _), group in groups:  # type: ignore[misc]
        verdicts = list(group["equal"])
        verdict = (
            Cell("NO", alarm=True) if False in verdicts else text("yes" if True in verdicts else "not known")
        )
        line = [whole(n_adns), text(series), whole(n_arcs), verdict]
        by_count = group.set_index("count")
        for count in COUNTS:
            if count in by_count.index:
                one = by_count.loc[count]
                built, predicted = whole(one["built"]), whole(one["predicted"])
                differs = one["equal"] is False
                line += [built, Cell(predicted.text, predicted.key, True, differs)]
            else:
                line += [whole(None), whole(None)]
        lines.append(line)
    return Table("Sizes as built and as predicted", columns, lines)


def fits(all_fits: list[Fit], measures: list[str]) -> Table:
    """Laws, exponents with their intervals and the runs behind them, for the measures named."""
    lines = [
        [
            text(MEASURES[fit.measure]),
            text(fit.series),
            text(fit.law),
            text(fit.chosen),
            Cell(amount(fit.constant, fit.measure), fit.constant, True) if fit.fitted else number(None),
            number(fit.exponent, "{:.2f}"),
            text(fit.interval_text if fit.fitted else None),
            text(fit.power_text),
            whole(fit.n_sizes),
            whole(fit.n_runs),
            whole(fit.n_censored),
            whole(fit.n_other),
        ]
        for fit in all_fits
        if fit.measure in measures
    ]
    columns = (
        "measure|curve|growth|law that stands|constant part a|exponent p|95 % interval of p|b N^p alone: p|"
    )
    columns += "sizes|runs used|stopped by a limit|other runs"
    return Table("Fitted growth laws", columns.split("|"), lines)


def challenges(all_fits: list[Fit], measures: list[str]) -> Table:
    """Every law's word on every size held out, beside what was measured, and its AICc over all sizes."""
    lines = []
    for fit in all_fits:
        if fit.measure not in measures or fit.challenge is None or fit.choice is None:
            continue
        for law, trial in fit.challenge.trials.items():
            for place, n in enumerate(fit.challenge.held):
                limit = "at least " if fit.challenge.is_limit[place] else ""
                measured = seconds(fit.challenge.measured[place])
                meets = bool(trial.meets[place])
                lines.append(
                    [
                        text(MEASURES[fit.measure]),
                        text(fit.series),
                        text(FORMULAS[law]),
                        number(fit.choice.scores.get(law), "{:.1f}"),
                        whole(n),
                        seconds(trial.value[place]),
                        text(f"{seconds(trial.low[place]).text} to {seconds(trial.high[place]).text}"),
                        Cell(limit + measured.text, measured.key, True),
                        Cell("yes" if meets else "no", alarm=not meets),
                        number(trial.factor, "{:.2f}"),
                        text("refuted" if law in fit.challenge.refuted else "stands"),
                    ]
                )
    columns = (
        "measure|curve|law|AICc above the least|held-out N|foretold|interval|measured|met|typical factor|law"
    )
    title = (
        "Laws fitted to the smaller sizes, against the larger ones (geometric means; 95 % for all together)"
    )
    return Table(title, columns.split("|"), lines)


def times(rows: pd.DataFrame) -> Table:
    """Median seconds of every phase by size; stopped runs are counted among them and beside them."""
    rows = rows.assign(**{NORMALISED: rows["total_s"] / rows["reference_s"]})
    phases = [*PHASES, NORMALISED]
    lines = []
    for (series, n_adns), group in rows.groupby(["series", "n_adns"], sort=False):
        medians = {phase: group[phase].dropna().median() for phase in phases if group[phase].notna().any()}
        stopped = int(group["status"].isin(CENSORED).sum())
        line = [whole(n_adns), text(series), *(seconds(medians.get(phase, math.nan)) for phase in phases)]
        lines.append([*line, whole(len(group)), whole(stopped)])
    times = [*(f"{name} (s)" for name in PHASES.values()), "total (reference workloads)"]
    columns = ["ADNs", "curve", *times, "runs", "stopped by a limit"]
    return Table("Seconds by phase, medians over the runs of one size", columns, lines)


def memory(rows: pd.DataFrame) -> Table:
    """Peak memory in MB by size, of the whole run and of each phase."""
    phases = [name for name in PHASE_MEMORY if rows[name].notna().any()]
    lines = []
    for (series, n_adns), group in rows.groupby(["series", "n_adns"], sort=False):
        peaks = group["peak_mb"]
        figures = [peaks.median() if peaks.notna().any() else math.nan, peaks.max(), peaks.count()]
        figures += [group[name].dropna().median() for name in phases]
        lines.append([whole(n_adns), text(series), *(whole(figure) for figure in figures)])
    columns = ["ADNs", "curve", "median (MB)", "largest (MB)", "runs"]
    return Table("Peak memory", columns + [f"{PHASE_MEMORY[name]} (MB)" for name in phases], lines)


def runs(rows: pd.DataFrame) -> Table:
    """Status, gap, bound and the certificate's figures of every run."""
    columns = (
        "ADNs|curve|seed|status|gap|target|gap ($)|objective ($)|bound ($)|bound by|follower regret|cone "
        "violation|relaxation slack|shed (MWh)|nodes|total (s)|message"
    )
    lines = []
    for row in each(rows):
        lines.append(
            [
                whole(row.n_adns),
                text(row.series),
                whole(row.seed),
                Cell(
                    row.status, float(STATUSES.index(row.status)), alarm=row.status in ("infeasible", "error")
                ),
                percent(row.gap),
                percent(row.gap_target),
                number(row.abs_gap, "{:,.2f}"),
                number(row.objective, "{:,.2f}"),
                number(row.bound, "{:,.2f}"),
                text(row.bound_by),
                number(row.follower_regret, "{:.1e}"),
                number(row.cone_violation, "{:.1e}"),
                number(row.relaxation_slack, "{:.1e}"),
                number(row.shed_mwh),
                whole(row.nodes),
                seconds(row.total_s),
                text(row.message),
            ]
        )
    return Table("Every run", columns.split("|"), lines)


def day(totals: pd.DataFrame) -> Table:
    """The totals of ``schedules.one_day``."""
    lines = [
        [whole(adn), *(number(value, "{:.2f}") for value in totals.loc[adn])]  # type: ignore[call-overload]
        for adn in totals.index
    ]
    return Table(
        "Energy of the day by ADN (MWh; physical flows, imports and exports hour by hour)",
        ["ADN", *totals.columns],
        lines,
    )


def machine(rows: pd.DataFrame) -> Table:
    """What the runs ran on and with, each distinct value once."""

    def distinct(column: str) -> str:
        counts = rows[column].replace("", "not recorded").value_counts(sort=False)
        names = [f"{name} ({count} runs)" if len(counts) > 1 else str(name) for name, count in counts.items()]
        return "; ".join(sorted(names))

    def span(values: pd.Series, style: str, unit: str) -> str:
        known = values.dropna()
        if known.empty:
            return "not recorded"
        low, high = style.format(known.min()), style.format(known.max())
        return (low if low == high else f"{low} to {high}") + unit

    dates = sorted(date for date in rows["started_at"] if date)
    facts = {
        "runs": f"{len(rows)}",
        "started (UTC)": f"{dates[0]} to {dates[-1]}" if dates else "not recorded",
        "processor": distinct("cpu"),
        "commit": distinct("commit"),
        "reference workload": span(rows["reference_s"], "{:.3g}", " s (a fixed task timed beside each run)"),
        "gap target": span(100 * rows["gap_target"], "{:.3g}", " %"),
        "time limit": span(rows["time_limit_s"], "{:.4g}", " s"),
        "scheme": distinct("scheme"),
        "method": distinct("method"),
        "complementarity mode": distinct("mode"),
        "settlement": distinct("settlement"),
        "coupling": distinct("coupling"),
        "network": distinct("network"),
        "congestion": distinct("congestion"),
        "hours": span(rows["hours"].astype("Float64"), "{:.0f}", ""),
    }
    facts |= {package: "; ".join(found) for package, found in versions(rows).items()}
    lines = [[text(name), text(value)] for name, value in facts.items()]
    return Table("Machine, settings and versions", ["what", "value"], lines)
