"""The course of a sweep: in which order its runs are made, which need not be, how long the rest takes."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.records import Spec

STOPPED = ("time_limit", "memory_limit")


@dataclass(frozen=True)
class Known:
    """What a sweep knows of a run that has a row: commit, status and seconds, None where not known."""

    commit: str | None
    status: str | None
    seconds: float | None


def in_order(specs: Sequence[Spec]) -> list[Spec]:
    """Each run once: seed by seed, and within a seed all sizes and methods in an order drawn by the run.

    A randomised block design: a machine that drifts slows all sizes alike, and no size always follows
    the same other one. A run's draw depends on nothing but the run, so a sweep resumes in the same order.
    """
    unique = {spec.run_id: spec for spec in specs}
    return sorted(unique.values(), key=lambda spec: (spec.seed, _draw(spec)))


def _draw(spec: Spec) -> str:
    return hashlib.sha256(f"order of {spec.run_id}".encode()).hexdigest()


class Course:
    """The runs of one sweep, in the order in which to make them.

    Where a limit stopped every seed of a size, larger sizes of the same curve (the same method, settings and
    options) are not tried: :meth:`hopeless` says why. So that this is decided by all seeds, runs of larger
    sizes wait for as long as limits have stopped all seeds of a smaller one but not all were tried.
    """

    def __init__(self, specs: Sequence[Spec], known: Mapping[str, Known]):
        self._order = [_Entry(spec, spec.run_id, _curve(spec)) for spec in in_order(specs)]
        self._known: dict[str, Known] = {}
        self._sizes: dict[str, dict[int, _Size]] = defaultdict(lambda: defaultdict(_Size))
        for entry in self._order:
            self._sizes[entry.curve][entry.spec.n_adns].runs += 1
        for entry in self._order:
            if entry.run_id in known:
                self.note(entry.spec, known[entry.run_id])

    def note(self, spec: Spec, result: Known) -> None:
        """Take notice of a run's result."""
        self._known[spec.run_id] = result
        size = self._sizes[_curve(spec)][spec.n_adns]
        size.tried += 1
        size.stopped += result.status in STOPPED
        if result.seconds is not None and result.status != "skipped":
            size.seconds.append(result.seconds)

    def __iter__(self) -> Iterator[Spec]:
        waiting = []
        for entry in self._order:
            if entry.run_id not in self._known and self._is_doubtful(entry):
                waiting.append(entry.spec)
            else:
                yield entry.spec
        yield from sorted(waiting, key=lambda spec: (spec.n_adns, spec.seed, _draw(spec)))

    def hopeless(self, spec: Spec) -> str | None:
        """Why a run need not be tried; None where it must."""
        return self._reason(_curve(spec), spec.n_adns)

    def _reason(self, curve: str, n_adns: int) -> str | None:
        for n, size in sorted(self._sizes[curve].items()):
            if n < n_adns and 0 < size.runs == size.stopped:
                runs = "the run" if size.runs == 1 else f"all {size.runs} runs"
                return f"not tried: a limit stopped {runs} of this method with {n} ADNs"
        return None

    def _is_doubtful(self, entry: "_Entry") -> bool:
        sizes = self._sizes[entry.curve].items()
        return any(n < entry.spec.n_adns and 0 < size.tried == size.stopped < size.runs for n, size in sizes)

    def left_s(self) -> float | None:
        """A rough estimate of the seconds that the runs without a result will take; None before the first.

        The mean of the same size; else that of the nearest size, scaled by the power of N that the smallest
        and largest size known suggest (by N, from one size). A curve without a result takes others' times.
        """
        means = {curve: _means([sizes]) for curve, sizes in self._sizes.items()}
        everything = _means(list(self._sizes.values()))
        if not everything:
            return None
        total = 0.0
        for entry in self._order:
            n_adns = entry.spec.n_adns
            if entry.run_id not in self._known and self._reason(entry.curve, n_adns) is None:
                expected = _expected(means[entry.curve] or everything, n_adns)
                total += min(expected, 2 * entry.spec.time_limit)
        return total


@dataclass(frozen=True)
class _Entry:
    spec: Spec
    run_id: str
    curve: str


@dataclass
class _Size:
    """One size of one curve: how many runs, how many of them have a result, and which were stopped."""

    runs: int = 0
    tried: int = 0
    stopped: int = 0
    seconds: list[float] = field(default_factory=list)


def _curve(spec: Spec) -> str:
    return spec.model_dump_json(exclude={"n_adns", "seed"})


def _means(curves: Sequence[Mapping[int, _Size]]) -> dict[int, float]:
    """The mean time of each size that has one, over several curves together."""
    times: dict[int, list[float]] = defaultdict(list)
    for sizes in curves:
        for n_adns, size in sizes.items():
            times[n_adns] += size.seconds
    return {n: max(sum(own) / len(own), 1e-3) for n, own in times.items() if own}


def _expected(means: Mapping[int, float], n_adns: int) -> float:
    nearest = min(means, key=lambda n: abs(math.log(n / n_adns)))
    first, last = min(means), max(means)
    power = 1.0 if first == last else math.log(means[last] / means[first]) / math.log(last / first)
    return means[nearest] * (n_adns / nearest) ** max(power, 0.0)
