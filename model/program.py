"""A Pyomo model compiled once into sparse arrays and cones that any solver can take.

    minimise  c x + c0   subject to  row_lower <= A x <= row_upper,  lower <= x <= upper,
    cone_b + cone_A x in K (a product of second-order cones), some x integer, SOS1 pairs,
    and rows with bilinear terms where the mode keeps products.

A convex quadratic constraint becomes one second-order cone: ``|y|^2 <= u w`` is
``|(2 y, u - w)| <= u + w``, where u and w are scaled to the same size so that neither drowns the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base.var import VarData
from pyomo.repn.quadratic import QuadraticRepnVisitor
from pyomo.repn.util import OrderedVarRecorder
from scipy.sparse import csr_array

from model.boxes import BOTH, LOWER, UPPER
from model.hourly import Hourly

Array = np.ndarray
Slices = dict[str, slice]


@dataclass(frozen=True)
class Program:
    """Sparse arrays of one program; see the module's docstring for the form.

    ``rows`` and ``columns`` give each Pyomo component's slice by its name, in the model's order;
    ``row_keys`` the index keys of the rows that stand in no block.
    ``enforced_lower/upper`` is False where a box is redundant (see ``model.boxes``).
    ``variables``: the Pyomo variable of every column; empty where the columns are not one model's.
    ``hourly``: entries of ``A``, by their place, that differ by hour, and their values, (k, hours).
    """

    c: Array
    c0: float
    A: csr_array
    row_lower: Array
    row_upper: Array
    lower: Array
    upper: Array
    integer: Array
    enforced_lower: Array
    enforced_upper: Array
    cone_A: csr_array
    cone_b: Array
    cone_dims: Array
    cone_variables: int
    sos1: Array
    bilinear: list[tuple[int, int, int, float]]
    rows: Slices
    row_keys: dict[str, list]
    columns: Slices
    variables: list[VarData] = field(repr=False)
    objective_map: "LinearMap" = field(repr=False)
    hourly: tuple[Array, Array] = (np.zeros(0, dtype=int), np.zeros((0, 0)))

    @property
    def sizes(self) -> dict[str, int]:
        """Columns, binaries, linear and bilinear rows, cones, and nonzeros of all three."""
        return {
            "n_vars": len(self.c),
            "n_binaries": int(self.integer.sum()),
            "n_rows": len(self.row_lower),
            "n_cones": len(self.cone_dims),
            "n_nonzeros": self.A.nnz + self.cone_variables + len(self.bilinear),
        }

    @cached_property
    def complementarity_rows(self) -> Array:
        """True for the rows that say the follower is optimal given its conditions."""
        mask = np.zeros(len(self.row_lower), dtype=bool)
        for name, where in self.rows.items():
            mask[where] = name.startswith("complementarity.")
        return mask

    @cached_property
    def row_size(self) -> Array:
        """Largest coefficient where that exceeds 1 for the rows of the follower and its conditions, else 1.

        Susceptances and bounds on multipliers make those large. The leaders' rows are powers as they stand.
        """
        size = np.ones(len(self.row_lower))
        for name, where in self.rows.items():
            if name.startswith(("follower.", "complementarity.")) and where.stop > where.start:
                size[where] = np.maximum(abs(self.A[where]).max(axis=1).toarray().ravel(), 1.0)
        for row, _, _, coefficient in self.bilinear:
            size[row] = max(size[row], abs(coefficient))
        return size

    def relaxed(self) -> "Program":
        """The convex relaxation: no complementarity, no integrality; the columns stay in place."""
        keep = ~self.complementarity_rows
        return replace(
            self,
            A=self.A[keep],
            row_lower=self.row_lower[keep],
            row_upper=self.row_upper[keep],
            integer=np.zeros_like(self.integer),
            sos1=self.sos1[:0],
            bilinear=[],
            rows={},
            row_keys={},
        )

    def part(
        self, columns: Array, rows: Array, cone_rows: Array | None = None, cone_dims: Array | None = None
    ) -> "Program":
        """The program of some columns (ascending), rows and cones (default all) alone, without names."""
        cone_rows = np.arange(len(self.cone_b)) if cone_rows is None else cone_rows
        return replace(
            self,
            c=self.c[columns],
            A=_of_columns(self.A[rows], columns),
            row_lower=self.row_lower[rows],
            row_upper=self.row_upper[rows],
            lower=self.lower[columns],
            upper=self.upper[columns],
            integer=self.integer[columns],
            enforced_lower=self.enforced_lower[columns],
            enforced_upper=self.enforced_upper[columns],
            cone_A=_of_columns(self.cone_A[cone_rows], columns),
            cone_b=self.cone_b[cone_rows],
            cone_dims=self.cone_dims if cone_dims is None else cone_dims,
            sos1=self.sos1[:0],
            bilinear=[],
            rows={},
            columns={},
            row_keys={},
            variables=[],
            objective_map=None,  # type: ignore[arg-type]
        )

    def extended(
        self,
        cost: Array,
        lower: Array,
        upper: Array,
        rows: csr_array,
        row_lower: Array,
        row_upper: Array,
    ) -> "Program":
        """The same program with more columns, in boxes that are redundant, and more rows; ``rows``: of all
        columns.
        """
        A, cone_A, free = self.A, self.cone_A, np.zeros(len(cost), dtype=bool)
        starts = np.append(A.indptr, A.nnz + rows.indptr[1:])
        wider = np.append(A.data, rows.data), np.append(A.indices, rows.indices), starts
        return replace(
            self,
            c=np.append(self.c, cost),
            A=csr_array(wider, shape=(A.shape[0] + rows.shape[0], rows.shape[1])),
            row_lower=np.append(self.row_lower, row_lower),
            row_upper=np.append(self.row_upper, row_upper),
            lower=np.append(self.lower, lower),
            upper=np.append(self.upper, upper),
            integer=np.append(self.integer, free),
            enforced_lower=np.append(self.enforced_lower, free),
            enforced_upper=np.append(self.enforced_upper, free),
            cone_A=csr_array(
                (cone_A.data, cone_A.indices, cone_A.indptr), shape=(cone_A.shape[0], rows.shape[1])
            ),
        )

    def with_bounds(self, lower: Array, upper: Array) -> "Program":
        """The same program with other boxes, every one of them enforced where it changed but to none."""
        return replace(
            self,
            lower=lower,
            upper=upper,
            enforced_lower=(self.enforced_lower | (lower != self.lower)) & ~np.isinf(lower),
            enforced_upper=(self.enforced_upper | (upper != self.upper)) & ~np.isinf(upper),
        )

    def with_fixed(self, values: dict[int, float]) -> "Program":
        """The same program with some columns at a value."""
        lower, upper = self.lower.copy(), self.upper.copy()
        columns = list(values)
        lower[columns] = upper[columns] = list(values.values())
        return self.with_bounds(lower, upper)

    def without(self, columns: Array) -> "Program":
        """The same program without some columns (a mask): they rest at zero, and no row of theirs holds."""
        rows = touched(self.A, columns)
        return replace(
            self.with_fixed(dict.fromkeys(np.flatnonzero(columns).tolist(), 0.0)),
            row_lower=np.where(rows, -np.inf, self.row_lower),
            row_upper=np.where(rows, np.inf, self.row_upper),
        )

    def around(self, x: Array) -> "Program":
        """The same program, without products, in terms of what its columns differ from x."""
        moved = self.A @ x
        return replace(
            self,
            c0=self.objective(x),
            row_lower=self.row_lower - moved,
            row_upper=self.row_upper - moved,
            lower=self.lower - x,
            upper=self.upper - x,
            cone_b=self.cone_b + self.cone_A @ x,
        )

    def column(self, name: str) -> Array:
        """Column numbers of a Pyomo variable by its name, in its index order."""
        where = self.columns[name]
        return np.arange(where.start, where.stop)

    def activity(self, x: Array) -> Array:
        """Row values at x, products included."""
        value = self.A @ x
        for row, i, j, coefficient in self.bilinear:
            value[row] += coefficient * x[i] * x[j]
        return value

    @property
    def most_cost(self) -> float:
        """No point in the boxes has a larger objective."""
        return self.c0 + float(np.maximum(self.c * self.lower, self.c * self.upper).sum())

    def row_excess(self, x: Array) -> Array:
        """By how much x misses each row, (m,)."""
        value = self.activity(x)
        return np.maximum(np.maximum(self.row_lower - value, value - self.row_upper), 0.0)

    def row_misses(self, x: Array) -> Array:
        """By how much x misses each row, (m,), each divided by its ``row_size``."""
        return self.row_excess(x) / self.row_size

    def box_misses(self, x: Array) -> Array:
        """By how much each column lies outside its box, (n,)."""
        return np.maximum(np.maximum(self.lower - x, x - self.upper), 0.0)

    def cone_misses(self, x: Array) -> Array:
        """``|tail| - head`` of each cone where that is positive, (k,), in p.u."""
        if not len(self.cone_dims):
            return np.zeros(0)
        s = self.cone_b + self.cone_A @ x
        starts = cone_starts(self.cone_dims)
        return np.maximum(tail_norms(s, starts) - s[starts], 0.0)

    def violation(self, x: Array) -> float:
        """The largest miss of a row or a cone."""
        return float(max(self.row_misses(x).max(initial=0.0), self.cone_misses(x).max(initial=0.0)))

    def objective(self, x: Array) -> float:
        return float(self.c @ x + self.c0)


def narrow(matrix: csr_array) -> csr_array:
    """The same matrix with indices of 32 bits, where they fit: a quarter of its memory less."""
    if max(matrix.nnz, *matrix.shape) > np.iinfo(np.int32).max:
        return matrix
    indices, starts = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return csr_array((matrix.data, indices, starts), shape=matrix.shape)


def _of_columns(A: csr_array, columns: Array) -> csr_array:
    """``A[:, columns]`` for ascending columns. SciPy's own takes as long as a matrix has columns, which with
    a part for every ADN is quadratic.
    """
    if not len(columns):
        return csr_array((A.shape[0], 0))
    at = np.minimum(np.searchsorted(columns, A.indices), len(columns) - 1)
    kept = columns[at] == A.indices
    starts = np.concatenate([[0], np.cumsum(kept)])[A.indptr]
    return narrow(csr_array((A.data[kept], at[kept], starts), shape=(A.shape[0], len(columns))))


def touched(matrix: csr_array, columns: Array) -> Array:
    """True for the rows with an entry in some of the columns (a mask); empty rows belong to nobody."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.bincount(row[columns[matrix.indices] & (matrix.data != 0)], minlength=matrix.shape[0]) > 0


