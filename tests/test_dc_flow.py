"""Every row and cost of the follower's dispatch against its equation in MW and $, at a random point."""

import pyomo.environ as pyo
import pytest
from uneven import HOURS, draw_point, surplus, uneven

from model.schemes import build

BASE = 7.0
# The network of tests/uneven.py: native load in MW by bus; lines (from, to, reactance, rating in MW);
# blocks (bus, MW, $/MWh) by unit and number; the host of each ADN.
LOAD = {5: (3.1, 4.3, 3.7), 2: (1.9, 2.6, 2.3), 9: (2.2, 3.4, 0.0)}
LINES = ((5, 2, 0.11, 6.1), (9, 2, 0.17, 4.7), (9, 5, 0.23, 5.2), (2, 5, 0.31, 3.3))
BLOCKS = {(0, 0): (9, 4.5, 21.0), (0, 1): (9, 6.5, 33.0), (1, 0): (5, 8.5, 47.0)}
HOST = (9, 9, 5, 2, 5)
# Floating point only: numbers of size 1 to 1e4.
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.fixture(scope="module", params=[False, True], ids=["free", "ramps"])
def m(request):
    problem = build(uneven(ramps=request.param))
    draw_point(problem.m)
    return problem.m


def flow_mw(f, k, t):
    """The reference bus 2 stands at zero."""
    start, end, x, _ = LINES[k]
    theta = {i: 0.0 if i == 2 else f.theta[i, t].value for i in LOAD}
    return BASE * (theta[start] - theta[end]) / x


def test_variables_and_the_boxes_of_blocks(m):
    f = m.follower
    hours = range(HOURS)
    assert set(f.pg) == {(*block, t) for block in BLOCKS for t in hours}
    for (g, k, _), v in f.pg.items():
        assert v.bounds == pytest.approx((0.0, BLOCKS[g, k][1] / BASE))
    assert set(f.shed) == set(f.spill) == {(i, t) for i in LOAD for t in hours}
    assert all(v.lb == 0 for v in (*f.shed.values(), *f.spill.values()))
    assert set(f.theta) == {(i, t) for i in (5, 9) for t in hours}


def test_what_a_bus_receives_it_consumes(m):
    f = m.follower
    assert set(f.nodal_balance) == {(i, t) for i in LOAD for t in range(HOURS)}
    for i, t in f.nodal_balance:
        supply = BASE * (f.shed[i, t].value - f.spill[i, t].value)
        supply += sum(BASE * f.pg[g, k, t].value for (g, k), (bus, *_) in BLOCKS.items() if bus == i)
        supply -= sum(flow_mw(f, k, t) for k, line in enumerate(LINES) if line[0] == i)
        supply += sum(flow_mw(f, k, t) for k, line in enumerate(LINES) if line[1] == i)
        adns = sum(BASE * m.feeder[d].P_boundary[t].value for d, host in enumerate(HOST) if host == i)
        missing = supply - adns - LOAD[i][t]
        assert BASE * surplus(f.nodal_balance[i, t]) == pytest.approx(missing, **CLOSE)
        assert f.nodal_balance[i, t].equality


def test_flows_stay_within_ratings_both_ways(m):
    f = m.follower
    assert set(f.flow_limit) == {(k, t) for k in range(len(LINES)) for t in range(HOURS)}
    for (k, t), row in f.flow_limit.items():
        low, body, up = row.to_bounded_expression(evaluate_bounds=True)
        rate = LINES[k][3]
        assert (BASE * low, BASE * up) == pytest.approx((-rate, rate))
        assert BASE * pyo.value(body) == pytest.approx(flow_mw(f, k, t), **CLOSE)


def test_a_unit_with_a_ramp_changes_by_no_more_from_hour_to_hour():
    m = build(uneven(ramps=True)).m
    draw_point(m)
    f = m.follower
    assert set(f.ramp_limit) == {(0, 1), (0, 2)}
    for (g, t), row in f.ramp_limit.items():
        low, body, up = row.to_bounded_expression(evaluate_bounds=True)
        unit = [sum(BASE * f.pg[g, k, s].value for k in (0, 1)) for s in range(HOURS)]
        assert (BASE * low, BASE * up) == pytest.approx((-1.7, 1.7))
        assert BASE * pyo.value(body) == pytest.approx(unit[t] - unit[t - 1], **CLOSE)


def test_cost_is_that_of_blocks_shedding_and_spillage(m):
    f = m.follower
    for t in range(HOURS):
        cost = sum(BASE * f.pg[g, k, t].value * price for (g, k), (_, _, price) in BLOCKS.items())
        cost += 900.0 * BASE * sum(f.shed[i, t].value for i in LOAD)
        cost += 3.0 * BASE * sum(f.spill[i, t].value for i in LOAD)
        assert pyo.value(f.hour_cost[t]) == pytest.approx(cost, **CLOSE)
    assert set(f.hour_cost) == set(range(HOURS))
    assert pyo.value(f.cost.expr) == pytest.approx(sum(pyo.value(f.hour_cost[t]) for t in range(HOURS)))
    assert f.cost.sense == pyo.minimize
