"""The safe bound on programs whose optimum is known exactly."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.sparse import csr_array

from model.bounds import project_to_cones, safe_bound
from model.program import compile_model


def norm_program():
    """min t with |(x, y)| <= t, x = 3, y = 4: the optimum is 5."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(-10, 10)), pyo.Var(bounds=(-10, 10))
    m.t = pyo.Var(bounds=(0, 20))
    m.u = pyo.Var(bounds=(0, 20))
    m.same = pyo.Constraint(expr=m.t - m.u == 0)
    m.fix_x, m.fix_y = pyo.Constraint(expr=m.x == 3), pyo.Constraint(expr=m.y == 4)
    m.cone = pyo.Constraint(expr=m.x**2 + m.y**2 <= m.t * m.u)
    m.cost = pyo.Objective(expr=m.t)
    return compile_model(m)


@pytest.mark.parametrize("seed", range(100))
def test_no_dual_vector_proves_more_than_the_optimum(seed):
    """Also vectors far outside the cones, which prove nonsense unless projected."""
    program = norm_program()
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 3, len(program.row_lower))
    z = rng.normal(0, 3, len(program.cone_b))
    z[0] = rng.choice([0.0, -1.0, z[0]])
    assert safe_bound(program, y, z) <= 5.0


def test_a_vector_outside_the_cone_would_prove_too_much():
    """Unprojected, this vector's bound would be far above the optimum: the case is not vacuous."""
    program = norm_program()
    z = np.array([0.0, 0.0, -6.0, -8.0])  # tail 10, head 0
    y = np.zeros(len(program.row_lower))
    y[program.rows["fix_x"]], y[program.rows["fix_y"]] = 12.0, 16.0
    reduced = program.c - program.A.T @ y - program.cone_A.T @ z
    box = np.minimum(reduced * program.lower, reduced * program.upper).sum()
    assert y @ program.row_lower - z @ program.cone_b + box > 50
    assert safe_bound(program, y, z) <= 5.0


def test_projection_lands_inside_and_moves_only_heads():
    z = np.random.default_rng(3).normal(size=11)
    inside = project_to_cones(z, np.array([4, 3, 4]))
    for first, last in ((0, 4), (4, 7), (7, 11)):
        assert inside[first] >= np.linalg.norm(inside[first + 1 : last])
        assert (inside[first + 1 : last] == z[first + 1 : last]).all()


def boxed_program(rng, row_sizes, cost):
    """A linear program of 12 columns in boxes far from round numbers, one row of each size."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(12), bounds=(-1e3 / 7, 1e6 / 3))
    m.rows = pyo.ConstraintList()
    for size in row_sizes:
        m.rows.add(sum(size * rng.normal() * m.x[i] for i in m.x) >= size * rng.normal())
    m.cost = pyo.Objective(expr=sum(rng.normal() * cost * m.x[i] for i in m.x))
    return compile_model(m)


def exact_bound(program, y, z):
    """The bound in rational arithmetic; y is not negative, and z lies in the cones."""
    A, cone_A = (
        [[Fraction(v) for v in row] for row in part.toarray()] for part in (program.A, program.cone_A)
    )
    y, z = [Fraction(v) for v in y], [Fraction(v) for v in z]
    exact = Fraction(program.c0) + sum(a * Fraction(b) for a, b in zip(y, program.row_lower, strict=True))
    exact -= sum(a * Fraction(b) for a, b in zip(z, program.cone_b, strict=True))
    for j, c in enumerate(program.c):
        reduced = Fraction(c) - sum(row[j] * a for row, a in zip(A, y, strict=True))
        reduced -= sum(row[j] * a for row, a in zip(cone_A, z, strict=True))
        exact += min(reduced * Fraction(program.lower[j]), reduced * Fraction(program.upper[j]))
    return exact


@pytest.mark.parametrize("seed", range(30))
def test_rounding_never_lifts_the_bound_above_its_exact_value(seed):
    """The same bound in rational arithmetic is never below what floating point says."""
    rng = np.random.default_rng(seed)
    program = boxed_program(rng, 10.0 ** rng.integers(-4, 7, 8), 1e5)
    y = np.abs(rng.normal(size=8)) * 10.0 ** rng.integers(-3, 4, 8)
    found, exact = safe_bound(program, y, np.zeros(0)), exact_bound(program, y, [])
    assert Fraction(found) <= exact
    assert float(exact) - found <= 1e-9 * max(1.0, abs(float(exact)))


@pytest.mark.parametrize("seed", range(30))
def test_rounding_in_cones_never_lifts_the_bound_above_its_exact_value(seed):
    """Two cones share their tails and their duals cancel there: of large terms only rounding is left."""
    rng = np.random.default_rng(seed)
    tails, heads = 1e6 * rng.normal(size=(4, 12)), rng.normal(size=(2, 12))
    program = replace(
        boxed_program(rng, [1.0, 1.0], 1.0),
        cone_A=csr_array(np.vstack([heads[:1], tails, heads[1:], tails])),
        cone_b=1e3 * rng.normal(size=10),
        cone_dims=np.array([5, 5]),
    )
    y, tail = np.abs(rng.normal(size=2)), rng.normal(size=4)
    outside = np.concatenate([[0.0], tail, [-1.0], -tail])
    z = project_to_cones(outside, program.cone_dims)
    for head, *rest in (map(Fraction, z[:5]), map(Fraction, z[5:])):
        assert head > 0 and head**2 >= sum(v**2 for v in rest)
    found, exact = safe_bound(program, y, outside), exact_bound(program, y, z)
    assert Fraction(found) <= exact
    terms = (abs(program.cone_A).T @ np.abs(z)) @ np.maximum(np.abs(program.lower), program.upper)
    assert float(exact) - found <= 1e-13 * terms
