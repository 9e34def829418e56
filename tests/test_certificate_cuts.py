"""Proofs by cuts on blocks and on whole hours, and what the certificate makes of those that were spoilt."""

import math
from dataclasses import replace

import numpy as np
import pytest
from proofs import apart as search_apart
from proofs import begun, hourly_search, native_hours, unproven
from toys import ramping, toy

from model import by_hour, certificate
from model.bounds import safe_bound
from model.certificate import certify
from model.hour_blocks import Cuts, cut_rows
from model.outcome import Bounded, Outcome
from model.price_hull import hull, whole
from model.program import compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.relaxation import solve_relaxation


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


@pytest.fixture(scope="module")
def proven():
    problem, program = compiled(toy(3, 2, rate_mw=4.0))
    outcome = solve(problem, program, "decomposed", 1e-3, 60.0)
    return problem, program, outcome, certify(problem, program, outcome, 1e-3)


def test_cuts_spoilt_do_not_lift_the_bound(proven):
    problem, program, outcome, certificate = proven
    assert certificate.status == "certified"
    for spoil in (2.0, -1.0, 0.0):
        cuts = replace(outcome.cuts, row_duals=[spoil * y for y in outcome.cuts.row_duals])
        found = certify(problem, program, replace(outcome, cuts=cuts), 1e-3)
        assert found.bound is None or found.bound <= certificate.bound + 1e-6 * abs(certificate.bound)


@pytest.mark.parametrize("spoil", ["shape", "block", "missing", "other"])
def test_cuts_of_another_program_prove_nothing(proven, spoil):
    problem, program, outcome, _ = proven
    cuts = {
        "shape": replace(outcome.cuts, cone_duals=[z[:-1] for z in outcome.cuts.cone_duals]),
        "block": replace(outcome.cuts, block=outcome.cuts.block - 100),
        "missing": None,
        "other": Cuts(
            outcome.cuts.block[:1],
            outcome.cuts.row_duals[:1],
            outcome.cuts.cone_duals[:1],
            outcome.cuts.reference,
        ),
    }[spoil]
    found = certify(problem, program, replace(outcome, cuts=cuts), 1e-3)
    assert found.bound is None and found.status != "certified"


# The hours apart.

TIGHT = toy(3, 3, load_mw=7.0, rate_mw=1.0)


@pytest.fixture(scope="module")
def apart():
    problem, program = compiled(TIGHT)
    outcome = solve(problem, program, "decomposed", 1e-4, 60.0)
    found = certify(problem, program, outcome, 1e-4)
    assert found.status == "certified" and found.bound_by == "safe"
    assert any(len(leaves) > 1 for leaves in outcome.trees.values())
    return problem, program, outcome


def bound_of(apart, **changes):
    problem, program, outcome = apart
    return certify(problem, program, replace(outcome, **changes), 1e-4).bound


def changed_parts(outcome, **changes):
    return tuple(replace(part, **changes) for part in outcome.parts)


def test_cuts_on_hours_spoilt_do_not_lift_the_bound(apart):
    *_, outcome = apart
    right = bound_of(apart)
    for spoil in (2.0, -1.0, 0.0, 0.999, math.nan):
        for name in ("row_duals", "cone_duals"):
            cuts = replace(outcome.cuts, **{name: [spoil * y for y in getattr(outcome.cuts, name)]})
            found = bound_of(apart, cuts=cuts)
            assert found is None or found <= right + 1e-3 * abs(right)


@pytest.mark.parametrize("hour", range(3))
def test_a_part_that_leaves_out_an_hour_proves_nothing(apart, hour):
    """That hour's payment would be free, or its income lost."""
    *_, outcome = apart
    chosen, known, trees = (
        [{t: own for t, own in part.items() if t != hour} for part in parts]
        for parts in (
            [part.chosen for part in outcome.parts],
            [part.known for part in outcome.parts],
            [outcome.trees],
        )
    )
    parts = tuple(
        replace(part, chosen=own, known=seen)
        for part, own, seen in zip(outcome.parts, chosen, known, strict=True)
    )
    assert bound_of(apart, parts=parts) is None
    assert bound_of(apart, parts=parts, trees=trees[0]) is None


