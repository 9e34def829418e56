"""The interior-point method for programs side by side, against Clarabel, dense linear algebra and itself."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from proofs import native_hours
from scipy.sparse import csr_array

from generators import instance
from model.bounds import safe_bound
from model.by_hour import blocks_by_hour, stored_levels
from model.interior_point import LANES, cones, ldl, method, newton
from model.interior_point.pattern import pattern_of
from model.program import Program
from model.schemes import build
from model.solvers import alike, workers
from model.solvers.alike import solve_alike
from model.solvers.conic import misses, solve_conic
from model.solvers.hour_program import Hour, Question, hours_of
from model.stamping import compile_problem


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Programs of any size are solved side by side, each test's from no pattern."""
    monkeypatch.setattr(alike, "MANY", 0)
    monkeypatch.setattr(alike, "_shapes", {})


def drawn(seed: int, n: int = 12, n_equal: int = 3, n_rows: int = 9, dims: tuple[int, ...] = (3, 4, 2)):
    """Programs of one pattern that have a solution: rows of all kinds with one wide one, cones, free columns,
    boxes.
    """
    rng = np.random.default_rng(seed)
    m, k = n_equal + n_rows, sum(dims)
    linear, conic = (rng.random((m, n)) < 0.3) * 1.0, (rng.random((k, n)) < 0.3) * 1.0
    linear[-1] = 1.0
    linear[np.arange(m), rng.integers(0, n, m)] = conic[np.arange(k), rng.integers(0, n, k)] = 1.0
    A, C = csr_array(linear), csr_array(conic)
    found = []
    for _ in range(LANES):
        values, cone_values = rng.normal(size=A.nnz), rng.normal(size=C.nnz)
        own, own_cone = (
            csr_array((v, M.indices, M.indptr), M.shape) for v, M in ((values, A), (cone_values, C))
        )
        x = rng.uniform(-1, 1, n)
        at = own @ x
        kind = np.arange(m) % 3
        room = rng.uniform(0.1, 1.0, m)
        low = np.where(kind == 1, -np.inf, at - room)
        up = np.where(kind == 2, np.inf, at + room)
        low[:n_equal] = up[:n_equal] = at[:n_equal]
        starts = np.concatenate([[0], np.cumsum(dims)[:-1]])
        inside = np.zeros(k)
        inside[starts] = 3.0
        boxed = np.arange(n) < n - 2
        lower, upper = (
            np.where(boxed, x - rng.uniform(0.1, 1.0, n), -np.inf),
            np.where(boxed, x + 1.0, np.inf),
        )
        # Costs that free columns have a multiplier for: there is a dual vector.
        c = np.where(boxed, rng.normal(size=n), 0.0) + own[:n_equal].T @ rng.normal(size=n_equal)
        found.append(program(c, own, low, up, lower, upper, own_cone, inside - own_cone @ x, dims))
    return found


def program(c, A, row_lower, row_upper, lower, upper, cone_A, cone_b, dims) -> Program:
    n = len(c)
    return Program(
        c=c,
        c0=0.0,
        A=A,
        row_lower=row_lower,
        row_upper=row_upper,
        lower=lower,
        upper=upper,
        integer=np.zeros(n, dtype=bool),
        enforced_lower=np.isfinite(lower),
        enforced_upper=np.isfinite(upper),
        cone_A=cone_A,
        cone_b=cone_b,
        cone_dims=np.array(dims, dtype=int),
        cone_variables=n,
        sos1=np.zeros((0, 2), dtype=int),
        bilinear=[],
        rows={},
        row_keys={},
        columns={},
        variables=[],
        objective_map=None,  # type: ignore[arg-type]
    )


def side_by_side(programs, monkeypatch, **settings):
    """What programs give without Clarabel's help."""

    def nobody(*_, **__):
        raise AssertionError("Clarabel was asked")

    with monkeypatch.context() as patch:
        patch.setattr(alike, "solve_conic", nobody)
        return solve_alike(programs, exact=True, **settings)


