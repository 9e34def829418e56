"""The follower's conditions: signs, certified boxes, strong duality, against an independent LP."""

from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import linprog
from toys import toy
from uneven import HOURS, draw_point, uneven

from generators import instance
from model import dc_flow
from model.boundary import load_box
from model.data import InputError
from model.kkt import check_provable, congestion_rent
from model.per_unit import feeder_data, transmission_data
from model.program import compile_model
from model.schemes import build
from model.solvers.follower import Follower


class Uneven:
    """The follower of tests/uneven.py in natural units, and its problem at a random point."""

    def __init__(self, ramps):
        self.case = case = uneven(ramps=ramps)
        self.ramps = ramps
        self.net, self.base = case.transmission, case.base_mva
        self.problem = build(case)
        self.m, self.f, self.mult = self.problem.m, self.problem.m.follower, self.problem.multipliers
        draw_point(self.m)
        feeders = [feeder_data(feeder, self.base) for feeder in case.feeders]
        self.data = transmission_data(self.net, self.base)
        box = load_box(case, feeders, self.data, range(HOURS))
        self.load_mw = {i: [(self.base * low, self.base * up) for low, up in own] for i, own in box.items()}
        self.blocks = {
            (g, k): (gen.gen_bus, block.p_max_mw, block.cost_per_mwh)
            for g, gen in enumerate(self.net.gens)
            for k, block in enumerate(gen.blocks)
        }

    def rent(self, t):
        """The most that consumers can pay at prices in their box, in $: of one hour, or with ramps of all."""
        hours = range(HOURS) if self.ramps else [t]
        return sum(
            max(900.0 * max(up, 0.0), 3.0 * max(-low, 0.0))
            for own in self.load_mw.values()
            for low, up in (own[s] for s in hours)
        )


@pytest.fixture(scope="module", params=[False, True], ids=["free", "ramps"])
def natural(request):
    return Uneven(request.param)


def _stationarity(natural):
    """The derivative of the Lagrangian by each follower variable: (multiplier, factor) terms and a constant.

    Written from the rows of docs/formulation.md, not from the model; per unit, so prices in $ per p.u.
    """
    net, mult, base = natural.net, natural.mult, natural.base
    lam, voll, spill = mult.lam, base * net.voll_per_mwh, base * net.spill_per_mwh
    for t in range(HOURS):
        for (g, k), (bus, _, cost) in natural.blocks.items():
            low, up = mult.mu_pg[g, k, t]
            terms = [(lam[bus, t], -1.0), (low, -1.0), (up, 1.0)]
            if (g, t) in mult.mu_ramp:  # a rise into this hour
                terms += [(mult.mu_ramp[g, t][0], -1.0), (mult.mu_ramp[g, t][1], 1.0)]
            if (g, t + 1) in mult.mu_ramp:  # a fall out of it
                terms += [(mult.mu_ramp[g, t + 1][0], 1.0), (mult.mu_ramp[g, t + 1][1], -1.0)]
            yield terms, base * cost
        for bus in net.buses:
            i = bus.bus_i
            yield [(lam[i, t], -1.0), (mult.mu_shed[i, t], -1.0)], voll
            yield [(lam[i, t], 1.0), (mult.mu_spill[i, t], -1.0)], spill
            if i == net.ref_bus:
                continue
            terms = []
            for k, line in enumerate(net.branches):
                if i in (line.f_bus, line.t_bus):
                    b = (1.0 if i == line.f_bus else -1.0) / line.br_x
                    low, up = mult.mu_flow[k, t]
                    terms += [(lam[line.f_bus, t], b), (lam[line.t_bus, t], -b), (low, -b), (up, b)]
            yield terms, 0.0


def test_core_kkt_states_the_stationarity_that_is_written_here(natural):
    """Every row of core.kkt is one of these and the other way round, coefficient by coefficient."""
    program = compile_model(natural.m)
    where = program.rows["follower.kkt.stationarity_conditions"]
    stated = program.A[where].toarray()
    np.testing.assert_array_equal(program.row_lower[where], program.row_upper[where])
    stated = np.column_stack([stated, -program.row_lower[where]])
    expected = []
    for terms, constant in _stationarity(natural):
        row = np.zeros(stated.shape[1])
        for multiplier, factor in terms:
            row[program.objective_map.number[id(multiplier)]] += factor
        row[-1] = constant
        expected.append(row)
    distance = np.abs(np.array(expected)[:, None, :] - stated[None, :, :]).max(axis=2)
    # Sums of a few reciprocals of reactances, of size 100: floating point only.
    same = distance < 1e-10
    assert (same.sum(axis=0) == 1).all() and (same.sum(axis=1) == 1).all()


