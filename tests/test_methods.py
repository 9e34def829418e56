"""Every mode and method finds the same certified optimum wherever it can run."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pyomo.environ as pyo
import pytest
from toys import relay, toy

from generators import instance
from model.certificate import certify
from model.data import InputError
from model.metrics import extract
from model.program import compile_model
from model.schemes import build
from model.solvers import METHODS, check_method, solve
from model.solvers.binaries import round_by_direction
from model.solvers.relaxation import solve_relaxation


def run(case, mode="big_m", method="auto", gap=1e-4, time_limit_s=60.0):
    problem = build(case, mode=mode)
    program = compile_model(problem.m)
    outcome = solve(problem, program, method, gap, time_limit_s)
    return problem, program, outcome, certify(problem, program, outcome, gap)


CASES = {
    "plain": toy(2, 2),
    "tariff": toy(2, 2, settlement="tariff"),
    # The line binds, so the price at bus 2 is a block above that at bus 1 and the leaders move it.
    "congested": toy(2, 2, rate_mw=4.0),
    "one bus's worth of sun": toy(1, 2, sun=6.0),
}
RUNS = [
    ("big_m", "highs"),
    ("big_m", "naive"),
    ("big_m", "mindtpy"),
    ("big_m", "gurobi"),
    ("sos1", "gurobi"),
    ("strong_duality", "gurobi"),
    ("big_m", "scip"),
    ("sos1", "scip"),
    ("strong_duality", "scip"),
]


# Of each multiplier's or slack's bound: what a certified row may miss.
RESIDUAL = 1e-6


def assert_followers_conditions(problem, program, x):
    """Strong duality and complementarity at a point: each residual, whatever mode states them as rows.

    ``sum lam P = cost - native value`` to a millionth of the cost; of each pair one member is zero.
    """
    for variable, value in zip(program.variables, x, strict=True):
        variable.set_value(value, skip_validation=True)
    m, hours = problem.m, range(problem.instance.hours)
    cost = sum(m.follower.hour_cost[t]() for t in hours)
    native = sum(m.follower.native_value[t]() for t in hours)
    paid = sum(m.boundary_value[t]() for t in hours)
    assert paid == pytest.approx(cost - native, abs=1e-6 * cost)
    assert len(problem.pairs) > 10 * len(hours)
    for pair in problem.pairs:
        slack, mu = pyo.value(pair.slack), pair.multiplier.value
        parts = mu / pair.multiplier_bound, slack / pair.slack_bound
        assert abs(min(parts)) < RESIDUAL, pair.multiplier.name


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("mode", "method"), RUNS, ids=lambda value: value)
def test_modes_and_methods_agree(name, mode, method):
    if method == "scip" and find_spec("pyscipopt") is None:
        pytest.skip("SCIP is an extra")
    problem, program, outcome, certificate = run(CASES[name], mode, method)
    assert certificate.status == "certified", certificate
    assert_followers_conditions(problem, program, outcome.x)
    *_, reference = run(CASES[name], "big_m", "highs")
    scale = max(abs(reference.objective), 1.0)
    assert certificate.objective == pytest.approx(reference.objective, abs=2e-4 * scale)
    problem, program, outcome, default = run(CASES[name], mode, "auto")
    assert_followers_conditions(problem, program, outcome.x)
    # The default method's bound and point enclose what branching finds.
    assert default.bound <= reference.objective + 1e-6 * scale
    assert default.objective >= reference.bound - 1e-6 * scale
    assert default.status in ("certified", "gap_limit")


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_default_method_on_the_ieee_instance(seed):
    problem, program, outcome, certificate = run(instance(2, seed), gap=1e-3)
    assert certificate.status == "certified", certificate
    assert certificate.bound_by == "safe"
    assert certificate.shed_mwh == pytest.approx(0, abs=1e-6)
    assert certificate.relaxation_slack < 1e-4
    assert_followers_conditions(problem, program, outcome.x)

    schedule = extract(problem, program, outcome.x)
    for feeder, f in zip(problem.instance.feeders, schedule.feeders, strict=True):
        # Accounts and physics: p_import - p_export = losses + sum grid_import - sum grid_export.
        z_base = feeder.base_kv**2 / problem.instance.base_mva
        r = np.array([[branch.br_r_ohm / z_base] for _, branch in feeder.parents().values()])
        losses = (r * f.l_pu).sum(axis=0) * problem.instance.base_mva
        exchanged = f.grid_import.sum(axis=0) - f.grid_export.sum(axis=0)
        assert f.p_import - f.p_export == pytest.approx(losses + exchanged, abs=1e-5)
        # The boundary power is what the feeder physically takes.
        load = np.sum([bus.pd_mw for bus in feeder.buses], axis=0)
        net = load + losses + (f.charge - f.discharge).sum(axis=0) - f.pv.sum(axis=0)
        assert f.P_boundary == pytest.approx(net, abs=1e-5)
        # Never both ways at once.
        for one, other in ((f.charge, f.discharge), (f.p_import, f.p_export)):
            assert np.minimum(one, other).max() < 1e-4


def test_trade_happens_within_and_across_on_the_default_instance():
    problem, program, outcome, _ = run(instance(3), gap=0.02)
    schedule = extract(problem, program, outcome.x)
    assert sum(f.sell_in.sum() for f in schedule.feeders) > 1.0
    assert schedule.trades.sum() > 0.1
    assert min(f.P_boundary.min() for f in schedule.feeders) < -0.1, "no ADN exports"


@pytest.mark.parametrize("settlement", ["lmp", "tariff"])
@pytest.mark.parametrize("method", ["auto", "highs"])
def test_a_relay_of_trade_is_a_conflict_that_is_resolved(settlement, method):
    """ADN 1 stands between two that may not trade: relaxed, it sells its sun and buys another's at once."""
    case = relay(settlement)
    relaxed_problem = build(case)
    relaxed_program = compile_model(relaxed_problem.m)
    relaxed = solve_relaxation(relaxed_program.relaxed())
    assert round_by_direction(relaxed_program, relaxed.x)[1].any(), "the case has no conflict"

    problem, program, outcome, certificate = run(case, method=method)
    assert certificate.status == "certified", certificate
    schedule = extract(problem, program, outcome.x)
    for d in range(3):
        sold = schedule.trades[[k for k, arc in enumerate(case.arcs) if arc.seller == d]].sum(axis=0)
        bought = schedule.trades[[k for k, arc in enumerate(case.arcs) if arc.buyer == d]].sum(axis=0)
        assert np.minimum(sold, bought).max() < 1e-5
    *_, reference = run(case, method="highs" if method == "auto" else "auto")
    assert certificate.objective == pytest.approx(reference.objective, rel=2e-4)


