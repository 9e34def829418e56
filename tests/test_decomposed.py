"""The decomposition by ADN and hour: blocks, cuts, points, workers, and what the certificate makes of
them.
"""

import os
import signal
import time
from dataclasses import replace

import brute_force
import numpy as np
import pytest
from small_cases import small_instance
from toys import relay, toy

from generators import instance
from model.bounds import safe_bound
from model.certificate import certify
from model.data import InputError
from model.hour_blocks import blocks_of, with_cuts
from model.program import compile_model
from model.schemes import build
from model.solvers import auto, solve, workers
from model.solvers.decomposed import Decomposed
from model.solvers.price_regions import applies
from model.solvers.recourse import Recourse
from model.solvers.warm import Warm
from model.solvers.workers import Cluster

TOYS = {"two": toy(2, 3), "congested": toy(3, 2, rate_mw=4.0), "relay": relay(), "one hour": toy(2, 1)}


def silent(message):
    pass


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


# The method.


@pytest.mark.parametrize("name", TOYS)
def test_the_method_agrees_with_the_default_one(name):
    problem, program = compiled(TOYS[name])
    outcome = solve(problem, program, "decomposed", 1e-3, 60.0)
    certificate = certify(problem, program, outcome, 1e-3)
    reference = certify(problem, program, solve(problem, program, "auto", 1e-4, 60.0), 1e-4)
    assert certificate.bound_by == "safe" and not [c for c in certificate.checks if not c.passed]
    scale = max(abs(reference.objective), 1.0)
    assert certificate.bound <= reference.objective + 1e-6 * scale
    assert certificate.objective >= reference.bound - 1e-6 * scale
    if name != "relay":  # its conflict is between binaries within an hour of an ADN as well
        assert certificate.status == "certified", certificate


def test_a_generated_instance_is_certified():
    problem, program = compiled(instance(3, seed=1))
    outcome = solve(problem, program, "decomposed", 5e-3, 60.0)
    certificate = certify(problem, program, outcome, 5e-3)
    assert certificate.status == "certified" and certificate.bound_by == "safe", certificate
    assert len(outcome.cuts.block) > 0 and outcome.parts[0].n_cuts > 0


