"""Many runs, one after another, each in a process of its own under limits it cannot overstep.

The results folder holds ``rows.jsonl``, one line a run, and ``schedules/<run_id>.csv``. A sweep
skips the runs that have a row, so it resumes where it stopped. A run that hangs, crashes or
outgrows the memory becomes a row with that status, and the sweep goes on; where a limit stopped all
seeds of a size, larger ones become rows ``skipped`` (:mod:`benchmarks.course`). A sweep may be killed at
any moment: it loses no row, and on Linux its run ends with it (:mod:`benchmarks.guard`).
"""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from benchmarks import cluster, guard
from benchmarks.course import STOPPED, Course, Known
from benchmarks.ending import undisturbed
from benchmarks.files import clear_partial
from benchmarks.records import Row, Spec
from benchmarks.runner import PHASES, failed, order_of, surroundings
from model.data import InputError

WORKER = (sys.executable, "-m", "benchmarks.runner")
GRACE_S = 30.0  # a solver may look at the clock late
POLL_S = 0.1
LOCK_S = 2.0
GUARDED = sys.platform == "linux"
END_S = 10.0  # for the guard to end all processes of a run
# A run may hold this much beyond its limit in memory that it does not use, before an allocation fails: thread
# stacks and BLAS buffers, 80 MB a core as measured, are reserved and never touched.
RESERVED_MB = 1000 + 100 * (os.cpu_count() or 1)
TAIL_BYTES = 10_000  # of what a run prints, looked at when it has failed
LISTEN_S = 1.0  # for its last words, where processes that outlive it hold its output

# Called with a run and what it tells: {"phase": ...}, {"progress": ...}, facts, then {"row": Row, "left_s":
# the seconds that the rest may take}; or {"resumed": commit} where it has its row, measured at that commit.
Watch = Callable[[Spec, dict[str, Any]], None]


class Unwanted(Exception):
    """A run that nobody waits for any more."""


def sweep(
    specs: Sequence[Spec],
    folder: Path,
    watch: Watch = lambda spec, news: None,
    worker: Sequence[str] = WORKER,
    grace_s: float = GRACE_S,
    scheduler: str | None = None,
) -> list[Row]:
    """Run what has no row in ``folder`` yet and append its rows; returns the new ones.

    The runs are made in this machine's processes, or by the workers of the dask cluster whose scheduler's
    address is given.

    ``worker`` is the command of the child process, see :mod:`benchmarks.runner`. No phase of a
    run may last longer than its time limit and ``grace_s``, nor its processes hold more than its
    memory limit. Raises InputError where the folder cannot be written, or not any more, or another
    sweep writes there.
    """
    rows: list[Row] = []
    with _rows_file(folder) as file:
        there = recorded(file)
        clear_partial(folder / "schedules")
        course = Course(specs, there)

        def done(spec: Spec, row: Row, seconds: float) -> None:
            _append(file, folder, row)
            rows.append(row)
            course.note(spec, Known(row.commit, row.status, seconds))
            watch(spec, {"row": row, "left_s": course.left_s()})

        def orders() -> Iterator[Spec]:
            for spec in course:
                if spec.run_id in there:
                    watch(spec, {"resumed": there[spec.run_id].commit})
                elif (reason := course.hopeless(spec)) is not None:
                    done(spec, Row(**order(spec), status="skipped", message=reason), 0.0)
                else:
                    yield spec

        if scheduler is not None:
            cluster.spread(scheduler, orders(), folder, worker, grace_s, watch, done)
            return rows
        for spec in orders():
            started = time.monotonic()
            row = run_apart(spec, folder, watch, worker, grace_s)
            done(spec, row, time.monotonic() - started)
    return rows


def recorded(file: IO[bytes]) -> dict[str, Known]:
    """The runs that have a row, by run_id.

    A last line that was cut off while being written is removed, so that the next one starts afresh.
    """
    file.seek(0)
    found: dict[str, Known] = {}
    end = 0
    for line in io.BytesIO(file.read()):
        with suppress(ValueError, TypeError, KeyError):  # a damaged line is no run's row
            row = json.loads(line)
            seconds = row.get("time_limit_s" if row.get("status") in STOPPED else "total_s")
            seconds = float(seconds) if isinstance(seconds, int | float) else None
            found[row["run_id"]] = Known(row.get("commit"), row.get("status"), seconds)
            if not line.endswith(b"\n"):
                file.write(b"\n")
                return found
        if line.endswith(b"\n"):
            end += len(line)
    file.truncate(end)
    return found


