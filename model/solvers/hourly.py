"""Branch and bound over price regions with the hours apart: the default method's bound.

The master program (``model.by_hour``) has a few columns an hour, whatever the number of ADNs: shares of the
leaves, and in each of them the load, the batteries' aggregated net inflow, and the hour's cost. Its
proposals go to the hours: each is one conic program of all ADNs in that hour, with the leaf's prices and
limits, and answers with a cut. As only sums over the hours are relaxed, the master's bound is nearly that
of the best choice of leaves (Shapley and Folkman; Bertsekas 1982), and hardly anything is left to branch.
The chosen leaves' point comes from the conic relaxation with every load in its leaf, whose duals price
the batteries anew.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import block_array, csr_array, vstack

from model.bounds import safe_bound
from model.by_hour import HourBlocks, blocks_by_hour, stored_levels
from model.hour_blocks import Cuts, cut_rows
from model.outcome import Bounded, Outcome
from model.price_hull import Hull, Leaf, hull, whole
from model.problem import Problem
from model.program import Array, Program
from model.solvers.conic import solve_conic
from model.solvers.linear import linear_solver, run, solve_linear
from model.solvers.price_regions import SHARE, Allowed, Fixed, Known, Search
from model.solvers.relaxation import RelaxationResult, solve_relaxation

# What an hour pays to leave a leaf or the inflow asked for, relative to its dearest price.
PENALTY = 5.0
# The first questions to every hour: shares of the batteries' largest inflow, multiples of its price. A cut
# holds the load in place only between the prices at which cuts were taken.
INFLOWS, PRICES = (-0.5, 0.0, 0.5), (0.0, 2.0)
# Cuts that a node's point misses by less than this part of the gap asked for do not call for another round.
FINE = 0.05
# Reference prices are rounded to this part of their mean size.
ROUNDED = 1e-3
# New references of the batteries' prices, and the change, relative to the price, that is worth one.
REFERENCES, SAME = 3, 1e-3
ROUNDS = 40
# Seconds for the mixed-integer program that picks one leaf an hour.
PICKING_S = 10.0


@dataclass(frozen=True)
class Question:
    """What one hour does with an aggregated net inflow at prices ``lam`` and loads within ``G L <= h``."""

    hour: int
    inflow: float
    lam: Array
    G: Array
    h: Array


@dataclass(frozen=True)
class Answer:
    """Least cost in $, moves at their penalty, the duals of the block's rows and cone rows, and the load."""

    value: float
    row_duals: Array
    cone_duals: Array
    load: Array


class Hours:
    """The conic programs of the hours."""

    def __init__(self, blocks: HourBlocks):
        self.blocks = blocks
        self.columns = [
            np.concatenate([own, blocks.inflow[[t]], blocks.loads_at[t]])
            for t, own in enumerate(blocks.columns)
        ]
        self.parts = [
            _part(blocks.program, columns, blocks.rows[t], blocks.cone_rows[t], blocks.cone_dims[t])
            for t, columns in enumerate(self.columns)
        ]

    def ask(self, question: Question) -> Answer | None:
        """Solve one hour; None where Clarabel finds no solution."""
        part = self.parts[question.hour]
        n, n_hosts, m = len(part.c), len(question.lam), len(question.h)
        prices = np.abs(np.concatenate([question.lam, part.c]))
        penalty = PENALTY * max(float(prices.max(initial=0.0)), 1.0)
        inflow, load = n - n_hosts - 1, np.arange(n - n_hosts, n)
        c = np.concatenate([part.c, np.full(m + 2, penalty * self.blocks.hours)])
        c[load] += question.lam
        # The row that sums the inflows holds the aggregated one; it may be missed. None without batteries.
        row = np.flatnonzero(part.A[:, [inflow]].toarray().ravel())[:1].repeat(2)
        sign = np.array([1.0, -1.0])[: len(row)]
        missed = csr_array((sign, (row, m + np.arange(len(row)))), shape=(len(part.row_lower), m + 2))
        limits = csr_array(
            (question.G.ravel(), (np.repeat(np.arange(m), n_hosts), np.tile(load, m))), shape=(m, n)
        )
        beyond = csr_array((-np.ones(m), (np.arange(m), np.arange(m))), shape=(m, m + 2))
        lower, upper = part.lower.copy(), part.upper.copy()
        lower[inflow] = upper[inflow] = question.inflow
        on = np.ones(m + 2, dtype=bool)
        program = replace(
            part,
            c=c,
            A=block_array([[part.A, missed], [limits, beyond]], format="csr")
            if m
            else block_array([[part.A, missed]], format="csr"),
            row_lower=np.append(part.row_lower, np.full(m, -np.inf)),
            row_upper=np.append(part.row_upper, question.h),
            lower=np.append(lower, np.zeros(m + 2)),
            upper=np.append(upper, np.full(m + 2, np.inf)),
            integer=np.zeros(n + m + 2, dtype=bool),
            enforced_lower=np.append(part.enforced_lower, on),
            enforced_upper=np.append(part.enforced_upper, ~on),
            cone_A=block_array([[part.cone_A, csr_array((len(part.cone_b), m + 2))]], format="csr"),
        )
        found = solve_conic(program)
        if found.status != "solved":
            return None
        own_rows = found.row_duals[: len(part.row_lower)]
        return Answer(float(c @ found.x), own_rows, found.cone_duals, found.x[load])


