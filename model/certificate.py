"""The independent check of a solution: its point, its prices, its objective and its bound.

The follower is stated again from the instance, in MW, and solved with scipy; the objective is added up from
the schedule; the bound is recomputed from dual vectors. A bound that rests on a solver's word, as those of
branch and bound by HiGHS, SCIP and Gurobi do, is marked ``bound_by: solver``.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from model.bounds import safe_bound
from model.by_hour import HourBlocks, applies, blocks_by_hour
from model.follower_check import FollowerCheck, FollowerRestated
from model.hour_blocks import Cuts, cut_rows
from model.metrics import extract
from model.multiplier_check import shortfall
from model.outcome import Outcome
from model.price_hull import HourLoads, hour_loads, hull
from model.problem import Problem
from model.program import Array, Program
from model.region_check import covers, explored_leaves, region_error

# Rows, boxes and cones in per unit (1e-6 of 10 MVA is 10 W); money relative to its size.
FEASIBILITY = 1e-6
INTEGRALITY = 1e-6
MONEY = 1e-6
MONEY_ROUNDING = 1e-10
# Of phi or of the leaders' cost, whichever is less: what linear programs leave, and no more. An error in the
# prices is multiplied on its way to the leaders' cost where a limit of the follower only just does not bind.
# The dispatch does not enter that cost.
PRICES = 1e-8
POINTLESS = ("infeasible", "time_limit", "memory_limit")  # what may be said where there is no point
ROUNDING = 1e-12  # of a bound computed twice, relative to it
# Slack cones that lose less than this part of the physical losses leave a power flow as it is.
EXACT = 1e-3


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
    status, or ``error`` with the failed checks in ``message``. ``bound_by`` says what the bound, or that
    the instance is infeasible, rests on: ``safe``, a dual vector checked here, or a ``solver``'s word.
    Money in $, ``gap`` relative to ``max(|objective|, 1 $)``, ``follower_regret`` in $,
    ``relaxation_slack`` in MWh of losses that no physics explains; ``relaxation`` says whether that
    leaves the DistFlow relaxation exact.
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
    relaxation: str | None = None
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
    bound, bound_by = _best_bound(problem, program, outcome)
    multipliers = Check("multiplier bounds", shortfall(problem, program), ROUNDING)
    if outcome.x is None:
        status = outcome.status if outcome.status in POINTLESS and multipliers.passed else "error"
        if status == "infeasible":
            proven = bound is not None and bound > program.most_cost
            bound, bound_by = None, bound_by if proven else "solver"
        message = outcome.message if multipliers.passed else f"failed: {multipliers.name}"
        return Certificate(
            status, message, (multipliers,), bound=bound, bound_by=bound_by, coupling=problem.coupling
        )
    x = outcome.x
    if x.shape != program.c.shape or not np.isrealobj(x) or not np.isfinite(x).all():
        message = "failed: finite point"
        return Certificate("error", message, bound=bound, bound_by=bound_by, coupling=problem.coupling)
    schedule = extract(problem, program, x)
    objective = sum(schedule.payments().values())
    power = FEASIBILITY * problem.instance.base_mva  # MW
    follower = FollowerCheck(problem.instance, schedule, power)
    scale = max(abs(objective), 1.0)
    misses = {
        # With whole binaries: what a binary is off, times the rating beside it, would be power from nowhere.
        "rows": program.row_misses(np.where(program.integer, np.round(x), x)),
        "boxes": program.box_misses(x),
        "cones": program.cone_misses(x),
    }
    largest = {name: float(miss.max(initial=0.0)) for name, miss in misses.items()}
    checks = [
        *(Check(name, miss, FEASIBILITY) for name, miss in largest.items()),
        Check("integrality", _integrality(program, x), INTEGRALITY),
        Check("special ordered sets", _sos_violation(program, x), FEASIBILITY),
        Check("losses", schedule.missing_losses_mva(), power),
        Check("line ratings", schedule.overcurrent_mva(), power),
        Check("follower's balance", follower.imbalance_mw, power),
        Check("follower's limits", follower.excess_mw, power),
        Check("follower's dispatch is optimal", follower.regret, MONEY * follower.scale),
        Check("prices are dual optimal", follower.price_regret, PRICES * min(follower.scale, scale)),
        multipliers,
        Check("objective", abs(program.objective(x) - objective), MONEY * scale),
    ]
    if bound is not None:
        # A point that misses its rows by a little may cost less than any that meets them, by what it misses,
        # and by no more than what the tolerance is worth at each ADN and hour.
        price = np.abs(schedule.boundary_price)
        missed = problem.instance.base_mva * sum(float(miss.sum()) for miss in misses.values())
        worth = min(missed * float(price.max()), power * float(price.sum()))
        checks.append(Check("bound below objective", bound - objective, MONEY * scale + worth))
    abs_gap = None if bound is None else objective - bound
    relative = None if abs_gap is None else abs_gap / scale
    slack = schedule.phantom_losses_mwh()
    # An interior-point method leaves a little slack where no power flows either.
    most = EXACT * schedule.losses_mwh() + power * problem.instance.hours
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
        cone_violation=largest["cones"],
        relaxation="exact" if slack <= most else "not exact",
        relaxation_slack=slack,
        shed_mwh=float(schedule.shed.sum()),
        coupling=problem.coupling,
    )


def _best_bound(problem: Problem, program: Program, outcome: Outcome) -> tuple[float | None, str | None]:
    """The bound recomputed from dual vectors, or a solver's word from branching where that is more."""
    safe = _bound_of_parts(problem, program, outcome) if outcome.parts else -math.inf
    if outcome.bound is not None and outcome.bound > safe:
        return outcome.bound, "solver"
    return (safe, "safe") if math.isfinite(safe) else (None, None)


