"""The command line: what it writes, what it refuses, and with which exit status."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_reports import results, row
from toys import toy

import tso_dso
from benchmarks.records import Row
from generators import Options, instance
from model.data import Instance


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder; returns its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tso_dso, "end_cleanly", lambda: None)  # the signals of this process are pytest's

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            tso_dso.main([str(word) for word in words])
        told = capsys.readouterr()
        return end.value.code or 0, told.out, told.err

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def case() -> dict:
    """A small instance as JSON data, to be spoilt."""
    return json.loads(instance(1, hours=2).to_json())


def test_help_shows_an_example_for_every_command(run):
    for command in ("generate", "solve", "sweep", "compare", "report"):
        status, told, _ = run(command, "--help")
        assert status == 0 and f"Example: tso-dso {command} " in told
    status, told, _ = run("--help")
    assert status == 0 and "Example:" in told and "sweep" in told


def test_every_generator_option_is_offered_with_its_default(run):
    told = " ".join(run("generate", "--help")[1].split())
    for name, field in Options.model_fields.items():
        assert f"--{name.replace('_', '-')} " in told
        assert f"default {field.default})" in told


def test_generate_writes_the_instance_that_the_library_makes(run, tmp_path):
    status, told, _ = run(
        "generate", 2, "--seed", 7, "--hours", 3, "--partners", "complete", "-o", "two.json"
    )
    case = Instance.read(tmp_path / "two.json")
    assert status == 0 and case.digest() in told
    assert case == instance(2, seed=7, hours=3, partners="complete")
    assert files(tmp_path) == ["two.json"]


def test_generate_to_standard_output_is_the_instance_alone(run):
    status, told, _ = run("generate", 1, "--hours", 2)
    assert status == 0 and Instance.from_json(told) == instance(1, hours=2)


def test_solve_writes_row_certificate_and_schedule(run, tmp_path):
    run("generate", 1, "--hours", 2, "-o", "one.json")
    status, told, errors = run("solve", "one.json", "--gap", "0.05", "-o", "new/out")
    assert (status, errors) == (0, ""), told
    assert "status: certified\n" in told
    assert files(tmp_path / "new" / "out") == ["certificate.json", "row.json", "schedule.csv"]
    row = json.loads((tmp_path / "new/out/row.json").read_text())
    assert list(row) == list(Row.model_fields)
    assert row["gap"] <= row["gap_target"] == 0.05 and row["generate_s"] is None
    certificate = json.loads((tmp_path / "new/out/certificate.json").read_text())
    assert certificate["objective"] == row["objective"]
    assert len((tmp_path / "new/out/schedule.csv").read_text().splitlines()) == 1 + 2


def test_solve_says_when_the_gap_is_not_certified(run, tmp_path):
    """A rent of a percent stays: ramps rule price regions out, and HiGHS cannot branch on ordered sets."""
    run("generate", 1, "--hours", 2, "--network", "scaled", "-o", "one.json")
    case = json.loads(Path("one.json").read_text())
    for gen in case["transmission"]["gens"]:
        gen["ramp_mw_per_h"] = 1000.0
    Path("one.json").write_text(json.dumps(case))
    status, told, _ = run("solve", "one.json", "--mode", "sos1", "-o", "out")
    assert status == 1 and "status: gap_limit\n" in told
    row = json.loads((tmp_path / "out/row.json").read_text())
    assert row["status"] == "gap_limit" and row["gap"] > 0.01


def test_solve_says_where_the_relaxation_is_not_exact_and_by_how_much(run, tmp_path):
    paid = toy(1, 2, settlement="tariff").model_copy(update={"tariff_per_mwh": (-60.0, 40.0)})
    (tmp_path / "case.json").write_text(paid.to_json())
    status, told, _ = run("solve", "case.json", "-o", "out")
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert status == 0 and certificate["relaxation"] == "not exact"
    slack = f"{certificate['relaxation_slack']:.3g}"
    assert f"not exact: {slack} MWh are lost that no power flow explains" in " ".join(told.split())


@pytest.mark.long
def test_sweep_resumes_and_report_reads_it(run, tmp_path):
    order = ("sweep", "--adns", "1", "--hours", "1,2", "--gap", "0.05", "-o", "results")
    status, told, _ = run(*order)
    header, *rows = told.splitlines()
    assert status == 0 and header.startswith("n_adns\tseed\tpartners") and header.endswith("\tleft_s")
    assert [line.split("\t")[5] for line in rows] == ["certified", "certified"]
    assert [line.split("\t")[10] for line in rows] == ["dso-led", "dso-led"]
    assert float(rows[0].split("\t")[-1]) > 0 and rows[1].split("\t")[-1] == "0"
    status, told, errors = run(*order)
    assert status == 0 and told == ""
    assert "0 runs added" in errors and "2 were there" in errors
    path = tmp_path / "results" / "rows.jsonl"
    path.write_text(re.sub('"commit":[^,]*,', '"commit":"0123abc",', path.read_text()))
    assert "from other code, commit 0123abc" in run(*order)[2]
    status, told, _ = run("report", "results", "-o", "page")
    assert status == 0 and told == "report: page/index.html\n"
    assert "<html" in (tmp_path / "page" / "index.html").read_text()


def spoil_unknown_bus(case):
    case["transmission"]["branches"][0]["f_bus"] = 999


def spoil_unknown_feeder_bus(case):
    case["feeders"][0]["branches"][3]["t_bus"] = 999


def spoil_loop(case):
    branch = case["feeders"][0]["branches"][0]
    case["feeders"][0]["branches"].append(branch | {"f_bus": 18, "t_bus": 33})


def spoil_resistance(case):
    case["feeders"][0]["branches"][0]["br_r_ohm"] = -0.1


def spoil_pv_on_root(case):
    case["feeders"][0]["pv"][0]["bus"] = case["feeders"][0]["root_bus"]


def spoil_nan(case):
    case["feeders"][0]["pv"][0]["available_mw"][0] = float("nan")


def spoil_length(case):
    case["feeders"][0]["buses"][1]["pd_mw"].append(0.1)


@pytest.mark.parametrize(("spoil", "named"), [
    (spoil_unknown_bus, ["transmission.branches[0].f_bus", "999", "a bus_i of this network"]),
    (spoil_unknown_feeder_bus, ["feeders[0].branches[3].t_bus", "999", "a bus_i of this feeder"]),
    (spoil_loop, ["feeders[0].branches", "33 branches on 33 buses", "a tree"]),
    (spoil_resistance, ["feeders[0].branches[0].br_r_ohm", "-0.1", "greater than or equal to"]),
    (spoil_pv_on_root, ["feeders[0].pv[0].bus", "got 1", "never the root"]),
    (spoil_nan, ["feeders[0].pv[0].available_mw[0]", "nan", "finite number"]),
    (spoil_length, ["feeders[0].buses[1].pd_mw", "3 values", "2 hours"]),
])  # fmt: skip
def test_a_wrong_instance_is_refused(spoil, named, case, run, tmp_path):
    wrong = json.loads(json.dumps(case))
    spoil(wrong)
    Path("wrong.json").write_text(json.dumps(wrong))
    refused(run("solve", "wrong.json", "-o", "out"), named)
    assert files(tmp_path) == ["wrong.json"]


GENERATE = ("generate", 1, "-o", "one.json")
SWEEP = ("sweep", "-o", "out", "--adns")


@pytest.mark.parametrize(("words", "named"), [
    (("generate", 0, "-o", "zero.json"), ["n_adns", "'0'", "greater than or equal to 1"]),
    (("generate", -1), ["n_adns", "'-1'", "greater than or equal to 1"]),
    (("generate", "-o", "x", "-12"), ["n_adns", "'-12'", "greater than or equal to 1"]),
    (("generate", 2, "-o", ""), ["output", "''", "a file name"]),
    (("generate", 2, "-o", "."), ["output", "'.'", "a regular file"]),
    (("solve", "good.json", "-o", ""), ["output", "''", "a folder name"]),
    (("solve", "", "-o", "out"), ["instance file", "''", "a file name"]),
    (("sweep", "--adns", "1", "-o", ""), ["output", "''", "a folder name"]),
    (("report", "good.json", "-o", ""), ["output", "''", "a folder name"]),
    (("report", "", "-o", "out"), ["results folder", "''", "a folder name"]),
    (("report", "results"), ["output", "''", "a folder name, given by -o"]),
    (("sweep", "--adns", "1", "--scheduler", "", "-o", "out"), ["scheduler", "''", "running dask scheduler"]),
    ((*GENERATE, "--wheeling-per-mwh", "1e-6"), ["wheeling_per_mwh", "'1e-6'", "equal to 0.001"]),
    (("generate", "many", "-o", "many.json"), ["n_adns", "'many'", "integer"]),
    ((*GENERATE, "--seed", "-1"), ["seed", "'-1'", "greater than or equal to 0"]),
    ((*GENERATE, "--hours", "1000"), ["hours", "'1000'", "168"]),
    ((*GENERATE, "--settlement", "barter"), ["settlement", "'barter'", "'lmp' or 'tariff'"]),
    ((*GENERATE, "--partners", "farthest"), ["partners", "'farthest'", "nearest:k"]),
    (("generate", 1, "-o", "file/one.json"), ["output", "'file/one.json'", "written (Not a directory)"]),
    (("generate", 1, "-o", "nowhere/one.json"), ["output", "'nowhere/one.json'", "No such file"]),
    (("solve", "file", "-o", "out"), ["instance", "Invalid JSON"]),
    (("solve", "nothing.json", "-o", "out"), ["instance file", "'nothing.json'", "readable file"]),
    (("solve", "good.json", "-o", "file/out"), ["output", "'file/out'", "folder that can be written"]),
    (("solve", "good.json", "-o", "out", "--method", "abacus"), ["method", "'abacus'", "auto"]),
    (("solve", "good.json", "-o", "out", "--mode", "hope"), ["mode", "'hope'", "big_m"]),
    (("solve", "good.json", "-o", "out", "--scheme", "anarchy"), ["scheme", "'anarchy'", "dso-led"]),
    (("solve", "good.json", "-o", "out", "--gap", "0"), ["gap", "'0'", "greater than 0"]),
    (("solve", "good.json", "-o", "out", "--time-limit", "nan"), ["time_limit", "'nan'", "finite number"]),
    ((*SWEEP, "1,0"), ["n_adns", "'0'", "greater than or equal to 1"]),
    ((*SWEEP, "1,,2"), ["n_adns", "''", "integer"]),
    ((*SWEEP, "1", "--seeds", "0"), ["seeds", "'0'", "whole number from 1"]),
    ((*SWEEP, "1", "--method", "auto,abacus"), ["method", "'abacus'", "auto"]),
    ((*SWEEP, "1", "--memory-limit", "-5"), ["memory_limit", "'-5'", "greater than 0"]),
    (("sweep", "--adns", "1", "-o", "file/out"), ["output", "'file/out'", "folder that can be written"]),
    (("report", "nothing", "-o", "out"), ["results folder", "'nothing'", "existing folder"]),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line_before_anything_is_written(words, named, case, run, tmp_path):
    Path("file").write_text("not an instance")
    Path("good.json").write_text(json.dumps(case))
    refused(run(*words), named)
    assert files(tmp_path) == ["file", "good.json"]


def refused(result: tuple[int, str, str], named: list[str]) -> None:
    status, told, errors = result
    assert (status, told) == (2, "")
    assert errors.startswith("error: ") and errors.count("\n") == 1 and errors.endswith("\n")
    assert ": got " in errors and "; allowed: " in errors
    for words in named:
        assert words in errors


def test_a_solver_without_licence_is_refused(run, case, monkeypatch, tmp_path):
    from model.solvers import gurobi

    monkeypatch.setattr(gurobi, "available", lambda: "a method with a licence: gurobi has none here")
    Path("good.json").write_text(json.dumps(case))
    refused(run("solve", "good.json", "--method", "gurobi", "-o", "out"), ["method", "'gurobi'", "licence"])
    refused(run("sweep", "--adns", 1, "--method", "gurobi", "-o", "out"), ["method", "'gurobi'", "licence"])
    assert files(tmp_path) == ["good.json"]


@pytest.mark.parametrize(("words", "named"), [
    (("generate",), "Missing argument"),
    (("generate", 1, "--colour", "red"), "No such option: --colour"),
    (("generate", 1, "-x"), "No such option: -x"),
    (("solve", "-1", "-o", "out"), "No such option: -1"),
    (("solve", "good.json"), "Missing option"),
    (("dance",), "No such command 'dance'"),
])  # fmt: skip
def test_a_wrong_command_line_is_one_line_too(words, named, run):
    status, told, errors = run(*words)
    assert (status, told, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("error: ") and named in errors


def test_a_refused_solve_leaves_the_folder_as_it_was(run, case, monkeypatch, tmp_path):
    from model.data import InputError

    def refuse(*words, **options):
        raise InputError("mode", "sos1", "a mode that this method can solve")

    Path("good.json").write_text(json.dumps(case))
    Path("old").mkdir()
    Path("old/row.json").write_text("{}")
    monkeypatch.setattr("benchmarks.runner.measure", refuse)
    for folder in ("old", "new/deep"):
        refused(run("solve", "good.json", "-o", folder), ["mode", "sos1"])
    assert files(tmp_path) == ["good.json", "old", "old/row.json"]


def test_solve_turns_an_unexpected_exception_into_a_row(run, case, monkeypatch, tmp_path):
    def fail(*words, **options):
        raise OverflowError("Result too large")

    Path("good.json").write_text(json.dumps(case))
    Path("out").mkdir()
    Path("out/schedule.csv").write_text("of an earlier solve")
    monkeypatch.setattr("model.solvers.solve", fail)
    status, told, errors = run("solve", "good.json", "-o", "out")
    assert (status, errors) == (1, "") and "status: error\n" in told
    assert "message: OverflowError: Result too large\n" in told
    assert files(tmp_path / "out") == ["certificate.json", "row.json"]
    row = json.loads((tmp_path / "out/row.json").read_text())
    assert list(row) == list(Row.model_fields)
    assert (row["status"], row["message"]) == ("error", "OverflowError: Result too large")
    assert row["compile_s"] > 0 and row["n_vars"] > 0 and row["solve_s"] is row["total_s"] is None
    certificate = json.loads((tmp_path / "out/certificate.json").read_text())
    assert (certificate["status"], certificate["objective"]) == ("error", None)


def test_help_of_solve_names_what_is_not_certified(run):
    told = " ".join(run("solve", "--help")[1].split())
    assert "1: not certified" in told
    for reason in ("gap", "time limit", "infeasible", "error"):
        assert reason in told.split("1: not certified")[1]


# A command at work: one function of it is replaced by a wait.
WAITING = """
import ctypes, time
import benchmarks.ending
import tso_dso
benchmarks.ending.GRACE_S = 0.2
def wait(*words, **options):
    print("waiting", flush=True)
    {wait}
