"""One run, phase by phase: generate, build, compile, solve, certify.

``python -m benchmarks.runner FACTS SCHEDULE`` reads a :class:`Spec` as JSON from standard input,
appends what it learns to FACTS, one JSON object a line, as soon as it knows it, and leaves the
schedule in SCHEDULE. So a run that is killed keeps the phases it finished.
"""

import functools
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.files import write_whole
from benchmarks.records import Row, Settings, Spec
from generators import instance
from model.data import InputError, Instance

if TYPE_CHECKING:
    import pandas as pd

    from model.certificate import Certificate

PHASES = ("generate", "build", "compile", "solve", "certify")
PACKAGES = (  # whatever can change a number or a time
    "tso-dso-benchmark pyomo highspy clarabel gurobipy pyscipopt "
    "numpy numba llvmlite scipy pandas pydantic distributed"
).split()


class Recorder:
    """Gathers the facts of a run under the names of :class:`Row` and tells each at once.

    ``tell`` is called with a dict: facts, ``{"phase": name}`` at the start of a phase, or
    ``{"progress": text}`` within one. ``owns_process`` says that the process makes this run and nothing else,
    so that its peak memory may be set back at the start of each phase (which ``getrusage`` shows too).
    """

    def __init__(
        self, tell: Callable[[dict[str, Any]], None] = lambda news: None, owns_process: bool = False
    ):
        self.facts: dict[str, Any] = {}
        self.tell = tell
        self.owns_process = owns_process

    def note(self, **facts: Any) -> None:
        """Keep and tell facts."""
        self.facts |= facts
        self.tell(facts)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as ``<name>_s``; its peak memory is ``<name>_mb`` where that can be told apart."""
        self.tell({"phase": name})
        apart = self.owns_process and forget_peak_memory()
        start = time.perf_counter()
        yield
        seconds, peak = time.perf_counter() - start, peak_memory_mb()
        known = [mb for mb in (peak, self.facts.get("peak_mb")) if mb is not None]
        memory = {f"{name}_mb": peak} if apart else {}
        self.note(**{f"{name}_s": seconds, **memory, "peak_mb": max(known, default=None)})

    def row(self, **order: Any) -> Row:
        """The run's row; ``order`` holds what the run itself does not find out.

        ``total_s`` is that of the phases after the generation, None where one of them did not end.
        """
        names = [f"{name}_s" for name in PHASES[1:]]
        ended = all(name in self.facts for name in names)
        total = sum(self.facts[name] for name in names) if ended else None
        return Row(**order | surroundings() | self.facts | {"total_s": total})


@dataclass(frozen=True)
class Measured:
    """What a run leaves besides its facts; ``schedule`` is None where no point was found."""

    certificate: "Certificate"
    schedule: "pd.DataFrame | None"


def check(settings: Settings) -> None:
    """Refuse, before any work, a name not registered or a solver that cannot run. Raises InputError."""
    from model.complementarity import MODES
    from model.schemes import SCHEMES
    from model.solvers import check_method

    for field, names in (("scheme", SCHEMES), ("mode", MODES)):
        if getattr(settings, field) not in names:
            raise InputError(field, getattr(settings, field), ", ".join(names))
    check_method(settings.method)
    if settings.scheme != "dso-led":  # programs of its own: no method and no mode to choose
        for field, only in (("method", "auto"), ("mode", "big_m")):
            if getattr(settings, field) != only:
                allowed = f"{only} with scheme {settings.scheme}"
                raise InputError(field, getattr(settings, field), allowed)


def check_all(choices: Sequence[Settings]) -> None:
    """:func:`check` of what a sweep compares: what cannot run here is refused only where nothing can.

    Else its runs end as ``skipped``, with the reason. Raises InputError.
    """
    from model.solvers import METHODS

    refusals = []
    for settings in choices:
        try:
            check(settings)
        except InputError as refusal:
            if refusal.field != "method" or settings.method not in METHODS:
                raise
            refusals.append(refusal)
    if refusals and len(refusals) == len(choices):
        raise refusals[0]


def measure(case: Instance, settings: Settings, recorder: Recorder) -> Measured:
    """Build, compile, solve and certify ``case``, each timed apart.

    Raises InputError where the method cannot solve what the mode writes, or is not installed.
    """
    from model.certificate import certify
    from model.counts import coefficients, predict
    from model.measures import measures
    from model.metrics import extract, table
    from model.schemes import SCHEMES, build
    from model.solvers import READ_PYOMO, solve
    from model.stamping import compile_problem

    if settings.scheme in SCHEMES and settings.scheme != "dso-led":
        return _measure_scheme(case, settings, recorder)
    recorder.note(**facts_of(case))
    with recorder.phase("build"):
        stamped = settings.method not in READ_PYOMO
        problem = build(case, scheme=settings.scheme, mode=settings.mode, stamped=stamped)
    with recorder.phase("compile"):
        program = compile_problem(problem)
        # It has served: with many ADNs the pattern's Pyomo model is as large as the program.
        problem = replace(problem, pattern=None)
    recorder.note(
        **program.sizes,
        coupling=problem.coupling,
        predicted=predict(case, settings.mode),
        coefficients=coefficients(case, settings.mode),
    )
    with recorder.phase("solve"):
        outcome = solve(
            problem,
            program,
            method=settings.method,
            gap=settings.gap,
            time_limit_s=settings.time_limit,
            progress=lambda text: recorder.tell({"progress": text}),
        )
    with recorder.phase("certify"):
        certificate = certify(problem, program, outcome, gap=settings.gap)
    sound = all(check.passed for check in certificate.checks)
    if settings.method == "relaxation" and outcome.status == "solved" and sound:
        certificate = replace(certificate, status="gap_limit")  # no point, and none was asked for
    recorder.note(**_certified(certificate), nodes=outcome.nodes)
    recorder.note(message=certificate.message or outcome.message)
    if certificate.status == "time_limit":
        recorder.note(stopped_in="solve")  # by the solver itself; the certificate is whole
    if outcome.x is None:
        return Measured(certificate, None)
    schedule = extract(problem, program, outcome.x)
    recorder.note(measures=measures(schedule))
    return Measured(certificate, table(schedule))


def _certified(certificate: "Certificate") -> dict[str, Any]:
    """What a certificate adds to the row, its message left out."""
    names = (
        "status objective bound bound_by gap abs_gap follower_regret cone_violation relaxation_slack shed_mwh"
    )
    return {name: getattr(certificate, name) for name in names.split()}


def _measure_scheme(case: Instance, settings: Settings, recorder: Recorder) -> Measured:
    """:func:`measure` of a scheme that is several programs: what all schemes share is built and compiled."""
    from model.metrics import table
    from model.schemes import checked, coordination, decide

    recorder.note(**facts_of(case))
    with recorder.phase("build"):
        problem = coordination.build(case)
    with recorder.phase("compile"):
        shared = coordination.compiled(problem)
    recorder.note(**shared.program.sizes, coupling=problem.coupling)
    with recorder.phase("solve"):
        decision = decide(
            shared,
            settings.scheme,
            gap=settings.gap,
            time_limit_s=settings.time_limit,
            progress=lambda text: recorder.tell({"progress": text}),
        )
    with recorder.phase("certify"):
        result = checked(settings.scheme, decision, settings.gap)
    recorder.note(**_certified(result.certificate), message=result.certificate.message)
    if result.certificate.status == "time_limit":
        recorder.note(stopped_in="solve")
    if result.schedule is None:
        return Measured(result.certificate, None)
    recorder.note(measures=result.measures(), ranges=result.ranges(), figures=decision.figures)
    return Measured(result.certificate, table(result.schedule))


def measure_or_fail(case: Instance, settings: Settings, recorder: Recorder) -> Measured:
    """:func:`measure` with a failure as a result like others. Raises InputError as that does."""
    from model.certificate import Certificate

    try:
        return measure(case, settings, recorder)
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what a solver written in Rust panics with is no Exception
        found = failure(error)
        recorder.note(**found)
        return Measured(Certificate(found["status"], found["message"]), None)


# How Python, C++, Rust and C say that there is no memory left.
OUT_OF_MEMORY = re.compile(
    r"MemoryError|bad_alloc|memory allocation of|cannot allocate memory|out of memory", re.IGNORECASE
)
LONGEST = 500  # characters of a message in a row


def failure(error: BaseException) -> dict[str, str]:
    """Status and message of a run that ended with an unexpected exception."""
    if isinstance(error, MemoryError):
        return {"status": "memory_limit", "message": "no memory left"}
    return failed(f"{type(error).__name__}: {error}")


def failed(words: str) -> dict[str, str]:
    """Status and message, in one line of text that any file can hold, of a run that failed with ``words``."""
    status = "memory_limit" if OUT_OF_MEMORY.search(words) else "error"
    line = " ".join(words.split()).encode(errors="replace").decode()
    return {"status": status, "message": line[:LONGEST]}


def facts_of(case: Instance) -> dict[str, Any]:
    """An instance's part of the row."""
    return {
        "instance": case.digest(),
        "n_adns": case.n_adns,
        "n_arcs": len(case.arcs),
        "seed": case.seed,
        "hours": case.hours,
        "settlement": case.settlement,
        "partners": case.partners,
        "network": case.network,
        "congestion": case.congestion,
    }