def test_no_multiplier_is_left_without_a_name(natural):
    mult = natural.mult
    named = [*mult.lam.values(), *mult.mu_shed.values(), *mult.mu_spill.values()]
    for pairs in (mult.mu_flow, mult.mu_pg, mult.mu_ramp):
        named += [v for pair in pairs.values() for v in pair]
    kkt = natural.f.kkt
    assert {id(v) for v in named} == {id(v) for v in (*kkt.gamma.values(), *kkt.alpha.values())}
    assert len(named) == len(kkt.gamma) + len(kkt.alpha)
    assert set(mult.mu_ramp) == ({(0, 1), (0, 2)} if natural.ramps else set())
    # Every complementarity comes back as a pair for the mode; none stays behind twice.
    assert kkt.find_component("complements") is None and kkt.find_component("lagrangean") is None
    signed = [v for v in named if id(v) not in {id(own) for own in mult.lam.values()}]
    assert [id(v) for v in signed] and {id(pair.multiplier) for pair in natural.problem.pairs} == {
        id(v) for v in signed
    }
    assert len(natural.problem.pairs) == len(signed)
    assert all(v.lb == 0 for v in signed)


def test_a_row_of_the_follower_that_has_no_name_here_is_noticed(monkeypatch):
    """Its multiplier would be left out of the complementarities."""
    add = dc_flow.add_flow_limits

    def with_another(f, data, hours):
        add(f, data, hours)
        f.reserve = pyo.Constraint(expr=sum(f.pg.values()) <= 100)

    monkeypatch.setattr(dc_flow, "add_flow_limits", with_another)
    with pytest.raises(AssertionError, match="core.kkt states 61 complementarities, 60 are named"):
        build(uneven())


def test_a_limit_without_its_other_side_is_noticed(monkeypatch):
    """Both sides of every limit are named here, so one that is missing would be None."""

    def one_sided(f, data, hours):
        @f.Constraint(range(len(data.lines)), hours)
        def flow_limit(f, k, t):
            return dc_flow.line_flow(f, data, k, t) <= data.rate[k]

    monkeypatch.setattr(dc_flow, "add_flow_limits", one_sided)
    with pytest.raises(AssertionError, match="core.kkt states 48 complementarities, 60 are named"):
        build(uneven())


def test_the_native_value_is_the_dual_objective_at_native_load(natural):
    mult, net = natural.mult, natural.net
    for t in range(HOURS):
        value = sum(mult.lam[bus.bus_i, t].value / natural.base * bus.pd_mw[t] for bus in net.buses)
        for k, line in enumerate(net.branches):
            value -= line.rate_a_mw / natural.base * sum(v.value for v in mult.mu_flow[k, t])
        for (g, k), (_, width, _) in natural.blocks.items():
            value -= width / natural.base * mult.mu_pg[g, k, t][1].value
        if natural.ramps and t > 0:
            value -= 1.7 / natural.base * sum(v.value for v in mult.mu_ramp[0, t])
        assert pyo.value(natural.f.native_value[t]) == pytest.approx(value, rel=1e-9)
    assert set(natural.f.native_value) == set(range(HOURS))


def test_every_pair_is_a_limit_with_its_slack_and_its_certified_bounds(natural):
    """Multiplier, bound in $/MWh, slack in MW and its bound, from the table in the module's docstring."""
    net, mult, f, base = natural.net, natural.mult, natural.f, natural.base
    expected = {}

    def expect(multiplier, bound, slack, most):
        expected[id(multiplier)] = (bound, slack, most)

    for t in range(HOURS):
        for k, line in enumerate(net.branches):
            rate, flow = line.rate_a_mw, base * pyo.value(f.flow_limit[k, t].body)
            expect(mult.mu_flow[k, t][0], natural.rent(t) / rate, flow + rate, 2 * rate)
            expect(mult.mu_flow[k, t][1], natural.rent(t) / rate, rate - flow, 2 * rate)
        for (g, k), (_, width, cost) in natural.blocks.items():
            ramping = natural.rent(t) / 1.7 if natural.ramps and g == 0 else 0.0
            pg = base * f.pg[g, k, t].value
            expect(mult.mu_pg[g, k, t][0], cost + 3.0 + ramping, pg, width)
            expect(mult.mu_pg[g, k, t][1], 900.0 - cost + ramping, width - pg, width)
        for bus in net.buses:
            i = bus.bus_i
            expect(mult.mu_shed[i, t], 903.0, base * f.shed[i, t].value, base * f.shed[i, t].ub)
            expect(mult.mu_spill[i, t], 903.0, base * f.spill[i, t].value, base * f.spill[i, t].ub)
        if natural.ramps and t > 0:
            change = sum(base * (f.pg[0, k, t].value - f.pg[0, k, t - 1].value) for k in (0, 1))
            expect(mult.mu_ramp[0, t][0], natural.rent(t) / 1.7, change + 1.7, 3.4)
            expect(mult.mu_ramp[0, t][1], natural.rent(t) / 1.7, 1.7 - change, 3.4)
    assert {id(pair.multiplier) for pair in natural.problem.pairs} == set(expected)
    for pair in natural.problem.pairs:
        bound, slack, most = expected[id(pair.multiplier)]
        found = pair.multiplier_bound / base, base * pyo.value(pair.slack), base * pair.slack_bound
        assert found == pytest.approx((bound, slack, most), rel=1e-9), pair.multiplier.name
        assert pair.multiplier.ub == pair.multiplier_bound