SEEDS = [seed for seed in range(40) if small_instance(seed).settlement == "lmp"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_method_encloses_the_enumerated_optimum(seed):
    case = small_instance(seed)
    problem, program = compiled(case)
    if not applies(problem):
        with pytest.raises(InputError, match="no ramps"):
            solve(problem, program, "decomposed", 1e-5, 10.0)
        return
    certificate = certify(problem, program, solve(problem, program, "decomposed", 1e-5, 10.0), 1e-5)
    optimum = brute_force.solve(case)
    scale = max(abs(optimum.cost), 1.0)
    tolerated = 1e-5 * scale + 1e-6 * case.base_mva * float(np.abs(optimum.prices).sum()) * case.n_adns
    if certificate.bound is not None:
        assert certificate.bound <= optimum.cost + tolerated
    if certificate.objective is not None:
        assert certificate.objective >= optimum.cost - tolerated


def test_a_tariff_is_refused_by_name():
    problem, program = compiled(toy(2, 2, settlement="tariff"))
    with pytest.raises(InputError, match="settlement lmp"):
        solve(problem, program, "decomposed", 1e-3, 10.0)


def test_time_that_is_up_ends_the_method_with_what_it_has():
    problem, program = compiled(instance(2))
    began = time.monotonic()
    outcome = solve(problem, program, "decomposed", 1e-9, 8.0)  # a slow machine's first round is in there
    assert time.monotonic() - began < 30.0
    certificate = certify(problem, program, outcome, 1e-9)
    assert certificate.status in ("time_limit", "gap_limit"), certificate
    assert certificate.bound is not None and certificate.bound_by == "safe"


def test_a_round_without_time_to_solve_leaves_what_the_rounds_before_it_found(monkeypatch):
    solve_node, rounds = Decomposed._solve, []

    def two_in_time(self, node, time_limit_s):
        rounds.append(solve_node(self, node, time_limit_s))
        return rounds[-1] if len(rounds) <= 2 else replace(rounds[0], status="time_limit", x=np.zeros(0))

    monkeypatch.setattr(Decomposed, "_solve", two_in_time)
    problem, program = compiled(instance(2, hours=4))
    outcome = solve(problem, program, "decomposed", 1e-9, 60.0)
    assert len(rounds) > 2 and outcome.x is not None
    certificate = certify(problem, program, outcome, 1e-9)
    assert certificate.status == "gap_limit" and certificate.bound_by == "safe", certificate


def test_the_default_method_decomposes_where_there_are_many_adns(monkeypatch):
    monkeypatch.setattr(auto, "MANY", 2)
    problem, program = compiled(toy(2, 2))
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert outcome.cuts is not None
    assert certify(problem, program, outcome, 1e-3).status == "certified"
    # Where it finds no point, the relaxation as a whole is solved.
    monkeypatch.setattr(Recourse, "compose", lambda *arguments: None)
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert outcome.cuts is None and certify(problem, program, outcome, 1e-3).status == "certified"


# Linear programs.


def test_a_warm_program_ends_where_a_cold_one_does_and_tells_why_it_is_infeasible():
    problem, program = compiled(TOYS["two"])
    base = blocks_of(problem, program).relaxation
    warm, cold = Warm(len(base.c)), Warm(len(base.c))
    first = warm.solve(base, ([], []), 60.0)
    lower = base.lower.copy()
    at = int(np.flatnonzero((base.lower == 0) & (base.upper > 0.01) & (base.c > 0))[0])
    lower[at] = 0.005
    again = warm.solve(base.with_bounds(lower, base.upper), ([], []), 60.0)
    assert again.objective == pytest.approx(
        cold.solve(base.with_bounds(lower, base.upper), ([], []), 60.0).objective
    )
    assert again.objective >= first.objective - 1e-9
    far = with_cuts(base, np.array([1e4]), base.A[:1] * 0 + base.A[:1])
    found = warm.solve(far, ([], []), 60.0)
    assert found.status == "infeasible" and found.row_duals is not None
    bounds = [safe_bound(far, sign * 1e6 * found.row_duals, np.zeros(0)) for sign in (1, -1)]
    assert max(bounds) > far.most_cost


# Workers.


@pytest.fixture
def cluster():
    yield workers.choose
    workers.choose(Cluster(n_workers=0))


def answered(problem, program):
    search = Decomposed(problem, program, silent)
    recourse = search.recourse
    with workers.workers(recourse.feeders, silent) as recourse.workers:
        trial = recourse.trial(np.zeros(len(recourse.blocks.of_column)))
        return recourse, trial


def test_a_cluster_answers_as_this_process_does_and_outlives_a_lost_worker(cluster, monkeypatch):
    monkeypatch.setattr(workers, "FEW", 2)
    problem, program = compiled(TOYS["congested"])
    cluster(Cluster(n_workers=0))
    _, here = answered(problem, program)
    cluster(Cluster(n_workers=2))
    search = Decomposed(problem, program, silent)
    recourse = search.recourse
    with workers.workers(recourse.feeders, silent) as recourse.workers:
        there = recourse.trial(np.zeros(len(recourse.blocks.of_column)))
        assert there.value == here.value and (there.own_cost == here.own_cost).all()
        pid = next(iter(recourse.workers.client.run(os.getpid).values()))
        os.kill(pid, signal.SIGKILL)
        recourse.asked = [None] * recourse.blocks.n_blocks
        again = recourse.trial(np.zeros(len(recourse.blocks.of_column)))
        assert again.value == here.value


def test_a_scheduler_that_does_not_answer_is_told_in_one_line(cluster, monkeypatch):
    cluster(Cluster(scheduler="tcp://127.0.0.1:1"))
    problem, program = compiled(TOYS["two"])
    with pytest.raises(InputError, match="scheduler: got 'tcp://127.0.0.1:1'"):
        answered(problem, program)
