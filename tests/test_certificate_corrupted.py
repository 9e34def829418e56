"""No solution changed anywhere passes the certificate, whatever is changed and in whichever mode."""

from dataclasses import replace

import numpy as np
import pytest
from toys import relay, toy

from generators import instance
from model.certificate import certify
from model.program import compile_model
from model.schemes import build
from model.solvers import solve

CASES = {
    "two ADNs": (toy(2, 4, rate_mw=4.0), "big_m"),
    "sets": (toy(2, 2, rate_mw=4.0), "sos1"),
    "products": (toy(2, 2, rate_mw=4.0), "strong_duality"),
    "relay": (relay(), "big_m"),
    "tariff": (toy(2, 4, settlement="tariff"), "big_m"),
    "ieee": (instance(1, hours=4), "big_m"),
}
DRAWS = 2


@pytest.fixture(scope="module", params=CASES)
def certified(request):
    case, mode = CASES[request.param]
    problem = build(case, mode=mode)
    program = compile_model(problem.m)
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert certify(problem, program, outcome, 1e-3).status == "certified"
    return problem, program, outcome


def rejected(certified, x) -> list[str]:
    """The checks that fail at x, by what it is alone: no bound helps them; none where it is accepted."""
    problem, program, outcome = certified
    certificate = certify(problem, program, replace(outcome, x=x, parts=()), 1e-3)
    if certificate.status != "error":
        return []
    failed = [check.name for check in certificate.checks if not check.passed]
    assert all(name in certificate.message for name in failed)
    return failed


@pytest.mark.long
def test_one_entry_of_every_variable_changed_is_rejected(certified):
    """One in a hundred of its box, at least 0.001, up or down; a binary by a third or turned over.

    Every continuous variable stands in an equality, so one that moves alone cannot stay right.
    """
    _, program, outcome = certified
    rng = np.random.default_rng(7)
    tried = 0
    for name, where in program.columns.items():
        columns = np.arange(where.start, where.stop)
        for column in rng.choice(columns, min(DRAWS, len(columns)), replace=False):
            x = outcome.x.copy()
            if program.integer[column]:
                x[column] += 1 / 3 if x[column] < 0.5 else -1 / 3
            else:
                step = max(0.01 * (program.upper[column] - program.lower[column]), 1e-3)
                x[column] += step * rng.choice([-1.0, 1.0])
            assert rejected(certified, x), f"{name}, column {column}"
            tried += 1
    assert tried >= 40


@pytest.mark.long
def test_a_binary_turned_over_is_rejected_where_power_flows(certified):
    """Where the side that it now forbids carries nothing, the binary is free and the point stays right."""
    problem, program, outcome = certified
    told = []
    # First the leaders' (complementarities, if binary, come last), then some of all.
    columns = np.flatnonzero(program.integer)
    some = np.random.default_rng(1).choice(columns, min(20, len(columns)), replace=False)
    for column in np.unique([*columns[:20], *some]):
        x = outcome.x.copy()
        x[column] = 1 - np.round(x[column])
        forbidden = forbidden_part(problem, program, x, column)
        if 1e-8 < forbidden < 1e-5:
            continue  # too near the tolerance to say
        assert bool(rejected(certified, x)) == (forbidden > 1e-6), program.variables[column].name
        told.append(forbidden > 1e-6)
    assert sum(told) >= 5


# What each binary allows where it is 1, and where it is 0.
RULED = {
    "charging": (("charge",), ("discharge",)),
    "selling": (("sell_in", "sell_out"), ("buy_in", "buy_out")),
    "importing": (("p_import",), ("p_export",)),
}


def forbidden_part(problem, program, x, column) -> float:
    """What a binary rules out at x, in p.u.; for a complementarity as a part of its bound."""
    binary = program.variables[column]
    name, at, one = binary.parent_component().local_name, binary.index(), x[column] > 0.5
    number = program.objective_map.number
    if name == "binding":
        pair = problem.pairs[at]
        if not one:
            return x[number[id(pair.multiplier)]] / max(pair.multiplier_bound, 1.0)
        coefficients, constant = program.objective_map.row(pair.slack)
        return (coefficients @ x + constant) / max(pair.slack_bound, 1.0)
    if name == "exports_trade":
        d, t = at
        return sum(
            x[number[id(v)]]
            for (a, b, hour), v in problem.m.x.items()
            if hour == t and (b if one else a) == d
        )
    block = binary.parent_block()
    return sum(x[number[id(getattr(block, power)[at])]] for power in RULED[name][int(one)])


@pytest.mark.parametrize("family", ["P", "l", "v", "pv_p", "P_boundary", "grid_import", "p_import"])
def test_a_schedule_shifted_by_an_hour_is_rejected(certified, family):
    """Every number is one that belongs there, an hour earlier."""
    problem, program, outcome = certified
    x = outcome.x.copy()
    columns = program.column(f"feeder[0].{family}").reshape(-1, problem.instance.hours)
    x[columns] = np.roll(x[columns], 1, axis=1)
    if np.abs(x - outcome.x).max() < 1e-4:
        pytest.skip("the schedule is flat")
    assert "rows" in rejected(certified, x)


@pytest.mark.parametrize("family", ["pg", "theta", "shed", "kkt.gamma"])
def test_the_follower_of_another_load_is_rejected(certified, family):
    """A part of the follower's answer to a load that is not the schedule's: right numbers, wrong place."""
    problem, program, outcome = certified
    x = outcome.x.copy()
    columns = program.column(f"follower.{family}")
    rng = np.random.default_rng(3)
    x[columns] = np.clip(
        x[columns] * rng.uniform(0.5, 1.5, len(columns)) + 1e-3 * rng.uniform(1, 2, len(columns)),
        program.lower[columns],
        program.upper[columns],
    )
    failed = rejected(certified, x)
    if family == "kkt.gamma":
        assert {"prices are dual optimal", "rows"} & set(failed)
    else:
        assert "follower's balance" in failed


def test_scaled_schedules_are_rejected(certified):
    """Everything times 1.001: homogeneous rows still hold, loads do not."""
    _, program, outcome = certified
    x = np.where(program.integer, outcome.x, 1.001 * outcome.x)
    assert "rows" in rejected(certified, x)


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0, 1e6])
def test_a_bound_from_dual_vectors_that_were_changed_still_holds(certified, factor):
    """The dual vector is the proof: changed, it proves less, and the certificate says how much less."""
    problem, program, outcome = certified
    honest = certify(problem, program, outcome, 1e-3)
    parts = tuple(
        replace(part, row_duals=factor * part.row_duals, cone_duals=factor * part.cone_duals)
        for part in outcome.parts
    )
    certificate = certify(problem, program, replace(outcome, parts=parts), 1e-3)
    assert certificate.bound is None or certificate.bound <= honest.objective
    assert certificate.status == "gap_limit"


def test_a_bound_written_into_the_outcome_is_marked_as_a_solvers_word(certified):
    problem, program, outcome = certified
    honest = certify(problem, program, outcome, 1e-3)
    claimed = honest.bound + 0.5 * (honest.objective - honest.bound)
    certificate = certify(problem, program, replace(outcome, bound=claimed), 1e-3)
    assert (certificate.bound, certificate.bound_by) == (claimed, "solver")
    above = honest.objective + 1e-3 * max(abs(honest.objective), 1.0)
    certificate = certify(problem, program, replace(outcome, bound=above), 1e-3)
    assert certificate.status == "error" and "bound below objective" in certificate.message
