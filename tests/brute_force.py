"""The bilevel optimum of a small instance by enumeration: what every mode and method is measured against.

Nothing here is shared with ``model`` but the instance. The leaders are stated once more, in cvxpy and in MW,
Mvar, kV and ohm, so that no per-unit conversion is shared either, and solved by ECOS. The follower is not
optimised at all: its cost is the largest of the planes that the vertices of its dual polyhedron support,
and these are enumerated. Payment is linear where one vertex is dual optimal. So the bilevel optimum is the
least of finitely many convex programs: every choice of the leaders' binaries times every dual vertex of
every hour (of all hours together where ramps couple them).
"""

import itertools
import math
import statistics
import warnings
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
from scipy.optimize import linprog

from model.data import Instance

# Nothing in a case of these tests moves more power than this, MW; ECOS solves to about 1e-8.
MOST = 20.0
SAME = 1e-9
# Planes that touch phi on less than a ball of this radius, MW, are combinations of their neighbours.
THIN = 1e-6
# A kink at the very edge of what the ADNs can do belongs to a plane beyond it too, MW.
BEYOND = 0.5
# Solvers that all call a value inaccurate and differ by less than this, relatively, are believed.
UNSURE = 2e-5
# Where a plane touches what the ADNs can do in one point only, this much room, MW, is left to a solver.
TOUCH = 1e-8


SOLVERS: list[tuple[str, dict]] = [
    (cp.ECOS, {}),
    (cp.CLARABEL, {"max_step_fraction": 0.9}),
    (cp.CLARABEL, {"static_regularization_constant": 1e-7}),
]


@dataclass(frozen=True)
class Plane:
    """``phi >= lam L + value`` for loads L of the ADNs by (host bus, hour), with equality somewhere."""

    lam: np.ndarray
    value: float