def _bound_of_parts(problem: Problem, program: Program, outcome: Outcome) -> float:
    """The least bound of the parts; -inf where they do not cover everything or a region or cut does not
    hold.
    """
    parts, instance = outcome.parts, problem.instance
    if problem.coupling == "none":
        hours: dict[int, HourLoads] = {}
    else:
        follower = FollowerRestated(instance)
        phi = follower.optimal_cost(follower.native)
        native_cost = dict(enumerate(phi + MONEY_ROUNDING * np.maximum(np.abs(phi), 1.0)))
        hours = hour_loads(problem, program, native_cost)
    try:
        nodes = _Nodes(problem, program, outcome.cuts, hours)
    except ValueError:  # cuts of another program
        return -math.inf
    if nodes.apart:
        # The program knows no payment but that of the hours with leaves.
        if any(set(part.chosen) != set(hours) or part.fixed for part in parts):
            return -math.inf
    elif len(parts) == 1 and not parts[0].chosen and not parts[0].fixed:
        return safe_bound(nodes.base, parts[0].row_duals, parts[0].cone_duals)
    # With ramps no hour has a phi of its own, explored or not.
    if not problem.prices_by_hour or not covers(parts, outcome.trees, program.integer):
        return -math.inf
    lost: dict[int, float] = dict.fromkeys(outcome.trees, 0.0)
    checked = set()
    for t, leaf in explored_leaves(parts, outcome.trees):
        lost[t] = max(lost[t], region_error(instance, follower, t, hours[t], leaf))
        checked.add((t, id(leaf.region)))
    used = {(t, id(region)) for part in parts for t in part.known for region in part.known[t]}
    if not used <= checked:
        return -math.inf
    bounds = [
        safe_bound(
            hull(nodes.base, nodes.loads(part.n_cuts), part.chosen, part.known).program.with_fixed(
                part.fixed
            ),
            part.row_duals,
            part.cone_duals,
        )
        for part in parts
    ]
    return min(bounds) - sum(lost.values())


class _Nodes:
    """What the parts' programs are made of: the relaxation, or the hours apart with cuts checked here."""

    def __init__(self, problem: Problem, program: Program, cuts: Cuts | None, hours: dict[int, HourLoads]):
        self.hours, self.cuts = hours, cuts
        self.apart: HourBlocks | None = None
        self.base = program.relaxed()
        if cuts is not None:
            if not applies(problem):
                raise ValueError("hours that are not apart")
            self.apart = blocks_by_hour(problem, program, cuts.reference, hours)
            self.base = self.apart.relaxation
            self.sides, self.coefficients = cut_rows(self.apart, cuts)

    def loads(self, n_cuts: int) -> dict[int, HourLoads]:
        """The hours' loads in the program's columns, with the first ``n_cuts`` cuts."""
        if self.apart is None or self.cuts is None:
            return self.hours
        first = slice(0, n_cuts)
        return self.apart.hour_loads(
            self.hours, self.sides[first], self.coefficients[first], self.cuts.block[first]
        )


def _integrality(program: Program, x: Array) -> float:
    values = x[program.integer]
    return float(np.abs(values - np.round(values)).max(initial=0.0))


def _sos_violation(program: Program, x: Array) -> float:
    """Largest size, relative to its box, of the smaller member of a pair of which one must be zero."""
    if not len(program.sos1):
        return 0.0
    extent = np.maximum(np.abs(program.lower), np.abs(program.upper))
    return float((np.abs(x) / np.maximum(extent, 1e-12))[program.sos1].min(axis=1).max())
