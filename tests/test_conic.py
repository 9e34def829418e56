"""Clarabel's attempts at a program, and twins solved as one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from toys import toy

from generators import instance
from model.bounds import safe_bound
from model.program import compile_model
from model.schemes import build
from model.solvers import conic
from model.solvers.conic import EXACT, solve_conic
from model.solvers.relaxation import conic_columns, solve_relaxation
from model.solvers.twins import merge

# Refined, scaled.
FIRST, REFINED, UNSCALED = (False, True), (True, True), (True, False)


@pytest.fixture(scope="module")
def relaxed():
    return compile_model(build(toy(2, 2, rate_mw=1.0)).m).relaxed()


@pytest.fixture(autouse=True)
def not_small(monkeypatch):
    monkeypatch.setattr(conic, "SMALL", 0)


def tried(monkeypatch, *spoilt):
    """The attempts to come, of which some are spoilt: their status, and by how much their point is off."""
    made, right = [], conic._attempt

    def attempt(*given, refined, scaled):
        made.append((refined, scaled))
        result, missed = right(*given, refined=refined, scaled=scaled)
        if len(made) > len(spoilt):
            return result, missed
        status, off = spoilt[len(made) - 1]
        return replace(
            result, status=status, x=result.x + off, row_duals=result.row_duals + off
        ), missed + off

    monkeypatch.setattr(conic, "_attempt", attempt)
    return made


def test_what_the_first_attempt_settles_is_not_tried_again(relaxed, monkeypatch):
    made = tried(monkeypatch)
    chosen = conic_columns(relaxed)
    found = solve_conic(relaxed, chosen)
    assert made == [FIRST] and found.status == "solved"
    for status in ("infeasible", "time_limit"):
        made = tried(monkeypatch, (status, 0.0))
        assert solve_conic(relaxed, chosen).status == status
        assert made == [FIRST]


def test_a_small_program_is_refined_at_once(relaxed, monkeypatch):
    made = tried(monkeypatch)
    monkeypatch.setattr(conic, "SMALL", len(relaxed.c) + 1)
    assert solve_conic(relaxed, conic_columns(relaxed)).status == "solved"
    assert made == [REFINED]


def test_a_program_around_a_point_is_refined_at_once_and_as_exact_as_its_size_asks(relaxed, monkeypatch):
    made = tried(monkeypatch)
    chosen = conic_columns(relaxed)
    exact, rough = (solve_conic(relaxed, chosen, size=size) for size in (1e-9, 1e6))
    assert made == [REFINED, REFINED]
    assert rough.iterations < exact.iterations
    assert relaxed.c @ rough.x == pytest.approx(relaxed.c @ exact.x, abs=1e6 * conic.TOLERANCE * 10)


def test_an_attempt_without_an_end_is_followed_by_one_with_more_care(relaxed, monkeypatch):
    chosen = conic_columns(relaxed)
    expected = solve_conic(relaxed, chosen)
    for spoilt, attempts in (
        ([("error", 1.0)], [FIRST, REFINED]),
        ([("error", 1.0), ("error", 2.0)], [FIRST, REFINED, UNSCALED]),
    ):
        made = tried(monkeypatch, *spoilt)
        found = solve_conic(relaxed, chosen)
        assert made == attempts and found.status == "solved"
        assert relaxed.c @ found.x == pytest.approx(relaxed.c @ expected.x, rel=1e-6)
    made = tried(monkeypatch, *[("error", 1.0)] * 3)
    assert solve_conic(relaxed, chosen).status == "error"
    assert made == [FIRST, REFINED, UNSCALED]
    made = tried(monkeypatch, ("error", 1.0), ("time_limit", 0.0))
    assert solve_conic(relaxed, chosen).status == "time_limit"
    assert made == [FIRST, REFINED]


def test_a_point_that_misses_a_row_is_tried_again(relaxed, monkeypatch):
    chosen = conic_columns(relaxed)
    expected = solve_conic(relaxed, chosen)
    off = 2 * EXACT

    def solved_after(*spoilt):
        made = tried(monkeypatch, *[("solved", more) for more in spoilt])
        found = solve_conic(relaxed, chosen)
        assert found.status == "solved"
        return made, found

    made, found = solved_after(off)
    assert made == [FIRST, REFINED]
    assert relaxed.c @ found.x == pytest.approx(relaxed.c @ expected.x, rel=1e-6)
    # Unscaled it gives a better point, but not better duals.
    made, found = solved_after(off, off)
    assert made == [FIRST, REFINED, UNSCALED]
    unscaled = conic._attempt(relaxed, chosen, np.inf, conic.TOLERANCE, 0.0, refined=True, scaled=False)[0]
    refined = conic._attempt(relaxed, chosen, np.inf, conic.TOLERANCE, 0.0, refined=True, scaled=True)[0]
    assert found.x == pytest.approx(unscaled.x, abs=1e-12)
    assert found.row_duals == pytest.approx(refined.row_duals + off, abs=1e-12)
    # What is no better, or has no end, leaves what there was.
    for later in ("solved", 4 * off), ("error", 0.0):
        made = tried(monkeypatch, ("solved", off), ("solved", 3 * off), later)
        found = solve_conic(relaxed, chosen)
        assert found.status == "solved" and found.x == pytest.approx(expected.x + off, abs=1e-12)


def test_a_point_misses_what_it_leaves_and_not_what_the_solvers_slacks_leave(relaxed, monkeypatch):
    class Off:
        """Clarabel with its point or its slacks off by a little."""

        def __init__(self, *program):
            self.solution = solver(*program).solve()

        def solve(self):
            names = ("x", "s", "z", "status", "iterations")
            told = {name: getattr(self.solution, name) for name in names}
            return SimpleNamespace(**told | {name: np.array(told[name]) + by for name, by in off.items()})

    solver, chosen = conic.clarabel.DefaultSolver, conic_columns(relaxed)
    monkeypatch.setattr(conic.clarabel, "DefaultSolver", Off)

    def missed():
        settings = {"refined": True, "scaled": True}
        result, most = conic._attempt(relaxed, chosen, np.inf, conic.TOLERANCE, 0.0, **settings)
        return result.x, most

    off = {}
    x, exact = missed()
    assert exact < EXACT
    off = {"s": 1e-3}
    assert missed()[1] == exact
    off = {"x": 1e-3}
    y, most = missed()
    assert y[chosen].max() > x[chosen].max() and most >= 1e-3 - exact


def test_a_point_that_need_not_be_exact_is_taken_as_it_is(relaxed, monkeypatch):
    chosen = conic_columns(relaxed)
    made = tried(monkeypatch, ("solved", 2 * EXACT))
    assert solve_conic(relaxed, chosen, exact=False).status == "solved"
    assert made == [FIRST]
    # One that has no end is not.
    made = tried(monkeypatch, ("error", 1.0), ("solved", 2 * EXACT))
    assert solve_conic(relaxed, chosen, exact=False).status == "solved"
    assert made == [FIRST, REFINED]


def test_what_stalls_without_refinement_is_refined(relaxed, monkeypatch):
    chosen = conic_columns(relaxed)
    expected = solve_conic(relaxed, chosen)
    assert expected.iterations < conic.ITERATIONS
    monkeypatch.setattr(conic, "ITERATIONS", 3)
    made = tried(monkeypatch)
    found = solve_conic(relaxed, chosen, exact=False)
    assert made == [FIRST, REFINED] and found.status == "solved" and found.iterations > 3
    assert relaxed.c @ found.x == pytest.approx(relaxed.c @ expected.x, rel=1e-6)


@pytest.fixture(scope="module")
def peers():
    """Two default ADNs for three hours: 22 load buses of each have no device."""
    return compile_model(build(instance(2, 0, hours=3)).m).relaxed()


def test_peers_without_devices_are_one(peers):
    merged = merge(peers)
    accounts = 2 * 3 * 21
    assert len(merged.program.row_lower) == len(peers.row_lower) - accounts
    assert len(merged.program.c) == len(peers.c) - 3 * accounts
    assert merge(merged.program).program.A.shape == merged.program.A.shape


def test_the_whole_programs_point_and_duals_are_those_of_the_smaller(peers):
    merged = merge(peers)
    found = solve_conic(merged.program, conic_columns(merged.program))
    whole = solve_conic(peers, conic_columns(peers))
    cost = peers.c @ whole.x
    assert merged.program.c @ found.x == pytest.approx(cost, rel=1e-7)
    x, y = merged.point(found.x), merged.row_duals(found.row_duals)
    assert merged.together(x) == pytest.approx(found.x, abs=1e-12)
    assert peers.c @ x == pytest.approx(merged.program.c @ found.x, rel=1e-12)
    chosen = conic_columns(peers)
    rows = (abs(peers.A) @ chosen.astype(float)) > 0
    assert peers.row_misses(x)[rows].max() < 1e-7 and peers.cone_misses(x).max() < 1e-7
    assert peers.box_misses(x)[chosen].max() < 1e-7
    result = solve_relaxation(peers)
    assert result.status == "solved" and peers.violation(result.x) < 1e-7
    assert safe_bound(peers, result.row_duals, result.cone_duals) == pytest.approx(
        peers.objective(result.x), rel=1e-6
    )
    assert y.shape == peers.row_lower.shape


def peer_columns(program):
    """The columns of two twins' accounts, in the same order, and their rows."""
    merged = merge(program)
    rows = np.flatnonzero(merged.rows == np.bincount(merged.rows).argmax())[:2]
    return [program.A[[row]].indices for row in rows], rows


