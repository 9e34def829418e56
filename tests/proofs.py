"""Proofs by price regions taken from either search, and the programs of their parts built by hand."""

import math
import time
from dataclasses import replace

import numpy as np

from model.by_hour import applies as by_hour_applies
from model.by_hour import blocks_by_hour
from model.follower_check import FollowerRestated
from model.hour_blocks import cut_rows
from model.outcome import Outcome
from model.price_hull import HourLoads, hour_loads, hull
from model.problem import Problem
from model.program import Program
from model.solvers.auto import welfare
from model.solvers.follower import Follower
from model.solvers.hourly import HourlySearch
from model.solvers.linear import solve_linear
from model.solvers.price_regions import Search
from model.solvers.relaxation import solve_relaxation


def unproven(problem: Problem, program: Program) -> Outcome:
    """The welfare bound's point, without its bound."""
    first = welfare(problem, program, 0.0, 60.0, lambda told: None)
    return replace(first, parts=tuple(replace(part, bound=-math.inf) for part in first.parts))


def apart(problem: Problem, program: Program) -> HourlySearch:
    """A search with the hours apart, asked in this process."""
    search = HourlySearch(problem, program, lambda told: None)
    search.join(
        lambda programs, *_: (
            lambda questions: [
                answer for q in questions for answer in type(programs[0]).answers([programs[q.program]], [q])
            ]
        ),
        math.inf,
    )
    return search


def begun(problem: Problem, program: Program, gap: float) -> HourlySearch:
    """A search with the hours apart as it stands after its first questions."""
    search = apart(problem, program)
    search.start(unproven(problem, program))
    search.gap, search.ended = gap, math.inf
    search._begin()
    return search


def whole_search(problem: Problem, program: Program, gap: float, limit_s: float = 60.0) -> Outcome:
    """Branching on price regions over the whole relaxation, hours and all; the welfare bound where that is
    all there is to prove."""
    first = welfare(problem, program, gap, limit_s, lambda told: None)
    if first.x is None or not problem.prices_by_hour:
        return first
    value = program.objective(first.x)
    if value - first.parts[0].bound <= gap * max(abs(value), 1.0):
        return first
    follower = Follower(problem, program)
    search = Search(problem, program, first, follower, lambda told: None)
    return search.run(gap, time.monotonic() + limit_s)


def hourly_search(problem: Problem, program: Program, gap: float, limit_s: float = 60.0) -> Outcome:
    """The same with the hours apart, however close the welfare bound is; that bound where hours are not."""
    if not by_hour_applies(problem):
        return welfare(problem, program, gap, limit_s, lambda told: None)
    first = unproven(problem, program)
    return apart(problem, program).solve(first, gap, time.monotonic() + limit_s)


def native_hours(problem: Problem, program: Program, margin: float = 0.0) -> dict[int, HourLoads]:
    """The loads of every hour, the cost of native load by the restated follower and a little more."""
    follower = FollowerRestated(problem.instance)
    phi = {t: follower.optimal_cost(follower.native[:, [t]]).item() for t in range(problem.instance.hours)}
    return hour_loads(problem, program, {t: cost + margin * max(abs(cost), 1.0) for t, cost in phi.items()})


def part_programs(
    problem: Problem, program: Program, outcome: Outcome, hours: dict[int, HourLoads]
) -> list[Program]:
    """The program of every part, from the instance and the proof's cuts alone."""
    cuts = outcome.cuts
    if cuts is None:
        relaxed = program.relaxed()
        return [
            hull(relaxed, hours, part.chosen, part.known).program.with_fixed(part.fixed)
            for part in outcome.parts
        ]
    blocks = blocks_by_hour(problem, program, cuts.reference, hours)
    sides, coefficients = cut_rows(blocks, cuts)
    found = []
    for part in outcome.parts:
        assert not part.fixed and set(part.chosen) == set(hours)
        known = np.arange(len(sides)) < part.n_cuts
        loads = blocks.hour_loads(hours, sides[known], coefficients[known], cuts.block[known])
        found.append(hull(blocks.relaxation, loads, part.chosen, part.known).program)
    return found


def least_value(node: Program) -> float | None:
    """The least value of a part's program, found by a solver; None where it finds none."""
    if len(node.cone_dims):
        result = solve_relaxation(node)
        return node.objective(result.x) if result.status == "solved" else None
    found = solve_linear(node.c, node.A, node.row_lower, node.row_upper, node.lower, node.upper)
    return None if found.x is None else node.objective(found.x)
