"""The compiled program says what the Pyomo model says."""

import numpy as np
import pyomo.environ as pyo
import pytest
from toys import toy

from model.boxes import BOTH, LOWER, UPPER
from model.complementarity import MODES
from model.program import compile_model
from model.schemes import build


@pytest.mark.parametrize("mode", MODES)
def test_rows_boxes_and_objective_agree_with_pyomo(mode):
    problem = build(toy(2, 3), mode=mode)
    program = compile_model(problem.m)
    x = np.random.default_rng(1).uniform(-2, 2, len(program.c))
    for variable, value in zip(program.variables, x, strict=True):
        variable.set_value(value, skip_validation=True)
    activity = program.activity(x)
    seen = 0
    for component in problem.m.component_objects(pyo.Constraint, active=True):
        if component.name not in program.rows:
            continue
        for row, con in enumerate(component.values(), program.rows[component.name].start):
            body = pyo.value(con.body)
            for side, limit in ((con.lower, program.row_lower), (con.upper, program.row_upper)):
                if side is None:
                    assert np.isinf(limit[row])
                else:
                    assert activity[row] - limit[row] == pytest.approx(body - pyo.value(side), abs=1e-7)
            seen += 1
    assert seen == program.sizes["n_rows"]
    assert program.objective(x) == pytest.approx(pyo.value(problem.m.leader_cost))
    for variable, low, up in zip(program.variables, program.lower, program.upper, strict=True):
        assert (variable.lb, variable.ub) == (low, up)


def test_cones_hold_where_the_quadratic_constraints_hold():
    """At random points with non-negative v and l: in the cone exactly where the constraint holds."""
    problem = build(toy(1, 2))
    program = compile_model(problem.m)
    quadratic = [
        con
        for component in problem.m.component_objects(pyo.Constraint, active=True)
        if component.name not in program.rows
        for con in component.values()
    ]
    assert len(quadratic) == program.sizes["n_cones"]
    rng = np.random.default_rng(2)
    starts = np.concatenate([[0], np.cumsum(program.cone_dims)])
    verdicts = []
    for _ in range(20):
        x = rng.uniform(0, 0.6, len(program.c))
        for variable, value in zip(program.variables, x, strict=True):
            variable.set_value(value, skip_validation=True)
        s = program.cone_b + program.cone_A @ x
        for n, con in enumerate(quadratic):
            inside = s[starts[n]] >= np.linalg.norm(s[starts[n] + 1 : starts[n + 1]])
            verdicts.append(inside)
            assert inside == (pyo.value(con.body) <= pyo.value(con.upper))
    assert 0 < sum(verdicts) < len(verdicts)


def test_every_variable_has_a_finite_box():
    for mode in MODES:
        program = compile_model(build(toy(2, 2), mode=mode).m)
        assert np.isfinite(program.lower).all() and np.isfinite(program.upper).all()


def test_redundant_boxes_are_not_enforced_and_others_are():
    m = pyo.ConcreteModel()
    m.redundant_box = pyo.Suffix(datatype=None)
    m.a, m.b, m.c, m.d = (pyo.Var(bounds=(0, 1)) for _ in range(4))
    m.redundant_box[m.a] = UPPER
    m.redundant_box[m.b] = BOTH
    m.redundant_box[m.d] = LOWER
    m.row = pyo.Constraint(expr=m.a + m.b + m.c + m.d >= 1)
    m.cost = pyo.Objective(expr=m.a + m.b + m.c + m.d)
    program = compile_model(m)
    assert program.enforced_lower.tolist() == [True, False, True, False]
    assert program.enforced_upper.tolist() == [False, False, True, True]


def test_a_box_that_changed_is_enforced_on_the_side_that_changed():
    """Its old limit was redundant, the new one need not be: a solver that skipped it would leave the box."""
    m = pyo.ConcreteModel()
    m.redundant_box = pyo.Suffix(datatype=None)
    m.a, m.b, m.c, m.d = (pyo.Var(bounds=(0, 1)) for _ in range(4))
    for variable in (m.a, m.b, m.c):
        m.redundant_box[variable] = BOTH
    m.cost = pyo.Objective(expr=m.a + m.b + m.c + m.d)
    program = compile_model(m)
    lower, upper = np.array([0.0, 0.5, 0.0, 0.0]), np.array([0.5, 1.0, 1.0, 1.0])
    other = program.with_bounds(lower, upper)
    assert (other.lower.tolist(), other.upper.tolist()) == (lower.tolist(), upper.tolist())
    assert other.enforced_lower.tolist() == [False, True, False, True]
    assert other.enforced_upper.tolist() == [True, False, False, True]
    fixed = program.with_fixed({1: 0.25})
    assert (fixed.lower[1], fixed.upper[1]) == (0.25, 0.25)
    assert fixed.enforced_lower.tolist() == fixed.enforced_upper.tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    "expression",
    [
        lambda m: m.x**2 >= 1,
        lambda m: m.x**2 - m.y**2 <= 1,
        lambda m: m.x**2 + m.y <= 1 + m.x * m.y,
        lambda m: pyo.sin(m.x) <= 0,
        lambda m: m.x**2 <= m.y + 1,
        lambda m: m.x**2 + m.x * m.y <= 1,
        lambda m: m.x**2 <= 2 * m.x * m.y + m.y,
        lambda m: (0.1, m.x**2, 1),
    ],
)
def test_what_is_not_a_cone_is_refused(expression):
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
    m.row = pyo.Constraint(expr=expression(m))
    m.cost = pyo.Objective(expr=m.x)
    with pytest.raises(ValueError, match="row"):
        compile_model(m)


