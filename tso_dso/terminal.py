"""What commands show: tables and progress bars on a terminal, plain lines on a pipe."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from benchmarks.records import Row, Spec

out = Console(soft_wrap=True)
err = Console(stderr=True)


def show(facts: Mapping[str, Any]) -> None:
    """Facts as a table on a terminal, as plain lines on a pipe; what is not known is left out."""
    known = {name: _text(value) for name, value in facts.items() if value not in (None, "")}
    if not out.is_terminal:
        tell_lines(*(f"{name}: {text}" for name, text in known.items()))
        return
    table = Table(show_header=False)
    for name, text in known.items():
        table.add_row(name, text)
    out.print(table)


def print_table(title: str, columns: list[str], lines: list[list[str]]) -> None:
    """A table on a terminal, its lines with tabs between on a pipe."""
    if not out.is_terminal:
        tell_lines(*("\t".join(line) for line in [columns, *lines]))
        return
    table = Table(*columns, title=title, show_edge=False)
    for line in lines:
        table.add_row(*line)
    out.print(table)


def tell_lines(*lines: str) -> None:
    """Lines on standard output; where nobody reads them any more, the end, as SIGPIPE would have it."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its exit
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        raise


def warn(line: str) -> None:
    """A line on standard error, if that is there."""
    with suppress(OSError):
        print(line, file=sys.stderr)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def spinner(*more: Any) -> Progress:
    """A spinner with the task's words, ``more`` columns and the time; nothing on a pipe."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *more, TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def phases_bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar over the phases of one solve."""
    phases = ("build", "compile", "solve", "certify")
    with spinner(BarColumn(), MofNCompleteColumn()) as progress:
        task = progress.add_task("start", total=len(phases))

        def tell(news: dict[str, Any]) -> None:
            if "phase" in news:
                progress.update(task, description=news["phase"], completed=phases.index(news["phase"]))
            elif "progress" in news:
                progress.update(task, description=f"solve: {news['progress']}")

        yield tell


RUN_COLUMNS = "n_adns seed partners method mode status gap solve_s total_s peak_mb scheme message".split()
LEFT = "left_s"  # on a pipe beside them: the seconds that the rest may take
TABLE_COLUMNS = "n_adns seed partners method status gap total_s peak_mb".split()  # what 80 characters hold


@contextmanager
def runs_bar(specs: list[Spec]) -> Iterator[Callable[[Spec, dict[str, Any]], None]]:
    """A progress bar over the runs of a sweep, then their table; on a pipe, a line for each as it ends."""
    rows: list[Row] = []
    with spinner(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")) as progress:
        task = progress.add_task("start", total=len(specs), left="")

        def watch(spec: Spec, news: dict[str, Any]) -> None:
            if "row" in news:
                rows.append(news["row"])
                left_s = news.get(LEFT)
                progress.update(task, left="" if left_s is None else f"about {_span(left_s)} left")
                if not out.is_terminal:
                    header = ["\t".join([*RUN_COLUMNS, LEFT])] if len(rows) == 1 else []
                    left = "" if left_s is None else f"{left_s:.0f}"
                    tell_lines(*header, "\t".join([*_cells(rows[-1], RUN_COLUMNS), left]))
            if "row" in news or "resumed" in news:
                progress.advance(task)
            elif "phase" in news or "progress" in news:
                doing = news.get("phase") or news["progress"]
                who = spec.method if spec.scheme == "dso-led" else spec.scheme
                about = f"N={spec.n_adns} seed={spec.seed} {spec.options.partners} {who}: {doing}"
                progress.update(task, description=about)

        yield watch
    if out.is_terminal and rows:
        several = len({row.scheme for row in rows}) > 1
        shown = ["scheme" if several and name == "partners" else name for name in TABLE_COLUMNS]
        table = Table(*shown, show_edge=False)
        rows.sort(key=lambda row: (row.n_adns, row.seed))
        for row in rows:
            table.add_row(*_cells(row, shown))
        out.print(table)
        for row in rows:
            if row.status not in ("certified", "gap_limit"):
                out.print(f"N={row.n_adns} seed={row.seed} {row.status}: {row.message}", markup=False)


def _span(seconds: float) -> str:
    """A time in the unit that a reader would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _cells(row: Row, names: list[str]) -> list[str]:
    values = [getattr(row, name) for name in names]
    return [
        "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
        for value in values
    ]
