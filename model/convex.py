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
# Prices tried: at most so many, each at most STEP times the one before or that part of it, and chosen so that
# NEXT of HELD is spent. At least MOST of it is as good as all.
PRICES, STEP, NEXT, MOST = 6, 10.0, 0.75, 0.5
# Around a point tolerances are relative to this part of what is priced.
DIFFERS = 1e-3


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


def least(
    program: Program,
    cost: Array,
    ended: float,
    near: Array | None = None,
    size: float = 0.0,
    *,
    exact: bool = True,
) -> Least:
    """Minimise ``cost x`` over a program without integers; ``ended`` is a time of ``time.monotonic``.

    ``near``, ``size`` and ``exact`` as in :func:`solve_relaxation`.

    Raises Stopped where there is no solution or none in time.
    """
    priced = replace(program, c=cost, c0=0.0)
    left = max(ended - time.monotonic(), SHORTEST_S)
    result = solve_relaxation(priced, left, near, size, exact=exact)
    if result.status != "solved":
        raise Stopped(result.status, result.message)
    duals = result.row_duals, result.cone_duals
    return Least(result.x, priced.objective(result.x), priced, *duals, safe_bound(priced, *duals))


def tied(
    program: Program,
    cost: Array,
    first: Least,
    price: float,
    ended: float,
    near: Array | None = None,
    *,
    exact: bool = True,
) -> Least:
    """The least of ``cost`` where the cost of ``first`` is at its least, but for at most HELD of it.

    Holding that cost by a row leaves no interior, and an interior-point method takes hundreds of steps. So
    it is priced: what the least of ``cost + price first`` spends of it falls with the price, about as its
    inverse square. The first ``price`` is raised until HELD is enough. For what is spent the point is the
    least, and its price the multiplier of the row that holds it: the result is that of :func:`held` at what
    is spent.

    Where the result need not be ``exact``, HELD is spent: prices are lowered too, until one spends most of it
    or more; of two points on both sides of HELD the mixture that spends all of it is nearly as good.

    Raises Stopped where there is no solution, none in time, or where no price holds the cost.
    """
    kept, size = first.program.c, max(abs(first.value), 1.0)
    within: tuple[float, float, Least] | None = None  # spent, at that price
    beyond: tuple[float, Least] | None = None
    for _ in range(PRICES):
        digits = 0.0 if near is None else max(abs(float(cost @ near)), DIFFERS * price * size)
        priced = cost + price * kept
        try:
            found = least(program, priced, ended, near, digits, exact=exact)
        except Stopped as stop:
            if near is None or stop.status != "error":
                raise
            found = least(program, priced, ended, exact=exact)  # of fewer digits
        spent = max((float(kept @ found.x) - first.value) / size, 0.0)
        if spent > HELD:
            beyond = spent, found
        else:
            within = spent, price, found
        if within is not None and (exact or beyond is not None or spent >= MOST * HELD):
            break
        price *= float(np.clip(np.sqrt(spent / (NEXT * HELD)), 1 / STEP, STEP))
    if within is None:
        raise Stopped("error", "no price holds what came first")
    spent, price, found = within
    x, duals = found.x, (np.append(found.row_duals, -price), found.cone_duals)
    if beyond is not None and not exact:
        part = (HELD - spent) / (beyond[0] - spent)
        x, spent = (1 - part) * x + part * beyond[1].x, HELD
    row = replace(held(program, kept, first.value, spent), c=cost, c0=0.0)
    return Least(x, row.objective(x), row, *duals, safe_bound(row, *duals))


def held(program: Program, cost: Array, value: float, part: float) -> Program:
    """The program with a row more: ``cost x`` at most ``value`` and that part of it."""
    most = value + part * max(abs(value), 1.0)
    return replace(
        program,
        A=vstack([program.A, csr_array(cost[None, :])], format="csr"),
        row_lower=np.append(program.row_lower, -np.inf),
        row_upper=np.append(program.row_upper, most),
    )
