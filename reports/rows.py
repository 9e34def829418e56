"""The rows of a results folder as one table, checked field by field.

A results folder holds ``rows.jsonl`` (one JSON object a run) and ``schedules/<run_id>.csv``.
Times in seconds, memory in MB, money in $, energy in MWh; gaps are fractions.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

STATUSES = ("certified", "gap_limit", "time_limit", "memory_limit", "infeasible", "error", "skipped")
FINISHED = ("certified", "gap_limit")  # the run ended by itself: its times are measurements
SHED_MWH = 1e-4  # less is solver noise
CENSORED = ("time_limit", "memory_limit")  # stopped from outside: its times are lower limits only

COUNTS = {
    "n_vars": "variables",
    "n_binaries": "binaries",
    "n_rows": "rows",
    "n_cones": "cones",
    "n_nonzeros": "nonzeros",
}
# What distinguishes one growth curve from another; hours changes every size, so it belongs here too.
GROUP = ("scheme", "method", "mode", "partners", "network", "settlement", "congestion", "hours")

# Largest resident memory within a phase.
PHASE_MEMORY = {f"{phase}_mb": phase for phase in ("generate", "build", "compile", "solve", "certify")}

_INTEGERS = ("n_adns", "n_arcs", "seed", "hours", *COUNTS, "nodes")
_TIMES = ("generate_s", "build_s", "compile_s", "solve_s", "certify_s", "total_s", "reference_s")
_MONEY = ("objective", "bound", "abs_gap", "follower_regret")
_NUMBERS = (
    *("gap_target", "time_limit_s", *_TIMES, *PHASE_MEMORY, "peak_mb", *_MONEY),
    *("gap", "cone_violation", "relaxation_slack", "shed_mwh"),
)
_TEXTS = (
    *("instance", "scheme", "method", "mode", "settlement", "partners", "network", "congestion", "coupling"),
    *("status", "message", "bound_by", "stopped_in", "run_id", "cpu", "commit", "started_at"),
)
_RECORDS = ("predicted", "coefficients", "options", "versions")
_REQUIRED = ("n_adns", "status", *(name for name in GROUP if name != "hours"))
_ALLOWED = {
    "integer": "a whole number or null",
    "number": "a number or null",
    "text": "text or null",
    "record": "an object or null",
}


class ReportError(ValueError):
    """What stops a report: the field, its value and what is allowed, in one line."""

    def __init__(self, field: str, value: object, allowed: str):
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:30] + "..." + shown[-47:]  # a path tells most at its end
        line = " ".join(f"{field}: got {shown}; allowed: {allowed}".split())
        super().__init__("".join(c if c.isprintable() else "?" for c in line))
        self.field, self.value, self.allowed = field, value, allowed


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    ``rows`` has one line a run, sorted by growth curve, size and seed; column ``series`` names
    the growth curve. ``records`` are the rows as written, in the file's order. ``notes`` are
    sentences that a reader of the report must see.
    """

    folder: Path
    rows: pd.DataFrame
    records: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    @property
    def series(self) -> list[str]:
        """The growth curves, in the order in which the report shows them."""
        return list(dict.fromkeys(self.rows["series"]))


def read_results(folder: str | Path) -> Results:
    """Read a results folder. Raises ReportError if it is missing, empty, damaged or has wrong fields."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ReportError("results folder", str(folder), "an existing folder with rows.jsonl")
    path = folder / "rows.jsonl"
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise ReportError("rows.jsonl", str(path), f"a readable file ({error.strerror})") from None
    records, notes = _parse(text)
    if not records:
        raise ReportError("rows.jsonl", str(path), "at least one result row; this file has none")
    rows = _table(records)
    return Results(folder, rows, records, notes + _mixture_notes(rows))


def _parse(text: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a JSON-lines text and the notes about it."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    records, notes = [], []
    for number, line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            # A run stopped while writing leaves half a line at the end; anywhere else it is damage.
            if number == lines[-1][0]:
                notes.append(f"The last line of rows.jsonl (line {number}) is damaged and was left out.")
                continue
            raise ReportError(f"rows.jsonl line {number}", line, "one JSON object a line")
        _check(record, number)
        records.append(record)
    return records, notes


def _check(record: dict[str, Any], number: int) -> None:
    def refuse(name: str, value: object, allowed: str) -> ReportError:
        return ReportError(f"rows.jsonl line {number}, {name}", value, allowed)

    for name in _REQUIRED:
        if record.get(name) is None:
            raise refuse(name, record.get(name), "a value, the field is required")
    for name, value in record.items():
        if value is None or name not in _KINDS:
            continue
        if not _fits(value, _KINDS[name]):
            raise refuse(name, value, _ALLOWED[_KINDS[name]])
    if record["n_adns"] < 1:
        raise refuse("n_adns", record["n_adns"], "a whole number of at least 1")
    if record["status"] not in STATUSES:
        raise refuse("status", record["status"], ", ".join(STATUSES))
    for name, triple in (record.get("coefficients") or {}).items():
        if triple is not None and not (
            isinstance(triple, list) and len(triple) == 3 and all(_fits(x, "number") for x in triple)
        ):
            raise refuse(f"coefficients.{name}", triple, "three numbers a, b, c or null")
    for name, value in (record.get("predicted") or {}).items():
        if value is not None and not _fits(value, "integer"):
            raise refuse(f"predicted.{name}", value, _ALLOWED["integer"])


def _fits(value: object, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "record":
        return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return kind == "number" or (math.isfinite(value) and float(value).is_integer())


_KINDS = (
    dict.fromkeys(_INTEGERS, "integer")
    | dict.fromkeys(_NUMBERS, "number")
    | dict.fromkeys(_TEXTS, "text")
    | dict.fromkeys(_RECORDS, "record")
)


def _table(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with every known column present and typed; a number not known is missing."""
    columns: dict[str, pd.Series] = {}
    for name in _INTEGERS:
        columns[name] = pd.Series([record.get(name) for record in records], dtype="Int64")
    for name in _NUMBERS:
        column = pd.Series([record.get(name) for record in records], dtype="float64")
        columns[name] = column.where(column.abs() != math.inf)
    for name in _TEXTS:
        columns[name] = pd.Series([record.get(name) or "" for record in records], dtype="object")
    for name in _RECORDS:
        columns[name] = pd.Series([record.get(name) or {} for record in records], dtype="object")
    return named(pd.DataFrame(columns))


