"""Proofs by cuts, and what the certificate makes of cuts that were spoilt."""

from dataclasses import replace

import pytest
from toys import toy

from model.certificate import certify
from model.hour_blocks import Cuts, blocks_of, cut_rows, with_cuts
from model.program import compile_model
from model.schemes import build
from model.solvers import solve


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
        "other": Cuts(outcome.cuts.block[:1], outcome.cuts.row_duals[:1], outcome.cuts.cone_duals[:1]),
    }[spoil]
    found = certify(problem, program, replace(outcome, cuts=cuts), 1e-3)
    assert found.bound is None and found.status != "certified"


def test_the_shared_program_holds_no_more_cuts_than_a_part_had(proven):
    problem, program, outcome, _ = proven
    blocks = blocks_of(problem, program)
    sides, coefficients = cut_rows(blocks, outcome.cuts)
    for part in outcome.parts:
        base = with_cuts(blocks.relaxation, sides[: part.n_cuts], coefficients[: part.n_cuts])
        assert len(part.row_duals) >= len(base.row_lower)
