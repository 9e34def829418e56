"""What methods do where a step has no answer: a status or a weaker result, never a wrong one."""

import importlib.util
import sys
import time
from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
import pytest
from toys import relay, toy

from model.certificate import certify
from model.outcome import Outcome
from model.price_hull import hour_loads, whole
from model.program import compile_model
from model.schemes import build
from model.solvers import METHODS, auto, binaries, follower, price_regions, pyomo_door, solve
from model.solvers.binaries import round_by_direction, settle
from model.solvers.follower import Follower
from model.solvers.hour_market import HourMarket
from model.solvers.outer_approximation import branch
from model.solvers.price_regions import Search
from model.solvers.relaxation import solve_relaxation


def silent(message):
    pass


def compiled(case, mode="big_m"):
    problem = build(case, mode=mode)
    return problem, compile_model(problem.m)


@pytest.fixture(scope="module")
def congested():
    """A case whose leaders move prices, and its welfare point, which is not the best."""
    problem, program = compiled(toy(3, 3, load_mw=7.0, rate_mw=1.0))
    return problem, program, auto.welfare(problem, program, 1e-4, 60.0, silent)


@pytest.fixture(scope="module")
def conflict():
    """A relaxed point whose binaries are in conflict."""
    problem, program = compiled(relay())
    relaxed = program.relaxed()
    x = solve_relaxation(relaxed).x
    assert round_by_direction(program, x)[1].any()
    return program, relaxed, x


def later(seconds=60.0):
    return time.monotonic() + seconds


# Settling binaries in conflict.


def test_settling_ends_without_a_point_where_rounds_or_time_are_used_up(conflict):
    program, relaxed, x = conflict
    assert settle(program, relaxed, x, later()) is not None
    assert settle(program, relaxed, x, later(), rounds=1) is None
    assert settle(program, relaxed, x, time.monotonic() - 1.0) is None


def test_settling_ends_without_a_point_where_no_side_is_feasible(conflict):
    program, relaxed, x = conflict
    boundary = program.column("feeder[0].P_boundary")
    # Beyond the ratings of the root: no point is feasible, whatever the binaries.
    impossible = relaxed.with_fixed(dict.fromkeys(boundary.tolist(), 100.0))
    assert settle(program, impossible, x, later()) is None


def test_binaries_that_cost_more_than_half_the_gap_are_branched_on_under_a_tariff():
    """No search over prices follows, so the gap that settling left is closed here."""
    problem, program = compiled(relay("tariff"))
    relaxed = program.relaxed()
    first = solve_relaxation(relaxed)
    settled = relaxed.objective(settle(program, relaxed, first.x, later()))
    outcome = solve(problem, program, "auto", 1e-7, 60.0)
    assert relaxed.objective(first.x) < settled - 1e-6 * abs(settled), "settling costs nothing"
    assert outcome.bound is not None and outcome.nodes > 0
    assert program.objective(outcome.x) <= settled + 1e-6 * abs(settled)
    # 1e-6: what the certificate allows in rows; the method was asked for a tenth of it.
    assert certify(problem, program, outcome, 1e-6).status == "certified"


def test_no_point_of_the_binaries_is_the_outcome_of_branching(monkeypatch):
    """Where neither settling nor branching has a point, the status is branching's and the bound stays."""
    problem, program = compiled(relay())
    monkeypatch.setattr(auto, "settle", lambda *arguments: None)
    monkeypatch.setattr(auto, "branch", lambda *arguments: Outcome("infeasible"))
    outcome = solve(problem, program, "auto", 1e-4, 60.0)
    assert outcome.x is None and outcome.status == "infeasible" and len(outcome.parts) == 1


# The follower's answer.


def test_a_follower_without_a_dispatch_or_without_prices_has_no_answer(congested):
    problem, program, outcome = congested
    assert Follower(problem, program)(outcome.x) is not None
    cut = problem.m.follower
    lower, upper = program.lower.copy(), program.upper.copy()
    for v in (cut.pg, cut.shed):  # load, and nothing to serve it
        upper[program.column(v.name)] = 0.0
    assert Follower(problem, program.with_bounds(lower, upper))(outcome.x) is None
    upper = program.upper.copy()
    upper[program.column(cut.kkt.gamma.name)] = 0.0  # prices of the cheapest block are above
    assert Follower(problem, replace(program, upper=upper))(outcome.x) is None


def test_a_follower_without_an_answer_is_an_error_and_no_point(congested, monkeypatch):
    problem, program, _ = congested
    monkeypatch.setattr(auto, "Follower", lambda *arguments: lambda x: None)
    outcome = solve(problem, program, "auto", 1e-4, 60.0)
    assert outcome.status == "error" and "no solution" in outcome.message
    assert outcome.bound is None


# Price regions.


def search(congested, point):
    problem, program, outcome = congested
    return Search(problem, program, outcome, point, silent)


