"""The command line: ``tso-dso generate``, ``solve``, ``sweep``, ``compare`` and ``report``.

Exit status: 0 done (``solve``, ``compare``: all certified to the gap asked for); 1 not certified (the gap not
reached, the time limit, infeasible, an error); 2 bad input, told in one line on standard error, with
nothing written, or a disk that is full or gone; 129, 130, 143 ended by SIGHUP, SIGINT, SIGTERM, told
in one line, or 141 by a reader of the output who went away, with nothing half written left behind.
A terminal gets tables and progress bars, a pipe gets plain lines.
"""

import inspect
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
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

from benchmarks import sizes
from benchmarks.ending import Ended, end_cleanly
from benchmarks.files import made_for, place, staged, write_whole
from benchmarks.records import Row, Settings, Spec, identify
from generators import Options, instance
from model.data import InputError, Instance, input_error

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich" if sys.stdout and sys.stdout.isatty() else None,
    help="How DSO-led coordination of transmission and distribution grids grows with the number of ADNs.",
    epilog="Example: tso-dso generate 5 -o five.json && tso-dso solve five.json -o out/",
)
out = Console(soft_wrap=True)
err = Console(stderr=True)

SWEEP_SETTINGS = Settings.model_fields | {"memory_limit": Spec.model_fields["memory_limit"]}
Record = TypeVar("Record", bound=BaseModel)
# Paths arrive as text: as a Path the empty text would be the current folder.
Output = Annotated[str, typer.Option("--output", "-o", metavar="FOLDER", help="folder to write")]


def takes(panel: str, fields: Mapping[str, FieldInfo]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command one option per field; type, range and default stay where the field is declared.

    An option not given arrives as None, one given as its text, in the command's ``**given``.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        *named, rest = inspect.signature(command).parameters.values()
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    str | None,
                    typer.Option(
                        "--" + name.replace("_", "-"),
                        help=f"{field.description} ({_range(field)})",
                        metavar=_metavar(field),
                        show_default=False,
                        rich_help_panel=panel,
                    ),
                ],
            )
            for name, field in fields.items()
        ]
        command.__signature__ = inspect.Signature([*named, *options, rest])  # type: ignore[attr-defined]
        return command

    return decorate


