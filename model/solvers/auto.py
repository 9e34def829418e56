"""The default method: conic relaxation, binaries by direction, the follower's answer.

1. Clarabel solves the convex relaxation (the welfare bound), HiGHS the follower's multipliers.
2. Each binary of the leaders is set to the side its row allows. Where every one has such a side, the relaxed
   point is already integral; else those in conflict are fixed and the program is solved again.
3. HiGHS solves the follower at that boundary power, with the prices that cost the leaders least.
4. Where a gap is left, branch and bound over price regions and binaries in conflict closes it
   (``price_regions``). Where the follower has ramps, outer approximation on HiGHS branches on the
   complementarities instead; where a tariff settles, on what binaries are in conflict.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from model import by_hour
from model.bounds import safe_bound
from model.outcome import Bounded, Outcome
from model.problem import Problem
from model.program import Array, Program
from model.solvers import decomposed
from model.solvers.binaries import leader_binaries, round_by_direction, settle
from model.solvers.follower import Follower
from model.solvers.hourly import HourlySearch
from model.solvers.outer_approximation import branch
from model.solvers.price_regions import Search
from model.solvers.relaxation import follow_ray, solve_relaxation
from model.solvers.workers import connected

# From so many ADNs on nothing is solved that holds all hours at once.
MANY = 12


def available() -> str | None:
    """HiGHS and Clarabel are always installed."""
    return None


def solve(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """A point of the single-level program and a bound with its dual vectors."""
    ended = time.monotonic() + time_limit_s
    if by_hour.applies(problem) and problem.instance.n_adns >= MANY:
        outcome = decomposed.solve(problem, program, gap, time_limit_s, progress)
        if outcome.x is not None or time.monotonic() >= ended:
            return outcome
        time_limit_s = ended - time.monotonic()
    outcome = welfare(problem, program, gap, time_limit_s, progress)
    if outcome.status != "solved" or outcome.x is None or problem.coupling == "none":
        return outcome
    if outcome.closes(program.objective(outcome.x), gap):
        return outcome
    if not problem.prices_by_hour:
        # A mode that HiGHS cannot branch on keeps the outcome as it is.
        branches = not len(program.sos1) and not program.bilinear
        return on_complementarities(program, outcome, gap, ended, progress) if branches else outcome
    progress("price regions")
    point = Follower(problem, program).sound
    if by_hour.applies(problem):
        search = HourlySearch(problem, program, progress)
        with connected(problem.instance.n_adns, progress) as connect:
            search.join(connect, ended)
            found = search.solve(outcome, gap, ended)
        found = found.or_proof_of(outcome)
        assert found.x is not None
        if found.status == "time_limit" or found.closes(program.objective(found.x), gap):
            return found
        # What aggregated storage and binaries leave open.
        outcome = replace(outcome, x=found.x)
        return Search(problem, program, outcome, point, progress).run(gap, ended).or_proof_of(found)
    return Search(problem, program, outcome, point, progress).run(gap, ended)


def on_complementarities(
    program: Program, outcome: Outcome, gap: float, ended: float, progress: Callable[[str], None]
) -> Outcome:
    """Branching on every complementarity from an outcome's point: the only way where ramps join the hours."""
    assert outcome.x is not None
    result = branch(program, outcome.x, gap, ended - time.monotonic(), progress)
    # The relaxation's dual vector proves its bound without trust; branching may have proven more.
    return replace(result, parts=outcome.parts)


def welfare(
    problem: Problem, program: Program, gap: float, time_limit_s: float, progress: Callable[[str], None]
) -> Outcome:
    """The welfare bound, and the follower's answer to its point."""
    started = time.monotonic()
    progress("conic relaxation")
    relaxed = program.relaxed()
    relaxation = solve_relaxation(relaxed, time_limit_s)
    if relaxation.status == "infeasible":
        # A bound above all that any point in the boxes can cost proves that there is none.
        bound, duals = follow_ray(relaxed, relaxation, relaxed.most_cost)
        parts = (Bounded({}, {}, *duals, bound),)
        return Outcome("infeasible", parts=parts, message=relaxation.message)
    if relaxation.status != "solved":
        return Outcome(relaxation.status, message=relaxation.message)
    duals = relaxation.row_duals, relaxation.cone_duals
    outcome = Outcome(
        "solved",
        parts=(Bounded({}, {}, *duals, safe_bound(relaxed, *duals)),),
        message=f"{relaxation.message}, {relaxation.iterations} iterations",
    )
    ended = started + time_limit_s
    progress("binaries")
    x = settle(program, relaxed, relaxation.x, ended)
    outcome = _branched(
        program, relaxed, relaxation.x, x, outcome, gap, ended, progress, problem.prices_by_hour
    )
    if outcome.x is None:
        return outcome
    progress("follower")
    answer = Follower(problem, program)(outcome.x)
    if answer is None:
        return replace(outcome, status="error", message="the follower's program has no solution in its boxes")
    return replace(outcome, x=answer)


def _branched(
    program: Program,
    relaxed: Program,
    x: Array,
    settled: Array | None,
    outcome: Outcome,
    gap: float,
    ended: float,
    progress: Callable[[str], None],
    searched: bool,
) -> Outcome:
    """The settled point; outer approximation where there is none or it costs more than half the gap.

    ``searched``: the search over price regions follows and divides the binaries too, so any point will do.
    """
    if settled is not None and (searched or outcome.closes(relaxed.objective(settled), 0.5 * gap)):
        return replace(outcome, x=settled)
    integer = np.zeros_like(program.integer)
    integer[leader_binaries(program)] = True
    start = round_by_direction(program, x)[0] if settled is None else settled
    result = branch(replace(relaxed, integer=integer), start, gap / 2, ended - time.monotonic(), progress)
    found = settled if result.x is None else result.x
    late = found is None and time.monotonic() >= ended
    status = "time_limit" if late else result.status
    return replace(outcome, status=status, x=found, bound=result.bound, nodes=result.nodes)
