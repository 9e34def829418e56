"""Points of the whole problem from its hours: a schedule of the batteries, then every hour by itself.

Once every battery's charge and discharge are held, nothing joins the hours: each is a conic program of its
own. What an hour costs is convex in what is held, and its duals are a tangent; the schedule is the best by
the tangents so far (Kelley 1960) near the best one seen, with every load kept in its leaf.
"""

import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import block_array, csr_array, eye_array

from model.by_hour import HourBlocks, rise, stored_levels
from model.hour_blocks import pattern
from model.price_hull import Leaf
from model.problem import Problem
from model.program import Array, Program
from model.solvers.binaries import kin, round_by_direction
from model.solvers.hour_program import Answer, Question
from model.solvers.linear import solve_linear
from model.solvers.workers import Ask

# The first distance from the best schedule, as a part of the batteries' power; halved where a step fails.
REACH = 0.25
STEPS, SETTLINGS = 12, 5
REACHES = 0.1, 0.2, 0.4, 1.0
# A load may lie outside its leaf by this much, in p.u., and is drawn in by EDGE, and by as much again as it
# lies outside up to AGAIN: what solvers leave would put it there again.
OUTSIDE, EDGE, AGAIN = 2e-8, 1e-8, 2e-6
# What keeping to a leaf is worth at most, in multiples of the dearest price. So many steps draw loads in, so
# many times as long as it takes; one has helped where no more than this part of what lay outside does.
OUTSIDE_COST, RESTORED, MOVE, HELPED = 3.0, 8, 4.0, 0.5
# Leaves that are missed by this part of what the worst is missed by are out of reach together with it.
MOSTLY = 0.5
# A step below this, relative to the batteries' power, is lost in HiGHS's tolerance.
SHORTEST = 1e-5
# A step is worth trying while it promises this part of the gap asked for: before binaries are whole, and
# then.
PROMISE, PROMISE_WHOLE = 0.3, 0.1
# ... and so many steps together still gave this part of the gap. A gap above COARSE counts as that: by a
# coarser one steps end with loads outside their leaves.
LATELY, SLOW = 3, 0.05
COARSE = 0.002


@dataclass(frozen=True)
class Seen:
    """What the hours answered to a schedule: charge and discharge, (2, K, T); costs of the hours, (T,), with
    penalties for loads that they cannot keep in their leaves.
    """

    schedule: Array
    values: Array
    answers: list[Answer]

    @property
    def cost(self) -> float:
        """Of all hours."""
        return float(self.values.sum())

    @property
    def loads(self) -> list[Array]:
        """Of every hour, at the hosts."""
        return [answer.load for answer in self.answers]


@dataclass(frozen=True)
class Tangent:
    """An hour costs at least ``value + slopes (s - schedule)``, in $ for charge and discharge s, (2, K).

    ``load``: what it takes from the hosts at that schedule.
    """

    schedule: Array
    slopes: Array
    value: float
    load: Array


@dataclass
class Held:
    """Of an hour: the leaf that its load is kept in, if any; columns held besides the schedule, and at what;
    tangents that hold with these or more.
    """

    leaf: Leaf | None = None
    columns: dict[int, float] = field(default_factory=dict)
    tangents: list[Tangent] = field(default_factory=list)


class Proposal(NamedTuple):
    """The best schedule by the tangents, (2, K, T), what it promises, in $, and of every limit of a leaf its
    dual, in $ per p.u., and by how much it is missed, in p.u.; zeros where there is no schedule.
    """

    schedule: Array | None
    hoped: float
    duals: Array
    missed: Array


