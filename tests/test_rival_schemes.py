"""Six schemes on one instance: their certificates, what each promises, and what orders them."""

import time
from dataclasses import replace

import brute_force
import numpy as np
import pytest
from toys import feeder, ramping, relay, toy

from generators import instance
from model.accounts import accounts, imbalance_mwh
from model.certificate import Check
from model.data import InputError
from model.decision_check import certify_decision
from model.follower_check import FollowerRestated
from model.measures import measures
from model.program import cone_starts, tail_norms
from model.schemes import (
    SCHEMES,
    checked,
    coordination,
    decide,
    price_taking,
    run,
    share,
    tso_led,
    uncoordinated,
)
from model.solvers.follower import SOUND
from model.stamping import compile_problem, stamped_costs


def without_fees():
    case = toy(2, 2)
    free = case.fees.model_copy(update=dict.fromkeys(type(case.fees).model_fields, 0.0))
    return case.model_copy(update={"fees": free})


def bare():
    """Beside an ADN like others one without load, peers and devices, and nobody to trade with."""
    case = toy(2, 2)
    buses = [
        bus.model_copy(update={"pd_mw": (0.0, 0.0), "qd_mvar": (0.0, 0.0)}) for bus in case.feeders[1].buses
    ]
    nothing = {"buses": tuple(buses), "peers": (), "pv": (), "bess": ()}
    empty = case.feeders[1].model_copy(update=nothing)
    return case.model_copy(update={"feeders": (case.feeders[0], empty), "arcs": ()})


CASES = {
    "no fees": without_fees(),
    "bare": bare(),
    "two": toy(2, 4),
    "tariff": toy(2, 4, settlement="tariff"),
    "tight": toy(3, 4, rate_mw=3.0, load_mw=9.0),
    "no battery": toy(2, 2, battery=0),
    "no sun": toy(2, 2, sun=0),
    "one hour": toy(1, 1),
    "ramping": ramping(),
}
GAP = 1e-3
# Of a social cost of hundreds of $: what holding a cost to a millionth leaves, and interior points.
CLOSE = 1e-5


@pytest.fixture(scope="module")
def results():
    found = {}
    for name, case in CASES.items():
        shared = share(case)
        found[name] = shared, {scheme: run(case, scheme, GAP, shared=shared) for scheme in SCHEMES}
    return found


def one_price(n_adns: int = 1, hours: int = 2, fee: float = 0.0):
    """A toy with one unit at 30 $/MWh and no line that binds: prices are what they are, whatever is done."""
    case = toy(n_adns, hours, rate_mw=1e3)
    gen = case.transmission.gens[0]
    block = gen.blocks[0].model_copy(update={"p_max_mw": 1e3, "cost_per_mwh": 30.0})
    net = case.transmission.model_copy(update={"gens": (gen.model_copy(update={"blocks": (block,)}),)})
    fees = case.fees.model_copy(update=dict.fromkeys(type(case.fees).model_fields, fee))
    return case.model_copy(update={"transmission": net, "fees": fees})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_ends_certified(results, name, scheme):
    found = results[name][1][scheme]
    assert found.certificate.status == "certified", found.certificate.message
    assert found.certificate.relaxation == "exact"
    assert found.certificate.gap <= GAP


