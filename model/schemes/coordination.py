"""What every scheme decides about: one program of all ADNs and the TSO, and the costs that parties see in it.

The program is that of ``dso-led`` with an exchange schedule beside it. So every scheme's schedule is a point
of the same rows, boxes and cones, its dispatch and prices are those of the same follower, and one certificate
and one set of measures serve all. Schemes differ in whose cost is minimised, in which order, and in what is
given beforehand.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from pyomo.common.gc_manager import PauseGC

from model import boundary, branch_flow
from model.convex import Least, Stopped, least
from model.data import Instance
from model.per_unit import feeder_data
from model.problem import Problem
from model.program import Array, Program
from model.schemes import dso_led
from model.solvers.binaries import leader_binaries, round_by_direction, settle
from model.solvers.books import account_columns, keep_books
from model.solvers.follower import SOUND, Follower
from model.solvers.outer_approximation import branch
from model.solvers.physics import Physics
from model.stamping import compile_problem, pattern_hours, stamped_costs


@dataclass(frozen=True, eq=False)
class Coordination:
    """One instance's program and its costs, vectors (n,) over the columns of ``program``.

    In $: ``generation`` (shedding and spillage included), ``fees`` and ``wear``. ``losses`` are the feeders'
    in p.u. h. ``P_boundary``, ``imbalance_up`` and ``imbalance_down`` are columns, (ADN, T). ``relaxed`` is
    the program without complementarities and integrality, ``dsos`` the same without the TSO, and ``grids``
    without accounts and trades: power alone, all of whose costs are the social ones. Rows and columns stay in
    their places. ``exchange_rows`` are the rows that hold an exchange schedule, without limits as they stand
    and with no imbalance.
    """

    problem: Problem
    program: Program
    relaxed: Program
    dsos: Program
    grids: Program
    exchange_rows: Array
    generation: Array
    fees: Array
    wear: Array
    losses: Array
    P_boundary: Array
    imbalance_up: Array
    imbalance_down: Array
    follower: Follower
    physics: Physics

    @property
    def instance(self) -> Instance:
        return self.problem.instance

    def columns(self, name: str) -> Array:
        """Columns of a variable of the ADNs, those of all ADNs in a row, by hour: (items, T)."""
        own = [self.program.column(f"feeder[{d}].{name}") for d in range(self.instance.n_adns)]
        return np.concatenate(own).reshape(-1, self.instance.hours)

    def cost(self, columns: Array, per_mwh: Array | float) -> Array:
        """A price in $/MWh on columns that are power in p.u., as a cost vector."""
        cost = np.zeros(len(self.program.c))
        cost[columns] = per_mwh * self.instance.base_mva
        return cost

    def scheduled(self, exchange: Array, band: Array) -> Program:
        """``dsos`` with an exchange schedule, (ADN, T), and a ``band``, (ADN, 1), both in p.u."""
        lower, upper = self.dsos.row_lower.copy(), self.dsos.row_upper.copy()
        lower[self.exchange_rows] = upper[self.exchange_rows] = exchange.ravel()
        most = self.dsos.upper.copy()
        for columns in (self.imbalance_up, self.imbalance_down):
            most[columns] = np.minimum(self.program.upper[columns], band)
        narrowed = self.dsos.with_bounds(self.dsos.lower, most)
        return replace(narrowed, row_lower=lower, row_upper=upper)

    def whole(self, relaxed: Program, cost: Array, start: Least, gap: float, ended: float) -> Least:
        """The relaxed least with binaries restored: in the accounts beside the power that flows; by
        direction, those in conflict or where that fails all; by branching where that leaves a gap.

        The safe bound stays that of the relaxation. Raises Stopped where no such point is found.
        """
        priced = replace(relaxed, c=cost, c0=0.0)
        binaries = leader_binaries(self.program)
        rounded, undecided = round_by_direction(self.program, start.x)
        found = None
        if undecided.any():
            x = keep_books(self.program, relaxed, cost, start.x, gap / 2, ended)
            found = None if x is None else replace(start, x=x, value=float(cost @ x))
            if found is not None and found.gap <= gap:
                return found
        x = settle(self.program, priced, start.x, ended)
        if x is None and found is None:
            sides = dict(zip(binaries.tolist(), rounded[binaries].tolist(), strict=True))
            with suppress(Stopped):
                x = least(relaxed.with_fixed(sides), cost, ended).x
        if x is not None and (found is None or cost @ x < found.value):
            found = replace(start, x=x, value=float(cost @ x))
        if found is not None and found.gap <= gap:
            return found
        integer = np.zeros_like(self.program.integer)
        integer[binaries] = True
        first = rounded if found is None else found.x
        left = ended - time.monotonic()
        result = branch(replace(priced, integer=integer), first, gap, left, lambda message: None)
        if result.x is not None:
            claimed = -np.inf if result.bound is None else result.bound
            return replace(start, x=result.x, value=float(cost @ result.x), claimed=claimed)
        if found is None:
            raise Stopped(result.status, f"no point with whole binaries; {result.message}")
        return found

    def answered(self, x: Array) -> Array:
        """``x`` with the TSO's dispatch and prices at its boundary power."""
        answer = self.follower(x)
        if answer is None:
            raise Stopped("error", "the follower's program has no solution in its boxes")
        return answer

    def flowing(self, x: Array) -> Array:
        """``x`` in its boxes with the physics of what its ADNs inject, and the TSO's answer to that.

        Where only losses that no physics explains keep a limit, as they may the voltage's, flows stay.
        """
        x = np.clip(x, self.relaxed.lower, self.relaxed.upper)
        exact = self.physics(x)
        return self.answered(exact if self.relaxed.box_misses(exact).max() <= SOUND else x)

    def booked(self, x: Array, cost: Array, ended: float) -> Array:
        """``x`` with the accounts that cost least beside its power, binaries relaxed. Raises Stopped."""
        books = keep_books(self.relaxed, self.relaxed, cost, x, 0.0, ended)
        if books is None:
            raise Stopped(
                "time_limit" if time.monotonic() >= ended else "error", "no accounts beside the power"
            )
        return books

    def settled_prices(self, x: Array) -> Array:
        """What ADNs pay in $/MWh, (ADN, T): the tariff, or the follower's prices at their hosts in ``x``."""
        if self.instance.settlement == "tariff":
            return np.tile(self.instance.tariff_per_mwh, (self.instance.n_adns, 1))
        instance, number = self.instance, self.program.objective_map.number
        lam = self.problem.multipliers.lam
        at = [
            [number[id(lam[feeder.host_bus, t])] for t in range(instance.hours)]
            for feeder in instance.feeders
        ]
        return x[np.array(at)] / instance.base_mva


