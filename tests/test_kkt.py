"""The follower's conditions: signs, certified boxes, strong duality, against an independent LP."""

import numpy as np
import pytest
from scipy.optimize import linprog
from toys import toy

from generators import instance
from model.data import InputError
from model.program import compile_model
from model.schemes import build
from model.solvers.follower import Follower


def _at_random_loads(case, mode="big_m", n=6):
    """Follower's answers to boundary power drawn from its box."""
    problem = build(case, mode=mode)
    program = compile_model(problem.m)
    rng = np.random.default_rng(4)
    boundary = np.concatenate([program.column(b.P_boundary.name) for b in problem.m.feeder.values()])
    for _ in range(n):
        x = np.zeros(len(program.c))
        share = rng.choice([0.0, 1.0, rng.uniform()], len(boundary))
        x[boundary] = program.lower[boundary] + share * (program.upper - program.lower)[boundary]
        yield problem, program, Follower(problem, program)(x)


CASES = {
    "uncongested": lambda: toy(2, 2),
    "congested": lambda: toy(2, 2, rate_mw=1.0),
    "shedding": lambda: toy(2, 2, load_mw=40.0),
    "ieee30": lambda: instance(3, hours=2, congestion="strong"),
    "ramps": lambda: instance(2, hours=4, ramp_mw_per_h=6.0),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["big_m", "sos1", "strong_duality"])
def test_optimal_multipliers_satisfy_every_condition_within_their_boxes(name, mode):
    for problem, program, x in _at_random_loads(CASES[name](), mode, n=3 if mode != "big_m" else 6):
        rows = [
            where
            for name, where in program.rows.items()
            if name.startswith(("follower.", "complementarity."))
        ]
        rows = np.concatenate([np.arange(where.start, where.stop) for where in rows])
        activity = program.activity(x)[rows]
        size = np.maximum(abs(program.A[rows]).max(axis=1).toarray().ravel(), 1)
        assert ((program.row_lower[rows] - activity) / size).max() < 1e-6
        assert ((activity - program.row_upper[rows]) / size).max() < 1e-6
        for component in (problem.m.follower.kkt.gamma, problem.m.follower.kkt.alpha):
            columns = program.column(component.name)
            assert (x[columns] >= program.lower[columns] - 1e-9).all()
            assert (x[columns] <= program.upper[columns] + 1e-9).all()


@pytest.mark.parametrize("name", CASES)
def test_no_optimal_multiplier_exceeds_its_certified_bound(name):
    """The largest value of each of many multipliers over the whole optimal face, its box taken away."""
    rng = np.random.default_rng(5)
    tried = 0
    for problem, program, x in _at_random_loads(CASES[name](), n=4):
        f, number = problem.m.follower, program.objective_map.number
        columns = np.concatenate([program.column(v.name) for v in (f.kkt.gamma, f.kkt.alpha)])
        prices = program.column(f.kkt.gamma.name)
        rows = program.rows["follower.kkt.stationarity_conditions"]
        lower, upper = np.zeros(len(program.c)), np.full(len(program.c), np.inf)
        lower[prices] = -np.inf
        slack, constant = program.objective_map.matrix([pair.slack for pair in problem.pairs])
        for pair, left in zip(problem.pairs, slack @ x + constant, strict=True):
            if left > 1e-7:
                upper[number[id(pair.multiplier)]] = 0.0
        A, b = program.A[rows][:, columns], program.row_lower[rows]
        bounds = np.column_stack([lower[columns], upper[columns]])
        candidates = columns[upper[columns] > 0]
        for column in rng.choice(candidates, min(12, len(candidates)), replace=False):
            for sign in (1.0, -1.0) if column in prices else (1.0,):
                cost = np.where(columns == column, -sign, 0.0)
                face = linprog(cost, A_eq=A, b_eq=b, bounds=bounds, method="highs")
                assert face.status == 0
                limit = program.upper[column] if sign > 0 else -program.lower[column]
                assert -face.fun <= limit + 1e-6 * max(1.0, abs(limit))
                tried += 1
    assert tried >= 20


@pytest.mark.parametrize("name", CASES)
def test_no_complementarity_is_open(name):
    number = 0
    for problem, program, x in _at_random_loads(CASES[name]()):
        for variable, value in zip(program.variables, x, strict=True):
            variable.set_value(value, skip_validation=True)
        for pair in problem.pairs:
            slack = pair.slack if isinstance(pair.slack, float) else pair.slack()
            assert min(pair.multiplier.value / pair.multiplier_bound, slack / pair.slack_bound) < 1e-6
            assert slack <= pair.slack_bound + 1e-9
            number += 1
    assert number


@pytest.mark.parametrize("name", CASES)
def test_strong_duality_ties_the_payment_to_cost_and_native_value(name):
    """sum lam P = cost - native value: the identity that makes the leader's objective linear."""
    for problem, program, x in _at_random_loads(CASES[name]()):
        f = problem.m.follower
        for variable, value in zip(program.variables, x, strict=True):
            variable.set_value(value, skip_validation=True)
        cost = sum(f.hour_cost[t]() for t in f.hour_cost)
        native = sum(f.native_value[t]() for t in f.native_value)
        bilinear = sum(problem.m.boundary_value[t]() for t in f.hour_cost)
        assert bilinear == pytest.approx(cost - native, abs=1e-6 * cost)


def test_lam_is_the_cost_of_one_more_megawatt():
    """Sign and unit of the price, by perturbing an LP that shares no code with the model."""
    case = toy(1, 1, rate_mw=1.0)
    (problem, program, x) = next(_at_random_loads(case, n=1))
    net = case.transmission
    boundary = case.base_mva * x[program.column(problem.m.feeder[0].P_boundary.name)][0]

    def cost(extra_at_2):
        # pg block 1, block 2, gen 2, flow 1-2: balances of both buses, line rating by bounds.
        load1, load2 = net.buses[0].pd_mw[0] + boundary, net.buses[1].pd_mw[0] + extra_at_2
        return linprog(
            [20, 32, 45, 0],
            A_eq=[[1, 1, 0, -1], [0, 0, 1, 1]],
            b_eq=[load1, load2],
            bounds=[(0, 5), (0, 9), (0, 10), (-1, 1)],
        ).fun

    lam = x[program.objective_map.number[id(problem.multipliers.lam[2, 0])]] / case.base_mva
    assert lam == pytest.approx(cost(1e-3) / 1e-3 - cost(0) / 1e-3, abs=1e-4) == pytest.approx(45.0)


def test_an_unprovable_bound_is_refused():
    """A rating of zero has no rent bound (validation refuses it too, but the model must not rely on that)."""
    case = toy(1, 1)
    line = case.transmission.branches[0].model_copy(update={"rate_a_mw": 0.0})
    net = case.transmission.model_copy(update={"branches": (line,)})
    with pytest.raises(InputError, match="rate_a_mw"):
        build(case.model_copy(update={"transmission": net}))
