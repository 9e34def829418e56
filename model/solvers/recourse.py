"""What the ADNs' hours answer to shared values, and the cuts and points that come of it."""

from dataclasses import dataclass

import numpy as np

from model.hour_blocks import Cuts, blocks_of, cut_rows, with_cuts
from model.price_hull import HourLoads
from model.problem import Problem
from model.program import Array, Program
from model.solvers.binaries import round_by_direction
from model.solvers.follower import Follower
from model.solvers.hour_conic import MISSED, Answer, feeder_hours
from model.solvers.hour_market import HourMarket
from model.solvers.workers import Here, Order, Orders, Workers

# What a battery's power costs to move, relative to the dearest block: more than it is worth in any optimum.
PENALTY = 5.0
# A shared value that changed by less than this, in p.u., has not changed; and where a point is to be kept.
STILL, EXACT = 1e-6, 1e-9
# A price within this part of the range met so far is in it.
WIDER = 0.01
# Trades below this, in p.u., are dropped from a point; moves below the other are a solver's noise.
NOTHING, NOISE = 1e-4, 1e-6
# A trade that an ADN can hardly serve is reduced to this share, then dropped.
DRAWN_BACK = 0.98
REDUCTIONS = 8
# Half of what the certificate lets pass: an interior-point method that ends almost solved may miss it.
SOUND = 5e-7


@dataclass(frozen=True, eq=False)
class Trial:
    """Shared values ``s`` (columns of the blocks' program) with what the ADNs' hours answer.

    ``value``: the relaxation's cost of it in $, moves at their penalty. ``load``: of every hour, the ADNs'
    load at the hosts that comes of it. ``own_cost``: of every block, its part of the cost. ``rents``: of
    every hour, what the ADNs pay beyond phi at one of the follower's price vectors, in $.
    """

    s: Array
    value: float
    load: dict[int, Array]
    own_cost: Array
    rents: dict[int, float]