def command(epilog: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a command, its ``**given`` replaced by the options that ``takes`` added."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
        return app.command(epilog=epilog)(function)

    return decorate


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    return {int: "INTEGER", str: "TEXT"}.get(field.annotation, "NUMBER")  # type: ignore[arg-type]


def _range(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [f"{words[k]} {getattr(m, k):g}" for m in field.metadata for k in words if hasattr(m, k)]
    return ", ".join([*limits, f"default {field.default}"])


def read(record: type[Record], given: Mapping[str, Any]) -> Record:
    """A record from the texts given on the command line. Raises InputError."""
    try:
        return record(**{name: text for name, text in given.items() if text is not None})
    except ValidationError as error:
        raise input_error(error) from None


@command(epilog="Example: tso-dso generate 5 --seed 0 --partners nearest:4 -o five.json")
@takes("Instance", Options.model_fields)
def generate(
    n_adns: Annotated[str, typer.Argument(metavar="N", help="number of active distribution networks")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="file to write", show_default="standard output"),
    ] = None,
    seed: Annotated[str, typer.Option(help="of all that is drawn", metavar="INTEGER")] = "0",
    **given: str,
) -> int:
    """Generate an instance: the IEEE 30-bus network above N IEEE 33-bus ADNs."""
    path = None if output is None else place("output", output, "a file name")
    order = read(Spec, {"n_adns": n_adns, "seed": seed})
    options = read(Options, given)
    case = instance(order.n_adns, seed=order.seed, **options.model_dump())
    if path is None:
        _tell(case.to_json())
        return 0
    write_whole(path, case.to_json() + "\n")
    _show(
        {
            "instance": case.digest(),
            "ADNs": case.n_adns,
            "trade arcs": len(case.arcs),
            "hours": case.hours,
            "file": path,
        }
    )
    return 0


@command(epilog="Example: tso-dso solve five.json --time-limit 120 -o out/")
@takes("Solution", Settings.model_fields)
def solve(
    instance_file: Annotated[str, typer.Argument(metavar="FILE", help="instance written by generate")],
    output: Output,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="dask scheduler for the ADNs' hours", show_default="workers of its own"
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER", help="dask workers on this machine, 0: none", show_default="one a processor"
        ),
    ] = None,
    **given: str,
) -> int:
    """Solve an instance: writes row.json, certificate.json and schedule.csv.

    Exit status 0: certified to the gap asked for. 1: not certified, because the gap was not reached or
    the time limit was, because the instance is infeasible, or after an error; the status says which.
    """
    from benchmarks import runner
    from model.solvers.workers import Cluster, choose

    folder = place("output", output, "a folder name")
    if workers is not None and not (workers.isascii() and workers.isdigit() and int(workers) <= 1000):
        raise InputError("workers", workers, "a whole number from 0 to 1000")
    choose(Cluster(scheduler, None if workers is None else int(workers)))
    case = Instance.read(place("instance file", instance_file, "a file name"))
    settings = read(Settings, given)
    runner.check(settings)
    with staged(folder) as stage:
        with _phases() as tell:
            recorder = runner.Recorder(tell, owns_process=True)
            order = runner.order_of(settings)
            measured = runner.measure_or_fail(case, settings, recorder)
            row = recorder.row(**order, run_id=identify(case.digest(), settings))
        (stage / "row.json").write_text(row.model_dump_json(indent=1) + "\n", "utf-8")
        (stage / "certificate.json").write_text(as_json(measured.certificate.to_dict()), "utf-8")
        if measured.schedule is not None:
            measured.schedule.to_csv(stage / "schedule.csv", index=False)
    if measured.schedule is None:
        (folder / "schedule.csv").unlink(missing_ok=True)  # of an earlier solve
    shown = "status message objective bound bound_by gap follower_regret cone_violation shed_mwh"
    times = "build_s compile_s solve_s certify_s peak_mb"
    facts = {name: getattr(row, name) for name in f"{shown} {times}".split()}
    if measured.certificate.relaxation == "not exact":
        lost = f"not exact: {row.relaxation_slack:.3g} MWh are lost that no power flow explains"
        facts |= {"relaxation": lost}
    _show(facts | {"folder": folder})
    return 0 if row.status == "certified" else 1


@command(epilog="Example: tso-dso sweep --adns 1,2,5,10 --seeds 3 --partners nearest:4,complete -o results/")
@takes("Solution", SWEEP_SETTINGS)
@takes("Instance", Options.model_fields)
def sweep(
    adns: Annotated[str, typer.Option(help="numbers of ADNs, separated by commas", metavar="N,N,...")],
    output: Output,
    seeds: Annotated[str, typer.Option(help="how many seeds, from 0 up", metavar="INTEGER")] = "1",
    rivals: Annotated[
        bool, typer.Option("--rivals", help="all methods, each in its mode, in place of --method and --mode")
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="dask scheduler whose workers make the runs, one at a time each",
            show_default="one after the other here",
        ),
    ] = None,
    **given: str,
) -> int:
    """Run many sizes and seeds, each apart under its limits; resumes where it stopped.

    Every option below takes several values, separated by commas: all combinations run.
    Appends one line a run to rows.jsonl; a run that fails, or a method that cannot run here beside others
    that can, is a line with its status.
    """
    from benchmarks import runner
    from benchmarks.course import in_order
    from benchmarks.sweep import sweep as run_all

    folder = place("output", output, "a folder name")
    if scheduler is not None:
        place("scheduler", scheduler, "the address of a running dask scheduler")
    specs = in_order(list(_specs(adns, seeds, given, rivals)))
    runner.check_all(list(dict.fromkeys(spec.settings for spec in specs)))
    measured_at: set[str | None] = set()
    with _runs(specs) as show:

        def watch(spec: Spec, news: dict[str, Any]) -> None:
            if "resumed" in news:
                measured_at.add(news["resumed"])
            show(spec, news)

        rows = run_all(specs, folder, watch, scheduler=scheduler)
    path = folder / "rows.jsonl"
    _warn(f"{len(rows)} runs added to {path}, {len(specs) - len(rows)} were there")
    here = runner.surroundings()["commit"]
    other = sorted(c for c in measured_at if c and (c != here or c.endswith("-changed")))
    if other:
        _warn(f"Some were there from other code, commit {', '.join(other)}; remove {path} to measure anew")
    return 0


