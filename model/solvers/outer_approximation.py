"""Outer approximation of a mixed-integer cone program on HiGHS, with Clarabel for the cones.

HiGHS sees every cone as the tangent planes collected so far (Duran and Grossmann 1986; conic form: Vielma,
Ahmed and Nemhauser 2008): first those at the conic relaxation's solution, later those that cut off a
point HiGHS found. Planes that bind nowhere are dropped while the bound rises. A point HiGHS finds still
violates cones, so its binaries are fixed and Clarabel solves what is left: that is the feasible point.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, vstack

from model.outcome import Outcome
from model.program import Array, Program, cone_starts, tail_norms
from model.solvers.linear import FINE, linear_solver, run
from model.solvers.relaxation import solve_relaxation

# A cut is worth adding where its cone is violated by more, and worth keeping where its slack is less.
VIOLATION = 1e-7
SLACK = 1e-5


def branch(
    program: Program, start: Array, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """Rounds of HiGHS and Clarabel until the gap closes or time ends.

    ``start`` lies on the cones' boundary where they bind; its planes are the first cuts. It is the first
    feasible point where it satisfies the program's rows and integrality.
    """
    ended = time.monotonic() + time_limit_s
    best = start if _feasible(program, start) else None
    value = program.objective(start) if best is not None else np.inf
    bound, nodes, status = -np.inf, 0, "solved"
    cuts, risen_to = tangents(program, start), -np.inf
    for number in range(1, 1000):
        highs = _load(program, cuts, gap)
        if best is not None:
            highs.setSolution(len(best), np.arange(len(best), dtype=np.int32), best)
        result = run(highs, ended - time.monotonic())
        info = highs.getInfo()
        nodes += max(int(info.mip_node_count), 0)
        if result.status == "infeasible" and best is None:
            return Outcome("infeasible", nodes=nodes, message="HiGHS: outer approximation infeasible")
        if np.isfinite(info.mip_dual_bound):
            bound = max(bound, float(info.mip_dual_bound) + program.c0)
        progress(f"round {number}: bound {bound:.2f}, best {value:.2f}, {len(cuts.rhs)} cuts")
        if result.x is not None:
            repaired = _repair(program, result.x, ended - time.monotonic())
            if repaired is not None and program.objective(repaired) < value:
                best, value = repaired, program.objective(repaired)
        if best is not None and value - bound <= gap * max(abs(value), 1.0):
            break
        if result.status != "solved" or result.x is None or time.monotonic() >= ended:
            ending = "solved" if best is not None else result.status
            status = "time_limit" if time.monotonic() >= ended else ending
            break
        fresh = tangents(program, result.x, violated_only=True)
        if not len(fresh.rhs):
            break
        # Planes are dropped only while the bound rises; else the points they cut off would come back in turn.
        cuts = fresh.joined(cuts.binding_at(result.x) if bound > risen_to else cuts)
        risen_to = bound
        if repaired is not None:
            cuts = cuts.joined(tangents(program, repaired))
    return Outcome(
        status, best, bound if np.isfinite(bound) else None, nodes=nodes, message=f"HiGHS: {status}"
    )


@dataclass(frozen=True)
class Cuts:
    """Planes ``rows x >= rhs``."""

    rows: csr_array
    rhs: Array

    def joined(self, other: "Cuts") -> "Cuts":
        return Cuts(vstack([self.rows, other.rows], format="csr"), np.concatenate([self.rhs, other.rhs]))

    def binding_at(self, x: Array) -> "Cuts":
        keep = self.rows @ x - self.rhs <= SLACK
        return Cuts(self.rows[keep], self.rhs[keep])


def tangents(program: Program, x: Array, violated_only: bool = False) -> Cuts:
    """``head >= (tail(x) / |tail(x)|)' tail`` for every cone: valid everywhere, tight at x."""
    dims = program.cone_dims
    starts = cone_starts(dims)
    s = program.cone_b + program.cone_A @ x
    owner = np.repeat(np.arange(len(dims)), dims)
    norm = tail_norms(s, starts)
    weights = -s / np.maximum(norm, 1e-12)[owner]
    weights[starts] = 1.0
    chosen = norm > 1e-9
    if violated_only:
        chosen &= norm - s[starts] > VIOLATION
    select = csr_array((weights, (owner, np.arange(len(s)))), shape=(len(dims), len(s)))[chosen]
    return Cuts((select @ program.cone_A).tocsr(), -(select @ program.cone_b))


def _load(program: Program, cuts: Cuts, gap: float):
    highs = linear_solver(
        program.c,
        vstack([program.A, cuts.rows], format="csr"),
        np.concatenate([program.row_lower, cuts.rhs]),
        np.concatenate([program.row_upper, np.full(len(cuts.rhs), np.inf)]),
        program.lower,
        program.upper,
        program.integer,
    )
    highs.setOptionValue("mip_rel_gap", gap / 4)
    for name, tolerance in FINE.items():
        highs.setOptionValue(name, tolerance)
    return highs


def _feasible(program: Program, x: Array) -> bool:
    whole = np.abs(x[program.integer] - np.round(x[program.integer])).max(initial=0.0) <= 1e-9
    return bool(whole) and program.violation(x) <= 1e-6


def _repair(program: Program, x: Array, time_limit_s: float) -> Array | None:
    """The cone program that is left when the binaries are those of x."""
    whole = np.round(x)
    lower = np.where(program.integer, whole, program.lower)
    upper = np.where(program.integer, whole, program.upper)
    lower, upper = singleton_boxes(program, lower, upper)
    fixed = replace(program.with_bounds(lower, upper), integer=np.zeros_like(program.integer))
    result = solve_relaxation(fixed, max(time_limit_s, 1.0))
    if result.status != "solved" or not _feasible(program, result.x):
        return None
    return result.x


def singleton_boxes(program: Program, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Boxes tightened by rows in which one variable is still free.

    Fixed binaries leave ``multiplier <= 0`` against ``multiplier >= 0``: as a box of a point it is
    substituted, as two rows it would leave an interior-point method no interior.
    """
    free = lower < upper
    counts = np.diff(program.A[:, free].indptr)
    rows = np.flatnonzero(counts == 1)
    part = program.A[rows]
    fixed_part = part @ np.where(free, 0.0, lower)
    left = part[:, free].tocoo()
    columns = np.flatnonzero(free)[left.col]
    low = (program.row_lower[rows] - fixed_part)[left.row] / left.data
    high = (program.row_upper[rows] - fixed_part)[left.row] / left.data
    low, high = np.minimum(low, high), np.maximum(low, high)
    lower, upper = lower.copy(), upper.copy()
    np.maximum.at(lower, columns, low)
    np.minimum.at(upper, columns, high)
    crossed = lower > upper
    lower[crossed] = upper[crossed] = np.clip(0.5 * (lower + upper), program.lower, program.upper)[crossed]
    return lower, upper