class Points:
    """Makes points of a program from answers of its hours; ``ask`` puts questions to them."""

    def __init__(self, problem: Problem, program: Program, blocks: HourBlocks, ask: Ask):
        self.program, self.ask, self.n_hours = program, ask, blocks.hours
        self.levels = stored_levels(program, blocks.hours)
        self.flows = np.stack(
            [stored_levels(program, blocks.hours, kind) for kind in ("charge", "discharge")]
        )
        self.charging = stored_levels(program, blocks.hours, "charging")
        # What the hours answered to the latest point, and what more load costs at the hosts, in $ per p.u.,
        # for keeping to its leaf: of every hour.
        self.answers: list[Answer] = []
        self.pressed: list[Array] = []
        # Of every hour, by prices and limits of the loads.
        self.tangents: list[dict[bytes, list[Tangent]]] = [{} for _ in range(blocks.hours)]
        self.hour_of, self.number = np.full(len(program.c), -1), np.full(len(program.c), -1)
        ours = np.flatnonzero(blocks.kept < len(program.c))
        self.hour_of[blocks.kept[ours]] = blocks.of_column[ours]
        for t, own in enumerate(blocks.columns):
            mine = ours[blocks.of_column[ours] == t]
            self.number[blocks.kept[mine]] = np.searchsorted(own, mine)
        # What a unit charged and discharged adds to what is stored.
        position = np.full(len(program.c), -1)
        position[blocks.kept[ours]] = ours
        self.at = position[self.flows]
        # Rows of every hour's block that say what is stored, and which way: the schedule's own.
        own = pattern(blocks.program.A[:, np.sort(position[self.charging].ravel())]).sum(axis=1) > 0
        own[blocks.dynamics] = True
        self.told = [own[rows] for rows in blocks.rows]
        # What an hour's columns cost but for the batteries' inflows, which references price.
        cost = blocks.program.c.copy()
        cost[blocks.batteries] = 0.0
        self.own_cost = [cost[own] for own in blocks.columns]
        # Of charge and discharge, by hour: what they cost, (2, K), and their entries in the hour's rows.
        self.flow_cost = [cost[self.at[:, :, t]] for t in range(self.n_hours)]
        self.on_flows = [
            blocks.program.A[rows][:, self.at[:, :, t].ravel()] for t, rows in enumerate(blocks.rows)
        ]
        rows = blocks.program.A[blocks.dynamics.ravel()]
        every = np.arange(blocks.dynamics.size)
        self.stores = np.zeros(self.at.shape)
        if every.size:
            self.stores = -np.stack([np.asarray(rows[every, at.ravel()]).reshape(at.shape) for at in self.at])
        hosts = sorted({feeder.host_bus for feeder in problem.instance.feeders})
        self.host = np.concatenate(
            [
                np.full(len(feeder.bess), hosts.index(feeder.host_bus), dtype=int)
                for feeder in problem.instance.feeders
            ]
        )

    def begin(self, schedule: Array, prices: list[Array], pressed: list[Array]) -> Array | None:
        """What the hours do with a schedule, wherever their loads lie, as a point without the follower;
        ``pressed``: what keeping to the leaves costs there.
        """
        seen = self._look(self.one_way(schedule), prices)
        if seen is None:
            return None
        self.answers, self.pressed = seen.answers, pressed
        found = self._whole(seen, prices, self._kept())
        return None if found is None else self._joined(found)

    def one_way(self, schedule: Array) -> Array:
        """Each battery's schedule with the same stored, but never charging and discharging at once."""
        return np.maximum((self.stores * schedule).sum(axis=0) / self.stores, 0.0)

    def wished(self, leaves: list[Leaf], prices: list[Array]) -> Array | None:
        """The schedule that the tangents make of what the hours answered last, each by itself."""
        last = [self.known(t, *at)[-1] for t, at in enumerate(zip(leaves, prices, strict=True))]
        flows = np.stack([tangent.schedule for tangent in last], axis=2)
        loads = [tangent.load for tangent in last]
        for reach in REACHES:
            found = self._proposal(prices, flows, loads, reach, leaves).schedule
            if found is not None:
                return found
        return None

    def known(self, t: int, leaf: Leaf, price: Array) -> list[Tangent]:
        """The tangents of an hour at the prices of a leaf: those that hold anywhere, and those within it."""
        asked = (np.zeros(0), np.zeros(0)), (leaf.G, leaf.h)
        return [
            tangent
            for limits in asked[: 2 if len(leaf.h) else 1]
            for tangent in self.tangents[t].get(_key(price, *limits), [])
        ]

    def learn(self, question: Question, answer: Answer) -> None:
        """Keep the tangent that an answer is, whatever its schedule."""
        own = self.tangents[question.hour]
        own.setdefault(_key(question.lam, question.G, question.h), []).append(self._tangent(question, answer))

    def _tangent(self, question: Question, answer: Answer) -> Tangent:
        t = question.hour
        schedule = answer.x[self.number[self.flows[:, :, t]]]
        y = answer.row_duals.copy()
        y[self.told[t]] = 0.0
        slopes = self.flow_cost[t] - (self.on_flows[t].T @ y).reshape(schedule.shape)
        # With a schedule held the duals are those of all that is paid, penalties included.
        value = answer.value
        if question.fixed is None:
            value = float(self.own_cost[t] @ answer.x + question.lam @ answer.load)
        return Tangent(schedule, slopes, value, answer.load)

    def stored(self, t: int, x: Array, paid: float) -> tuple[Array, float]:
        """Of an hour's columns: what every battery takes in net, (K,), and what the hour costs with what it
        pays for its load, in $.
        """
        schedule = x[self.number[self.flows[:, :, t]]]
        return (self.stores[:, :, t] * schedule).sum(axis=0), float(self.own_cost[t] @ x) + paid

    def look(self, leaves: list[Leaf], prices: list[Array], start: Array) -> Array:
        """The nearest schedule that can be, and what the hours answer to it, for :class:`Days`."""
        seen = self._look(self.one_way(start), prices)
        if seen is None:
            return start
        self._press(leaves, prices, seen)
        return seen.schedule

    def better(
        self, leaves: list[Leaf], prices: list[Array], start: Array, enough: float, gap: float, ended: float
    ) -> Array:
        """A good schedule near another one, as in :meth:`near`, without a point, for :class:`Days`."""
        held = self._kept(leaves)
        best = self._look(self.one_way(start), prices, held)
        if best is None:
            return start
        best, _ = self._improved(leaves, prices, best, REACH, held, enough, gap, ended)
        self._press(leaves, prices, best)
        return best.schedule

    def _press(self, leaves: list[Leaf], prices: list[Array], seen: Seen) -> None:
        """What the hours answered, and what keeping to the leaves costs: by the tangents alone, as limits of
        reach would take part of it.

        A leaf that no schedule takes its hour's load to has a penalty's price, which says nothing but that,
        and which batteries carry to all hours. Such hours are asked without it and press nothing: those that
        miss theirs by most first, as others may miss theirs for them.
        """
        self.answers, self.pressed = seen.answers, [np.zeros(len(price)) for price in prices]
        leaves = list(leaves)
        while True:
            found = self._proposal(prices, seen.schedule, seen.loads, np.inf, leaves)
            worst = float(found.missed.max(initial=0.0))
            if worst <= OUTSIDE:
                break
            of_limit = np.repeat(np.arange(self.n_hours), [len(leaf.h) for leaf in leaves])
            out = np.unique(of_limit[found.missed >= MOSTLY * worst])
            questions = [self._held(t, seen.schedule, prices[t], Held()) for t in out]
            for question, answer in zip(questions, self.ask(questions), strict=True):
                if answer is not None:
                    self.learn(question, answer)
            for t in out:
                leaves[t] = replace(leaves[t], G=leaves[t].G[:0], h=leaves[t].h[:0])
        dearest = max(float(np.abs(price).max()) for price in prices)
        edges = [(t, g) for t, leaf in enumerate(leaves) for g in leaf.G]
        for (t, g), dual in zip(edges, found.duals, strict=True):
            self.pressed[t] -= max(dual, -OUTSIDE_COST * dearest / float(np.abs(g).max())) * g

    def near(
        self, leaves: list[Leaf], prices: list[Array], start: Array, enough: float, gap: float, ended: float
    ) -> tuple[Array, Array | None]:
        """A good schedule near another one, with every load in its leaf, and the point it gives, if any.

        With loads in their leaves no better one is looked for than of cost ``enough`` ($), nor for a small
        part of ``gap``; nor after ``ended``. Whole binaries and loads in their leaves may take longer.
        """
        held = self._kept(leaves)
        best = self._look(self.one_way(start), prices, held)
        if best is None:
            return start, None
        best, reach = self._improved(leaves, prices, best, REACH, held, enough, gap, ended)
        now = self._whole(best, prices, held)
        if now is None:
            return best.schedule, None
        if any(own.columns for own in held):
            # Whole binaries cost something, and less with a schedule of their own.
            better, reach = self._improved(leaves, prices, now, reach, held, enough, gap, ended)
            again = self._whole(better, prices, held)
            now = now if again is None else again
        # What hours cannot keep in by themselves: by steps no longer than that takes, as a longer one would
        # take others out. As long as it helps, only hours outside and the next ones, to which energy is
        # shifted, are asked again.
        power = float(self.program.upper[self.flows[0]].sum(axis=0).max(initial=0.0))
        best, nearby, before = now, True, np.inf
        for _ in range(RESTORED):
            best, beyond = now, self._beyond(now, leaves)
            outside = float(beyond.max())
            helped = outside <= HELPED * before
            if outside <= OUTSIDE or not (nearby or helped):
                break
            nearby, before = nearby and helped, outside
            reach = min(reach, max(MOVE * outside / max(power, outside), SHORTEST))
            there = beyond > OUTSIDE
            there |= np.roll(there, 1)
            reaches = np.where(there, reach, 0.0) if nearby else reach
            proposal = self._proposal(prices, best.schedule, best.loads, reaches, leaves, held).schedule
            now = None if proposal is None else self._look(proposal, prices, held, best)
            now = None if now is None else self._whole(now, prices, held)
            if now is None:
                break
        return best.schedule, self._joined(best)

    def _improved(
        self,
        leaves: list[Leaf],
        prices: list[Array],
        best: Seen,
        reach: float,
        held: list[Held],
        enough: float,
        gap: float,
        ended: float,
    ) -> tuple[Seen, float]:
        """A good schedule near another one, and how far from it the last step was to go."""
        promise = PROMISE_WHOLE if any(own.columns for own in held) else PROMISE
        gap = min(gap, COARSE)
        values = []
        for _ in range(STEPS):
            value = best.cost
            values.append(value)
            slow = len(values) > LATELY and values[-1 - LATELY] - value <= SLOW * gap * max(abs(value), 1.0)
            # Outside its leaf a load costs a penalty, which may be less than what the gap leaves room for.
            inside = self._beyond(best, leaves).max() <= OUTSIDE
            if (inside and value <= enough) or slow or time.monotonic() >= ended:
                break
            proposal, hoped, *_ = self._proposal(prices, best.schedule, best.loads, reach, leaves, held)
            promised = value - hoped > promise * gap * max(abs(value), 1.0)
            if proposal is None or (inside and not promised):
                break
            now = self._look(proposal, prices, held)
            if now is None:
                break
            if now.cost < value:
                best = now
            else:
                reach *= 0.5
        return best, reach

    @staticmethod
    def _beyond(seen: Seen, leaves: list[Leaf]) -> Array:
        """By how much every hour's load lies outside its leaf, in p.u., (T,)."""
        loads = zip(leaves, seen.loads, strict=True)
        return np.array([(leaf.G @ load - leaf.h).max(initial=0.0) for leaf, load in loads])

    def _look(
        self,
        schedule: Array,
        prices: list[Array],
        held: list[Held] | None = None,
        seen: Seen | None = None,
    ) -> Seen | None:
        """What the hours answer to a schedule, with what is held besides; those that do what they did in one
        ``seen`` with the same held are not asked again.
        """
        held = held or self._kept()
        answers: list[Answer | None] = [None] * len(held) if seen is None else list(seen.answers)
        asked = [
            t
            for t in range(len(held))
            if seen is None or not np.array_equal(schedule[:, :, t], seen.schedule[:, :, t])
        ]
        questions = [self._held(t, schedule, prices[t], held[t]) for t in asked]
        for question, answer in zip(questions, self.ask(questions), strict=True):
            answers[question.hour], own = answer, held[question.hour]
            if answer is not None and own.columns:
                own.tangents.append(self._tangent(question, answer))
            elif answer is not None:
                self.learn(question, answer)
        return self._seen(schedule, answers)

    @staticmethod
    def _seen(schedule: Array, answers: list[Answer | None]) -> Seen | None:
        found = [answer for answer in answers if answer is not None]
        if len(found) < len(answers):
            return None
        values = np.array([answer.value for answer in found])
        return Seen(schedule, values, found)

    def _kept(self, leaves: list[Leaf] | None = None) -> list[Held]:
        """Nothing held but, where leaves are given, every load in its leaf."""
        return [Held(None if leaves is None else leaves[t]) for t in range(self.n_hours)]

    def _held(self, t: int, schedule: Array, price: Array, own: Held) -> Question:
        hosts, K = len(price), schedule.shape[1]
        columns = np.concatenate([*self.flows[:, :, t], self.charging[:, t]])
        values = np.concatenate([*schedule[:, :, t], schedule[0, :, t] > 0])
        told = dict(zip(self.number[columns].tolist(), values.tolist(), strict=True))
        G, h = (np.zeros((0, hosts)), np.zeros(0)) if own.leaf is None else (own.leaf.G, own.leaf.h)
        return Question(t, np.zeros(K), None, price, G, h, told | own.columns)

    def _proposal(
        self,
        prices: list[Array],
        near: Array,
        loads: list[Array],
        reach: float | Array,
        leaves: list[Leaf],
        held: list[Held] | None = None,
    ) -> Proposal:
        """The best schedule by tangents, within reach (of all hours or of each) of one with these loads."""
        _, K, T = near.shape
        n = K * T
        at = np.arange(2 * n).reshape(2, K, T)
        stores = csr_array(
            (self.stores.ravel(), (np.tile(np.arange(n), 2), np.arange(2 * n))), shape=(n, 2 * n)
        )
        most = self.program.upper[self.flows]
        power = np.maximum(most, 1e-9)
        either = csr_array(
            (1 / power.ravel(), (np.tile(np.arange(n), 2), np.arange(2 * n))), shape=(n, 2 * n)
        )
        limits, sides = [], []
        for t, leaf in enumerate(leaves):
            for g, limit in zip(leaf.G, leaf.h, strict=True):
                row = np.stack([g[self.host], -g[self.host]])
                limits.append((at[:, :, t].ravel(), row.ravel()))
                drawn = EDGE * np.abs(g).sum() + min(max(float(g @ loads[t]) - limit, 0.0), AGAIN)
                sides.append(limit - drawn - g @ loads[t] + (row * near[:, :, t]).sum())
        held = held or self._kept()
        told = [
            (t, tangent)
            for t in range(T)
            for tangent in [*self.known(t, leaves[t], prices[t]), *held[t].tangents]
        ]
        tangents = _rows([(at[:, :, t].ravel(), -tangent.slopes.ravel()) for t, tangent in told], 2 * n)
        level = np.array([tangent.value - (tangent.slopes * tangent.schedule).sum() for _, tangent in told])
        of_hour = _rows([(np.array([t]), np.ones(1)) for t, _ in told], T)
        m = len(limits)
        dear = 1e2 * max([1.0, *(float(np.abs(tangent.slopes).max(initial=0.0)) for _, tangent in told)])
        # Columns: charge and discharge, levels, the hours' costs, and by what leaves are missed.
        blocks = [
            [-stores, rise(K, T), None, csr_array((n, m))],
            [either, None, None, None],
            [tangents, None, of_hour, None],
            [_rows(limits, 2 * n), None, None, -eye_array(m)],
        ]
        free = np.full(len(told), np.inf)
        distance = np.minimum(reach, 1.0) * power
        found = solve_linear(
            np.concatenate([np.zeros(3 * n), np.ones(T), np.full(m, dear)]),
            block_array(blocks[: 4 if m else 3], format="csr")[:, : 3 * n + T + m],
            np.concatenate([np.zeros(n), np.full(n, -np.inf), level, np.full(m, -np.inf)]),
            np.concatenate([np.zeros(n), np.ones(n), free, sides]),
            np.concatenate(
                [
                    np.maximum(near - distance, 0.0).ravel(),
                    self.program.lower[self.levels].ravel(),
                    np.full(T, -np.inf),
                    np.zeros(m),
                ]
            ),
            np.concatenate(
                [
                    np.minimum(near + distance, most).ravel(),
                    self.program.upper[self.levels].ravel(),
                    np.full(T + m, np.inf),
                ]
            ),
        )
        if found.x is None or found.row_duals is None:
            return Proposal(None, -np.inf, np.zeros(m), np.zeros(m))
        proposal = self.one_way(found.x[: 2 * n].reshape(near.shape))
        # Rounding is no change.
        still = np.broadcast_to(reach == 0.0, T)
        proposal[:, :, still] = near[:, :, still]
        duals = found.row_duals[len(found.row_duals) - m :]
        return Proposal(proposal, float(found.x[3 * n : 3 * n + T].sum()), duals, found.x[3 * n + T :])

    def _whole(self, seen: Seen, prices: list[Array], held: list[Held]) -> Seen | None:
        """The same with binaries whole: those in conflict join what is ``held``, and their hours are asked
        again.
        """
        for _ in range(SETTLINGS):
            x = self._powers(seen)
            rounded, undecided = round_by_direction(self.program, x)
            if not undecided.any():
                return seen
            columns = kin(self.program, x, undecided)
            busy = [int(t) for t in np.unique(self.hour_of[undecided])]
            for j in columns[np.isin(self.hour_of[columns], busy)]:
                held[self.hour_of[j]].columns[int(self.number[j])] = float(rounded[j])
            answers: list[Answer | None] = list(seen.answers)
            questions = [self._held(t, seen.schedule, prices[t], held[t]) for t in busy]
            for question, answer in zip(questions, self.ask(questions), strict=True):
                answers[question.hour] = answer
                if answer is not None:
                    held[question.hour].tangents.append(self._tangent(question, answer))
            found = self._seen(seen.schedule, answers)
            if found is None:
                return None
            seen = found
        return None

    def _joined(self, seen: Seen) -> Array:
        """The point without the follower, binaries at the sides that powers tell."""
        return round_by_direction(self.program, self._powers(seen))[0]

    def _powers(self, seen: Seen) -> Array:
        schedule = seen.schedule
        x = np.zeros(len(self.program.c))
        for t, answer in enumerate(seen.answers):
            mine = self.hour_of == t
            x[mine] = answer.x[self.number[mine]]
        x[self.flows] = schedule
        stored = np.cumsum((self.stores * schedule).sum(axis=0), axis=1)
        low, high = self.program.lower[self.levels], self.program.upper[self.levels]
        # Levels are told but for their beginning: the least that keeps all of them within limits.
        levels: Array = stored + np.max(low - stored, axis=1, keepdims=True)
        x[self.levels] = np.minimum(levels, high)
        return np.clip(x, self.program.lower, self.program.upper)


def _key(price: Array, G: Array, h: Array) -> bytes:
    return price.tobytes() + G.tobytes() + h.tobytes()


def _rows(rows: list[tuple[Array, Array]], n: int) -> csr_array:
    """Sparse rows, each given by its columns and their values."""
    columns = np.concatenate([np.zeros(0, dtype=int), *(at for at, _ in rows)])
    values = np.concatenate([np.zeros(0), *(value for _, value in rows)])
    starts = np.concatenate([[0], np.cumsum([len(at) for at, _ in rows])]).astype(int)
    return csr_array((values, columns, starts), shape=(len(rows), n))