def order_of(settings: Settings) -> dict[str, Any]:
    """The settings' part of the row, with the time at which the run starts."""
    return {
        "scheme": settings.scheme,
        "method": settings.method,
        "mode": settings.mode,
        "gap_target": settings.gap,
        "time_limit_s": settings.time_limit,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def surroundings() -> dict[str, Any]:
    """Versions, processor and commit: the part of the row that is the same in a whole sweep."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "cpu": _processor(), "commit": _commit()}


def _processor() -> str:
    name = platform.processor() or platform.machine()
    try:
        described = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = described[1] if described else name
    except OSError:
        pass  # not Linux
    return f"{name}, {os.cpu_count()} cores"


def _commit() -> str | None:
    """The checkout's commit, marked where files differ from it; None outside a checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An environment inside somebody's checkout is not that checkout: this very file must be tracked.
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.csv")
        return git("rev-parse", "--short=12", "HEAD") + ("-changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def forget_peak_memory() -> bool:
    """Let the peak of this process's memory start from what it holds now; whether the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process, MB."""
    try:
        # Not getrusage: its figure starts at the memory of the process that started this one.
        peak = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(peak[1]) * 1024 / 1e6 if peak else None
    except OSError:
        import psutil

        return psutil.Process().memory_info().rss / 1e6


def reference_workload() -> float:
    """Seconds of a fixed small workload, Python objects and a sparse factorisation: the best of three."""
    from scipy.sparse import diags_array, eye_array, kron
    from scipy.sparse.linalg import splu

    line = diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(80, 80))
    grid = (kron(line, eye_array(80)) + kron(eye_array(80), line)).tocsc()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        counts: dict[int, int] = {}
        for k in range(200_000):
            counts[k % 977] = counts.get(k % 977, 0) + k
        splu(grid)
        times.append(time.perf_counter() - start)
    return min(times)


def warm_up() -> None:
    """Load and run once, on the smallest instance, what the first run would else pay for."""
    measure(instance(1, hours=1), Settings(gap=1), Recorder())


def run(spec: Spec, recorder: Recorder) -> Measured:
    """One run of a sweep, in this process: :func:`measure` with the instance generated and timed."""
    recorder.tell({"phase": "start"})
    warm_up()
    before = reference_workload()
    recorder.note(reference_s=before)
    with recorder.phase("generate"):
        case = instance(spec.n_adns, seed=spec.seed, **spec.options.model_dump())
    measured = measure(case, spec, recorder)
    recorder.note(reference_s=(before + reference_workload()) / 2)
    return measured


def main(facts: str, schedule: str) -> None:
    """The child process of a sweep. A refusal or a failure is a fact like others."""
    with open(facts, "a", encoding="utf-8") as file:

        def tell(news: dict[str, Any]) -> None:
            file.write(json.dumps(news) + "\n")
            file.flush()

        spec = Spec.model_validate_json(sys.stdin.read())
        try:
            measured = run(spec, Recorder(tell, owns_process=True))
        except InputError as error:
            tell({"status": "skipped", "message": str(error), "done": True})
            return
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # as in measure_or_fail, and of the warm-up or the generator too
            tell(failure(error) | {"peak_mb": peak_memory_mb(), "done": True})
            return
        try:
            if measured.schedule is not None:
                write_whole(Path(schedule), measured.schedule.to_csv(index=False))
        except InputError as error:  # a full disk, or the folder taken away
            tell({"status": "error", "message": str(error)})
        tell({"done": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
