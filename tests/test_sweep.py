"""The sweep: order, resuming, damaged files, and runs that crash, hang or eat the memory."""

import fcntl
import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import benchmarks.sweep
from benchmarks import runner, sizes
from benchmarks.records import Row, Settings, Spec, identify
from benchmarks.sweep import recorded, sweep
from generators import Options, instance
from model.certificate import Certificate
from model.counts import coefficients, predict
from model.data import InputError
from model.outcome import Outcome
from model.schemes import build

# Behaves by the number of ADNs, so that one sweep meets every kind of child.
CHILD = """
import json, os, signal, subprocess, sys, time
spec = json.load(sys.stdin)
with open(sys.argv[1], "a") as facts:
    def tell(**news):
        print(json.dumps(news), file=facts, flush=True)
    tell(phase="generate")
    tell(generate_s=0.5, peak_mb=1.0)
    tell(phase="build")
    match spec["n_adns"]:
        case 1:
            tell(build_s=1.0, compile_s=1.0, solve_s=1.0, certify_s=1.0)
            tell(status="certified", gap=float("inf"), done=True)
        case 2:
            print("some noise", file=sys.stderr)
            raise RuntimeError("the roof is on fire")
        case 3:
            grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            tell(message=str(grandchild.pid))
            time.sleep(60)
        case 4:
            eaten = bytearray(400_000_000)
            eaten[::4096] = b"x" * len(eaten[::4096])
            time.sleep(60)
        case 5:
            os.kill(os.getpid(), signal.SIGKILL)
        case 6:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 7:
            tell(status="skipped", message="mode: got 'sos1'; allowed: big_m", done=True)
        case 8:
            for phase in ("compile", "solve", "certify"):
                tell(phase=phase)
                tell(progress="at work")
            time.sleep(0.5)  # so that the sweep looks at the clock before the end is told
            tell(status="certified", done=True)
"""


