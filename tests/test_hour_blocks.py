"""Blocks of a program and the cuts that stand in for them; programs with totals in place of trades."""

from dataclasses import replace

import numpy as np
import pytest
from proofs import begun
from scipy.sparse import csr_array
from toys import relay, toy

from model.bounds import safe_bound
from model.hour_blocks import Blocks, Cuts, block_owner, cut_rows, with_totals
from model.program import compile_model
from model.schemes import build
from model.solvers.linear import solve_linear
from model.solvers.relaxation import solve_relaxation

TOYS = {"two": toy(2, 3), "congested": toy(3, 2, rate_mw=4.0), "relay": relay()}


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


def some_points(program, n, seed=0):
    """Points of a relaxation, each the best at other costs of what cannot be negative."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        dearer = np.where(program.lower >= 0, 300 * rng.random(len(program.c)), 0.0)
        found = solve_relaxation(replace(program, c=program.c + dearer))
        assert found.status == "solved"
        yield found.x


@pytest.fixture(scope="module", params=TOYS)
def search(request):
    return begun(*compiled(TOYS[request.param]), 1e-3)


@pytest.fixture(scope="module")
def points(search):
    """Within all boxes: nobody else solves the levels with the hours, so that they are not marked."""
    program, every = search.blocks.program, np.ones(len(search.blocks.program.c), dtype=bool)
    return list(some_points(replace(program, enforced_lower=every, enforced_upper=every), 4))


def shared_point(blocks, x):
    """A point's shared columns, and what each block costs there."""
    own = blocks.of_column >= 0
    eta = np.bincount(blocks.of_column[own], (blocks.program.c * x)[own], blocks.n_blocks)
    return np.append(x[blocks.shared], eta)


# Blocks.


def test_every_own_column_row_and_cone_belongs_to_one_block(search):
    blocks = search.blocks
    for grouped, of in (
        (blocks.columns, blocks.of_column),
        (blocks.rows, blocks.of_row),
        (blocks.cone_rows, blocks.of_cone_row),
    ):
        assert len(grouped) == blocks.n_blocks
        for b, own in enumerate(grouped):
            assert np.array_equal(own, np.flatnonzero(of == b))
    assert np.array_equal(
        np.sort(np.concatenate([*blocks.columns, blocks.shared])), np.arange(len(blocks.of_column))
    )
    assert [dims.sum() for dims in blocks.cone_dims] == [len(own) for own in blocks.cone_rows]
    # Rows and cones hold own columns of their block only, shared rows none.
    p = blocks.program
    for matrix, owner in ((p.A, blocks.of_row), (p.cone_A, blocks.of_cone_row)):
        entry = matrix.tocoo()
        inside = blocks.of_column[entry.col] >= 0
        assert (blocks.of_column[entry.col][inside] == owner[entry.row][inside]).all()


def test_a_row_of_two_blocks_has_no_owner():
    pattern = csr_array(np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]]))
    assert block_owner(pattern, np.array([0, 1, -1])).tolist() == [0, 1, -1]
    with pytest.raises(ValueError, match="two blocks"):
        block_owner(pattern, np.array([0, 1, 1]))


@pytest.mark.parametrize("name", TOYS)
def test_totals_in_place_of_trades_leave_the_relaxation_as_it_is(name):
    problem, program = compiled(TOYS[name])
    relaxed, total = program.relaxed(), with_totals(problem, program)
    first, other = solve_relaxation(relaxed), solve_relaxation(total)
    value = relaxed.objective(first.x)
    assert total.objective(other.x) == pytest.approx(value, rel=1e-6, abs=1e-5)
    # Trades stand in the totals' rows, and in the rows of no ADN.
    trades, T = program.columns["x"], problem.instance.hours
    rows = np.flatnonzero(np.diff(total.A[:, trades].tocsr().indptr))
    assert rows.min() >= len(relaxed.row_lower) and len(rows) <= 2 * problem.instance.n_adns * T
    for x in some_points(total, 2):
        assert relaxed.violation(x[: len(program.c)]) < 1e-6
        assert relaxed.objective(x[: len(program.c)]) == pytest.approx(total.objective(x))


@pytest.mark.parametrize("change", ["a stranger's row", "another size"])
def test_trades_stated_otherwise_are_refused(change):
    problem, program = compiled(TOYS["congested"])
    trades = program.columns["x"]
    A = program.A.tolil()
    rows = np.flatnonzero(A[:, [trades.start]].toarray().ravel())
    if change == "another size":
        A[rows[0], trades.start] *= 2.0
    else:  # arc 0 joins ADNs 0 and 1
        key = next(name for name, keys in program.row_keys.items() if any(d == 2 for d, _ in keys))
        k = next(k for k, (d, _) in enumerate(program.row_keys[key]) if d == 2)
        A[np.arange(len(program.row_lower))[program.rows[key]][k], trades.start] = 1.0
    with pytest.raises(ValueError, match="trade"):
        with_totals(problem, replace(program, A=A.tocsr()))


def test_the_shared_columns_of_a_point_meet_the_shared_program(search, points):
    """With eta the blocks' costs at that point, the cost is the same and no row is missed."""
    blocks, shared = search.blocks, search.blocks.relaxation
    for x in points:
        s = shared_point(blocks, x)
        assert shared.objective(s) == pytest.approx(blocks.program.objective(x), rel=1e-9, abs=1e-7)
        assert shared.box_misses(s).max() < 1e-6 and shared.row_misses(s).max(initial=0.0) < 1e-6
        # A cut has the cost of a megawatt-hour as a coefficient, and the point its solver's tolerance.
        assert (search.answered.sides - search.answered.coefficients @ s).max() < 1e-3


