"""Faults: a sweep that is killed or runs out of disk, and runs that crash, hang, flood or eat the memory.

Most workers here are small scripts without any import of the project, so that a run takes some
30 ms; the last group injects its faults into the real one.
"""

import json
import os
import random
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import benchmarks.sweep
import reports.page
import reports.publish
import tso_dso
from benchmarks import guard
from benchmarks.course import in_order
from benchmarks.records import Row, Spec
from benchmarks.sweep import sweep
from generators import Options
from model.data import InputError

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable, "-I", "-S")  # starts in some 10 ms
GONE_S = 10.0  # for the processes of a killed sweep; tenths of a second on an idle machine


def script(folder: Path, code: str) -> tuple[str, ...]:
    """The command of a worker with this code."""
    path = folder / "worker.py"
    path.write_text(code)
    return (*PYTHON, str(path))


def rows_in(folder: Path) -> list[Row]:
    lines = (folder / "rows.jsonl").read_bytes().splitlines()
    return [Row.model_validate_json(line) for line in lines if line]


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def seconds_until(condition: Callable[[], bool], limit_s: float = GONE_S) -> float:
    """How long it takes until a condition holds, ``limit_s`` at most."""
    start = time.monotonic()
    while not condition() and time.monotonic() < start + limit_s:
        time.sleep(0.005)
    return time.monotonic() - start


# 1. A sweep killed at any moment.

# Logs that it starts, leaves a schedule of known length and tells what makes a row, every other of 3 MB.
QUICK = """
import json, os, sys, time
spec = json.load(sys.stdin)
facts, schedule = sys.argv[1:]
run = os.path.basename(schedule).removesuffix(".csv")
with open(os.path.join(os.path.dirname(schedule), "..", "log"), "a") as log:
    log.write(f"{run} {os.getpid()}\\n")
with open(schedule + ".new", "w") as file:
    for k in range(20):
        file.write(f"{run} {k} of 20\\n" * 50)
        time.sleep(0.001)
os.replace(schedule + ".new", schedule)
with open(facts, "a") as file:
    words = "x" * (3_000_000 if spec["seed"] % 2 == 0 else 30)
    file.write(json.dumps({"status": "gap_limit", "message": words, "done": True}) + "\\n")
"""
RUNS = 30