def with_own_duals(apart, parts, trees):
    """Parts with the dual vectors of their own programs, if they had any: the shape at least is right."""
    problem, program, outcome = apart
    hours = native_hours(problem, program)
    blocks = by_hour.blocks_by_hour(problem, program, outcome.cuts.reference, hours)
    found = []
    for part in parts:
        loads = blocks.hour_loads(hours, *cut_rows(blocks, outcome.cuts), outcome.cuts.block)
        node = hull(blocks.relaxation, loads, part.chosen, part.known).program
        duals = np.zeros(len(node.row_lower))
        assert math.isfinite(safe_bound(node, duals, np.zeros(0)))
        found.append(replace(part, row_duals=duals, n_cuts=len(outcome.cuts.block)))
    return tuple(found)


def test_hours_left_out_are_refused_whatever_the_dual_vectors(apart):
    *_, outcome = apart
    (t, leaves), *_ = outcome.trees.items()
    one = Bounded({t: leaves}, {t: ()}, np.zeros(0), np.zeros(0), 0.0)
    parts = with_own_duals(apart, [one], {t: leaves})
    assert bound_of(apart, parts=parts, trees={t: leaves}) is None
    none = with_own_duals(apart, [replace(one, chosen={}, known={})], {})
    assert bound_of(apart, parts=none, trees={}) is None
    every = replace(one, chosen=dict(outcome.trees), known=dict.fromkeys(outcome.trees, ()))
    assert bound_of(apart, parts=with_own_duals(apart, [every], outcome.trees)) is not None


def test_an_hour_that_there_is_not_proves_nothing(apart):
    """Neither with the parts nor without: the other hours do not stand in for it."""
    *_, outcome = apart
    (leaves, *_), T = outcome.trees.values(), len(outcome.trees)
    for hour in (T, -1):
        parts = changed_parts(
            outcome,
            chosen=outcome.parts[0].chosen | {hour: leaves},
            known=outcome.parts[0].known | {hour: ()},
        )
        assert bound_of(apart, parts=parts, trees=outcome.trees | {hour: leaves}) is None


def test_a_solvers_word_stands_where_cuts_prove_nothing(apart):
    problem, program, outcome = apart
    word = program.objective(outcome.x) - 1.0
    cuts = replace(outcome.cuts, block=outcome.cuts.block - 100)
    found = certify(problem, program, replace(outcome, cuts=cuts, bound=word), 1e-4)
    assert (found.bound, found.bound_by) == (word, "solver")


def test_binaries_are_not_fixed_where_no_program_holds_them(apart):
    _, program, outcome = apart
    column = int(np.flatnonzero(program.integer)[0])
    for parts in (
        changed_parts(outcome, fixed={column: 0.0}) + changed_parts(outcome, fixed={column: 1.0}),
        changed_parts(outcome, fixed={column: 1.0}) + outcome.parts,
    ):
        assert bound_of(apart, parts=parts) is None


@pytest.mark.parametrize(
    "reference",
    [np.zeros((3, 2)), np.zeros((2, 3)), np.zeros(9), np.full((3, 3), math.nan), np.full((3, 3), math.inf)],
)
def test_a_reference_that_is_no_price_of_every_battery_and_hour_proves_nothing(apart, reference):
    *_, outcome = apart
    assert bound_of(apart, cuts=replace(outcome.cuts, reference=reference)) is None


def test_another_reference_does_not_lift_the_bound(apart):
    """The dual vectors are those of the old one: cuts are made anew, and what they miss is lost."""
    _, program, outcome = apart
    right, rng = bound_of(apart), np.random.default_rng(0)
    reference = outcome.cuts.reference
    for other in (
        reference + 1.0,
        2 * reference,
        reference + 1e-3 * rng.normal(size=reference.shape),
        1e18 * rng.normal(size=reference.shape),
        1e300 * np.sign(rng.normal(size=reference.shape)),
    ):
        found = bound_of(apart, cuts=replace(outcome.cuts, reference=other))
        assert found is None or found <= right + 1e-4 * abs(right)


def test_cuts_of_other_instances_and_none_prove_nothing(apart):
    *_, outcome = apart
    for cuts in (
        None,
        hourly_search(*compiled(toy(2, 3, load_mw=7.0, rate_mw=1.0)), 1e-4).cuts,
        hourly_search(*compiled(toy(3, 2, load_mw=7.0, rate_mw=1.0)), 1e-4).cuts,
    ):
        assert bound_of(apart, cuts=cuts) is None


