"""Steps towards better prices of stored energy, against the linear program that they are the dual of."""

import numpy as np
import pytest
from scipy.sparse import block_array, csr_array

from model.by_hour import rise
from model.solvers.linear import solve_linear
from model.solvers.storage_prices import REACH, StoragePrices


def least(known, prices):
    """What the hours and levels cost at least at prices of net inflow, by what was seen (Lagrange)."""
    K, T = prices.shape
    of_hours = [
        min(
            cost + prices[:, t] @ inflow
            for hour, inflow, cost in zip(known.hours, known.inflows, known.costs, strict=True)
            if hour == t
        )
        for t in range(T)
    ]
    worth = -(rise(K, T).T @ prices.ravel())
    return sum(of_hours) + np.minimum(worth * known.least.ravel(), worth * known.most.ravel()).sum()


def optimum(known):
    """The same at the best prices: mixtures of what was seen that levels allow."""
    (K, T), J = known.least.shape, len(known.costs)
    stored, one = np.zeros((K * T, J)), np.zeros((T, J))
    for j, (hour, inflow) in enumerate(zip(known.hours, known.inflows, strict=True)):
        stored[np.arange(K) * T + hour, j] = inflow
        one[hour, j] = 1.0
    A = csr_array(block_array([[csr_array(stored), -rise(K, T)], [csr_array(one), None]], format="csr"))
    side = np.append(np.zeros(K * T), np.ones(T))
    lower = np.append(np.zeros(J), known.least.ravel())
    upper = np.append(np.full(J, np.inf), known.most.ravel())
    found = solve_linear(np.append(known.costs, np.zeros(K * T)), A, side, side, lower, upper)
    assert found.status == "solved"
    return found.objective, found.row_duals[: K * T].reshape(K, T)


def seen(rng, K, T):
    """Hours that can be at rest, and do other things."""
    known = StoragePrices(np.zeros((K, T)), rng.uniform(0.5, 2.0, (K, T)))
    for t in range(T):
        known.learn(t, np.zeros(K), 0.0)
        for _ in range(6):
            inflow = rng.normal(size=K)
            known.learn(t, inflow, float(10 * rng.normal(size=K) @ inflow + 3 * inflow @ inflow))
    return known


@pytest.mark.parametrize("seed", range(6))
def test_steps_stay_near_and_come_to_the_best_prices(seed):
    rng = np.random.default_rng(seed)
    K, T = 2, 4
    known = seen(rng, K, T)
    best, duals = optimum(known)
    assert least(known, -duals) == pytest.approx(best)
    prices = -duals + 0.05 * np.abs(duals).mean() * rng.normal(size=duals.shape)
    first = bound = least(known, prices)
    while known.reach > 1e-5:
        reach = known.reach
        stepped = known.step(prices, bound)
        assert stepped is not None and known.best <= best + 1e-6 * abs(best)
        centre = known.centre
        assert np.abs(stepped - centre).max() <= known.reach * np.abs(centre).mean() * (1 + 1e-6)
        # Shorter where the last one was no better.
        assert known.reach <= reach <= REACH
        prices, bound = stepped, least(known, stepped)
    assert max(known.best, bound) == pytest.approx(best, rel=1e-6) and first < best


def test_a_battery_between_two_hours_is_worth_what_lies_between_them():
    known = StoragePrices(np.zeros((1, 2)), np.ones((1, 2)))
    for hour, inflow, cost in [(0, 0.0, 0.0), (0, 1.0, 1.0), (1, 0.0, 0.0), (1, -1.0, -5.0)]:
        known.learn(hour, np.array([inflow]), cost)
    prices = np.full((1, 2), -0.97)
    for _ in range(5):
        prices = known.step(prices, least(known, prices))
    assert known.best == pytest.approx(-4.0) and (known.centre >= -5.0).all() and (known.centre <= -1.0).all()


def test_without_an_answer_of_every_hour_there_is_no_step():
    known = StoragePrices(np.zeros((1, 2)), np.ones((1, 2)))
    known.learn(0, np.zeros(1), 0.0)
    assert known.step(np.ones((1, 2)), 0.0) is None
    assert StoragePrices(np.zeros((0, 2)), np.zeros((0, 2))).step(np.zeros((0, 2)), 0.0) is None
