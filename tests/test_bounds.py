"""The safe bound on programs whose optimum is known exactly."""

from fractions import Fraction

import numpy as np
import pyomo.environ as pyo
import pytest

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


@pytest.mark.parametrize("seed", range(30))
def test_rounding_never_lifts_the_bound_above_its_exact_value(seed):
    """The same bound in rational arithmetic is never below what floating point says."""
    rng = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    n = 12
    m.x = pyo.Var(range(n), bounds=(-1e3 / 7, 1e6 / 3))
    m.rows = pyo.ConstraintList()
    for _ in range(8):
        size = 10.0 ** rng.integers(-4, 7)
        m.rows.add(sum(size * rng.normal() * m.x[i] for i in range(n)) >= size * rng.normal())
    m.cost = pyo.Objective(expr=sum(rng.normal() * 1e5 * m.x[i] for i in range(n)))
    program = compile_model(m)
    y = np.abs(rng.normal(size=8)) * 10.0 ** rng.integers(-3, 4, 8)
    found = safe_bound(program, y, np.zeros(0))

    A = [[Fraction(v) for v in row] for row in program.A.toarray()]
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(y, program.row_lower, strict=True))
    for j in range(n):
        reduced = Fraction(program.c[j]) - sum(A[i][j] * Fraction(y[i]) for i in range(8))
        exact += min(reduced * Fraction(program.lower[j]), reduced * Fraction(program.upper[j]))
    assert Fraction(found) <= exact
    assert float(exact) - found <= 1e-9 * max(1.0, abs(float(exact)))
