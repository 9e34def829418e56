"""Branch and bound over price regions with the hours apart: the default method's bound.

The master program (``model.by_hour``) has a few columns an hour, whatever the number of ADNs: shares of the
leaves, and in each of them the load, the batteries' aggregated net inflow, and the hour's cost. Its
proposals go to the hours: each is one conic program of all ADNs in that hour, with the leaf's prices and
limits, and answers with a cut. As only sums over the hours are relaxed, the master's bound is nearly that
of the best choice of leaves (Shapley and Folkman; Bertsekas 1982), and hardly anything is left to branch.
The chosen leaves' point comes from the hours too (``hour_points``); at its prices every ADN's day prices its
batteries anew (``feeder_days``).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, vstack

from model.bounds import safe_bound
from model.by_hour import blocks_by_hour, stored_levels
from model.hour_blocks import Cuts, cut_rows
from model.outcome import Bounded, Outcome
from model.price_hull import Hull, Leaf, hull, whole
from model.problem import Problem
from model.program import Array, Program
from model.solvers.chebyshev import chebyshev
from model.solvers.feeder_days import Days
from model.solvers.follower import Follower
from model.solvers.hour_points import Points
from model.solvers.hour_program import Answer, Question, hours_of
from model.solvers.lazy_cuts import LazyCuts
from model.solvers.price_regions import SHARE, Allowed, Fixed, Known, Search, State
from model.solvers.relaxation import RelaxationResult
from model.solvers.workers import Ask

# The first questions to every hour: multiples of its price. A cut holds the load in place only between the
# prices at which cuts were taken.
PRICES = 0.0, 2.0
# Cuts that a node's point misses by less than this part of the gap asked for do not call for another round,
# nor do STUCK rounds that raised its bound by no more; first roughly, so that there is a point soon.
FINE = 0.5, 0.1
STUCK = 2
# The first reference made without duals of a relaxation has not proven gaps below CLOSER at 100 ADNs. Where
# one is asked for, it is searched to ROUGH only, relative to the cost, and the next one tells more.
CLOSER, ROUGH = 0.004, 0.01
# Reference prices are rounded to this part of their mean size.
ROUNDED = 1e-3
# New references of the batteries' prices, and the change, relative to the price, that is worth one.
REFERENCES, SAME = 5, 1e-3
ROUNDS = 40
# Leaves with a smaller share wait for exploration: they are many, and hide little.
EXPLORED = 0.1
# The best choice of leaves is asked about and picked anew until cuts hold it, so many times at most.
PICKS = 6
# A point is begun at the latest when this part of the time has gone; choosing its leaves and improving it end
# when this part of what is left then has.
HALFWAY = 0.5
# Seconds for the mixed-integer program that picks one leaf an hour.
PICKING_S = 5.0


@dataclass(frozen=True, eq=False)
class Use:
    """What a point of the master uses of a leaf: its share, and per share the load as seen from the node's
    directions, the batteries' inflow in sum and the hour's cost.
    """

    hour: int
    leaf: Leaf
    share: float
    seen: Array
    inflow: float
    cost: float


class HourlySearch(Search):
    """The search over price regions with the master program in place of the relaxation.

    ``programs``: of the hours and of the ADNs' days; ``ask``, to be set, puts questions to them, here or
    elsewhere.
    """

    rounds = ROUNDS
    eager = True
    explored_from = EXPLORED
    # Nothing is known of the leaves and prices that matter.
    begins_anew = True
    ask: Ask

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None]):
        self.problem = problem
        self.follower = Follower(problem, program)
        self.point = self.follower.sound
        self.prepare(problem, program, progress)
        self.due = np.inf
        self.fine = FINE[0]
        nothing = np.zeros(stored_levels(program, problem.instance.hours).shape)
        self.refer(nothing)
        hours = hours_of(self.blocks)
        self.days = Days(program, self.blocks, len(hours))
        self.programs = [*hours, *self.days.programs]
        self.points = Points(problem, program, self.blocks, lambda questions: self.ask(questions))
        self.schedule = np.zeros(self.points.flows.shape)

    def refer(self, reference: Array) -> None:
        """Take new reference prices of the batteries; cuts begin anew."""
        self.reference = reference
        self.blocks = blocks_by_hour(self.problem, self.program, reference, self.hours)
        self.relaxed = self.blocks.relaxation
        self.of_cut: list[int] = []
        self.tight: list[Question] = []
        self.questions: list[Question] = []
        self.values: dict[tuple[int, int], list[tuple[float, float]]] = {}
        self.row_duals: list[Array] = []
        self.cone_duals: list[Array] = []
        self.sides = np.zeros(0)
        self.lazy = LazyCuts()
        self.coefficients = csr_array((0, len(self.relaxed.c)))
        self._renew()

    def idle(self) -> Outcome | None:
        """A beginning without a bound: nobody uses a battery; what the hours do then at native prices."""
        prices = []
        for t, hour in self.hours.items():
            duals = self.markets[t].solve(np.zeros(len(hour.box)))[2]
            prices.append(duals[self.markets[t].host_rows])
        x = self.points.idle(prices)
        if self.begins_anew:
            self.refer(self._worth())
        found = None if x is None else self.point(x)
        return (
            None if found is None else Outcome("solved", x=found, message="Clarabel and HiGHS, hour by hour")
        )

    @staticmethod
    def _prices(worth: Array) -> Array:
        """What each battery's stored energy is worth beyond the others', (K, T). Rounded, so that only levels
        at their limits change it.
        """
        if not len(worth):
            return worth
        unit = ROUNDED * max(float(np.abs(worth).mean()), 1.0)
        return unit * np.round((worth - worth.mean(axis=0)) / unit)

    def _worth(self) -> Array:
        """What stored energy is worth by the ADNs' own days at the latest point's prices, (K, T)."""
        if not self.points.answers:  # no point yet
            return self.reference
        told = self.ask(self.days.questions(self.points.answers, self.points.pressed))
        worth = self.days.worth(told)
        return self.reference if worth is None else self._prices(worth)

    def _renew(self) -> None:
        """The nodes' hours with all cuts so far."""
        of_cut = np.array(self.of_cut, dtype=int)
        self.node_hours = self.blocks.hour_loads(self.hours, self.sides, self.coefficients, of_cut)

    @property
    def cuts(self) -> Cuts:
        """All cuts so far."""
        of_cut = np.array(self.of_cut, dtype=int)
        return Cuts(of_cut, list(self.row_duals), list(self.cone_duals), self.reference)

    @property
    def n_cuts(self) -> int:  # type: ignore[override]
        return len(self.of_cut)

    def solve(self, first: Outcome, gap: float, ended: float) -> Outcome:
        """The root with better and better references, then the search."""
        self.start_at(first, gap, ended)
        if first.parts:
            self.refer(self._prices(first.parts[0].row_duals[self.blocks.dynamics_before]))
        self._begin()
        if self.trees.keys() != self.hours.keys():  # no time for all hours: what there was stands
            return replace(self.first, status="time_limit")
        outcome = self.first
        first_rough = self.begins_anew and not first.parts and gap < CLOSER
        last = REFERENCES - 1 + first_rough
        for number in range(last + 1):
            rough = first_rough and number == 0
            root = self._root((ROUGH / gap,) if rough else FINE)
            if root is None:
                break
            trees = {t: tuple(leaves) for t, leaves in self.trees.items()}
            self.first = replace(self.first, parts=(root,))
            latest = replace(self.first, x=self.best.x, trees=trees, cuts=self.cuts, nodes=self.nodes)
            outcome = latest.or_proof_of(outcome)
            self.progress(f"reference {number}: bound {root.bound:.2f}, best {self.best.value:.2f}")
            enough = self._within(root.bound, gap) or time.monotonic() >= ended or number == last
            worth = self.reference if enough else self._worth()
            changed = np.abs(worth - self.reference).max(initial=0.0)
            if changed > SAME * max(float(np.abs(worth).max(initial=0.0)), 1.0):
                self._again(worth)
            elif enough or not rough:
                return replace(self.run(gap, ended), cuts=self.cuts).or_proof_of(outcome)
        return replace(outcome, status="time_limit" if time.monotonic() >= ended else outcome.status)

    def start_at(self, first: Outcome, gap: float, ended: float) -> None:
        """Begin at a point."""
        assert first.x is not None
        self.gap, self.ended, self.first, self.nodes = gap, ended, first, 0
        # By then there is a point, even if cuts do not hold it yet.
        self.due = _halfway(ended)
        self.best = State(first.x, self.program.objective(first.x))

    def _activate(self, x: Array) -> bool:
        """Every hour has its tree from the beginning."""
        return False

    def _begin(self) -> None:
        """Trees of all hours, explored around what the ADNs do at native prices, and cuts there."""
        hosts = len(self.hours[0].box)
        nowhere = np.zeros((0, hosts)), np.zeros(0)
        questions = []
        for t, hour in self.hours.items():
            if time.monotonic() >= self.ended:
                return
            self.trees[t] = [whole(hour)]
            load = hour.load(self.best.x)
            self._split(t, self.trees[t][0], load) or self._at_centre(t, self.trees[t][0])
            lam = next((leaf.region.lam for leaf in self.trees[t] if leaf.region), np.zeros(hosts))
            questions += [Question(t, self.reference[:, t], 0.0, price * lam, *nowhere) for price in PRICES]
        self._put(questions)

    def _put(self, questions: list[Question]) -> list[Answer | None]:
        """Put questions to the hours and add the answers' cuts."""
        answers = self.ask(questions)
        new = [
            (question.hour, answer)
            for question, answer in zip(questions, answers, strict=True)
            if answer is not None
        ]
        told = [q for q, answer in zip(questions, answers, strict=True) if answer is not None]
        first = self.n_cuts
        self.of_cut += [t for t, _ in new]
        self.row_duals += [answer.row_duals for _, answer in new]
        self.cone_duals += [answer.cone_duals for _, answer in new]
        fresh = replace(
            self.cuts,
            block=np.array(self.of_cut[first:], dtype=int),
            row_duals=self.row_duals[first:],
            cone_duals=self.cone_duals[first:],
        )
        sides, coefficients = cut_rows(self.blocks, fresh)
        self.questions += told
        self.tight += told
        self.sides = np.append(self.sides, sides)
        self.coefficients = vstack([self.coefficients, coefficients], format="csr")
        self._renew()
        return answers

    def _again(self, reference: Array) -> None:
        """Put the questions of the cuts that proved the last bound anew."""
        tight = self.tight
        self.refer(reference)
        self._put([replace(q, worth=reference[:, q.hour]) for q in tight])

    def _root(self, fine: tuple[float, ...] = FINE) -> Bounded | None:
        """Rounds until the master's point is what the hours answer; its bound, and a point of its leaves."""
        part = Bounded({}, {}, np.zeros(0), np.zeros(0), -np.inf)
        for self.fine in fine:
            part, _ = self._process(part, {}, {}, self.gap, self.ended)
            if self._within(part.bound, self.gap) or time.monotonic() >= self.ended:
                break
        return part if part.chosen else None

    # Nodes.

    def _solve(self, node: Hull, time_limit_s: float) -> RelaxationResult:
        found = self.lazy.solve(node, time_limit_s)
        nothing = np.zeros(0)
        if found.row_duals is not None:
            self.tight = [self.questions[k] for k in self._proving(node, found.row_duals)]
        if found.x is None or found.row_duals is None:
            status = "error" if found.status == "solved" else found.status
            return RelaxationResult(status, nothing, np.zeros(len(node.program.row_lower)), nothing, 0)
        return RelaxationResult(found.status, found.x, found.row_duals, nothing, 0)

    def _bound(self, program: Program, result: RelaxationResult) -> tuple[float, tuple[Array, Array]]:
        duals = result.row_duals, result.cone_duals
        bound = safe_bound(program, *duals)
        self.bounds.append(bound)
        return bound, duals

    def _process(
        self, part: Bounded, allowed: Allowed, fixed: Fixed, gap: float, ended: float
    ) -> tuple[Bounded, list[tuple[Allowed, Fixed]]]:
        self.bounds: list[float] = []
        return super()._process(part, allowed, fixed, gap, ended)

    def _explore(self, node: Hull, chosen: Allowed, x: Array) -> bool:
        """Explore leaves that the point uses, and ask the hours about the explored ones; true where the
        master is tighter for it.
        """
        if time.monotonic() >= self.ended:
            return False
        fresh = super()._explore(node, chosen, x)
        used = [
            Use(t, leaf, share, part / share, *(joined / share))
            for t, leaves in chosen.items()
            for leaf, share, part, joined in zip(
                leaves, x[node.shares[t]], x[node.loads[t]], x[node.joined[t]], strict=True
            )
            if share > SHARE
        ]
        whole = self.gap * max(abs(self.best.value), 1.0)
        enough, each = self.fine * whole, self.fine * whole / len(self.hours)
        asked = [use for use in used if use.share * self._most_short(node, use) > each]
        self._ask(asked, [self._paid(node, use) for use in asked])
        stuck = len(self.bounds) > STUCK and self.bounds[-1] - self.bounds[-1 - STUCK] < enough
        due = time.monotonic() >= self.due
        return (fresh or self._missed(node, asked) > enough) and not stuck and not due

    def _ask(self, uses: list[Use], prices: list[Array]) -> list[Answer | None]:
        """Ask the hours at prices of their loads what is used of their leaves, while there is time."""
        if not uses or time.monotonic() >= self.ended:
            return [None for _ in uses]
        questions = [self._question(use, lam) for use, lam in zip(uses, prices, strict=True)]
        answers = self._put(questions)
        for use, question, answer in zip(uses, questions, answers, strict=True):
            if answer is not None:
                self.points.learn(question, answer)
                self.values.setdefault((use.hour, id(use.leaf)), []).append((use.inflow, answer.value))
        return answers

    def _missed(self, node: Hull, uses: list[Use]) -> float:
        """By how much a point is dearer by cuts that came after it, in $."""
        return sum(use.share * max(self._short(node, use).max(initial=0.0), 0.0) for use in uses)

    def _proving(self, node: Hull, row_duals: Array) -> list[int]:
        """The numbers of the cuts that have a part in a node's bound."""
        found: list[int] = []
        for t, rows in node.of_cuts.items():
            numbers = np.flatnonzero((np.array(self.of_cut) == t) & np.isfinite(self.sides))
            found += numbers[(row_duals[rows] != 0).any(axis=0)].tolist()
        return found

    def _short(self, node: Hull, use: Use) -> Array:
        """By how much each cut of an hour misses what is used of a leaf, in $."""
        cuts = self.node_hours[use.hour].cuts
        assert cuts is not None
        on_seen = np.linalg.lstsq(node.directions[use.hour].T, cuts.on_loads.T, rcond=None)[0].T
        return cuts.sides - cuts.on_joined @ [use.inflow, use.cost] - on_seen @ use.seen

    def _most_short(self, node: Hull, use: Use) -> float:
        """The most by which the cuts may miss what is used of a leaf, in $.

        What the hour costs in a leaf at its prices is convex in the inflow: at most what joins two answers.
        """
        told = sorted(self.values.get((use.hour, id(use.leaf)), ()))
        if use.leaf.region is None or not told or not told[0][0] <= use.inflow <= told[-1][0]:
            return np.inf
        price = np.linalg.lstsq(node.directions[use.hour].T, use.leaf.region.lam, rcond=None)[0]
        return float(np.interp(use.inflow, *np.array(told).T) - use.cost - price @ use.seen)

    def _question(self, use: Use, lam: Array) -> Question:
        """What the hour does in a leaf with the batteries' inflow in sum."""
        return Question(use.hour, self.reference[:, use.hour], float(use.inflow), lam, use.leaf.G, use.leaf.h)

    def _paid(self, node: Hull, use: Use) -> Array:
        """What a leaf's load pays at the margin: its prices, or those of the plane that binds where it is not
        explored.
        """
        t, region = use.hour, use.leaf.region
        known = [other.region for other in self.trees[t] if other.region is not None]
        if region is not None or not known:
            return np.zeros(len(self.hours[t].box)) if region is None else region.lam
        load = np.linalg.lstsq(node.directions[t], use.seen, rcond=None)[0]
        return max(known, key=lambda region: float(region.lam @ load) + region.value).lam

    def _conflict(self, x: Array) -> int | None:
        """Binaries are not branched on here: the master does not see them."""
        return None

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        """The point of the best choice of one explored leaf an hour."""
        # By then there has to be a point; before, one of a reference that is replaced is not worth its time.
        rough = self.fine > FINE[0] and time.monotonic() < self.due
        self.due = self.due if rough else np.inf
        found = self._chosen(node, chosen, known, ended)
        if found is None:
            return None
        if rough:
            self.schedule = self.points.look(*found, self.schedule)
            return None
        self.schedule, point = self.points.near(*found, self.schedule, *self._aims(ended))
        return self._keep(None if point is None else self.point(point))

    def _chosen(
        self, node: Hull, chosen: Allowed, known: Known, ended: float
    ) -> tuple[list[Leaf], list[Array]] | None:
        """The best choice of one leaf an hour, and its prices; the schedule is what the hours wish there."""
        enough = self.fine * self.gap * max(abs(self.best.value), 1.0)
        # A better choice and a better schedule must leave time for whole binaries: else there is no point.
        picking = _halfway(ended)
        for _ in range(PICKS):
            found = None if time.monotonic() >= ended else self._picked(node, chosen, ended)
            if found is None:
                return None
            picked, x = found
            leaves = [picked[t][0] for t in sorted(picked)]
            at = [[other is leaf for other in chosen[t]].index(True) for t, leaf in enumerate(leaves)]
            uses = [
                Use(t, leaf, 1.0, x[node.loads[t][n]], *x[node.joined[t][n]])
                for t, (leaf, n) in enumerate(zip(leaves, at, strict=True))
            ]
            asked = [use for use in uses if self._most_short(node, use) > enough / len(uses)]
            self._ask(asked, [self._paid(node, use) for use in asked])
            if self._missed(node, asked) <= enough or time.monotonic() >= picking:
                break
            node = hull(self.relaxed, self.node_hours, chosen, known)
        prices = [self._price(t, leaf) for t, leaf in enumerate(leaves)]
        told = self.points.known
        unknown = [use for use in uses if not told(use.hour, use.leaf, prices[use.hour])]
        if None in self._ask(unknown, [prices[use.hour] for use in unknown]):
            return None
        wished = self.points.wished(leaves, prices)
        self.schedule = self.schedule if wished is None else wished
        return leaves, prices

    def _aims(self, ended: float) -> tuple[float, float, float]:
        """At what cost a schedule is cheap enough, the gap, and when improving it ends."""
        bound = max(self.bounds)
        return bound + self._margin(bound, self.gap), self.gap, _halfway(ended)

    def _price(self, t: int, leaf: Leaf) -> Array:
        """The prices at the hosts on a leaf; at its centre, where it is not explored."""
        if leaf.region is not None:
            return leaf.region.lam
        market = self.markets[t]
        return market.solve(chebyshev(leaf, self.hours[t].box)[0])[2][market.host_rows]

    def _snap(self, *_: object) -> None:
        """A candidate lies wholly in a leaf of each hour already."""

    def _picked(self, node: Hull, chosen: Allowed, ended: float) -> tuple[Allowed, Array] | None:
        """The best choice of one leaf an hour, by the master: explored ones, where they will do."""
        p = node.program
        shares = np.concatenate([node.shares[t] for t in chosen])
        explored = np.array([leaf.region is not None for t in chosen for leaf in chosen[t]])
        integer = np.zeros(len(p.c), dtype=bool)
        integer[shares] = True
        for left_out in (shares[~explored], shares[:0]):
            upper = p.upper.copy()
            upper[left_out] = 0.0
            limit = min(PICKING_S, max(ended - time.monotonic(), 0.1))
            found = self.lazy.solve(
                node,
                limit,
                upper,
                integer,
                lambda highs: highs.setOptionValue("mip_rel_gap", FINE[-1] * self.gap),
            )
            if found.x is not None:
                return self._largest(node, chosen, found.x), found.x
        return None


def _halfway(ended: float) -> float:
    """When HALFWAY of the time from now has gone."""
    now = time.monotonic()
    return now + HALFWAY * (ended - now)