def named(rows: pd.DataFrame, group: Sequence[str] = GROUP) -> pd.DataFrame:
    """Rows with column ``series``, their curves' names by what of ``group`` differs, in order of growth."""
    rows = rows.assign(series=name_series(rows, group))
    order = rows.assign(is_complete=rows["partners"] == "complete").sort_values(
        ["is_complete", "series", "n_adns", "seed", "started_at"], kind="stable"
    )
    return rows.loc[order.index].reset_index(drop=True)


def name_series(rows: pd.DataFrame, group: Sequence[str] = GROUP) -> pd.Series:
    """Each row's growth curve by name: the partner graph and what else of ``group`` differs between rows."""
    differing = [name for name in group if name != "partners" and rows[name].nunique(dropna=False) > 1]
    names = rows["partners"].astype(str)
    for name in differing:
        values = rows[name].astype(str)
        names = names + ", " + (values + " h" if name == "hours" else values)
    return names


def _mixture_notes(rows: pd.DataFrame) -> list[str]:
    """Sentences about what is not the same in all rows and so weakens a comparison."""
    notes = []
    for name, what in (("commit", "commits"), ("cpu", "processors"), ("gap_target", "gap targets")):
        count = rows[name].replace("", pd.NA).nunique()
        if count > 1:
            notes.append(f"The rows mix {count} {what}; times and gaps may not be comparable.")
    for package, values in versions(rows).items():
        if len(values) > 1:
            notes.append(f"The rows mix versions of {package}: {', '.join(values)}.")
    options = rows["options"].map(lambda record: json.dumps(record, sort_keys=True))
    if (options.groupby(rows["series"]).nunique() > 1).any():
        notes.append("The rows mix generator options on one growth curve; its sizes may not be comparable.")
    shedding = int((rows["shed_mwh"] > SHED_MWH).sum())
    if shedding:
        notes.append(f"Load is shed in {shedding} of {len(rows)} runs (see the table of runs).")
    return notes


def each(rows: pd.DataFrame) -> Iterable[Any]:
    """The rows one after the other, fields as attributes: ``itertuples``, whose stubs know no field types."""
    return rows.itertuples()


def versions(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Each package with the versions found in the rows."""
    found: dict[str, set[str]] = {}
    for record in rows["versions"]:
        for package, version in record.items():
            found.setdefault(str(package), set()).add(str(version))
    return {package: sorted(found[package]) for package in sorted(found)}


def flat(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as written, for a CSV: nested sizes become columns, other nested fields JSON text."""
    flattened = []
    for record in records:
        line: dict[str, Any] = {}
        for name, value in record.items():
            if name in ("predicted", "coefficients") and isinstance(value, dict):
                for count, inner in value.items():
                    line[f"{name}_{count}"] = json.dumps(inner) if isinstance(inner, list) else inner
            else:
                line[name] = json.dumps(value) if isinstance(value, dict | list) else value
        flattened.append(line)
    table = pd.DataFrame(flattened)
    for name in table.columns:  # a missing integer must not turn its column into floats
        if pd.api.types.is_float_dtype(table[name]) and (
            _KINDS.get(name) == "integer" or "predicted_" in name
        ):
            table[name] = table[name].astype("Int64")
    return table