def test_a_tree_or_parts_that_do_not_cover_prove_nothing(apart):
    *_, outcome = apart
    t, leaves = next((t, leaves) for t, leaves in outcome.trees.items() if len(leaves) > 1)
    for k in range(len(leaves)):
        fewer = leaves[:k] + leaves[k + 1 :]
        assert bound_of(apart, trees=outcome.trees | {t: fewer}) is None
        parts = tuple(replace(part, chosen=part.chosen | {t: fewer}) for part in outcome.parts)
        assert bound_of(apart, parts=with_own_duals(apart, parts, outcome.trees)) is None
    for k in range(len(outcome.parts)):
        assert bound_of(apart, parts=outcome.parts[:k] + outcome.parts[k + 1 :]) is None


def test_a_tariff_has_no_hours_apart(apart):
    *_, outcome = apart
    problem, program = compiled(toy(3, 3, settlement="tariff", load_mw=7.0, rate_mw=1.0))
    x = solve(problem, program, "auto", 1e-3, 20.0).x
    assert certify(problem, program, replace(outcome, x=x), 1e-3).bound is None


def test_one_hour_is_no_hours_apart(monkeypatch):
    """Without a battery nothing but this rule refuses the proof, a right one."""
    problem, program = compiled(toy(2, 1, load_mw=7.0, rate_mw=1.0, battery=0.0))
    outcome = search_apart(problem, program).solve(unproven(problem, program), 1e-4, math.inf)
    assert outcome.cuts is not None
    assert certify(problem, program, outcome, 1e-4).bound is None
    monkeypatch.setattr(certificate, "applies", lambda problem: True)
    assert certify(problem, program, outcome, 1e-4).bound is not None


def test_with_ramps_no_hour_has_a_cost_of_its_own():
    """The cost of native load by hours is less than that of all: what may be paid back is too little."""
    problem, program = compiled(ramping())
    best = solve(problem, program, "auto", 1e-3, 60.0)
    assert certify(problem, program, best, 1e-3).status == "certified"
    least = program.objective(best.x)
    hours = native_hours(problem, program)
    trees, known = {t: (whole(hour),) for t, hour in hours.items()}, dict.fromkeys(hours, ())
    node = hull(program.relaxed(), hours, trees, known).program
    result = solve_relaxation(node)
    duals = result.row_duals, result.cone_duals
    assert safe_bound(node, *duals) > least + 1.0
    part = Bounded(trees, known, *duals, 0.0)
    one = Outcome("solved", best.x, parts=(part,), trees=trees)
    assert certify(problem, program, one, 1e-3).bound is None
    other = search_apart(problem, program).solve(unproven(problem, program), 1e-3, math.inf)
    assert other.cuts is not None and other.least > least + 1.0
    assert certify(problem, program, replace(other, x=best.x, bound=None), 1e-3).bound is None


def test_the_first_cuts_are_those_of_a_part(apart):
    """A part with fewer cuts than there are now is proven by those that it had."""
    problem, program, outcome = apart
    search = begun(problem, program, 1e-4)
    root = search._root()
    n_cuts = root.n_cuts
    assert 0 < n_cuts < search.n_cuts
    early = Outcome(
        "solved",
        outcome.x,
        parts=(root,),
        trees={t: tuple(leaves) for t, leaves in search.trees.items()},
        cuts=search.answered.cuts,
    )
    bound = certify(problem, program, early, 1e-4).bound
    assert bound == pytest.approx(root.bound, rel=1e-6)
    for other in (n_cuts - 1, n_cuts + 1):
        wrong = replace(early, parts=(replace(root, n_cuts=other),))
        assert certify(problem, program, wrong, 1e-4).bound is None


def test_a_cut_whose_numbers_overflow_says_nothing(apart):
    *_, outcome = apart
    cuts = outcome.cuts
    spoilt = Cuts(
        np.append(0, cuts.block),
        [np.full_like(cuts.row_duals[int(np.argmin(cuts.block))], 1e308), *cuts.row_duals],
        [np.full_like(cuts.cone_duals[int(np.argmin(cuts.block))], 1e308), *cuts.cone_duals],
        cuts.reference,
    )
    assert cuts.block.min() == 0
    parts = tuple(replace(part, n_cuts=part.n_cuts + 1) for part in outcome.parts)
    assert bound_of(apart, cuts=spoilt, parts=parts) == bound_of(apart)