# Starts a sweep for each line it reads, as a process of its own, and tells the id, then the exit code. It
# has imported what a sweep needs, so that fifty of them start in seconds.
STARTER = """
import json, os, sys, traceback
from pathlib import Path
import psutil
from benchmarks.records import Spec
from benchmarks.runner import surroundings
from benchmarks.sweep import sweep
specs = [Spec(**order) for order in json.loads(sys.argv[1])]
surroundings()
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            sweep(specs, Path(line.strip()), worker=sys.argv[2:])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def kill_campaign(folder: Path, kills: int, seed: int) -> dict[str, float]:
    """Kill sweeps in ``folder`` by SIGKILL at random moments, resuming each time, and count what went wrong.

    A third of the kills come at a random time, a third while a row grows in the file, a third while a run
    is at work. ``lost``, ``changed``, ``repeated``, ``damaged``, ``without_schedule``, ``orphans`` and
    ``failed`` must be 0. ``torn`` counts the kills that left a part of a row, ``longest_s`` is how long a run
    outlived its sweep, ``runs`` how many were begun.
    """
    draw = random.Random(seed)
    names = "kills rounds runs rows torn lost changed repeated damaged without_schedule orphans failed"
    counts: dict[str, float] = dict.fromkeys(names.split(), 0) | {"longest_s": 0.0}
    specs = [Spec(n_adns=1 + k % 5, seed=k, options=Options(hours=1)) for k in range(RUNS)]
    orders = json.dumps([spec.model_dump() for spec in specs])
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, orders, *script(folder, QUICK)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as starter:
        while counts["kills"] < kills:
            counts["rounds"] += 1
            results = folder / f"round-{counts['rounds']}"
            results.mkdir()
            rows = _kill_and_resume(results, starter, kills, draw, counts)
            counts["lost"] += len({spec.run_id for spec in specs} - rows.keys())
            counts["rows"] += len(rows)
            shutil.rmtree(results)
        starter.stdin.close()
    return counts


def _kill_and_resume(
    results: Path, starter: subprocess.Popen[bytes], kills: int, draw: random.Random, counts: dict[str, float]
) -> dict[str, bytes]:
    """One results folder, until all its runs are done: the rows by run_id. Kills as long as some are left."""
    path, log = results / "rows.jsonl", results / "log"
    path.touch()
    log.touch()
    finished: dict[str, bytes] = {}  # the rows that were whole at the last kill
    read, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        starter.stdin.write(f"{results}\n".encode())
        pid = int(starter.stdout.readline())
        seen = b""
        if counts["kills"] < kills:
            _wait_for_a_moment(draw, starter, path, log)
            seen = path.read_bytes() if draw.random() < 0.5 else b""
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(pid, signal.SIGKILL)
        code = int(starter.stdout.readline())
        counts["kills"] += code == -signal.SIGKILL

        text = log.read_text()
        told = [line.split() for line in text[read:].splitlines()]
        read = len(text)
        pids = [int(pid) for _, pid in told]
        lived = seconds_until(lambda pids=pids: not any(map(is_alive, pids)))
        counts["longest_s"] = max(counts["longest_s"], lived)
        counts["orphans"] += sum(map(is_alive, pids))
        counts["runs"] += len(told)
        counts["repeated"] += sum(run in finished for run, _ in told)

        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        counts["torn"] += whole != data
        counts["changed"] += not data.startswith(seen[: seen.rfind(b"\n") + 1])
        rows = _rows_of(whole, finished, counts)
        for run in rows:
            schedule = results / "schedules" / f"{run}.csv"
            lines = schedule.read_text().splitlines() if schedule.exists() else []
            whole_lines = [f"{run} {k} of 20" for k in range(20) for _ in range(50)]
            counts["without_schedule"] += lines != whole_lines
        counts["lost"] += len(finished.keys() - rows.keys())
        counts["changed"] += sum(rows[run] != line for run, line in finished.items() if run in rows)
        finished = rows
    counts["failed"] += code != 0
    return finished


def _rows_of(whole: bytes, finished: dict[str, bytes], counts: dict[str, float]) -> dict[str, bytes]:
    """The rows of a file by run_id; those that were finished before are known without being parsed."""
    known = {line: run for run, line in finished.items()}
    rows: dict[str, bytes] = {}
    for line in whole.splitlines():
        try:
            run = known.get(line) or Row.model_validate_json(line).run_id
        except ValueError:
            counts["damaged"] += 1
            continue
        counts["repeated"] += run in rows
        rows[run] = line
    return rows


def _wait_for_a_moment(draw: random.Random, starter: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    """Until the sweep should be killed, or has ended."""

    def has_ended(wait_s: float = 0) -> bool:
        return bool(select.select([starter.stdout], [], [], wait_s)[0])

    kind = draw.choice(("time", "row", "run"))
    if kind == "time":
        has_ended(draw.uniform(0, 0.4))
        return
    watched = path if kind == "row" else log
    size = watched.stat().st_size
    while watched.stat().st_size == size and not has_ended():
        time.sleep(0.0002)
    if kind == "run":
        time.sleep(draw.uniform(0, 0.05))
    elif draw.random() < 0.3:  # else at once, while the row still grows
        time.sleep(draw.uniform(0, 0.002))


@pytest.mark.long
def test_a_sweep_killed_fifty_times_loses_no_finished_row_and_repeats_none(tmp_path):
    counts = kill_campaign(tmp_path, kills=50, seed=3)
    print(counts)
    wrong = "lost changed repeated damaged without_schedule orphans failed".split()
    assert {name: counts[name] for name in wrong} == dict.fromkeys(wrong, 0), counts
    assert counts["kills"] == 50 and counts["rows"] == RUNS * counts["rounds"]
    assert counts["runs"] > counts["rows"]  # kills that met a run at work, which then ran again


# A command of its own, with a worker of ours. {before} runs first, in the process.
# Signals as a terminal would have them: whoever runs the tests by `nohup` or `&` hands down ignored ones.
COMMAND = """
import functools, os, resource, signal, sys
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
import benchmarks.sweep
import tso_dso
benchmarks.sweep.sweep = functools.partial(benchmarks.sweep.sweep, worker={worker!r})
benchmarks.runner.check = lambda settings: None  # which loads the solvers
{before}
tso_dso.main({words!r})
"""


@contextmanager
def command(
    folder: Path, words: Sequence[str], worker: Sequence[str] = (), before: str = "", **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """``tso-dso`` as a process in ``folder``; killed at the end of the block if it is still there."""
    code = COMMAND.format(worker=tuple(worker), words=[str(word) for word in words], before=before)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.decode()


SWEEP = ("sweep", "--adns", "1,2,3", "--hours", "1", "-o", "results")

# Tells of its processes: itself, a child, and one that left its session and lost its parent. The first run
# just ends.
FAMILY = """
import json, os, subprocess, sys, time
spec = json.load(sys.stdin)
facts = open(sys.argv[1], "a", buffering=1)
if not os.path.exists("begun"):
    open("begun", "w").close()
    print(json.dumps({"status": "gap_limit", "done": True}), file=facts)
    sys.exit()
