"""Benders decomposition by ADN and hour, for many ADNs.

The shared program (``model.hour_blocks``) proposes what batteries do and what is traded; every ADN's hours
answer apart, each a small conic program (``recourse``), with cuts. Proposals are drawn back to the best
point so far (in-out separation, Ben-Ameur and Neto 2007), or they would jump. Then the search over price
regions goes on with the shared program in place of the conic relaxation: a node is a warm linear program,
and cuts hold in all nodes. A point is what the ADNs' hours answer to a proposal with every hour's load in
one region.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model.bounds import safe_bound
from model.data import InputError
from model.outcome import Bounded, Outcome
from model.price_hull import Hull, Leaf, hull
from model.problem import Problem
from model.program import Array, Program
from model.solvers.binaries import kin, round_by_direction
from model.solvers.price_regions import Allowed, Fixed, Known, Search, applies
from model.solvers.recourse import Recourse, Trial
from model.solvers.relaxation import RelaxationResult
from model.solvers.warm import Warm
from model.solvers.workers import workers

# The share of a proposal in the next trial point; the rest is the best point so far.
STEP = 0.8
# The root ends where its gap is this part of the gap asked for.
ROOT = 0.2
ROUNDS = 40
STUCK = 1e-6  # of the bound: a round that raised it by less is stuck
# Cuts that a node's point misses by less than this part of the gap asked for do not call for another round.
FINE = 0.05
PURE = 1 - 1e-6  # the share of a leaf that is all of its hour
# A leaf's limits are drawn in by what its load is underrated, times MARGIN, and by EDGE in p.u.
LANDINGS, MARGIN, EDGE = 4, 1.2, 1e-6
SETTLINGS = 5
ASIDE = 1e-3  # of a host's largest load: beside a kink


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """A point of the single-level program, and a bound proven by cuts and price regions.

    Raises InputError for a tariff or ramps: it branches on prices that each hour has of its own.
    """
    ended = time.monotonic() + time_limit_s
    if not applies(problem):
        raise InputError("method", "decomposed", "settlement lmp and no ramps for this method; else auto")
    progress("ADNs apart")
    search = Decomposed(problem, program, progress)
    with workers(search.recourse.feeders, progress) as search.recourse.workers:
        return search.solve(gap, ended)


class Decomposed(Search):
    """The search over price regions with the shared program and its cuts; see the module's docstring."""

    rounds = 3
    eager = True

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None]):
        self.prepare(problem, program, progress)
        self.recourse = Recourse(problem, program, self.hours, self.markets)
        self.blocks = self.recourse.blocks
        self.node_hours = self.blocks.loads(self.hours)
        self.warm = Warm(len(self.recourse.base.c))
        self.nodes = self.next_dive = 0

    @property
    def relaxed(self) -> Program:  # type: ignore[override]
        return self.recourse.relaxation

    @property
    def n_cuts(self) -> int:  # type: ignore[override]
        return self.recourse.n_cuts

    def solve(self, gap: float, ended: float) -> Outcome:
        """The welfare bound and a point, then the search."""
        self.gap = gap
        result, part, best = self._root(gap, ended)
        if part is None or best is None:
            return Outcome(result.status, message="HiGHS and Clarabel, by ADN and hour")
        found = Outcome("solved", parts=(part,), message="HiGHS and Clarabel, by ADN and hour")
        x = self._first_point(result, ended)
        if x is None:  # nobody trades, and batteries rest: every ADN can do that
            x = self.recourse.compose(np.zeros(len(best.s)))
        if x is None:
            status = "time_limit" if time.monotonic() > ended else "error"
            message = "no point whose hours every ADN can serve exactly was found"
            return replace(found, status=status, message=message, cuts=self.recourse.cuts)
        self.start(replace(found, x=x))
        return replace(self.run(gap, ended), cuts=self.recourse.cuts)

    def _first_point(self, result: RelaxationResult, ended: float) -> Array | None:
        """The welfare bound's own point: its loads lie on price kinks, so each hour goes to the cheap side
        of its.
        """
        load = self.recourse.trial(self.recourse.proposal(result.x)).load
        rents, below = {}, {}
        for t, hour in self.hours.items():
            aside = ASIDE * np.abs(hour.box).max(axis=1)
            cost, _, duals, _ = self.markets[t].solve(load[t] + aside)
            price = duals[self.markets[t].host_rows]
            rents[t] = float(price @ (load[t] + aside)) - (cost - hour.native_cost)
            below[t] = load[t] - aside
        self._plant(rents, below)
        leaves = {
            t: tuple(leaf for leaf in tree if leaf.region is not None)[:1] for t, tree in self.trees.items()
        }
        leaves = {t: own for t, own in leaves.items() if own}
        known = {t: tuple(leaf.region for leaf in own if leaf.region) for t, own in leaves.items()}
        x = self._land(leaves, known, {}, ended)
        return self._land({}, {}, {}, ended) if x is None else x

    def _root(self, gap: float, ended: float) -> tuple[RelaxationResult, Bounded | None, Trial | None]:
        """Rounds of proposals and answers until the welfare bound is close: the last one solved, the bound's
        proof and the best point.
        """
        recourse = self.recourse
        best = recourse.trial(np.zeros(len(self.blocks.of_column)))
        if not all(answer.solved for answer in recourse.answers):
            nothing = np.zeros(0)
            return RelaxationResult("infeasible", nothing, nothing, nothing, 0), None, None
        recourse.probe(best)
        part, before = None, -np.inf
        for number in range(ROUNDS):
            latest = self._solve(Hull(self.relaxed, {}, {}, {}), ended - time.monotonic())
            if part is None or latest.status == "solved":
                result = latest
            if latest.status != "solved":
                break
            bound = safe_bound(self.relaxed, result.row_duals, result.cone_duals)
            if part is None or bound > part.bound:
                part = Bounded({}, {}, result.row_duals, result.cone_duals, bound, {}, self.n_cuts)
            self.progress(f"round {number}: bound {part.bound:.2f}, relaxation at most {best.value:.2f}")
            close = best.value - part.bound <= ROOT * gap * max(abs(best.value), 1.0)
            if close or time.monotonic() > ended:
                break
            # A proposal that was drawn back and left the bound where it was is taken as it is.
            step = STEP if bound > before + STUCK * abs(bound) else 1.0
            before = bound
            s = step * recourse.proposal(result.x) + (1 - step) * best.s
            # One price a round, in turn: the other's cut near by still holds the power in place.
            trial = recourse.trial(s, (number % 2,) if step < 1 else (0, 1))
            best = min(best, trial, key=lambda item: item.value)
        return result, part, best

    # Nodes.

    def _own(self, fixed: Fixed) -> Fixed:
        return {int(self.blocks.position[j]): value for j, value in fixed.items()}

    def _solve(self, node: Hull, time_limit_s: float) -> RelaxationResult:
        found = self.warm.solve(node.program, node.names, max(time_limit_s, 0.1))
        nothing = np.zeros(0)
        x, duals = (nothing if part is None else part for part in (found.x, found.row_duals))
        return RelaxationResult(found.status, x, duals, nothing, 0, "HiGHS")

    def _bound(self, program: Program, result: RelaxationResult) -> tuple[float, tuple[Array, Array]]:
        duals = result.row_duals, result.cone_duals
        if result.status == "solved":
            return safe_bound(program, *duals), duals
        for length in 10.0 ** np.arange(-2, 9):
            for sign in (1.0, -1.0):
                far = sign * length * result.row_duals, result.cone_duals
                bound = safe_bound(program, *far)
                if bound > self.best.value:
                    return bound, far
        return -np.inf, duals

    def _refine(self, result: RelaxationResult, ended: float) -> bool:
        first = self.n_cuts
        trial = self.recourse.trial(self.recourse.proposal(result.x))
        if self._plant(trial.rents, trial.load):
            return True
        new = np.arange(first, self.n_cuts)
        missed = self.recourse.missed(result.x, new) if len(new) else 0.0
        return missed > FINE * self.gap * max(abs(self.best.value), 1.0)

    def _conflict(self, x: Array) -> int | None:
        base = self.recourse.base
        _, undecided = round_by_direction(base, x[: len(base.c)])
        return int(self.blocks.shared[np.flatnonzero(undecided)[0]]) if undecided.any() else None

    # Points.

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        own = self._keep(self._as_it_is(node, ended))
        pure = all(x[z].max() > PURE for z in node.shares.values())
        if self.nodes < self.next_dive and not pure:
            return own
        self.next_dive = self.nodes + max(4, self.nodes // 3)
        leaves = self._dive(node, chosen, known, fixed, x, ended)
        landed = None if leaves is None else self._keep(self._land(leaves, known, fixed, ended))
        return own if landed is None else landed

    def _snap(self, *_: object) -> None:
        """A candidate lies wholly in a leaf of each hour already."""

    def _as_it_is(self, node: Hull, ended: float) -> Array | None:
        """A node's own proposal with the follower's answer, where that promises to be the best so far."""
        result = self._settled(node, ended)
        if result is None:
            return None
        trial = self.recourse.trial(self.recourse.proposal(result.x))
        promising = trial.value + sum(trial.rents.values()) < self.best.value
        return self.recourse.compose(trial.s) if promising else None

    def _settled(self, node: Hull, ended: float) -> RelaxationResult | None:
        """A node's point with no binary of a battery in conflict: those are fixed to the larger side.

        Conflicts of trade are left to the answer (``Recourse.compose``), which drops the smaller side.
        """
        base = self.recourse.base
        trades = base.columns["exports_trade"]
        for _ in range(SETTLINGS):
            result = self._solve(node, ended - time.monotonic())
            if result.status != "solved":
                return None
            x = result.x[: len(base.c)]
            rounded, undecided = round_by_direction(base, x)
            undecided[trades] = False
            if not undecided.any():
                return result
            columns = kin(base, x, undecided)
            node = node.with_fixed(dict(zip(columns.tolist(), rounded[columns].tolist(), strict=True)))
        return None

    def _dive(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Allowed | None:
        """One leaf an hour, decided hour by hour from a node's point; None where that costs too much or
        fails.

        The most decided hour goes first, to the leaf around its load or to the one with the largest share,
        whichever costs less; where neither leaves a point, to its others.
        """
        while True:
            share = {t: x[z] for t, z in node.shares.items()}
            open_hours = {t: float(own.max()) for t, own in share.items() if own.max() < PURE}
            if not open_hours:
                return self._largest(node, chosen, x)
            t = max(open_hours, key=lambda hour: open_hours[hour])
            around = _around(chosen[t], self.node_hours[t].load(x), share[t])
            largest = chosen[t][int(np.argmax(share[t]))]
            others = tuple(leaf for leaf in chosen[t] if leaf is not around and leaf is not largest)
            tried = self._tried(chosen, t, (around,), known, fixed, ended)
            if largest is not around:
                tried += self._tried(chosen, t, (largest,), known, fixed, ended)
            if not tried and others:
                tried += self._tried(chosen, t, others, known, fixed, ended)
            if not tried:
                return None
            value, chosen, node, x = min(tried, key=lambda item: item[0])
            if value >= self.best.value:
                return None

    def _tried(
        self, chosen: Allowed, t: int, leaves: tuple[Leaf, ...], known: Known, fixed: Fixed, ended: float
    ) -> list[tuple[float, Allowed, Hull, Array]]:
        """Value, choice, program and point with an hour in some leaves; nothing where there is no point."""
        left = ended - time.monotonic()
        if left <= 0:
            return []
        chosen = chosen | {t: leaves}
        node = hull(self.relaxed, self.node_hours, chosen, known).with_fixed(self._own(fixed))
        result = self._solve(node, left)
        solved = result.status == "solved"
        return [(node.program.objective(result.x), chosen, node, result.x)] if solved else []

    def _land(self, leaves: Allowed, known: Known, fixed: Fixed, ended: float) -> Array | None:
        """A point of the program with every hour's load in the leaf given for it; None where none was found.

        The shared program underrates the load by what its cuts leave out: a leaf's limits are drawn in by
        that much, and the proposal is made again with the new cuts.
        """
        short = {t: np.zeros(len(self.hours[t].box)) for t in leaves}
        s = None
        for _ in range(LANDINGS):
            narrow = {t: tuple(_narrowed(leaf, short[t]) for leaf in own) for t, own in leaves.items()}
            node = hull(self.relaxed, self.node_hours, narrow, known).with_fixed(self._own(fixed))
            result = self._settled(node, ended)
            if result is None or node.program.objective(result.x) >= self.best.value:
                return None
            s = self.recourse.proposal(result.x)
            trial = self.recourse.trial(s)
            short = {t: trial.load[t] - self.hours[t].load(s) for t in leaves}
            inside = all((leaf.G @ trial.load[t] <= leaf.h).all() for t in leaves for leaf in leaves[t])
            etas = result.x[len(self.blocks.shared) :][: self.blocks.n_blocks]
            underrated = float((trial.own_cost - etas).sum())
            if inside and underrated <= FINE * self.gap * max(abs(trial.value), 1.0):
                break
        return None if s is None else self.recourse.compose(s)


def _around(leaves: tuple[Leaf, ...], load: Array, share: Array) -> Leaf:
    """The leaf that holds a load: a mixture of leaves may lie in the one with the least share."""
    beyond = [max(float((leaf.G @ load - leaf.h).max(initial=-np.inf)), EDGE) for leaf in leaves]
    return leaves[min(range(len(leaves)), key=lambda k: (beyond[k], -share[k]))]


def _narrowed(leaf: Leaf, short: Array) -> Leaf:
    """The leaf with its limits drawn in where the load is underrated by ``short``."""
    drawn = MARGIN * np.maximum(leaf.G @ short, 0.0) + EDGE * np.abs(leaf.G).sum(axis=1)
    return replace(leaf, h=leaf.h - drawn, parent=leaf)