@pytest.mark.parametrize("seed", range(12))
def test_points_and_dual_vectors_are_those_of_clarabel(seed, monkeypatch):
    programs = drawn(seed)
    for p, found in zip(programs, side_by_side(programs, monkeypatch), strict=True):
        expected = solve_conic(p)
        assert expected.status == found.status == "solved"
        scale = max(abs(p.c @ expected.x), 1.0)
        assert abs(p.c @ found.x - p.c @ expected.x) <= 1e-6 * scale
        assert misses(p, found.x) <= 1e-7
        # The dual vector proves the value by itself, where boxes bound what it misses.
        boxed = p.with_bounds(np.maximum(p.lower, -1e2), np.minimum(p.upper, 1e2))
        proven = safe_bound(boxed, found.row_duals, found.cone_duals)
        assert abs(proven - p.c @ expected.x) <= 5e-6 * scale


def of_one_pattern(n: int, seed: int = 3) -> list[Program]:
    """Programs of one pattern with costs of their own, which take unlike numbers of steps."""
    four, rng = drawn(seed), np.random.default_rng(seed)
    return [
        replace(p, c=p.c + rng.normal(size=len(p.c)) * np.isfinite(p.upper))
        for p in (four[k % LANES] for k in range(n))
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 13])
def test_any_number_of_programs_is_solved_and_none_depends_on_the_others(n, monkeypatch):
    """To the last bit: which programs were in a lane before, and beside it, says nothing."""
    programs = of_one_pattern(n)
    found = side_by_side(programs, monkeypatch)
    assert len(found) == n
    for p, own in zip(programs, found, strict=True):
        (alone,) = side_by_side([p], monkeypatch)
        assert np.array_equal(own.x, alone.x) and np.array_equal(own.row_duals, alone.row_duals)
        assert np.array_equal(own.cone_duals, alone.cone_duals) and own.iterations == alone.iterations
    assert n < 5 or len({own.iterations for own in found}) > 1


def test_a_lane_is_taken_by_the_next_program_when_one_ends(monkeypatch):
    """Thirteen programs take as many steps as lanes that are never idle before the last program begins."""
    steps = []
    factorise = method._Method._factorise

    def counted(self):
        steps.append(1)
        factorise(self)

    monkeypatch.setattr(method._Method, "_factorise", counted)
    programs = of_one_pattern(13)
    found = side_by_side(programs, monkeypatch)
    lanes = [0] * LANES
    for own in found:  # the lane that is free first takes it; a step of least squares is one more
        lanes[lanes.index(min(lanes))] += own.iterations + 1
    assert len(steps) == max(lanes)


def test_what_does_not_converge_leaves_its_lane_to_the_next(monkeypatch):
    programs = of_one_pattern(9)
    low, up = programs[2].row_lower.copy(), programs[2].row_upper.copy()
    low[0] = up[0] = 1e4
    bad = replace(programs[2], row_lower=low, row_upper=up)
    right = side_by_side(programs, monkeypatch)
    found = solve_alike([*programs[:2], bad, *programs[3:]], exact=True)
    assert found[2].status != "solved"
    for k in {*range(9)} - {2}:
        assert np.array_equal(found[k].x, right[k].x)


def test_programs_may_fix_different_columns(monkeypatch):
    programs = drawn(5)
    inner = [solve_conic(p).x for p in programs]
    held = [
        p.with_fixed({j: x[j] for j in columns})
        for p, x, columns in zip(programs, inner, ([], [0], [1, 2], list(range(12))), strict=True)
    ]
    for p, x, found in zip(held, inner, side_by_side(held, monkeypatch), strict=True):
        assert abs(p.c @ found.x - p.c @ x) <= 1e-6 * max(abs(p.c @ x), 1.0)
        assert np.array_equal(found.x[p.lower == p.upper], p.lower[p.lower == p.upper])


def test_one_pattern_serves_whatever_is_fixed(monkeypatch):
    programs = drawn(5)
    side_by_side(programs, monkeypatch)
    side_by_side([programs[0].with_fixed({0: programs[0].lower[0] + 0.1})], monkeypatch)
    assert len(alike._shapes) == 1
    for seed in range(alike.REMEMBERED + 2):
        side_by_side(drawn(seed), monkeypatch)
    assert len(alike._shapes) == alike.REMEMBERED


