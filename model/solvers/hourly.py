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
from dataclasses import replace

import numpy as np

from model.bounds import safe_bound
from model.by_hour import HoursApart, stored_levels
from model.outcome import Bounded, Outcome
from model.price_hull import Hull, Leaf, hull, whole
from model.problem import Problem
from model.program import Array, Program
from model.solvers.answered import Answered
from model.solvers.chebyshev import chebyshev
from model.solvers.feeder_days import DayQuestion, Days
from model.solvers.follower import Follower
from model.solvers.hour_points import Points
from model.solvers.hour_program import Answer, Question, hours_of
from model.solvers.leaf_bounds import LeafBounds, Least, Use
from model.solvers.linear import LinearResult, linear_solver, run, solve_linear
from model.solvers.memory import give_back
from model.solvers.price_regions import SHARE, Allowed, Fixed, Known, Search, State
from model.solvers.storage_prices import StoragePrices
from model.solvers.workers import Ask, Connect

# The first questions to every hour: multiples of its price. A cut holds the load in place only between the
# prices at which cuts were taken.
PRICES = 0.0, 2.0
# Cuts that a node's point misses by less than this part of the gap asked for do not call for another round,
# nor do STUCK rounds (or ``stuck``) that raised its bound by no more; first roughly, so that there is a point
# soon.
FINE = 0.2
STUCK = 2
# The first reference made without duals of a relaxation has not proven gaps below CLOSER at 100 ADNs. Where
# one is asked for, it is searched to ROUGH only, relative to the cost, and the next one tells more.
CLOSER, ROUGH = 0.004, 0.01
# Reference prices are rounded to this part of their mean size.
ROUNDED = 1e-3
# New references of the batteries' prices, and the change, relative to the price, that is worth one.
REFERENCES, SAME = 20, 1e-5
ROUNDS = 40
# An answer that misses limits or the inflow by more, in p.u., is not what an hour can do.
MOVED = 1e-6
# The bound of a proof is the certificate's own, but for how regions are restated there.
NEARLY = 0.98
# At the prices of one master the hours are asked so many times at most, and while at least one of FEW has to
# be; each time they are explored so often.
DEEP, FEW, SPLITS = 8, 4, 2
# So many of an hour's cheapest leaves are in the master program.
ACTIVE = 4
# So many of an hour's explored leaves may be picked.
EXPLORED = 8
# Cuts that hold leaves dearer than the cheapest one by up to this part of the cost are asked anew: at other
# prices these leaves may be the cheapest.
NEAR = 0.05
# Seconds that the proof of a bound takes for every leaf.
PROOF_S = 0.004
# The best choice of leaves is asked about and picked anew until cuts hold it, so many times at most.
PICKS = 3
# Of what is not to become a point: once around the best choice, then of what is known.
ROUGH_PICKS = 2
# A point is begun at the latest when this part of the time has gone (``due_part``); choosing its leaves and
# improving it end when this part of what is left then has.
HALFWAY = 0.5
# Seconds for the mixed-integer program that picks one leaf an hour.
PICKING_S = 5.0


