"""Convex programs in sequence: each the least of one cost, earlier costs held at their least."""

import time
from collections.abc import Callable
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
# Steps back from what spends more than HELD, and how nearly all of it a step is meant to spend.
DRAWN, NEARLY = 20, 0.98
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
    start: Array,
    price: float,
    ended: float,
    sound: Callable[[Array], Array],
    *,
    gap: float = np.inf,
    around: bool = False,
) -> Least:
    """The least of ``cost``, to a relative ``gap``, where that of ``first`` is at its least but for HELD.

    Holding that cost by a row leaves no interior, and an interior-point method takes hundreds of steps. So
    it is priced: what the least of ``cost + price first`` spends of it falls with the price, about as its
    inverse square. The price is the multiplier of the row (:func:`held`), so it proves a bound, at what the
    point spends. The first ``price`` is changed until that is within the gap, or until most of HELD and no
    more is spent.

    ``start`` is a point of the program that spends none of HELD. ``sound`` makes exact what a solver leaves a
    little off: its rows miss by as much as may be spent. A point that spends more than HELD is drawn towards
    one that does not, as far as it takes: losses grow with the square of the way, so most of it is left.
    ``around``: the start is what solutions are looked for around (:func:`least`).

    Raises Stopped where there is no solution or none in time.
    """
    kept, size = first.program.c, max(abs(first.value), 1.0)
    best: Least | None = None

    def spent_by(x: Array) -> float:
        return max((float(kept @ x) - first.value) / size, 0.0)

    within = start
    for _ in range(PRICES):
        try:
            found = _priced(program, cost, kept, price, size, ended, start if around else None)
            x = sound(found.x)
            spent = spent_by(x)
            if spent > HELD:
                x = _drawn(x, spent, within, spent_by, sound)
        except Stopped:
            if best is None:
                raise
            break
        if spent <= HELD:
            within = x
        row = replace(held(program, kept, first.value, spent_by(x)), c=cost, c0=0.0)
        duals = np.append(found.row_duals, -price), found.cone_duals
        now = Least(x, row.objective(x), row, *duals, safe_bound(row, *duals))
        if best is None or (max(now.gap, gap), now.value) < (max(best.gap, gap), best.value):
            best = now
        if spent >= MOST * HELD and (best.gap <= gap or spent <= HELD):
            break
        price *= float(np.clip(np.sqrt(spent / (NEXT * HELD)), 1 / STEP, STEP))
    assert best is not None
    return best


def _priced(
    program: Program, cost: Array, kept: Array, price: float, size: float, ended: float, near: Array | None
) -> Least:
    """The least of ``cost + price kept``, where a solver is lost around a point that of fewer digits."""
    digits = 0.0 if near is None else max(abs(float(cost @ near)), DIFFERS * price * size)
    try:
        return least(program, cost + price * kept, ended, near, digits, exact=False)
    except Stopped as stop:
        if near is None or stop.status != "error":
            raise
        return least(program, cost + price * kept, ended, exact=False)


def _drawn(
    x: Array,
    spent: float,
    within: Array,
    spent_by: Callable[[Array], float],
    sound: Callable[[Array], Array],
) -> Array:
    """The point on the way from ``within`` to ``x`` that spends HELD, or little less."""
    part = 1.0
    for _ in range(DRAWN):
        part *= float(np.clip(NEARLY * np.sqrt(HELD / spent), 1 / STEP, NEARLY))
        near = sound((1 - part) * within + part * x)
        spent = spent_by(near)
        if spent <= HELD:
            return near
    return within


def held(program: Program, cost: Array, value: float, part: float) -> Program:
    """The program with a row more: ``cost x`` at most ``value`` and that part of it."""
    most = value + part * max(abs(value), 1.0)
    return replace(
        program,
        A=vstack([program.A, csr_array(cost[None, :])], format="csr"),
        row_lower=np.append(program.row_lower, -np.inf),
        row_upper=np.append(program.row_upper, most),
    )