def test_what_has_no_solution_goes_to_clarabel_and_leaves_the_others_alone(monkeypatch):
    programs = drawn(7)
    right = side_by_side(programs, monkeypatch)
    low, up = programs[1].row_lower.copy(), programs[1].row_upper.copy()
    low[0] = up[0] = 1e4
    bad = replace(programs[1], row_lower=low, row_upper=up)
    asked = []

    def watched(p, **settings):
        asked.append(p)
        return solve_conic(p, **settings)

    monkeypatch.setattr(alike, "solve_conic", watched)
    found = solve_alike([programs[0], bad, *programs[2:]], exact=True)
    assert len(asked) == 1 and asked[0] is bad and found[1].status != "solved"
    for k in (0, 2, 3):
        assert found[k].status == "solved" and np.allclose(found[k].x, right[k].x, atol=1e-9)


@pytest.mark.parametrize("off", [0.0, 1.0])
def test_a_row_of_fixed_columns_says_nothing_or_that_there_is_no_solution(off, monkeypatch):
    programs = drawn(9)
    p = programs[0]
    x = solve_conic(p).x
    columns = p.A.indices[p.A.indptr[0] : p.A.indptr[1]]
    held = p.with_fixed({int(j): x[j] for j in columns})
    low, up = held.row_lower.copy(), held.row_upper.copy()
    low[0] = up[0] = (held.A @ np.where(held.lower == held.upper, held.lower, 0.0))[0] + off
    held = replace(held, row_lower=low, row_upper=up)
    if off:
        assert solve_alike([held], exact=True)[0].status != "solved"
    else:
        (found,) = side_by_side([held], monkeypatch)
        assert abs(p.c @ found.x - p.c @ x) <= 1e-6 * max(abs(p.c @ x), 1.0)


def test_a_point_that_misses_a_row_is_looked_for_again_where_it_has_to_be_exact(monkeypatch):
    programs = drawn(11)
    solve, asked = method.solve, []

    def off(*given):
        found = solve(*given)
        return replace(found, x=found.x + 1e-3)

    def watched(p, **settings):
        asked.append(settings)
        return solve_conic(p, **settings)

    monkeypatch.setattr(method, "solve", off)
    monkeypatch.setattr(alike, "solve_conic", watched)
    solve_alike(programs, exact=False)
    assert asked == []
    solve_alike(programs, exact=True)
    assert asked == [{"exact": True}] * LANES


def test_programs_of_other_patterns_are_told_apart(monkeypatch):
    """Rows of other kinds, or entries elsewhere, in programs of one size."""
    one, two = drawn(1), drawn(4)
    turned = replace(one[1], row_upper=np.where(np.arange(12) == 4, np.inf, one[1].row_upper))
    mixed = [one[0], two[0], turned, one[2]]
    for p, found in zip(mixed, side_by_side(mixed, monkeypatch), strict=True):
        expected = solve_conic(p)
        assert abs(p.c @ found.x - p.c @ expected.x) <= 1e-6 * max(abs(p.c @ expected.x), 1.0)
    assert len(alike._shapes) == 3


def test_small_programs_are_left_to_clarabel(monkeypatch):
    monkeypatch.setattr(alike, "MANY", 13)
    programs = drawn(1)
    for p, found in zip(programs, solve_alike(programs, exact=True), strict=True):
        assert np.array_equal(found.x, solve_conic(p).x)
    assert not alike._shapes


@pytest.mark.parametrize("wide", [2, 6, 100])
def test_how_many_rows_are_eliminated_changes_nothing(wide, monkeypatch):
    from model.interior_point import pattern

    monkeypatch.setattr(pattern, "WIDE", wide)
    programs = drawn(2)
    for p, found in zip(programs, side_by_side(programs, monkeypatch), strict=True):
        assert abs(p.c @ found.x - p.c @ solve_conic(p).x) <= 1e-6


def dense(pattern, entries):
    size = len(pattern.place)
    K = np.zeros((LANES, size, size))
    for j in range(size):
        for p in range(pattern.k_starts[j], pattern.k_starts[j + 1]):
            i = pattern.k_rows[p]
            K[:, i, j] = K[:, j, i] = entries[p]
    return K


