"""The blocks of ADNs and hours, and the cuts that stand in for them."""

from dataclasses import replace

import numpy as np
import pytest
from toys import relay, toy

from model.bounds import safe_bound
from model.hour_blocks import Cuts, cut_rows
from model.price_hull import hour_loads
from model.program import compile_model
from model.schemes import build
from model.solvers.hour_market import HourMarket
from model.solvers.recourse import Recourse
from model.solvers.relaxation import solve_relaxation
from model.solvers.warm import Warm
from model.solvers.workers import Here

TOYS = {"two": toy(2, 3), "congested": toy(3, 2, rate_mw=4.0), "relay": relay(), "one hour": toy(2, 1)}


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


@pytest.fixture(scope="module", params=TOYS)
def recourse(request):
    problem, program = compiled(TOYS[request.param])
    markets = {t: HourMarket(problem, program, t) for t in range(problem.instance.hours)}
    native = {t: market.solve(np.zeros(len(market.host_rows)))[0] for t, market in markets.items()}
    own = Recourse(problem, program, hour_loads(problem, program, native), markets)
    own.workers = Here(own.feeders)
    own.trial(np.zeros(len(own.blocks.of_column)))
    return own


def some_points(program, n, seed=0):
    """Points of a relaxation, each the best at other costs of what cannot be negative."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        dearer = np.where(program.lower >= 0, 300 * rng.random(len(program.c)), 0.0)
        found = solve_relaxation(replace(program, c=program.c + dearer))
        assert found.status == "solved"
        yield found.x


# Blocks.


def test_every_own_column_row_and_cone_belongs_to_one_block_and_energy_joins_hours(recourse):
    blocks, problem, program = recourse.blocks, recourse.problem, recourse.program
    own = np.concatenate(blocks.columns)
    assert len(np.unique(own)) == len(own) == (blocks.of_column >= 0).sum()
    for d, b in problem.m.feeder.items():
        for variable in (b.charge, b.discharge, b.energy, b.charging, b.P_boundary):
            assert (blocks.of_column[program.columns[variable.name]] < 0).all(), variable.name
        for variable in (b.P, b.l, b.pv_p, b.grid_import, b.selling, b.p_import):
            at = blocks.of_column[program.columns[variable.name]].reshape(-1, blocks.hours)
            assert (at == d * blocks.hours + np.arange(blocks.hours)).all(), variable.name
    assert (blocks.of_column[program.columns["x"]] < 0).all()
    # Rows and cones hold own columns of their block only, shared rows none.
    p = blocks.program
    for matrix, owner in ((p.A, blocks.of_row), (p.cone_A, blocks.of_cone_row)):
        entry = matrix.tocoo()
        inside = blocks.of_column[entry.col] >= 0
        assert (blocks.of_column[entry.col][inside] == owner[entry.row][inside]).all()


def test_totals_in_place_of_trades_leave_the_relaxation_as_it_is(recourse):
    relaxed = solve_relaxation(recourse.program.relaxed())
    total = solve_relaxation(recourse.blocks.program)
    value = recourse.program.objective(relaxed.x)
    assert recourse.blocks.program.objective(total.x) == pytest.approx(value, rel=1e-6, abs=1e-5)


def test_the_shared_columns_of_a_point_meet_the_shared_program(recourse):
    """With eta the blocks' costs at that point, the cost is the same and no row is missed."""
    blocks = recourse.blocks
    for x in some_points(blocks.program, 5):
        s = shared_point(blocks, x)
        program = recourse.relaxation
        assert program.objective(s) == pytest.approx(blocks.program.objective(x), rel=1e-9, abs=1e-7)
        assert program.box_misses(s).max() < 1e-6
        # A cut has the cost of a megawatt-hour as a coefficient, and the point its solver's tolerance.
        assert np.maximum(program.row_lower - program.A @ s, 0).max() < 1e-3


def shared_point(blocks, x):
    own = np.where(blocks.of_column >= 0, blocks.program.c * x, 0.0)
    eta = np.bincount(blocks.of_column[blocks.of_column >= 0], own[blocks.of_column >= 0], blocks.n_blocks)
    return np.append(x[blocks.shared], eta)


# Cuts.


@pytest.mark.parametrize("seed", range(5))
def test_no_dual_vector_makes_a_cut_that_a_feasible_point_violates(recourse, seed):
    """Right, disturbed, or drawn at random."""
    blocks, rng = recourse.blocks, np.random.default_rng(seed)
    known = recourse.cuts
    size = rng.choice([0.0, 1e-3, 1.0, 100.0])
    drawn = rng.random() < 0.5
    cuts = Cuts(
        known.block,
        [(0.0 if drawn else y) + size * rng.normal(size=len(y)) for y in known.row_duals],
        [(0.0 if drawn else z) + size * rng.normal(size=len(z)) for z in known.cone_duals],
    )
    sides, coefficients = cut_rows(blocks, cuts)
    assert np.isfinite(sides).all()
    for x in some_points(blocks.program, 3, seed):
        beyond = sides - coefficients @ shared_point(blocks, x)
        # What the point's solver leaves, 1e-7 p.u. or so, times the vector's size.
        limit = [1e-5 * (1 + np.abs(y).sum() + np.abs(z).sum()) for y, z in zip(*cuts_of(cuts), strict=True)]
        assert (beyond <= limit).all()


def cuts_of(cuts):
    return cuts.row_duals, cuts.cone_duals


def test_a_cut_is_tight_where_it_was_taken(recourse):
    s = np.zeros(len(recourse.blocks.of_column))
    trial = recourse.trial(s)
    at = np.append(trial.s[recourse.blocks.shared], trial.own_cost)
    p, n = recourse.relaxation, len(recourse.base.row_lower)
    slack = p.A[n:] @ at - p.row_lower[n:]
    last = {b: k for k, b in enumerate(recourse.cut_block)}
    assert max(abs(slack[k]) for k in last.values()) < 1e-4 * max(trial.value, 1.0)


def test_vectors_that_do_not_fit_or_overflow(recourse):
    cuts = recourse.cuts
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(recourse.blocks, replace(cuts, row_duals=[y[:-1] for y in cuts.row_duals]))
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(recourse.blocks, replace(cuts, block=cuts.block + recourse.blocks.n_blocks))
    huge = replace(cuts, row_duals=[np.full_like(y, 1e308) for y in cuts.row_duals])
    assert (cut_rows(recourse.blocks, huge)[0] == -np.inf).all()


def test_the_bound_of_the_shared_program_rises_to_the_welfare_bound(recourse):
    """Cuts at the relaxation's own point close it, up to the price range in which they hold the power."""
    relaxed = solve_relaxation(recourse.blocks.program)
    value = recourse.blocks.program.objective(relaxed.x)
    for _ in range(12):
        warm = Warm(len(recourse.base.c))
        found = warm.solve(recourse.relaxation, ([], []), 60.0)
        bound = safe_bound(recourse.relaxation, found.row_duals, np.zeros(0))
        assert bound <= value + 1e-6 * max(abs(value), 1.0)
        recourse.trial(recourse.proposal(found.x))
    assert bound == pytest.approx(value, rel=1e-3)
