"""The independent check of a solution: its point, its prices, its objective and its bound.

Nothing here asks a solver's word. The follower is stated again from the instance, in MW, and solved with
scipy; the objective is added up from the schedule; the bound is recomputed from dual vectors.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from model.follower_check import FollowerCheck
from model.metrics import extract
from model.outcome import Outcome
from model.problem import Problem
from model.program import Array, Program, cone_starts, tail_norms

# Rows, boxes and cones in per unit (1e-6 of 10 MVA is 10 W); money relative to its size.
FEASIBILITY = 1e-6
INTEGRALITY = 1e-6
MONEY = 1e-6


@dataclass(frozen=True)
class Check:
    """One named check: the measured value and the limit it must not exceed."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        return bool(self.value <= self.limit)  # False for NaN


@dataclass(frozen=True)
class Certificate:
    """What may be said of a solution.

    ``status`` is ``certified`` only where every check passed and the gap is at most the one
    asked for; ``gap_limit`` where the checks passed and the gap is larger; else the outcome's own
    status, or ``error`` with the failed checks in ``message``. Money in $, ``gap`` relative to
    ``max(|objective|, 1 $)``, ``follower_regret`` in $, ``relaxation_slack`` in MWh of losses
    that no physics explains.
    """

    status: str
    message: str
    checks: tuple[Check, ...] = ()
    objective: float | None = None
    bound: float | None = None
    bound_by: str | None = None
    gap: float | None = None
    abs_gap: float | None = None
    follower_regret: float | None = None
    cone_violation: float | None = None
    relaxation_slack: float | None = None
    shed_mwh: float | None = None
    coupling: str = "prices"

    def to_dict(self) -> dict:
        """Plain data for JSON, each check with its verdict."""
        data = asdict(self)
        data["checks"] = [asdict(check) | {"passed": check.passed} for check in self.checks]
        return data


def certify(problem: Problem, program: Program, outcome: Outcome, gap: float = 1e-3) -> Certificate:
    """Check an outcome; ``gap`` is the relative gap asked for."""
    bound, bound_by = _best_bound(program, outcome)
    if outcome.x is None:
        status = "error" if outcome.status == "solved" else outcome.status
        return Certificate(status, outcome.message, bound=bound, bound_by=bound_by, coupling=problem.coupling)
    x = outcome.x
    if not np.isfinite(x).all():
        return Certificate("error", "failed: finite point", bound=bound, bound_by=bound_by)
    schedule = extract(problem, program, x)
    objective = sum(schedule.payments().values())
    follower = FollowerCheck(problem.instance, schedule)
    scale = max(abs(objective), 1.0)
    cone = program.cone_violation(x)
    checks = [
        Check("rows", program.row_violation(x), FEASIBILITY),
        Check("boxes", float(max((program.lower - x).max(), (x - program.upper).max(), 0.0)), FEASIBILITY),
        Check("cones", cone, FEASIBILITY),
        Check("integrality", _integrality(program, x), INTEGRALITY),
        Check("special ordered sets", _sos_violation(program, x), FEASIBILITY),
        Check("follower's balance", follower.imbalance_mw, FEASIBILITY * problem.instance.base_mva),
        Check("follower's dispatch is optimal", follower.regret, MONEY * follower.scale),
        Check("prices are dual optimal", follower.price_regret, MONEY * follower.scale),
        Check("objective", abs(program.objective(x) - objective), MONEY * scale),
    ]
    if bound is not None:
        checks.append(Check("bound below objective", bound - objective, MONEY * scale))
    abs_gap = None if bound is None else objective - bound
    relative = None if abs_gap is None else abs_gap / scale
    failed = [check.name for check in checks if not check.passed]
    if failed:
        status, message = "error", "failed: " + ", ".join(failed)
    elif relative is not None and relative <= gap:
        status, message = "certified", outcome.message
    else:
        status = "time_limit" if outcome.status == "time_limit" else "gap_limit"
        message = outcome.message
    return Certificate(
        status=status,
        message=message,
        checks=tuple(checks),
        objective=objective,
        bound=bound,
        bound_by=bound_by,
        gap=relative,
        abs_gap=abs_gap,
        follower_regret=follower.regret,
        cone_violation=cone,
        relaxation_slack=schedule.phantom_losses_mwh(),
        shed_mwh=float(schedule.shed.sum()),
        coupling=problem.coupling,
    )