def cone_starts(dims: Array) -> Array:
    """Where each cone's rows begin; its first row is the head, the others the tail."""
    return np.concatenate([[0], np.cumsum(dims)[:-1]]).astype(int)


def tail_norms(values: Array, starts: Array) -> Array:
    """Euclidean norm of every cone's tail."""
    squares = values**2
    squares[starts] = 0.0
    return np.sqrt(np.add.reduceat(squares, starts))


@dataclass
class LinearMap:
    """Compiles affine Pyomo expressions over a model's columns."""

    number: dict[int, int]
    n_columns: int
    visitor: QuadraticRepnVisitor

    def row(self, expression: Any) -> tuple[Array, float]:
        """Coefficients (dense, one a column) and constant of an affine expression."""
        columns, values, constant = self._terms(expression)
        coefficients = np.zeros(self.n_columns)
        coefficients[columns] = values
        return coefficients, constant

    def matrix(self, expressions: Iterable[Any]) -> tuple[csr_array, Array]:
        """Coefficients of many affine expressions, one a row, and their constants."""
        rows, constants = _Triplets(), []
        for expression in expressions:
            columns, values, constant = self._terms(expression)
            rows.add(columns, values)
            constants.append(constant)
        return rows.matrix(self.n_columns), np.array(constants)

    def _terms(self, expression: Any) -> tuple[Array, Array, float]:
        repn = self.visitor.walk_expression(expression)
        if repn.nonlinear is not None or repn.quadratic:
            raise ValueError("expression is not affine")
        columns = np.fromiter((self.number[key] for key in repn.linear), dtype=int)
        return columns, np.fromiter(repn.linear.values(), dtype=float), float(repn.constant)


