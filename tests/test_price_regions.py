"""Price regions: the disjunction, the branching over it, and the check of both."""

from dataclasses import replace

import numpy as np
import pytest
from proofs import hourly_search, least_value, native_hours, part_programs, whole_search
from toys import relay, toy

from generators import instance
from model.bounds import safe_bound
from model.certificate import certify
from model.follower_check import FollowerRestated
from model.outcome import Outcome
from model.price_hull import Leaf, hour_loads, whole
from model.program import compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.hour_market import HourMarket


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


def prepared(case, gap=1e-4):
    problem, program = compiled(case)
    return problem, program, solve(problem, program, "auto", gap, 60.0)


@pytest.fixture(scope="module")
def congested():
    return prepared(toy(2, 2, rate_mw=4.0))


@pytest.fixture(scope="module")
def divided():
    """A case in which the load of an hour may lie in several regions."""
    solved = prepared(toy(5, 3, load_mw=8.0), gap=1e-5)
    assert any(len(leaves) > 1 for leaves in solved[2].trees.values())
    return solved


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [
        toy(2, 2, rate_mw=4.0),
        toy(1, 4, rate_mw=2.5),
        toy(3, 3, load_mw=7.0, rate_mw=1.0),
        toy(5, 3, load_mw=8.0),
    ],
    ids=["congested", "four hours", "three ADNs", "five ADNs"],
)
def test_the_default_method_finds_the_optimum_of_branching_on_every_complementarity(case):
    problem, program, outcome = prepared(case)
    certificate = certify(problem, program, outcome, 1e-4)
    assert certificate.status == "certified", certificate
    assert certificate.bound_by == "safe"
    reference = certify(problem, program, solve(problem, program, "highs", 1e-5, 60.0), 1e-3)
    assert certificate.objective == pytest.approx(reference.objective, rel=2e-4)


@pytest.mark.long
@pytest.mark.parametrize("search", [whole_search, hourly_search])
@pytest.mark.parametrize(("n_adns", "seed", "gap"), [(1, 0, 1e-5), (2, 1, 1e-3)])
def test_the_safe_bound_of_a_part_loses_less_than_a_millionth(n_adns, seed, gap, search):
    """Against the value that a solver finds for the part's own program, on default instances."""
    problem, program = compiled(instance(n_adns, seed))
    outcome = search(problem, program, gap)
    certificate = certify(problem, program, outcome, 1e-3)
    assert certificate.status == "certified" and certificate.bound_by == "safe", certificate
    lost = []
    nodes = part_programs(problem, program, outcome, native_hours(problem, program))
    for part, node in zip(outcome.parts, nodes, strict=True):
        value = least_value(node)
        if part.chosen and value is not None:
            lost.append((value - safe_bound(node, part.row_duals, part.cone_duals)) / abs(value))
    assert lost and np.abs(lost).max() < 1e-6


def test_a_region_is_where_its_prices_are_the_followers():
    """At random loads inside, cost is the region's plane; beyond a facet the plane is not above the cost."""
    case = instance(3, hours=2, congestion="strong")
    problem = build(case)
    program = compile_model(problem.m)
    market, follower = HourMarket(problem, program, 1), FollowerRestated(case)
    hour = hour_loads(problem, program, dict.fromkeys(range(2), 0.0))[1]
    rows = [follower.row[i] for i in sorted({feeder.host_bus for feeder in case.feeders})]
    rng = np.random.default_rng(0)
    inside = outside = 0
    region = market.region(hour.box.mean(axis=1), hour)
    for load in rng.uniform(hour.box[:, 0], hour.box[:, 1], (200, len(hour.box))):
        served = follower.native[:, [1]].copy()
        served[rows, 0] += case.base_mva * load
        cost, plane = follower.optimal_cost(served), region.value + region.lam @ load
        if (region.facets[0] @ load <= region.facets[1]).all():
            assert cost == pytest.approx(plane, rel=1e-8)
            inside += 1
        else:
            assert plane <= cost + 1e-6
            outside += 1
    assert inside and outside


def _certificate(congested, **changes):
    problem, program, outcome = congested
    return certify(problem, program, replace(outcome, **changes), 1e-4)


def test_the_proof_itself_holds(congested):
    certificate = _certificate(congested)
    assert certificate.status == "certified" and certificate.bound_by == "safe"
    assert congested[2].trees and congested[2].parts