def follower_planes(case: Instance, hours: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Every vertex of the dual of some hours' follower: prices (vertex, bus, hour), dual values without ADNs.

    The dual over y = (prices lam, line multipliers nu, ramp multipliers rho) is to maximise
    ``lam D - sum width (a y - cost)^+ - sum rate |nu| - sum ramp |rho|`` with the angles' stationarity
    ``sum +-b (lam_f - lam_t + nu) = 0`` and ``-spill <= lam <= voll``. Its pieces end where a hinge or a
    bound is tight, so its vertices are where as many of those as y has dimensions meet.
    """
    net, n_hours = case.transmission, len(hours)
    row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
    n, n_lines = len(net.buses), len(net.branches)
    ramping = [g for g, gen in enumerate(net.gens) if gen.ramp_mw_per_h is not None] if n_hours > 1 else []
    size = n_hours * (n + n_lines) + len(ramping) * (n_hours - 1)

    def lam(i: int, t: int) -> int:
        return t * n + i

    def nu(k: int, t: int) -> int:
        return n_hours * n + t * n_lines + k

    def rho(g: int, t: int) -> int:  # of the change from t - 1 to t
        return n_hours * (n + n_lines) + ramping.index(g) * (n_hours - 1) + t - 1

    def unit(at: int) -> np.ndarray:
        return np.eye(size)[at]

    stationary = []
    for t in range(n_hours):
        for i in range(n):
            if i == row[net.ref_bus]:
                continue
            angle = np.zeros(size)
            for k, line in enumerate(net.branches):
                sign = (row[line.f_bus] == i) - (row[line.t_bus] == i)
                flow = unit(lam(row[line.f_bus], t)) - unit(lam(row[line.t_bus], t)) + unit(nu(k, t))
                angle += sign * flow * case.base_mva / line.br_x
            stationary.append(angle / np.abs(angle).max())
    hinges, costs, widths = [], [], []
    for g, gen in enumerate(net.gens):
        for t in range(n_hours):
            a = unit(lam(row[gen.gen_bus], t))
            if g in ramping and t > 0:
                a = a - unit(rho(g, t))
            if g in ramping and t + 1 < n_hours:
                a = a + unit(rho(g, t + 1))
            for block in gen.blocks:
                hinges.append(a)
                costs.append(block.cost_per_mwh)
                widths.append(block.p_max_mw)
    absolute = [(unit(nu(k, t)), net.branches[k].rate_a_mw) for k in range(n_lines) for t in range(n_hours)]
    absolute += [(unit(rho(g, t)), net.gens[g].ramp_mw_per_h) for g in ramping for t in range(1, n_hours)]
    bounded = [unit(lam(i, t)) for i in range(n) for t in range(n_hours)]

    ends = list(zip(hinges, costs, strict=True)) + [(a, 0.0) for a, _ in absolute]
    ends += [(a, price) for a in bounded for price in (-net.spill_per_mwh, net.voll_per_mwh)]
    unique = {(*np.round(a, 12), round(end, 9)): (a, end) for a, end in ends}
    A = np.array([a for a, _ in unique.values()])
    b = np.array([end for _, end in unique.values()])
    E = np.array(stationary).reshape(-1, size)
    choices = np.array(list(itertools.combinations(range(len(b)), size - len(E))))
    systems = np.concatenate([np.broadcast_to(E, (len(choices), *E.shape)), A[choices]], axis=1)
    sides = np.concatenate([np.zeros((len(choices), len(E))), b[choices]], axis=1)
    regular = np.abs(np.linalg.det(systems)) > SAME
    y = np.linalg.solve(systems[regular], sides[regular][..., None])[..., 0]
    prices = y[:, : n_hours * n].reshape(-1, n_hours, n).transpose(0, 2, 1)
    inside = ((prices >= -net.spill_per_mwh - SAME) & (prices <= net.voll_per_mwh + SAME)).all(axis=(1, 2))
    y, prices = y[inside], prices[inside]

    native = np.array([[bus.pd_mw[t] for t in hours] for bus in net.buses])
    values = np.einsum("vit,it->v", prices, native)
    values -= np.maximum(y @ np.array(hinges).T - np.array(costs), 0.0) @ np.array(widths)
    if absolute:
        values -= np.abs(y @ np.array([a for a, _ in absolute]).T) @ np.array([w for _, w in absolute])
    return prices, values


def planes_at_hosts(case: Instance, hours: list[int], low: np.ndarray, high: np.ndarray) -> list[Plane]:
    """The planes that phi really has for loads at the host buses between low and high, (host, hour), MW."""
    prices, values = follower_planes(case, hours)
    row = {bus.bus_i: n for n, bus in enumerate(case.transmission.buses)}
    at = prices[:, [row[i] for i in hosts(case)]].reshape(len(values), -1)
    best: dict[tuple, tuple[np.ndarray, float]] = {}
    for lam, value in zip(at, values, strict=True):
        key = tuple(np.round(lam, 7))
        if key not in best or value > best[key][1]:
            best[key] = lam, value
    lams = np.array([lam for lam, _ in best.values()])
    values = np.array([value for _, value in best.values()])
    box = list(zip(low.ravel() - BEYOND, high.ravel() + BEYOND, strict=True))
    found = []
    for r in range(len(values)):
        G, h = _beats_others(lams, values, r)
        ball = np.column_stack([G, np.linalg.norm(G, axis=1)])
        widest = linprog([0.0] * len(box) + [-1.0], A_ub=ball, b_ub=h, bounds=[*box, (0.0, 1.0)])
        if widest.status == 0 and widest.x[-1] > THIN:
            found.append(Plane(lams[r].reshape(low.shape), float(values[r])))
    return found


def _beats_others(lams: np.ndarray, values: np.ndarray, r: int) -> tuple[np.ndarray, np.ndarray]:
    """G L <= h: where plane r is the highest of all."""
    others = np.arange(len(values)) != r
    return (lams - lams[r])[others], (values[r] - values)[others]


def hosts(case: Instance) -> list[int]:
    return sorted({feeder.host_bus for feeder in case.feeders})


class Leaders:
    """The leaders' constraints and fees, binaries as parameters or relaxed; power in MW, voltages in kV."""

    def __init__(self, case: Instance, relaxed: bool):
        self.case, self.relaxed, self.T = case, relaxed, case.hours
        self.rows: list[cp.Constraint] = []
        self.cost = 0.0
        self.binaries: list = []
        self.boundary = []
        self.p_import, self.p_export = [], []
        n_arcs = len(case.arcs)
        self.x = self._power(n_arcs)
        self.open = None
        if n_arcs:
            self._trades()
        for d in range(case.n_adns):
            self._feeder(d)

    def _power(self, n: int):
        """n rows of hourly power, MW, at least zero."""
        if n == 0:
            return np.zeros((0, self.T))
        power = cp.Variable((n, self.T), nonneg=True)
        self.rows.append(power <= MOST)
        return power

    def _binary(self, n: int):
        side = cp.Variable((n, self.T)) if self.relaxed else cp.Parameter((n, self.T))
        if self.relaxed:
            self.rows += [side >= 0, side <= 1]
        self.binaries.append(side)
        return side

    def _either(self, n: int, ones: int, others: int) -> tuple[list, list]:
        """Rows of power, ``ones`` and ``others`` of n each, of which only the ones or only the others flow.

        With its binary given, a power that may not flow is multiplied by zero: a variable held between two
        equal bounds would leave an interior-point solver no interior.
        """
        side = self._binary(n)
        powers = [self._power(n) for _ in range(ones + others)]
        if not self.relaxed:
            gated = [cp.multiply(side, p) for p in powers[:ones]]
            return gated, [cp.multiply(1 - side, p) for p in powers[ones:]]
        self.rows += [sum(powers[:ones]) <= MOST * side, sum(powers[ones:]) <= MOST * (1 - side)]
        return powers[:ones], powers[ones:]

    def _trades(self) -> None:
        """An ADN with partners to sell to and partners to buy from does one or the other in an hour."""
        arcs = self.case.arcs
        self.both = sorted({arc.seller for arc in arcs} & {arc.buyer for arc in arcs})
        sells = self._binary(len(self.both)) if self.both else None
        if self.relaxed:
            for n, d in enumerate(self.both):
                sold = sum(self.x[k] for k, arc in enumerate(arcs) if arc.seller == d)
                bought = sum(self.x[k] for k, arc in enumerate(arcs) if arc.buyer == d)
                self.rows += [sold <= MOST * sells[n], bought <= MOST * (1 - sells[n])]
        else:
            self.sells = sells
            self.open = cp.Parameter((len(arcs), self.T))
            self.x = cp.multiply(self.open, self.x)
        for k, arc in enumerate(arcs):
            self.cost += arc.wheeling_per_mwh * cp.sum(self.x[k])

    def _feeder(self, d: int) -> None:
        case, T = self.case, self.T
        feeder, fees = case.feeders[d], case.fees
        parents = feeder.parents()
        children = list(parents)
        loads = {bus.bus_i: bus for bus in feeder.buses}

        power = self._power
        # Physics: branch flows at the sending end, squared currents in (MVA/kV)^2, squared voltages in kV^2.
        n = len(children)
        P, Q, current, V = cp.Variable((n, T)), cp.Variable((n, T)), power(n), cp.Variable((n, T))
        pv = power(len(feeder.pv))
        if feeder.pv:
            # A share of what the sun offers, so that an hour without sun keeps an interior.
            self.rows.append(pv <= 1)
            pv = cp.multiply(np.array([unit.available_mw for unit in feeder.pv]), pv)
        if feeder.bess:
            (charge,), (discharge,) = self._either(len(feeder.bess), 1, 1)
        pv_q = cp.Variable((len(feeder.pv), T)) if feeder.pv else None
        nominal = feeder.base_kv**2
        root_v = np.full(T, feeder.v_root**2 * nominal)
        at = {j: k for k, j in enumerate(children)}
        low, high = feeder.vmin**2 * nominal, feeder.vmax**2 * nominal
        self.rows += [low <= V, high >= V]
        boundary = 0.0
        for j, (i, branch) in parents.items():
            k, r, x = at[j], branch.br_r_ohm, branch.br_x_ohm
            sending = root_v if i == feeder.root_bus else V[at[i]]
            net_p = np.array(loads[j].pd_mw) + sum(P[at[c]] for c, (up, _) in parents.items() if up == j)
            net_q = np.array(loads[j].qd_mvar) + sum(Q[at[c]] for c, (up, _) in parents.items() if up == j)
            for u, unit in enumerate(feeder.pv):
                if unit.bus == j:
                    net_p, net_q = net_p - pv[u], net_q - pv_q[u]
            for u, unit in enumerate(feeder.bess):
                if unit.bus == j:
                    net_p = net_p + charge[u] - discharge[u]
            self.rows += [
                P[k] - r * current[k] == net_p,
                Q[k] - x * current[k] == net_q,
                V[k] == sending - 2 * (r * P[k] + x * Q[k]) + (r**2 + x**2) * current[k],
                current[k] <= (branch.rate_a_mva / feeder.base_kv) ** 2,
            ]
            for t in range(T):
                cone = cp.hstack([2 * P[k, t], 2 * Q[k, t], sending[t] - current[k, t]])
                self.rows.append(cp.SOC(sending[t] + current[k, t], cone))
            if i == feeder.root_bus:
                boundary = boundary + P[k]
        for u, unit in enumerate(feeder.pv):
            self.rows += [cp.SOC(unit.s_mva, cp.hstack([pv[u, t], pv_q[u, t]])) for t in range(T)]
        if feeder.bess:
            energy = power(len(feeder.bess))
        for u, unit in enumerate(feeder.bess):
            self.rows += [
                energy[u] <= unit.energy_mwh,
                charge[u] <= unit.p_max_mw,
                discharge[u] <= unit.p_max_mw,
            ]
            for t in range(T):
                gained = unit.efficiency_charge * charge[u, t] - discharge[u, t] / unit.efficiency_discharge
                self.rows.append(energy[u, t] == energy[u, t - 1] + gained)  # hour -1 is the last: cyclic
            self.cost += unit.wear_per_mwh * cp.sum(charge[u] + discharge[u])

        # Accounts of the load buses.
        buses = [j for j in children if max(loads[j].pd_mw) > 0]
        peers, owners = list(feeder.peers), {unit.bus for unit in (*feeder.pv, *feeder.bess)}
        sellers = [i for i in peers if i in owners]
        grid_import, grid_export = power(len(buses)), power(len(sellers))
        # Markets: within the ADN where there are two peers, across ADNs where there is an arc.
        markets = [name for name, there in (("in", len(peers) > 1), ("out", case.arcs)) if there and sellers]
        sold = {name: np.zeros((len(sellers), T)) for name in ("in", "out")}
        bought = {name: {i: np.zeros(T) for i in peers} for name in ("in", "out")}
        if markets:
            sides = self._either(len(sellers), len(markets), len(markets))
            for name, sales, purchases in zip(markets, *sides, strict=True):
                sold[name] = sales
                bought[name] |= dict(zip(sellers, purchases, strict=True))
        buyers = [i for i in peers if i not in sellers]
        for name in ("in", "out"):
            if name in markets or (name == "out" and case.arcs):
                bought[name] |= dict(zip(buyers, power(len(buyers)), strict=True))
        sell_in, sell_out, bought_in, bought_out = sold["in"], sold["out"], bought["in"], bought["out"]
        for i in buses:
            takes, gives = np.array(loads[i].pd_mw), grid_import[buses.index(i)]
            if i in peers:
                gives = gives + bought_in[i] + bought_out[i]
            if i in sellers:
                s = sellers.index(i)
                output, rating = 0.0, 0.0
                for u, unit in enumerate(feeder.pv):
                    if unit.bus == i:
                        output, rating = output + pv[u], rating + unit.s_mva
                for u, unit in enumerate(feeder.bess):
                    if unit.bus == i:
                        output, rating = output + discharge[u], rating + unit.p_max_mw
                        takes = takes + charge[u]
                takes = takes + grid_export[s] + sell_in[s] + sell_out[s]
                gives = gives + output
                self.rows += [sell_in[s] + sell_out[s] <= output, grid_export[s] <= rating]
            self.rows.append(takes == gives)
        nothing = np.zeros(T)
        if "in" in markets:
            self.rows.append(sum(sell_in, nothing) == sum(bought_in.values(), nothing))

        # Accounts of the ADN.
        (p_import,), (p_export,) = self._either(1, 1, 1)
        sold, bought = np.zeros(T), np.zeros(T)
        for k, arc in enumerate(case.arcs):
            if arc.seller == d:
                sold = sold + self.x[k]
            if arc.buyer == d:
                bought = bought + self.x[k]
        if case.arcs:
            self.rows += [sum(sell_out, nothing) == sold, sum(bought_out.values(), nothing) == bought]
        self.rows.append(boundary == p_import[0] - p_export[0] + bought - sold)
        self.cost += fees.access_per_mwh * cp.sum(p_import + p_export)
        self.cost += fees.network_per_mwh * (cp.sum(grid_import) + cp.sum(grid_export))
        self.cost += fees.local_per_mwh * cp.sum(sell_in)
        self.boundary.append(boundary)

    @property
    def n_binaries(self) -> int:
        return sum(side.size for side in self.binaries)

    def load(self) -> list:
        """Load of the ADNs at every host bus, one expression of T hours each."""
        return [
            sum(self.boundary[d] for d, feeder in enumerate(self.case.feeders) if feeder.host_bus == i)
            for i in hosts(self.case)
        ]

    def set_binaries(self, values: tuple[int, ...]) -> None:
        start = 0
        for side in self.binaries:
            side.value = np.array(values[start : start + side.size], dtype=float).reshape(side.shape)
            start += side.size
        if self.open is not None:
            may = np.ones(self.open.shape)
            for k, arc in enumerate(self.case.arcs):
                for end, sign in ((arc.seller, 1.0), (arc.buyer, -1.0)):
                    if end in self.both:
                        sells = self.sells.value[self.both.index(end)]
                        may[k] *= sells if sign > 0 else 1 - sells
            self.open.value = may


class Program:
    """min payment + fees of the leaders with one plane a group of hours held to be the highest."""

    def __init__(self, case: Instance, groups: list[list[int]], planes: list[list[Plane]], relaxed: bool):
        self.leaders = Leaders(case, relaxed)
        self.groups, self.planes = groups, planes
        load = cp.vstack(self.leaders.load())
        n_hosts = len(hosts(case))
        self.prices = cp.Parameter((n_hosts, case.hours))
        self.limits = []
        rows = list(self.leaders.rows)
        for group, known in zip(groups, planes, strict=True):
            own = cp.reshape(load[:, group], (n_hosts * len(group),), order="C")
            G = cp.Parameter((len(known) - 1, n_hosts * len(group))) if len(known) > 1 else None
            h = cp.Parameter(len(known) - 1) if len(known) > 1 else None
            self.limits.append((G, h))
            if G is not None:
                rows.append(G @ own <= h)
        payment = cp.sum(cp.multiply(self.prices, load))
        self.load = load
        cost = cp.Minimize(payment + self.leaders.cost)
        self.problems = [(cp.Problem(cost, rows), *solver) for solver in SOLVERS]

    def solve(self, chosen: tuple[int, ...]) -> float:
        """The least cost with plane ``chosen[g]`` the highest in group g; infinite where that cannot be."""
        prices = np.zeros(self.prices.shape)
        for group, known, r, (G, h) in zip(self.groups, self.planes, chosen, self.limits, strict=True):
            prices[:, group] = known[r].lam
            if G is not None:
                lams = np.array([plane.lam.ravel() for plane in known])
                values = np.array([plane.value for plane in known])
                facets, sides = _beats_others(lams, values, r)
                size = np.linalg.norm(facets, axis=1)
                G.value, h.value = facets / size[:, None], sides / size + TOUCH
        self.prices.value = prices
        return optimum(self.problems)


def optimum(problems: list[tuple[cp.Problem, str, dict]]) -> float:
    """The optimal value by the first solver that is sure of it; infinite where infeasible.

    Of programs without an interior, such as a price that only one load has, none may be sure: then they
    must come to the same value, and the middle one is taken. Each has a problem of its own, because
    changing the solver of a problem costs a compilation.
    """
    values = []
    for problem, solver, options in problems:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that a solution may be inaccurate: judged here
                problem.solve(solver=solver, **options)
        except cp.SolverError:
            continue
        if problem.status in (cp.OPTIMAL, cp.INFEASIBLE):
            return problem.value
        values.append(problem.value)
    middle = statistics.median(values)
    if len(values) > 1 and max(abs(v - middle) for v in values) <= UNSURE * max(abs(middle), 1.0):
        return middle
    raise ArithmeticError(f"no solver settles this: {values}")


@dataclass(frozen=True)
class Optimum:
    """The bilevel optimum: cost in $, load at (host, hour) in MW, prices there, number of programs solved."""

    cost: float
    load: np.ndarray
    prices: np.ndarray
    n_programs: int


def solve(case: Instance, exhaustive: bool = False) -> Optimum:
    """The bilevel optimum; ``exhaustive`` solves what a found point rules out too."""
    ramping = any(gen.ramp_mw_per_h is not None for gen in case.transmission.gens)
    groups = [list(range(case.hours))] if ramping else [[t] for t in range(case.hours)]
    low, high = reach(case)
    if case.settlement == "lmp":
        planes = [planes_at_hosts(case, group, low[:, group], high[:, group]) for group in groups]
    else:
        tariff = np.tile(case.tariff_per_mwh, (len(low), 1))
        planes = [[Plane(tariff[:, group], 0.0)] for group in groups]
    relaxed = Program(case, groups, planes, relaxed=True)
    exact = Program(case, groups, planes, relaxed=False)
    choices = list(itertools.product(*(range(len(known)) for known in planes)))
    order = sorted((relaxed.solve(chosen), chosen) for chosen in choices)
    best, n_programs = Optimum(math.inf, np.zeros(0), np.zeros(0), 0), len(order)
    for lowest, chosen in order:
        if lowest > best.cost + 1e-6 and not exhaustive or math.isinf(lowest):
            continue
        for values in itertools.product((0, 1), repeat=exact.leaders.n_binaries):
            exact.leaders.set_binaries(values)
            cost = exact.solve(chosen)
            n_programs += 1
            if cost < best.cost:
                best = Optimum(cost, exact.load.value.copy(), exact.prices.value.copy(), 0)
    return Optimum(best.cost, best.load, best.prices, n_programs)


def reach(case: Instance) -> tuple[np.ndarray, np.ndarray]:
    """Least and most load of the ADNs at (host, hour), MW, from devices, loads and losses at the ratings."""
    low, high = np.zeros((2, len(hosts(case)), case.hours))
    for feeder in case.feeders:
        i = hosts(case).index(feeder.host_bus)
        load = np.sum([bus.pd_mw for bus in feeder.buses], axis=0)
        sun = sum((np.array(unit.available_mw) for unit in feeder.pv), np.zeros(case.hours))
        battery = sum(unit.p_max_mw for unit in feeder.bess)
        losses = sum(k.br_r_ohm * (k.rate_a_mva / feeder.base_kv) ** 2 for k in feeder.branches)
        low[i] += load - sun - battery
        high[i] += load + battery + losses
    return low, high