def linear_map(m: pyo.ConcreteModel) -> LinearMap:
    """For affine expressions over the columns of a compiled model, without compiling it."""
    components = m.component_objects(pyo.Var, descend_into=True)
    variables = [id(v) for component in components for v in component.values()]
    visitor = QuadraticRepnVisitor({}, var_recorder=OrderedVarRecorder({}, {}, None))
    return LinearMap(dict(zip(variables, range(len(variables)), strict=True)), len(variables), visitor)


class _Triplets:
    """Rows of a sparse matrix under construction."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.data: list[Any] = []
        self.starts = [0]

    def add(self, columns: Iterable[int], values: Iterable[float]) -> None:
        self.indices.extend(columns)
        self.data.extend(values)
        self.starts.append(len(self.indices))

    def take_hourly(self, n_values: int) -> tuple[Array, Array]:
        """Entries that differ by hour, by their place, and their values; 1 stands for them from now on."""
        places = [n for n, value in enumerate(self.data) if isinstance(value, Hourly)]
        values = [self.data[n].values for n in places]
        for n in places:
            self.data[n] = 1.0
        return np.array(places, dtype=int), np.array(values).reshape(len(places), n_values)

    def matrix(self, n_columns: int) -> csr_array:
        n_rows = len(self.starts) - 1
        matrix = csr_array((self.data, self.indices, self.starts), shape=(n_rows, n_columns), dtype=float)
        return narrow(matrix)


def compile_model(m: pyo.ConcreteModel, n_values: int | None = None) -> Program:
    """Compile a Pyomo model.

    With ``n_values`` the limits of rows and variables and the coefficients of linear rows may be mutable
    parameters that hold so many ``Hourly`` values, and the program's limits are (m, n_values) and
    (n, n_values): one program but for its data.

    Raises ValueError for a constraint that is neither linear, a second-order cone nor bilinear, and for
    values by hour anywhere else.
    """
    with PauseGC():
        return _compile(m, n_values)


def _compile(m: pyo.ConcreteModel, n_values: int | None) -> Program:
    variables: list[VarData] = []
    columns: Slices = {}
    for component in m.component_objects(pyo.Var, descend_into=True):
        start = len(variables)
        variables.extend(component.values())
        columns[component.name] = slice(start, len(variables))
    number = {id(v): n for n, v in enumerate(variables)}
    least = [_value(v.lower, -np.inf) for v in variables]
    most = [_value(v.upper, np.inf) for v in variables]
    lower, upper = _limits(least, n_values), _limits(most, n_values)
    enforced_lower, enforced_upper = np.isfinite(lower), np.isfinite(upper)
    for suffix in m.component_objects(pyo.Suffix, descend_into=True):
        for component, side in suffix.items():
            where = columns[component.name]
            enforced_upper[where] &= side not in (UPPER, BOTH)
            enforced_lower[where] &= side not in (LOWER, BOTH)

    recorder = OrderedVarRecorder({}, {}, None)
    visitor = QuadraticRepnVisitor({}, var_recorder=recorder)
    linear, cones = _Triplets(), _Cones(number, most)
    row_lower: list[float] = []
    row_upper: list[float] = []
    bilinear: list[tuple[int, int, int, float]] = []
    rows: Slices = {}
    row_keys: dict[str, list] = {}
    for component in m.component_objects(pyo.Constraint, active=True, descend_into=True):
        start = len(row_lower)
        for con in component.values():
            low, body, up = con.to_bounded_expression()
            repn = visitor.walk_expression(body)
            if repn.nonlinear is not None:
                raise ValueError(f"{con.name} is neither linear, conic nor bilinear")
            if repn.quadratic and any(i == j for i, j in repn.quadratic):
                if low is not None:
                    raise ValueError(f"{con.name} is not a convex cone")
                cones.add(con.name, repn, _value(up, np.inf))
                continue
            for (i, j), value in (repn.quadratic or {}).items():
                bilinear.append((len(row_lower), number[i], number[j], value))
            linear.add(map(number.__getitem__, repn.linear), repn.linear.values())
            row_lower.append(_value(low, -np.inf) - repn.constant)
            row_upper.append(_value(up, np.inf) - repn.constant)
        if len(row_lower) > start:
            rows[component.name] = slice(start, len(row_lower))
            if component.parent_block() is m:
                row_keys[component.name] = list(component)

    n = len(variables)
    hourly = Program.hourly if n_values is None else linear.take_hourly(n_values)
    affine = LinearMap(number, n, visitor)
    objective = next(m.component_data_objects(pyo.Objective, active=True))
    c, c0 = affine.row(objective.expr)
    sos1 = [
        [number[id(v)] for v in sos.variables]
        for sos in m.component_data_objects(pyo.SOSConstraint, active=True)
    ]
    return Program(
        c=c,
        c0=c0,
        A=linear.matrix(n),
        row_lower=_limits(row_lower, n_values),
        row_upper=_limits(row_upper, n_values),
        lower=lower,
        upper=upper,
        integer=np.array([v.is_integer() for v in variables], dtype=bool),
        enforced_lower=enforced_lower,
        enforced_upper=enforced_upper,
        cone_A=cones.rows.matrix(n),
        cone_b=np.array(cones.constants),
        cone_dims=np.array(cones.dims, dtype=int),
        cone_variables=cones.n_variables,
        sos1=np.array(sos1, dtype=int).reshape(-1, 2),
        bilinear=bilinear,
        rows=rows,
        row_keys=row_keys,
        columns=columns,
        variables=variables,
        objective_map=affine,
        hourly=hourly,
    )


def _value(limit: Any, missing: float) -> Any:
    """A limit's value: a number or, where a parameter holds them, the values of all hours."""
    return missing if limit is None else pyo.value(limit)