def build(instance: Instance) -> Problem:
    """The problem of :func:`compiled`: that of ``dso-led``, and an exchange schedule."""
    problem = dso_led.build(instance, "big_m", stamped=True)
    feeders = [feeder_data(feeder, instance.base_mva) for feeder in instance.feeders]
    with PauseGC():
        boundary.add_imbalance(problem.m, instance, feeders, range(instance.hours))
    return problem


def compiled(problem: Problem) -> Coordination:
    """What :func:`build` built, compiled, with the costs of all parties."""
    instance, pattern = problem.instance, problem.pattern
    if pattern is None:
        raise ValueError("a problem that is not stamped")
    program = compile_problem(problem)
    own = program.rows["exchange_schedule"]
    lower, upper = program.row_lower.copy(), program.row_upper.copy()
    lower[own], upper[own] = -np.inf, np.inf
    program = replace(program, row_lower=lower, row_upper=upper)
    # Without a schedule there is no imbalance.
    unused = np.concatenate([program.column(name) for name in ("imbalance_up", "imbalance_down")])
    relaxed = program.relaxed().with_fixed(dict.fromkeys(unused.tolist(), 0.0))
    kept = np.cumsum(~program.complementarity_rows) - 1
    tso = np.zeros(len(program.c), dtype=bool)
    for name, where in program.columns.items():
        tso[where] = name.startswith(("follower.", "complementarity."))

    feeders = [feeder_data(feeder, instance.base_mva) for feeder in instance.feeders]
    hours = pattern_hours(instance.hours)
    blocks = zip(pattern.feeder.values(), feeders, strict=True)
    costs = [
        dso_led.fees(pattern, instance, feeders, hours),
        dso_led.wear(pattern, feeders, hours),
        sum(branch_flow.losses(b, data, hours) for b, data in blocks),
    ]
    fees, wear, losses = stamped_costs(problem, program, costs)

    def by_adn(name: str) -> Array:
        return program.column(name).reshape(instance.n_adns, instance.hours)

    boundary_columns = [program.column(f"feeder[{d}].P_boundary") for d in range(instance.n_adns)]
    return Coordination(
        problem,
        program,
        relaxed,
        relaxed.without(tso),
        relaxed.without(account_columns(program)),
        kept[own],
        program.objective_map.row(problem.m.follower.cost.expr)[0],
        fees,
        wear,
        losses,
        np.array(boundary_columns),
        by_adn("imbalance_up"),
        by_adn("imbalance_down"),
        Follower(problem, program),
        Physics(program, instance.hours),
    )