sleep = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(100)"]
pids = [os.getpid(), subprocess.Popen(sleep).pid]
heard, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, str(subprocess.Popen(sleep, start_new_session=True).pid).encode())
    os._exit(0)
os.wait()
pids.append(int(os.read(heard, 20)))
with open("pids.new", "w") as file:
    file.write(" ".join(map(str, pids)) + " " + os.path.dirname(sys.argv[1]))
os.replace("pids.new", "pids")
time.sleep(100)
"""


def family(folder: Path) -> tuple[list[int], Path]:
    """The processes of the run at work, and its scratch folder."""
    assert seconds_until((folder / "pids").exists, 60) < 60
    *pids, scratch = (folder / "pids").read_text().split()
    assert len(pids) == 3 and Path(scratch).is_dir() and all(map(is_alive, map(int, pids)))
    return [int(pid) for pid in pids], Path(scratch)


def test_no_process_and_no_scratch_folder_outlives_a_killed_sweep(tmp_path):
    worker = script(tmp_path, FAMILY)
    with command(tmp_path, SWEEP, worker) as process:
        pids, scratch = family(tmp_path)
        process.kill()
        process.wait()
        seconds_until(lambda: not any(map(is_alive, pids)) and not scratch.exists())
        assert not any(map(is_alive, pids)) and not scratch.exists()
    (row,) = rows_in(tmp_path / "results")  # that of the run which had ended
    assert row.status == "gap_limit"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_guard_whose_sweep_died_before_it_looked_starts_no_worker(is_there, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sweep_id = os.getpid() if is_there else os.getppid()  # that of a process which is not the guard's parent
    deed = "open('started', 'w')"
    words = [*PYTHON, guard.__file__, str(sweep_id), str(scratch), "1000000000", *PYTHON, "-c", deed]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "started").exists() == is_there
    assert not scratch.exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_sweep_in_one_line_and_with_all_its_processes(name, tmp_path):
    number = signal.Signals[name]
    worker = script(tmp_path, FAMILY)
    with command(tmp_path, SWEEP, worker) as process:
        pids, scratch = family(tmp_path)
        process.send_signal(number)
        assert ended(process) == (128 + number, f"error: ended by {name}\n")
    assert not any(map(is_alive, pids)) and not scratch.exists()
    assert [row.status for row in rows_in(tmp_path / "results")] == ["gap_limit"]


def test_a_sweep_under_nohup_does_not_hear_the_terminal_go(tmp_path):
    worker = script(tmp_path, FAMILY)
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    with command(tmp_path, SWEEP, worker, before=ignore) as process:
        pids, _ = family(tmp_path)
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert all(map(is_alive, pids))


@pytest.mark.parametrize("part", ["row[:700]", "row"])  # the last lacks but the end of the line
def test_the_part_of_a_row_that_a_killed_sweep_left_is_mended(part, tmp_path):
    before = f"""
def write(file, folder, row):
    row = row.model_dump_json().encode()
    file.write({part})
    os.kill(os.getpid(), signal.SIGKILL)
