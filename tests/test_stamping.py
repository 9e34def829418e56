"""A stamped program is the program compiled whole: every field, every row, to the last bit."""

from dataclasses import fields, replace

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cases import small_instance
from toys import relay, toy
from uneven import uneven

from generators import instance
from model import branch_flow, resources, trading
from model.certificate import certify
from model.complementarity import MODES
from model.data import InputError, Instance
from model.program import Program, compile_model
from model.schemes import build
from model.solvers import READ_PYOMO, solve
from model.stamping import compile_problem

GENERATED = [
    {"n_adns": 1},
    {"n_adns": 2, "hours": 1},
    {"n_adns": 2, "hours": 2},
    {"n_adns": 3, "hours": 3, "partners": "complete"},
    {"n_adns": 5, "hours": 5, "partners": "nearest:2"},
    {"n_adns": 3, "hours": 6, "seed": 7, "congestion": "strong", "network": "scaled"},
    {"n_adns": 3, "hours": 4, "settlement": "tariff", "congestion": "none"},
    {"n_adns": 2, "hours": 3, "ramp_mw_per_h": 20.0},
    {"n_adns": 2, "hours": 4, "n_pv": 0, "n_bess": 0},
    {"n_adns": 2, "hours": 4, "n_peers": 12, "n_bess": 1},
]


def one_way() -> Instance:
    """Two ADNs without devices or peers that may trade one way: rows of the other way are left out."""
    case = toy(2, 4, sun=0.0, battery=0.0)
    feeders = (case.feeders[0].model_copy(update={"peers": ()}), case.feeders[1])
    return Instance.from_json(case.model_copy(update={"feeders": feeders, "arcs": case.arcs[:1]}).to_json())


OTHERS = {
    "toy": toy(3, 4, rate_mw=4.0),
    "tariff": toy(2, 3, settlement="tariff"),
    "one hour": toy(2, 1),
    "no sun": toy(2, 3, sun=0.0),
    "relay": relay(),
    "one way": one_way(),
    "uneven": uneven(),
    "uneven with ramps": uneven(ramps=True),
}


def differing(stamped: Program, whole: Program) -> list[str]:
    """The fields in which two programs differ, order of entries and of names included."""
    return [
        f.name
        for f in fields(Program)
        if f.name not in ("variables", "objective_map")  # Pyomo's objects, each model its own
        and not same(getattr(stamped, f.name), getattr(whole, f.name))
    ]


def same(a, b) -> bool:
    if hasattr(a, "indptr"):
        return a.shape == b.shape and all(
            same(getattr(a, p), getattr(b, p)) for p in ("indptr", "indices", "data")
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a.items()) == list(b.items())
    return a == b


def both(case: Instance, mode: str = "big_m"):
    """Problem and program, stamped and whole."""
    stamped, whole = build(case, mode=mode, stamped=True), build(case, mode=mode)
    return (stamped, compile_problem(stamped)), (whole, compile_model(whole.m))


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", GENERATED, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))
def test_a_stamped_program_of_a_generated_instance_is_the_whole_one(options, mode):
    (_, stamped), (_, whole) = both(instance(**options), mode)
    assert differing(stamped, whole) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", OTHERS)
def test_a_stamped_program_of_any_instance_is_the_whole_one(name, mode):
    (_, stamped), (_, whole) = both(OTHERS[name], mode)
    assert differing(stamped, whole) == []


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(sorted(MODES)))
def test_a_stamped_program_of_a_drawn_instance_is_the_whole_one(seed, mode):
    (_, stamped), (_, whole) = both(small_instance(seed), mode)
    assert differing(stamped, whole) == []


@pytest.mark.long
@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from(["complete", "nearest:1", "nearest:4"]),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_a_stamped_program_of_drawn_options_is_the_whole_one(n_adns, seed, hours, partners, n_pv, n_bess):
    case = instance(n_adns, seed=seed, hours=hours, partners=partners, n_pv=n_pv, n_bess=n_bess)
    (_, stamped), (_, whole) = both(case)
    assert differing(stamped, whole) == []


