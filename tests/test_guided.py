"""The search begun where that of a coarser instance ended: what it takes over, and that it proves nothing."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from proofs import apart

from generators import instance
from model.certificate import certify
from model.program import compile_model
from model.schemes import build
from model.solvers import decomposed, guided, workers
from model.solvers.guided import Guided, Scout

GAP = 2e-3


def silent(message):
    pass


@pytest.fixture
def here(monkeypatch):
    """All is solved in this process, and three ADNs are many."""
    monkeypatch.setattr(workers, "_chosen", workers.Cluster(n_workers=0))
    monkeypatch.setattr(guided, "MANY", 3)
    monkeypatch.setattr(guided, "GROUPS", 1)


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


@pytest.fixture(scope="module")
def built():
    # Three ADNs at two hosts.
    case = instance(3, 1, hours=6)
    host = case.feeders[0].host_bus
    feeders = (case.feeders[0], case.feeders[1].model_copy(update={"host_bus": host}), case.feeders[2])
    return compiled(case.model_copy(update={"feeders": feeders}))


@pytest.fixture
def found(built, here):
    guide = guided.guide(built[0], GAP, math.inf, workers._here, silent)
    assert guide is not None
    return guide


def test_what_groups_tell_is_taken_over_and_the_answer_is_certified(built, here, monkeypatch):
    problem, program = built
    begun, told = [], []
    begin = Guided._begin

    def spy(self):
        begin(self)
        put, given = (
            sorted(str((q.hour, q.lam.tolist(), q.inflow)) for q in own)
            for own in (self.answered.questions, self.guide.questions)
        )
        assert put == given and put
        # Every hour's leaves are split as those of the groups were, but where nothing is left to split.
        assert len(self.guide.splits) // 2 < sum(
            sum(leaf.region is not None for leaf in own) for own in self.trees.values()
        )
        begun.append(self)

    monkeypatch.setattr(Guided, "_begin", spy)
    outcome = decomposed.solve(problem, program, GAP, 120.0, told.append)
    certificate = certify(problem, program, outcome, GAP)
    assert certificate.status == "certified" and certificate.bound_by == "safe"
    (search,) = begun
    assert (search.reference != 0).any()
    assert any(words.startswith("2 groups: ") for words in told)


def test_every_battery_is_guided_within_its_limits(built, found):
    problem, program = built
    K = sum(len(feeder.bess) for feeder in problem.instance.feeders)
    assert found.power.shape == (2, K, 6) and (found.power >= -1e-6).all() and (found.power <= 1 + 1e-6).all()
    # Those of one group alike.
    first, second = (len(problem.instance.feeders[d].bess) for d in (0, 1))
    assert found.power[:, :first].mean(axis=1) == pytest.approx(
        found.power[:, first : first + second].mean(axis=1)
    )


def test_the_first_point_is_the_groups_schedule_or_batteries_at_rest(built, found, monkeypatch):
    problem, program = built
    search = Guided(problem, program, silent, found)
    search.join(workers._here, math.inf)
    points, first = search.points, search.idle()
    flows = first.x[points.flows]
    wished = points.one_way(found.power * program.upper[points.flows])
    assert flows == pytest.approx(wished, abs=1e-9) and flows.max() > 1e-3
    begin = points.begin

    def not_whole(schedule, *more):
        found = begin(schedule, *more)
        return None if schedule.any() else found

    monkeypatch.setattr(points, "begin", not_whole)
    assert not search.idle().x[points.flows].any()
    # What the hours answered to the groups' schedule is what the batteries' energy is priced by.
    charged = [answer.x[points.number[points.flows[:, :, t]]] for t, answer in enumerate(points.answers)]
    assert np.stack(charged, axis=2) == pytest.approx(wished, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_guide_that_is_wrong_costs_time_and_no_proof(built, found, seed):
    problem, program = built
    rng = np.random.default_rng(seed)
    wrong = replace(
        found,
        splits=[(int(rng.integers(6)), load * rng.uniform(-2, 2)) for _, load in found.splits],
        questions=[
            replace(q, hour=int(rng.integers(6)), lam=q.lam * rng.uniform(-1, 3), inflow=float(rng.normal()))
            for q in found.questions
        ],
        prices=[price * rng.uniform(0, 3) for price in found.prices],
        pressed=[rng.normal(size=price.shape) for price in found.pressed],
        power=rng.uniform(0, 1, found.power.shape),
        of_rows=found.of_rows * rng.uniform(-1, 3),
    )
    right = apart(problem, program)
    bound = certify(problem, program, right.solve(right.idle(), GAP, math.inf), GAP)
    search = Guided(problem, program, silent, wrong)
    search.join(workers._here, math.inf)
    outcome = search.solve(search.idle(), GAP, time.monotonic() + 120.0)
    certificate = certify(problem, program, outcome, GAP)
    assert certificate.status in ("certified", "gap_limit") and certificate.bound <= bound.objective
    assert certificate.objective >= bound.bound


def test_without_the_time_there_is_no_guide(built, here, monkeypatch):
    problem, program = built
    assert guided.guide(problem, GAP, time.monotonic(), workers._here, silent) is None
    monkeypatch.setattr(Scout, "idle", lambda self: None)
    assert guided.guide(problem, GAP, math.inf, workers._here, silent) is None
    outcome = decomposed.solve(problem, program, GAP, 120.0, silent)
    assert certify(problem, program, outcome, GAP).status == "certified"