benchmarks.sweep._append = write
"""
    worker = script(tmp_path, QUICK)
    results = tmp_path / "results"
    (results / "schedules").mkdir(parents=True)
    specs = in_order([Spec(n_adns=n, seed=seed) for seed in (0, 1) for n in (1, 2)])
    sweep(specs[2:3], results, worker=worker)
    whole = (results / "rows.jsonl").read_bytes()
    words = ("sweep", "--adns", "1,2", "--seeds", "2", "-o", "results")
    with command(tmp_path, words, worker, before) as process:
        assert ended(process) == (-signal.SIGKILL, "")
    left = (results / "rows.jsonl").read_bytes()
    assert left.startswith(whole) and len(left) > len(whole) and not left.endswith(b"\n")
    sweep(specs[2:], results, worker=worker)
    assert (results / "rows.jsonl").read_bytes().startswith(whole)
    found = [row.run_id for row in rows_in(results)]
    first, _, third, fourth = (spec.run_id for spec in specs)
    assert found == [third, *([first] if part == "row" else []), fourth]


HOLD = """
import os, signal, sys, time
from benchmarks.ending import end_cleanly, undisturbed
end_cleanly()
with undisturbed():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print("whole", flush=True)
print("too far")
"""


def test_a_signal_while_a_row_is_written_waits_for_it():
    ran = subprocess.run([sys.executable, "-c", HOLD], cwd=ROOT, capture_output=True, timeout=30)
    assert (ran.returncode, ran.stdout) == (143, b"whole\n")


def test_a_row_is_announced_after_it_is_whole_and_synced(tmp_path, monkeypatch):
    synced: list[int] = []
    sync = os.fsync

    def fsync(number: int) -> None:
        sync(number)
        synced.append(os.fstat(number).st_size)

    announced = []

    def watch(spec: Spec, news: dict[str, Any]) -> None:
        if "row" in news:
            data = (tmp_path / "rows.jsonl").read_bytes()
            announced.append(news["row"].run_id)
            assert data.endswith(b"}\n") and json.loads(data.splitlines()[-1])["run_id"] == announced[-1]
            assert synced[-1] == len(data)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "schedules").mkdir()
    sweep([Spec(n_adns=1), Spec(n_adns=2)], tmp_path, watch, script(tmp_path, QUICK))
    assert len(announced) == len(synced) == 2


def test_what_a_killed_run_left_of_a_schedule_is_cleared(tmp_path):
    (tmp_path / "schedules").mkdir()
    left = tmp_path / "schedules" / ".0123456789ab.csv.77.partial"
    left.write_text("adn,hour,ho")
    sweep([], tmp_path)
    assert not left.exists()


WRITE = """
import os, signal
from pathlib import Path
from benchmarks.files import write_whole
write_whole(Path("file"), "old")
os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)  # all is written, but it is not yet the file
write_whole(Path("file"), "new")
"""


def test_a_file_whose_writer_is_killed_is_the_old_one(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", WRITE], cwd=tmp_path, env=environment, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "file").read_text() == "old"


# 2. A disk that is full, or gone.


def test_a_row_that_the_disk_does_not_take_ends_the_sweep_which_resumes_later(tmp_path):
    """The limit on a file's size stands for the full disk: the kernel writes a part, then refuses."""
    worker = script(tmp_path, QUICK)
    results = tmp_path / "results"
    words = (*SWEEP, "--seeds", "2")  # rows of seed 0 have 3 MB, those of seed 1 some 1.5 kB
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (7_000_000, 7_000_000))"
    (results / "schedules").mkdir(parents=True)
    with command(tmp_path, words, worker, before=limit) as process:
        status, errors = ended(process)
    assert status == 2 and errors.count("\n") == 1
    assert errors.startswith("error: output: got 'results'; allowed: a folder that can be written (File too")
    before = (results / "rows.jsonl").read_bytes()
    assert [row.seed for row in rows_in(results)] == [0, 0] and before.endswith(b"}\n")
    with command(tmp_path, words, worker) as process:
        status, errors = ended(process)
    assert status == 0 and "4 runs added" in errors and "2 were there" in errors
    assert (results / "rows.jsonl").read_bytes().startswith(before)
    found = [(row.seed, row.n_adns) for row in rows_in(results)]
    assert sorted(found) == [(s, n) for s in (0, 1) for n in (1, 2, 3)] and [s for s, _ in found] == [
        *3 * [0],
        *3 * [1],
    ]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB, which only root can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount; the test above stands for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_file_system_ends_the_sweep_which_resumes_later(small_disk, tmp_path):
    (tmp_path / "worker").mkdir()
    worker = script(tmp_path / "worker", QUICK)
    results = small_disk / "results"
    (results / "schedules").mkdir(parents=True)
    ballast = small_disk / "ballast"
    specs = [Spec(n_adns=1, seed=1), Spec(n_adns=2, seed=1)]

    def fill(spec: Spec, news: dict[str, Any]) -> None:
        if "row" not in news:  # the run is done, its row is not written
            with suppress(OSError), ballast.open("ab", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)

    sweep(specs[:1], results, worker=worker)
    with (results / "rows.jsonl").open("ab") as file:  # a page holds two rows: leave no room in it
        file.write(b"\n" * (4096 - file.tell() - 700))
    before = (results / "rows.jsonl").read_bytes()
    with pytest.raises(InputError, match="output: got .*results.*No space left on device"):
        sweep(specs, results, fill, worker)
    assert (results / "rows.jsonl").read_bytes() == before
    ballast.unlink()
    sweep(specs, results, worker=worker)
    assert [row.n_adns for row in rows_in(results)] == [1, 2]