def test_a_program_without_cones_violates_none_and_with_them_the_worst_counts():
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 9)), pyo.Var(bounds=(0, 9))
    m.row = pyo.Constraint(expr=m.x + 2 * m.y <= 1)
    m.cost = pyo.Objective(expr=m.x)
    program = compile_model(m)
    assert program.cone_misses(np.array([9.0, 9.0])).size == 0
    # 3 + 8 = 11 is 10 too much.
    assert program.row_misses(np.array([3.0, 4.0])) == pytest.approx([10.0])
    assert program.violation(np.array([3.0, 4.0])) == pytest.approx(10.0)
    m.disc = pyo.Constraint(expr=m.x**2 + m.y**2 <= 4)
    m.strip = pyo.Constraint(expr=m.x**2 <= 1)
    program = compile_model(m)
    assert program.cone_misses(np.array([3.0, 4.0])) == pytest.approx([3.0, 2.0])
    assert program.violation(np.array([3.0, 4.0])) == pytest.approx(10.0)
    assert program.box_misses(np.array([-2.0, 9.5])) == pytest.approx([2.0, 0.5])
    assert program.violation(np.array([1.0, 0.0])) == 0.0


@pytest.mark.parametrize("every", [1, 3, None])
def test_a_part_has_the_entries_of_its_rows_and_columns(every):
    program = compile_model(build(toy(2, 3)).m)
    columns = np.arange(0 if every is None else len(program.c))[::every]
    rows = np.arange(1, len(program.row_lower), 2)
    part = program.part(columns, rows)
    assert np.array_equal(part.A.toarray(), program.A.toarray()[rows][:, columns])
    assert np.array_equal(part.cone_A.toarray(), program.cone_A.toarray()[:, columns])


def test_around_a_point_a_program_is_the_same():
    relaxed = compile_model(build(toy(2, 2)).m).relaxed()
    at, x = np.random.default_rng(5).uniform(-1, 1, (2, len(relaxed.c)))
    around = relaxed.around(at)
    assert around.objective(x - at) == pytest.approx(relaxed.objective(x))
    for misses in ("box_misses", "row_misses", "cone_misses"):
        expected = getattr(relaxed, misses)(x)
        assert expected.max() > 0
        assert getattr(around, misses)(x - at) == pytest.approx(expected, abs=1e-9)


def test_rows_of_the_follower_and_its_conditions_count_in_units_of_their_largest_coefficient():
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 9)), pyo.Var(bounds=(0, 9))
    m.follower, m.complementarity, m.feeder = pyo.Block(), pyo.Block(), pyo.Block()
    m.follower.flow = pyo.Constraint(expr=4 * m.x - 2 * m.y == 0)
    m.follower.small = pyo.Constraint(expr=0.5 * m.x <= 0)
    m.complementarity.product = pyo.Constraint(expr=m.x + 8 * m.x * m.y <= 0)
    m.feeder.balance = pyo.Constraint(expr=4 * m.x - 2 * m.y == 0)
    m.cost = pyo.Objective(expr=m.x)
    program = compile_model(m)
    misses = dict(zip(program.rows, program.row_misses(np.array([1.0, 1.0])), strict=True))
    assert misses == {
        "follower.flow": pytest.approx(0.5),
        "follower.small": pytest.approx(0.5),
        "complementarity.product": pytest.approx(9 / 8),
        "feeder.balance": pytest.approx(2.0),
    }


def test_an_expression_that_is_not_affine_has_no_coefficients():
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
    m.cost = pyo.Objective(expr=m.x)
    affine = compile_model(m).objective_map
    coefficients, constant = affine.row(3 * m.y - m.x + 2)
    assert (coefficients.tolist(), constant) == ([-1.0, 3.0], 2.0)
    for expression in (m.x * m.y, m.x**2, pyo.exp(m.x)):
        with pytest.raises(ValueError, match="not affine"):
            affine.row(expression)