@pytest.mark.parametrize("seed", range(4))
def test_factors_solve_what_dense_factors_solve(seed):
    p = drawn(seed)[0]
    rng = np.random.default_rng(seed)
    rows = p.A.indptr.astype(int), p.A.indices.astype(int)
    pattern = pattern_of(len(p.c), 3, len(p.row_lower) - 3, np.zeros(0, dtype=int), *rows)
    size = len(pattern.place)
    entries = rng.normal(size=(len(pattern.k_rows), LANES))
    entries[pattern.of_diagonal] = pattern.sign[:, None] * (10.0 * size + rng.random((size, LANES)))
    n_factor = int(pattern.l_starts[-1])
    lower, l_rows = np.zeros(LANES * n_factor), np.zeros(n_factor, dtype=np.uint32)
    inverse = np.zeros(LANES * size)
    matrix = pattern.k_starts, pattern.k_rows, entries.reshape(-1)
    ldl.factorise(
        size,
        *matrix,
        pattern.sign,
        pattern.l_starts,
        l_rows,
        lower,
        pattern.row_starts,
        pattern.l_columns,
        inverse,
    )
    rhs = rng.normal(size=(size, LANES))
    x = rhs.reshape(-1).copy()
    ldl.solve(size, pattern.l_starts, l_rows, lower, inverse, x)
    missed = np.zeros_like(x)
    ldl.residual(size, *matrix, x, rhs.reshape(-1), missed)
    for e, K in enumerate(dense(pattern, entries)):
        assert np.allclose(x.reshape(size, LANES)[:, e], np.linalg.solve(K, rhs[:, e]), atol=1e-8)
        assert np.allclose(missed.reshape(size, LANES)[:, e], rhs[:, e] - K @ x.reshape(size, LANES)[:, e])


def in_cones(rng, nl, dims):
    u = rng.normal(size=(nl + sum(dims), LANES))
    u[:nl] = np.abs(u[:nl]) + 0.1
    at = nl
    for dim in dims:
        u[at] = np.linalg.norm(u[at + 1 : at + dim], axis=0) + rng.uniform(0.1, 1.0, LANES)
        at += dim
    return u.reshape(-1)


