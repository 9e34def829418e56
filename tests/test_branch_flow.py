"""Every DistFlow row and box against Baran and Wu's equations in MW, ohm and kV, at a random point."""

import pyomo.environ as pyo
import pytest
from uneven import HOURS, PARENT, box, branch, draw_point, surplus, uneven, values

from model.branch_flow import losses
from model.per_unit import feeder_data
from model.schemes import build

CASE = uneven()
BASE = CASE.base_mva
FEEDERS = range(CASE.n_adns)
# Floating point only: numbers of size 1 to 100.
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.fixture(scope="module")
def m():
    problem = build(CASE)
    draw_point(problem.m)
    return problem.m


def keys(d):
    return {(j, t) for j in PARENT[d] for t in range(HOURS)}


def load(d, j, name):
    return next(getattr(bus, name) for bus in CASE.feeders[d].buses if bus.bus_i == j)


def state(m, d):
    """Flows in MW and Mvar, squared currents in kA^2 and squared voltages in kV^2, the root's included."""
    b, feeder = m.feeder[d], CASE.feeders[d]
    amperes = (BASE / feeder.base_kv) ** 2
    v = values(b.v, feeder.base_kv**2)
    v |= {(feeder.root_bus, t): (feeder.v_root * feeder.base_kv) ** 2 for t in range(HOURS)}
    return values(b.P, BASE), values(b.Q, BASE), values(b.l, amperes), v


def onward(d, j, flow, t):
    return sum(flow[k, t] for k, i in PARENT[d].items() if i == j)


@pytest.mark.parametrize("d", FEEDERS)
def test_active_power_that_reaches_a_bus_is_used_there_or_passed_on(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    P, _, current, _ = state(m, d)
    assert set(b.active_balance) == keys(d)
    for j, t in keys(d):
        r = branch(feeder, PARENT[d][j], j).br_r_ohm
        used = load(d, j, "pd_mw")[t]
        used += sum(
            BASE * (b.charge[k, t].value - b.discharge[k, t].value)
            for k, bess in enumerate(feeder.bess)
            if bess.bus == j
        )
        used -= sum(BASE * b.pv_p[k, t].value for k, pv in enumerate(feeder.pv) if pv.bus == j)
        missing = P[j, t] - r * current[j, t] - onward(d, j, P, t) - used
        assert BASE * surplus(b.active_balance[j, t]) == pytest.approx(missing, **CLOSE)
        assert b.active_balance[j, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_boundary_power_is_what_leaves_the_root(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    P, *_ = state(m, d)
    assert set(b.root_balance) == set(range(HOURS))
    for t in range(HOURS):
        missing = BASE * b.P_boundary[t].value - onward(d, feeder.root_bus, P, t)
        assert BASE * surplus(b.root_balance[t]) == pytest.approx(missing, **CLOSE)
        assert b.root_balance[t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_reactive_power_that_reaches_a_bus_is_used_there_or_passed_on(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    _, Q, current, _ = state(m, d)
    assert set(b.reactive_balance) == keys(d)
    for j, t in keys(d):
        x = branch(feeder, PARENT[d][j], j).br_x_ohm
        used = load(d, j, "qd_mvar")[t]
        used -= sum(BASE * b.pv_q[k, t].value for k, pv in enumerate(feeder.pv) if pv.bus == j)
        missing = Q[j, t] - x * current[j, t] - onward(d, j, Q, t) - used
        assert BASE * surplus(b.reactive_balance[j, t]) == pytest.approx(missing, **CLOSE)
        assert b.reactive_balance[j, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_voltage_falls_along_a_branch_as_its_impedance_says(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    P, Q, current, v = state(m, d)
    assert set(b.voltage_drop) == keys(d)
    for j, t in keys(d):
        own = branch(feeder, PARENT[d][j], j)
        r, x = own.br_r_ohm, own.br_x_ohm
        expected = v[PARENT[d][j], t] - 2 * (r * P[j, t] + x * Q[j, t]) + (r**2 + x**2) * current[j, t]
        unit = feeder.base_kv**2
        assert unit * surplus(b.voltage_drop[j, t]) == pytest.approx(v[j, t] - expected, **CLOSE)
        assert b.voltage_drop[j, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_apparent_power_is_at_most_voltage_times_current(m, d):
    b = m.feeder[d]
    P, Q, current, v = state(m, d)
    assert set(b.current_cone) == keys(d)
    for j, t in keys(d):
        excess = P[j, t] ** 2 + Q[j, t] ** 2 - v[PARENT[d][j], t] * current[j, t]
        assert BASE**2 * surplus(b.current_cone[j, t]) == pytest.approx(excess, **CLOSE)
        assert not b.current_cone[j, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_losses_are_resistance_times_squared_current_over_branches_and_hours(m, d):
    feeder = CASE.feeders[d]
    *_, current, _ = state(m, d)
    lost = sum(branch(feeder, PARENT[d][j], j).br_r_ohm * current[j, t] for j, t in keys(d))
    said = pyo.value(losses(m.feeder[d], feeder_data(feeder, BASE), range(HOURS)))
    assert BASE * said == pytest.approx(lost, **CLOSE)


@pytest.mark.parametrize("d", FEEDERS)
def test_boxes_are_the_limits_of_voltage_current_and_the_flow_that_follows_from_them(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    for (j, t), limits in box(b.v).items():
        assert limits == pytest.approx((feeder.vmin**2, feeder.vmax**2)), (j, t)
    for (j, _), limits in box(b.l).items():
        rate = branch(feeder, PARENT[d][j], j).rate_a_mva / BASE
        assert limits == pytest.approx((0.0, rate**2))
    for flow in (b.P, b.Q):
        assert set(flow) == keys(d)
        for (j, _), limits in box(flow).items():
            most = feeder.vmax * branch(feeder, PARENT[d][j], j).rate_a_mva / BASE
            assert limits == pytest.approx((-most, most))
    assert set(b.l) == set(b.v) == keys(d)


def test_boxes_that_cones_imply_are_redundant(m):
    for b in m.feeder.values():
        boxes = {component.name.split(".")[-1]: side for component, side in b.redundant_box.items()}
        assert boxes["P"] == boxes["Q"] == "both"
        assert boxes["l"] == "lower"
        assert "v" not in boxes
    assert isinstance(m.feeder[0].redundant_box, pyo.Suffix)
