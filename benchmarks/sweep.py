"""Many runs, one after another, each in a process of its own under limits it cannot overstep.

The results folder holds ``rows.jsonl``, one line a run, and ``schedules/<run_id>.csv``. A sweep
skips the runs that have a row, so it resumes where it stopped. A run that hangs, crashes or
outgrows the memory becomes a row with that status, and the sweep goes on.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from benchmarks.records import Row, Spec
from benchmarks.runner import PHASES, order_of, surroundings
from model.data import InputError

WORKER = (sys.executable, "-m", "benchmarks.runner")
GRACE_S = 30.0  # a solver may look at the clock late
POLL_S = 0.1

# Called with a run and what it tells: {"phase": ...}, {"progress": ...}, facts, then {"row": Row};
# or {"resumed": commit} where the run has its row already, measured at that commit.
Watch = Callable[[Spec, dict[str, Any]], None]


def in_order(specs: Sequence[Spec]) -> list[Spec]:
    """Seed by seed, and from small to large within one: a machine that drifts then slows all sizes alike."""
    unique = {spec.run_id: spec for spec in specs}
    return sorted(unique.values(), key=lambda spec: (spec.seed, spec.n_adns))


def sweep(
    specs: Sequence[Spec],
    folder: Path,
    watch: Watch = lambda spec, news: None,
    worker: Sequence[str] = WORKER,
    grace_s: float = GRACE_S,
) -> list[Row]:
    """Run what has no row in ``folder`` yet and append its rows; returns the new ones.

    ``worker`` is the command of the child process, see :mod:`benchmarks.runner`. No phase of a
    run may last longer than its time limit and ``grace_s``, nor its processes hold more than its
    memory limit. Raises InputError where the folder cannot be written or another sweep writes there.
    """
    rows = []
    with _rows_file(folder) as file:
        there = commits(file)
        for spec in in_order(specs):
            if spec.run_id in there:
                watch(spec, {"resumed": there[spec.run_id]})
                continue
            row = run_apart(spec, folder, watch, worker, grace_s)
            file.write(row.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            rows.append(row)
            watch(spec, {"row": row})
    return rows


def commits(file: IO[bytes]) -> dict[str, str | None]:
    """The runs that have a row, by run_id, and the commit each was measured at.

    A last line that was cut off while being written is removed, so that the next one starts afresh.
    """
    file.seek(0)
    found: dict[str, str | None] = {}
    end = 0
    for line in file:
        with suppress(ValueError, TypeError, KeyError):  # a damaged line is no run's row
            row = json.loads(line)
            found[row["run_id"]] = row.get("commit")
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
        file = open(path, "a+b")  # noqa: SIM115 (closed below, for as long as the sweep lasts)
    except OSError as error:
        allowed = f"a folder that can be written ({error.strerror})"
        raise InputError("output", str(folder), allowed) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError("output", str(folder), "a folder no other sweep is writing") from None
        yield file


def run_apart(spec: Spec, folder: Path, watch: Watch, worker: Sequence[str], grace_s: float) -> Row:
    """One run in a process of its own, watched from outside; its row whatever happens."""
    facts: dict[str, Any] = {"n_adns": spec.n_adns, "seed": spec.seed, "run_id": spec.run_id}
    options = spec.options.model_dump()
    for name in ("hours", "settlement", "partners", "network", "congestion"):
        facts[name] = options[name]
    facts |= {"options": options} | order_of(spec) | surroundings()
    with tempfile.TemporaryDirectory(prefix="tso-dso-") as scratch:
        news = Path(scratch, "facts.jsonl")
        news.touch()
        with Path(scratch, "errors").open("w+b") as errors:
            schedule = folder / "schedules" / f"{spec.run_id}.csv"
            # The child finds this very package, installed or not.
            root = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
            process = subprocess.Popen(
                [*worker, str(news), str(schedule)],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": root.rstrip(os.pathsep)},
                start_new_session=True,
            )
            try:
                with process.stdin as stdin, suppress(BrokenPipeError):  # type: ignore[union-attr]
                    stdin.write(spec.model_dump_json().encode())
                ending = _watch(process, spec, news, facts, watch, grace_s)
            finally:
                _end(process)
            errors.seek(0)
            if not facts.pop("done", False):
                facts |= ending or _died(process.returncode, errors.read().decode(errors="replace"))
    spent = [facts.get(f"{name}_s") for name in PHASES]
    if None not in spent:
        facts["total_s"] = sum(spent)
    return Row(**facts)


def _watch(
    process: subprocess.Popen[bytes],
    spec: Spec,
    news: Path,
    facts: dict[str, Any],
    watch: Watch,
    grace_s: float,
) -> dict[str, Any]:
    """Follow the child until it ends or oversteps a limit; returns the status of the latter, or nothing.

    What the child tells goes into ``facts`` and to ``watch``.
    """
    phase, since, peak_mb = "start", time.monotonic(), 0.0
    with news.open("rb") as told:
        unread = b""
        while True:
            alive = process.poll() is None  # before reading, so that the last words are heard
            *lines, unread = (unread + told.read()).split(b"\n")
            for line in lines:
                fact = json.loads(line)
                watch(spec, fact)
                if "phase" in fact:
                    phase, since = fact["phase"], time.monotonic()
                elif "progress" not in fact:
                    facts |= fact
            peak_mb = max(peak_mb, memory_mb(process.pid), facts.get("peak_mb") or 0.0)
            facts["peak_mb"] = peak_mb or None
            if not alive:
                return {}
            if peak_mb > spec.memory_limit:
                message = f"ended in phase {phase}: {peak_mb:.0f} MB of {spec.memory_limit:.0f} MB"
                return {"status": "memory_limit", "message": message}
            if time.monotonic() - since > spec.time_limit + grace_s:
                message = f"ended in phase {phase} after {time.monotonic() - since:.0f} s"
                return {"status": "time_limit", "message": message}
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its descendants, MB; 0 where it has ended."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        family = psutil.Process(pid)
        for member in (family, *family.children(recursive=True)):
            with suppress(psutil.Error):
                total += member.memory_info().rss
    return total / 1e6


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child's session, its descendants included, and wait for the child."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _died(code: int, output: str) -> dict[str, Any]:
    """What a child that ended without finishing died of."""
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "no message")
    if code == -signal.SIGKILL:  # not by us: the system's answer to memory running out
        return {"status": "memory_limit", "message": "killed by the system, as it does when memory runs out"}
    if code < 0:
        return {"status": "error", "message": f"{signal.Signals(-code).name}: {last}"}
    return {"status": "error", "message": last}