def test_the_scaling_maps_both_vectors_to_one_point():
    rng, nl, dims = np.random.default_rng(0), 3, (2, 3, 5)
    starts = nl + np.concatenate([[0], np.cumsum(dims)])
    s, z = in_cones(rng, nl, dims), in_cones(rng, nl, dims)
    w, point, eta = np.zeros_like(s), np.zeros_like(s), np.zeros(LANES * len(dims))
    cones.scaling(nl, starts, s, z, w, eta, point)
    nothing, out = np.zeros(LANES), np.zeros_like(s)
    # W^-2 s = z, and W (point \ (point o point)) = s.
    cones.inverse_square(nl, starts, w, eta, s, out)
    assert np.allclose(out, z)
    cones.unscaled(nl, starts, w, eta, point, np.zeros_like(s), nothing, nothing, np.zeros_like(s), out)
    assert np.allclose(-out, s)
    # (W^-1 s) o (W z) is the square of the point.
    cones.second_order(nl, starts, w, eta, s, z, out)
    square = point.reshape(-1, LANES) ** 2
    for a, b in zip(starts[:-1], starts[1:], strict=True):
        tail = 2 * point.reshape(-1, LANES)[a] * point.reshape(-1, LANES)[a + 1 : b]
        square[a], square[a + 1 : b] = square[a:b].sum(axis=0), tail
    assert np.allclose(out.reshape(-1, LANES), square)


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_step_ends_on_the_boundary(seed):
    rng, nl, dims = np.random.default_rng(seed), 2, (2, 3, 4)
    starts = nl + np.concatenate([[0], np.cumsum(dims)])
    u, du = in_cones(rng, nl, dims), rng.normal(size=LANES * (nl + sum(dims)))
    step = np.full(LANES, 1e6)
    cones.longest(nl, starts, u, du, step)

    def depth(v):
        v = v.reshape(-1, LANES)
        heads = [
            v[a] - np.linalg.norm(v[a + 1 : b], axis=0) for a, b in zip(starts[:-1], starts[1:], strict=True)
        ]
        return np.min([*v[:nl], *heads], axis=0)

    assert (depth(u + np.tile(step, len(u) // LANES) * du) >= -1e-7).all()
    assert (depth(u + np.tile(1.001 * step, len(u) // LANES) * du) < 0).all()


@pytest.mark.parametrize("still", [None, 1])
def test_a_step_goes_its_own_way_by_sign_and_a_lane_of_no_step_stays(still):
    sign, u, du = np.array([1.0, -1.0, 1.0]), *np.arange(6.0 * LANES).reshape(2, -1)
    positive, other = np.full((2, LANES), [[0.5], [0.25]])
    if still is not None:
        positive[still] = other[still] = 0.0
        du[still::LANES] = np.nan
    moved = u.copy()
    newton.advance_by_sign(sign, moved, du, positive, other)
    steps = np.concatenate([positive, other, positive])
    assert np.array_equal(moved, np.where(steps > 0, u + steps * du, u))


def test_hours_side_by_side_answer_as_one_by_one(monkeypatch):
    """Real hours: by night and by day, free, with an inflow, with limits that bind, with batteries held."""
    problem = build(instance(2, seed=1, partners="nearest:1"), stamped=True)
    compiled = compile_problem(problem)
    reference = np.zeros(stored_levels(compiled, problem.instance.hours).shape)
    blocks = blocks_by_hour(problem, compiled, reference, native_hours(problem, compiled))
    programs = hours_of(blocks)
    hosts = len(blocks.loads_at[0])
    lam, nowhere = np.full(hosts, 30.0), (np.zeros((0, hosts)), np.zeros(0))
    limits = np.vstack([np.ones((1, hosts)), -np.eye(hosts)[:1]]), np.array([1e3, -1e-3])
    batteries = programs[0].batteries.tolist()
    questions = [
        Question(t, reference[:, t], inflow, lam, *where, fixed)
        for t in (2, 7, 12, 19)
        for inflow, where, fixed in (
            (None, nowhere, None),
            (0.01, nowhere, None),
            (0.0, limits, None),
            (None, nowhere, dict.fromkeys(batteries, 0.0)),
        )
    ]
    of = [programs[q.program] for q in questions]
    with monkeypatch.context() as patch:
        patch.setattr(alike, "solve_conic", None)
        together = Hour.answers(of, questions)
    monkeypatch.setattr(alike, "MANY", 10**9)
    for answer, hour, question in zip(together, of, questions, strict=True):
        (alone,) = Hour.answers([hour], [question])
        assert answer is not None and alone is not None
        assert abs(answer.value - alone.value) <= 1e-6 * max(abs(alone.value), 1.0)
        assert abs(answer.moved - alone.moved) <= 1e-6
        assert abs(answer.load - alone.load).max() <= 1e-4


def test_more_limits_than_there_is_room_for_get_more_room():
    problem = build(instance(1, seed=1, hours=2), stamped=True)
    compiled = compile_problem(problem)
    reference = np.zeros(stored_levels(compiled, 2).shape)
    hour = hours_of(blocks_by_hour(problem, compiled, reference, native_hours(problem, compiled)))[0]
    hosts = hour.n_hosts
    limits = np.tile(-np.eye(hosts)[:1], (9, 1)), np.linspace(0.0, -0.04, 9)
    # With nothing held, but exact: dual vectors alone would be iterated less.
    few, many = (
        Question(0, reference[:, 0], 0.0, np.full(hosts, 30.0), limits[0][k:], limits[1][k:], {})
        for k in (8, 0)
    )
    one, all_of_them = Hour.answers([hour, hour], [few, many])
    (alone,) = Hour.answers([hour], [few])
    assert one.value == pytest.approx(all_of_them.value, rel=1e-6)
    assert one.value == pytest.approx(alone.value, rel=1e-6)
    assert one.load[0] >= 0.04 - one.moved - 1e-6


def test_questions_go_together_in_as_many_groups_as_workers():
    asked = [SimpleNamespace(program=k) for k in (0, 2, 0, 2, 0)]
    assert workers._groups(2, asked, 1) == [[0, 1, 2, 3, 4]]
    for n_workers, sizes in ((2, [2, 3]), (9, [1, 2, 2])):
        groups = workers._groups(2, asked, n_workers)
        assert [len(group) for group in groups] == sizes
        assert sorted(k for group in groups for k in group) == list(range(len(asked)))
    # Where nothing is gained by answering them together, each goes by itself.
    assert sorted(workers._groups(1, asked, 2)) == [[k] for k in range(5)]
    assert workers._groups(2, [], 2) == []


def test_a_worker_is_asked_mostly_about_the_same_programs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        asked = [SimpleNamespace(program=int(t)) for t in sorted(rng.permutation(24)[:16])]
        first, second = workers._groups(4, asked, 2)
        assert len(first) == len(second) == 8
        # Even hours to one, odd hours to the other, but for what makes them as many.
        odd = [{asked[k].program % 2 for k in group} for group in (first, second)]
        assert odd[0] == {0} or odd[1] == {1}