def _with_region(congested, change):
    """The proof with one region changed everywhere it is used."""
    *_, outcome = congested
    leaf = next(leaf for leaves in outcome.trees.values() for leaf in leaves if leaf.region)
    other = change(leaf.region)
    swapped = Leaf(leaf.G, leaf.h, other, leaf.parent)

    def leaves(old):
        return tuple(swapped if own is leaf else own for own in old)

    parts = tuple(
        replace(
            part,
            chosen={s: leaves(old) for s, old in part.chosen.items()},
            known={s: tuple(other if r is leaf.region else r for r in old) for s, old in part.known.items()},
        )
        for part in outcome.parts
    )
    return {"parts": parts, "trees": {s: leaves(old) for s, old in outcome.trees.items()}}


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, lam=r.lam + 1.0),
        lambda r: replace(r, value=r.value - 1.0),
        lambda r: replace(r, base=r.base + 0.01),
        lambda r: replace(r, slope=1.1 * r.slope),
    ],
    ids=["prices", "value", "dispatch", "slope"],
)
def test_a_wrong_region_proves_nothing(congested, change):
    assert _certificate(congested, **_with_region(congested, lambda region: region)).bound is not None
    certificate = _certificate(congested, **_with_region(congested, change))
    assert certificate.status == "gap_limit" and certificate.bound is None


def test_a_region_stretched_over_its_facets_proves_nothing(divided):
    """The whole box given to one region, as if its prices held everywhere."""
    *_, outcome = divided
    t = next(t for t, leaves in outcome.trees.items() if len(leaves) > 1)
    region = next(own.region for own in outcome.trees[t] if own.region)
    n_hosts = len(region.lam)
    none = np.zeros((0, n_hosts)), np.zeros(0)
    everywhere = Leaf(*none, region, Leaf(*none))
    part = replace(outcome.parts[0], chosen={t: (everywhere,)}, known={t: (region,)})
    assert _certificate(divided, parts=(part,), trees={t: (everywhere,)}).bound is None


def test_parts_that_leave_something_out_prove_nothing(divided):
    problem, program, outcome = divided
    assert certify(problem, program, outcome, 1e-4).bound is not None
    for k in range(len(outcome.parts)):
        fewer = replace(outcome, parts=outcome.parts[:k] + outcome.parts[k + 1 :])
        assert certify(problem, program, fewer, 1e-4).bound is None


def test_binaries_in_conflict_are_divided_and_the_proof_needs_both_sides():
    problem, program, outcome = prepared(relay(), gap=1e-6)
    fixed = [part.fixed for part in outcome.parts if part.fixed]
    assert len(fixed) >= 2 and certify(problem, program, outcome, 1e-5).bound_by == "safe"
    for k in range(len(outcome.parts)):
        fewer = replace(outcome, parts=outcome.parts[:k] + outcome.parts[k + 1 :])
        assert certify(problem, program, fewer, 1e-5).bound is None
    # A column that is not a binary may not be fixed, whatever covers it.
    column = int(np.flatnonzero(~program.integer)[0])
    sides = tuple(replace(outcome.parts[0], fixed={column: value}) for value in (0.0, 1.0))
    assert certify(problem, program, replace(outcome, parts=sides), 1e-5).bound is None


def test_a_leaf_lost_from_a_tree_is_noticed(divided):
    *_, outcome = divided
    t = next(t for t, leaves in outcome.trees.items() if len(leaves) > 1)
    for k in range(len(outcome.trees[t])):
        kept = outcome.trees[t][:k] + outcome.trees[t][k + 1 :]
        assert _certificate(divided, trees=outcome.trees | {t: kept}).bound is None


def test_a_bound_without_parts_is_the_solvers_word(congested):
    problem, program, outcome = congested
    certificate = certify(problem, program, Outcome("solved", outcome.x, bound=-1e6), 1e-4)
    assert certificate.bound_by == "solver" and certificate.status == "gap_limit"


def test_the_whole_box_is_one_unexplored_leaf():
    problem = build(toy(2, 2))
    hour = hour_loads(problem, compile_model(problem.m), dict.fromkeys(range(2), 0.0))[0]
    assert len(whole(hour).h) == 0 and whole(hour).region is None