def test_the_comparison_sees_one_changed_entry():
    (_, stamped), (_, whole) = both(toy(2, 3))
    A = stamped.A.copy()
    A.data[-1] += 1e-12
    upper = stamped.upper.copy()
    upper[5] = np.nextafter(upper[5], 2.0)
    rows = dict(reversed(stamped.rows.items()))
    for name, value in {"A": A, "upper": upper, "rows": rows}.items():
        assert differing(replace(stamped, **{name: value}), whole) == [name]


@pytest.mark.parametrize("name", ["toy", "uneven with ramps"])
def test_the_follower_s_expressions_have_the_same_coefficients(name):
    (stamped, program), (whole, other) = both(OTHERS[name])
    for t in range(stamped.instance.hours):
        for expression in ("hour_cost", "native_value"):
            mine = program.objective_map.row(getattr(stamped.m.follower, expression)[t])
            theirs = other.objective_map.row(getattr(whole.m.follower, expression)[t])
            assert np.array_equal(mine[0], theirs[0]) and mine[1] == theirs[1]
    mine, constants = program.objective_map.matrix([pair.slack for pair in stamped.pairs])
    theirs, others = other.objective_map.matrix([pair.slack for pair in whole.pairs])
    assert same(mine, theirs) and np.array_equal(constants, others)


@pytest.mark.parametrize("method", ["auto", "decomposed", "highs"])
def test_methods_and_certificate_take_a_stamped_problem_like_a_whole_one(method):
    """Three hours, so that most are stamped; the lines bind, so that prices move."""
    found = []
    for problem, program in both(toy(2, 3, rate_mw=4.0)):
        outcome = solve(problem, program, method, gap=1e-3, time_limit_s=60.0)
        found.append((outcome.x, certify(problem, program, outcome)))
    assert found[0][1].status == "certified"
    assert found[0][1] == found[1][1]
    assert np.array_equal(found[0][0], found[1][0])


@pytest.mark.parametrize("method", READ_PYOMO)
def test_a_method_that_reads_the_pyomo_model_refuses_a_stamped_problem(method, monkeypatch):
    monkeypatch.setattr(f"model.solvers.{method}.available", lambda: None)
    problem = build(toy(1, 3), stamped=True)
    with pytest.raises(InputError, match="^method: .*stamped"):
        solve(problem, compile_problem(problem), method)


def test_a_pattern_does_not_grow_with_the_hours():
    """What makes it fast: of the ADNs Pyomo holds two hours, however many there are."""
    held = []
    for hours in (3, 24):
        pattern = build(instance(2, hours=hours), stamped=True).pattern
        held.append(
            sum(len(v) for kind in (pyo.Var, pyo.Constraint) for v in pattern.component_objects(kind))
        )
    assert held[0] == held[1]


def initial_energy(add):
    """A day that is not cyclic: the first hour begins with an empty battery."""

    def add_other(b, data, hours):
        add(b, data, hours)
        for k in range(len(data.bess_power)):
            b.energy_dynamics[k, 0].set_value(b.energy[k, 0] - 0.9 * b.charge[k, 0] + b.discharge[k, 0] == 0)

    return add_other


def other_binary(add):
    """The first hour's charge asks the next hour's binary: the same numbers, another column."""

    def add_other(b, data, hours):
        add(b, data, hours)
        b.charge_limit[0, 0].set_value(b.charge[0, 0] - data.bess_power[0] * b.charging[0, 1] <= 0)

    return add_other


def empty_at_first(add):
    """A box of one hour only."""

    def add_other(b, data, hours):
        add(b, data, hours)
        for k in range(len(data.bess_power)):
            b.energy[k, 0].setub(0.0)

    return add_other