def _specs(adns: str, seeds: str, given: Mapping[str, str | None], rivals: bool) -> Iterator[Spec]:
    """All combinations of what the command line lists. Raises InputError."""
    pairs: list[dict[str, str]] = [{}]
    if rivals:
        for field in ("method", "mode"):
            if given.get(field) is not None:
                raise InputError(
                    field, given[field], "nothing beside --rivals, which names each method's mode"
                )
        pairs = [{"method": method, "mode": mode} for method, mode in sizes.RIVALS.items()]
    count = seeds if seeds.isascii() and seeds.isdigit() else "0"
    if not 1 <= int(count) <= 10_000:
        raise InputError("seeds", seeds, "a whole number from 1 to 10000")
    lists = {name: texts.split(",") for name, texts in given.items() if texts is not None}
    for values, pair in itertools.product(itertools.product(*lists.values()), pairs):
        chosen = dict(zip(lists, values, strict=True)) | pair
        options = read(Options, {name: text for name, text in chosen.items() if name in Options.model_fields})
        settings = {name: text for name, text in chosen.items() if name not in Options.model_fields}
        for seed in range(int(count)):
            for n_adns in adns.split(","):
                yield read(Spec, settings | {"n_adns": n_adns, "seed": seed, "options": options})


@command(epilog="Example: tso-dso compare five.json --schemes dso-led,tso-led -o five/")
@takes("Solution", {name: Settings.model_fields[name] for name in ("gap", "time_limit")})
def compare(
    instance_file: Annotated[str, typer.Argument(metavar="FILE", help="instance written by generate")],
    output: Output = "comparison",
    schemes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...", help="schemes, separated by commas", show_default="all of them"
        ),
    ] = None,
    **given: str,
) -> int:
    """Compare coordination schemes on one instance: a table, figures, every schedule and certificate.

    Writes measures.csv, ranges.csv (what ties leave open), adns.csv, certificates.json, schedule-*.csv,
    profiles.png and measures.png. The time limit is each scheme's. Exit status 0: all certified.
    """
    from benchmarks.comparison import compare as compare_schemes
    from model.schemes import SCHEMES, check_scheme
    from reports.compare import write_comparison

    folder = place("output", output, "a folder name")
    case = Instance.read(place("instance file", instance_file, "a file name"))
    settings = read(Settings, given)
    chosen = list(dict.fromkeys(schemes.split(","))) if schemes is not None else list(SCHEMES)
    for scheme in chosen:
        check_scheme(scheme)
    with staged(folder) as stage:
        with _spinner() as progress:
            task = progress.add_task("build", total=None)

            def tell(scheme: str, doing: str) -> None:
                progress.update(task, description=f"{scheme}: {doing}")

            found = compare_schemes(case, chosen, settings.gap, settings.time_limit, tell)
        about = f"N = {case.n_adns}, seed {case.seed}, settlement {case.settlement}, {case.hours} h"
        tables = write_comparison(stage, found.rows, found.schedules, found.by_adn, about)
        checks = {scheme: certificate.to_dict() for scheme, certificate in found.certificates.items()}
        write_whole(stage / "certificates.json", as_json(checks))
    for one in tables:
        _print(one.title, one.columns, [[cell.text for cell in line] for line in one.lines])
    _show({"folder": folder})
    return 0 if all(row["status"] == "certified" for row in found.rows) else 1


@command(epilog="Example: tso-dso report results/ -o reports/latest/ && tso-dso report before/ after/")
def report(
    results: Annotated[
        list[str], typer.Argument(metavar="RESULTS [AFTER]", help="one or two folders of sweeps")
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="folder to write; of two results, if wanted"),
    ] = None,
) -> int:
    """Write the scaling report of a sweep: index.html and report.md with figures and data.

    Of two results: say what changed from the first to the second, and whether it is more than noise.
    """
    from reports import ReportError, compare_results, read_results, write_changes, write_report

    if len(results) > 2:
        raise InputError("results folders", " ".join(results), "one folder, or two to be compared")
    written = [place("results folder", one, "a folder name") for one in results]
    if output is None and len(written) == 1:
        raise InputError("output", "", "a folder name, given by -o")
    folder = None if output is None else place("output", output, "a folder name")
    with made_for(folder) if folder else nullcontext(), _spinner() as progress:
        progress.add_task("report", total=None)
        try:
            if folder is None:
                page, found = None, compare_results(*map(read_results, written))
            elif len(written) == 2:
                page, found = write_changes(written[0], written[1], folder)
            else:
                page, found = write_report(written[0], folder), None
        except ReportError as error:
            raise InputError(error.field, error.value, error.allowed) from None
    if found is not None:
        _tell(*found.sentences, *found.notes)
    if page is not None:
        _show({"report": page})
    return 0


