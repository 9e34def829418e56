"""Convex programs in sequence: each the least of one cost, earlier costs held at their least."""

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, vstack

from model.bounds import safe_bound
from model.program import Array, Program
from model.solvers.relaxation import solve_relaxation

# A cost that is held may exceed its least by this part of it: without room there is no interior to search.
HELD = 1e-6
SHORTEST_S = 0.1


class Stopped(Exception):
    """A program of a sequence has no solution, or none in time: the sequence ends with that status."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, eq=False)
class Least:
    """The least of a cost: a point, its cost in $, and a lower bound that holds whatever the solver did.

    ``bound`` is the safe bound of ``program``, which minimises that cost, by the dual vectors; ``claimed`` is
    what branching on binaries says beyond it, a solver's word.
    """

    x: Array
    value: float
    program: Program
    row_duals: Array
    cone_duals: Array
    bound: float
    claimed: float = -np.inf

    @property
    def gap(self) -> float:
        """Relative to the cost, or to 1 $ where that is more."""
        return (self.value - max(self.bound, self.claimed)) / max(abs(self.value), 1.0)


def least(program: Program, cost: Array, ended: float) -> Least:
    """Minimise ``cost x`` over a program without integers; ``ended`` is a time of ``time.monotonic``.

    Raises Stopped where there is no solution or none in time.
    """
    priced = replace(program, c=cost, c0=0.0)
    result = solve_relaxation(priced, max(ended - time.monotonic(), SHORTEST_S))
    if result.status != "solved":
        raise Stopped(result.status, result.message)
    duals = result.row_duals, result.cone_duals
    return Least(result.x, priced.objective(result.x), priced, *duals, safe_bound(priced, *duals))


def held(program: Program, cost: Array, value: float, part: float = HELD) -> Program:
    """The program with a row more: ``cost x`` at most ``value`` and that part of it."""
    most = value + part * max(abs(value), 1.0)
    return replace(
        program,
        A=vstack([program.A, csr_array(cost[None, :])], format="csr"),
        row_lower=np.append(program.row_lower, -np.inf),
        row_upper=np.append(program.row_upper, most),
    )
