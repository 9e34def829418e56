"""The scaling report: verdict, sections, one HTML page and its Markdown twin, written as a whole."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reports import campaigns, claims, figures, profiles, rivals, schedules, tables, verdict
from reports.counts import compare_counts, count_laws
from reports.fits import NORMALISED, PHASES, fit_growth
from reports.publish import STUDY_ROWS, Section, data_address, packed, publish
from reports.rows import FINISHED, ReportError, Results, flat, read_results
from reports.study import FEWEST_SIZES, SCHEME, Study
from reports.study import study as choose_study
from reports.study import words as design

TRIED = ["solve_s", "total_s", "peak_mb"]  # the measures whose laws the larger sizes challenge


def write_report(results: Path, output: Path) -> Path:
    """Write index.html, report.md, figures/*.png, rows.jsonl and rows.csv, with a study of schemes also
    study.jsonl.gz; returns the path of index.html.

    ``results`` is a results folder, ``output`` a folder that is made if needed; the files of an older
    report in it are replaced, others are left alone. Everything is written beside ``output`` first and
    moved in when complete. Raises ReportError for bad rows and for a folder that cannot be written.
    """
    results, output = Path(results), Path(output)
    if output.resolve() == results.resolve():
        raise ReportError("output folder", str(output), "a folder other than the results folder")
    found = read_results(results)
    led = claims.study(found.folder)
    files = {"rows.jsonl": rows_jsonl(found.records).encode(), "rows.csv": rows_csv(found).encode()}
    if led:
        files[STUDY_ROWS] = packed(rows_jsonl(led.records))
    return publish(lambda: gather(found, led), files, output)


def gather(results: Results, led: claims.Study | None = None) -> dict[str, Any]:
    """All that the templates show, from verdict to versions; ``led`` is the study of schemes, if any."""
    every, chosen = results.rows, choose_study(results)
    rows, counted = chosen.main.rows, chosen.counted
    compared, laws, all_fits = compare_counts(counted), count_laws(counted), fit_growth(rows)
    names = list(dict.fromkeys([*counted["series"], *rows["series"]]))
    day_picture, day_totals, day_notes = schedules.one_day(chosen.main)
    sizes = sorted(int(n) for n in every["n_adns"].unique())
    long_ones = campaigns.read()
    sections = [
        Section(
            "sizes",
            "Sizes beside their closed forms",
            verdict.agreement(compared),
            figures.sizes(counted, laws, names),
            [tables.sizes(compared), *([tables.closed_forms(laws)] if laws else [])],
        ),
        Section(
            "times",
            "Times by phase",
            "Generating the instance, building the Pyomo model, compiling it to sparse arrays, solving "
            "and certifying are timed apart.",
            figures.times(rows, all_fits, names),
            [tables.fits(all_fits, [*PHASES, NORMALISED, "nodes"]), tables.times(rows)],
        ),
        Section(
            "gaps",
            "Gap and status of every run",
            verdict.quality(rows),
            figures.gaps(rows),
            [tables.runs(every)],
        ),
        Section(
            "memory",
            "Memory",
            "The largest resident memory of the processes that made the run, and of each phase.",
            figures.memory(rows, all_fits, names),
            [tables.fits(all_fits, ["peak_mb"]), tables.memory(rows)],
        ),
        *_methods(every),
        *([Section("schemes", led.picture.title, led.text, led.picture, led.tables)] if led else []),
        Section(
            "challenge",
            "Challenge by held-out sizes",
            verdict.challenges(all_fits),
            figures.challenge(all_fits),
            [table for table in [tables.challenges(all_fits, TRIED)] if table.lines],
        ),
        *_others(chosen),
        Section(
            "day",
            "One day of one instance",
            "What a schedule looks like." if day_picture else "No run has left a readable schedule.",
            day_picture,
            [tables.day(day_totals)] if day_totals is not None else [],
        ),
        Section(
            "checks",
            "Checks behind the numbers",
            campaigns.words(long_ones) + " TESTING.md says which claim each group of tests carries.",
            None,
            campaigns.tables(long_ones),
        ),
        Section(
            "machine",
            "Machine, settings and versions",
            "Compare times only between equal machines and versions, or as normalised totals.",
            None,
            [tables.machine(every)],
        ),
    ]
    return {
        "title": "Scaling report",
        "subtitle": f"{len(every)} runs, {_span(sizes)}, {_dates(every)}",
        "headline": verdict.headline(laws, all_fits),
        "verdict": [verdict.sizes(laws, compared), verdict.times(all_fits), verdict.quality(rows)],
        "warnings": _warnings(rows, compared),
        "notes": [*results.notes, *_notes(chosen, len(every)), *day_notes],
        "hero": figures.growth(counted, laws, rows, all_fits, names),
        "behind": [("closed forms", "sizes"), ("fitted laws", "times"), ("every run", "gaps")],
        "how_to_read": verdict.HOW_TO_READ,
        "sections": sections,
        "downloads": _downloads(results),
        "beside": [STUDY_ROWS] if led else [],
    }


def _methods(every: pd.DataFrame) -> list[Section]:
    """The methods compared, where there are several; other schemes have programs of their own."""
    every = every[every["scheme"] == SCHEME]
    raced, met = rivals.standings(every), profiles.contest(every)
    if not raced:
        return []
    words, shown = [rivals.sentences(raced)], [rivals.table(raced)]
    if met is not None:
        words, shown = [*words, profiles.sentences(met)], [profiles.means(met), profiles.shares(met), *shown]
    picture = profiles.picture(met) if met is not None else None
    return [Section("methods", "Methods compared", " ".join(words), picture, shown)]


def _others(chosen: Study) -> list[Section]:
    """The default method's runs of other designs, such as the network of fixed size."""
    if chosen.others.empty:
        return []
    about = (
        f"Figures, fits and verdict above are about one design ({design(chosen.main.rows)}). These are the "
        "others, each curve with its own fit; a fixed network has a change of regime where the ADNs outgrow "
        "it."
    )
    fits = [fit for fit in fit_growth(chosen.others, TRIED) if fit.fitted]
    shown = [tables.fits(fits, TRIED)] if fits else []
    return [Section("others", "Other studies", about, None, [*shown, tables.times(chosen.others)])]


def _warnings(rows: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """What makes the answer wrong or void: it stands before everything else."""
    found = []
    if (compared["equal"].map(lambda equal: equal is False)).any():
        found.append(verdict.agreement(compared))
    if not rows["status"].isin(FINISHED).any():
        found.append("No run finished by itself: there are no times to fit.")
    if rows["n_adns"].nunique() < FEWEST_SIZES:
        found.append("Fewer than three sizes were run: no growth of times can be fitted.")
    return found


def _notes(chosen: Study, n_every: int) -> list[str]:
    """What a reader must know of the rows behind the figures."""
    rows = chosen.main.rows
    notes = verdict.same_instances(rows)
    if len(rows) < n_every:
        about = "the default method " + chosen.method if chosen.method else "all methods"
        notes.append(
            f"Figures, fits and verdict are about {about} ({len(rows)} of {n_every} runs), in one design: "
            f"{design(rows)}. The others are in the sections on methods and on other studies and in the "
            "table of every run."
        )
    if rows["n_adns"].nunique() >= FEWEST_SIZES and (rows["network"] == "fixed").all():
        notes.append(
            "These runs are on the network of fixed size, whose regime changes where the ADNs outgrow it; "
            "growth laws are better fitted to runs with --network scaled."
        )
    return notes


def _downloads(results: Results) -> list[tuple[str, str]]:
    """The rows as files inside the page: names and data addresses. Plain they would be half the page."""
    files = {"rows.csv": rows_csv(results), "rows.jsonl": rows_jsonl(results.records)}
    return [(name, data_address(text)) for name, text in files.items()]


def rows_csv(results: Results) -> str:
    """The rows as comma-separated values, one line a run."""
    return flat(results.records).to_csv(index=False, lineterminator="\n")


def rows_jsonl(records: Sequence[dict[str, Any]]) -> str:
    """Rows as they were written, one JSON object a line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _span(sizes: list[int]) -> str:
    return f"N = {sizes[0]}" if len(sizes) == 1 else f"N = {sizes[0]} to {sizes[-1]}"


def _dates(rows: pd.DataFrame) -> str:
    days = sorted({date[:10] for date in rows["started_at"] if date})
    if not days:
        return "not dated"
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
