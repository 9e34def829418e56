"""The commands on many instances: sweep and report."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import typer

from benchmarks import sizes
from benchmarks.files import made_for, place
from benchmarks.records import Settings, Spec
from generators import Options
from model.data import InputError
from tso_dso.options import Output, command, read, takes
from tso_dso.terminal import runs_bar, show, spinner, tell_lines, warn

SWEEP_SETTINGS = Settings.model_fields | {"memory_limit": Spec.model_fields["memory_limit"]}


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
    with runs_bar(specs) as show:

        def watch(spec: Spec, news: dict[str, Any]) -> None:
            if "resumed" in news:
                measured_at.add(news["resumed"])
            show(spec, news)

        rows = run_all(specs, folder, watch, scheduler=scheduler)
    path = folder / "rows.jsonl"
    warn(f"{len(rows)} runs added to {path}, {len(specs) - len(rows)} were there")
    here = runner.surroundings()["commit"]
    other = sorted(c for c in measured_at if c and (c != here or c.endswith("-changed")))
    if other:
        warn(f"Some were there from other code, commit {', '.join(other)}; remove {path} to measure anew")
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
    with made_for(folder) if folder else nullcontext(), spinner() as progress:
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
        tell_lines(*found.sentences, *found.notes)
    if page is not None:
        show({"report": page})
    return 0