@pytest.fixture
def worker(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    return (sys.executable, str(script))


def spec(n_adns: int, **changes) -> Spec:
    return Spec(**{"n_adns": n_adns, "time_limit": 0.5, "memory_limit": 200} | changes)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def run_one(n_adns: int, folder: Path, worker, **changes) -> Row:
    (row,) = sweep([spec(n_adns, **changes)], folder, worker=worker, grace_s=0.2)
    return row


def test_a_finished_run_is_a_row_in_the_stated_order_of_keys(tmp_path, worker):
    run_one(1, tmp_path / "out", worker)
    (row,) = lines(tmp_path / "out")
    assert list(row) == list(Row.model_fields)
    assert (row["status"], row["total_s"], row["gap"]) == ("certified", 4.5, None)
    assert row["options"] == Options().model_dump()
    assert (row["partners"], row["hours"], row["gap_target"]) == ("nearest:4", 24, 1e-3)


def test_a_crash_is_an_error_row_with_the_last_line_and_the_finished_phases(tmp_path, worker):
    row = run_one(2, tmp_path, worker)
    assert (row.status, row.message) == ("error", "RuntimeError: the roof is on fire")
    assert (row.generate_s, row.build_s, row.total_s) == (0.5, None, None)


def test_a_hanging_run_is_ended_with_its_descendants(tmp_path, worker):
    start = time.monotonic()
    told: list[dict] = []
    (row,) = sweep([spec(3)], tmp_path, lambda spec, news: told.append(news), worker, grace_s=0.5)
    assert row.status == "time_limit" and "in phase build after 1 s" in row.message
    assert row.generate_s == 0.5
    assert time.monotonic() - start < 10
    grandchild = next(int(news["message"]) for news in told if "message" in news)
    assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE


def test_the_time_limit_is_that_of_each_phase_not_of_the_run(tmp_path, worker, monkeypatch):
    ahead_s = 0.0

    def watch(spec, news):
        nonlocal ahead_s
        if "progress" in news:
            ahead_s += 0.8 * (100 + 20)

    class Clock:
        monotonic = staticmethod(lambda: time.monotonic() + ahead_s)

    monkeypatch.setattr(benchmarks.sweep, "time", Clock)
    (row,) = sweep([spec(8, time_limit=100)], tmp_path, watch, worker, grace_s=20)
    assert row.status == "certified", row.message
    assert ahead_s > 2 * (100 + 20)


def test_a_run_that_eats_the_memory_is_ended(tmp_path, worker):
    row = run_one(4, tmp_path, worker, time_limit=30)
    assert row.status == "memory_limit" and "of 200 MB" in row.message
    assert 200 < row.peak_mb < 500


@pytest.mark.parametrize(("n_adns", "status", "words"), [
    (5, "memory_limit", "killed by the system"),
    (6, "error", "SIGSEGV"),
    (7, "skipped", "mode: got 'sos1'"),
])  # fmt: skip
def test_other_endings(n_adns, status, words, tmp_path, worker):
    row = run_one(n_adns, tmp_path, worker)
    assert row.status == status and words in row.message


def test_the_sweep_goes_on_after_failures_and_resumes_without_repeating(tmp_path, worker):
    specs = [spec(n, seed=seed) for n in (2, 1) for seed in (0, 1)]
    assert len(sweep(specs[:2], tmp_path, worker=worker)) == 2
    rows = sweep(specs, tmp_path, worker=worker)
    assert {(row.n_adns, row.seed) for row in rows} == {(1, 0), (1, 1)}
    assert sweep(specs, tmp_path, worker=worker) == []
    assert len({row["run_id"] for row in lines(tmp_path)}) == 4


def test_a_raised_limit_is_another_run_and_other_fields_too():
    base = spec(1)
    others = [
        spec(1, memory_limit=300),
        spec(1, seed=1),
        spec(1, options=Options(hours=2)),
        spec(1, method="highs"),
    ]
    assert len({s.run_id for s in [base, *others]}) == 5
    assert spec(1).run_id == base.run_id


def test_another_version_of_what_is_measured_is_another_run(monkeypatch):
    def names() -> set[str]:
        return {spec(1).run_id, identify(64 * "a", Settings())}

    before = names()
    assert names() == before
    monkeypatch.setattr(sizes, "VERSION", f"{sizes.VERSION}.1")
    assert len(before | names()) == 4


def test_skipped_runs_are_rows(tmp_path, worker):
    rows = sweep([spec(n) for n in (3, 6, 8)], tmp_path, worker=worker, grace_s=0.1)
    statuses = {row.n_adns: row.status for row in rows}
    assert statuses[3] == "time_limit" and "skipped" in statuses.values()
    skipped = next(row for row in rows if row.status == "skipped")
    assert skipped.message == "not tried: a limit stopped the run of this method with 3 ADNs"
    assert skipped.options == Options().model_dump() and skipped.gap_target == 1e-3
    assert len(lines(tmp_path)) == 3


def test_memory_is_told_phase_by_phase():
    recorder = runner.Recorder(owns_process=True)
    with recorder.phase("build"):
        eaten = np.ones(20_000_000)
    del eaten
    with recorder.phase("compile"):
        pass
    facts = recorder.facts
    assert facts["build_mb"] > facts["compile_mb"] + 100
    assert facts["peak_mb"] == facts["build_mb"]


def test_a_run_that_a_limit_ends_says_in_which_phase_and_after_how_long(tmp_path, worker):
    hangs = run_one(3, tmp_path / "hangs", worker)
    assert hangs.stopped_in == "build" and 0.6 < hangs.build_s < 5 and hangs.solve_s is None
    eats = run_one(4, tmp_path / "eats", worker, time_limit=30)
    assert eats.stopped_in == "build" and eats.build_s > 0 and eats.build_mb > 200


@pytest.mark.parametrize("tail", [b'{"run_id": "cut o', b'{"run_id": "whole"}', b""])
def test_a_last_line_cut_off_is_repaired(tail, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"run_id": "one"}\nnot json\n{"run_id": "two"}\n' + tail)
    with path.open("a+b") as file:
        found = recorded(file)
        file.write(b'{"run_id": "three"}\n')
    assert set(found) == {"one", "two"} | ({"whole"} if b"whole" in tail else set())
    kept = path.read_text().splitlines()
    assert kept[:3] == ['{"run_id": "one"}', "not json", '{"run_id": "two"}']
    assert kept[3:] == ([tail.decode()] if b"whole" in tail else []) + ['{"run_id": "three"}']


def test_a_folder_below_a_file_and_a_folder_in_use_are_refused(tmp_path, worker, monkeypatch):
    monkeypatch.setattr("benchmarks.sweep.LOCK_S", 0.1)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="output: got .* a folder that can be written"):
        sweep([spec(1)], tmp_path / "file" / "results", worker=worker)

    def intrude(spec, news):
        with pytest.raises(InputError, match="no other sweep"):
            sweep([], tmp_path / "results")

    sweep([spec(1)], tmp_path / "results", intrude, worker)