def is_valid_bound(congested, outcome):
    """Parts that cover everything, with a bound not above the optimum."""
    problem, program, _ = congested
    best = solve(problem, program, "auto", 1e-4, 60.0)
    certificate = certify(problem, program, outcome, 1e-4)
    assert certificate.bound_by == "safe", certificate
    value = program.objective(best.x)
    assert certificate.bound <= value + 1e-6 * abs(value)
    return certificate


def test_the_gap_is_there_to_be_closed(congested):
    problem, program, outcome = congested
    assert certify(problem, program, outcome, 1e-4).status == "gap_limit"
    assert is_valid_bound(congested, solve(problem, program, "auto", 1e-4, 60.0)).status == "certified"


def test_a_search_out_of_time_keeps_a_valid_bound(congested):
    found = search(congested, lambda x: None).run(1e-4, time.monotonic() - 1.0)
    assert found.status == "time_limit" and found.nodes == 0
    assert is_valid_bound(congested, found).status in ("time_limit", "certified")


def test_a_search_whose_points_are_all_refused_keeps_its_first_point_and_a_valid_bound(congested):
    refused = []
    found = search(congested, lambda x: refused.append(x)).run(1e-6, later())
    assert refused and found.x is congested[2].x
    is_valid_bound(congested, found)


def test_an_answer_that_breaks_a_row_is_refused(congested, monkeypatch):
    """With no violation allowed at all, the search keeps its first point and its bound stays valid."""
    problem, program, first = congested
    monkeypatch.setattr(follower, "SOUND", -1.0)
    found = solve(problem, program, "auto", 1e-6, 60.0)
    assert program.objective(found.x) == pytest.approx(program.objective(first.x))
    monkeypatch.undo()
    is_valid_bound(congested, found)


def test_a_node_that_ends_without_a_result_keeps_its_parents_bound(congested, monkeypatch):
    ended = replace(solve_relaxation(congested[1].relaxed()), status="time_limit")
    monkeypatch.setattr(price_regions, "solve_relaxation", lambda *arguments: ended)
    found = search(congested, lambda x: None).run(1e-6, later())
    assert found.nodes == 1 and found.parts[0].bound == congested[2].parts[0].bound
    is_valid_bound(congested, found)


def test_a_degenerate_market_leaves_its_hour_unexplored(congested, monkeypatch):
    monkeypatch.setattr(HourMarket, "region", lambda *arguments: None)
    found = search(congested, lambda x: None).run(1e-6, later())
    assert all(leaf.region is None for leaves in found.trees.values() for leaf in leaves)
    is_valid_bound(congested, found)


@pytest.mark.parametrize("thin", [np.inf, None])
def test_leaves_too_thin_are_not_split(congested, monkeypatch, thin):
    """Too thin before anything is explored, and too thin inside a region."""

    class Thin(price_regions.Balls):
        balls = 0

        def ball(self):
            self.balls += 1
            centre, size = super().ball()
            return centre, size if self.balls == 1 else -1.0

    if thin:
        monkeypatch.setattr(price_regions, "THIN", thin)
    else:
        monkeypatch.setattr(price_regions, "Balls", Thin)
    found = search(congested, lambda x: None).run(1e-6, later())
    assert all(len(leaves) == 1 for leaves in found.trees.values())
    is_valid_bound(congested, found)


def test_an_infeasible_node_whose_ray_proves_nothing_has_no_bound(congested):
    problem, program, _ = congested
    own = search(congested, lambda x: None)
    relaxed = program.relaxed()
    result = solve_relaxation(relaxed)
    blind = replace(
        result, status="infeasible", row_duals=0 * result.row_duals, cone_duals=0 * result.cone_duals
    )
    assert own._bound(relaxed, blind)[0] == -np.inf


def test_an_hour_has_no_region_where_its_basis_is_not_one(congested, monkeypatch):
    problem, program, _ = congested
    market = HourMarket(problem, program, 0)
    hour = hour_loads(problem, program, dict.fromkeys(range(3), 0.0))[0]
    load = hour.box.mean(axis=1)
    assert market.region(load, hour) is not None and len(whole(hour).h) == 0
    cost, dispatch, duals, basic = market.solve(load)
    monkeypatch.setattr(market, "solve", lambda load: (cost, dispatch, duals, np.zeros_like(basic)))
    assert market.region(load, hour) is None
    # One column twice over is no basis, whatever the number of columns.
    market.A[:, 1] = market.A[:, 0]
    twice = basic.copy()
    twice[[0, 1]], first = True, np.flatnonzero(basic)
    twice[[own for own in first if own > 1][: int(twice.sum() - basic.sum())]] = False
    assert twice.sum() == basic.sum()
    monkeypatch.setattr(market, "solve", lambda load: (cost, dispatch, duals, twice))
    assert market.region(load, hour) is None


