"""The scaling report: verdict, sections, one HTML page and its Markdown twin, written as a whole."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reports import campaigns, claims, figures, rivals, schedules, tables, verdict
from reports.draw import Picture
from reports.fits import PHASES, compare_counts, count_laws, fit_growth
from reports.rows import FINISHED, ReportError, Results, flat, read_results
from reports.tables import Table

FIGURES = ("growth", "sizes", "times", "gaps", "memory", "day")


@dataclass(frozen=True)
class Section:
    """One section of the page: a picture, if there is one, and the tables behind it."""

    anchor: str
    title: str
    text: str
    picture: Picture | None = None
    tables: list[Table] = field(default_factory=list)


def write_report(results: Path, output: Path) -> Path:
    """Write index.html, report.md, figures/*.png, rows.jsonl and rows.csv; returns the path of index.html.

    ``results`` is a results folder, ``output`` a folder that is made if needed; the files of an older
    report in it are replaced, others are left alone. Everything is written beside ``output`` first and
    moved in when complete. Raises ReportError for bad rows and for a folder that cannot be written.
    """
    results, output = Path(results), Path(output)
    if output.resolve() == results.resolve():
        raise ReportError("output folder", str(output), "a folder other than the results folder")
    found = read_results(results)
    try:
        output.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.resolve().parent))
    except OSError as error:
        raise _unwritable(output, error) from None
    try:
        _write(found, draft)
        _move(draft, output)
    except OSError as error:
        raise _unwritable(output, error) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return output / "index.html"


def _unwritable(output: Path, error: OSError) -> ReportError:
    return ReportError("output folder", str(output), f"a folder that can be written ({error.strerror})")


def _write(results: Results, folder: Path) -> None:
    content = gather(results)
    (folder / "figures").mkdir()
    for picture in (content["hero"], *(section.picture for section in content["sections"])):
        if picture is not None:
            picture.write_png(folder / "figures" / f"{picture.name}.png")
    for name, is_html in (("index.html", True), ("report.md", False)):
        template = _environment(is_html).get_template(f"report.{'html' if is_html else 'md'}.j2")
        (folder / name).write_text(template.render(content), "utf-8")
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in results.records]
    (folder / "rows.jsonl").write_text("".join(lines), "utf-8")
    if content["led"]:
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in content["led"].records]
        (folder / "study.jsonl").write_text("".join(lines), "utf-8")
    flat(results.records).to_csv(folder / "rows.csv", index=False, lineterminator="\n")


def _move(draft: Path, output: Path) -> None:
    (output / "figures").mkdir(exist_ok=True)
    for name in (
        *FIGURES,
        "claims",
    ):  # a figure that the new report does not have must not survive from the old one
        if not (draft / "figures" / f"{name}.png").exists():
            (output / "figures" / f"{name}.png").unlink(missing_ok=True)
    for path in sorted(draft.rglob("*")):
        if path.is_file():
            os.replace(path, output / path.relative_to(draft))


def _environment(is_html: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=is_html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md_cell"] = lambda words: str(words).replace("|", "\\|").replace("\n", " ")
    return environment


def gather(results: Results) -> dict[str, Any]:
    """Everything that the templates show, from verdict to versions."""
    every, own = results.rows, rivals.study(results)
    rows, raced = own.rows, rivals.standings(every)
    compared, laws, all_fits = compare_counts(rows), count_laws(rows), fit_growth(rows)
    day_picture, day_totals, day_notes = schedules.one_day(own)
    sizes = sorted(int(n) for n in rows["n_adns"].unique())
    long_ones, led = campaigns.read(), claims.study(results.folder)
    sections = [
        Section(
            "sizes",
            "Sizes beside their closed forms",
            verdict.agreement(compared),
            figures.sizes(rows, laws),
            [tables.sizes(compared), *([tables.closed_forms(laws)] if laws else [])],
        ),
        Section(
            "times",
            "Times by phase",
            "Generating the instance, building the Pyomo model, compiling it to sparse arrays, solving "
            "and certifying are timed apart.",
            figures.times(rows, all_fits),
            [tables.fits(all_fits, list(PHASES)), tables.times(rows)],
        ),
        Section(
            "gaps",
            "Gap and status of every run",
            verdict.quality(rows),
            figures.gaps(rows),
            [tables.runs(every)],
        ),
        *(
            [
                Section(
                    "methods",
                    "Methods compared",
                    rivals.sentences(raced),
                    None,
                    [rivals.table(raced)],
                )
            ]
            if raced
            else []
        ),
        *([Section("schemes", led.picture.title, led.text, led.picture, led.tables)] if led else []),
        Section(
            "memory",
            "Memory",
            "The largest resident memory of the process that made the run.",
            figures.memory(rows, all_fits),
            [tables.fits(all_fits, ["peak_mb"]), tables.memory(rows)],
        ),
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
            "Compare times only between equal machines and versions.",
            None,
            [tables.machine(every)],
        ),
    ]
    span = f"N = {sizes[0]}" if len(sizes) == 1 else f"N = {sizes[0]} to {sizes[-1]}"
    notes = [*results.notes, *verdict.same_instances(rows), *day_notes]
    if len(rows) < len(every):
        notes.append(
            f"Figures, fits and verdict are about the default method {rivals.DEFAULT} ({len(rows)} of "
            f"{len(every)} runs); the others are in the comparison of methods and the table of every run."
        )
    if (compared["equal"].map(lambda equal: equal is False)).any():
        notes.insert(0, verdict.agreement(compared))
    if len(sizes) < 3:
        notes.append("Fewer than three sizes were run: no growth of times can be fitted.")
    if not rows["status"].isin(FINISHED).any():
        notes.append("No run finished by itself: there are no times to fit.")
    return {
        "title": "Scaling report",
        "subtitle": f"{len(every)} runs, {span}, {_dates(every)}",
        "headline": verdict.headline(laws, all_fits),
        "verdict": [verdict.sizes(laws, compared), verdict.times(all_fits), verdict.quality(rows)],
        "notes": notes,
        "hero": figures.growth(rows, laws, all_fits),
        "how_to_read": verdict.HOW_TO_READ,
        "sections": sections,
        "led": led,
    }


def _dates(rows: pd.DataFrame) -> str:
    days = sorted({date[:10] for date in rows["started_at"] if date})
    if not days:
        return "not dated"
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
