"""The certificate's own follower against a third statement of it, written out bus by bus and hour by hour."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linprog
from uneven import HOURS, uneven

from model import follower_check
from model.follower_check import FollowerCheck, FollowerRestated
from model.metrics import Schedule

BUSES = (5, 2, 9)
LINES = ((5, 2, 0.11, 6.1), (9, 2, 0.17, 4.7), (9, 5, 0.23, 5.2), (2, 5, 0.31, 3.3))
BLOCKS = ((9, 4.5, 21.0), (9, 6.5, 33.0), (5, 8.5, 47.0))
BASE, VOLL, SPILL, RAMP = 7.0, 900.0, 3.0, 1.7
NATIVE = np.array([[3.1, 4.3, 3.7], [1.9, 2.6, 2.3], [2.2, 3.4, 0.0]])
HOST_ROWS = (2, 2, 0, 1, 0)
# Costs of 1e2 to 1e4 $ from a linear program solved to about 1e-9 of them.
CLOSE = {"rel": 1e-7, "abs": 1e-6}


def solved(load, ramps=False):
    """Cost, dispatch (by hour: blocks, shed, spill, theta) and prices at some hours' loads, in MW and $."""
    hours = load.shape[1]
    size = len(BLOCKS) + 3 * len(BUSES)
    shed, spill, theta = (len(BLOCKS) + n * len(BUSES) for n in range(3))
    balance, demand, limits, most = [], [], [], []
    for t in range(hours):
        rows = np.zeros((len(BUSES), hours * size))
        for k, (bus, *_) in enumerate(BLOCKS):
            rows[BUSES.index(bus), t * size + k] = 1.0
        for n in range(len(BUSES)):
            rows[n, t * size + shed + n], rows[n, t * size + spill + n] = 1.0, -1.0
        for start, end, x, rate in LINES:
            flow = np.zeros(hours * size)
            flow[t * size + theta + BUSES.index(start)] = BASE / x
            flow[t * size + theta + BUSES.index(end)] = -BASE / x
            rows[BUSES.index(start)] -= flow
            rows[BUSES.index(end)] += flow
            limits += [flow, -flow]
            most += [rate, rate]
        balance.append(rows)
        demand.append(load[:, t])
        if ramps and t:
            change = np.zeros(hours * size)
            change[[t * size, t * size + 1]] = 1.0
            change[[(t - 1) * size, (t - 1) * size + 1]] = -1.0
            limits += [change, -change]
            most += [RAMP, RAMP]
    bounds = [(0, width) for _, width, _ in BLOCKS] + 2 * len(BUSES) * [(0, None)]
    bounds += [(0, 0) if bus == 2 else (None, None) for bus in BUSES]
    cost = [price for *_, price in BLOCKS] + 3 * [VOLL] + 3 * [SPILL] + 3 * [0.0]
    found = linprog(
        hours * cost,
        np.array(limits),
        most,
        np.vstack(balance),
        np.concatenate(demand),
        hours * bounds,
        method="highs",
    )
    assert found.status == 0
    prices = found.eqlin.marginals.reshape(hours, -1).T
    return found.fun, found.x.reshape(hours, size).T, prices


LOADS = {
    "native": NATIVE,
    "congested": NATIVE + np.array([[0.0], [9.0], [0.0]]),
    "shedding": NATIVE + 9.0,
    "surplus": NATIVE - np.array([[0.0], [0.0], [25.0]]),
    "rising": NATIVE * np.array([0.2, 2.0, 0.5]),
}


@pytest.mark.parametrize("name", LOADS)
@pytest.mark.parametrize("ramps", [False, True])
def test_the_optimal_cost_is_that_of_the_third_statement(name, ramps):
    follower = FollowerRestated(uneven(ramps=ramps))
    expected, *_ = solved(LOADS[name], ramps)
    assert follower.optimal_cost(LOADS[name]).sum() == pytest.approx(expected, **CLOSE)
    alone = [solved(LOADS[name][:, [t]])[0] for t in range(HOURS)]
    if not ramps:
        assert follower.optimal_cost(LOADS[name]) == pytest.approx(alone, **CLOSE)
    for t in range(HOURS):
        assert follower.optimal_cost(LOADS[name][:, [t]]) == pytest.approx(alone[t], **CLOSE)