def test_an_hour_that_cannot_be_served_is_an_arithmetic_error(congested):
    problem, program, _ = congested
    market = HourMarket(problem, program, 0)
    market.upper = np.zeros_like(market.upper)
    with pytest.raises(ArithmeticError, match="infeasible"):
        market.solve(np.full(len(market.host_rows), 5.0))


# Outer approximation.


def disc(least):
    """Integers on a disc of radius 1 with x + y at least something; the cheapest point is wanted."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(-2, 2), domain=pyo.Integers), pyo.Var(bounds=(-2, 2))
    m.disc = pyo.Constraint(expr=m.x**2 + m.y**2 <= 1)
    m.enough = pyo.Constraint(expr=m.x + m.y >= least)
    m.cost = pyo.Objective(expr=2 * m.x + m.y)
    return compile_model(m)


def test_outer_approximation_without_a_start_finds_the_optimum():
    """x = 0, y = 0.9 costs 0.9; x = 1 leaves y = 0 only, which costs 2, and x = -1 leaves none."""
    outcome = branch(disc(0.9), np.zeros(2), 1e-6, 10.0, silent)
    assert outcome.status == "solved"
    assert outcome.x == pytest.approx([0.0, 0.9], abs=1e-6)
    assert outcome.bound == pytest.approx(0.9, abs=1e-5)


def test_outer_approximation_says_infeasible_where_the_cuts_alone_are():
    outcome = branch(disc(5.0), np.zeros(2), 1e-6, 10.0, silent)
    assert outcome.status == "infeasible" and outcome.x is None


def test_outer_approximation_out_of_time_keeps_its_start():
    """A feasible start: x = 1, y = 0 costs 2."""
    outcome = branch(disc(1.0), np.array([1.0, 0.0]), 1e-6, -1.0, silent)
    assert outcome.x == pytest.approx([1.0, 0.0])
    assert outcome.status == "time_limit"


def test_outer_approximation_proves_that_no_integer_lies_on_the_disc():
    """x + y at least 1.2: x = 0 needs y = 1.2 and x = 1 needs y = 0.2, though the relaxation is feasible."""
    outcome = branch(disc(1.2), np.zeros(2), 1e-6, 10.0, silent)
    assert outcome.x is None and outcome.status == "infeasible"


# Methods that stand on other solvers.


@pytest.mark.parametrize("method", ["highs", "naive", "relaxation", "gurobi", "mindtpy"])
def test_an_infeasible_feeder_is_a_status_of_every_method(method):
    case = toy(1, 1, sun=0.0, battery=0.0)
    feeders = (case.feeders[0].model_copy(update={"vmin": 0.9999}),)
    problem, program = compiled(case.model_copy(update={"feeders": feeders}))
    outcome = solve(problem, program, method, 1e-4, 60.0)
    assert outcome.status == "infeasible" and outcome.x is None


def test_a_solvers_own_point_is_kept_where_the_follower_has_no_answer(congested, monkeypatch):
    problem, program, outcome = congested
    monkeypatch.setattr(pyomo_door, "Follower", lambda *arguments: lambda x: None)
    assert pyomo_door.polished(problem, program, outcome.x, 1e-4) is outcome.x


def test_a_follower_that_costs_more_than_the_gap_does_not_replace_a_solvers_point(congested, monkeypatch):
    problem, program, outcome = congested
    dear = outcome.x.copy()
    dear[program.column("feeder[0].p_import")] += 1.0
    monkeypatch.setattr(pyomo_door, "Follower", lambda *arguments: lambda x: dear)
    assert pyomo_door.polished(problem, program, outcome.x, 1e-4) is outcome.x
    assert pyomo_door.polished(problem, program, dear, 1e-4) is dear


def test_gurobi_says_what_is_missing(monkeypatch):
    gurobi = METHODS["gurobi"]
    gurobipy = pytest.importorskip("gurobipy")

    def refused(params):
        raise gurobipy.GurobiError(10009, "no licence here")

    monkeypatch.setattr(gurobipy, "Env", refused)
    assert gurobi.available() == "a method with a licence (gurobi says: no licence here)"
    monkeypatch.setitem(sys.modules, "gurobipy", None)  # as where it is not installed
    assert "needs the package gurobipy" in gurobi.available()


def test_scip_says_which_extra_it_needs(monkeypatch):
    scip = METHODS["scip"]
    monkeypatch.setattr(scip, "find_spec", lambda name: None)
    assert "pip install" in scip.available()
    monkeypatch.setattr(scip, "find_spec", importlib.util.find_spec)


def test_binaries_of_the_complementarities_are_not_the_leaders(conflict):
    program, *_ = conflict
    own = binaries.leader_binaries(program)
    assert program.integer[own].all()
    assert not set(own) & set(program.column("complementarity.binding"))
    assert len(own) + len(program.column("complementarity.binding")) == program.integer.sum()