class HourlySearch(Search):
    """The search over price regions with the master program in place of the relaxation.

    It has to be joined (:meth:`join`) to where the hours' programs are asked, here or elsewhere.
    """

    rounds = ROUNDS
    closed = NEARLY
    due_part = HALFWAY
    stuck = STUCK
    # Nothing is known of the leaves and prices that matter.
    begins_anew = True
    # Puts questions to the hours; the same for the ADNs' days, which are there for one round only.
    ask: Ask
    ask_days: Callable[[Days, list[DayQuestion]], list[Array | None]]

    def __init__(self, problem: Problem, program: Program, progress: Callable[[str], None]):
        self.problem = problem
        self.follower = Follower(problem, program)
        self.point = self.follower.sound
        self.prepare(problem, program, progress)
        self.due = np.inf
        # The latest bound is not all that its prices tell: a point was due.
        self.hurried = False
        self.fine = FINE
        # Duals of the relaxation's rows: prices of what the batteries take in, of every hour.
        self.of_rows = np.zeros(0)
        self.apart = HoursApart(problem, program, self.hours)
        nothing = np.zeros(stored_levels(program, problem.instance.hours).shape)
        self.refer(nothing)
        self.points = Points(problem, program, self.blocks, lambda questions: self.ask(questions))
        # The latest schedule, and the hours' prices at it.
        self.schedule: Array | None = None
        self.prices: list[Array] = []
        self.thin: set[Leaf] = set()
        levels = self.points.levels
        self.storage = StoragePrices(program.lower[levels], program.upper[levels])

    def join(self, connect: Connect, ended: float) -> None:
        """Take the hours to where they are asked until ``ended``: but for their first round, which makes the
        first point.
        """
        self.ask = connect(hours_of(self.blocks), ended, np.inf)
        self.ask_days = lambda days, questions: connect(days.programs, ended, ended)(questions)

    def refer(self, reference: Array) -> None:
        """Take new reference prices of the batteries; cuts begin anew."""
        self.reference = reference
        self.blocks = self.apart.at(reference)
        self.relaxed = self.blocks.relaxation
        if len(self.of_rows) != len(self.relaxed.row_lower):
            self.of_rows = np.zeros(len(self.relaxed.row_lower))
        self.answered = Answered(self.blocks, reference, self.hours)
        self.tight: list[Question] = []
        self.leaves = LeafBounds(self.blocks)
        self._renew()

    def idle(self) -> Outcome | None:
        """A beginning without a bound: nobody uses a battery; what the hours do then at native prices."""
        prices = []
        for t, hour in self.hours.items():
            duals = self.markets[t].solve(np.zeros(len(hour.box)))[2]
            prices.append(duals[self.markets[t].host_rows])
        nothing = [np.zeros(len(price)) for price in prices]
        first = self._begun(np.zeros(self.points.flows.shape), prices, nothing)
        if self.begins_anew:
            self.refer(self._worth())
        return first

    def _begun(self, schedule: Array, prices: list[Array], pressed: list[Array]) -> Outcome | None:
        """What the hours do with a schedule of the batteries, as an outcome without a bound."""
        x = self.points.begin(schedule, prices, pressed)
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
        days = Days(self.program, self.blocks)
        told = self.ask_days(days, days.questions(self.points.answers, self.points.pressed))
        worth = days.worth(told)
        del days, told
        give_back()
        if worth is None:
            return self.reference
        if not self.of_rows.any() and len(worth):
            self.of_rows = worth.mean(axis=0)
        return self._prices(worth)

    def _renew(self) -> None:
        """The nodes' hours with all cuts so far."""
        self.node_hours = self.answered.node_hours
        self.leaves.renew(self.node_hours)

    @property
    def n_cuts(self) -> int:  # type: ignore[override]
        return len(self.answered.questions)

    def solve(self, first: Outcome, gap: float, ended: float) -> Outcome:
        """The root with better and better references, then the search."""
        self.start_at(first, gap, ended)
        if first.parts:
            worth = first.parts[0].row_duals[self.blocks.dynamics_before]
            self.of_rows = worth.mean(axis=0)
            self.refer(self._prices(worth))
        self._begin()
        if self.trees.keys() != self.hours.keys():  # no time for all hours: what there was stands
            return replace(self.first, status="time_limit")
        outcome = self.first
        first_rough = self.begins_anew and not first.parts and gap < CLOSER
        last = REFERENCES - 1 + first_rough
        for number in range(last + 1):
            rough = first_rough and number == 0
            root = self._root(ROUGH / gap if rough else FINE)
            if root is None:
                break
            trees = {t: tuple(leaves) for t, leaves in self.trees.items()}
            self.first = replace(self.first, parts=(root,))
            latest = replace(
                self.first, x=self.best.x, trees=trees, cuts=self.answered.cuts, nodes=self.nodes
            )
            outcome = latest.or_proof_of(outcome)
            self.progress(f"reference {number}: bound {root.bound:.2f}, best {self.best.value:.2f}")
            enough = self._within(root.bound, gap) or time.monotonic() >= ended or number == last
            if self.hurried and not enough:  # the same prices will tell more
                continue
            stepped = False if enough else self._stepped(root.bound, rough)
            if not stepped and (enough or not rough):
                return replace(self.run(gap, ended), cuts=self.answered.cuts).or_proof_of(outcome)
        return replace(outcome, status="time_limit" if time.monotonic() >= ended else outcome.status)

    def _stepped(self, bound: float, rough: bool) -> bool:
        """Better prices of the batteries: by the ADNs' days at a rough point, else by a step of all that the
        hours answered; false where there are none.
        """
        if rough:
            worth = self._worth()
        else:
            stepped = self.storage.step(self._storage_prices(), bound)
            if stepped is None:
                return False
            self.of_rows = stepped.mean(axis=0)
            worth = stepped - self.of_rows
        changed = np.abs(worth - self.reference).max(initial=0.0)
        if changed <= SAME * max(float(np.abs(worth).max(initial=0.0)), 1.0):
            return False
        self._again(worth)
        return True

    def _storage_prices(self) -> Array:
        """What every battery's stored energy is worth by the last bound, (K, T)."""
        return self.reference + self.of_rows if len(self.reference) else self.reference

    def start_at(self, first: Outcome, gap: float, ended: float) -> None:
        """Begin at a point."""
        assert first.x is not None
        self.gap, self.ended, self.first, self.nodes = gap, ended, first, 0
        # By then there is a point, even if cuts do not hold it yet.
        self.due = _halfway(ended, self.due_part)
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
        self.answered.add(questions, answers)
        self.tight += [q for q, answer in zip(questions, answers, strict=True) if answer is not None]
        self._renew()
        return answers

    def _again(self, reference: Array) -> None:
        """Put the questions of the cuts that proved the last bound anew."""
        tight = self.tight
        self.refer(reference)
        asked = [replace(q, worth=reference[:, q.hour]) for q in tight]
        for question, answer in zip(asked, self._put(asked), strict=True):
            explored = any(leaf.G is question.G and leaf.region for leaf in self.trees[question.hour])
            if answer is not None and explored:
                self._learn(question, answer)

    def _learn(self, question: Question, answer: Answer) -> None:
        """What an hour can do in an explored leaf, which pays what the question says."""
        if answer.moved > MOVED:
            return
        paid = float(question.lam @ answer.load)
        self.storage.learn(question.hour, *self.points.stored(question.hour, answer.x, paid))

    def _root(self, fine: float = FINE) -> Bounded | None:
        """Rounds until the hours answer what the master's prices expect; the bound, and a point nearby."""
        self.fine = fine
        nothing = Bounded({}, {}, np.zeros(0), np.zeros(0), -np.inf)
        part, _ = self._process(nothing, {}, {}, self.gap, self.ended)
        return part if part.chosen else None

    # Nodes.

    def _process(
        self, part: Bounded, allowed: Allowed, fixed: Fixed, gap: float, ended: float
    ) -> tuple[Bounded, list[tuple[Allowed, Fixed]]]:
        """Rounds of the master program with the leaves that matter; the proof is of all leaves."""
        self.bounds: list[float] = []
        self.hurried = False
        enough = self.fine * gap * max(abs(self.best.value), 1.0)
        best, node, value = (-np.inf, self.of_rows), None, np.inf
        used: set[Leaf] = set()
        loose: list[Use] = []
        for _ in range(self.rounds):
            if time.monotonic() >= ended - self._proof_s(allowed):
                break
            prices = self.leaves.prices(self.of_rows)
            least, asked = self._deepened(allowed, prices, enough, ended)
            bound = self.leaves.joint(self.of_rows) + sum(least.values())
            best = max(best, (bound, self.of_rows), key=lambda told: told[0])
            self.bounds.append(best[0])
            before = self.bounds[-1 - self.stuck :][0]
            stuck = len(self.bounds) > self.stuck and self.bounds[-1] - before < enough
            closed = (not asked and not loose and value - bound <= enough) or self._within(best[0], gap)
            if node and (closed or stuck or time.monotonic() >= self.due):
                break
            mattering = {t: self._mattering(t, allowed, price, used) for t, price in prices.items()}
            master = hull(self.relaxed, self.node_hours, mattering, self._known())
            found = self._solve(master, max(ended - time.monotonic(), 0.1))
            self.nodes += 1
            if found.x is None or found.row_duals is None:
                break
            node, chosen, x, value = master, mattering, found.x, found.objective
            self.of_rows = found.row_duals[: len(self.relaxed.row_lower)]
            uses = self._uses(node, chosen, x)
            used |= {use.leaf for use in uses}
            # A mixture may rest on a leaf as cheap as the cheapest one that is not known as well.
            loose = [
                use for use in uses if use.share * self.answered.most_short(use) > enough / len(self.hours)
            ]
            self._ask(loose, [self._paid(use) for use in loose])
            for use in loose:
                self._explored(use)
        self.of_rows = best[1]
        if not self.bounds:  # the time is up
            return part, []
        part = self._proof(part, allowed, self.of_rows)
        if node is None or self._within(part.bound, gap):
            return part, []
        self.hurried = time.monotonic() >= self.due
        self._candidate(node, self._pickable(allowed, chosen), self._known(), fixed, x, ended)
        return part, [(half, fixed) for half in self._divide(node, chosen, x, allowed)]

    def _known(self) -> Known:
        """The regions found so far."""
        return {t: tuple(leaf.region for leaf in self.trees[t] if leaf.region) for t in self.trees}

    def _mattering(self, t: int, allowed: Allowed, price: float, used: set[Leaf]) -> tuple[Leaf, ...]:
        """The leaves of an hour that a master program has used, and the cheapest ones."""
        leaves = self._leaves(t, allowed)
        cheap = sorted(leaves, key=lambda leaf: self.leaves.least(t, leaf, price))[:ACTIVE]
        return tuple(leaf for leaf in leaves if leaf in used or leaf in cheap)

    def _pickable(self, allowed: Allowed, mattering: Allowed) -> Allowed:
        """The leaves of a master program, and explored ones: what an hour costs there is known best. Of these
        the cheapest, none that costs more than a better point leaves room for.
        """
        prices, found = self.leaves.prices(self.of_rows), {}
        room = self.best.value - max(self.bounds)
        for t, leaves in mattering.items():
            cost = {leaf: self.leaves.least(t, leaf, prices[t]) for leaf in self._leaves(t, allowed)}
            most = min(cost.values()) + room
            explored = [leaf for leaf in cost if leaf.region is not None and cost[leaf] <= most]
            cheap = sorted(explored, key=lambda leaf: cost[leaf])[:EXPLORED]
            found[t] = tuple(leaf for leaf in cost if leaf in leaves or leaf in cheap)
        return found

    @staticmethod
    def _uses(node: Hull, chosen: Allowed, x: Array) -> list[Use]:
        """What a master's point uses of its leaves."""
        return [
            Use(t, leaf, share, load / share, *(joined / share))
            for t, leaves in chosen.items()
            for leaf, share, load, joined in zip(
                leaves, x[node.shares[t]], x[node.loads[t]], x[node.joined[t]], strict=True
            )
            if share > SHARE
        ]

    def _solve(self, node: Hull, time_limit_s: float) -> LinearResult:  # type: ignore[override]
        p = node.program
        return solve_linear(p.c, p.A, p.row_lower, p.row_upper, p.lower, p.upper, time_limit_s)

    def _deepened(
        self, allowed: Allowed, prices: dict[int, float], enough: float, ended: float
    ) -> tuple[dict[int, float], bool]:
        """What every hour costs at least at prices of its inflow; true where hours had to be asked for that.

        Leaves are explored, and the hours asked, where an hour is cheapest, until they answer just that.
        """
        each = enough / len(self.hours)
        least: dict[int, float] = {}
        for number in range(DEEP):
            before = sum(least.values())
            lowest = {t: self._lowest(t, allowed, price) for t, price in prices.items()}
            least = {t: found.value for t, found in lowest.items()}
            uses = [
                found.use
                for found in lowest.values()
                if found.use is not None and self.answered.most_short(found.use) > each
            ]
            late = time.monotonic() >= min(self.due, ended - self._proof_s(allowed))
            # New prices tell more than a few hours do at old ones, which would not keep all workers busy.
            few = len(uses) * FEW < len(self.hours) or sum(least.values()) - before < each
            if not uses or late or (number and few):
                return least, number > 0
            self._ask(uses, [self._paid(use) for use in uses])
        return least, True

    def _lowest(self, t: int, allowed: Allowed, price: float) -> Least:
        """Where an hour costs least; if that is not explored, it is, a few times."""
        for _ in range(SPLITS + 1):
            found = self.leaves.cheapest(t, self._leaves(t, allowed), price, self._known()[t])
            if found.use is None or not self._explored(found.use):
                break
        return found

    def _explored(self, use: Use, answer: Answer | None = None) -> bool:
        """Explore a leaf around what the hour does there, or is used of it; false where it is explored, or
        cannot be.
        """
        t, leaf = use.hour, use.leaf
        if leaf.region is not None or leaf in self.thin:
            return False
        load = use.load if answer is None or answer.moved > MOVED else answer.load
        if self._split(t, leaf, load) or self._at_centre(t, leaf):
            return True
        self.thin.add(leaf)
        return False

    def _proof_s(self, allowed: Allowed) -> float:
        """Seconds that a proof takes, about."""
        return PROOF_S * sum(len(self._leaves(t, allowed)) for t in self.trees)

    def _proof(self, part: Bounded, allowed: Allowed, of_rows: Array) -> Bounded:
        """The node's bound by the least costs of all its leaves, at these duals of the relaxation's rows."""
        known, prices = self._known(), self.leaves.prices(of_rows)
        chosen = {t: self._leaves(t, allowed) for t in self.trees}
        near = NEAR * abs(self.best.value) / len(self.hours)
        proofs = {}
        for t, leaves in chosen.items():
            proof = self.leaves.proof(t, leaves, prices[t], known[t], near)
            if proof is None:
                return part
            proofs[t] = proof
        self.tight = self.answered.of({t: proof.cuts for t, proof in proofs.items()})
        node = hull(self.relaxed, self.node_hours, chosen, known)
        duals = np.zeros(len(node.program.row_lower))
        duals[: len(of_rows)] = of_rows
        for t, proof in proofs.items():
            duals[node.common[t]], duals[node.whole[t]] = proof.common, proof.value
            for rows, own in zip(node.own[t], proof.own, strict=True):
                duals[rows] = own
        bound = safe_bound(node.program, duals, np.zeros(0))
        if bound <= part.bound:
            return part
        return Bounded(chosen, known, duals, np.zeros(0), bound, {}, self.n_cuts)

    def _ask(self, uses: list[Use], prices: list[Array]) -> list[Answer | None]:
        """Ask the hours at prices of their loads what is used of their leaves, while there is time."""
        if not uses or time.monotonic() >= self.ended:
            return [None for _ in uses]
        questions = [self._question(use, lam) for use, lam in zip(uses, prices, strict=True)]
        answers = self._put(questions)
        for use, question, answer in zip(uses, questions, answers, strict=True):
            if answer is not None:
                self.points.learn(question, answer)
                if use.leaf.region is not None:
                    self._learn(question, answer)
                self.answered.learn(use, answer)
        return answers

    def _question(self, use: Use, lam: Array) -> Question:
        """What the hour does in a leaf with the batteries' inflow in sum."""
        return Question(use.hour, self.reference[:, use.hour], float(use.inflow), lam, use.leaf.G, use.leaf.h)

    def _paid(self, use: Use) -> Array:
        """What a leaf's load pays at the margin: its prices, or those of the plane that binds where it is not
        explored.
        """
        t, region = use.hour, use.leaf.region
        known = [other.region for other in self.trees[t] if other.region is not None]
        if region is not None or not known:
            return np.zeros(len(self.hours[t].box)) if region is None else region.lam
        return max(known, key=lambda region: float(region.lam @ use.load) + region.value).lam

    def _conflict(self, x: Array) -> int | None:
        """Binaries are not branched on here: the master does not see them."""
        return None

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        """The point of the best choice of one explored leaf an hour."""
        # By then there has to be a point; before, one of a reference that is replaced is not worth its time.
        rough = self.fine > FINE and time.monotonic() < self.due
        self.due = self.due if rough else np.inf
        found = self._chosen(chosen, ROUGH_PICKS if rough else PICKS, ended)
        if found is None:
            return None
        if rough:
            self.schedule = self.points.look(*found)
            return None
        self.schedule, point = self.points.near(*found, *self._aims(ended))
        return self._keep(None if point is None else self.point(point))

    def _chosen(
        self, chosen: Allowed, picks: int, ended: float
    ) -> tuple[list[Leaf], list[Array], Array] | None:
        """The best choice of one leaf an hour, picked at most so often, its prices, and a schedule: the
        latest one, where prices are what they were, else what the hours wish there.
        """
        enough = self.fine * self.gap * max(abs(self.best.value), 1.0)
        # A better choice and a better schedule must leave time for whole binaries: else there is no point.
        picking = _halfway(ended)
        for number in range(picks):
            # Leaves that were explored since then have become several.
            chosen = {
                t: tuple(leaf for leaf in self.trees[t] if leaf.within(own)) for t, own in chosen.items()
            }
            node = hull(self.relaxed, self.node_hours, chosen, self._known())
            last = number == picks - 1 or time.monotonic() >= picking
            found = None if time.monotonic() >= ended else self._picked(node, chosen, ended, last)
            if found is None:
                return None
            picked, x = found
            leaves = [picked[t][0] for t in sorted(picked)]
            at = [[other is leaf for other in chosen[t]].index(True) for t, leaf in enumerate(leaves)]
            uses = [
                Use(t, leaf, 1.0, x[node.loads[t][n]], *x[node.joined[t][n]])
                for t, (leaf, n) in enumerate(zip(leaves, at, strict=True))
            ]
            asked = [use for use in uses if self.answered.most_short(use) > enough / len(uses)]
            answers = self._ask(asked, [self._paid(use) for use in asked])
            fresh = not last and any(
                [self._explored(use, answer) for use, answer in zip(asked, answers, strict=True)]
            )
            if last or (self.answered.missed(asked) <= enough and not fresh):
                break
        prices = [self._price(t, leaf) for t, leaf in enumerate(leaves)]
        told = self.points.known
        unknown = [use for use in uses if not told(use.hour, use.leaf, prices[use.hour])]
        if None in self._ask(unknown, [prices[use.hour] for use in unknown]):
            return None
        alike = len(self.prices) == len(prices) and all(map(np.array_equal, self.prices, prices))
        schedule = self.schedule if alike else self.points.wished(leaves, prices)
        if schedule is None:
            schedule = np.zeros(self.points.flows.shape) if self.schedule is None else self.schedule
        self.prices = prices
        return leaves, prices, schedule

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

    def _picked(self, node: Hull, chosen: Allowed, ended: float, last: bool) -> tuple[Allowed, Array] | None:
        """The best choice of one leaf an hour, by the master; of explored ones, where one is near enough, and
        where it is the ``last`` choice: what an hour does in others may cost any more.
        """
        p = node.program
        shares = np.concatenate([node.shares[t] for t in chosen])
        explored = np.array([leaf.region is not None for t in chosen for leaf in chosen[t]])
        integer = np.zeros(len(p.c), dtype=bool)
        integer[shares] = True
        most = max(self.bounds) + self._margin(max(self.bounds), self.gap)
        best = None
        for left_out in (shares[~explored], shares[:0]):
            upper = p.upper.copy()
            upper[left_out] = 0.0
            highs = linear_solver(p.c, p.A, p.row_lower, p.row_upper, p.lower, upper, integer)
            highs.setOptionValue("mip_rel_gap", FINE * self.gap)
            found = run(highs, min(PICKING_S, max(ended - time.monotonic(), 0.1)))
            if found.x is not None and (best is None or found.objective < best.objective):
                best = found
            if best is not None and (last or best.objective <= most):
                break
        if best is None or best.x is None:
            return None
        return self._largest(node, chosen, best.x), best.x


def _halfway(ended: float, part: float = HALFWAY) -> float:
    """When this part of the time from now has gone."""
    now = time.monotonic()
    return now + part * (ended - now)