def _show(facts: Mapping[str, Any]) -> None:
    """Facts as a table on a terminal, as plain lines on a pipe; what is not known is left out."""
    known = {name: _text(value) for name, value in facts.items() if value not in (None, "")}
    if not out.is_terminal:
        _tell(*(f"{name}: {text}" for name, text in known.items()))
        return
    table = Table(show_header=False)
    for name, text in known.items():
        table.add_row(name, text)
    out.print(table)


def as_json(data: Any) -> str:
    """Plain data as indented JSON, what is no finite number as null."""
    from pydantic_core import to_json

    return to_json(data, indent=1, inf_nan_mode="null", fallback=_plain).decode() + "\n"


def _print(title: str, columns: list[str], lines: list[list[str]]) -> None:
    """A table on a terminal, its lines with tabs between on a pipe."""
    if not out.is_terminal:
        _tell(*("\t".join(line) for line in [columns, *lines]))
        return
    table = Table(*columns, title=title, show_edge=False)
    for line in lines:
        table.add_row(*line)
    out.print(table)


def _tell(*lines: str) -> None:
    """Lines on standard output; where nobody reads them any more, the end, as SIGPIPE would have it."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its exit
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + signal.SIGPIPE)
        raise


def _warn(line: str) -> None:
    """A line on standard error, if that is there."""
    with suppress(OSError):
        print(line, file=sys.stderr)


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item()


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _spinner(*more: Any) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *more, TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def _phases() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar over the phases of one solve."""
    phases = ("build", "compile", "solve", "certify")
    with _spinner(BarColumn(), MofNCompleteColumn()) as progress:
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
def _runs(specs: list[Spec]) -> Iterator[Callable[[Spec, dict[str, Any]], None]]:
    """A progress bar over the runs of a sweep, then their table; on a pipe, a line for each as it ends."""
    rows: list[Row] = []
    with _spinner(BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")) as progress:
        task = progress.add_task("start", total=len(specs), left="")

        def watch(spec: Spec, news: dict[str, Any]) -> None:
            if "row" in news:
                rows.append(news["row"])
                left_s = news.get(LEFT)
                progress.update(task, left="" if left_s is None else f"about {_span(left_s)} left")
                if not out.is_terminal:
                    header = ["\t".join([*RUN_COLUMNS, LEFT])] if len(rows) == 1 else []
                    left = "" if left_s is None else f"{left_s:.0f}"
                    _tell(*header, "\t".join([*_cells(rows[-1], RUN_COLUMNS), left]))
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


def _run(words: list[str]) -> int:
    """The exit status of a command line. Raises InputError or TyperException for a wrong one."""
    try:
        return app(words, prog_name="tso-dso", standalone_mode=False)
    except typer.TyperException as error:
        option = getattr(error, "option_name", "")  # of one that does not exist
        if words[0] == "generate" and re.fullmatch("-[0-9]", option):  # a negative N
            read(Spec, {"n_adns": next(word for word in words if word.startswith(option))})
        raise


def main(arguments: list[str] | None = None) -> None:
    """The console script; ``arguments`` are those of the process if not given."""
    end_cleanly()
    status = 2
    try:
        sys.exit(_run(arguments or sys.argv[1:] or ["--help"]))
    except Ended as end:
        line, status = end.line, end.status
    except InputError as error:
        line = str(error)
    except typer.TyperException as error:
        line = " ".join(error.format_message().split())
    except OSError as error:  # a disk that fills up, a folder taken away meanwhile
        line = str(InputError("file", error.filename or "", error.strerror or str(error)))
    _warn(f"error: {line}")
    sys.exit(status)


if __name__ == "__main__":
    main()
