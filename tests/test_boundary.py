"""Signs, boxes, accounts and payments at the seam between the grids, in MW and $, at a random point."""

from dataclasses import replace

import pyomo.environ as pyo
import pytest
from uneven import (
    HOURS,
    PARENT,
    bought_capacity_mw,
    box,
    branch,
    draw_point,
    root_capacity_mw,
    sold_capacity_mw,
    surplus,
    uneven,
    values,
)

from model.boundary import access_fees, add_imbalance, hosted, load_box, settlement_payment
from model.per_unit import feeder_data, transmission_data
from model.schemes import build

CASE = uneven()
BASE = CASE.base_mva
FEEDERS = range(CASE.n_adns)
HOST = (9, 9, 5, 2, 5)
# Floating point only: numbers of size 1 to 1000.
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.fixture(scope="module")
def problem():
    problem = build(CASE)
    draw_point(problem.m)
    return problem


@pytest.fixture(scope="module")
def m(problem):
    return problem.m


def boundary_limits_mw(d, t):
    """Load, devices and the largest losses, within what the root lets through."""
    feeder = CASE.feeders[d]
    load = sum(bus.pd_mw[t] for bus in feeder.buses)
    battery = sum(bess.p_max_mw for bess in feeder.bess)
    sun = sum(pv.available_mw[t] for pv in feeder.pv)
    ohm_ka2 = sum(
        branch(feeder, i, j).br_r_ohm * (branch(feeder, i, j).rate_a_mva / feeder.base_kv) ** 2
        for j, i in PARENT[d].items()
    )
    capacity = root_capacity_mw(d, CASE)
    return max(load - battery - sun, -capacity), min(load + battery + ohm_ka2, capacity)


@pytest.mark.parametrize("d", FEEDERS)
def test_boundary_power_and_its_accounts_have_boxes_that_follow_from_the_feeder(m, d):
    b = m.feeder[d]
    for variable in (b.P_boundary, b.p_import, b.p_export, b.importing):
        assert set(variable) == set(range(HOURS))
    for t in range(HOURS):
        low, high = boundary_limits_mw(d, t)
        assert b.P_boundary[t].bounds == pytest.approx((low / BASE, high / BASE))
    capacity = root_capacity_mw(d, CASE)
    for variable, most in ((b.p_import, sold_capacity_mw), (b.p_export, bought_capacity_mw)):
        for limits in box(variable).values():
            assert limits == pytest.approx((0.0, (capacity + most(d, CASE)) / BASE))
    assert all(v.is_binary() for v in b.importing.values())