import {module}
{module}.{name} = wait
tso_dso.main({words})
"""
ATTENTIVE = "time.sleep(60)"
DEAF = "pause = ctypes.CDLL(None).sleep; [pause(1) for _ in range(60)]"


@pytest.mark.long
@pytest.mark.parametrize(("module", "name", "words"), [
    ("benchmarks.runner", "measure", ["solve", "good.json", "-o", "new/out"]),
    ("os", "replace", ["generate", "1", "-o", "one.json"]),
    ("reports.publish", "_move", ["report", "results", "-o", "new/page"]),
])  # fmt: skip
def test_sigterm_leaves_nothing_half_written(module, name, words, case, run, tmp_path):
    Path("good.json").write_text(json.dumps(case))
    results(tmp_path / "results", [row(1)])
    before = files(tmp_path)
    assert end(WAITING.format(module=module, name=name, words=words, wait=ATTENTIVE), tmp_path) == 143
    assert files(tmp_path) == before


def test_sigterm_ends_a_solver_that_does_not_hear_it(case, run, tmp_path):
    """A solver's own code holds the main thread: nothing raised by a signal gets through."""
    Path("good.json").write_text(json.dumps(case))
    words = ["solve", "good.json", "-o", "new/out"]
    start = time.monotonic()
    code = WAITING.format(module="benchmarks.runner", name="measure", words=words, wait=DEAF)
    assert end(code, tmp_path) == 143 and time.monotonic() - start < 30
    assert files(tmp_path) == ["good.json"]


def end(code: str, folder: Path) -> int:
    """The exit status of a process that gets SIGTERM once it has said that it waits."""
    environment = os.environ | {"PYTHONPATH": str(Path(tso_dso.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"waiting\n", process.stderr.read()
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert errors == b"error: ended by SIGTERM\n"
        return process.returncode


def test_as_a_process_on_a_closed_pipe_there_is_no_traceback():
    command = [sys.executable, "-m", "tso_dso", "generate", "3"]
    environment = os.environ | {"PYTHONPATH": str(Path(tso_dso.__file__).parents[1])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
