"""What stored energy is worth to every battery, hour by hour: each ADN's day by itself, at the hours' prices.

What joins the ADNs in an hour, the loads at the hosts and the trades across, is priced by the duals of what
that hour answered (the inner step of Lagrangian relaxation, Geoffrion 1974). Each ADN's day is then a small
conic program, and the duals of its batteries' dynamics are the worth: they tell the hours apart, which
tangents of many hours' costs do not.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import block_array, csr_array

from model.by_hour import HourBlocks, rise, stored_levels
from model.hour_blocks import Blocks, pattern, row_owners
from model.program import Array, Program
from model.solvers.conic import solve_conic
from model.solvers.hour_program import Answer
from model.solvers.relaxation import components


@dataclass(frozen=True)
class DayQuestion:
    """What a day is worth at other costs of its columns, in $ per p.u.; ``program``: the day's number."""

    program: int
    cost: Array


@dataclass(frozen=True)
class Day:
    """One ADN's program of all hours; ``dynamics``: its rows of batteries' dynamics, in order."""

    own: Program
    dynamics: Array

    # ADNs have devices of their own: no two days are alike.
    together = 1

    @staticmethod
    def answers(days: list["Day"], questions: list[DayQuestion]) -> list[Array | None]:
        """Each day's answer to its question: what another unit stored adds to the cost (less than zero where
        it saves), of every battery and hour, in $ per p.u. h; None where Clarabel finds no solution.
        """
        return [day._worth(question) for day, question in zip(days, questions, strict=True)]

    def _worth(self, question: DayQuestion) -> Array | None:
        found = solve_conic(replace(self.own, c=question.cost), exact=False)
        return found.row_duals[self.dynamics] if found.status == "solved" else None


class Days:
    """The days of all ADNs with batteries."""

    def __init__(self, program: Program, blocks: HourBlocks):
        self.blocks = blocks
        p, (K, T) = blocks.program, blocks.batteries.shape
        x = program.columns["x"]
        joins = blocks.of_column < 0
        joins[: len(blocks.kept)] |= (blocks.kept >= x.start) & (blocks.kept < x.stop)
        touches = pattern(p.A)
        self.links = touches @ joins.astype(float) > 0
        # Storage in sum over the batteries is what a day has its own levels for.
        self.in_sum = self.links & (touches[:, blocks.inflow].sum(axis=1) > 0)
        into = p.A[:, blocks.loads_at.ravel()].tocsc()
        self.into = into.indices.reshape(blocks.loads_at.shape)
        n, m = len(p.c), K * T
        net = csr_array((-np.ones(m), (np.arange(m), blocks.batteries.ravel())), shape=(m, n))
        inner = np.flatnonzero(~self.links)
        levels, zero, on = stored_levels(program, T).ravel(), np.zeros(m), np.ones(m, dtype=bool)
        day = replace(
            p,
            c=np.append(p.c, zero),
            A=block_array([[p.A[inner], None], [net, rise(K, T)]], format="csr"),
            row_lower=np.append(p.row_lower[inner], zero),
            row_upper=np.append(p.row_upper[inner], zero),
            lower=np.append(p.lower, program.lower[levels]),
            upper=np.append(p.upper, program.upper[levels]),
            integer=np.append(p.integer, ~on),
            enforced_lower=np.append(p.enforced_lower, on),
            enforced_upper=np.append(p.enforced_upper, on),
            cone_A=block_array([[p.cone_A, csr_array((len(p.cone_b), m))]], format="csr"),
        )
        component, _ = components(day)
        stores, number = np.unique(component[n:], return_inverse=True)
        of_column = np.where(np.isin(component, stores), np.searchsorted(stores, component), -1)
        parts = Blocks(day, T, len(stores), of_column, *row_owners(day, of_column))
        self.columns = parts.columns
        self.numbers = [np.flatnonzero(number == d) for d in range(len(stores))]
        self.programs = [
            Day(
                day.part(columns, parts.rows[d], parts.cone_rows[d], parts.cone_dims[d]),
                np.searchsorted(parts.rows[d], len(inner) + self.numbers[d]),
            )
            for d, columns in enumerate(self.columns)
        ]

    def questions(self, answers: list[Answer], pressed: list[Array]) -> list[DayQuestion]:
        """What all days are worth at the prices that the hours' answers tell; ``pressed``: what more load at
        the hosts costs besides, of every hour, in $ per p.u.
        """
        p = self.blocks.program
        y = np.zeros(len(p.row_lower))
        for rows, answer in zip(self.blocks.rows, answers, strict=True):
            y[rows] = answer.row_duals
        y[~self.links | self.in_sum] = 0.0
        y[self.into] -= np.array(pressed)
        cost = np.append(p.c - p.A.T @ y, np.zeros(self.blocks.batteries.size))
        cost[self.blocks.batteries] = 0.0
        return [DayQuestion(d, cost[columns]) for d, columns in enumerate(self.columns)]

    def worth(self, told: list[Array | None]) -> Array | None:
        """Of every battery and hour, (K, T); None where a day has no answer."""
        worth = np.zeros(self.blocks.batteries.size)
        for numbers, own in zip(self.numbers, told, strict=True):
            if own is None:
                return None
            worth[numbers] = own
        return worth.reshape(self.blocks.batteries.shape)