class Recourse:
    """The ADNs' hours of a problem; ``workers`` solves them, ``relaxation`` is the shared program with all
    cuts.
    """

    def __init__(
        self,
        problem: Problem,
        program: Program,
        hours: dict[int, HourLoads],
        markets: dict[int, HourMarket],
    ):
        self.problem, self.program, self.hours, self.markets = problem, program, hours, markets
        self.blocks = blocks = blocks_of(problem, program)
        self.base = self.relaxation = blocks.relaxation
        self.follower = Follower(problem, program)
        instance = problem.instance
        blocks_cost = [b.cost_per_mwh for gen in instance.transmission.gens for b in gen.blocks]
        dearest = max(*blocks_cost, 1.0) * instance.base_mva
        # Of every hour the least and greatest price met so far. A block's power hardly depends on its
        # price, but its cuts hold the power in place only between the prices at which they were taken.
        self.prices = np.tile([[min(blocks_cost) * instance.base_mva], [dearest]], blocks.hours)
        fees = instance.fees
        traded = 2 * (fees.access_per_mwh + fees.network_per_mwh) + fees.local_per_mwh
        self.penalty = np.full(len(blocks.of_column), PENALTY * dearest)
        self.penalty[len(program.c) :] = max(traded, 1.0) * instance.base_mva
        self.feeders = [feeder_hours(blocks, d, self.penalty) for d in range(instance.n_adns)]
        self.workers: Workers = Here([])
        self.shared_of = [data.shared for feeder in self.feeders for data in feeder.hours]
        self.power_of = [own[blocks.priced[own]] for own in self.shared_of]
        self.asked: list[Array | None] = [None] * blocks.n_blocks
        self.answers: list[Answer] = []
        follower = np.zeros(len(blocks.of_column), dtype=bool)
        for name, where in program.columns.items():
            follower[where] = name.startswith("follower.")
        self.shared_cost = np.where((blocks.of_column < 0) & ~follower, blocks.program.c, 0.0)
        self.cut_block: list[int] = []
        self.cut_rows: list[Array] = []
        self.cut_cones: list[Array] = []

    @property
    def n_cuts(self) -> int:
        """Cuts so far."""
        return len(self.cut_block)

    @property
    def cuts(self) -> Cuts:
        """All cuts so far."""
        return Cuts(np.array(self.cut_block, dtype=int), self.cut_rows, self.cut_cones)

    def proposal(self, x: Array) -> Array:
        """A point of the shared program, perhaps with more columns, as values of the blocks' columns."""
        s = np.zeros(len(self.blocks.of_column))
        s[self.blocks.shared] = x[: len(self.blocks.shared)]
        return s

    def ask(self, s: Array, which: tuple[int, ...] = (0, 1), near: float = STILL) -> Array:
        """Solve the blocks whose shared values have changed, and add their cuts, whose numbers are returned.

        ``which``: at the least (0), the greatest (1), or both prices of the hour.
        """
        first = self.n_cuts
        orders: Orders = {}
        for b, own in enumerate(self.shared_of):
            values, before = s[own], self.asked[b]
            free = ~self.blocks.priced[own]
            if before is None or np.abs(values - before)[free].max(initial=0.0) > near:
                d, t = divmod(b, self.blocks.hours)
                for price in self.prices[list(which), t]:
                    order = Order(t, values, np.full(len(self.power_of[b]), price))
                    orders.setdefault(d, []).append(order)
        if not self.answers:
            self.answers = [None] * self.blocks.n_blocks  # type: ignore[list-item]
        solved = self.workers.solve(orders)
        for d, own_orders in orders.items():
            for order, answer in zip(own_orders, solved[d], strict=True):
                b = d * self.blocks.hours + order.hour
                self.asked[b], self.answers[b] = order.values, answer
                self.cut_block.append(b)
                self.cut_rows.append(answer.row_duals)
                self.cut_cones.append(answer.cone_duals)
        new = slice(first, None)
        fresh = Cuts(np.array(self.cut_block[new], dtype=int), self.cut_rows[new], self.cut_cones[new])
        if self.n_cuts > first:
            self.relaxation = with_cuts(self.relaxation, *cut_rows(self.blocks, fresh))
        return np.arange(first, self.n_cuts)

    def missed(self, x: Array, new: Array) -> float:
        """By how much, in $, a point of the shared program underrates the blocks, as the cuts ``new``
        tell.
        """
        p, n_rows = self.relaxation, len(self.base.row_lower)
        side = p.row_lower[n_rows + new] - p.A[n_rows + new] @ x[: len(p.c)]
        worst = np.zeros(self.blocks.n_blocks)
        np.maximum.at(worst, np.array(self.cut_block, dtype=int)[new], side)
        return float(worst.sum())

    def trial(self, s: Array, which: tuple[int, ...] = (0, 1)) -> Trial:
        """What the ADNs' hours answer to shared values; see :meth:`ask` for ``which``."""
        self.ask(s, which)
        s, moved = s.copy(), 0.0
        for own, power, answer in zip(self.shared_of, self.power_of, self.answers, strict=True):
            s[power] = answer.power
            moved += float(self.penalty[own] @ np.abs(answer.moved))
        load = {t: hour.load(s) for t, hour in self.hours.items()}
        phi, rents = 0.0, {}
        for t, hour in self.hours.items():
            cost, _, duals, _ = self.markets[t].solve(load[t])
            price = duals[self.markets[t].host_rows]
            phi += cost - hour.native_cost
            rents[t] = float(price @ load[t]) - (cost - hour.native_cost)
            self._widen(t, float(price.min()), float(price.max()))
        own_cost = np.array([answer.cost for answer in self.answers])
        value = phi + float(own_cost.sum()) + float(self.shared_cost @ s) + moved
        return Trial(s, value, load, own_cost, rents)

    def _widen(self, t: int, least: float, most: float) -> None:
        """Price an hour's blocks at these prices too; what was asked at others is asked again."""
        low, high = self.prices[:, t]
        if least < low - WIDER * abs(low) or most > high + WIDER * abs(high):
            self.prices[:, t] = min(least, low), max(most, high)
            for b in range(t, self.blocks.n_blocks, self.blocks.hours):
                self.asked[b] = None

    def probe(self, idle: Trial) -> None:
        """Cuts where trade changes what it is worth: an ADN sells its surplus, or more; buys its need, or
        more.

        Only in hours in which some ADN has a surplus without its batteries.
        """
        n, n_totals = len(self.program.c), self.blocks.n_blocks
        power = np.array([answer.power.sum() for answer in self.answers]).reshape(-1, self.blocks.hours)
        sunny = (power < 0).any(axis=0)
        for first, share in ((n, 1.0), (n, 2.0), (n + n_totals, 1.0), (n + n_totals, 1.5)):
            amount = np.maximum(-power if first == n else power, 0.0) * share * sunny
            s = idle.s.copy()
            s[first : first + n_totals] = amount.ravel()
            self.ask(s)

    def compose(self, s: Array) -> Array | None:
        """A point of the program with shared values near ``s`` and the follower's answer, or None."""
        s, answers = self._served(s)
        if answers is None:
            return None
        x, undecided = self._assembled(s, answers)
        orders: Orders = {}
        for b, (own, shared) in enumerate(zip(self.blocks.columns, self.shared_of, strict=True)):
            if undecided[own].any():
                binaries = x[own[self.program.integer[own]]]
                orders.setdefault(b // self.blocks.hours, []).append(self._held(b, s[shared], binaries))
        if orders:
            self._fill(answers, orders)
            if not all(answer.solved for answer in answers):
                return None
            x, _ = self._assembled(s, answers)
        answer = self.follower(x)
        return None if answer is None or self.program.violation(answer) > SOUND else answer

    def _held(self, b: int, values: Array, binaries: Array | None = None) -> Order:
        price = np.full(len(self.power_of[b]), self.prices[1, b % self.blocks.hours])
        return Order(b % self.blocks.hours, values, price, True, binaries)

    def _fill(self, answers: list[Answer], orders: Orders) -> list[int]:
        """Put the answers to orders into a list by block; the blocks that were solved."""
        solved = self.workers.solve(orders)
        done = []
        for d, own_orders in orders.items():
            for order, answer in zip(own_orders, solved[d], strict=True):
                done.append(d * self.blocks.hours + order.hour)
                answers[done[-1]] = answer
        return done

    def _served(self, s: Array) -> tuple[Array, list[Answer] | None]:
        """Shared values near ``s`` that every ADN can serve exactly, and its answers, None where none was
        found.

        Trades that a partner cannot serve, or hardly, are reduced; an ADN sells in an hour or buys.
        """
        T = self.blocks.hours
        kept = np.ones((2, self.problem.instance.n_adns, T))
        answers: list[Answer] = [None] * self.blocks.n_blocks  # type: ignore[list-item]
        held = np.full(len(s), np.nan)
        self._drop_relays(s, kept)
        for attempt in range(REDUCTIONS):
            s = self._reduced(s, kept)
            kept[:] = 1.0
            self.ask(s, near=EXACT)
            self._draw_back(s, kept)
            if (kept < 1).any():
                continue
            orders: Orders = {}
            for b, own in enumerate(self.shared_of):
                if (s[own] != held[own]).any():
                    orders.setdefault(b // T, []).append(self._held(b, s[own]))
            for b in self._fill(answers, orders):
                if not answers[b].solved or answers[b].missed > MISSED:
                    kept[:, b // T, b % T] = DRAWN_BACK if attempt < REDUCTIONS // 2 else 0.0
            held = s
            if not (kept < 1).any():
                return s, answers
        return s, None

    def _drop_relays(self, s: Array, kept: Array) -> None:
        """Lower to nothing the smaller of what an ADN sells and buys in an hour where it does both."""
        sold, bought = s[len(self.program.c) :].reshape(kept.shape)
        both = np.minimum(sold, bought) > NOTHING
        kept[0][both & (sold <= bought)] = 0.0
        kept[1][both & (sold > bought)] = 0.0

    def _draw_back(self, s: Array, kept: Array) -> None:
        """Lower the shares ``kept`` of what ADNs sell and buy where their last answers had to do so."""
        n, n_totals = len(self.program.c), self.blocks.n_blocks
        for b, (own, answer) in enumerate(zip(self.shared_of, self.answers, strict=True)):
            if (answer.moved < -NOISE).any():
                moved = dict(zip(own.tolist(), answer.moved.tolist(), strict=True))
                for side, column in enumerate((n + b, n + n_totals + b)):
                    less = -moved.get(column, 0.0)
                    if less > NOISE and s[column] > 0:
                        share = np.clip(1 - less / s[column], 0, DRAWN_BACK)
                        kept[side, b // self.blocks.hours, b % self.blocks.hours] = share

    def _reduced(self, s: Array, kept: Array) -> Array:
        """Shared values with every trade at the share that both partners keep, (2, ADN, hour), and the
        totals.
        """
        instance, where = self.problem.instance, self.program.columns["x"]
        seller, buyer = np.array([(a.seller, a.buyer) for a in instance.arcs], dtype=int).reshape(-1, 2).T
        x = s[where].reshape(-1, self.blocks.hours) * np.minimum(kept[0][seller], kept[1][buyer])
        x[x < NOTHING] = 0.0
        totals = np.zeros_like(kept)
        np.add.at(totals[0], seller, x)
        np.add.at(totals[1], buyer, x)
        s = s.copy()
        s[where] = x.ravel()
        s[len(self.program.c) :] = totals.ravel()
        return s

    def _assembled(self, s: Array, answers: list[Answer]) -> tuple[Array, Array]:
        """The leaders' columns at shared values and answers, binaries by direction; those that have none."""
        x = np.zeros(len(self.blocks.of_column))
        x[self.blocks.shared] = s[self.blocks.shared]
        for own, power, answer in zip(self.blocks.columns, self.power_of, answers, strict=True):
            x[own], x[power] = answer.x, answer.power
        x = np.clip(x[: len(self.program.c)], self.program.lower, self.program.upper)
        return round_by_direction(self.program, x)