@pytest.mark.parametrize("name", CASES)
def test_the_bound_of_centralised_is_below_the_social_cost_of_all(results, name):
    own = results[name][1]
    bound = own["centralised"].certificate.bound
    assert own["centralised"].certificate.bound_by == "safe"
    for scheme, found in own.items():
        assert bound <= found.schedule.social_cost(), scheme
    assert own["centralised"].schedule.social_cost() == pytest.approx(bound, rel=CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_nobody_generates_cheaper_than_tso_led(results, name):
    own = results[name][1]
    scheduled = own["tso-led"].decision.figures["scheduled_generation_cost"]
    costs = {scheme: float(found.schedule.generation_cost().sum()) for scheme, found in own.items()}
    assert scheduled == pytest.approx(costs["tso-led"], rel=CLOSE)
    assert min(costs.values()) >= scheduled * (1 - CLOSE)


def test_at_one_price_schemes_come_to_the_enumerated_optimum():
    """With fees and rents out of the way the leaders' optimum plus native demand is the social optimum."""
    case = one_price()
    expected = brute_force.solve(case).cost
    native = 30.0 * sum(sum(bus.pd_mw) for bus in case.transmission.buses)
    shared = share(case)
    for scheme in ("dso-led", "centralised", "price-taking", "nash"):
        found = run(case, scheme, GAP, shared=shared)
        assert found.schedule.social_cost() == pytest.approx(native + expected, rel=CLOSE), scheme


def test_centralised_counts_no_fees():
    cheap, dear = (run(one_price(2, 2, fee), "centralised").certificate for fee in (0.0, 9.0))
    assert dear.objective == pytest.approx(cheap.objective, rel=CLOSE)
    assert dear.bound == pytest.approx(cheap.bound, rel=1e-7)


@pytest.mark.parametrize("name", ["two", "tight", "tariff"])
def test_the_dsos_answer_meets_the_conic_kkt_conditions(results, name):
    """Primal and dual feasibility, stationarity and complementarity of the DSOs' program at the schedule."""
    c, own = results[name]
    exchange = own["tso-led"].decision.exchange / c.instance.base_mva
    found = tso_led.follow(c, exchange, time.monotonic() + 60)
    p, x, y, z = found.program, found.x, found.row_duals, found.cone_duals
    assert p.violation(x) <= 1e-6
    assert p.box_misses(x).max() <= 1e-6
    starts = cone_starts(p.cone_dims)
    scale = np.abs(p.c).max()
    assert (z[starts] - tail_norms(z, starts)).min() >= -1e-6 * scale  # the dual cones
    reduced = p.c - p.A.T @ y - p.cone_A.T @ z
    room = np.where(reduced > 0, x - p.lower, p.upper - x)  # a box has a multiplier only where it binds
    assert np.abs(reduced * room).max() <= 1e-5 * scale
    value = p.A @ x
    slack = np.where(y > 0, value - p.row_lower, np.where(y < 0, p.row_upper - value, 0.0))
    assert np.abs(y * slack).max() <= 1e-5 * scale
    assert np.abs(z @ (p.cone_b + p.cone_A @ x)) <= 1e-5 * scale
    # and the schedule's point in the sequence costs the DSOs no more than this optimum
    held = own["tso-led"].decision
    before = (c.fees + c.wear) @ held.outcome.x
    assert before == pytest.approx(found.value, rel=1e-3)


def test_what_the_tso_may_choose_the_dsos_can_follow(results):
    """Any schedule of the face has an answer: the leader needs no optimality conditions of its followers."""
    c, own = results["tight"]
    first = own["tso-led"].decision.figures["scheduled_generation_cost"]
    assert len(own["tso-led"].decision.alternatives) == 6
    for schedule in own["tso-led"].alternatives():
        assert float(schedule.generation_cost().sum()) == pytest.approx(first, rel=CLOSE)


def test_the_two_ends_of_the_face_lie_on_either_side(results):
    c, own = results["two"]
    charge = np.concatenate([c.columns("charge"), c.columns("discharge")])
    least_use, most_use = (x[charge].sum() for x in own["tso-led"].decision.alternatives[:2])
    taken = own["tso-led"].decision.outcome.x[charge].sum()
    assert least_use <= taken + 1e-5
    assert taken <= most_use + 1e-5


def test_restoring_binaries_has_a_price_where_a_relay_is_forbidden():
    """ADN 1 may not pass on what it buys: relaxed it does, and the schedule was made for that."""
    case = relay()
    found = run(case, "tso-led")
    c = share(case)
    figures = found.decision.figures
    assert figures["restoring_costs_dsos"] > 1.0
    paid = found.schedule.payments()
    left = imbalance_mwh(found.schedule, found.decision.exchange).sum()
    own = sum(paid.values()) - paid["energy"] + tso_led.IMBALANCE_PER_MWH * left
    relaxed = tso_led.follow(c, found.decision.exchange / case.base_mva, time.monotonic() + 60)
    assert own == pytest.approx(relaxed.value + figures["restoring_costs_dsos"], rel=1e-3)
    assert found.certificate.status == "certified"
    assert found.certificate.bound_by == "solver"


def test_a_schedule_is_left_within_the_band_only(results):
    for _, own in results.values():
        found = own["tso-led"]
        for feeder_data, f, kept in zip(
            found.schedule.instance.feeders, found.schedule.feeders, found.decision.exchange, strict=True
        ):
            peak = np.sum([bus.pd_mw for bus in feeder_data.buses], axis=0).max()
            assert np.abs(f.P_boundary - kept).max() <= tso_led.BAND * peak + 1e-5


def test_a_point_below_its_bound_gives_way_to_the_schedule(results, monkeypatch):
    """One that misses its rows by little, but by more than a millionth of the cost is worth."""
    c, own = results["two"]
    whole = coordination.Coordination.whole
    asked = []

    def cheap(self, relaxed, cost, start, gap, ended):
        found = whole(self, relaxed, cost, start, gap, ended)
        asked.append(gap)
        if len(asked) > 1:
            return found
        x = found.x.copy()
        for paid in ("p_import", "grid_import"):
            x[self.columns(paid)] -= 0.4 * SOUND
        assert relaxed.violation(x) <= SOUND
        return replace(found, x=x, value=float(cost @ x))

    monkeypatch.setattr(coordination.Coordination, "whole", cheap)
    monkeypatch.setattr(tso_led, "keep_books", lambda *given: None)
    found = run(CASES["two"], "tso-led", GAP, shared=c)
    assert asked == [GAP, np.inf]
    assert found.certificate.status == "certified", found.certificate.message
    assert found.decision.figures["imbalance_mwh"] <= 1e-5
    assert found.certificate.objective >= found.certificate.bound
    assert found.certificate.objective == pytest.approx(own["tso-led"].certificate.objective, rel=CLOSE)


def test_prices_are_announced_on_forecast_net_load(results):
    c, own = results["tight"]
    case = c.instance
    announced = price_taking.announced_prices(c)
    follower = FollowerRestated(case)
    load = follower.native.copy()
    for feeder_data in case.feeders:
        demand = np.sum([bus.pd_mw for bus in feeder_data.buses], axis=0)
        load[follower.row[feeder_data.host_bus]] += demand - np.array(feeder_data.pv[0].available_mw)
    for t in range(case.hours):
        more = load[:, [t]].copy()
        for d, feeder_data in enumerate(case.feeders):
            row = follower.row[feeder_data.host_bus]
            more = load[:, [t]].copy()
            more[row] += 1e-4
            less = load[:, [t]].copy()
            less[row] -= 1e-4
            at = follower.optimal_cost(load[:, [t]])
            right = (follower.optimal_cost(more) - at) / 1e-4
            left = (at - follower.optimal_cost(less)) / 1e-4
            assert left - 1e-3 <= announced[d, t] <= right + 1e-3
    figures = own["price-taking"].decision.figures
    power = np.array([f.P_boundary for f in own["price-taking"].schedule.feeders])
    assert figures["announced_payment"] == pytest.approx(float((announced * power).sum()))


def test_batteries_by_rule_take_their_own_buss_surplus():
    """At bus 2 the sun leaves 2 and 0.6 MW in hours 1 and 2 and nothing of 0.3 and 0.45 MW in hours 0 and 3.

    Full after hour 2, it gives 0.4 MW, all it can, in hour 3 and 0.3 MW in hour 0 of the next day.
    """
    case = toy(1, 4, battery=0.4)  # 0.4 MW, 0.8 MWh, 0.95 each way
    charge, discharge, energy = uncoordinated.by_rule(case)
    left = 0.8 - (0.4 + 0.3) / 0.95
    assert charge[0].tolist() == pytest.approx([0.0, 0.4, (0.8 - left) / 0.95 - 0.4, 0.0])
    assert discharge[0].tolist() == pytest.approx([0.3, 0.0, 0.0, 0.4])
    assert energy[0].tolist() == pytest.approx([left, left + 0.38, 0.8, 0.8 - 0.4 / 0.95])


def test_the_day_of_a_battery_by_rule_repeats():
    bess = feeder(1, 4).bess[0]
    for case in (toy(2, 24), toy(1, 5), toy(1, 3, sun=9.0)):
        charge, discharge, energy = uncoordinated.by_rule(case)
        before = np.roll(energy, 1, axis=1)
        into, out = bess.efficiency_charge, bess.efficiency_discharge
        assert energy == pytest.approx(before + into * charge - discharge / out)
        assert (np.minimum(charge, discharge) == 0).all()
        assert energy.min() >= 0
        assert charge.sum() > 0


def test_without_coordination_nothing_is_traded(results):
    for _, own in results.values():
        schedule = own["uncoordinated"].schedule
        assert schedule.trades.sum() == 0
        for f in schedule.feeders:
            assert max(part.sum() for part in (f.sell_in, f.sell_out, f.buy_in, f.buy_out)) == 0


def test_one_dso_alone_plays_no_game(results):
    own = results["one hour"][1]
    assert own["nash"].certificate.objective == pytest.approx(own["dso-led"].certificate.objective, rel=GAP)


def test_a_scheme_that_runs_out_of_time_says_so():
    """A program is given a tenth of a second at least, in which nobody solves three ADNs over a day."""
    c = share(instance(3))
    for scheme in SCHEMES:
        found = checked(scheme, decide(c, scheme, time_limit_s=1e-9))
        assert (found.certificate.status, found.schedule) == ("time_limit", None), scheme
        with pytest.raises(ValueError, match="no measures"):
            found.measures()


def test_an_instance_nobody_can_serve_is_infeasible_to_every_scheme():
    case = toy(1, 1)
    thin = tuple(branch.model_copy(update={"rate_a_mva": 0.01}) for branch in case.feeders[0].branches)
    case = case.model_copy(update={"feeders": (case.feeders[0].model_copy(update={"branches": thin}),)})
    shared = share(case)
    for scheme in SCHEMES:
        found = run(case, scheme, shared=shared)
        assert (found.certificate.status, found.schedule) == ("infeasible", None), scheme


def test_an_unknown_scheme_is_refused():
    with pytest.raises(InputError, match="scheme: got 'anarchy'; allowed: dso-led, tso-led"):
        run(toy(1, 1), "anarchy")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_accounts_close_in_every_scheme(results, name, scheme):
    """To a millionth of the turnover, imbalance payments included."""
    found = results[name][1][scheme]
    ledger = accounts(found.schedule, found.decision.exchange, found.decision.imbalance_per_mwh)
    assert ledger.closes_to <= 1e-6
    assert ledger.turnover > 100


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_measures_obey_the_energy_balance(results, name, scheme):
    """What comes from above is load, losses and what batteries keep, less the sun: flows, not accounts."""
    found = results[name][1][scheme]
    own = measures(found.schedule)
    case = found.schedule.instance
    load = sum(sum(bus.pd_mw) for data in case.feeders for bus in data.buses)
    kept = sum(float((f.charge - f.discharge).sum()) for f in found.schedule.feeders)
    sun = sum(float(f.pv.sum()) for f in found.schedule.feeders)
    taken = own["import_mwh"] - own["export_mwh"]
    assert taken == pytest.approx(load + own["losses_mwh"] + kept - sun, abs=1e-4)
    if own["self_consumption"] == own["self_consumption"]:
        assert own["self_consumption"] * sun == pytest.approx(sun - own["export_mwh"], abs=1e-6)


@pytest.mark.parametrize("name", ["two", "tight", "no battery"])
def test_costs_as_vectors_are_the_schedules_money(results, name):
    """Fees, wear, generation and losses over the program's columns against the schedule in MW and $."""
    c, own = results[name]
    for scheme in ("tso-led", "uncoordinated"):
        x, schedule = own[scheme].decision.outcome.x, own[scheme].schedule
        paid = schedule.payments()
        fees = sum(paid[part] for part in ("access", "wheeling", "network", "local"))
        assert c.fees @ x == pytest.approx(fees)
        assert c.wear @ x == pytest.approx(paid["wear"])
        assert c.generation @ x == pytest.approx(float(schedule.generation_cost().sum()))
        assert c.instance.base_mva * (c.losses @ x) == pytest.approx(schedule.losses_mwh(), rel=1e-3)


def test_an_exchange_schedule_is_what_is_taken_less_the_imbalance(results):
    c, own = results["two"]
    x = own["tso-led"].decision.outcome.x
    kept = x[c.P_boundary] - x[c.imbalance_up] + x[c.imbalance_down]
    scheduled = c.scheduled(kept, np.full((2, 1), 0.03))
    assert scheduled.row_misses(x)[c.exchange_rows].max() <= 1e-12
    for columns, sense in ((c.P_boundary, 1), (c.imbalance_up, -1), (c.imbalance_down, 1)):
        off = x.copy()
        off[columns[1, 2]] += 0.25
        value = (scheduled.A @ off - scheduled.row_lower)[c.exchange_rows].reshape(2, 4)
        expected = np.zeros((2, 4))
        expected[1, 2] = 0.25 * sense
        assert value == pytest.approx(expected, abs=1e-9)
    assert scheduled.upper[c.imbalance_up].max() <= 0.03
    # lifted where a scheme has no schedule
    assert np.isinf(c.relaxed.row_lower[c.exchange_rows]).all()
    assert np.isinf(c.program.row_upper[c.program.rows["exchange_schedule"]]).all()


def test_a_cost_that_differs_between_the_patterns_hours_is_refused():
    problem = coordination.build(toy(1, 3))
    program = compile_problem(problem)
    first = problem.pattern.feeder[0].l[1, 0]
    with pytest.raises(ValueError, match="not the same in every hour"):
        stamped_costs(problem, program, [2.0 * first])
    with pytest.raises(ValueError, match="not stamped"):
        coordination.compiled(replace(problem, pattern=None))


def test_a_claim_that_the_schedule_does_not_bear_out_fails(results):
    """Corrupted decisions: an objective too low, a bound too high, a claim missed, a point spoilt."""
    _, own = results["two"]
    for scheme in ("tso-led", "price-taking", "centralised", "uncoordinated"):
        decision = own[scheme].decision
        told = certify_decision(replace(decision, objective=decision.objective - 1.0))
        assert (told.status, told.message) == ("error", "failed: the scheme's objective")
        assert told.objective == pytest.approx(decision.objective)
        loose = replace(decision.proof, row_duals=0 * decision.proof.row_duals)
        assert certify_decision(replace(decision, proof=loose)).status == "gap_limit"
        claim = Check("a claim", 2.0, 1.0)
        assert certify_decision(replace(decision, checks=(claim,))).message == "failed: a claim"
        beyond = replace(decision.proof, claimed=decision.objective + 1.0)
        told = certify_decision(replace(decision, proof=beyond))
        assert (told.message, told.bound_by) == ("failed: the scheme's bound below it", "solver")
        x = decision.outcome.x.copy()
        x[decision.program.column("feeder[0].P_boundary")] += 0.01
        told = certify_decision(replace(decision, outcome=replace(decision.outcome, x=x)))
        assert told.status == "error" and "rows" in told.message
    with pytest.raises(ValueError, match="no bound"):
        certify_decision(replace(own["nash"].decision, bound=None))


def test_a_gap_of_an_earlier_program_counts(results):
    decision = results["two"][1]["tso-led"].decision
    told = certify_decision(replace(decision, gap=0.5), gap=0.1)
    assert (told.status, told.gap) == ("gap_limit", 0.5)
