"""Every row, box and cost of inverters and batteries against its equation in MW, at a random point."""

import pyomo.environ as pyo
import pytest
from toys import toy
from uneven import HOURS, box, draw_point, surplus, uneven, values

from model.per_unit import feeder_data
from model.resources import wear_cost
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


def over_hours(devices):
    return {(k, t) for k in range(len(devices)) for t in range(HOURS)}


@pytest.mark.parametrize("d", FEEDERS)
def test_an_inverter_gives_no_more_than_the_sun_and_its_rating(m, d):
    b, pv = m.feeder[d], CASE.feeders[d].pv
    p, q = values(b.pv_p, BASE), values(b.pv_q, BASE)
    assert set(p) == set(q) == set(b.inverter_cone) == over_hours(pv)
    for k, t in b.inverter_cone:
        assert b.pv_p[k, t].bounds == pytest.approx((0.0, pv[k].available_mw[t] / BASE))
        assert b.pv_q[k, t].bounds == pytest.approx((-pv[k].s_mva / BASE, pv[k].s_mva / BASE))
        excess = p[k, t] ** 2 + q[k, t] ** 2 - pv[k].s_mva ** 2
        assert BASE**2 * surplus(b.inverter_cone[k, t]) == pytest.approx(excess, **CLOSE)
        assert not b.inverter_cone[k, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_a_battery_has_its_ratings_as_boxes(m, d):
    b, bess = m.feeder[d], CASE.feeders[d].bess
    for variable, name in ((b.charge, "p_max_mw"), (b.discharge, "p_max_mw"), (b.energy, "energy_mwh")):
        assert set(variable) == over_hours(bess)
        for (k, _), limits in box(variable).items():
            assert limits == pytest.approx((0.0, getattr(bess[k], name) / BASE))
    assert set(b.charging) == over_hours(bess)
    assert all(v.is_binary() for v in b.charging.values())


@pytest.mark.parametrize("d", FEEDERS)
def test_energy_changes_by_what_arrives_and_what_leaves_the_cell_and_returns_at_the_end(m, d):
    b, bess = m.feeder[d], CASE.feeders[d].bess
    charge, discharge, energy = (values(v, BASE) for v in (b.charge, b.discharge, b.energy))
    assert set(b.energy_dynamics) == over_hours(bess)
    for k, t in b.energy_dynamics:
        before = energy[k, HOURS - 1] if t == 0 else energy[k, t - 1]
        stored = bess[k].efficiency_charge * charge[k, t] - discharge[k, t] / bess[k].efficiency_discharge
        missing = energy[k, t] - (before + stored)
        assert BASE * surplus(b.energy_dynamics[k, t]) == pytest.approx(missing, **CLOSE)
        assert b.energy_dynamics[k, t].equality


def test_in_a_single_hour_what_arrives_in_the_cell_leaves_it():
    m = build(toy(1, 1)).m
    draw_point(m)
    b = m.feeder[0]
    missing = b.discharge[0, 0].value / 0.95 - 0.95 * b.charge[0, 0].value
    assert surplus(b.energy_dynamics[0, 0]) == pytest.approx(missing, **CLOSE)
    assert b.energy_dynamics[0, 0].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_a_battery_charges_or_discharges_by_its_binary(m, d):
    b, bess = m.feeder[d], CASE.feeders[d].bess
    assert set(b.charge_limit) == set(b.discharge_limit) == over_hours(bess)
    for k, t in b.charge_limit:
        side = b.charging[k, t].value
        charged = BASE * b.charge[k, t].value - bess[k].p_max_mw * side
        discharged = BASE * b.discharge[k, t].value - bess[k].p_max_mw * (1 - side)
        assert BASE * surplus(b.charge_limit[k, t]) == pytest.approx(charged, **CLOSE)
        assert BASE * surplus(b.discharge_limit[k, t]) == pytest.approx(discharged, **CLOSE)
        assert not b.charge_limit[k, t].equality and not b.discharge_limit[k, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_wear_is_paid_on_every_mwh_in_and_out(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    expected = sum(
        bess.wear_per_mwh * BASE * (b.charge[k, t].value + b.discharge[k, t].value)
        for k, bess in enumerate(feeder.bess)
        for t in range(HOURS)
    )
    charged = wear_cost(b, feeder_data(feeder, BASE), range(HOURS))
    assert pyo.value(charged) == pytest.approx(expected, **CLOSE)