def away(results: Path) -> None:
    shutil.rmtree(results)


def replaced_by_a_file(results: Path) -> None:
    results.rename(results.with_name("old"))
    results.touch()


def rows_replaced(results: Path) -> None:
    (results / "copy").write_bytes((results / "rows.jsonl").read_bytes())
    (results / "copy").replace(results / "rows.jsonl")


@pytest.mark.parametrize(("spoil", "words"), [
    (away, "No such file or directory"),
    (replaced_by_a_file, "Not a directory"),
    (rows_replaced, "rows.jsonl stays the same file"),
])  # fmt: skip
def test_a_results_folder_taken_away_meanwhile_ends_the_sweep(spoil, words, tmp_path):
    results = tmp_path / "results"
    specs = [Spec(n_adns=n) for n in (1, 2, 3)]
    runs = []

    def watch(spec: Spec, news: dict[str, Any]) -> None:
        if "row" in news:
            runs.append(spec.run_id)
            spoil(results)

    (results / "schedules").mkdir(parents=True)
    with pytest.raises(InputError, match=f"output: got .*results.*{words}"):
        sweep(specs, results, watch, script(tmp_path, QUICK))
    assert runs == [in_order(specs)[0].run_id]


def test_a_reader_who_goes_away_ends_the_sweep_after_the_row(tmp_path):
    worker = script(tmp_path, QUICK)
    (tmp_path / "results" / "schedules").mkdir(parents=True)
    with command(tmp_path, SWEEP, worker) as process:
        process.stdout.read(1)  # and then closes it, as head does
        process.stdout.close()
        errors = process.stderr.read()
        assert (process.wait(60), errors) == (128 + signal.SIGPIPE, b"")
    assert 1 <= len(rows_in(tmp_path / "results")) <= 3


def test_a_full_standard_output_is_one_line_and_a_closed_one_none(tmp_path):
    worker = script(tmp_path, QUICK)
    (tmp_path / "results" / "schedules").mkdir(parents=True)
    with Path("/dev/full").open("wb") as full, command(tmp_path, SWEEP, worker, stdout=full) as process:
        status, errors = ended(process)
    assert (status, errors.count("\n")) == (2, 1) and "No space left on device" in errors
    with command(tmp_path, SWEEP, worker, stdout=None, preexec_fn=lambda: os.close(1)) as process:
        status, errors = ended(process)
    assert status == 0 and errors.startswith("2 runs added") and "Traceback" not in errors


# 3. Runs that misbehave. Each: the status and words of the message that it must end with, and what it does.