def test_a_lock_that_a_killed_sweep_left_to_its_child_is_waited_for(tmp_path, worker):
    """Between fork and exec a child has the file open; without a wait, resuming at once would be refused."""
    held = open(tmp_path / "rows.jsonl", "a+b")  # noqa: SIM115
    fcntl.flock(held, fcntl.LOCK_EX)
    released = threading.Timer(0.3, held.close)
    released.start()
    assert len(sweep([spec(1)], tmp_path, worker=worker)) == 1
    released.join()


def test_an_interrupted_sweep_leaves_no_row_and_no_process(tmp_path, worker):
    def interrupt(spec, news):
        raise KeyboardInterrupt

    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        sweep([spec(3)], tmp_path, interrupt, worker)
    assert (tmp_path / "rows.jsonl").read_text() == ""
    assert psutil.Process().children() == before


def test_the_real_worker_measures_every_phase(tmp_path):
    order = Spec(n_adns=1, gap=0.05, memory_limit=500, options=Options(hours=2))
    (row,) = sweep([order], tmp_path)  # the limit leaves room for what libraries reserve and never use
    assert row.status == "certified", row.message
    assert row.instance and row.n_arcs == 0 and row.predicted
    assert min(row.generate_s, row.build_s, row.compile_s, row.solve_s, row.certify_s, row.reference_s) > 0
    assert row.total_s == pytest.approx(
        row.generate_s + row.build_s + row.compile_s + row.solve_s + row.certify_s
    )
    assert 50 < row.peak_mb < 500
    by_phase = (row.generate_mb, row.build_mb, row.compile_mb, row.solve_mb, row.certify_mb)
    assert min(by_phase) > 50 and max(by_phase) <= row.peak_mb
    table = (tmp_path / "schedules" / f"{row.run_id}.csv").read_text().splitlines()
    assert table[0].startswith("adn,hour,host_bus,") and len(table) == 1 + 2


def test_the_runner_as_a_command_reports_a_refusal(tmp_path):
    order = Spec(n_adns=1, method="abacus", options=Options(hours=1))
    facts = tmp_path / "facts.jsonl"
    command = [sys.executable, "-m", "benchmarks.runner", str(facts), str(tmp_path / "schedule.csv")]
    subprocess.run(command, input=order.model_dump_json().encode(), check=True, cwd=Path(__file__).parents[1])
    last = json.loads(facts.read_text().splitlines()[-1])
    assert last["status"] == "skipped" and last["message"].startswith("method: got 'abacus'")


def test_every_setting_reaches_what_it_sets(monkeypatch):
    arrived = {}

    def note_and_build(case, scheme="dso-led", mode="big_m", stamped=False):
        arrived.update(scheme=scheme, mode=mode, stamped=stamped)
        return build(case, mode=mode, stamped=stamped)

    def note(problem, program, method="auto", gap=1e-3, time_limit_s=600.0, progress=None):
        arrived.update(method=method, gap=gap, time_limit=time_limit_s)
        return Outcome("error")

    def note_and_certify(problem, program, outcome, gap=1e-3):
        arrived.update(certified_gap=gap)
        return Certificate("error", "")

    monkeypatch.setattr("model.schemes.build", note_and_build)
    monkeypatch.setattr("model.solvers.solve", note)
    monkeypatch.setattr("model.certificate.certify", note_and_certify)
    # Nothing here is the default, and the stubs take names that are not registered.
    settings = Settings(scheme="a scheme", mode="sos1", method="a method", gap=0.125, time_limit=77)
    case, recorder = instance(1, hours=1), runner.Recorder()
    runner.measure(case, settings, recorder)
    assert arrived == settings.model_dump() | {"certified_gap": settings.gap, "stamped": True}
    assert recorder.facts["predicted"] == predict(case, "sos1") != predict(case, "big_m")
    assert recorder.facts["coefficients"] == coefficients(case, "sos1") != coefficients(case, "big_m")