# Cuts.


@pytest.mark.parametrize("seed", range(5))
def test_no_dual_vector_makes_a_cut_that_a_feasible_point_violates(search, points, seed):
    """Right, disturbed, or drawn at random."""
    blocks, rng = search.blocks, np.random.default_rng(seed)
    known = search.answered.cuts
    size = rng.choice([0.0, 1e-3, 1.0, 100.0])
    drawn = rng.random() < 0.5
    cuts = replace(
        known,
        row_duals=[(0.0 if drawn else y) + size * rng.normal(size=len(y)) for y in known.row_duals],
        cone_duals=[(0.0 if drawn else z) + size * rng.normal(size=len(z)) for z in known.cone_duals],
    )
    sides, coefficients = cut_rows(blocks, cuts)
    assert np.isfinite(sides).all()
    for x in points:
        beyond = sides - coefficients @ shared_point(blocks, x)
        # What the point's solver leaves, 1e-7 p.u. or so, times the vector's size.
        limit = [
            1e-5 * (1 + np.abs(y).sum() + np.abs(z).sum())
            for y, z in zip(cuts.row_duals, cuts.cone_duals, strict=True)
        ]
        assert (beyond <= limit).all()


def test_vectors_that_do_not_fit_or_overflow(search):
    cuts, blocks = search.answered.cuts, search.blocks
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(blocks, replace(cuts, row_duals=[y[:-1] for y in cuts.row_duals]))
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(blocks, replace(cuts, cone_duals=[np.append(z, 0.0) for z in cuts.cone_duals]))
    with pytest.raises(ValueError, match="do not fit"):
        cut_rows(blocks, replace(cuts, block=cuts.block + blocks.n_blocks))
    huge = replace(cuts, row_duals=[np.full_like(y, 1e308) for y in cuts.row_duals])
    assert (cut_rows(blocks, huge)[0] == -np.inf).all()
    spoilt = replace(cuts, row_duals=[np.full_like(y, np.nan) for y in cuts.row_duals])
    zeros = replace(cuts, row_duals=[0 * y for y in cuts.row_duals])
    assert np.array_equal(cut_rows(blocks, spoilt)[0], cut_rows(blocks, zeros)[0])


# By hand: min -u1 + 2 u2 + s, u1 - s <= 0.5 (block 0), u2 + s >= 3 (block 1), boxes u in [0, 4], s in [0, 2].


@pytest.fixture
def small(search):
    A = csr_array(np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]]))
    no = np.zeros(3, dtype=bool)
    program = replace(
        search.blocks.program,
        c=np.array([-1.0, 2.0, 1.0]),
        A=A,
        row_lower=np.array([-np.inf, 3.0]),
        row_upper=np.array([0.5, np.inf]),
        lower=np.zeros(3),
        upper=np.array([4.0, 4.0, 2.0]),
        integer=no,
        enforced_lower=no,
        enforced_upper=no,
        cone_A=csr_array((0, 3)),
        cone_b=np.zeros(0),
        cone_dims=np.zeros(0, dtype=int),
    )
    of_column = np.array([0, 1, -1])
    return Blocks(program, 2, 2, of_column, block_owner(A, of_column), np.zeros(0, dtype=int))


def cuts_of(block, duals):
    return Cuts(
        np.array(block), [np.array([y]) for y in duals], [np.zeros(0) for _ in duals], np.zeros((0, 2))
    )


def test_cuts_by_hand(small):
    assert small.shared.tolist() == [2] and small.of_row.tolist() == [0, 1]
    assert [len(dims) for dims in small.cone_dims] == [0, 0]
    # eta_0 >= -0.5 - s by y = -1; half of it and the box: -0.25 - s/2 - 0.5 * 4. eta_1 >= 6 - 2 s by y = 2.
    sides, rows = cut_rows(small, cuts_of([0, 0, 1, 1, 0], [-1.0, -0.5, 2.0, 1.0, 1.0]))
    assert sides == pytest.approx([-0.5, -2.25, 6.0, 3.0, -4.0], abs=1e-12)
    assert (sides <= [-0.5, -2.25, 6.0, 3.0, -4.0]).all(), "rounded down"
    # y = 1 has no side to rest on and y = -1 no lower one: such duals are left out.
    assert rows.toarray().tolist() == [[1, 1, 0], [0.5, 1, 0], [2, 0, 1], [1, 0, 1], [0, 1, 0]]


def test_the_shared_program_with_the_right_cuts_is_the_whole(small):
    """Least of -u1 + 2 u2 + s: u1 = s + 0.5, u2 = 3 - s, so 5.5 - 2 s, at s = 2."""
    shared = small.relaxation
    assert shared.lower == pytest.approx([0.0, -4.0, 0.0], abs=1e-7)
    assert shared.upper == pytest.approx([2.0, 0.0, 8.0], abs=1e-7)
    assert (shared.lower[1:] < [-4.0, 0.0]).all() and (shared.upper[1:] > [0.0, 8.0]).all()
    sides, rows = cut_rows(small, cuts_of([0, 1], [-1.0, 2.0]))
    found = solve_linear(shared.c, rows, sides, np.full(2, np.inf), shared.lower, shared.upper)
    assert found.x == pytest.approx([2.0, -2.5, 2.0]) and shared.objective(found.x) == pytest.approx(1.5)
    with_cuts = replace(shared, A=rows, row_lower=sides, row_upper=np.full(2, np.inf), rows={}, row_keys={})
    assert safe_bound(with_cuts, found.row_duals, np.zeros(0)) == pytest.approx(1.5)
