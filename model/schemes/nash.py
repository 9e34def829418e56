"""Nash among the DSOs: each leads alone above the TSO, the others' boundary power given.

Each DSO solves the ``dso-led`` problem of its own ADN, the other ADNs' boundary power as native load: it
foresees what it does to the prices, but nobody acts for anybody else. Trade across ADNs takes two and is no
DSO's own decision, so there is none. Proximal Gauss-Seidel: the DSOs answer in turn; one stays where it is
unless it gains more than a tolerance, and where it has moved before, leaving its place has a price (a
proximal term, here in the 1-norm, which the mixed-integer program takes). In the end every DSO's best
deviation is solved to a proven bound, the price left out: none gains more than the gap asked for.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from model.certificate import certify
from model.convex import SHORTEST_S, Stopped
from model.data import Instance
from model.decision import Decision, Progress
from model.metrics import Schedule
from model.outcome import Outcome
from model.problem import Problem
from model.program import Array, Program
from model.schemes import coordination
from model.schemes.coordination import Coordination
from model.schemes.price_taking import forecast_net_load
from model.solvers import solve

ROUNDS = 12
# Of leaving one's place, a hundredth of what energy costs.
PROXIMAL_PER_MWH = 0.5


@dataclass(frozen=True, eq=False)
class Game:
    """One DSO's decision ``x`` in the program of its problem, where the others stand.

    ``own``: its fees and wear in $; ``bound``: what any decision of its costs at least, energy included.
    """

    program: Program
    x: Array
    own: float
    bound: float
    moved: bool


def decide(c: Coordination, gap: float, ended: float, progress: Progress) -> Decision:
    """Decisions from which no DSO gains more than ``gap`` of its cost by deviating alone, if they are found.

    ``gap`` of the result is the largest proven limit of such a gain, ``objective`` the sum of the DSOs'
    costs. Where several prices clear the market, a DSO's own problem may count on another one than all get
    in the end: a gain is what it then pays beyond the least of its own problem. Raises Stopped where a DSO's
    problem has no solution, or not all DSOs have one in time.
    """
    instance = c.instance
    power = forecast_net_load(instance)
    games: dict[int, Game] = {}
    moves, rounds = 0, 0
    for rounds in range(1, ROUNDS + 1):
        last = rounds == ROUNDS  # looks only, so that what it finds is true of the decisions returned
        moved = False
        for d in range(instance.n_adns):
            progress(f"round {rounds}, ADN {d}, {moves} moves so far")
            game = play(instance, d, power, games.get(d), gap / 2, ended, may_move=not last)
            games[d] = game
            moved |= game.moved
            power[d] = game.x[game.program.column("feeder[0].P_boundary")]
            moves += game.moved
        if not moved:
            break
    progress("dispatch")
    x = c.answered(assembled(c, games))
    energy = (c.settled_prices(x) * instance.base_mva * power).sum(axis=1)
    costs = {d: game.own + float(energy[d]) for d, game in games.items()}
    gains = {
        f"gain_limit_{d}": float(costs[d] - game.bound) / max(abs(costs[d]), 1.0) for d, game in games.items()
    }
    return Decision(
        c.problem,
        c.program,
        Outcome("solved", x),
        objective=sum(costs.values()),
        recount=paid,
        bound=sum(game.bound for game in games.values()),
        gap=max(gains.values()),
        figures={"rounds": float(rounds), "moves": float(moves)} | gains,
    )


def play(
    instance: Instance,
    d: int,
    power: Array,
    before: Game | None,
    gap: float,
    ended: float,
    may_move: bool = True,
) -> Game:
    """DSO ``d`` stays at its decision ``before`` or, where that gains more than ``gap``, takes its best one.

    ``power``: boundary power of all ADNs in p.u., (ADN, T). Raises Stopped.
    """
    if time.monotonic() >= ended:
        raise Stopped("time_limit", f"ADN {d} has no answer in time")
    c = coordination.compiled(coordination.build(alone(instance, d, power)))
    stays = None if before is None else c.answered(before.x)
    best, x = _solve(c, c.program, gap, ended)
    bound = proven(c.problem, c.program, best)
    cost, worth = c.program.objective(x), 0.0
    if stays is not None:
        cost = c.program.objective(stays)
        worth = gap * max(abs(cost), 1.0)
        if not may_move or cost - c.program.objective(x) <= worth:
            return Game(c.program, stays, float((c.fees + c.wear) @ stays), bound, moved=False)
        _, near = _solve(c, proximal(c, stays), gap, ended)
        if cost - c.program.objective(near) > worth:
            x = near
    return Game(c.program, x, float((c.fees + c.wear) @ x), bound, moved=True)


def paid(schedule: Schedule) -> float:
    """What the DSOs pay together, $."""
    return sum(schedule.payments().values())


def proximal(c: Coordination, x: Array) -> Program:
    """The program with a price on leaving the boundary power of ``x``."""
    where = c.program.rows["exchange_schedule"]
    lower, upper = c.program.row_lower.copy(), c.program.row_upper.copy()
    lower[where] = upper[where] = x[c.P_boundary].ravel()
    cost = c.program.c.copy()
    for columns in (c.imbalance_up, c.imbalance_down):
        cost = cost + c.cost(columns, PROXIMAL_PER_MWH)
    return replace(c.program, c=cost, row_lower=lower, row_upper=upper)


def _solve(c: Coordination, program: Program, gap: float, ended: float) -> tuple[Outcome, Array]:
    """An outcome and its point. Raises Stopped where there is none."""
    left = max(ended - time.monotonic(), SHORTEST_S)
    outcome = solve(c.problem, program, gap=gap, time_limit_s=left)
    if outcome.x is None:
        raise Stopped(outcome.status, outcome.message)
    return outcome, outcome.x


def alone(instance: Instance, d: int, power: Array) -> Instance:
    """The instance of ADN ``d`` alone, the others' boundary power in p.u. as native load of their hosts.

    An ADN that exports may leave a host with native load below zero, which no instance file may have: it is
    the follower's data and nothing rests on its sign.
    """
    net = instance.transmission
    load = {bus.bus_i: np.array(bus.pd_mw) for bus in net.buses}
    for e, feeder in enumerate(instance.feeders):
        if e != d:
            load[feeder.host_bus] = load[feeder.host_bus] + instance.base_mva * power[e]
    buses = tuple(bus.model_copy(update={"pd_mw": tuple(load[bus.bus_i].tolist())}) for bus in net.buses)
    return instance.model_copy(
        update={
            "feeders": (instance.feeders[d],),
            "arcs": (),
            "transmission": net.model_copy(update={"buses": buses}),
        }
    )


def proven(problem: Problem, program: Program, outcome: Outcome) -> float:
    """The least that any decision costs, as the certificate recomputes it; -inf where it finds a fault."""
    certificate = certify(problem, program, outcome)
    return -np.inf if certificate.bound is None or certificate.status == "error" else certificate.bound


def assembled(c: Coordination, games: dict[int, Game]) -> Array:
    """The DSOs' decisions as one point of the common program, without trade across ADNs."""
    x = np.zeros(len(c.program.c))
    for d, game in games.items():
        for name, where in game.program.columns.items():
            if name.startswith("feeder[0]."):
                x[c.program.columns[f"feeder[{d}].{name.removeprefix('feeder[0].')}"]] = game.x[where]
    return x