def dear_at_first(cost):
    """A cost of one hour only."""

    def other_cost(b, data, hours):
        return cost(b, data, hours) + b.charge[0, 0]

    return other_cost


def other_inverter(add):
    """A smaller cone in one hour only."""

    def add_other(b, data, hours):
        add(b, data, hours)
        b.inverter_cone[0, 0].set_value(b.pv_p[0, 0] ** 2 + b.pv_q[0, 0] ** 2 <= 0.5 * data.pv_rating[0] ** 2)

    return add_other


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("add_energy_dynamics", initial_energy),
        ("add_charge_or_discharge", other_binary),
        ("add_bess_variables", empty_at_first),
        ("wear_cost", dear_at_first),
        ("add_inverter_cone", other_inverter),
    ],
)
def test_hours_that_are_not_alike_are_refused(family, change, monkeypatch):
    monkeypatch.setattr(resources, family, change(getattr(resources, family)))
    problem = build(toy(1, 3), stamped=True)
    with pytest.raises(ValueError, match="hours of a pattern"):
        compile_problem(problem)


def test_sums_and_multiples_of_hourly_numbers_are_stamped(monkeypatch):
    """In a coefficient, a limit and a constant of the row, from either side."""

    def add(m, instance, feeders, hours):
        @m.Constraint([0], hours)
        def surplus_limit(m, d, t):
            left, load = feeders[d].surplus[t], feeders[d].pd[2][t]
            coefficient = 3 * (1 - left) - load * 2 + 0.5 * (left + 4) + (2 + load)
            return m.feeder[d].p_import[t] - coefficient * m.exports_trade[d, t] + 2 * left <= 5 - load

    monkeypatch.setattr(trading, "add_surplus_limits", add)
    (_, stamped), (_, whole) = both(toy(1, 4))
    where = whole.rows["surplus_limit"]
    assert len({tuple(row.data) for row in (whole.A[[k]] for k in range(where.start, where.stop))}) > 2
    for part in ("row_lower", "row_upper"):
        assert getattr(stamped, part)[where] == pytest.approx(getattr(whole, part)[where], abs=1e-12)
    assert stamped.A[where].toarray() == pytest.approx(whole.A[where].toarray(), abs=1e-12)


def test_a_coefficient_by_hour_that_is_another_in_one_hour_is_refused(monkeypatch):
    def alike(add):
        def add_other(m, instance, feeders, hours):
            add(m, instance, feeders, hours)
            for t in hours:
                left = feeders[0].surplus[t] + float(spoilt and t == 0)
                m.surplus_limit[0, t].set_value(m.feeder[0].p_import[t] - left * m.exports_trade[0, t] <= 0)

        return add_other

    right = trading.add_surplus_limits
    for spoilt in (False, True):
        monkeypatch.setattr(trading, "add_surplus_limits", alike(right))
        problem = build(toy(1, 3), stamped=True)
        if not spoilt:
            compile_problem(problem)
            continue
        with pytest.raises(ValueError, match="hours of a pattern"):
            compile_problem(problem)


def test_hourly_data_in_a_product_or_a_cost_are_refused(monkeypatch):
    """They would be one hour's in all hours."""

    def product(b, data, hours):
        @b.Constraint(data.buses, hours)
        def active_balance(b, j, t):
            return b.P[j, t] ** 2 - data.pd[j][t] * b.l[j, t] <= 0

    with monkeypatch.context() as patch:
        patch.setattr(branch_flow, "add_active_balance", product)
        with pytest.raises(ValueError, match="differs by hour"):
            compile_problem(build(toy(1, 3), stamped=True))

    def dear(b, data, hours):
        return sum(data.pv_available[0][t] * b.charge[0, t] for t in hours)

    monkeypatch.setattr(resources, "wear_cost", dear)
    with pytest.raises(ValueError, match="differs by hour"):
        compile_problem(build(toy(1, 3), stamped=True))
