"""The course of a sweep: in which order its runs are made, which need not be, how long the rest takes."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

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
        self._order = in_order(specs)
        self._known: dict[str, Known] = {}
        self._sizes: dict[str, dict[int, list[Spec]]] = defaultdict(lambda: defaultdict(list))
        self._seconds: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for spec in self._order:
            self._sizes[_curve(spec)][spec.n_adns].append(spec)
            if spec.run_id in known:
                self.note(spec, known[spec.run_id])

    def note(self, spec: Spec, result: Known) -> None:
        """Take notice of a run's result."""
        self._known[spec.run_id] = result
        if result.seconds is not None and result.status != "skipped":
            self._seconds[_curve(spec)][spec.n_adns].append(result.seconds)

    def __iter__(self) -> Iterator[Spec]:
        waiting = []
        for spec in self._order:
            if spec.run_id not in self._known and self._is_doubtful(spec):
                waiting.append(spec)
            else:
                yield spec
        yield from sorted(waiting, key=lambda spec: (spec.n_adns, spec.seed, _draw(spec)))

    def hopeless(self, spec: Spec) -> str | None:
        """Why a run need not be tried; None where it must."""
        for n_adns, statuses in self._smaller(spec):
            if all(status in STOPPED for status in statuses):
                runs = "the run" if len(statuses) == 1 else f"all {len(statuses)} runs"
                return f"not tried: a limit stopped {runs} of this method with {n_adns} ADNs"
        return None

    def _is_doubtful(self, spec: Spec) -> bool:
        for _, statuses in self._smaller(spec):
            tried = [status for status in statuses if status is not None]
            if 0 < len(tried) < len(statuses) and all(status in STOPPED for status in tried):
                return True
        return False

    def _smaller(self, spec: Spec) -> Iterator[tuple[int, list[str | None]]]:
        """The smaller sizes of a run's curve with the status of each seed, None where it has none yet."""
        for n_adns, runs in sorted(self._sizes[_curve(spec)].items()):
            if n_adns < spec.n_adns:
                known = [self._known.get(run.run_id) for run in runs]
                yield n_adns, [None if one is None else one.status or "not known" for one in known]

    def left_s(self) -> float | None:
        """A rough estimate of the seconds that the runs without a result will take; None before the first.

        The mean of the same size; else that of the nearest size, scaled by the power of N that the smallest
        and largest size known suggest (by N, from one size). A curve without a result takes others' times.
        """
        everything: dict[int, list[float]] = defaultdict(list)
        for by_size in self._seconds.values():
            for n_adns, times in by_size.items():
                everything[n_adns] += times
        if not everything:
            return None
        total = 0.0
        for spec in self._order:
            if spec.run_id not in self._known and self.hopeless(spec) is None:
                known = self._seconds.get(_curve(spec)) or everything
                total += min(_expected(known, spec.n_adns), 2 * spec.time_limit)
        return total


def _curve(spec: Spec) -> str:
    return spec.model_dump_json(exclude={"n_adns", "seed"})


def _expected(known: Mapping[int, list[float]], n_adns: int) -> float:
    means = {n: max(sum(times) / len(times), 1e-3) for n, times in known.items()}
    nearest = min(means, key=lambda n: abs(math.log(n / n_adns)))
    first, last = min(means), max(means)
    power = 1.0 if first == last else math.log(means[last] / means[first]) / math.log(last / first)
    return means[nearest] * (n_adns / nearest) ** max(power, 0.0)
