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
from scipy.sparse import csr_array

from model.coarse import coarsened
from model.outcome import Outcome
from model.price_hull import Hull, Leaf, whole
from model.problem import Problem
from model.program import Array, Program
from model.solvers.hour_program import Question
from model.solvers.hourly import ROUGH_PICKS, HourlySearch
from model.solvers.price_regions import Allowed, Fixed, Known
from model.solvers.workers import Connect
from model.stamping import compile_problem

# From so many ADNs on; groups to which they are put together, and the most of the time that goes to these.
MANY, GROUPS, PART = 40, 20, 0.4
# Their leaves are picked at the latest when this part of that time has gone; the instance's own, of its time.
# With 300 ADNs the bound rises until then, and a better schedule comes to an end soon.
DUE, WHOLE_DUE = 0.6, 0.65
# Rounds without much of a rise that end a search: of groups, where they take half a second and explore the
# few hours in which the bound rests on leaves that are not explored; of the instance.
STUCK, WHOLE_STUCK = 12, 4
# The groups' questions are put in so many parts, as long as no point is due.
PARTS = 4


@dataclass(frozen=True)
class Guide:
    """What a search found out: loads from which hours' leaves were split, in order, and the questions whose
    cuts proved its bound. Of the leaves it picked, the hours' prices and what more load costs besides
    (``Points.pressed``). ``power``: every battery's charge and discharge as parts of their limits, (2, K, T).
    ``of_rows``: what the batteries' inflow costs in every hour, (T,).
    """

    splits: list[tuple[int, Array]]
    questions: list[Question]
    prices: list[Array]
    pressed: list[Array]
    power: Array
    of_rows: Array


class Scout(HourlySearch):
    """Finds a guide."""

    # Leaves picked from cuts that still miss something are better than none.
    due_part = DUE
    stuck = STUCK

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None]):
        super().__init__(problem, program, progress)
        self.splits: list[tuple[int, Array]] = []

    def guide(self, first: Outcome, gap: float, ended: float) -> Guide | None:
        """Leaves and prices of a bound by the ADNs' days with batteries at rest; None without the time."""
        self.start_at(first, gap, ended)
        self._begin()
        root = self._root()
        if root is None:
            return None
        self.progress(f"bound {root.bound:.2f}")
        if self.schedule is None:  # no leaves were picked
            return None
        power = self.schedule / np.maximum(self.program.upper[self.points.flows], 1e-9)
        return Guide(self.splits, self.tight, self.prices, self.points.pressed, power, self.of_rows)

    def _split(self, t: int, leaf: Leaf, load: Array) -> bool:
        split = super()._split(t, leaf, load)
        if split:
            self.splits.append((t, load))
        return split

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        """No point, but its leaves, prices and schedule."""
        found = self._chosen(chosen, ROUGH_PICKS, ended)
        if found is not None:
            self.schedule = self.points.better(*found, *self._aims(ended))
        return None


class Guided(HourlySearch):
    """Begins where a guide ended."""

    begins_anew = False
    due_part = WHOLE_DUE
    stuck = WHOLE_STUCK

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None], guide: Guide):
        super().__init__(problem, program, progress)
        self.guide = guide

    def idle(self) -> Outcome | None:
        """A beginning without a bound at the guide's schedule; with batteries at rest where that is none."""
        self.schedule = self.guide.power * self.program.upper[self.points.flows]
        self.prices = self.guide.prices
        begun = self._begun(self.schedule, self.guide.prices, self.guide.pressed)
        if begun is not None:
            return begun
        # Its binaries could not be made whole; its answers tell what energy is worth all the same.
        told = self.points.answers, self.points.pressed
        first = super().idle()
        if told[0]:
            self.points.answers, self.points.pressed = told
        return first

    def _begin(self) -> None:
        self.trees = {t: [whole(hour)] for t, hour in self.hours.items()}
        # Last where the first point's loads are: a choice of explored leaves is then no dearer than it is.
        own = [(t, hour.load(self.best.x)) for t, hour in self.hours.items()]
        for t, load in [*self.guide.splits, *own]:
            found = [
                leaf for leaf in self.trees[t] if leaf.region is None and (leaf.G @ load <= leaf.h).all()
            ]
            if found:
                self._split(t, found[0], load)
        self.of_rows = self.guide.of_rows
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
    scout.join(connect, ended)
    first = scout.idle()
    found = None if first is None else scout.guide(first, gap, ended)
    if found is None:
        return None
    # The mean of a group's batteries is what each of its ADNs' batteries do.
    groups = range(coarse.instance.n_adns)
    of_battery = np.repeat(groups, [len(feeder.bess) for feeder in coarse.instance.feeders])
    counts = np.maximum(np.bincount(of_battery, minlength=len(groups)), 1)
    at = of_battery, np.arange(len(of_battery))
    mean = csr_array((1 / counts[of_battery], at), shape=(len(groups), len(of_battery)))
    of_all = np.repeat(coarse.group, [len(feeder.bess) for feeder in case.feeders])
    power = np.stack([mean @ way for way in found.power])
    return replace(found, power=power[:, of_all])
