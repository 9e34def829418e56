"""One hour of all ADNs as a conic program: what it does at prices, with an inflow or columns held."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from model.by_hour import HourBlocks
from model.interior_point import LANES
from model.program import Array, Program, narrow
from model.solvers.alike import solve_alike
from model.solvers.conic import ConicResult
from model.solvers.twins import Merged, merge

# What an hour pays to leave a leaf or the inflow asked for, relative to its dearest price. Steeper penalties
# take more steps.
PENALTY = 5.0
# How many limits questions have room for, and multiples of it: programs of one room are alike, and hardly any
# question has more.
ROOM = 16
# So many questions are answered together at most: each takes a program of its own meanwhile.
MOST = 32
# Passes over rows that hold columns at their limits, and what a row's sum may miss by rounding, in p.u.
FORCED, ROUNDING = 3, 1e-11


@dataclass(frozen=True)
class Question:
    """What one hour does at prices ``lam`` of loads within ``G L <= h``.

    ``worth``: the reference prices of the batteries' inflows, (K,). ``inflow``: their sum, None where it is
    free. ``fixed``: values of some of the hour's columns, by their number in the hour.
    """

    hour: int
    worth: Array
    inflow: float | None
    lam: Array
    G: Array
    h: Array
    fixed: dict[int, float] | None = None

    @property
    def program(self) -> int:
        """The number of the program that is asked."""
        return self.hour


@dataclass(frozen=True)
class Answer:
    """Values of the block's own columns, the load, cost in $ with moves at their penalty, what the moves are
    (without any the answer is exact), and the duals of the block's rows and cone rows.
    """

    x: Array
    load: Array
    value: float
    moved: float
    row_duals: Array
    cone_duals: Array


@dataclass(frozen=True)
class Hour:
    """The program of one hour, as it is solved: own columns, of which ``batteries`` are the net inflows, then
    their sum, then the loads at the hosts.
    """

    merged: Merged
    batteries: Array
    n_hosts: int

    # How many questions are best answered together.
    together = LANES

    def asked(self, question: Question, room: int) -> Program:
        """The program that answers a question of at most ``room`` limits: questions of one room are alike."""
        t, merged, m = self._template(room), self.merged, len(question.h)
        n, n_rows, n_hosts = len(merged.program.c), len(merged.program.row_lower), len(question.lam)
        prices = np.abs(np.concatenate([question.lam, merged.program.c]))
        c, lower, upper = t.c.copy(), t.lower.copy(), t.upper.copy()
        c[n:] = PENALTY * max(float(prices.max(initial=0.0)), 1.0)
        c[merged.columns[self.batteries]] = question.worth
        c[n - n_hosts : n] += question.lam
        upper[n : n + m] = np.inf
        if question.inflow is not None:
            lower[n - n_hosts - 1] = upper[n - n_hosts - 1] = question.inflow
            upper[n + room :] = np.inf
        if question.fixed:
            held = merged.columns[list(question.fixed)]
            lower[held] = upper[held] = list(question.fixed.values())
            self._force(lower[:n], upper[:n])
        entries, row_upper = t.A.data.copy(), t.row_upper.copy()
        # Rows are sorted by column: of a limit first the loads, then by what it may be missed.
        entries[t.A.indptr[n_rows] :].reshape(room, n_hosts + 1)[:m, :n_hosts] = question.G
        A = csr_array((entries, t.A.indices, t.A.indptr), shape=t.A.shape)
        row_upper[n_rows : n_rows + m] = question.h
        return replace(t, c=c, A=A, row_upper=row_upper).with_bounds(lower, upper)

    def _template(self, room: int) -> Program:
        """What questions have in common: ``room`` rows of limits, without entries of loads, and columns by
        which they and the sum of the inflows may be missed, at zero.
        """
        if room in self._templates:
            return self._templates[room]
        # Of one room at a time: each is as large as the program.
        self._templates.clear()
        p, n_hosts = self.merged.program, self.n_hosts
        n, n_rows, limit, more = len(p.c), len(p.row_lower), np.arange(room), room + 2
        row, column = np.repeat(np.arange(n_rows), np.diff(p.A.indptr)), p.A.indices
        missed = row[column == n - n_hosts - 1][:1].repeat(2)  # none without batteries
        either = np.array([1.0, -1.0])[: len(missed)]
        loads = np.tile(np.arange(n - n_hosts, n), room)
        rows = np.concatenate([row, missed, n_rows + np.repeat(limit, n_hosts), n_rows + limit])
        columns = np.concatenate([column, n + room + np.arange(len(missed)), loads, n + limit])
        entries = np.concatenate([p.A.data, either, np.zeros(len(loads)), -np.ones(room)])
        zero, on = np.zeros(more), np.ones(more, dtype=bool)
        conic = p.cone_A.data, p.cone_A.indices, p.cone_A.indptr
        self._templates[room] = replace(
            p,
            c=np.append(p.c, zero),
            A=narrow(csr_array((entries, (rows, columns)), shape=(n_rows + room, n + more))),
            row_lower=np.append(p.row_lower, np.full(room, -np.inf)),
            row_upper=np.append(p.row_upper, np.zeros(room)),
            lower=np.append(p.lower, zero),
            upper=np.append(p.upper, zero),
            integer=np.zeros(n + more, dtype=bool),
            enforced_lower=np.append(p.enforced_lower, on),
            enforced_upper=np.append(p.enforced_upper, ~on),
            cone_A=csr_array(conic, shape=(len(p.cone_b), n + more)),
        )
        return self._templates[room]

    @cached_property
    def _templates(self) -> dict[int, Program]:
        return {}

    def _answer(self, program: Program, found: ConicResult) -> Answer | None:
        if found.status != "solved":
            return None
        n = len(self.merged.program.c)
        return Answer(
            x=self.merged.point(found.x)[: -self.n_hosts - 1],
            load=found.x[n - self.n_hosts : n].copy(),
            value=float(program.c @ found.x),
            moved=float(np.abs(found.x[n:]).sum()),
            row_duals=self.merged.row_duals(found.row_duals[: len(self.merged.program.row_lower)]),
            # A copy: what it is part of holds those of all programs solved beside it.
            cone_duals=found.cone_duals.copy(),
        )

    def _force(self, lower: Array, upper: Array) -> None:
        """Fix columns that a row holds at their limits, in place: such rows have no interior, and Clarabel
        would end inexact.
        """
        p, up = self.merged.program, self.merged.program.A.maximum(0)
        down = up - p.A
        for _ in range(FORCED):
            least, most = up @ lower - down @ upper, up @ upper - down @ lower
            at_least, at_most = least >= p.row_upper - ROUNDING, most <= p.row_lower + ROUNDING
            low = (up[at_least].sum(axis=0) + down[at_most].sum(axis=0)) > 0
            high = (down[at_least].sum(axis=0) + up[at_most].sum(axis=0)) > 0
            upper[low] = lower[low]
            lower[high] = upper[high]

    @staticmethod
    def answers(hours: list["Hour"], questions: list[Question]) -> list[Answer | None]:
        """Each hour's answer to its question; None where no solution is found."""
        room = ROOM * max(1, -(-max(len(question.h) for question in questions) // ROOM))
        # Points are made of what is held; of other answers the dual vectors count.
        exact = any(question.fixed is not None for question in questions)
        answers: list[Answer | None] = []
        for first in range(0, len(questions), MOST):
            part = list(zip(hours, questions, strict=True))[first : first + MOST]
            asked = [hour.asked(question, room) for hour, question in part]
            found = solve_alike(asked, exact=exact)
            answers += [
                hour._answer(program, own) for (hour, _), program, own in zip(part, asked, found, strict=True)
            ]
        return answers


def hours_of(blocks: HourBlocks) -> list[Hour]:
    """The programs of all hours."""
    found = []
    for t, own in enumerate(blocks.columns):
        columns = np.concatenate([own, blocks.inflow[[t]], blocks.loads_at[t]])
        p, rows, cone_rows = blocks.program, blocks.rows[t], blocks.cone_rows[t]
        part = p.part(columns, rows, cone_rows, blocks.cone_dims[t])
        batteries = np.searchsorted(own, blocks.batteries[:, t])
        found.append(Hour(merge(part), batteries, len(blocks.loads_at[t])))
    return found
