"""Methods as rivals: the baselines themselves, sweeps of all methods, and what the report makes of them."""

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_methods import run
from test_reports import results, row
from toys import toy

import benchmarks.sweep
import tso_dso
from benchmarks import bench_growth, bench_rivals, runner, sizes
from benchmarks.records import Row, Settings, Spec
from generators import Options, instance
from model.data import InputError
from model.program import compile_model
from model.schemes import build
from model.solvers import METHODS, mindtpy, naive, solve
from reports import rivals, write_report
from reports.rows import read_results

CONGESTED = toy(2, 2, rate_mw=4.0)


# The methods.


def test_the_relaxation_is_a_safe_bound_and_no_point():
    *_, best = run(CONGESTED)
    _, program, outcome, certificate = run(CONGESTED, method="relaxation")
    assert outcome.status == "solved" and outcome.x is None
    assert (
        certificate.bound_by == "safe" and certificate.bound < best.objective - 1
    )  # the leaders move prices
    recorder = runner.Recorder()
    measured = runner.measure(CONGESTED, Settings(method="relaxation"), recorder)
    assert measured.schedule is None
    facts = recorder.facts
    assert (facts["status"], facts["gap"], facts["objective"]) == ("gap_limit", None, None)
    assert facts["bound"] == pytest.approx(certificate.bound) and "a bound alone" in facts["message"]


def test_another_method_without_a_point_is_no_bound_alone(monkeypatch):
    monkeypatch.setitem(METHODS, "naive", METHODS["relaxation"])
    recorder = runner.Recorder()
    runner.measure(CONGESTED, Settings(method="naive"), recorder)
    assert recorder.facts["status"] == "error"


def test_the_naive_method_gets_no_start(monkeypatch):
    """Its relaxed point violates complementarity, and that is all that is handed over."""
    starts = []
    problem = build(CONGESTED)
    program = compile_model(problem.m)
    branch = naive.branch

    def seen(program, start, *more):
        starts.append(start)
        return branch(program, start, *more)

    monkeypatch.setattr(naive, "branch", seen)
    outcome = solve(problem, program, "naive", 1e-4, 30.0)
    (start,) = starts
    assert program.violation(start) > 1e-3 and program.violation(outcome.x) < 1e-6


def test_mindtpy_leaves_the_model_as_it_was():
    problem = build(CONGESTED)
    program = compile_model(problem.m)
    assert solve(problem, program, "mindtpy", 1e-4, 30.0).status == "solved"
    again = compile_model(problem.m)
    assert again.sizes == program.sizes
    assert (again.A != program.A).nnz == 0 and (again.cone_A != program.cone_A).nnz == 0


def test_mindtpys_cones_are_the_models_cones():
    """At random points: a cone holds in one form where it holds in the other; and it is convex."""
    problem = build(toy(1, 1))
    rows = list(problem.m.feeder[0].current_cone.values())
    random = np.random.default_rng(0)
    with mindtpy._convex_cones(problem.m):
        norms = list(problem.m.norm.values())
        replaced = [row for row in rows if not row.active]
        assert len(norms) == len(replaced) == 1  # the branch at the root has a given voltage: a convex square

        def at(values):
            for variable, value in zip(variables, values, strict=True):
                variable.set_value(value, skip_validation=True)
            return norms[0].body() - norms[0].upper, replaced[0].body() - replaced[0].upper

        feeder = problem.m.feeder[0]
        variables = [feeder.P[2, 0], feeder.Q[2, 0], feeder.l[2, 0], feeder.v[1, 0]]
        points = random.uniform([-1, -1, 0, 0.5], [1, 1, 2, 1.5], (200, 4))
        signs = np.array([np.sign(at(point)) for point in points])
        assert (signs[:, 0] == signs[:, 1]).all() and 20 < (signs[:, 0] > 0).sum() < 180
        for one, other in zip(points[::2], points[1::2], strict=True):
            assert at((one + other) / 2)[0] <= (at(one)[0] + at(other)[0]) / 2 + 1e-12


