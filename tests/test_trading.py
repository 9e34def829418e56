"""Every row, box and fee of peer-to-peer trade against its account in MW and $, at a random point."""

import numpy as np
import pyomo.environ as pyo
import pytest
from toys import relay
from uneven import (
    HOURS,
    bought_capacity_mw,
    box,
    draw_point,
    intake_mw,
    output_mw,
    sold_capacity_mw,
    surplus,
    uneven,
    values,
)

from generators import instance
from model.certificate import certify
from model.per_unit import feeder_data
from model.program import compile_model
from model.schemes import build
from model.schemes.dso_led import fees, wear
from model.solvers import solve
from model.solvers.linear import solve_linear
from model.solvers.relaxation import solve_relaxation
from model.trading import partners, peer_fees, wheeling_fees

CASE = uneven()
BASE = CASE.base_mva
FEEDERS = range(CASE.n_adns)
# The buses with load, and those with a device, read off tests/uneven.py.
LOAD_BUSES = ((7, 8, 3, 6), (1, 2), (1, 2), (1, 2), (1, 2))
SELLERS = ((8, 7), (), (), (), (1,))
# Floating point only: numbers of size 1 to 1000.
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.fixture(scope="module")
def m():
    problem = build(CASE)
    draw_point(problem.m)
    return problem.m


def mw(b):
    """The feeder's trade and devices in MW."""
    names = ("grid_import", "grid_export", "sell_in", "sell_out", "buy_in", "buy_out")
    return {name: values(getattr(b, name), BASE) for name in (*names, "pv_p", "charge", "discharge")}


def at(devices, bus):
    return [k for k, device in enumerate(devices) if device.bus == bus]


def over_hours(buses):
    return {(i, t) for i in buses for t in range(HOURS)}