def test_boundary_power_is_the_account_plus_what_is_bought_less_what_is_sold(m):
    x = values(m.x, BASE)
    assert set(m.boundary_account) == {(d, t) for d in FEEDERS for t in range(HOURS)}
    for d, t in m.boundary_account:
        b = m.feeder[d]
        account = BASE * (b.p_import[t].value - b.p_export[t].value)
        account += sum(x[a.seller, a.buyer, t] for a in CASE.arcs if a.buyer == d)
        account -= sum(x[a.seller, a.buyer, t] for a in CASE.arcs if a.seller == d)
        missing = BASE * b.P_boundary[t].value - account
        assert BASE * surplus(m.boundary_account[d, t]) == pytest.approx(missing, **CLOSE)
        assert m.boundary_account[d, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_an_account_imports_or_exports_by_its_binary(m, d):
    b = m.feeder[d]
    assert set(b.import_limit) == set(b.export_limit) == set(range(HOURS))
    most_in = root_capacity_mw(d, CASE) + sold_capacity_mw(d, CASE)
    most_out = root_capacity_mw(d, CASE) + bought_capacity_mw(d, CASE)
    for t in range(HOURS):
        side = b.importing[t].value
        imported = BASE * b.p_import[t].value - most_in * side
        exported = BASE * b.p_export[t].value - most_out * (1 - side)
        assert BASE * surplus(b.import_limit[t]) == pytest.approx(imported, **CLOSE)
        assert BASE * surplus(b.export_limit[t]) == pytest.approx(exported, **CLOSE)
        assert not b.import_limit[t].equality and not b.export_limit[t].equality


def test_every_adn_is_load_at_its_host(m):
    at = hosted(m, CASE)
    assert {i: [own.name for own in powers] for i, powers in at.items()} == {
        i: [f"feeder[{d}].P_boundary" for d in FEEDERS if HOST[d] == i] for i in (5, 2, 9)
    }


def test_the_load_of_a_bus_lies_between_what_its_adns_can_do():
    data = [feeder_data(feeder, BASE) for feeder in CASE.feeders]
    network = transmission_data(CASE.transmission, BASE)
    found = load_box(CASE, data, network, range(HOURS))
    for bus in CASE.transmission.buses:
        for t in range(HOURS):
            own = [boundary_limits_mw(d, t) for d in FEEDERS if HOST[d] == bus.bus_i]
            low = bus.pd_mw[t] + sum(least for least, _ in own)
            high = bus.pd_mw[t] + sum(most for _, most in own)
            assert found[bus.bus_i][t] == pytest.approx((low / BASE, high / BASE))


def test_energy_is_worth_the_price_at_its_host(problem):
    m, lam = problem.m, problem.multipliers.lam
    assert set(m.boundary_value) == set(range(HOURS))
    for t in range(HOURS):
        worth = sum(lam[HOST[d], t].value / BASE * BASE * m.feeder[d].P_boundary[t].value for d in FEEDERS)
        assert pyo.value(m.boundary_value[t]) == pytest.approx(worth, **CLOSE)


@pytest.mark.parametrize("d", FEEDERS)
def test_access_is_charged_on_both_accounts(m, d):
    b = m.feeder[d]
    energy = BASE * sum(b.p_import[t].value + b.p_export[t].value for t in range(HOURS))
    assert pyo.value(access_fees(b, CASE, range(HOURS))) == pytest.approx(4.3 * energy, **CLOSE)


def test_a_tariff_is_paid_on_boundary_power():
    case = uneven("tariff")
    m = build(case).m
    draw_point(m)
    paid = sum(
        price * BASE * m.feeder[d].P_boundary[t].value
        for d in FEEDERS
        for t, price in enumerate((31.0, 37.0, 43.0))
    )
    assert pyo.value(settlement_payment(m, case, range(HOURS))) == pytest.approx(paid, **CLOSE)


def test_at_the_followers_prices_the_payment_is_its_cost_less_the_native_value(m):
    f = m.follower
    expected = sum(pyo.value(f.hour_cost[t]) - pyo.value(f.native_value[t]) for t in range(HOURS))
    assert pyo.value(settlement_payment(m, CASE, range(HOURS))) == pytest.approx(expected, **CLOSE)


def test_an_exchange_schedule_is_kept_or_left_by_an_imbalance_within_what_the_root_can_take():
    """Boundary power is the schedule, more (up) or less (down); no room where the root's limits cross."""
    m = build(CASE).m
    data = [feeder_data(feeder, BASE) for feeder in CASE.feeders]
    crossed = ((0.3, 0.2), *data[1].boundary_box[1:])
    add_imbalance(m, CASE, [data[0], replace(data[1], boundary_box=crossed), *data[2:]], range(HOURS))
    for d in FEEDERS:
        for t in range(HOURS):
            least, most = boundary_limits_mw(d, t)
            room = 0.0 if (d, t) == (1, 0) else most - least
            for imbalance in (m.imbalance_up[d, t], m.imbalance_down[d, t]):
                assert imbalance.lb == 0.0 and BASE * imbalance.ub == pytest.approx(room, **CLOSE)
            assert pyo.value(m.exchange[d, t]) == 0.0
    assert len(m.exchange_schedule) == CASE.n_adns * HOURS
    draw_point(m)
    for d in FEEDERS:
        for t in range(HOURS):
            up, down = m.imbalance_up[d, t].value, m.imbalance_down[d, t].value
            m.exchange[d, t] = 0.25 + d
            row = m.exchange_schedule[d, t]
            taken = m.feeder[d].P_boundary[t].value - up + down
            assert row.equality and up != 0.0 and down != 0.0
            assert surplus(row) == pytest.approx(taken - 0.25 - d, **CLOSE)