def test_mindtpy_keeps_its_time_limit():
    started = time.monotonic()
    _, _, outcome, certificate = run(instance(1, hours=4), method="mindtpy", time_limit_s=2.0)
    assert time.monotonic() - started < 20
    assert (outcome.status, outcome.x, certificate.status) == ("time_limit", None, "time_limit")
    *_, best = run(instance(1, hours=4), gap=1e-3)
    assert certificate.bound is None or certificate.bound <= best.objective + 1e-6


def test_mindtpy_whose_time_ends_between_two_rounds_says_so(monkeypatch):
    monkeypatch.setattr(mindtpy.CuttingPlanes, "reached_time_limit", lambda self: True)
    _, _, outcome, certificate = run(CONGESTED, method="mindtpy")
    assert (outcome.status, outcome.x, certificate.status) == ("time_limit", None, "time_limit")
    assert "1 rounds" in outcome.message and certificate.bound is not None


# Sweeps and suites.


def test_the_growth_suite_tracks_totals_by_the_reference_workload_and_gives_units():
    suite = bench_growth.Result()
    row = dict(build_s=1.0, compile_s=0.5, solve_s=2.0, certify_s=0.5, reference_s=0.04, n_rows=7, gap=0.01)
    rows = {(1, "complete"): row}
    assert suite.track_normalised_total(rows, 1, "complete") == pytest.approx(100.0)
    assert suite.track_n_rows(rows, 1, "complete") == 7 and suite.track_gap(rows, 1, "complete") == 0.01
    tracks = [getattr(suite, name) for name in dir(suite) if name.startswith("track_")]
    assert len(tracks) == 8 and all(track.unit for track in tracks)
    assert bench_growth.Assembly.timer is time.process_time


@pytest.fixture
def swept(monkeypatch):
    """Runs the command line with no run made; returns the specs that a sweep was given."""
    monkeypatch.setattr(tso_dso, "end_cleanly", lambda: None)
    given: list[Spec] = []
    monkeypatch.setattr(benchmarks.sweep, "sweep", lambda specs, *more, **options: given.extend(specs) or [])

    def swept(*words: object) -> list[Spec]:
        given.clear()
        with pytest.raises(SystemExit) as end:
            tso_dso.main(["sweep", *map(str, words)])
        assert not end.value.code
        return list(given)

    return swept


def test_every_method_is_a_rival_in_a_mode_that_it_takes():
    assert set(sizes.RIVALS) == set(METHODS) and next(iter(sizes.RIVALS)) == rivals.DEFAULT
    assert Settings().method == rivals.DEFAULT and Settings().mode == sizes.RIVALS[rivals.DEFAULT]
    for method, mode in sizes.RIVALS.items():
        if METHODS[method].available() is None:
            run(toy(1, 1), mode, method, gap=0.1, time_limit_s=5.0)  # refuses a mode that is not its own
    assert {spec for method in sizes.RIVALS for spec in [bench_rivals.order(method, 1).method]} == set(
        METHODS
    )


def test_rivals_race_on_the_same_instance_under_the_same_limits(swept, tmp_path):
    specs = swept("--adns", "5,1", "--seeds", 2, "--rivals", "--gap", 0.02, "--time-limit", 9, "-o", tmp_path)
    assert [spec.seed for spec in specs] == sorted(2 * len(sizes.RIVALS) * [0, 1])
    assert {(spec.seed, spec.n_adns, spec.method, spec.mode) for spec in specs} == {
        (seed, n, method, mode) for seed in (0, 1) for n in (1, 5) for method, mode in sizes.RIVALS.items()
    }
    assert {(spec.gap, spec.time_limit, spec.options) for spec in specs} == {(0.02, 9.0, Options())}