@contextmanager
def _rows_file(folder: Path) -> Iterator[IO[bytes]]:
    path = folder / "rows.jsonl"
    try:
        (folder / "schedules").mkdir(parents=True, exist_ok=True)
        # Unbuffered: what could not be written must not be written later. Closed below.
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
    except OSError as error:
        allowed = f"a folder that can be written ({error.strerror})"
        raise InputError("output", str(folder), allowed) from None
    with file:
        _lock(file, folder)
        yield file


def _lock(file: IO[bytes], folder: Path) -> None:
    """Wait a little: a sweep killed while it started a run leaves its lock to a child until that execs."""
    given_up = time.monotonic() + LOCK_S
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= given_up:
                allowed = "a folder no other sweep is writing"
                raise InputError("output", str(folder), allowed) from None
        time.sleep(0.02)


def _append(file: IO[bytes], folder: Path, row: Row) -> None:
    """Add a row and sync it. Raises InputError where that fails, with nothing of the row left."""
    line = row.model_dump_json().encode() + b"\n"
    with undisturbed():
        end = file.seek(0, os.SEEK_END)
        try:
            is_there = os.path.samestat(os.stat(folder / "rows.jsonl"), os.fstat(file.fileno()))
            while line and is_there:
                line = line[file.write(line) :]  # a disk that fills up takes a part
            os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # else the next sweep removes it
                file.truncate(end)
            allowed = f"a folder that can be written ({error.strerror})"
            raise InputError("output", str(folder), allowed) from None
    if not is_there:
        raise InputError("output", str(folder), "a folder whose rows.jsonl stays the same file")


def run_apart(
    spec: Spec,
    folder: Path,
    watch: Watch,
    worker: Sequence[str],
    grace_s: float,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Row:
    """One run in a process of its own, watched from outside; its row whatever happens.

    Raises Unwanted, with the run ended, as soon as ``is_wanted`` says so.
    """
    known = order(spec)
    facts = dict(known)
    with tempfile.TemporaryDirectory(prefix="tso-dso-", ignore_cleanup_errors=True) as scratch:
        news = Path(scratch, "facts.jsonl")
        news.touch()
        with news.open("rb") as told:
            schedule = folder / "schedules" / f"{spec.run_id}.csv"
            # The child finds this very package, installed or not.
            root = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
            process = subprocess.Popen(
                [*_guarded(spec, scratch), *worker, str(news), str(schedule)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                env=os.environ | {"PYTHONPATH": root.rstrip(os.pathsep)},
                start_new_session=True,
            )
            printed = _Printed(process)
            try:
                with suppress(BrokenPipeError), process.stdin as stdin:  # type: ignore[union-attr]
                    stdin.write(spec.model_dump_json().encode())
                overstepped = _watch(process, spec, told, facts, watch, grace_s, is_wanted)
            finally:
                _end(process)
            if overstepped:
                facts |= overstepped
            elif not facts.get("done"):
                facts |= _died(process.returncode, printed.tail())
    facts.pop("done", None)
    spent = [facts.get(f"{name}_s") for name in PHASES]
    if all(isinstance(seconds, float) for seconds in spent):
        facts["total_s"] = sum(spent)
    try:
        return Row(**facts)
    except ValidationError as error:  # a run whose memory is damaged may tell anything
        wrong = error.errors(include_url=False)[0]
        return Row(**known, **failed(f"told of {wrong['loc'][0]} what no row can hold: {wrong['input']!r}"))


def order(spec: Spec) -> dict[str, Any]:
    """What a run's row says before the run has begun."""
    options = spec.options.model_dump()
    names = ("hours", "settlement", "partners", "network", "congestion")
    known: dict[str, Any] = {"n_adns": spec.n_adns, "seed": spec.seed, "run_id": spec.run_id}
    known |= {name: options[name] for name in names}
    return known | {"options": options} | order_of(spec) | surroundings()


def _guarded(spec: Spec, scratch: str) -> list[str]:
    """The command before the worker's."""
    if not GUARDED:
        return []
    limit = int(1e6 * (spec.memory_limit + RESERVED_MB))
    return [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), scratch, str(limit)]


def _watch(
    process: subprocess.Popen[bytes],
    spec: Spec,
    told: IO[bytes],
    facts: dict[str, Any],
    watch: Watch,
    grace_s: float,
    is_wanted: Callable[[], bool],
) -> dict[str, Any]:
    """Follow the child until it ends or oversteps a limit; returns the status of the latter, or nothing.

    What the child tells goes into ``facts`` and to ``watch``.
    """
    phase, since, peak_mb = "start", time.monotonic(), 0.0
    unread = b""
    while True:
        if not is_wanted():
            raise Unwanted(spec.run_id)
        alive = process.poll() is None  # before reading, so that the last words are heard
        *lines, unread = (unread + told.read()).split(b"\n")
        for fact in filter(None, map(_fact, lines)):
            watch(spec, fact)
            if "phase" in fact:
                phase, since = fact["phase"], time.monotonic()
            elif "progress" not in fact:
                facts |= fact
        held_mb, own_mb = memory_mb(process.pid), facts.get("peak_mb")
        peak_mb = max(peak_mb, held_mb, own_mb if isinstance(own_mb, float) else 0.0)
        facts["peak_mb"] = peak_mb or None
        lasted = time.monotonic() - since
        if phase in PHASES and alive:  # the run knows its own peak only, not that of its other processes
            own_mb = facts.get(f"{phase}_mb")
            facts[f"{phase}_mb"] = max(held_mb, own_mb if isinstance(own_mb, float) else 0.0) or None
        stopped = {"stopped_in": phase, f"{phase}_s": lasted} if phase in PHASES else {}
        if peak_mb > spec.memory_limit:  # though it may have ended before we saw it
            message = f"ended in phase {phase}: {peak_mb:.0f} MB of {spec.memory_limit:.0f} MB"
            return stopped | {"status": "memory_limit", "message": message}
        if not alive:
            return {}
        if facts.get("done"):  # its last words; what hangs at the exit of the process is no result
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
            return {}
        if lasted > spec.time_limit + grace_s:
            message = f"ended in phase {phase} after {lasted:.0f} s"
            return stopped | {"status": "time_limit", "message": message}
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)


