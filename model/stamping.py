"""Compile once, stamp many: the ADNs' rows of one hour, stamped over all hours.

All hours of the ADNs' part of a problem (feeders, devices, accounts, trades) share one pattern and differ by
data only: loads, sunshine and the boundary power's box, in limits of rows and of variables and in some
coefficients. A row joins an hour to the one before it at most, and that step is the same everywhere, the last
hour's to the first included (a battery's day is cyclic). So the scheme states that part over the two hours of
``pattern_hours``, each hourly number a mutable parameter that holds its values in all hours; compiled, the
last hour's rows and columns are copied to every hour, entries of the hour before to the hour before. Nothing
is stated twice: coefficients come from the Pyomo statement of the pattern, hourly numbers from its
parameters.

What joins the grids and the follower are small and keep a Pyomo model of all hours, ``Problem.m``.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC
from scipy.sparse import csr_array, vstack

from model.hourly import Hourly
from model.per_unit import FeederData
from model.problem import Problem
from model.program import Array, LinearMap, Program, compile_model, cone_starts, linear_map, narrow

Copies = tuple[Array, Array]


def pattern_hours(n_hours: int) -> range:
    """The hours a pattern states: an hour and the one before it, or the only one there is."""
    return range(min(n_hours, 2))


def add_hourly_parameters(m: pyo.ConcreteModel, feeders: list[FeederData], hours: range) -> list[FeederData]:
    """The feeders' data for a pattern over ``hours``: hourly numbers become parameters of ``m``.

    In the last of ``hours`` a parameter holds the number's values in all hours 0..T-1; in the hour before it,
    those of the hours before.
    """
    m.hourly = pyo.Param(pyo.NonNegativeIntegers, hours, mutable=True, within=pyo.Any)
    n = 0

    def parameters(values: Iterable[float]) -> tuple:
        nonlocal n
        for t in hours:
            m.hourly[n, t] = Hourly(np.roll(np.array(values), hours[-1] - t))
        n += 1
        return tuple(m.hourly[n - 1, t] for t in hours)

    return [
        replace(
            data,
            pd={j: parameters(values) for j, values in data.pd.items()},
            qd={j: parameters(values) for j, values in data.qd.items()},
            pv_available=tuple(parameters(values) for values in data.pv_available),
            surplus=parameters(data.surplus),
            boundary_box=tuple(zip(*map(parameters, zip(*data.boundary_box, strict=True)), strict=True)),
        )
        for data in feeders
    ]


def compile_problem(problem: Problem) -> Program:
    """The program of a problem, its pattern stamped where it has one.

    It equals the program of the problem built whole: columns, rows, cones, names and their order.
    Raises ValueError like :func:`model.program.compile_model`, and where the pattern's hours are not alike.
    """
    if problem.pattern is None:
        return compile_model(problem.m)
    n_hours = problem.instance.hours
    with PauseGC():
        pattern = compile_model(problem.pattern, n_hours)
        adns = _stamped(pattern, len(pattern_hours(n_hours)), n_hours)
        return _joined(adns, compile_model(problem.m))


def stamped_costs(problem: Problem, program: Program, costs: Iterable[object]) -> list[Array]:
    """Costs of the ADNs, each stated in the variables of the pattern, as vectors over the program's columns.

    ``program`` is ``compile_problem(problem)``. Raises ValueError for a cost that is not affine, or that
    differs between the pattern's hours.
    """
    n_hours = problem.instance.hours
    n_pattern = len(pattern_hours(n_hours))
    affine = linear_map(problem.pattern)
    vectors = []
    for cost in costs:
        row, constant = affine.row(cost)
        last = row[n_pattern - 1 :: n_pattern]
        if constant or not np.array_equal(row, np.repeat(last, n_pattern)):
            raise ValueError("a cost that is not the same in every hour of the pattern")
        own = np.repeat(last, n_hours)
        vectors.append(np.append(own, np.zeros(len(program.c) - len(own))))
    return vectors


def _stamped(p: Program, n_pattern: int, n_hours: int) -> Program:
    """A program over the pattern's hours as one over all hours; the hour is the last index of everything."""
    _check_alike(p, n_pattern)
    last = slice(n_pattern - 1, None, n_pattern)
    rows = _copies(np.ones(len(p.row_lower), dtype=int), n_pattern, n_hours)
    cone_rows = _copies(p.cone_dims, n_pattern, n_hours)

    def stretched(where: slice) -> slice:
        return slice(where.start // n_pattern * n_hours, where.stop // n_pattern * n_hours)

    return replace(
        p,
        c=np.repeat(p.c[last], n_hours),
        A=_copied(p.A, rows, n_pattern, n_hours, p.hourly),
        row_lower=p.row_lower[last].ravel(),
        row_upper=p.row_upper[last].ravel(),
        lower=p.lower[last].ravel(),
        upper=p.upper[last].ravel(),
        integer=np.repeat(p.integer[last], n_hours),
        enforced_lower=p.enforced_lower[last].ravel(),
        enforced_upper=p.enforced_upper[last].ravel(),
        cone_A=_copied(p.cone_A, cone_rows, n_pattern, n_hours),
        cone_b=p.cone_b[cone_rows[0]],
        cone_dims=np.repeat(p.cone_dims[last], n_hours),
        cone_variables=p.cone_variables // n_pattern * n_hours,
        rows={name: stretched(where) for name, where in p.rows.items()},
        row_keys={
            name: [(*key[:-1], t) for key in keys[last] for t in range(n_hours)]
            for name, keys in p.row_keys.items()
        },
        columns={name: stretched(where) for name, where in p.columns.items()},
        variables=[],
        hourly=Program.hourly,
    )


def _copies(dims: Array, n_pattern: int, n_hours: int) -> Copies:
    """The pattern's rows in the order of their copies, and each copy's hour.

    ``dims``: how many rows each constraint of the pattern has. Only those of its last hour are copied.
    """
    last = slice(n_pattern - 1, None, n_pattern)
    each = np.repeat(dims[last], n_hours)
    first = np.repeat(cone_starts(dims)[last], n_hours) if len(dims) else dims
    rows = np.repeat(first - cone_starts(each), each) if len(each) else each
    hour = np.tile(np.arange(n_hours), len(dims) // n_pattern)
    return rows + np.arange(len(rows)), np.repeat(hour, each)


def _copied(
    matrix: csr_array,
    copies: Copies,
    n_pattern: int,
    n_hours: int,
    hourly: tuple[Array, Array] = Program.hourly,
) -> csr_array:
    """The rows' copies, their entries moved to the columns of their hours, the first after the last.

    ``hourly``: entries of the matrix that have a value for every hour. What is zero is left out.
    """
    rows, hour = copies
    tall = csr_array((np.arange(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)[rows]
    of_entry = np.repeat(hour, np.diff(tall.indptr))
    item, within = np.divmod(tall.indices, n_pattern)
    hour_of = (of_entry + within - (n_pattern - 1)) % n_hours
    number = np.full(matrix.nnz, -1)
    number[hourly[0]] = np.arange(len(hourly[0]))
    differs = np.flatnonzero(number[tall.data] >= 0)
    data = matrix.data[tall.data]
    data[differs] = hourly[1][number[tall.data[differs]], of_entry[differs]]
    shape = len(rows), matrix.shape[1] // n_pattern * n_hours
    made = csr_array((data, item * n_hours + hour_of, tall.indptr), shape=shape)
    if len(differs):
        made.eliminate_zeros()
    return made


def _check_alike(p: Program, n_pattern: int) -> None:
    """Raises ValueError unless the pattern's last hour, copied to the pattern's hours, gives the pattern."""
    last = slice(n_pattern - 1, None, n_pattern)
    rows = _copies(np.ones(len(p.row_lower), dtype=int), n_pattern, n_pattern)
    cone_rows = _copies(p.cone_dims, n_pattern, n_pattern)
    pairs: list[tuple[Array, Array]] = [
        (values, np.repeat(values[last], n_pattern)) for values in (p.c, p.integer, p.cone_dims)
    ]
    pairs.append((p.cone_b, p.cone_b[cone_rows[0]]))
    for matrix, copies in ((p.A, rows), (p.cone_A, cone_rows)):
        again = _copied(matrix, copies, n_pattern, n_pattern)
        pairs += [(getattr(matrix, part), getattr(again, part)) for part in ("indptr", "indices", "data")]
    by_hour = [p.lower, p.upper, p.row_lower, p.row_upper, p.enforced_lower, p.enforced_upper]
    # Entries that differ by hour, those at one place of a constraint by their hours.
    places = p.hourly[0]
    of_row = np.searchsorted(p.A.indptr, places, side="right") - 1
    order = np.lexsort((of_row % n_pattern, places - p.A.indptr[of_row], of_row // n_pattern))
    for limits in (*by_hour, p.hourly[1][order]):
        hours = [np.roll(limits[last], shift, axis=1) for shift in reversed(range(n_pattern))]
        pairs.append((limits, np.stack(hours, axis=1).reshape(-1, limits.shape[1])))
    if len(p.sos1) or p.bilinear or not all(np.array_equal(*pair) for pair in pairs):
        raise ValueError("the hours of a pattern differ in more than their data")


def _joined(adns: Program, market: Program) -> Program:
    """The ADNs' program and that of the two grids; columns that stand in both are the ADNs'."""
    n = len(adns.c)
    at = np.empty(len(market.c), dtype=int)
    columns = dict(adns.columns)
    for name, where in market.columns.items():
        if name not in columns:
            columns[name] = slice(n, n + where.stop - where.start)
            n = columns[name].stop
        at[where] = np.arange(columns[name].start, columns[name].stop)
    own = np.argsort(at)[len(market.c) - (n - len(adns.c)) :]
    c = np.append(adns.c, np.zeros(len(own)))
    c[at] += market.c
    first = len(adns.row_lower)
    affine = market.objective_map
    return Program(
        c=c,
        c0=adns.c0 + market.c0,
        A=_stacked(adns.A, market.A, at, n),
        row_lower=np.append(adns.row_lower, market.row_lower),
        row_upper=np.append(adns.row_upper, market.row_upper),
        lower=np.append(adns.lower, market.lower[own]),
        upper=np.append(adns.upper, market.upper[own]),
        integer=np.append(adns.integer, market.integer[own]),
        enforced_lower=np.append(adns.enforced_lower, market.enforced_lower[own]),
        enforced_upper=np.append(adns.enforced_upper, market.enforced_upper[own]),
        cone_A=_stacked(adns.cone_A, market.cone_A, at, n),
        cone_b=np.append(adns.cone_b, market.cone_b),
        cone_dims=np.append(adns.cone_dims, market.cone_dims),
        cone_variables=adns.cone_variables + market.cone_variables,
        sos1=at[market.sos1],
        bilinear=[(first + row, int(at[i]), int(at[j]), value) for row, i, j, value in market.bilinear],
        rows=adns.rows
        | {name: slice(first + where.start, first + where.stop) for name, where in market.rows.items()},
        row_keys=adns.row_keys | market.row_keys,
        columns=columns,
        variables=[],
        objective_map=LinearMap(
            {key: int(at[column]) for key, column in affine.number.items()}, n, affine.visitor
        ),
    )


def _stacked(upper: csr_array, lower: csr_array, at: Array, n_columns: int) -> csr_array:
    """Two matrices over each other, the columns of the lower one moved to ``at``."""
    wide = csr_array((upper.data, upper.indices, upper.indptr), shape=(upper.shape[0], n_columns))
    moved = csr_array((lower.data, at[lower.indices], lower.indptr), shape=(lower.shape[0], n_columns))
    return narrow(vstack([wide, moved], format="csr"))