def test_the_cases_congest_shed_spill_and_ramp():
    """Else the tests beside would show little."""
    prices = {name: solved(load)[2] for name, load in LOADS.items()}
    assert np.ptp(prices["congested"], axis=0).max() > 1 and prices["shedding"].max() == pytest.approx(VOLL)
    assert prices["surplus"].min() == pytest.approx(-SPILL)
    assert solved(LOADS["rising"], ramps=True)[0] > solved(LOADS["rising"])[0] + 1


def test_native_load_and_rows_are_in_the_order_of_buses():
    follower = FollowerRestated(uneven())
    assert follower.native.tolist() == NATIVE.tolist()
    assert follower.row == {5: 0, 2: 1, 9: 2} and follower.ref == 1


@pytest.mark.parametrize("name", LOADS)
@pytest.mark.parametrize("ramps", [False, True])
def test_optimal_prices_are_worth_the_optimal_cost_and_no_others_are_worth_more(name, ramps):
    """Strong duality at the prices of the third statement, weak duality at random ones."""
    load = LOADS[name]
    follower = FollowerRestated(uneven(ramps=ramps))
    cost, _, prices = solved(load, ramps)
    assert follower.price_value(load, prices).sum() == pytest.approx(cost, **CLOSE)
    rng = np.random.default_rng(6)
    below = []
    for _ in range(20):
        other = np.clip(prices + rng.normal(0, 20, prices.shape), -SPILL, VOLL)
        below.append(cost - follower.price_value(load, other).sum())
    assert min(below) > -1e-6 and max(below) > 1


def test_one_price_everywhere_is_worth_its_revenue_less_the_units_profit():
    """On paper: lines carry nothing of worth, so only blocks below the price run."""
    follower = FollowerRestated(uneven())
    prices = np.full((3, 1), 40.0)
    profit = 4.5 * (40 - 21) + 6.5 * (40 - 33)
    assert follower.price_value(NATIVE[:, [1]], prices) == pytest.approx(40 * 10.3 - profit)


@pytest.mark.parametrize(
    ("price", "allowed"), [(VOLL, True), (-SPILL, True), (VOLL + 1e-3, False), (-SPILL - 1e-3, False)]
)
def test_a_price_outside_its_box_is_worth_nothing(price, allowed):
    """Beyond the value of lost load or spillage the dual is not feasible; 1e-7 of VOLL is let pass."""
    follower = FollowerRestated(uneven())
    prices = np.full((3, 2), 30.0)
    for place in ((0, 0), (2, 1)):
        one = prices.copy()
        one[place] = price
        worth = follower.price_value(NATIVE[:, :2], one)
        assert worth[1 - place[1]] > -math.inf and (worth[place[1]] > -math.inf) == allowed
    hair = np.full((3, 1), 30.0)
    hair[0] = price + math.copysign(5e-5, price) if allowed else price
    assert (follower.price_value(NATIVE[:, [0]], hair) > -math.inf) == allowed


@pytest.mark.parametrize("price", [1e12, 1e308, -1e308])
def test_a_price_beyond_all_numbers_spoils_no_other_hour(price):
    follower = FollowerRestated(uneven())
    prices = np.full((3, 3), 30.0)
    alone = follower.price_value(NATIVE, prices)
    prices[:, 1] = price
    assert follower.price_value(NATIVE, prices) == pytest.approx([alone[0], -math.inf, alone[2]])


def test_an_optimum_that_is_not_found_is_no_number(monkeypatch):
    follower = FollowerRestated(uneven())
    monkeypatch.setattr(follower_check, "linprog", lambda *a, **k: SimpleNamespace(status=4, fun=0.0))
    assert np.isnan(follower.optimal_cost(NATIVE)).all()
    assert (follower.price_value(NATIVE, np.full((3, 3), 30.0)) == -math.inf).all()