WELL = 'tell(status="gap_limit", done=True)'
DAEMON = """
if os.fork() == 0:
    os.setsid()
    daemon = os.fork()
    if daemon == 0:
        {deed}
    else:
        tell(nodes=daemon)
    os._exit(0)
os.wait()
"""
ZOO = {
    "is well": ("gap_limit", "", WELL),
    "aborts on a C++ exception": (
        "error",
        "SIGABRT: what(): the basis is singular",
        r"""os.write(2, b"terminate called ...\n  what():  the basis is singular\n"); os.abort()""",
    ),
    "aborts as C++ without memory": (
        "memory_limit",
        "std::bad_alloc",
        r"""os.write(2, b"terminate called ...\n  what():  std::bad_alloc\n"); os.abort()""",
    ),
    "aborts as Rust without memory": (
        "memory_limit",
        "SIGABRT: memory allocation of 64 bytes failed",
        r"""os.write(2, b"memory allocation of 64 bytes failed\n"); os.abort()""",
    ),
    "raises for want of memory": ("memory_limit", "MemoryError", "raise MemoryError"),
    "leaves with a code": ("error", "no message, exit code 7", "os._exit(7)"),
    "leaves without a result": ("error", "no message, exit code 0", "os._exit(0)"),
    "dies of a signal without a name": ("error", "signal 40: no message", "os.kill(os.getpid(), 40)"),
    "stops itself": ("time_limit", "ended in phase solve after", "os.kill(os.getpid(), signal.SIGSTOP)"),
    "is busy in C, deaf to SIGTERM, holding the GIL": (
        "time_limit",
        "ended in phase solve after",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); any(itertools.repeat(0))",
    ),
    "stops its guard": (
        "time_limit",
        "ended in phase solve after",
        DAEMON.format(deed="time.sleep(60)") + "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)",
    ),
    "kills its guard": (
        "memory_limit",
        "killed by the system",
        "tell(nodes=os.getpid()); os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
    ),
    "hangs when it is done": ("gap_limit", "", WELL + "; time.sleep(60)"),
    "closes its output": ("gap_limit", "", "os.close(1); os.close(2); " + WELL),
    "floods its output": (
        "error",
        "enough",
        r"""
for k in range(100):
    os.write(1 + k % 2, b"flood\n" * 166_666)
    if k % 10 == 0:
        tell(phase="solve")
        tell(nodes=os.fstat(1).st_mode)
    time.sleep(0.01)
sys.exit("enough")""",
    ),
    "prints one long line": ("error", "yyyy", "sys.exit('y' * 10**7)"),
    "prints what is no text": (
        "error",
        "\ufffd no text",
        r"""os.write(2, b"\xff no text"); os._exit(1)""",
    ),
    "deletes its folder": ("gap_limit", "", "shutil.rmtree(os.path.dirname(sys.argv[1])); " + WELL),
    "deletes its folder and crashes": (
        "error",
        "RuntimeError: where am I?",
        "shutil.rmtree(os.path.dirname(sys.argv[1])); raise RuntimeError('where am I?')",
    ),
    "leaves a daemon": ("gap_limit", "", DAEMON.format(deed="time.sleep(60)") + WELL),
    "eats slowly": (
        "memory_limit",
        "of 150 MB",
        "eaten = []\nfor _ in range(30): eaten.append(b'x' * 20_000_000); time.sleep(0.02)\ntime.sleep(60)",
    ),
    "eats fast": (
        "memory_limit",
        "of 150 MB",
        "eaten = [b'x' * 50_000_000 for _ in range(20)]; time.sleep(60)",
    ),
    "eats through a daemon": (
        "memory_limit",
        "of 150 MB",
        DAEMON.format(deed="eaten = b'x' * 300_000_000; time.sleep(60)") + "time.sleep(60)",
    ),
    "eats through a child": (
        "memory_limit",
        "of 150 MB",
        "if os.fork() == 0: eaten = b'x' * 300_000_000\ntime.sleep(60)",
    ),
    "was beyond the limit before it was seen": (
        "memory_limit",
        "5000 MB of 150 MB",
        'tell(peak_mb=5000.0, status="certified", done=True)',
    ),
    "tells what is no JSON": (
        "gap_limit",
        "",
        r"""facts.write('{"progress": "cut o\n\0\n[1]\n7\n' + '[' * 10**5 + '\n'); """ + WELL,
    ),
    "tells what no row can hold": (
        "error",
        "told of solve_s what no row can hold: 'long'",
        'tell(status="certified", generate_s=1.0, solve_s="long", peak_mb="much", done=True)',
    ),
    "is well again": ("gap_limit", "", WELL),
}
KEEPER = """
import itertools, json, os, shutil, signal, sys, time
spec = json.load(sys.stdin)
facts = open(sys.argv[1], "a", buffering=1)
def tell(**news):
    print(json.dumps(news), file=facts)
tell(phase="solve")
exec({deeds}[spec["seed"]])
"""


