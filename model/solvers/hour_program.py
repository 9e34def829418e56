"""One hour of all ADNs as a conic program: what it does at prices, with an inflow or columns held."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from model.by_hour import HourBlocks
from model.program import Array, Program
from model.solvers.conic import solve_conic
from model.solvers.twins import Merged, merge

# What an hour pays, for each hour of the day, to leave a leaf or the inflow asked for, relative to its
# dearest price.
PENALTY = 5.0
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
    """The program of one hour: own columns, of which ``batteries`` are the net inflows, then their sum, then
    the loads at the hosts.
    """

    program: Program
    batteries: Array
    hours: int

    @cached_property
    def merged(self) -> Merged:
        """The program as it is solved."""
        return merge(self.program)

    def ask(self, question: Question) -> Answer | None:
        """Solve it; None where Clarabel finds no solution."""
        merged, p = self.merged, self.merged.program
        n, n_hosts, m = len(p.c), len(question.lam), len(question.h)
        prices = np.abs(np.concatenate([question.lam, p.c]))
        penalty = PENALTY * self.hours * max(float(prices.max(initial=0.0)), 1.0)
        inflow, load = n - n_hosts - 1, np.arange(n - n_hosts, n)
        c = np.concatenate([p.c, np.full(m + 2, penalty)])
        c[merged.columns[self.batteries]] = question.worth
        c[load] += question.lam
        # Columns by which each limit and the sum of the inflows may be missed, and the limits as rows.
        n_rows, limit, beyond = len(p.row_lower), np.arange(m), n + np.arange(m)
        row, column = np.repeat(np.arange(n_rows), np.diff(p.A.indptr)), p.A.indices
        missed = row[column == inflow][:1].repeat(2)  # none without batteries
        either = np.array([1.0, -1.0])[: len(missed)]
        rows = np.concatenate([row, missed, n_rows + np.repeat(limit, n_hosts), n_rows + limit])
        columns = np.concatenate([column, n + m + np.arange(len(missed)), np.tile(load, m), beyond])
        entries = np.concatenate([p.A.data, either, question.G.ravel(), -np.ones(m)])
        lower, upper = p.lower.copy(), p.upper.copy()
        if question.inflow is not None:
            lower[inflow] = upper[inflow] = question.inflow
        if question.fixed:
            held = merged.columns[list(question.fixed)]
            lower[held] = upper[held] = list(question.fixed.values())
            self._force(lower, upper)
        most = np.full(m + 2, np.inf)
        if question.inflow is None:
            most[m:] = 0.0
        on = np.ones(m + 2, dtype=bool)
        asked = replace(
            p,
            c=c,
            A=csr_array((entries, (rows, columns)), shape=(n_rows + m, n + m + 2)),
            row_lower=np.append(p.row_lower, np.full(m, -np.inf)),
            row_upper=np.append(p.row_upper, question.h),
            lower=np.append(lower, np.zeros(m + 2)),
            upper=np.append(upper, most),
            integer=np.zeros(n + m + 2, dtype=bool),
            enforced_lower=np.append(p.enforced_lower | (lower != p.lower), on),
            enforced_upper=np.append(p.enforced_upper | (upper != p.upper), ~on),
            cone_A=csr_array(
                (p.cone_A.data, p.cone_A.indices, p.cone_A.indptr), shape=(len(p.cone_b), n + m + 2)
            ),
        )
        # Points are made of what is held; of other answers the dual vectors count.
        found = solve_conic(asked, exact=question.fixed is not None)
        if found.status != "solved":
            return None
        return Answer(
            x=merged.point(found.x)[: -n_hosts - 1],
            load=found.x[load],
            value=float(c @ found.x),
            moved=float(np.abs(found.x[n:]).sum()),
            row_duals=merged.row_duals(found.row_duals[: len(p.row_lower)]),
            cone_duals=found.cone_duals,
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


def hours_of(blocks: HourBlocks) -> list[Hour]:
    """The programs of all hours."""
    found = []
    for t, own in enumerate(blocks.columns):
        columns = np.concatenate([own, blocks.inflow[[t]], blocks.loads_at[t]])
        p, rows, cone_rows = blocks.program, blocks.rows[t], blocks.cone_rows[t]
        part = p.part(columns, rows, cone_rows, blocks.cone_dims[t])
        found.append(Hour(part, np.searchsorted(own, blocks.batteries[:, t]), blocks.n_blocks))
    return found