def test_where_presolve_errs_the_optimum_is_found_without_it(monkeypatch):
    follower = FollowerRestated(uneven())
    prices = np.full((3, 3), 30.0)
    right = follower.optimal_cost(NATIVE), follower.price_value(NATIVE, prices)

    def erring(*given, options, **other):
        if options["presolve"]:
            return SimpleNamespace(status=4, fun=0.0)
        return linprog(*given, options=options, **other)

    monkeypatch.setattr(follower_check, "linprog", erring)
    found = follower.optimal_cost(NATIVE), follower.price_value(NATIVE, prices)
    assert np.allclose(found, right, rtol=1e-9)


def answered(boundary, ramps=False):
    """The schedule of the third statement at given boundary power, (ADN, hour)."""
    case = uneven(ramps=ramps)
    load = NATIVE.copy()
    for row, power in zip(HOST_ROWS, boundary, strict=True):
        load[row] += power
    if ramps:
        _, x, lam = solved(load, ramps)
    else:
        hours = [solved(load[:, [t]]) for t in range(HOURS)]
        x, lam = (np.column_stack([hour[k] for hour in hours]) for k in (1, 2))
    return Schedule(
        instance=case,
        feeders=[SimpleNamespace(P_boundary=power) for power in boundary],
        trades=np.zeros((4, HOURS)),
        pg=[x[:2].copy(), x[2:3].copy()],
        shed=x[3:6].copy(),
        spill=x[6:9].copy(),
        theta=x[9:12].copy(),
        lam=lam,
    )


BOUNDARY = np.array([[0.5, -0.4, 0.9], [1.1, 0.7, 0.3], [0.2, 1.3, 0.6], [0.8, 0.1, 1.2], [-0.3, 0.4, 0.5]])


@pytest.fixture(params=[False, True], ids=["free", "ramps"])
def schedule(request):
    return answered(BOUNDARY, request.param)


def check(schedule):
    return FollowerCheck(schedule.instance, schedule, 0.0)


def cost(schedule):
    """In $: of every hour, or with ramps of all."""
    price = np.array([21.0, 33.0, 47.0])
    hourly = (
        price @ np.vstack(schedule.pg) + VOLL * schedule.shed.sum(axis=0) + SPILL * schedule.spill.sum(axis=0)
    )
    ramps = schedule.instance.transmission.gens[0].ramp_mw_per_h is not None
    return np.array([hourly.sum()]) if ramps else hourly


def test_an_optimal_answer_passes_every_measure(schedule):
    found = check(schedule)
    assert found.imbalance_mw == pytest.approx(0.0, abs=1e-8)
    assert found.excess_mw <= 1e-8
    assert found.regret == pytest.approx(0.0, abs=1e-5)
    assert found.price_regret == pytest.approx(0.0, abs=1e-5)
    assert found.scale == pytest.approx(cost(schedule).max())


def test_a_little_cost_counts_as_one_dollar():
    """The least scale of money: prices of a dark and empty network may not divide by nothing."""
    boundary = np.zeros((5, HOURS))
    boundary[[2, 3, 0]] = -NATIVE + 1e-4
    assert check(answered(boundary)).scale == 1.0


@pytest.mark.parametrize("bus", range(3))
@pytest.mark.parametrize("name", ["shed", "spill"])
def test_what_is_not_balanced_is_measured_in_mw_at_its_bus(schedule, bus, name):
    getattr(schedule, name)[bus, 1] += 0.25
    found = check(schedule)
    assert found.imbalance_mw == pytest.approx(0.25, abs=1e-8)
    assert found.regret == pytest.approx(0.25 * {"shed": VOLL, "spill": SPILL}[name], abs=1e-5)


@pytest.mark.parametrize(("gen", "k"), [(0, 0), (0, 1), (1, 0)])
def test_a_unit_injects_at_its_own_bus(schedule, gen, k):
    schedule.pg[gen][k, 2] -= 0.125
    assert check(schedule).imbalance_mw == pytest.approx(0.125, abs=1e-8)
    schedule.shed[{0: 2, 1: 0}[gen], 2] += 0.125
    assert check(schedule).imbalance_mw == pytest.approx(0.0, abs=1e-8)