@pytest.mark.parametrize("option", ["--method", "--mode"])
def test_rivals_beside_a_method_or_mode_are_refused(option, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tso_dso, "end_cleanly", lambda: None)
    with pytest.raises(SystemExit) as end:
        tso_dso.main(["sweep", "--adns", "1", "--rivals", option, "big_m", "-o", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert (
        end.value.code == 2 and told.count("\n") == 1 and told.startswith(f"error: {option[2:]}: got 'big_m'")
    )
    assert not (tmp_path / "out").exists()


def test_a_method_that_cannot_run_is_a_row_beside_one_that_can(monkeypatch, tmp_path):
    monkeypatch.setattr(METHODS["gurobi"], "available", lambda: "a method with a licence")
    both = [Settings(method="auto"), Settings(method="gurobi")]
    runner.check_all(both)
    with pytest.raises(InputError, match="licence"):
        runner.check_all(both[1:])
    with pytest.raises(InputError, match="cplex"):
        runner.check_all([*both, Settings(method="cplex")])
    with pytest.raises(InputError, match="guess"):
        runner.check_all([*both, Settings(mode="guess")])

    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys\nfrom benchmarks import runner\nfrom model.solvers import METHODS\n"
        "METHODS['gurobi'].available = lambda: 'a method with a licence'\nrunner.main(*sys.argv[1:])\n"
    )
    specs = [Spec(n_adns=1, gap=0.1, options=Options(hours=1), method=name) for name in ("gurobi", "auto")]
    rows = benchmarks.sweep.sweep(
        specs, tmp_path / "out", worker=(benchmarks.sweep.sys.executable, str(worker))
    )
    gone, there = sorted(rows, key=lambda row: row.method, reverse=True)
    assert (
        gone.status == "skipped" and gone.message == "method: got 'gurobi'; allowed: a method with a licence"
    )
    assert there.status == "certified"


def test_a_suite_has_a_number_or_none_for_every_ending():
    suite = bench_rivals.Rivals()
    known = dict(n_adns=1, seed=0, scheme="dso-led", method="auto", mode="big_m", gap_target=0.01, run_id="0")
    known |= dict(time_limit_s=60.0, started_at="2026-01-01T00:00:00")
    rows = {
        ("auto", 1): Row(**known, status="certified", gap=0.001, solve_s=3.0, total_s=4.0, peak_mb=9.0),
        ("relaxation", 1): Row(**known, status="gap_limit", solve_s=2.0, total_s=3.0, peak_mb=9.0),
        ("scip", 1): Row(**known, status="time_limit", solve_s=60.0, total_s=61.0, peak_mb=9.0),
        ("gurobi", 1): Row(**known, status="skipped"),
    }
    told = {name: value.model_dump() for name, value in rows.items()}
    tracks = [getattr(suite, name) for name in dir(suite) if name.startswith("track_")]
    assert len(tracks) == 6 and all(hasattr(track, "unit") for track in tracks)
    assert suite.track_effort(told, "auto", 1) == 2.0 and suite.track_reached(told, "auto", 1) == 1.0
    for method in ("scip", "gurobi"):
        assert np.isnan(suite.track_solve(told, method, 1)) and suite.track_reached(told, method, 1) == 0.0
    assert suite.track_peak_memory(told, "scip", 1) == 9.0 and np.isnan(
        suite.track_peak_memory(told, "gurobi", 1)
    )


# What the project must reach: (N, partners) to (gap, wall time in s); and the part that solving may take.
TARGETS = {
    (1, "complete"): (0.001, 20),
    (5, "complete"): (0.001, 20),
    (20, "complete"): (0.001, 120),
    (100, "complete"): (0.002, 240),
    (100, "nearest:4"): (0.002, 240),
    (300, "nearest:4"): (0.003, 600),
    (1000, "nearest:4"): (0.003, 1500),
}
SOLVING = 0.9


def sweeps(target: str, *changes: str) -> list[list[str]]:
    """The words after ``sweep`` of each sweep that a target of the Makefile makes."""
    root = Path(__file__).parents[1]
    command = ["make", "-n", "--no-print-directory", "-C", str(root), target, *changes]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "tso-dso report somewhere -o page" in told.splitlines()[-1]
    return [line.split(" sweep ")[1].split() for line in told.splitlines() if "tso-dso sweep" in line]


def test_make_scale_sweeps_the_targets_sizes_to_their_gaps_in_their_times(swept):
    lines = sweeps("scale", "RESULTS=somewhere", "OUT=page")
    specs = [spec for words in lines for spec in swept(*words)]
    assert all(words[-2:] == ["-o", "somewhere"] for words in lines)
    for congestion, network, most in (
        ("moderate", "fixed", 1000),
        ("strong", "fixed", 100),
        ("moderate", "scaled", 20),
    ):
        own = [
            spec
            for spec in specs
            if (spec.options.congestion, spec.options.network) == (congestion, network)
            and spec.method == "auto"
            and spec.gap != 0.01  # the curve to one gap
        ]
        reached = {(spec.n_adns, spec.options.partners): spec for spec in own}
        assert len(own) == len(reached)
        assert {where: spec.gap for where, spec in reached.items()} == {
            where: gap for where, (gap, _) in TARGETS.items() if where[0] <= most
        }
        for where, spec in reached.items():
            wall_s = TARGETS[where][1]
            assert SOLVING * wall_s <= spec.time_limit <= (wall_s if where[0] < 100 else 0.95 * wall_s)
    fit = {spec.n_adns for spec in specs if spec.gap == 0.01}
    assert fit == {10, 30, 100, 300} and {spec.method for spec in specs if spec.gap == 0.01} == {"auto"}
    units = {spec.n_adns for spec in specs if spec.method == "relaxation"}
    assert units == {1, 5, 20, 100}
    assert sum(spec.time_limit for spec in specs) == pytest.approx(109 * 60, abs=60)  # as `make help` says


def test_make_scale_takes_fewer_sizes_and_more_seeds(swept):
    without = ("SCALE_1000=", "SCALE_300=", "SCALE_FIT=", "SCALE_UNIT=")
    lines = sweeps("scale", "RESULTS=somewhere", "OUT=page", *without, "SCALE=--seeds 3")
    specs = [spec for words in lines for spec in swept(*words)]
    assert len(lines) == 3 and {spec.seed for spec in specs} == {0, 1, 2}
    assert max(spec.n_adns for spec in specs) == 100


def test_make_growth_is_a_study_that_the_fits_can_use_and_ends_within_its_time(swept):
    (words,) = sweeps("growth", "RESULTS=somewhere", "OUT=page")
    specs = swept(*words)
    n_adns = sorted({spec.n_adns for spec in specs})
    assert len(n_adns) >= 8 and {spec.seed for spec in specs} == set(range(5))
    assert len(specs) == 5 * len(n_adns) and {spec.method for spec in specs} == {rivals.DEFAULT}
    assert {(spec.options.network, spec.options.partners) for spec in specs} == {("scaled", "nearest:4")}
    steps = [b / a for a, b in zip(n_adns[3:], n_adns[4:], strict=False)]  # below, whole numbers are too few
    assert max(steps) < 1.25 * min(steps)
    # Up to 11 ADNs a run takes seconds; beyond, the solver may take all of its limit.
    long_ones = [spec.time_limit + 30 for spec in specs if spec.n_adns >= 12]
    assert sum(long_ones) + 6 * (len(specs) - len(long_ones)) < 180 * 60
    assert n_adns[-1] == 100


def test_make_rivals_races_all_methods_to_one_percent_within_ten_minutes(swept):
    (words,) = sweeps("rivals", "RESULTS=somewhere", "OUT=page")
    specs = swept(*words)
    assert {spec.method for spec in specs} == set(METHODS) and {spec.n_adns for spec in specs} == {1, 5}
    assert {(spec.gap, spec.time_limit) for spec in specs} == {(0.01, 600.0)}


# The report.


def race(n: int = 5, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
    """One race: the default in 2 s, the relaxation in 1 s, and rivals of every ending."""
    endings: dict[tuple[str, str], tuple[str, float | None]] = {
        ("auto", "big_m"): ("certified", 2.0),
        ("relaxation", "big_m"): ("gap_limit", 1.0),
        ("highs", "big_m"): ("certified", 30.0),
        ("naive", "big_m"): ("time_limit", None),
        ("scip", "sos1"): ("gap_limit", 50.0),
        ("gurobi", "sos1"): ("error", 0.1),
        ("mindtpy", "big_m"): ("skipped", None),
    }
    return [
        row(
            n, seed=seed, changes=more, method=method, mode=mode, status=status, run_id=f"{method}-{n}-{seed}"
        )
        | {"solve_s": seconds, "total_s": None if seconds is None else seconds + 1, "time_limit_s": 60.0}
        for (method, mode), (status, seconds) in endings.items()
    ]


def standing(folder: Path, records: list[dict[str, Any]]) -> dict[str, rivals.Standing]:
    found = rivals.standings(read_results(results(folder, records)).rows)
    return {one.method: one for one in found}


def test_times_are_ratios_and_a_limit_makes_them_more_than(tmp_path):
    found = standing(tmp_path, race())
    told = {method: one.slower and one.slower.words for method, one in found.items()}
    assert told == {
        **{"auto": None, "relaxation": None, "highs": "15", "naive": "more than 30", "scip": "more than 30"},
        **{"gurobi": None, "mindtpy": None},
    }
    assert next(iter(found)) == "auto"


def test_effort_is_told_in_conic_relaxations(tmp_path):
    found = standing(tmp_path / "all", race())
    efforts = {name: (one.solve_effort, one.total_effort) for name, one in found.items()}
    assert efforts["auto"] == (rivals.Ratio(2.0), rivals.Ratio(3.0))
    assert efforts["relaxation"] == (rivals.Ratio(1.0), rivals.Ratio(2.0))
    assert efforts["gurobi"] == efforts["mindtpy"] == efforts["naive"] == (None, None)
    slow = [
        record | {"status": "time_limit"} if "relaxation" in record["run_id"] else record for record in race()
    ]
    found = standing(tmp_path / "slow", slow)
    assert found["auto"].total_effort == rivals.Ratio(3.0 / 60.0, "less than ")
    assert found["naive"].total_effort is None


def test_nothing_is_divided_by_a_default_that_did_not_get_there(tmp_path):
    records = [
        record | {"status": "gap_limit"} if record["method"] == "auto" else record for record in race()
    ]
    found = standing(tmp_path, records)
    assert all(one.slower is None for one in found.values())
    assert found["auto"].solve_effort == rivals.Ratio(2.0)


def test_only_the_same_instance_gap_and_limit_make_a_race(tmp_path):
    alone = [row(1), row(1, method="scip", gap_target=0.5), row(1, "complete", method="highs")]
    assert standing(tmp_path / "apart", alone) == {}
    assert standing(tmp_path / "one", [row(1), row(2)]) == {}
    other_seed = [row(1, seed=0), row(1, seed=1, method="scip")]
    assert standing(tmp_path / "seeds", other_seed)["scip"].slower is None


def test_medians_over_seeds_and_a_limit_in_them(tmp_path):
    records = race(seed=0) + race(seed=1) + race(seed=2)
    for record, seconds in zip(
        [r for r in records if r["method"] == "highs"], (10.0, 30.0, 90.0), strict=True
    ):
        record["solve_s"] = seconds
    found = standing(tmp_path / "a", records)
    assert found["highs"].slower == rivals.Ratio(15.0) and found["highs"].n_reached == 3
    records[2] |= {"status": "time_limit"}
    found = standing(tmp_path / "b", records)["highs"]
    assert found.slower == rivals.Ratio(30.0, "more than ") and found.n_reached == 2
    assert found.outcome == "1 time_limit, 2 certified"


def test_the_report_states_the_ratios_and_keeps_rivals_out_of_the_study(tmp_path):
    records = [record for n in (1, 2, 3, 5) for record in race(n)]
    page = write_report(results(tmp_path / "in", records), tmp_path / "out")
    words = (page.parent / "report.md").read_text()
    assert (
        "Time to a gap of 0.1 % at N = 5 (nearest:4), in multiples of auto's, with a time limit of 60 s: "
        "gurobi no time (error), highs 15, mindtpy no time (skipped), naive more than 30, scip more than 30."
        in words
    )
    assert "auto takes 3 in total (2 to solve) at N = 5 (nearest:4)" in words
    assert (
        "about the default method auto (4 of 28 runs), in one design" in words
        and "28 runs, N = 1 to 5" in words
    )
    assert "Variables grow linearly with nearest:4; solve time" in words  # no curve for every method
    assert re.search(r"\| 5 \| nearest:4, scip, sos1 \|", words)  # but a line for every run
    assert len(rivals.table(rivals.standings(read_results(tmp_path / "in").rows)).lines) == 28


def test_a_report_without_the_default_method_is_about_what_there_is(tmp_path):
    records = [row(n, method=method) for n in (1, 2, 3) for method in ("highs", "scip")]
    words = (
        write_report(results(tmp_path / "in", records), tmp_path / "out").parent / "report.md"
    ).read_text()
    assert "with nearest:4, highs" in words and "the default method" not in words.split("## How")[0]
    assert "No method can be set against auto or the conic relaxation." in words
