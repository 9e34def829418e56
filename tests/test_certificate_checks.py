"""Every check of the certificate at its limit: a hair within passes, a hair beyond is named."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from proofs import hourly_search, native_hours, part_programs, whole_search
from toys import toy

from model import certificate
from model.bounds import safe_bound
from model.certificate import Check, certify
from model.follower_check import FollowerCheck, FollowerRestated
from model.metrics import Schedule, extract
from model.price_hull import Leaf, hour_loads, split
from model.program import Program, compile_model
from model.schemes import build
from model.solvers import solve

BASE = 10.0
WITHIN, BEYOND = 0.99, 1.01


@pytest.fixture(scope="module", params=[whole_search, hourly_search], ids=["the whole", "hours apart"])
def solved(request):
    """A case in which the proof needs regions in several hours, by either search."""
    problem = build(toy(3, 3, load_mw=7.0, rate_mw=1.0))
    program = compile_model(problem.m)
    outcome = request.param(problem, program, 1e-6)
    assert outcome.trees and len(outcome.parts) >= 1
    assert (outcome.cuts is None) == (request.param is whole_search)
    return problem, program, outcome


@pytest.fixture(scope="module")
def right(solved):
    found = certify(*solved, 1e-5)
    assert found.status == "certified" and found.bound_by == "safe", found
    return found


def failed(found):
    return [check.name for check in found.checks if not check.passed]


def test_the_checks_are_these(right):
    names = [check.name for check in right.checks]
    assert len(set(names)) == len(names)
    assert set(names) >= {
        "rows",
        "boxes",
        "cones",
        "integrality",
        "special ordered sets",
        "losses",
        "line ratings",
        "follower's balance",
        "follower's limits",
        "follower's dispatch is optimal",
        "prices are dual optimal",
        "multiplier bounds",
        "objective",
        "bound below objective",
    }


def test_a_check_passes_up_to_its_limit_and_never_without_a_number():
    assert Check("a", 1.0, 1.0).passed and not Check("a", 1.0 + 1e-12, 1.0).passed
    assert not Check("a", math.nan, 1.0).passed and not Check("a", math.inf, 1.0).passed
    assert Check("a", -math.inf, 0.0).passed is True


def at_limit(solved, monkeypatch, share, name):
    """The certificate of the solution with one measure at a share of its limit."""
    problem, program, outcome = solved
    value = share * 1e-6
    if name == "rows":
        monkeypatch.setattr(Program, "row_misses", lambda self, x: np.array([0.0, value]))
    elif name == "cones":
        monkeypatch.setattr(Program, "cone_misses", lambda self, x: np.array([0.0, value]))
    elif name == "boxes":
        lower = program.lower.copy()
        column = program.column("feeder[0].P_boundary")[0]
        lower[column] = outcome.x[column] + value
        program = replace(program, lower=lower)
    elif name == "boxes above":
        upper = program.upper.copy()
        column = program.column("feeder[0].P_boundary")[0]
        upper[column] = outcome.x[column] - value
        program = replace(program, upper=upper)
    elif name == "integrality":
        x = outcome.x.copy()
        column = program.column("feeder[0].importing")[0]
        x[column] += value if x[column] < 0.5 else -value
        outcome = replace(outcome, x=x)
    elif name == "objective":
        own = Program.objective
        gone = value * max(abs(own(program, outcome.x)), 1.0)
        monkeypatch.setattr(Program, "objective", lambda self, x: own(self, x) + gone)
    elif name == "losses":
        monkeypatch.setattr(Schedule, "missing_losses_mva", lambda self: BASE * value)
    elif name == "line ratings":
        monkeypatch.setattr(Schedule, "overcurrent_mva", lambda self: BASE * value)
    elif name == "multiplier bounds":
        monkeypatch.setattr(certificate, "shortfall", lambda *arguments: value * 1e-6)
    else:
        # The prices are held to 1e-8 of the follower's cost or of the leaders', whichever is less.
        leaders = program.objective(outcome.x)
        phi = 2 * leaders if name.endswith("leaders") else leaders / 2
        attribute, unit = {
            "follower's balance": ("imbalance_mw", BASE),
            "follower's limits": ("excess_mw", BASE),
            "follower's dispatch is optimal": ("regret", phi),
            "prices are dual optimal": ("price_regret", phi * 1e-2),
            "prices are dual optimal for the leaders": ("price_regret", leaders * 1e-2),
        }[name]
        own = certificate.FollowerCheck

        def measured(*arguments):
            found = own(*arguments)
            found.scale = phi
            setattr(found, attribute, unit * value)
            return found

        monkeypatch.setattr(certificate, "FollowerCheck", measured)
    return certify(problem, program, outcome, 1e-5)


LIMITS = [
    "rows",
    "boxes",
    "boxes above",
    "cones",
    "integrality",
    "losses",
    "line ratings",
    "follower's balance",
    "follower's limits",
    "follower's dispatch is optimal",
    "prices are dual optimal",
    "prices are dual optimal for the leaders",
    "multiplier bounds",
    "objective",
]


@pytest.mark.parametrize("name", LIMITS)
def test_a_measure_within_its_limit_passes(solved, monkeypatch, name):
    assert failed(at_limit(solved, monkeypatch, WITHIN, name)) == []


@pytest.mark.parametrize("name", LIMITS)
def test_a_measure_beyond_its_limit_is_an_error_and_named(solved, monkeypatch, name):
    found = at_limit(solved, monkeypatch, BEYOND, name)
    check = name.removesuffix(" above").removesuffix(" for the leaders")
    assert check in failed(found) and found.status == "error"
    assert check in found.message and found.message.startswith("failed: ")


@pytest.mark.parametrize(("share", "passes"), [(WITHIN, True), (BEYOND, False)])
def test_a_pair_of_which_one_must_be_zero_is_measured_by_its_boxes(share, passes):
    problem = build(toy(1, 1), mode="sos1")
    program = compile_model(problem.m)
    outcome = solve(problem, program, "auto", 1e-4, 60.0)
    pair = program.sos1[len(program.sos1) // 2]
    x = outcome.x.copy()
    extent = np.maximum(abs(program.lower), abs(program.upper))
    x[pair] = share * 1e-6 * extent[pair] * np.array([1.0, 5.0])
    found = certify(problem, program, replace(outcome, x=x), 1e-3)
    assert ("special ordered sets" not in failed(found)) == passes
    x[pair] = np.array([0.0, 0.5]) * extent[pair]
    found = certify(problem, program, replace(outcome, x=x), 1e-3)
    assert "special ordered sets" not in failed(found)
    measured = {check.name: check.value for check in found.checks}
    assert measured["special ordered sets"] < 1e-6


def test_pairs_without_extent_and_programs_without_pairs_are_in_order(solved):
    _, program, outcome = solved
    assert certificate._sos_violation(program, outcome.x) == 0.0
    pair = replace(program, sos1=np.array([[0, 1]]), lower=0 * program.lower, upper=0 * program.upper)
    assert certificate._sos_violation(pair, 0 * outcome.x) == 0.0
    assert certificate._sos_violation(pair, np.full_like(outcome.x, -1e-12)) == pytest.approx(1.0)


def test_integrality_is_the_distance_to_the_nearest_whole_number(solved):
    _, program, _ = solved
    own = replace(program, integer=np.arange(len(program.c)) < 3)
    x = np.zeros(len(program.c))
    x[:4] = [0.9, 2.25, -3.0, 0.5]
    assert certificate._integrality(own, x) == pytest.approx(0.25)
    assert certificate._integrality(replace(own, integer=np.zeros_like(own.integer)), x) == 0.0


def test_money_is_added_up_from_the_schedule_and_gaps_are_relative_to_it(solved, right):
    problem, program, outcome = solved
    schedule = extract(problem, program, outcome.x)
    assert right.objective == pytest.approx(sum(schedule.payments().values()), rel=1e-12)
    assert right.abs_gap == pytest.approx(right.objective - right.bound, abs=1e-12)
    assert right.objective > 1 and right.gap == pytest.approx(right.abs_gap / right.objective, rel=1e-12)
    assert right.shed_mwh == pytest.approx(schedule.shed.sum(), abs=1e-12)
    assert right.relaxation_slack == pytest.approx(schedule.phantom_losses_mwh(), abs=1e-12)
    assert right.cone_violation == program.cone_misses(outcome.x).max()
    assert right.follower_regret == next(
        check.value for check in right.checks if check.name == "follower's dispatch is optimal"
    )
    assert right.coupling == "prices"


def test_shedding_is_stated():
    problem = build(toy(1, 1, load_mw=60.0))
    program = compile_model(problem.m)
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    found = certify(problem, program, outcome, 1e-3)
    assert found.shed_mwh > 1
    assert found.shed_mwh == pytest.approx(extract(problem, program, outcome.x).shed.sum())


def test_an_objective_of_cents_has_its_gap_relative_to_a_dollar(solved, monkeypatch):
    """And the money that may be amiss is relative to a dollar too."""
    problem, program, outcome = solved
    tenth = {"energy": 0.1}
    monkeypatch.setattr(Schedule, "payments", lambda self: tenth)
    monkeypatch.setattr(Program, "objective", lambda self, x: 0.1 + WITHIN * 1e-6)
    blind = replace(outcome, parts=(), bound=0.1 - 0.25)
    found = certify(problem, program, blind, 1e-3)
    assert failed(found) == [] and found.objective == 0.1
    assert found.gap == pytest.approx(0.25) == found.abs_gap
    assert found.bound_by == "solver" and found.status == "gap_limit"
    monkeypatch.setattr(Program, "objective", lambda self, x: 0.1 + BEYOND * 1e-6)
    assert failed(certify(problem, program, blind, 1e-3)) == ["objective"]


@pytest.mark.parametrize(("asked", "status"), [(1.01, "certified"), (1.0, "certified"), (0.99, "gap_limit")])
def test_a_gap_is_certified_where_it_is_at_most_the_one_asked_for(solved, right, asked, status):
    problem, program, outcome = solved
    loose = replace(outcome, parts=(), bound=0.9 * right.objective)
    gap = certify(problem, program, loose, 1.0).gap
    assert gap == pytest.approx(0.1)
    assert certify(problem, program, loose, asked * gap).status == status
    late = replace(loose, status="time_limit")
    assert certify(problem, program, late, asked * gap).status == status.replace("gap", "time")
    assert certify(problem, program, replace(loose, message="said"), asked * gap).message == "said"


@pytest.mark.parametrize(("share", "passes"), [(WITHIN, True), (BEYOND, False)])
def test_a_bound_above_the_objective_is_an_error(solved, right, share, passes):
    problem, program, outcome = solved
    price = extract(problem, program, outcome.x).boundary_price
    misses = program.row_misses(outcome.x), program.box_misses(outcome.x), program.cone_misses(outcome.x)
    worth = problem.instance.base_mva * sum(miss.sum() for miss in misses) * np.abs(price).max()
    assert worth < 1e-6 * problem.instance.base_mva * np.abs(price).sum()
    bound = right.objective + share * (1e-6 * abs(right.objective) + worth)
    found = certify(problem, program, replace(outcome, bound=bound), 1e-5)
    assert found.bound_by == "solver" and found.bound == bound
    assert (failed(found) == []) == passes
    if not passes:
        assert failed(found) == ["bound below objective"] and found.status == "error"


def test_a_solvers_word_counts_only_where_it_is_more(solved, right):
    problem, program, outcome = solved
    for bound in (right.bound - 1.0, right.bound, None):
        found = certify(problem, program, replace(outcome, bound=bound), 1e-5)
        assert (found.bound, found.bound_by) == (right.bound, "safe")
    nothing = certify(problem, program, replace(outcome, parts=()), 1e-5)
    assert (nothing.bound, nothing.bound_by, nothing.gap, nothing.abs_gap) == (None, None, None, None)
    assert nothing.status == "gap_limit"


def test_without_a_point_the_status_is_the_outcomes_and_the_bound_stays(solved, right):
    problem, program, outcome = solved
    for status, expected in (("time_limit", "time_limit"), ("solved", "error")):
        found = certify(problem, program, replace(outcome, x=None, status=status, message="why"), 1e-5)
        assert (found.status, found.message, found.bound) == (expected, "why", right.bound)
        assert found.objective is None and found.bound_by == "safe"
        assert [(check.name, check.passed) for check in found.checks] == [("multiplier bounds", True)]
    x = outcome.x.copy()
    x[7] = math.nan
    found = certify(problem, program, replace(outcome, x=x), 1e-5)
    assert (found.status, found.message, found.bound) == ("error", "failed: finite point", right.bound)


@pytest.mark.parametrize(("beyond", "bound_by"), [(-0.01, "solver"), (0.01, "safe")])
def test_infeasible_is_proven_by_a_bound_above_the_cost_of_every_point(solved, monkeypatch, beyond, bound_by):
    """A bound above some costs, or above the constant alone, proves nothing."""
    problem, program, outcome = solved
    most = program.c0 + sum(
        max(c * low, c * up) for c, low, up in zip(program.c, program.lower, program.upper, strict=True)
    )
    assert most > program.c0 + 1
    monkeypatch.setattr(certificate, "_bound_of_parts", lambda *arguments: most + beyond)
    claimed = replace(outcome, x=None, status="infeasible")
    found = certify(problem, program, claimed, 1e-5)
    assert (found.status, found.bound, found.bound_by) == ("infeasible", None, bound_by)
    monkeypatch.setattr(certificate, "_bound_of_parts", lambda *arguments: program.most_cost)
    assert certify(problem, program, claimed, 1e-5).bound_by == "solver", "a point of that cost may exist"


def test_a_feasible_case_called_infeasible_rests_on_the_solvers_word(solved, right):
    problem, program, outcome = solved
    found = certify(problem, program, replace(outcome, x=None, status="infeasible"), 1e-5)
    assert right.bound > program.c0, "else this bound is no test of the constant"
    assert (found.status, found.bound, found.bound_by) == ("infeasible", None, "solver")


def test_plain_data_keeps_every_field_and_each_verdict(right):
    data = right.to_dict()
    assert data["status"] == "certified" and data["bound"] == right.bound
    assert [check["passed"] for check in data["checks"]] == [True] * len(right.checks)
    assert data["checks"][0] == {
        "name": "rows",
        "value": right.checks[0].value,
        "limit": 1e-6,
        "passed": True,
    }
    wrong = replace(right, checks=(Check("rows", 1.0, 1e-6),)).to_dict()
    assert wrong["checks"][0]["passed"] is False


def test_what_was_certified_cannot_be_changed_afterwards(right):
    for record, field in ((right, "status"), (right, "bound"), (right.checks[0], "value")):
        with pytest.raises(FrozenInstanceError):
            setattr(record, field, getattr(record, field))


# The bound of parts.


def bound_by_hand(solved, lost=0.0):
    """The least bound over the parts, each program built again, less what regions miss in each hour."""
    nodes = part_programs(*solved, native_hours(*solved[:2], margin=1e-10))
    bounds = [
        safe_bound(node, part.row_duals, part.cone_duals)
        for part, node in zip(solved[2].parts, nodes, strict=True)
    ]
    return min(bounds) - lost


def test_the_bound_of_parts_is_the_least_of_them_less_what_regions_miss(solved, right, monkeypatch):
    """Of every hour the worst leaf counts, and hours add up."""
    problem, program, outcome = solved
    assert right.bound == pytest.approx(bound_by_hand(solved), rel=1e-9)
    seen: dict[int, list[Leaf]] = {}

    def misses(instance, follower, t, loads, leaf):
        assert instance is problem.instance
        seen.setdefault(t, []).append(leaf)
        return 0.01 * (t + len(seen[t]) % 2)

    monkeypatch.setattr(certificate, "region_error", misses)
    found = certify(problem, program, outcome, 1e-5)
    expected = sum(0.01 * (t + 1) for t in seen)
    assert set(seen) == set(outcome.trees) and expected > 0
    assert found.bound == pytest.approx(bound_by_hand(solved, expected), rel=1e-9)


@pytest.mark.parametrize("phi", [300.0, 0.0])
def test_the_cost_of_native_load_has_a_margin_for_what_a_linear_program_leaves(solved, monkeypatch, phi):
    """Found too small it would raise every payment, and with it the bound."""
    problem, program, outcome = solved
    given = []

    def noted(own, compiled, native_cost):
        given.append(native_cost)
        return hour_loads(own, compiled, native_cost)

    found = phi - WITHIN * 1e-10 * max(phi, 1.0)
    monkeypatch.setattr(FollowerRestated, "optimal_cost", lambda self, load: np.full(load.shape[1], found))
    monkeypatch.setattr(certificate, "hour_loads", noted)
    monkeypatch.setattr(certificate, "region_error", lambda *arguments: 0.0)
    assert math.isfinite(certificate._bound_of_parts(problem, program, outcome))
    (costs,) = given
    assert set(costs) == {0, 1, 2}
    assert all(0 <= cost - phi < 0.1 * (phi - found) for cost in costs.values())


def test_every_part_counts(solved, monkeypatch):
    problem, program, outcome = solved
    monkeypatch.setattr(certificate, "covers", lambda *arguments: True)
    answers = iter(range(100, 0, -1))
    monkeypatch.setattr(certificate, "safe_bound", lambda *arguments: float(next(answers)))
    monkeypatch.setattr(certificate, "region_error", lambda *arguments: 0.0)
    twice = replace(outcome, parts=(*outcome.parts, *outcome.parts))
    assert certificate._bound_of_parts(problem, program, twice) == 101 - len(twice.parts)


def test_a_region_that_no_leaf_of_a_tree_or_part_shows_proves_nothing(solved):
    """Its plane would lift the payment of unexplored leaves without anybody having checked it."""
    problem, program, outcome = solved
    t = next(iter(outcome.trees))
    region = next(leaf.region for leaf in outcome.trees[t] if leaf.region is not None)
    part = outcome.parts[0]
    unchecked = replace(part, known=part.known | {t: (*part.known.get(t, ()), replace(region))})
    found = certify(problem, program, replace(outcome, parts=(unchecked, *outcome.parts[1:])), 1e-5)
    assert found.bound is None
    elsewhere = replace(part, known=part.known | {(t + 1) % 3: (region,)})
    used = certificate._bound_of_parts(
        problem, program, replace(outcome, parts=(elsewhere, *outcome.parts[1:]))
    )
    assert used == -math.inf


def test_leaves_explored_after_a_part_was_closed_and_hours_without_any_change_nothing(solved, right):
    """The search goes on elsewhere: its trees then hold regions that this proof does not use."""
    problem, program, outcome = solved
    t, leaves = next(iter(outcome.trees.items()))
    leaf = next(leaf for leaf in leaves if leaf.region is not None)
    (inside,) = split(leaf, replace(leaf.region), [])
    later = outcome.trees | {t: (*(own for own in leaves if own is not leaf), inside)}
    assert certify(problem, program, replace(outcome, trees=later), 1e-5).bound == right.bound
    bare = outcome.trees | {99: (Leaf(np.zeros((0, 1)), np.zeros(0)),)}
    assert certify(problem, program, replace(outcome, trees=bare), 1e-5).bound == right.bound


def test_the_relaxation_alone_is_a_part_and_its_bound_needs_no_region(solved, monkeypatch):
    problem, program, outcome = solved
    root = solve(problem, program, "highs", 0.5, 60.0).parts
    assert len(root) == 1 and not root[0].chosen and not root[0].fixed
    monkeypatch.setattr(certificate, "covers", lambda *arguments: False)
    with_cuts = replace(outcome, parts=root, trees={})
    outcome = replace(outcome, cuts=None)
    found = certificate._bound_of_parts(problem, program, replace(outcome, parts=root, trees={}))
    if with_cuts.cuts is not None:
        assert certificate._bound_of_parts(problem, program, with_cuts) == -math.inf
    assert found == safe_bound(program.relaxed(), root[0].row_duals, root[0].cone_duals)
    for changed in (replace(root[0], fixed={0: 1.0}), replace(root[0], chosen={0: ()})):
        one = replace(outcome, parts=(changed,), trees={})
        assert certificate._bound_of_parts(problem, program, one) == -math.inf
    two = replace(outcome, parts=(root[0], root[0]), trees={})
    assert certificate._bound_of_parts(problem, program, two) == -math.inf


def test_a_point_that_misses_nothing_may_not_cost_less_than_its_bound(solved, right, monkeypatch):
    problem, program, outcome = solved
    for name in ("row_misses", "box_misses", "cone_misses"):
        monkeypatch.setattr(Program, name, lambda self, x: np.zeros(2))
    for share, passes in ((WITHIN, True), (BEYOND, False)):
        bound = right.objective + share * 1e-6 * abs(right.objective)
        found = certify(problem, program, replace(outcome, bound=bound, parts=()), 1e-5)
        assert ("bound below objective" not in failed(found)) == passes


def test_what_many_small_misses_are_worth_ends_with_the_tolerance_at_each_adn_and_hour(
    solved, right, monkeypatch
):
    problem, program, outcome = solved
    monkeypatch.setattr(Program, "row_misses", lambda self, x: np.full(10**6, 9e-7))
    price = extract(problem, program, outcome.x).boundary_price
    worth = 1e-6 * problem.instance.base_mva * np.abs(price).sum()
    for share, passes in ((WITHIN, True), (BEYOND, False)):
        bound = right.objective + share * (1e-6 * abs(right.objective) + worth)
        found = certify(problem, program, replace(outcome, bound=bound, parts=()), 1e-5)
        assert ("bound below objective" not in failed(found)) == passes


@pytest.mark.parametrize("losses", [0.0, 0.25, 40.0])
@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "exact"), (WITHIN, "exact"), (1.0, "exact"), (BEYOND, "not exact")]
)
def test_the_relaxation_is_exact_up_to_a_thousandth_of_the_losses_and_10_watt(
    solved, monkeypatch, losses, share, verdict
):
    problem, program, outcome = solved
    most = 1e-3 * losses + 1e-6 * BASE * problem.instance.hours
    monkeypatch.setattr(Schedule, "losses_mwh", lambda self: losses)
    monkeypatch.setattr(Schedule, "phantom_losses_mwh", lambda self: share * most)
    found = certify(problem, program, outcome, 1e-5)
    assert (found.relaxation, found.relaxation_slack) == (verdict, share * most)


def test_prices_may_suit_a_load_10_watt_away_and_no_more(solved, monkeypatch):
    problem, program, outcome = solved
    asked = []

    def noted(instance, schedule, within_mw):
        asked.append(within_mw)
        return FollowerCheck(instance, schedule, within_mw)

    monkeypatch.setattr(certificate, "FollowerCheck", noted)
    certify(problem, program, outcome, 1e-5)
    assert asked == [1e-6 * BASE]


@pytest.mark.parametrize(("gap", "status"), [(0.9e-3, "certified"), (1.1e-3, "gap_limit")])
def test_a_gap_not_asked_for_is_a_thousandth(solved, right, gap, status):
    problem, program, outcome = solved
    bound = right.objective - gap * max(abs(right.objective), 1.0)
    found = certify(problem, program, replace(outcome, bound=bound, parts=()))
    assert found.status == status