def _part(program: Program, columns: Array, rows: Array, cone_rows: Array, dims: Array) -> Program:
    """Some columns of a program with the rows and cones given, which hold no others."""
    return replace(
        program,
        c=program.c[columns],
        A=program.A[rows][:, columns],
        row_lower=program.row_lower[rows],
        row_upper=program.row_upper[rows],
        lower=program.lower[columns],
        upper=program.upper[columns],
        integer=program.integer[columns],
        enforced_lower=program.enforced_lower[columns],
        enforced_upper=program.enforced_upper[columns],
        cone_A=program.cone_A[cone_rows][:, columns],
        cone_b=program.cone_b[cone_rows],
        cone_dims=dims,
    )


class HourlySearch(Search):
    """The search over price regions with the master program in place of the relaxation."""

    rounds = ROUNDS
    eager = True

    def __init__(
        self,
        problem: Problem,
        program: Program,
        first: Outcome,
        point: Callable[[Array], Array | None],
        progress: Callable[[str], None],
    ):
        self.whole = program.relaxed()
        self.problem, self.point, self.ended = problem, point, np.inf
        self.prepare(problem, program, progress)
        self.start(first)
        self.asked: dict[tuple[int, int], tuple[Question, Leaf]] = {}
        nothing = np.zeros(stored_levels(program, problem.instance.hours).shape)
        self.blocks = blocks_by_hour(problem, program, nothing, self.hours)
        self.refer(self._prices(first.parts[0].row_duals))

    def refer(self, reference: Array) -> None:
        """Take new reference prices of the batteries; cuts begin anew."""
        self.reference = self.found_prices = reference
        self.blocks = blocks_by_hour(self.problem, self.program, reference, self.hours)
        self.programs = Hours(self.blocks)
        self.relaxed = self.blocks.relaxation
        self.of_cut: list[int] = []
        self.row_duals: list[Array] = []
        self.cone_duals: list[Array] = []
        self.sides = np.zeros(0)
        self.coefficients = csr_array((0, len(self.relaxed.c)))
        self._renew()

    def _prices(self, row_duals: Array) -> Array:
        """What each battery's stored energy is worth beyond the others', (K, T), from duals of the whole
        relaxation. Rounded, so that only levels at their limits change it.
        """
        worth = row_duals[self.blocks.dynamics_before]
        if not len(worth):
            return worth
        unit = ROUNDED * max(float(np.abs(worth).mean()), 1.0)
        return unit * np.round((worth - worth.mean(axis=0)) / unit)

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

    def solve(self, gap: float, ended: float) -> Outcome:
        """The root with better and better references, then the search."""
        self.gap, self.ended = gap, ended
        self._begin(ended)
        if self.trees.keys() != self.hours.keys():  # no time for all hours: the welfare bound stands
            return replace(self.first, status="time_limit")
        outcome = self.first
        for number in range(REFERENCES):
            root = self._root(ended)
            if root is None:
                break
            trees = {t: tuple(leaves) for t, leaves in self.trees.items()}
            self.first = replace(self.first, parts=(root,))
            latest = replace(self.first, x=self.best.x, trees=trees, cuts=self.cuts, nodes=self.nodes)
            outcome = latest.or_proof_of(outcome)
            self.progress(f"reference {number}: bound {root.bound:.2f}, best {self.best.value:.2f}")
            worth = self.found_prices
            changed = np.abs(worth - self.reference).max(initial=0.0)
            if (
                self._within(root.bound, gap)
                or time.monotonic() >= ended
                or number == REFERENCES - 1
                or changed <= SAME * max(float(np.abs(worth).max(initial=0.0)), 1.0)
            ):
                return replace(self.run(gap, ended), cuts=self.cuts).or_proof_of(outcome)
            self.refer(worth)
            self._put([question for question, _ in self.asked.values()])
        return replace(outcome, status="time_limit" if time.monotonic() >= ended else outcome.status)

    def _activate(self, x: Array) -> bool:
        """Every hour has its tree from the beginning."""
        return False

    def _begin(self, ended: float) -> None:
        """Trees of all hours, explored around what the ADNs do at native prices, and cuts there."""
        hosts = len(self.hours[0].box)
        nowhere = np.zeros((0, hosts)), np.zeros(0)
        questions = []
        for t, hour in self.hours.items():
            if time.monotonic() >= ended:
                return
            self.trees[t] = [whole(hour)]
            load = hour.load(self.best.x)
            self._split(t, self.trees[t][0], load) or self._at_centre(t, self.trees[t][0])
            lam = next((leaf.region.lam for leaf in self.trees[t] if leaf.region), np.zeros(hosts))
            part = self.programs.parts[t]
            least, most = part.lower[-hosts - 1], part.upper[-hosts - 1]
            for share in INFLOWS:
                inflow = share * (most if share > 0 else -least)
                questions += [Question(t, inflow, price * lam, *nowhere) for price in PRICES]
        self._put(questions)

    def _put(self, questions: list[Question]) -> None:
        """Put questions to the hours as long as there is time, and add the answers' cuts."""
        new = []
        for question in questions:
            if time.monotonic() >= self.ended:
                break
            answer = self.programs.ask(question)
            if answer is not None:
                new.append((question.hour, answer))
        first = self.n_cuts
        self.of_cut += [t for t, _ in new]
        self.row_duals += [answer.row_duals for _, answer in new]
        self.cone_duals += [answer.cone_duals for _, answer in new]
        fresh = Cuts(
            np.array(self.of_cut[first:], dtype=int), self.row_duals[first:], self.cone_duals[first:]
        )
        sides, coefficients = cut_rows(self.blocks, fresh)
        self.sides = np.append(self.sides, sides)
        self.coefficients = vstack([self.coefficients, coefficients], format="csr")
        self._renew()

    def _root(self, ended: float) -> Bounded | None:
        """Rounds until the master's point is what the hours answer; its bound, and a point of its leaves."""
        part = Bounded({}, {}, np.zeros(0), np.zeros(0), -np.inf)
        part, _ = self._process(part, {}, {}, self.gap, ended)
        return part if part.chosen else None

    # Nodes.

    def _own(self, fixed: Fixed) -> Fixed:
        return {}

    def _solve(self, node: Hull, time_limit_s: float) -> RelaxationResult:
        p = node.program
        found = solve_linear(p.c, p.A, p.row_lower, p.row_upper, p.lower, p.upper, time_limit_s)
        nothing = np.zeros(0)
        if found.x is None or found.row_duals is None:
            status = "error" if found.status == "solved" else found.status
            return RelaxationResult(status, nothing, np.zeros(len(p.row_lower)), nothing, 0)
        return RelaxationResult(found.status, found.x, found.row_duals, nothing, 0)

    def _bound(self, program: Program, result: RelaxationResult) -> tuple[float, tuple[Array, Array]]:
        duals = result.row_duals, result.cone_duals
        return safe_bound(program, *duals), duals

    def _explore(self, node: Hull, chosen: Allowed, x: Array) -> bool:
        """Explore leaves that the point uses, and ask the hours about the explored ones; true where the
        master is tighter for it.
        """
        fresh = super()._explore(node, chosen, x)
        questions, missed = [], []
        for t, leaves in chosen.items():
            for leaf, share, part, joined in zip(
                leaves, x[node.shares[t]], x[node.loads[t]], x[node.joined[t]], strict=True
            ):
                if share <= SHARE or leaf.region is None:
                    continue
                inflow, cost = joined / share
                questions.append(Question(t, float(inflow), leaf.region.lam, leaf.G, leaf.h))
                self.asked[t, id(leaf)] = questions[-1], leaf
                missed.append((t, share, inflow, cost, part / share, node.directions[t]))
        self._put(questions)
        underrated = 0.0
        for t, share, inflow, cost, seen, directions in missed:
            cuts = self.node_hours[t].cuts
            assert cuts is not None
            on_part = np.linalg.lstsq(directions.T, cuts.on_loads.T, rcond=None)[0].T
            short = cuts.sides - cuts.on_joined @ [inflow, cost] - on_part @ seen
            underrated += share * max(float(short.max(initial=0.0)), 0.0)
        return fresh or underrated > FINE * self.gap * max(abs(self.best.value), 1.0)

    def _conflict(self, x: Array) -> int | None:
        """Binaries are not branched on here: the master does not see them."""
        return None

    def _candidate(
        self, node: Hull, chosen: Allowed, known: Known, fixed: Fixed, x: Array, ended: float
    ) -> Array | None:
        """The point of the best choice of one explored leaf an hour."""
        picked = self._picked(node, chosen, x, ended)
        if picked is None:
            return None
        pure = hull(self.whole, self.hours, picked, known)
        result = solve_relaxation(pure.program, max(ended - time.monotonic(), 0.1))
        if result.status != "solved":
            return None
        self.found_prices = self._prices(result.row_duals)
        return super()._candidate(pure, picked, known, fixed, result.x, ended)

    def _snap(self, *_: object) -> None:
        """A candidate lies wholly in a leaf of each hour already."""

    def _picked(self, node: Hull, chosen: Allowed, x: Array, ended: float) -> Allowed | None:
        """The best choice of one explored leaf an hour, by the master."""
        p = node.program
        shares = np.concatenate([node.shares[t] for t in chosen])
        explored = np.array([leaf.region is not None for t in chosen for leaf in chosen[t]])
        upper, integer = p.upper.copy(), np.zeros(len(p.c), dtype=bool)
        upper[shares[~explored]] = 0.0
        integer[shares] = True
        highs = linear_solver(p.c, p.A, p.row_lower, p.row_upper, p.lower, upper, integer)
        highs.setOptionValue("mip_rel_gap", FINE * self.gap)
        found = run(highs, min(PICKING_S, max(ended - time.monotonic(), 0.1)))
        return None if found.x is None else self._largest(node, chosen, found.x)