@pytest.mark.parametrize(("method", "stamped"), [("auto", True), ("highs", True), ("scip", False)])
def test_only_methods_that_read_the_pyomo_model_get_it_whole(method, stamped, monkeypatch):
    asked = []

    def note(case, scheme, mode, stamped):
        asked.append(stamped)
        raise InputError("scheme", scheme, "none")

    monkeypatch.setattr("model.schemes.build", note)
    with pytest.raises(InputError):
        runner.measure(instance(1, hours=1), Settings(method=method), runner.Recorder())
    assert asked == [stamped]


@pytest.mark.parametrize(("failure", "status", "message"), [
    (ZeroDivisionError("float division\nby zero"), "error", "ZeroDivisionError: float division by zero"),
    (np.linalg.LinAlgError("singular"), "error", "LinAlgError: singular"),
    (MemoryError(), "memory_limit", "no memory left"),
    (type("PanicException", (BaseException,), {})("index"), "error", "PanicException: index"),
])  # fmt: skip
def test_an_unexpected_exception_is_a_fact_of_the_run(failure, status, message, tmp_path, monkeypatch):
    def fail(*words, **options):
        raise failure

    monkeypatch.setattr("model.solvers.solve", fail)
    monkeypatch.setattr(runner, "warm_up", lambda: None)
    order = Spec(n_adns=1, options=Options(hours=1))
    monkeypatch.setattr("sys.stdin", io.StringIO(order.model_dump_json()))
    runner.main(str(tmp_path / "facts.jsonl"), str(tmp_path / "schedule.csv"))
    facts: dict = {}
    for line in (tmp_path / "facts.jsonl").read_text().splitlines():
        facts |= json.loads(line)
    assert (facts["status"], facts["message"], facts["done"]) == (status, message, True)
    assert facts["compile_s"] > 0 and "solve_s" not in facts


@pytest.mark.parametrize("scheme", ["dso-led", "tso-led", "uncoordinated"])
def test_a_row_holds_the_measures_of_its_schedule(scheme):
    recorder = runner.Recorder()
    settings = Settings(scheme=scheme)
    found = runner.measure(instance(1, hours=2), settings, recorder)
    row = recorder.row(**runner.order_of(settings), run_id="one")
    assert (row.scheme, row.status) == (scheme, "certified")
    assert row.measures["import_mwh"] == pytest.approx(found.schedule["p_boundary_mw"].clip(lower=0).sum())
    assert row.total_s > row.solve_s > 0
    assert bool(row.ranges) == bool(row.figures) == (scheme == "tso-led")
    if row.ranges:
        low, high = row.ranges["battery_mwh"]
        assert low <= row.measures["battery_mwh"] <= high
    assert Row.model_validate_json(row.model_dump_json()) == row


@pytest.mark.parametrize(("field", "value"), [("method", "highs"), ("mode", "sos1")])
def test_a_scheme_of_several_programs_has_no_method_to_choose(field, value):
    with pytest.raises(InputError, match=f"{field}: got '{value}'; allowed: .* with scheme nash"):
        runner.check(Settings(scheme="nash", **{field: value}))


@pytest.mark.parametrize("scheme", ["dso-led", "tso-led"])
def test_a_row_says_that_the_solver_itself_met_the_time_limit(scheme):
    recorder = runner.Recorder()
    settings = Settings(scheme=scheme, time_limit=1e-6)
    runner.measure(instance(2), settings, recorder)
    row = recorder.row(**runner.order_of(settings), run_id="one")
    assert (row.status, row.stopped_in) == ("time_limit", "solve") and row.total_s > 0