@pytest.mark.parametrize("d", FEEDERS)
def test_every_load_bus_accounts_for_its_energy(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    flow = mw(b)
    assert set(b.peer_account) == over_hours(LOAD_BUSES[d])
    for i, t in b.peer_account:
        pv = sum(flow["pv_p"][k, t] for k in at(feeder.pv, i))
        charge = sum(flow["charge"][k, t] for k in at(feeder.bess, i))
        discharge = sum(flow["discharge"][k, t] for k in at(feeder.bess, i))
        sold = sum(flow[name].get((i, t), 0.0) for name in ("grid_export", "sell_in", "sell_out"))
        bought = sum(flow[name].get((i, t), 0.0) for name in ("grid_import", "buy_in", "buy_out"))
        load = next(bus.pd_mw[t] for bus in feeder.buses if bus.bus_i == i)
        missing = pv + discharge + bought - (load + charge + sold)
        assert BASE * surplus(b.peer_account[i, t]) == pytest.approx(missing, **CLOSE)
        assert b.peer_account[i, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_who_may_trade_has_the_variables_and_finite_boxes(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    for names, buses, most in (
        (("grid_import",), LOAD_BUSES[d], intake_mw),
        (("buy_in", "buy_out"), feeder.peers, intake_mw),
        (("grid_export", "sell_in", "sell_out"), SELLERS[d], output_mw),
    ):
        for name in names:
            assert set(getattr(b, name)) == over_hours(buses)
            for (i, _), limits in box(getattr(b, name)).items():
                assert limits == pytest.approx((0.0, most(feeder, i) / BASE)), name
    assert set(b.selling) == over_hours(SELLERS[d])
    assert all(v.is_binary() for v in b.selling.values())


@pytest.mark.parametrize("d", FEEDERS)
def test_a_peer_sells_no_more_than_its_own_output(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    flow = mw(b)
    assert set(b.own_output_limit) == over_hours(SELLERS[d])
    for i, t in b.own_output_limit:
        output = sum(flow["pv_p"][k, t] for k in at(feeder.pv, i))
        output += sum(flow["discharge"][k, t] for k in at(feeder.bess, i))
        excess = flow["sell_in"][i, t] + flow["sell_out"][i, t] - output
        assert BASE * surplus(b.own_output_limit[i, t]) == pytest.approx(excess, **CLOSE)
        assert not b.own_output_limit[i, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_a_peer_sells_or_buys_by_its_binary(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    flow = mw(b)
    assert set(b.selling_limit) == set(b.buying_limit) == over_hours(SELLERS[d])
    for i, t in b.selling_limit:
        side = b.selling[i, t].value
        sold = flow["sell_in"][i, t] + flow["sell_out"][i, t] - output_mw(feeder, i) * side
        bought = flow["buy_in"][i, t] + flow["buy_out"][i, t] - intake_mw(feeder, i) * (1 - side)
        assert BASE * surplus(b.selling_limit[i, t]) == pytest.approx(sold, **CLOSE)
        assert BASE * surplus(b.buying_limit[i, t]) == pytest.approx(bought, **CLOSE)
        assert not b.selling_limit[i, t].equality and not b.buying_limit[i, t].equality


@pytest.mark.parametrize("d", FEEDERS)
def test_what_peers_of_an_adn_sell_each_other_they_buy(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    flow = mw(b)
    assert set(b.local_market) == (set(range(HOURS)) if feeder.peers else set())
    for t in b.local_market:
        missing = sum(flow["sell_in"][i, t] for i in SELLERS[d]) - sum(
            flow["buy_in"][i, t] for i in feeder.peers
        )
        # Pyomo turns the row round where nobody sells.
        assert BASE * abs(surplus(b.local_market[t])) == pytest.approx(abs(missing), **CLOSE)
        assert b.local_market[t].equality


def test_trades_live_on_the_arcs_within_what_both_sides_can(m):
    pairs = {(arc.seller, arc.buyer) for arc in CASE.arcs}
    assert set(m.x) == {(d, e, t) for d, e in pairs for t in range(HOURS)}
    for (d, e, _), limits in box(m.x).items():
        most = min(sold_capacity_mw(d, CASE), bought_capacity_mw(e, CASE))
        assert limits == pytest.approx((0.0, most / BASE))
    assert set(m.exports_trade) == {(d, t) for d in FEEDERS for t in range(HOURS)}
    assert all(v.is_binary() for v in m.exports_trade.values())


def test_partners_are_read_off_the_arcs():
    assert partners(CASE) == ([[1, 2], [0], [0], [], []], [[2, 1], [0], [0], [], []])


def test_sales_and_purchases_across_are_the_trades(m):
    """ADN 3 has neither peers nor partners, so nothing to balance; 4 may sell, but to nobody."""
    x = values(m.x, BASE)
    assert {d for d, _ in m.sold_across} == {0, 1, 2, 4}
    assert {d for d, _ in m.bought_across} == {0, 1, 2, 4}
    assert len(m.sold_across) == len(m.bought_across) == 4 * HOURS
    for d, t in m.sold_across:
        flow = mw(m.feeder[d])
        sold = sum(flow["sell_out"][i, t] for i in SELLERS[d])
        sold -= sum(x[a.seller, a.buyer, t] for a in CASE.arcs if a.seller == d)
        bought = sum(flow["buy_out"][i, t] for i in CASE.feeders[d].peers)
        bought -= sum(x[a.seller, a.buyer, t] for a in CASE.arcs if a.buyer == d)
        assert BASE * surplus(m.sold_across[d, t]) == pytest.approx(sold, **CLOSE)
        assert BASE * surplus(m.bought_across[d, t]) == pytest.approx(bought, **CLOSE)
        assert m.sold_across[d, t].equality and m.bought_across[d, t].equality


def test_an_adn_sells_to_others_or_buys_from_them_by_its_binary(m):
    x = values(m.x, BASE)
    everywhere = {(d, t) for d in FEEDERS for t in range(HOURS)}
    assert set(m.trade_sale_limit) == set(m.trade_purchase_limit) == everywhere
    for d, t in everywhere:
        side = m.exports_trade[d, t].value
        sold = sum(x[a.seller, a.buyer, t] for a in CASE.arcs if a.seller == d)
        bought = sum(x[a.seller, a.buyer, t] for a in CASE.arcs if a.buyer == d)
        sold -= sold_capacity_mw(d, CASE) * side
        bought -= bought_capacity_mw(d, CASE) * (1 - side)
        assert BASE * surplus(m.trade_sale_limit[d, t]) == pytest.approx(sold, **CLOSE)
        assert BASE * surplus(m.trade_purchase_limit[d, t]) == pytest.approx(bought, **CLOSE)
        assert not m.trade_sale_limit[d, t].equality and not m.trade_purchase_limit[d, t].equality


def test_who_sells_across_has_it_left_over(m):
    """Both rows by power balance of the ADN: sun, discharge and grid in; load, charge and sales out."""
    able = {(d, t) for d in FEEDERS if SELLERS[d] for t in range(HOURS)}
    with_battery = {(d, t) for d, t in able if CASE.feeders[d].bess}
    assert set(m.surplus_limit) == able and set(m.surplus_limit_charging) == with_battery != set()
    for d, t in able:
        feeder, flow = CASE.feeders[d], mw(m.feeder[d])
        side = m.exports_trade[d, t].value
        sun = sum(pv.available_mw[t] for pv in feeder.pv)
        load = sum(bus.pd_mw[t] for bus in feeder.buses)
        most = sum(bess.p_max_mw for bess in feeder.bess)
        sold = sum(flow["sell_out"][i, t] for i in SELLERS[d])
        bought = sum(flow["grid_import"][i, t] for i in LOAD_BUSES[d])
        batteries = range(len(feeder.bess))
        discharge = sum(flow["discharge"][k, t] for k in batteries)
        charge = sum(flow["charge"][k, t] for k in batteries)
        excess = sold - (bought + discharge + side * (sun - load))
        assert BASE * surplus(m.surplus_limit[d, t]) == pytest.approx(excess, **CLOSE)
        assert not m.surplus_limit[d, t].equality
        if (d, t) in with_battery:
            excess += charge - (1 - side) * most
            assert BASE * surplus(m.surplus_limit_charging[d, t]) == pytest.approx(excess, **CLOSE)
            assert not m.surplus_limit_charging[d, t].equality


def without_surplus_limits(program):
    """The leaders' linear rows but those of the surplus left, and which rows those are."""
    own = [where for name, where in program.rows.items() if name.startswith("surplus_limit")]
    limits = np.concatenate([np.arange(where.start, where.stop) for where in own])
    return np.setdiff1d(np.flatnonzero(~program.complementarity_rows), limits), limits


@pytest.mark.parametrize("case", [CASE, relay(), instance(2, 3, hours=3)], ids=["uneven", "relay", "default"])
@pytest.mark.parametrize("side", [0.0, 1.0])
def test_what_is_left_over_follows_from_the_accounts_where_the_binary_is_whole(case, side):
    """The most by which accounts and trades could exceed either row, by a linear program, is nothing."""
    program = compile_model(build(case).m)
    others, limits = without_surplus_limits(program)
    fixed = program.with_fixed(dict.fromkeys(program.column("exports_trade").tolist(), side))
    A, low, up = program.A[others], program.row_lower[others], program.row_upper[others]
    for row in limits:
        found = solve_linear(-program.A[[row]].toarray().ravel(), A, low, up, fixed.lower, fixed.upper)
        assert found.status == "solved"
        assert -found.objective <= program.row_upper[row] + 1e-7


def test_most_of_what_a_relay_would_save_is_seen_by_the_relaxation():
    """One ADN stands between two that may not trade: sold through it, what one has left costs little."""
    problem = build(relay())
    program = compile_model(problem.m)
    relaxed, (others, _) = program.relaxed(), without_surplus_limits(program)
    tight, loose = (
        solve_relaxation(p).x @ p.c for p in (relaxed, relaxed.part(np.arange(len(relaxed.c)), others))
    )
    outcome = solve(problem, program, gap=1e-4)
    least = certify(problem, program, outcome, 1e-4).objective
    assert loose < tight <= least
    assert least - tight < 0.5 * (least - loose), (loose, tight, least)


@pytest.mark.parametrize("d", FEEDERS)
def test_peers_pay_the_network_for_what_the_grid_carries_and_less_for_local_trade(m, d):
    b, feeder = m.feeder[d], CASE.feeders[d]
    flow = mw(b)
    grid = sum(flow["grid_import"].values()) + sum(flow["grid_export"].values())
    expected = 6.1 * grid + 2.2 * sum(flow["sell_in"].values())
    charged = peer_fees(b, CASE, feeder_data(feeder, BASE), range(HOURS))
    assert pyo.value(charged) == pytest.approx(expected, **CLOSE)


def test_wheeling_is_paid_by_the_arc(m):
    x = values(m.x, BASE)
    fee = {(0, 1): 4.1, (2, 0): 5.3, (0, 2): 3.7, (1, 0): 2.9}
    expected = sum(fee[d, e] * power for (d, e, _), power in x.items())
    assert pyo.value(wheeling_fees(m, CASE, range(HOURS))) == pytest.approx(expected, **CLOSE)


def test_all_fees_and_the_wear_of_batteries_are_in_the_leaders_cost(m):
    x = values(m.x, BASE)
    expected = sum(
        arc.wheeling_per_mwh * x[arc.seller, arc.buyer, t] for arc in CASE.arcs for t in range(HOURS)
    )
    for b, feeder in zip(m.feeder.values(), CASE.feeders, strict=True):
        flow = mw(b)
        expected += 4.3 * BASE * sum(b.p_import[t].value + b.p_export[t].value for t in range(HOURS))
        expected += 6.1 * (sum(flow["grid_import"].values()) + sum(flow["grid_export"].values()))
        expected += 2.2 * sum(flow["sell_in"].values())
        expected += sum(
            bess.wear_per_mwh * (flow["charge"][k, t] + flow["discharge"][k, t])
            for k, bess in enumerate(feeder.bess)
            for t in range(HOURS)
        )
    data = [feeder_data(feeder, BASE) for feeder in CASE.feeders]
    cost = fees(m, CASE, data, range(HOURS)) + wear(m, data, range(HOURS))
    assert pyo.value(cost) == pytest.approx(expected, **CLOSE)