def _limits(values: list, n_values: int | None) -> Array:
    """Limits as an array: one number each, or a row of ``n_values`` each."""
    if n_values is None:
        return np.array(values, dtype=float)
    limits = np.empty((len(values), n_values))
    for n, value in enumerate(values):
        limits[n] = value.values if isinstance(value, Hourly) else value
    return limits


class _Cones:
    """Second-order cones collected from quadratic constraints."""

    def __init__(self, number: dict[int, int], upper: list):
        self.number, self.upper = number, upper
        self.rows = _Triplets()
        self.constants: list[float] = []
        self.dims: list[int] = []
        self.n_variables = 0

    def add(self, name: str, repn: Any, up: float) -> None:
        """``sum a_k x_k^2 <= c u w``, ``<= c w`` or ``<= s^2``."""
        squares = [(self.number[i], a) for (i, j), a in repn.quadratic.items() if i == j]
        products = [(self.number[i], self.number[j], a) for (i, j), a in repn.quadratic.items() if i != j]
        linear = [(self.number[i], a) for i, a in repn.linear.items()]
        constant = up - repn.constant
        negative = [a for *_, a in products] + [a for _, a in linear]
        if any(a < 0 for _, a in squares) or any(a > 0 for a in negative) or len(negative) > 1:
            raise ValueError(f"{name} is not a convex cone")
        self.n_variables += len(squares) + 2 * len(products) + len(linear)
        if not negative:
            self._row([], [], constant**0.5)
            for i, a in squares:
                self._row([i], [a**0.5])
            self.dims.append(1 + len(squares))
            return
        if constant:
            raise ValueError(f"{name} is not a convex cone")
        if products:
            u, w, c = products[0]
            factor = (-c * self.upper[w] / self.upper[u]) ** 0.5
            self._row([u, w], [factor, -c / factor])
            self._row([u, w], [factor, c / factor])
        else:
            w, c = linear[0]
            factor = (-c * self.upper[w]) ** 0.5
            self._row([w], [-c / factor], factor)
            self._row([w], [c / factor], factor)
        for i, a in squares:
            self._row([i], [2 * a**0.5])
        self.dims.append(2 + len(squares))

    def _row(self, columns: list[int], values: list[float], constant: float = 0.0) -> None:
        self.rows.add(columns, values)
        self.constants.append(constant)