def test_boundary_power_is_load_at_its_host(schedule):
    for row, feeder in zip(HOST_ROWS, schedule.feeders, strict=True):
        feeder.P_boundary[0] += 0.5
        assert check(schedule).imbalance_mw == pytest.approx(0.5, abs=1e-8)
        schedule.shed[row, 0] += 0.5
        assert check(schedule).imbalance_mw == pytest.approx(0.0, abs=1e-8)


def test_an_angle_moves_power_over_every_line_of_its_bus(schedule):
    schedule.theta[0, 1] += 1e-3
    out = BASE * 1e-3 * (1 / 0.11 + 1 / 0.23 + 1 / 0.31)
    assert check(schedule).imbalance_mw == pytest.approx(out, abs=1e-8)


def test_what_goes_beyond_a_limit_is_measured_in_mw(schedule):
    def beyond(change):
        changed = answered(BOUNDARY, schedule.instance.transmission.gens[0].ramp_mw_per_h is not None)
        change(changed)
        return check(changed).excess_mw

    def set_to(name, place, value):
        return lambda changed: getattr(changed, name).__setitem__(place, value)

    assert beyond(set_to("shed", (1, 2), -0.2)) == pytest.approx(0.2)
    assert beyond(set_to("spill", (2, 0), -0.3)) == pytest.approx(0.3)
    if schedule.instance.transmission.gens[0].ramp_mw_per_h is None:
        assert beyond(lambda s: s.pg[0].__setitem__((1, 1), 6.9)) == pytest.approx(0.4)
    assert beyond(lambda s: s.pg[1].__setitem__((0, 2), 8.6)) == pytest.approx(0.1)
    assert beyond(lambda s: s.pg[1].__setitem__((0, 2), -0.6)) == pytest.approx(0.6)
    # Lines: only bus 5 is moved, so its line of the smallest room tells.
    for sign in (1.0, -1.0):
        over = max(BASE * 0.2 / x - rate for x, rate in ((0.11, 6.1), (0.31, 3.3), (0.23, 5.2)))

        def swing(changed, sign=sign):
            changed.theta[:] = 0.0
            changed.theta[0, 0] = sign * 0.2

        assert beyond(swing) == pytest.approx(over)


def test_a_ramp_beyond_its_limit_is_measured_in_mw():
    schedule = answered(BOUNDARY, ramps=True)
    schedule.pg[0][:] = [[1.0, 2.0, 0.5], [0.0, 1.0, 0.0]]
    assert check(schedule).excess_mw == pytest.approx(2.5 - RAMP)
    schedule.pg[0][:] = [[0.5, 2.0, 2.0], [0.0, 1.0, 1.0]]
    assert check(schedule).excess_mw == pytest.approx(2.5 - RAMP)
    schedule.pg[0][:] = 1.0
    schedule.pg[1][:] = [[0.0, 5.0, 0.0]]  # no limit of its own
    assert check(schedule).excess_mw <= 1e-8


def test_prices_that_are_not_dual_optimal_lose_what_they_are_worth_less(schedule):
    ramps = schedule.instance.transmission.gens[0].ramp_mw_per_h is not None
    load = NATIVE.copy()
    for row, power in zip(HOST_ROWS, BOUNDARY, strict=True):
        load[row] += power
    schedule.lam[:, 1] = 40.0
    follower = FollowerRestated(schedule.instance)
    groups = [list(range(HOURS))] if ramps else [[t] for t in range(HOURS)]
    worst = max(
        solved(load[:, group], ramps)[0] - follower.price_value(load[:, group], schedule.lam[:, group]).sum()
        for group in groups
    )
    assert worst > 1
    assert check(schedule).price_regret == pytest.approx(worst, **CLOSE)
    schedule.lam[0, 0] = VOLL + 1
    assert check(schedule).price_regret == math.inf