def test_negative_prices_show_in_the_certificate():
    """Paid to consume, the relaxed cones lose power on purpose: certified, and the slack is stated."""
    case = toy(1, 2, settlement="tariff").model_copy(update={"tariff_per_mwh": (-60.0, 40.0)})
    *_, certificate = run(case)
    assert certificate.status == "certified", certificate
    assert certificate.relaxation_slack > 0.1


def test_an_infeasible_feeder_is_a_status():
    case = toy(1, 2, sun=0.0, battery=0.0)
    feeders = (case.feeders[0].model_copy(update={"vmin": 0.9999}),)
    *_, outcome, certificate = run(case.model_copy(update={"feeders": feeders}))
    assert outcome.status == certificate.status == "infeasible"
    assert (certificate.objective, certificate.bound, certificate.bound_by) == (None, None, "safe")


def test_an_infeasibility_without_its_proof_rests_on_the_solvers_word():
    problem, program, outcome, _ = run(toy(1, 2))
    for parts in ((), outcome.parts):
        claimed = certify(problem, program, replace(outcome, status="infeasible", x=None, parts=parts))
        assert (claimed.status, claimed.bound, claimed.bound_by) == ("infeasible", None, "solver")


def test_a_time_limit_is_a_status():
    *_, certificate = run(instance(2), time_limit_s=1e-3)
    assert certificate.status == "time_limit"


def test_gurobi_beyond_its_licence_is_an_error_with_its_words():
    *_, certificate = run(instance(1, hours=4), method="gurobi")
    assert certificate.status in ("error", "certified", "gap_limit")
    if certificate.status == "error":
        assert "license" in certificate.message


@pytest.mark.parametrize(
    ("field", "kwargs"),
    [
        ("method", {"method": "cplex"}),
        ("gap", {"gap": 0.0}),
        ("gap", {"gap": float("nan")}),
        ("time_limit", {"time_limit_s": -1.0}),
        ("mode", {"method": "highs", "mode": "sos1"}),
        ("mode", {"method": "naive", "mode": "sos1"}),
        ("mode", {"method": "mindtpy", "mode": "strong_duality"}),
        ("mode", {"mode": "guess"}),
    ],
)
def test_bad_arguments_name_the_field(field, kwargs):
    with pytest.raises(InputError) as error:
        run(toy(1, 1), **kwargs)
    assert error.value.field == field


def test_a_method_that_cannot_run_here_says_why(monkeypatch):
    monkeypatch.setattr(METHODS["scip"], "available", lambda: "a method that is installed")
    with pytest.raises(InputError, match="method: got 'scip'; allowed: a method that is installed"):
        check_method("scip")


def test_what_the_relaxation_proves_is_not_branched_on():
    """A baseline that has met the target ends: the rest of its time would be no time to the gap."""
    problem = build(toy(1, 2))
    program = compile_model(problem.m)
    outcome = solve(problem, program, "highs", 0.5, 60.0)
    assert outcome.bound is None and outcome.nodes == solve(problem, program, "auto", 0.5, 60.0).nodes
    assert certify(problem, program, outcome, 0.5).bound_by == "safe"
