"""The commands on one instance: generate, solve, compare."""

from typing import Annotated, Any

import typer

from benchmarks.files import place, staged, write_whole
from benchmarks.records import Settings, Spec, identify
from generators import Options, instance
from model.data import InputError, Instance
from tso_dso.options import Output, command, read, takes
from tso_dso.terminal import phases_bar, print_table, show, spinner, tell_lines


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
        tell_lines(case.to_json())
        return 0
    write_whole(path, case.to_json() + "\n")
    show(
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
        with phases_bar() as tell:
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
    show(facts | {"folder": folder})
    return 0 if row.status == "certified" else 1


@command(epilog="Example: tso-dso compare five.json other.json --schemes dso-led,tso-led -o five/")
@takes("Solution", {name: Settings.model_fields[name] for name in ("gap", "time_limit")})
def compare(
    instance_files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="instances written by generate, such as several seeds"),
    ],
    output: Output = "comparison",
    schemes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME,...", help="schemes, separated by commas", show_default="all of them"
        ),
    ] = None,
    **given: str,
) -> int:
    """Compare coordination schemes on the same instances: a table, figures, every schedule and certificate.

    Writes measures.csv, ranges.csv (what ties leave open), adns.csv, certificates.json, schedule-*.csv,
    profiles.png (the first instance's day) and measures.png. Of several instances, the table shows means and
    the bars have 95 % intervals. The time limit is each scheme's. Exit status 0: all certified.
    """
    from benchmarks.comparison import compare as compare_schemes
    from model.schemes import SCHEMES, check_scheme
    from reports.compare import write_comparison

    folder = place("output", output, "a folder name")
    cases = [Instance.read(place("instance file", one, "a file name")) for one in instance_files]
    settings = read(Settings, given)
    chosen = list(dict.fromkeys(schemes.split(","))) if schemes is not None else list(SCHEMES)
    for scheme in chosen:
        check_scheme(scheme)
    with staged(folder) as stage:
        with spinner() as progress:
            task = progress.add_task("build", total=None)

            def tell(scheme: str, doing: str) -> None:
                progress.update(task, description=f"{scheme}: {doing}")

            found = compare_schemes(cases, chosen, settings.gap, settings.time_limit, tell)
        about = "; ".join(
            f"N = {case.n_adns}, seed {case.seed}, settlement {case.settlement}, {case.hours} h"
            for case in cases
        )
        tables = write_comparison(stage, found.rows, found.schedules, found.by_adn, about)
        checks = {
            instance: {scheme: certificate.to_dict() for scheme, certificate in own.items()}
            for instance, own in found.certificates.items()
        }
        write_whole(stage / "certificates.json", as_json(checks))
    for one in tables:
        print_table(one.title, one.columns, [[cell.text for cell in line] for line in one.lines])
    show({"folder": folder})
    return 0 if all(row["status"] == "certified" for row in found.rows) else 1


def as_json(data: Any) -> str:
    """Plain data as indented JSON, what is no finite number as null."""
    from pydantic_core import to_json

    return to_json(data, indent=1, inf_nan_mode="null", fallback=_plain).decode() + "\n"


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return value.item()