def _fact(line: bytes) -> dict[str, Any] | None:
    """What a line tells; None where it is damaged, as on a full disk."""
    with suppress(ValueError, RecursionError):
        fact = json.loads(line)
        return fact if isinstance(fact, dict) else None
    return None


class _Printed:
    """The end of what a run prints; nothing of it goes to the disk."""

    def __init__(self, process: subprocess.Popen[bytes]):
        self._end = b""
        self._listener = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        self._listener.start()

    def _listen(self, output: IO[bytes]) -> None:
        with output:
            while block := output.read(1 << 16):
                self._end = (self._end + block)[-TAIL_BYTES:]

    def tail(self) -> str:
        """What it printed last, once it has ended."""
        self._listener.join(LISTEN_S)
        return self._end.decode(errors="replace")


def memory_mb(pid: int) -> float:
    """Resident memory of all processes of the run ``pid`` but its guard, MB; 0 where they have ended."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        first = psutil.Process(pid)
        for member in ([] if GUARDED else [first]) + first.children(recursive=True):
            with suppress(psutil.Error):
                total += member.memory_info().rss
    return total / 1e6


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run with all its processes and wait for it."""
    if process.poll() is None:
        process.terminate()  # the guard kills the others
        process.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    if process.poll() is None or not GUARDED:  # the guard does not answer: then the worker dies with it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _died(code: int, output: str) -> dict[str, Any]:
    """What a child that ended without finishing died of."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no message")
    if code == -signal.SIGKILL:  # not by us: the system's answer to memory running out
        return {"status": "memory_limit", "message": "killed by the system, as it does when memory runs out"}
    if code < 0:
        last = f"{_name(-code)}: {last}"
    elif last == "no message":
        last += f", exit code {code}"
    return failed(last)


def _name(number: int) -> str:
    with suppress(ValueError):  # real-time signals have no name
        return signal.Signals(number).name
    return f"signal {number}"
