"""The search with the hours apart, begun where a search of a coarser instance ended.

With many ADNs the answers of their hours are what a search spends its time on, and most of them are to
questions that only tell where the answers that matter are. A coarser instance (``model.coarse``) tells so in
a fraction of the time: it has the same hours, hosts and price regions. Its questions are put to the instance
itself from the beginning. All that is proven comes from the instance's own answers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from model.coarse import coarsened
from model.outcome import Outcome
from model.price_hull import Hull, Leaf, whole
from model.problem import Problem
from model.program import Array, Program
from model.solvers.hour_program import Question
from model.solvers.hourly import FINE, ROUGH, HourlySearch
from model.solvers.price_regions import Allowed, Fixed, Known
from model.solvers.workers import Connect
from model.stamping import compile_problem

# From so many ADNs on; groups to which they are put together, and the most of the time that goes to these.
MANY, GROUPS, PART = 40, 20, 0.4
# The groups' questions are put in so many parts, as long as no point is due.
PARTS = 4


@dataclass(frozen=True)
class Guide:
    """What a search found out: loads from which hours' leaves were split, in order, and the questions whose
    cuts proved its bound. Of the leaves it picked, the hours' prices and what more load costs besides
    (``Points.pressed``). ``power``: every battery's charge and discharge as parts of their limits, (2, K, T).
    """

    splits: list[tuple[int, Array]]
    questions: list[Question]
    prices: list[Array]
    pressed: list[Array]
    power: Array


class Scout(HourlySearch):
    """Finds a guide."""

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None]):
        super().__init__(problem, program, progress)
        self.splits: list[tuple[int, Array]] = []
        self.prices: list[Array] = []

    def guide(self, first: Outcome, gap: float, ended: float) -> Guide | None:
        """Bounds with two references, the second one priced by the ADNs' days; None without the time."""
        self.start_at(first, gap, ended)
        self.due = np.inf
        self._begin()
        for number, fine in enumerate(((max(ROUGH / gap, 1.0),), FINE)):
            if number:
                self._again(self._worth())
            root = self._root(fine)
            if root is None or (not number and time.monotonic() >= ended):
                return None
            self.progress(f"reference {number}: bound {root.bound:.2f}")
        if not self.prices:  # no leaves were picked
            return None
        most = self.program.upper[self.points.flows]
        power = self.schedule / np.maximum(most, 1e-9)
        return Guide(self.splits, self.tight, self.prices, self.points.pressed, power)

    def _split(self, t: int, leaf: Leaf, load: Array) -> bool:
        split = super()._split(t, leaf, load)
        if split:
            self.splits.append((t, load))
        return split

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        """No point, but its leaves, prices and schedule; the last rounds have cuts alone to tell."""
        found = None if self.fine < FINE[0] else self._chosen(node, chosen, known, ended)
        if found is not None:
            leaves, self.prices = found
            if self.fine > FINE[0]:
                self.schedule = self.points.look(leaves, self.prices, self.schedule)
            else:
                self.schedule = self.points.better(leaves, self.prices, self.schedule, *self._aims(ended))
        return None


class Guided(HourlySearch):
    """Begins where a guide ended."""

    begins_anew = False

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None], guide: Guide):
        super().__init__(problem, program, progress)
        self.guide = guide

    def _begin(self) -> None:
        self.trees = {t: [whole(hour)] for t, hour in self.hours.items()}
        for t, load in self.guide.splits:
            found = [
                leaf for leaf in self.trees[t] if leaf.region is None and (leaf.G @ load <= leaf.h).all()
            ]
            if found:
                self._split(t, found[0], load)
        flows = self.guide.power * self.program.upper[self.points.flows]
        if self.points.recall(flows, self.guide.prices, self.guide.pressed):
            self.refer(self._worth())
        questions = [replace(q, worth=self.reference[:, q.hour]) for q in self.guide.questions]
        # Some of every hour first: where time is short these have to do.
        for part in range(PARTS):
            if part == 0 or time.monotonic() < self.due:
                self._put(questions[part::PARTS])


def guide(
    problem: Problem, gap: float, ended: float, connect: Connect, progress: Callable[[str], None]
) -> Guide | None:
    """What a search of the ADNs in groups finds out; None where it finds nothing in its time."""
    from model.schemes import build  # which needs this module

    ended = time.monotonic() + PART * (ended - time.monotonic())
    case = problem.instance
    coarse = coarsened(case, GROUPS)
    own = build(coarse.instance, mode=problem.mode, stamped=True)
    program = compile_problem(own)
    scout = Scout(own, program, lambda words: progress(f"{coarse.instance.n_adns} groups: {words}"))
    scout.ask = connect(scout.programs, ended)
    first = scout.idle()
    found = None if first is None else scout.guide(first, gap, ended)
    if found is None:
        return None
    # The mean of a group's batteries is what each of its ADNs' batteries do.
    groups = range(coarse.instance.n_adns)
    of_battery = np.repeat(groups, [len(feeder.bess) for feeder in coarse.instance.feeders])
    means = [
        found.power[:, of_battery == g].sum(axis=1) / max(int((of_battery == g).sum()), 1) for g in groups
    ]
    of_all = np.repeat(coarse.group, [len(feeder.bess) for feeder in case.feeders])
    return replace(found, power=np.stack(means, axis=1)[:, of_all])
