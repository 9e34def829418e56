"""Measures and accounts against plain sums at a drawn point, and what must not close."""

from dataclasses import replace

import numpy as np
import pytest
from toys import toy
from uneven import HOURS, draw_point, uneven

from model.accounts import CONSUMERS, NETWORKS, PRODUCERS, TSO, accounts, adn
from model.measures import MEASURES, OF_ALL, by_adn, measures
from model.metrics import extract
from model.program import compile_model
from model.schemes import build, run

CASE = uneven()
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.fixture(scope="module", params=["lmp", "tariff"])
def drawn(request):
    """A schedule in which nothing balances and no two numbers are alike."""
    problem = build(uneven(request.param))
    program = compile_model(problem.m)
    draw_point(problem.m)
    return extract(problem, program, np.array([v.value for v in program.variables]))


@pytest.fixture(scope="module")
def solved():
    return run(toy(2, 4), "centralised").schedule


def test_measures_are_plain_sums_over_hours_and_devices(drawn):
    found = measures(drawn)
    assert list(found) == [*MEASURES, *OF_ALL]
    throughput = stored = size = sun = shifted = worth = imported = exported = curtailed = 0.0
    peak = [0.0] * HOURS
    for d, (feeder, f) in enumerate(zip(CASE.feeders, drawn.feeders, strict=True)):
        size += sum(bess.energy_mwh for bess in feeder.bess)
        for t in range(HOURS):
            for k, bess in enumerate(feeder.bess):
                throughput += f.charge[k, t] + f.discharge[k, t]
                stored += bess.efficiency_charge * f.charge[k, t]
                stored += f.discharge[k, t] / bess.efficiency_discharge
                worth += drawn.boundary_price[d, t] * (f.discharge[k, t] - f.charge[k, t])
            shine = sum(f.pv[k, t] for k in range(len(feeder.pv)))
            sun += shine
            curtailed += sum(pv.available_mw[t] for pv in feeder.pv) - shine
            shifted += min(shine, sum(f.charge[k, t] for k in range(len(feeder.bess))))
            imported += max(f.P_boundary[t], 0.0)
            exported += max(-f.P_boundary[t], 0.0)
            peak[t] += f.P_boundary[t]
    expected = {
        "battery_cycles": stored / 2 / size,
        "battery_mwh": throughput,
        "pv_shifted_share": shifted / sun,
        "arbitrage_per_mwh": worth / throughput,
        "self_consumption": (sun - exported) / sun,
        "self_sufficiency": (sun - exported) / (sun - exported + imported),
        "import_mwh": imported,
        "export_mwh": exported,
        "import_peak_mw": max(peak),
        "p2p_within_mwh": sum(f.sell_in.sum() for f in drawn.feeders),
        "p2p_across_mwh": drawn.trades.sum(),
        "curtailed_mwh": curtailed,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, **CLOSE), name


def test_measures_of_single_adns_add_up(drawn):
    whole, parts = measures(drawn), by_adn(drawn)
    for name in (
        "battery_mwh import_mwh export_mwh p2p_within_mwh p2p_across_mwh losses_mwh curtailed_mwh dso_cost"
    ).split():
        assert parts[name].sum() == pytest.approx(whole[name], **CLOSE), name
    assert parts["v_min_pu"].min() == whole["v_min_pu"]
    assert parts["v_max_pu"].max() == whole["v_max_pu"]
    assert list(parts.index) == list(range(CASE.n_adns))


def test_what_a_party_pays_is_its_quantity_times_its_price(drawn):
    ledger = accounts(drawn)
    wheeling = {(0, 1): 4.1, (2, 0): 5.3, (0, 2): 3.7, (1, 0): 2.9}
    arcs = [(arc.seller, arc.buyer) for arc in CASE.arcs]
    for d, f in enumerate(drawn.feeders):
        own = {t.purpose: t.amount for t in ledger.transfers if t.payer == adn(d)}
        assert own["energy"] == pytest.approx(float(drawn.boundary_price[d] @ f.P_boundary), **CLOSE)
        assert own["access"] == pytest.approx(4.3 * float((f.p_import + f.p_export).sum()), **CLOSE)
        assert own["network"] == pytest.approx(
            6.1 * float(f.grid_import.sum() + f.grid_export.sum()), **CLOSE
        )
        assert own["local"] == pytest.approx(2.2 * float(f.sell_in.sum()), **CLOSE)
        half = sum(0.5 * wheeling[arc] * drawn.trades[k].sum() for k, arc in enumerate(arcs) if d in arc)
        assert own["wheeling"] == pytest.approx(half, **CLOSE)
        assert own["imbalance"] == 0
    collected = sum(drawn.payments()[name] for name in ("access", "network", "local", "wheeling"))
    assert ledger.position(NETWORKS) == pytest.approx(collected, **CLOSE)


def test_accounts_of_a_schedule_that_does_not_balance_do_not_close(drawn):
    assert accounts(drawn).closes_to > 1e-3


def test_accounts_close_and_notice_a_megawatt_that_nobody_generates(solved):
    ledger = accounts(solved)
    assert ledger.closes_to <= 1e-6
    assert ledger.turnover > 100
    pg = [dispatch.copy() for dispatch in solved.pg]
    pg[0][0, 1] -= 1.0
    assert accounts(replace(solved, pg=pg)).closes_to > 1e-3


def test_imbalance_is_paid_to_the_tso(solved):
    exchange = np.array([f.P_boundary for f in solved.feeders])
    exchange[1, 2] += 0.25
    exchange[0, 3] -= 0.5
    ledger = accounts(solved, exchange, 100.0)
    assert ledger.paid_for("imbalance") == pytest.approx(75.0)
    assert ledger.position(TSO) == pytest.approx(accounts(solved).position(TSO) + 75.0)
    assert ledger.closes_to <= 1e-6
    assert measures(solved, exchange, 100.0)["imbalance_payment"] == pytest.approx(75.0)


def test_a_congested_line_leaves_its_rent_to_the_tso():
    """One line between 20 $/MWh and 45 $/MWh at its limit of 1 MW: 25 $ an hour."""
    schedule = run(toy(1, 2, rate_mw=1.0), "uncoordinated").schedule
    spread = schedule.lam[1] - schedule.lam[0]
    assert spread.max() > 20
    ledger = accounts(schedule)
    assert ledger.rent == pytest.approx(float(spread.sum()) * 1.0, rel=1e-6)
    assert ledger.position(TSO) == pytest.approx(ledger.rent, rel=1e-6)


def test_shed_load_is_lost_by_consumers_and_paid_for():
    """7 MW of 9 are shed behind a thin line without a unit: the price is the value of lost load."""
    case = toy(1, 1, rate_mw=2.0, load_mw=9.0)
    net = case.transmission.model_copy(update={"gens": case.transmission.gens[:1]})
    schedule = run(case.model_copy(update={"transmission": net}), "uncoordinated").schedule
    ledger = accounts(schedule)
    shed = float(schedule.shed.sum())
    assert shed > 1
    assert ledger.borne[CONSUMERS] == pytest.approx(1000 * shed)
    assert ledger.paid_for("shed load") == pytest.approx(1000 * shed)
    assert ledger.position(PRODUCERS) >= -1e-6
    assert ledger.closes_to <= 1e-6


def test_a_share_of_nothing_is_not_a_number():
    found = measures(run(toy(1, 1, sun=0, battery=0), "uncoordinated").schedule)
    for name in ("battery_cycles", "pv_shifted_share", "arbitrage_per_mwh", "self_consumption"):
        assert np.isnan(found[name]), name
    assert found["self_sufficiency"] == pytest.approx(0.0)