@pytest.mark.parametrize("ramps", [False, True])
def test_rent_is_the_most_that_load_pays_or_surplus_costs(ramps):
    """Bus by bus at the worse end of both boxes, whichever sign the load has."""
    data = replace(transmission_data(toy(1, 2).transmission, 1.0), ramp={0: 1.0} if ramps else {})
    assert (data.voll, data.spill_cost) == (1000.0, 1.0)
    load = {1: [(2.0, 3.0), (-5.0, -4.0), (0.0, 0.0)], 2: [(-7000.0, 5.0), (-6.0, 0.002), (0.0, 0.0)]}
    hourly = {0: 3000.0 + 7000.0, 1: 5.0 + 6.0, 2: 0.0}
    expected = dict.fromkeys(hourly, sum(hourly.values())) if ramps else hourly
    assert congestion_rent(data, load, range(3)) == pytest.approx(expected)


def test_prices_lie_between_spilling_and_the_value_of_lost_load(natural):
    for lam in natural.mult.lam.values():
        assert lam.bounds == pytest.approx((-3.0 * natural.base, 900.0 * natural.base))


def test_shedding_and_spillage_have_the_boxes_that_the_docstring_derives(natural):
    f, base = natural.f, natural.base
    high = [sum(max(own[t][1], 0.0) for own in natural.load_mw.values()) for t in range(HOURS)]
    low = [sum(max(-own[t][0], 0.0) for own in natural.load_mw.values()) for t in range(HOURS)]
    assert max(low) > 0, "the case has no surplus"
    capacity = 4.5 + 6.5 + 8.5
    for (i, t), shed in f.shed.items():
        hours = range(HOURS) if natural.ramps else [t]
        most = sum(900.0 * high[s] + 3.0 * low[s] for s in hours) / 900.0
        assert base * shed.ub == pytest.approx(most)
        assert base * f.spill[i, t].ub == pytest.approx(capacity + most + low[t])


@pytest.mark.parametrize("ref_bus", [2, 5, 9])
@pytest.mark.parametrize("detour", [False, True])
@pytest.mark.parametrize("order", [1, -1], ids=["tighter first", "slacker first"])
def test_the_box_of_an_angle_is_its_largest_value_within_the_ratings(order, detour, ref_bus):
    """By linear programming over all angles: the shortest path is the dual of this."""
    case = uneven()
    lines = list(case.transmission.branches)
    if detour:  # the direct line to bus 9 allows more than the way round
        lines[1] = lines[1].model_copy(update={"rate_a_mw": 30.0})
    lines = lines[::order]  # of two parallel lines, the one that binds comes before or after the other
    net = case.transmission.model_copy(update={"branches": tuple(lines), "ref_bus": ref_bus})
    m = build(case.model_copy(update={"transmission": net})).m
    f = m.follower
    assert {i for i, _ in f.theta} == {2, 5, 9} - {ref_bus}
    row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
    difference = np.zeros((len(lines), len(row)))
    for k, line in enumerate(lines):
        difference[k, row[line.f_bus]], difference[k, row[line.t_bus]] = 1.0, -1.0
    reach = [line.rate_a_mw / case.base_mva * line.br_x for line in lines]
    bounds = [(0, 0) if i == net.ref_bus else (None, None) for i in row]
    for (i, _), theta in f.theta.items():
        cost = np.zeros(len(row))
        cost[row[i]] = -1.0
        most = -linprog(
            cost, np.vstack([difference, -difference]), [*reach, *reach], bounds=bounds, method="highs"
        ).fun
        assert theta.bounds == pytest.approx((-most, most), rel=1e-9)


def test_only_boxes_that_every_optimum_keeps_are_marked_redundant(natural):
    sides = {component.name.split(".")[-1]: side for component, side in natural.f.redundant_box.items()}
    assert sides == {
        "theta": "both", "shed": "upper", "spill": "upper", "gamma": "both", "alpha": "upper",
    }  # fmt: skip


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


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("rate_a_mw", {"rate": (1.0, 0.0)}),
        ("rate_a_mw", {"rate": (-1.0, 1.0)}),
        ("ramp_mw_per_h", {"ramp": {0: 0.0}}),
        ("p_max_mw", {"block_width": {(0, 0): 1.0, (0, 1): 0.0}}),
    ],
)
def test_a_limit_of_zero_is_named(field, change):
    data = transmission_data(toy(1, 1).transmission, 10.0)
    check_provable(data)
    with pytest.raises(InputError) as error:
        check_provable(replace(data, **change))
    assert error.value.field == field and error.value.value <= 0


def test_a_small_limit_is_provable_and_no_limit_at_all_too():
    data = transmission_data(toy(1, 1).transmission, 10.0)
    check_provable(replace(data, rate=(1e-3,), block_width={(0, 0): 1e-3}, ramp={0: 1e-3}))
    check_provable(replace(data, rate=()))