def _best_bound(program: Program, outcome: Outcome) -> tuple[float | None, str | None]:
    """The bound from the dual vectors; the solver's own where it gives no vectors or proves clearly more."""
    safe = None
    if outcome.row_duals is not None and outcome.cone_duals is not None:
        safe = safe_bound(program.relaxed(), outcome.row_duals, outcome.cone_duals)
    claimed = outcome.bound
    if safe is None or (claimed is not None and claimed - safe > 1e-6 * max(abs(claimed), 1.0)):
        return claimed, None if claimed is None else "solver"
    return safe, "safe"


def safe_bound(program: Program, row_duals: Array, cone_duals: Array) -> float:
    """A lower bound on a convex program that holds for any dual vector, in $.

    ``y`` (rows; positive at the lower side) and ``z`` (cones, projected into them) give, for every
    feasible x, ``c x >= sum y+ row_lower - y- row_upper - z cone_b + r x`` with
    ``r = c - A'y - cone_A'z``, and the boxes bound ``r x``. Every rounding error is bounded and
    subtracted (Neumaier and Shcherbina 2004; Jansson 2004 for cones).
    """
    y = np.where(np.isfinite(row_duals), row_duals, 0.0)
    y = np.where((y > 0) & np.isinf(program.row_lower), 0.0, y)
    y = np.where((y < 0) & np.isinf(program.row_upper), 0.0, y)
    side = np.where(y > 0, program.row_lower, np.where(y < 0, program.row_upper, 0.0))
    z = project_to_cones(np.where(np.isfinite(cone_duals), cone_duals, 0.0), program.cone_dims)
    reduced = program.c - program.A.T @ y - program.cone_A.T @ z
    extent = np.maximum(np.abs(program.lower), np.abs(program.upper))
    box = np.where(reduced > 0, reduced * program.lower, reduced * program.upper)
    box = np.where(reduced == 0, 0.0, box)

    # A computed sum of n products is within n u of the sum of their absolute values (u: unit roundoff).
    unit = np.finfo(float).eps
    in_column = np.diff(program.A.tocsc().indptr) + np.diff(program.cone_A.tocsc().indptr) + 4
    size = np.abs(program.c) + abs(program.A).T @ np.abs(y) + abs(program.cone_A).T @ np.abs(z)
    rounding = math.fsum(in_column * unit * size * extent)
    terms = np.concatenate([y * side, -z * program.cone_b, box, [program.c0]])
    rounding += 4 * unit * math.fsum(np.abs(terms))
    return math.fsum(terms) - 2 * rounding


def project_to_cones(z: Array, dims: Array) -> Array:
    """A point inside the product of second-order cones near z: heads raised to their tails' norms."""
    if not len(dims):
        return z
    z = z.copy()
    starts = cone_starts(dims)
    # One part in 1e14 more than the norm covers the norm's own rounding.
    z[starts] = np.maximum(z[starts], tail_norms(z, starts) * (1 + 1e-14))
    return z


def _integrality(program: Program, x: Array) -> float:
    values = x[program.integer]
    return float(np.abs(values - np.round(values)).max(initial=0.0))


def _sos_violation(program: Program, x: Array) -> float:
    """Largest size, relative to its box, of the smaller member of a pair of which one must be zero."""
    if not len(program.sos1):
        return 0.0
    extent = np.maximum(np.abs(program.lower), np.abs(program.upper))
    return float((np.abs(x) / np.maximum(extent, 1e-12))[program.sos1].min(axis=1).max())
