"""Branching on price regions: what the default method does where the welfare bound leaves a gap.

The gap of the relaxation is infra-marginal rent: in some hours the leaders move the price. Those
hours get the disjunction of ``model.price_hull`` over the price regions found so far, explored lazily
where the relaxed point puts load; branch and bound decides which region each of them is in, and then
which side a binary in conflict takes. Every node is one conic program. Its bound comes from its dual
vector and holds for all that is not explored; its point is answered by the follower, which gives the
upper bound.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from model.bounds import safe_bound
from model.outcome import Bounded, Outcome
from model.price_hull import HourLoads, Hull, Leaf, Region, hour_loads, hull, split, whole
from model.problem import Problem
from model.program import Array, Program
from model.solvers.binaries import round_by_direction, settle
from model.solvers.chebyshev import Balls, chebyshev
from model.solvers.hour_market import HourMarket
from model.solvers.relaxation import RelaxationResult, follow_ray, solve_relaxation

# A share below this is a leaf not used; a rent below this (in $) is a price not moved.
SHARE = 1e-3
RENT = 1e-3
# How far into a leaf its exploration starts, so that a load on a price kink has one answer.
INWARD = 1e-3
# A leaf with a smaller radius (p.u.) holds nothing that its neighbours do not.
THIN = 1e-7
# One that a facet cuts off and that is thinner than this (p.u.) is nothing but rounding. What lies between
# the two stays unexplored, as no region holds there.
SLIVER = 1e-10
ROUNDS = 4
# A tenth of the gap is left for what the certificate's own bound loses.
CLOSED = 0.9

Allowed = dict[int, tuple[Leaf, ...]]
Known = dict[int, tuple[Region, ...]]
Fixed = dict[int, float]


@dataclass
class State:
    """The best point and its objective."""

    x: Array
    value: float


class Search:
    """Branch and bound from a first outcome; ``point`` answers a leaders' point, or says None."""

    def __init__(
        self,
        problem: Problem,
        program: Program,
        first: Outcome,
        point: Callable[[Array], Array | None],
        progress: Callable[[str], None],
    ):
        self.point = point
        self.relaxed = program.relaxed()
        self.prepare(problem, program, progress)
        self.start(first)

    def prepare(self, problem: Problem, program: Program, progress: Callable[[str], None]) -> None:
        """What the search needs to know of the problem."""
        self.program, self.progress = program, progress
        self.markets = {t: HourMarket(problem, program, t) for t in problem.m.follower.hour_cost}
        no_load = np.zeros(len(self.markets[0].host_rows))
        native_cost = {t: market.solve(no_load)[0] for t, market in self.markets.items()}
        self.hours: dict[int, HourLoads] = hour_loads(problem, program, native_cost)
        self.node_hours = self.hours  # in terms of the nodes' columns
        self.trees: dict[int, list[Leaf]] = {}
        self.best = State(np.zeros(0), np.inf)

    def start(self, first: Outcome) -> None:
        """Begin at an outcome with a point and a bound."""
        self.first = first
        assert first.x is not None and first.parts
        self.best = State(first.x, self.program.objective(first.x))
        self.nodes = 0

    def run(self, gap: float, ended: float) -> Outcome:
        """Until the gap is reached or the time (``time.monotonic``) has come."""
        self._activate(self.best.x)
        root = self.first.parts[0]
        tick = itertools.count()
        queue: list[tuple[float, int, Bounded, Allowed, Fixed]] = [(root.bound, next(tick), root, {}, {})]
        closed: list[Bounded] = []
        status = "solved"
        while queue:
            bound = min([queue[0][0], *(part.bound for part in closed)])
            self.progress(
                f"{self.nodes} nodes, bound {bound:.2f}, best {self.best.value:.2f}, {len(queue)} open"
            )
            if self._within(bound, gap):
                break
            if time.monotonic() >= ended:
                status = "time_limit"
                break
            part, allowed, fixed = heapq.heappop(queue)[2:]
            if self._within(part.bound, gap):
                closed.append(part)
                continue
            part, children = self._process(part, allowed, fixed, gap, ended)
            if not children:
                closed.append(part)
            for child in children:
                heapq.heappush(queue, (part.bound, next(tick), part, *child))
        bounds = [part.bound for part in closed] + [item[0] for item in queue]
        if time.monotonic() >= ended and not self._within(min(bounds), gap):
            status = "time_limit"  # a node that ended with the time was closed as it was
        parts = {id(part): part for part in [*closed, *(item[2] for item in queue)]}
        return replace(
            self.first,
            status=status,
            x=self.best.x,
            parts=tuple(parts.values()),
            trees={t: tuple(leaves) for t, leaves in self.trees.items()},
            nodes=self.nodes,
        )

    def _within(self, bound: float, gap: float) -> bool:
        return self.best.value - bound <= self._margin(self.best.value, gap)

    def _margin(self, value: float, gap: float) -> float:
        return self.closed * gap * max(abs(value), 1.0)

    def _process(
        self, part: Bounded, allowed: Allowed, fixed: Fixed, gap: float, ended: float
    ) -> tuple[Bounded, list[tuple[Allowed, Fixed]]]:
        """Solve a node, exploring as long as it uses what is not explored; its part and how to divide it."""
        for _ in range(self.rounds):
            chosen = {t: self._leaves(t, allowed) for t in self.trees}
            known = {t: tuple(leaf.region for leaf in self.trees[t] if leaf.region) for t in self.trees}
            node = hull(self.relaxed, self.node_hours, chosen, known).with_fixed(fixed)
            program = node.program
            result = self._solve(node, max(ended - time.monotonic(), 0.1))
            self.nodes += 1
            if result.status not in ("solved", "infeasible"):
                return part, []
            bound, duals = self._bound(program, result)
            if bound > part.bound:
                part = Bounded(chosen, known, *duals, bound, fixed, self.n_cuts)
            if result.status == "infeasible" or self._within(part.bound, gap):
                return part, []
            if not self._explore(node, chosen, result.x):
                candidate = self._candidate(node, chosen, known, fixed, result.x, ended)
                if candidate is None:
                    break
                pure = node.shares and all(result.x[z].max() > 1 - SHARE for z in node.shares.values())
                if pure and not self._within(part.bound, gap):
                    self._snap(node, chosen, known, fixed, result.x, ended)
                if not self._activate(candidate):
                    break
        if self._within(part.bound, gap):
            return part, []
        halves = self._divide(node, chosen, result.x, allowed)
        if halves:
            return part, [(half, fixed) for half in halves]
        column = self._conflict(result.x)
        if column is None:
            return part, []
        return part, [(allowed, fixed | {column: value}) for value in (0.0, 1.0)]

    # What a search over other programs than the relaxation itself does in its own way.

    n_cuts = 0
    closed = CLOSED
    rounds = ROUNDS

    def _solve(self, node: Hull, time_limit_s: float) -> RelaxationResult:
        return solve_relaxation(node.program, time_limit_s)

    def _conflict(self, x: Array) -> int | None:
        """A binary whose two sides both have power at a node's point."""
        _, undecided = round_by_direction(self.program, x[: len(self.program.c)])
        return int(np.flatnonzero(undecided)[0]) if undecided.any() else None

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        """A point of the problem near a node's point, kept where it is the best so far."""
        settled = settle(self.program, node.program, x, ended)
        return self._keep(None if settled is None else self.point(settled[: len(self.program.c)]))

    def _keep(self, candidate: Array | None) -> Array | None:
        if candidate is not None:
            value = self.program.objective(candidate)
            if value < self.best.value:
                self.best = State(candidate, value)
        return candidate

    def _snap(self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float) -> None:
        """Another candidate, with every hour wholly in the leaf that has the largest share.

        Optima like to sit on price kinks. A trace of another leaf in the mixture, too small to divide, puts
        the load a hair beside the kink, and the follower answers with the price of the other side.
        """
        snapped = self._largest(node, chosen, x)
        pure = hull(self.relaxed, self.hours, snapped, known).with_fixed(fixed)
        result = solve_relaxation(pure.program, max(ended - time.monotonic(), 0.1))
        if result.status == "solved":
            self._candidate(pure, snapped, known, fixed, result.x, ended)

    @staticmethod
    def _largest(node: Hull, chosen: Allowed, x: Array) -> Allowed:
        """Of every hour the leaf that has the largest share."""
        return {t: (leaves[int(np.argmax(x[node.shares[t]]))],) for t, leaves in chosen.items()}

    def _bound(self, program: Program, result: RelaxationResult) -> tuple[float, tuple[Array, Array]]:
        """The safe bound and its dual vector; an infeasible node's dual ray is followed far enough."""
        if result.status == "solved":
            duals = result.row_duals, result.cone_duals
            return safe_bound(program, *duals), duals
        return follow_ray(program, result, self.best.value)

    def _leaves(self, t: int, allowed: Allowed) -> tuple[Leaf, ...]:
        return tuple(leaf for leaf in self.trees[t] if t not in allowed or leaf.within(allowed[t]))

    def _activate(self, x: Array) -> bool:
        """Give a tree to every hour in which the point pays rent and that has none yet."""
        fresh = False
        for t, hour in self.hours.items():
            rent = hour.native_cost - float(hour.native @ x)
            if t not in self.trees and rent > RENT:
                self.trees[t] = [whole(hour)]
                fresh |= self._split(t, self.trees[t][0], hour.load(x))
        return fresh

    def _explore(self, node: Hull, chosen: Allowed, x: Array) -> bool:
        """Split every unexplored leaf that the point gives a share; true if any was."""
        fresh = False
        for t, leaves in chosen.items():
            load, directions = self.node_hours[t].load(x), node.directions[t]
            for leaf, share, part in zip(leaves, x[node.shares[t]], x[node.loads[t]], strict=True):
                if share > SHARE and leaf.region is None:
                    # The load nearest the hour's that looks like the leaf's.
                    apart = np.linalg.lstsq(directions, part / share - directions @ load, rcond=None)[0]
                    fresh |= self._split(t, leaf, load + apart) or self._at_centre(t, leaf)
        return fresh

    def _at_centre(self, t: int, leaf: Leaf) -> bool:
        """Explore a leaf from its centre: a load at its edge may have an answer that is beside it."""
        return self._split(t, leaf, chebyshev(leaf, self.hours[t].box)[0])

    def _split(self, t: int, leaf: Leaf, load: Array) -> bool:
        """Explore a leaf from a load in it; false where the leaf is too thin or its answer degenerate."""
        hour = self.hours[t]
        inside = Balls(leaf, hour.box)
        centre, radius = inside.ball()
        if radius < THIN:
            return False
        region = self.markets[t].region(load + INWARD * (centre - load), hour)
        if region is None:
            return False
        facets: list[int] = []
        for k, (g, limit) in enumerate(zip(*region.facets, strict=True)):
            if inside.beyond(g, limit) >= SLIVER:
                facets.append(k)
                inside.cut(g, limit)
        if inside.ball()[1] < THIN:
            return False
        children = split(leaf, region, facets)
        self.trees[t] = [other for other in self.trees[t] if other is not leaf] + children
        return True

    def _divide(self, node: Hull, chosen: Allowed, x: Array, allowed: Allowed) -> list[Allowed]:
        """Two halves at the hour whose mixture of leaves hides most rent: the largest leaf, and the rest."""
        worst, at, pick = 0.0, None, 0
        for t, leaves in chosen.items():
            share = x[node.shares[t]]
            value = np.array([self._native_value(leaf, t) for leaf in leaves])
            hidden = float(share @ np.abs(value - share @ value))
            if len(leaves) > 1 and share.max() < 1 - SHARE and hidden > worst:
                worst, at, pick = hidden, t, int(np.argmax(share))
        if at is None:
            return []
        largest = chosen[at][pick]
        others = tuple(leaf for leaf in self._leaves(at, allowed) if leaf is not largest)
        return [allowed | {at: (largest,)}, allowed | {at: others}]

    def _native_value(self, leaf: Leaf, t: int) -> float:
        region: Region | None = leaf.region
        return self.hours[t].native_cost if region is None else region.value