def test_every_run_that_misbehaves_is_a_row_with_its_status_and_the_sweep_goes_on(tmp_path):
    worker = script(tmp_path, KEEPER.format(deeds=[deed for _, _, deed in ZOO.values()]))
    specs = [Spec(n_adns=1, seed=k, time_limit=0.5, memory_limit=150) for k in range(len(ZOO))]
    start = time.monotonic()
    rows = dict(zip(ZOO, sweep(specs, tmp_path / "out", worker=worker, grace_s=1), strict=True))
    assert time.monotonic() - start < 60
    assert {name: row.status for name, row in rows.items()} == {name: ZOO[name][0] for name in ZOO}
    for name, (_, words, _) in ZOO.items():
        assert words in rows[name].message and len(rows[name].message) <= 500, name
    assert rows_in(tmp_path / "out") == list(rows.values())
    assert stat.S_ISFIFO(rows["floods its output"].nodes)  # so that nothing of 100 MB is on the disk
    for name in ("leaves a daemon", "eats through a daemon", "kills its guard", "stops its guard"):
        assert rows[name].nodes and not is_alive(rows[name].nodes), name
    assert not [child for child in psutil.Process().children() if "worker.py" in " ".join(child.cmdline())]


EATER = """
import json, sys
facts = open(sys.argv[1], "a", buffering=1)
eaten = []
while len(eaten) < 100:
    eaten.append(b"x" * 10_000_000)
    print(json.dumps({"nodes": len(eaten)}), file=facts)
"""


def test_the_memory_limit_holds_where_the_sweep_cannot_look_in_time(tmp_path, monkeypatch):
    """``RLIMIT_DATA`` stands behind the looks at the clock: here there are none, and 60 MB of reserve."""
    monkeypatch.setattr(benchmarks.sweep, "POLL_S", 60)
    monkeypatch.setattr(benchmarks.sweep, "RESERVED_MB", 60)
    (row,) = sweep([Spec(n_adns=1, memory_limit=100)], tmp_path, worker=script(tmp_path, EATER))
    assert (row.status, row.message) == ("memory_limit", "MemoryError")
    assert 10 <= row.nodes <= 16  # of 10 MB each


@pytest.mark.parametrize(("worker", "message"), [
    (("/bin/false",), "no message, exit code 1"),
    (("/nowhere/worker",), "/nowhere/worker: No such file or directory"),
])  # fmt: skip
def test_a_worker_that_is_gone_before_it_reads_its_order_is_a_row(worker, message, tmp_path, monkeypatch):
    class Late(subprocess.Popen):
        def __init__(self, *words: Any, **options: Any):
            super().__init__(*words, **options)
            self.wait()

    sweep([Spec(n_adns=1)], tmp_path, worker=worker)  # and learns the commit, with the Popen that is
    monkeypatch.setattr(subprocess, "Popen", Late)
    (row,) = sweep([Spec(n_adns=2)], tmp_path, worker=worker)
    assert (row.status, row.message) == ("error", message)


# 4. The real worker: everything from the order to the row, with a solver or a disk at fault.

REAL = """
import itertools, os, resource, signal, sys
from types import SimpleNamespace
import numpy as np
from benchmarks import runner
from model import solvers

def solve(problem, program, gap, time_limit_s, progress):
    progress("at work")
    {deed}

solvers.METHODS["auto"] = SimpleNamespace(available=lambda: None, solve=solve)
runner.warm_up = lambda: None
runner.main(*sys.argv[1:])
"""