@pytest.mark.parametrize(
    "change", ["cost", "limit", "binary", "load below zero", "inequality", "coefficient"]
)
def test_a_peer_unlike_the_others_stays_apart(peers, change):
    (_, columns), (_, row) = peer_columns(peers)
    other = {
        "cost": {"c": peers.c + 0.1 * (np.arange(len(peers.c)) == columns[0])},
        "limit": {"enforced_upper": peers.enforced_upper | (np.arange(len(peers.c)) == columns[0])},
        "binary": {"integer": peers.integer | (np.arange(len(peers.c)) == columns[0])},
    }
    side = peers.row_upper.copy()
    if change == "load below zero":
        side[row] = -side[row]
        other[change] = {
            "row_lower": np.where(np.arange(len(side)) == row, side, peers.row_lower),
            "row_upper": side,
        }
    if change == "inequality":
        other[change] = {"row_lower": np.where(np.arange(len(side)) == row, -np.inf, peers.row_lower)}
    if change == "coefficient":
        A = peers.A.copy()
        A.data[A.indptr[row]] = 2.0
        other[change] = {"A": A}
    changed = merge(replace(peers, **other[change]))
    assert len(changed.program.row_lower) == len(merge(peers).program.row_lower) + 1
    assert (changed.rows == changed.rows[row]).sum() == 1


def test_peers_without_any_load_share_alike(peers):
    (first, _), (row, _) = peer_columns(peers)
    twins = merge(peers).rows == merge(peers).rows[row]
    none = replace(
        peers,
        row_lower=np.where(twins, 0.0, peers.row_lower),
        row_upper=np.where(twins, 0.0, peers.row_upper),
    )
    merged = merge(none)
    assert merged.shares[first] == pytest.approx(1 / twins.sum())
    assert np.isfinite(merged.point(np.ones(len(merged.program.c)))).all()