@pytest.mark.long
@pytest.mark.parametrize(("deed", "status", "words"), [
    ("any(itertools.repeat(0))", "time_limit", "ended in phase solve after 7"),  # in C, holding the GIL
    ("os.kill(os.getpid(), signal.SIGSEGV)", "error", "SIGSEGV: "),
    ("eaten = [np.ones(4_000_000) for _ in range(100)]", "memory_limit", " MB of 400 MB"),
    ("eaten = [np.empty(10**8) for _ in range(10**4)]", "memory_limit", "no memory left"),  # never touched
])  # fmt: skip
def test_a_faulty_solver_is_a_row_with_what_was_known_before_it(deed, status, words, tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(REAL.format(deed=deed))
    order = Spec(n_adns=1, memory_limit=400, options=Options(hours=1))  # with 600 s for the solver
    ahead_s = 0.0

    def watch(spec: Spec, news: dict[str, Any]) -> None:
        nonlocal ahead_s
        if "progress" in news and status == "time_limit":
            ahead_s = 700.0  # how long that takes depends on no machine

    class Clock:
        monotonic = staticmethod(lambda: time.monotonic() + ahead_s)

    monkeypatch.setattr(benchmarks.sweep, "time", Clock)
    (row,) = sweep([order], tmp_path, watch, (sys.executable, str(tmp_path / "worker.py")))
    assert row.status == status and words in row.message, row.message
    assert row.instance and row.n_vars > 0 and row.compile_s > 0 and row.peak_mb > 50
    assert row.total_s is row.objective is None
    from_outside = words.startswith("ended in") or words.endswith("of 400 MB")
    assert row.stopped_in == ("solve" if from_outside else None) and (row.solve_s is None) != from_outside
    assert not list((tmp_path / "schedules").iterdir())


# The schedule of seed 0 is larger than this process may write.
LARGE = """
import resource, sys
from types import SimpleNamespace
from benchmarks import runner

def run(spec, recorder):
    recorder.note(status="gap_limit")
    text = "x" * (10**6 // (1 + spec.seed) ** 4)
    return SimpleNamespace(schedule=SimpleNamespace(to_csv=lambda index: text))

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
runner.run = run
runner.main(*sys.argv[1:])
"""


def test_a_schedule_that_the_disk_does_not_take_is_an_error_and_the_sweep_goes_on(tmp_path):
    (tmp_path / "worker.py").write_text(LARGE)
    specs = [Spec(n_adns=1, seed=seed) for seed in (0, 1, 2)]

    def watch(spec: Spec, news: dict[str, Any]) -> None:
        if "row" in news and spec.seed == 1:
            assert files(tmp_path / "schedules") == [f"{spec.run_id}.csv"]  # whole, and nothing of seed 0
            shutil.rmtree(tmp_path / "schedules")

    rows = sweep(specs, tmp_path, watch, (sys.executable, str(tmp_path / "worker.py")))
    assert [row.status for row in rows] == ["error", "gap_limit", "error"]
    assert "a file that can be written (File too large)" in rows[0].message
    assert "a file that can be written (No such file or directory)" in rows[2].message


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# 5. The report.


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder in the current one, with rows as a sweep writes them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tso_dso, "end_cleanly", lambda: None)  # the signals of this process are pytest's
    specs = [Spec(n_adns=n, seed=1, options=Options(hours=1)) for n in (1, 2)]
    sweep(specs, tmp_path / "results", worker=script(tmp_path, QUICK))
    (tmp_path / "worker.py").unlink()
    (tmp_path / "results" / "log").unlink(missing_ok=True)
    return tmp_path / "results"


def report(capsys: Any, output: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        tso_dso.main(["report", "results", "-o", output])
    told = capsys.readouterr()
    return end.value.code or 0, told.out, told.err


def test_a_report_whose_rows_go_away_meanwhile_is_whole(results, capsys, monkeypatch):
    read = reports.page.read_results

    def read_and_remove(folder: Path) -> Any:
        found = read(folder)
        shutil.rmtree(folder)
        return found

    monkeypatch.setattr(reports.page, "read_results", read_and_remove)
    assert report(capsys, "page") == (0, "report: page/index.html\n", "")
    assert len((results.parent / "page" / "rows.jsonl").read_bytes().splitlines()) == 2


def test_a_report_whose_folder_goes_away_meanwhile_is_one_line(results, capsys, monkeypatch):
    move = reports.publish._move

    def remove_and_move(draft: Path, output: Path) -> None:
        shutil.rmtree(output)
        move(draft, output)

    monkeypatch.setattr(reports.publish, "_move", remove_and_move)
    status, told, errors = report(capsys, "new/page")
    assert (status, told, errors.count("\n")) == (2, "", 1)
    assert "new/page" in errors and "a folder that can be written (No such file" in errors
    assert files(results.parent) == ["results"]


@pytest.mark.parametrize("folder", ["/proc/page", "/dev/full/page"])  # where root cannot write either
def test_a_report_into_a_folder_that_cannot_be_is_one_line(folder, results, capsys):
    status, told, errors = report(capsys, folder)
    assert (status, told, errors.count("\n")) == (2, "", 1) and folder in errors
    assert files(results.parent) == ["results"]
