"""Both grids against pandapower: the feeders as AC power flow, the follower as DC optimal power flow.

``replay.py`` says what the tool is told and which signs it uses. MW, $/MWh, and p.u. of ``base_mva``.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from replay import AcHour, DcHour, FeederReplay, TransmissionReplay
from toys import toy
from uneven import uneven

from generators import instance
from model.certificate import FEASIBILITY, Certificate, certify
from model.data import Feeder, Instance
from model.follower_check import FollowerRestated
from model.metrics import FeederSchedule, Schedule, extract, table
from model.problem import Problem
from model.program import Program, compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.follower import Follower
from reports.schedules import _totals

Array = np.ndarray

# What the interior-point solver leaves of a feeder's row, in p.u.: its tolerance of 1e-8 is relative to
# vectors of size ten and less.
RESIDUAL = 1e-7
# PIPS meets balances to 1e-8 p.u.; at VOLL that is 1e-4 $. Its prices are good to about 1e-8 relative, but
# close to a kink its matrices are badly conditioned: hence 1e-4 $/MWh. Unequal costs of a generated instance
# differ by 0.1 $/MWh or more, so no error of a sign, a unit or a block passes.
COST = 1e-4
PRICE = 1e-4
MW = 1e-4
RADIANS = 1e-6


def at_tariff(case: Instance, *tariff: float) -> Instance:
    return case.model_copy(update={"tariff_per_mwh": tariff})


CASES = {
    "one ADN": lambda: instance(1),
    "one ADN, strong congestion": lambda: instance(1, congestion="strong"),
    "two ADNs": lambda: instance(2, seed=1),
    "uneven": uneven,
    "toys": lambda: toy(2, 4),
    "toys, congested": lambda: toy(2, 4, rate_mw=4.0),
    "much sun": lambda: toy(1, 2, sun=6.0),
    "paid to consume": lambda: at_tariff(toy(2, 3, settlement="tariff"), -60.0, 40.0, -30.0),
    "paid to consume, IEEE": lambda: at_tariff(instance(1, hours=2, settlement="tariff"), -60.0, 40.0),
}


@dataclass(frozen=True)
class Solved:
    """A solved case and what the certificate says of it."""

    case: Instance
    problem: Problem
    program: Program
    x: Array
    schedule: Schedule
    certificate: Certificate

    def pv_mvar(self, d: int) -> Array:
        """Reactive power of an ADN's inverters, (unit, hour): the schedule does not hold it."""
        columns = self.program.column(f"feeder[{d}].pv_q")
        return self.case.base_mva * self.x[columns].reshape(-1, self.case.hours)


@cache
def solved(name: str) -> Solved:
    case = CASES[name]()
    problem = build(case, mode="big_m")
    program = compile_model(problem.m)
    outcome = solve(problem, program, "auto", 2e-3, 60.0)
    certificate = certify(problem, program, outcome, 2e-3)
    assert certificate.status == "certified", certificate
    return Solved(case, problem, program, outcome.x, extract(problem, program, outcome.x), certificate)


# The feeders: AC power flow


class Cones:
    """What a schedule's current cones lose beyond physics, in p.u., from the instance's ohms."""

    def __init__(self, feeder: Feeder, f: FeederSchedule, base_mva: float):
        tree = feeder.parents()
        row = {j: n for n, j in enumerate(tree)}
        z_base = feeder.base_kv**2 / base_mva
        self.r = np.array([branch.br_r_ohm / z_base for _, branch in tree.values()])
        self.x = np.array([branch.br_x_ohm / z_base for _, branch in tree.values()])
        self.at_root = [row[j] for j, (i, _) in tree.items() if i == feeder.root_bus]
        root = np.full(f.v_pu.shape[1], feeder.v_root**2)
        v = np.array([root if i == feeder.root_bus else f.v_pu[row[i]] for i, _ in tree.values()])
        self.gap = f.l_pu - (f.P_mw**2 + f.Q_mvar**2) / base_mva**2 / v
        self.lost = (self.r + self.x) @ np.abs(self.gap)


@dataclass(frozen=True)
class Tolerance:
    """By how much an hour of a schedule may miss the AC power flow at the same injections, in p.u.

    Power: what the cones lose (``r gap`` and ``x gap``) and the residuals of every bus, twice, because one
    unit of flow more causes less than one unit of losses more. Voltage: ``v_i - v_j = 2 (r P + x Q) - ...``
    holds for squared voltages, so ``r + x`` of all branches (no path has more) times that power, divided
    by the lowest voltage. Squared current ``(P^2 + Q^2) / v``: its own gap, and four times the largest flow
    times the error of a flow.
    """

    power: float
    voltage: float
    current: Array

    @classmethod
    def of(cls, cones: Cones, feeder: Feeder, f: FeederSchedule, base_mva: float, t: int) -> "Tolerance":
        power = 2 * (cones.lost[t] + len(feeder.buses) * RESIDUAL)
        voltage = (cones.r + cones.x).sum() * power / feeder.vmin
        largest = np.hypot(f.P_mw[:, t], f.Q_mvar[:, t]).max() / base_mva
        return cls(power, voltage, np.abs(cones.gap[:, t]) + 4 * largest * power / feeder.vmin**2)


@dataclass(frozen=True)
class Replayed:
    """One ADN of a solved case and the AC power flow of every hour at the schedule's injections."""

    feeder: Feeder
    f: FeederSchedule
    pv_mvar: Array
    cones: Cones
    replay: FeederReplay
    ac: list[AcHour]
    allowed: list[Tolerance]


@cache
def replayed(name: str) -> list[Replayed]:
    own = solved(name)
    base, hours = own.case.base_mva, range(own.case.hours)
    found = []
    for d, (feeder, f) in enumerate(zip(own.case.feeders, own.schedule.feeders, strict=True)):
        cones, replay, pv_mvar = Cones(feeder, f, base), FeederReplay(feeder), own.pv_mvar(d)
        ac = [replay.hour(f, pv_mvar, t) for t in hours]
        allowed = [Tolerance.of(cones, feeder, f, base, t) for t in hours]
        found.append(Replayed(feeder, f, pv_mvar, cones, replay, ac, allowed))
    return found


CLOSED = ("one ADN", "two ADNs", "uneven", "toys", "much sun")
OPEN = ("paid to consume", "paid to consume, IEEE")


@pytest.mark.long
@pytest.mark.parametrize("name", CLOSED)
def test_where_the_cones_close_the_schedule_is_the_ac_power_flow(name):
    """Voltages, currents, flows, losses and the root's P and Q of every hour."""
    assert solved(name).certificate.relaxation == "exact"
    base = solved(name).case.base_mva
    for own in replayed(name):
        f, cones = own.f, own.cones
        i_base_ka = base / own.feeder.base_kv / 3**0.5
        for t, (ac, allowed) in enumerate(zip(own.ac, own.allowed, strict=True)):
            # Closed: all cones of the hour together lose less than one certified row may miss.
            assert cones.lost[t] < FEASIBILITY
            assert np.abs(ac.v_pu - np.sqrt(f.v_pu[:, t])).max() < allowed.voltage < 1e-4
            assert (np.abs((ac.i_ka / i_base_ka) ** 2 - f.l_pu[:, t]) < allowed.current).all()
            for theirs, ours in (
                (ac.p_mw, f.P_mw[:, t]),
                (ac.q_mvar, f.Q_mvar[:, t]),
                (ac.losses_mw, base * cones.r @ f.l_pu[:, t]),
                (ac.boundary_mw, f.P_boundary[t]),
                (ac.boundary_mvar, f.Q_mvar[cones.at_root, t].sum()),
            ):
                assert np.abs(theirs - ours).max() < base * allowed.power < 1e-4


@pytest.mark.parametrize("name", CLOSED)
def test_reported_imports_exports_losses_and_voltages_are_physical(name):
    """The table that is written and reported, against sums over the AC power flows of the day."""
    lines = table(solved(name).schedule)
    totals, losses, miss = _totals(lines), 0.0, 0.0
    for d, own in enumerate(replayed(name)):
        power = [solved(name).case.base_mva * allowed.power for allowed in own.allowed]
        voltage = [allowed.voltage for allowed in own.allowed]
        boundary = np.array([hour.boundary_mw for hour in own.ac])
        written = lines[lines["adn"] == d]
        for column, theirs, allowed in (
            ("p_boundary_mw", boundary, power),
            ("losses_mw", [hour.losses_mw for hour in own.ac], power),
            ("v_min_pu", [hour.v_pu.min() for hour in own.ac], voltage),
            ("v_max_pu", [hour.v_pu.max() for hour in own.ac], voltage),
        ):
            assert (np.abs(written[column] - theirs) < allowed).all()
        assert totals.loc[d, "imported"] == pytest.approx(boundary.clip(min=0).sum(), abs=sum(power))
        assert totals.loc[d, "exported"] == pytest.approx((-boundary).clip(min=0).sum(), abs=sum(power))
        losses, miss = losses + sum(hour.losses_mw for hour in own.ac), miss + sum(power)
    assert solved(name).schedule.losses_mwh() == pytest.approx(losses, abs=miss)


@pytest.mark.parametrize("name", ["two ADNs", "toys", "much sun"])
def test_among_the_hours_compared_some_export(name):
    """So that an export's sign and reverse flows were compared too, and not only imports."""
    assert min(own.f.P_boundary.min() for own in replayed(name)) < -0.4


@pytest.mark.parametrize("name", OPEN)
def test_where_cones_stay_open_the_slack_is_what_no_ac_power_flow_explains(name):
    """Paid to consume, an ADN burns power in its cones; ``relaxation_slack`` is the energy so burnt.

    With ``l = (P^2 + Q^2) / v + gap`` a branch delivers what a physical one does, less ``(r + jx) gap``. So
    give the AC network that power as extra load at the child buses: it then takes the schedule's boundary
    power, and the schedule's losses are the network's and the slack. One term is left. The relaxed
    branch also drops less voltage, by ``|z|^2 gap`` (squared); losses are in proportion to 1/v at the same
    flows, so they may be higher by the sum of these over vmin^2, twice for the feedback as in ``Tolerance``.

    Without the extra load the losses fall short by more than the slack, because what is burnt must be
    carried there at physical losses: the slack is the lower of the two figures, by 1 to 6 % here.
    """
    case, base = solved(name).case, solved(name).case.base_mva
    unexplained, carried, physical = 0.0, 0.0, 0.0
    for own in replayed(name):
        f, cones, feeder = own.f, own.cones, own.feeder
        z = cones.r + 1j * cones.x
        for t, plain in enumerate(own.ac):
            off = np.abs(np.sqrt(f.v_pu[:, t]) - plain.v_pu).max()
            if case.tariff_per_mwh[t] > 0:
                assert off < own.allowed[t].voltage < 1e-4
                physical += plain.losses_mw
                continue
            burnt, losses = base * cones.r @ cones.gap[:, t], base * cones.r @ f.l_pu[:, t]
            loaded = own.replay.hour(f, own.pv_mvar, t, base * z * cones.gap[:, t])
            rounding = 2 * base * len(feeder.buses) * RESIDUAL
            higher = 2 * np.abs(z) ** 2 @ np.abs(cones.gap[:, t]) / feeder.vmin**2
            most = loaded.losses_mw * higher + rounding
            assert -rounding < loaded.losses_mw + burnt - losses < most
            assert -rounding < loaded.boundary_mw - f.P_boundary[t] < most
            # At the schedule's own injections the AC power flow is elsewhere.
            assert burnt > 0.1
            assert f.P_boundary[t] - plain.boundary_mw > burnt
            assert off > 1e-4
            unexplained += losses - loaded.losses_mw
            carried += loaded.losses_mw - plain.losses_mw
            physical += loaded.losses_mw
    slack = solved(name).certificate.relaxation_slack
    # The term of the voltages is smaller than these tolerances.
    assert unexplained == pytest.approx(slack, rel=1e-3)
    assert solved(name).schedule.losses_mwh() == pytest.approx(physical, rel=1e-2)
    assert 0 < carried < 0.06 * slack
    assert solved(name).certificate.relaxation == "not exact"


# The follower: DC optimal power flow


def load_mw(case: Instance, boundary_mw: Array) -> Array:
    """Load of every transmission bus and hour with the ADNs' boundary power (ADN, hour)."""
    row = {bus.bus_i: n for n, bus in enumerate(case.transmission.buses)}
    load = np.array([bus.pd_mw for bus in case.transmission.buses], dtype=float)
    for feeder, power in zip(case.feeders, boundary_mw, strict=True):
        load[row[feeder.host_bus]] += power
    return load


@dataclass(frozen=True)
class Answer:
    """The follower's side of a point of the project's program."""

    problem: Problem
    program: Program
    x: Array

    @property
    def schedule(self) -> Schedule:
        return extract(self.problem, self.program, self.x)

    def congestion(self, t: int) -> Array:
        """mu_flow_lo and mu_flow_up of every line in $/MWh, (line, 2)."""
        number, mu_flow = self.program.objective_map.number, self.problem.multipliers.mu_flow
        lines = range(len(self.problem.instance.transmission.branches))
        columns = [[number[id(mu)] for mu in mu_flow[k, t]] for k in lines]
        return self.x[columns] / self.problem.instance.base_mva

    def flow(self, t: int) -> Array:
        """Flow on every line in MW, from the schedule's angles and the instance's reactances."""
        case, theta = self.problem.instance, self.schedule.theta[:, t]
        row = {bus.bus_i: n for n, bus in enumerate(case.transmission.buses)}
        return np.array(
            [
                case.base_mva / line.br_x * (theta[row[line.f_bus]] - theta[row[line.t_bus]])
                for line in case.transmission.branches
            ]
        )


def compare(answer: Answer, t: int, tool: DcHour) -> None:
    """Cost always; dispatch, flows and angles, prices and congestion where they are the only ones."""
    schedule = answer.schedule
    assert tool.cost == pytest.approx(schedule.generation_cost()[t], abs=COST)
    if tool.dispatch_unique:
        assert tool.theta == pytest.approx(schedule.theta[:, t], abs=RADIANS)
        assert tool.flow_mw == pytest.approx(answer.flow(t), abs=MW)
        assert tool.gen_mw == pytest.approx(np.array([pg[:, t].sum() for pg in schedule.pg]), abs=MW)
        assert tool.shed_mw == pytest.approx(schedule.shed[:, t], abs=MW)
        assert tool.spill_mw == pytest.approx(schedule.spill[:, t], abs=MW)
    if tool.prices_unique:
        assert tool.lam == pytest.approx(schedule.lam[:, t], abs=PRICE)
        assert tool.mu_lo == pytest.approx(answer.congestion(t)[:, 0], abs=PRICE)
        assert tool.mu_up == pytest.approx(answer.congestion(t)[:, 1], abs=PRICE)


# The last figure: how often at least a full line is met, so that congestion really is compared.
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "full_lines"),
    [
        ("one ADN", 4),
        ("one ADN, strong congestion", 10),
        ("two ADNs", 3),
        ("uneven", 0),
        ("toys", 0),
        ("toys, congested", 2),
    ],
)
def test_dispatch_angles_flows_prices_and_congestion_of_solved_cases_are_the_tools(name, full_lines):
    """The schedule's own follower side, every third hour of a day."""
    own = solved(name)
    answer, tool = Answer(own.problem, own.program, own.x), TransmissionReplay(own.case)
    load = load_mw(own.case, np.array([f.P_boundary for f in own.schedule.feeders]))
    full = 0
    for t in range(0, own.case.hours, 3 if own.case.hours > 4 else 1):
        theirs = tool.hour(load[:, t])
        assert theirs.dispatch_unique
        compare(answer, t, theirs)
        full += int((theirs.mu_lo + theirs.mu_up > PRICE).sum()) if theirs.prices_unique else 0
    assert full >= full_lines


@pytest.mark.parametrize("name", ["two ADNs", "toys, congested"])
def test_cost_and_energy_payment_are_what_both_replays_say_in_a_chain(name):
    """AC feeders, then the DC optimal power flow at what they take: a day without the project.

    An optimistic leader pays the least ``lam P`` among dual-optimal prices, which is the slope of the optimal
    cost towards less boundary power. All prices at ``D + 0.998 P`` have it unless another kink lies
    between, and 0.2 % of P is a few kW. So this holds on kinks as well.
    """
    own = solved(name)
    hours = range(own.case.hours)
    boundary = np.array([[hour.boundary_mw for hour in adn.ac] for adn in replayed(name)])
    native = load_mw(own.case, np.zeros_like(boundary))
    hosted = load_mw(own.case, boundary) - native
    tool = TransmissionReplay(own.case)
    paid = sum(float(tool.hour((native + 0.998 * hosted)[:, t]).lam @ hosted[:, t]) for t in hours)
    # PRICE on every MWh, and for the W by which boundary power may differ a cent.
    allowed = PRICE * np.abs(hosted).sum() + 1e-2
    assert own.schedule.payments()["energy"] == pytest.approx(paid, abs=allowed)
    cost = own.schedule.generation_cost()
    for t in hours[::4]:
        assert tool.hour((native + hosted)[:, t]).cost == pytest.approx(cost[t], abs=1e-2)


class Asked:
    """A case whose follower can be asked at any boundary power; the leaders' problem is not solved."""

    def __init__(self, case: Instance):
        self.case = case
        self.problem = build(case, mode="big_m")
        self.program = compile_model(self.problem.m)
        self.follower = Follower(self.problem, self.program)
        names = [b.P_boundary.name for b in self.problem.m.feeder.values()]
        self.columns = np.array([self.program.column(name) for name in names])
        self.tool = TransmissionReplay(case)
        # Least and most boundary power in MW, (ADN, hour).
        self.low = case.base_mva * self.program.lower[self.columns]
        self.high = case.base_mva * self.program.upper[self.columns]

    def __call__(self, boundary_mw: Array) -> Answer:
        x = np.zeros(len(self.program.c))
        x[self.columns] = boundary_mw / self.case.base_mva
        return Answer(self.problem, self.program, self.follower(x))


DRAWS = {
    "toys": lambda: toy(2, 2),
    "congested": lambda: toy(2, 2, rate_mw=1.0),
    "shedding": lambda: toy(2, 2, load_mw=40.0),
    "spilling": lambda: toy(2, 2, load_mw=0.5, sun=6.0),
    "uneven": uneven,
    "IEEE, none": lambda: instance(2, hours=10, congestion="none"),
    "IEEE, moderate": lambda: instance(2, hours=10),
    "IEEE, strong": lambda: instance(2, hours=10, congestion="strong"),
}
N_DRAWS = 10
# Both buses can shed, or spill, so which of them does is not determined.
MANY_DISPATCHES = ("shedding", "spilling")


@cache
def drawn(name: str) -> list[tuple[Answer, int, DcHour]]:
    """Boundary power drawn from its box, every third time a corner; one hour of each draw, asked of both."""
    asked = Asked(DRAWS[name]())
    rng = np.random.default_rng(7)
    found = []
    for draw in range(N_DRAWS):
        corner = rng.integers(0, 2, asked.low.shape)
        share = corner if draw % 3 == 2 else rng.uniform(size=asked.low.shape)
        boundary = asked.low + share * (asked.high - asked.low)
        t = draw % asked.case.hours
        found.append((asked(boundary), t, asked.tool.hour(load_mw(asked.case, boundary)[:, t])))
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", DRAWS)
def test_the_follower_answers_any_boundary_power_like_the_tool(name):
    for answer, t, theirs in drawn(name):
        compare(answer, t, theirs)
        assert theirs.dispatch_unique or name in MANY_DISPATCHES
    assert sum(theirs.prices_unique for *_, theirs in drawn(name)) >= 8


@pytest.mark.parametrize("name", DRAWS)
def test_no_multiplier_of_the_tool_exceeds_its_certified_bound(name):
    """The bounds of ``model/kkt.py`` against multipliers that it did not compute, at sampled boundary power.

    Those that the tool does not print follow from its prices: a block's is the distance of the price from
    the block's cost, those of shedding and spilling the distances from VOLL and minus the spillage price.
    """
    largest = dict.fromkeys(("lam", "mu_flow", "mu_pg", "mu_shed", "mu_spill"), 0.0)
    for answer, t, theirs in drawn(name):
        case, named = answer.problem.instance, answer.problem.multipliers
        grid, row = case.transmission, {bus.bus_i: n for n, bus in enumerate(case.transmission.buses)}
        bounded = []
        for i, n in row.items():
            lam = theirs.lam[n]
            bounded.append(("lam", lam, named.lam[i, t].ub))
            bounded.append(("lam", -lam, -named.lam[i, t].lb))
            bounded.append(("mu_shed", grid.voll_per_mwh - lam, named.mu_shed[i, t].ub))
            bounded.append(("mu_spill", lam + grid.spill_per_mwh, named.mu_spill[i, t].ub))
        for k, (lo, up) in enumerate(zip(theirs.mu_lo, theirs.mu_up, strict=True)):
            bounded.append(("mu_flow", lo, named.mu_flow[k, t][0].ub))
            bounded.append(("mu_flow", up, named.mu_flow[k, t][1].ub))
        for g, gen in enumerate(grid.gens):
            for k, block in enumerate(gen.blocks):
                profit = theirs.lam[row[gen.gen_bus]] - block.cost_per_mwh
                bounded.append(("mu_pg", -profit, named.mu_pg[g, k, t][0].ub))
                bounded.append(("mu_pg", profit, named.mu_pg[g, k, t][1].ub))
        for kind, value, bound in bounded:
            assert value <= bound / case.base_mva + PRICE, kind
            largest[kind] = max(largest[kind], value / (bound / case.base_mva))
    # Where power is worth VOLL or the spillage price, bounds are met: they could not be smaller.
    met = {"shedding": ("lam", "mu_pg", "mu_spill"), "spilling": ("lam", "mu_pg", "mu_shed")}
    for kind in met.get(name, ()):
        assert largest[kind] == pytest.approx(1, abs=1e-6), kind
    if name in ("congested", "IEEE, strong"):
        assert largest["mu_flow"] > 1e-3  # lines were full


def test_on_a_kink_the_price_is_the_end_of_the_interval_that_the_leaders_prefer():
    """Boundary power that fills a block to its end, of an ADN with large devices: importing and exporting.

    Without congestion the merit order says where: native load and boundary power equal the capacity of all
    blocks up to some cost. The tool's prices 10 kW to either side are the ends of the dual-optimal interval
    of the one host bus (the subdifferential of the cost of serving it). The optimistic price is the lower
    end for an ADN that imports and the upper for one that exports. An interior-point method ends inside the
    interval; that price is dual optimal too, and the certificate's own statement of the follower must say so.
    """
    asked = Asked(instance(1, congestion="none", pv_penetration=4.0, bess_power_share=2.0))
    case = asked.case
    host = asked.tool.row[case.feeders[0].host_bus]
    native = load_mw(case, np.zeros_like(asked.low))
    step = 0.01 * (np.arange(len(native)) == host)
    blocks = sorted((b.cost_per_mwh, b.p_max_mw) for gen in case.transmission.gens for b in gen.blocks)
    filled = np.cumsum([width for _, width in blocks])
    restated = FollowerRestated(case)
    seen = {"imports": 0, "exports": 0}
    for t in range(case.hours):
        for power in filled - native[:, t].sum():
            way = "imports" if power > 0 else "exports"
            reached = asked.low[0, t] < power < asked.high[0, t] and abs(power) > 0.1
            if not reached or seen[way] == 4:
                continue
            seen[way] += 1
            boundary = np.zeros_like(asked.low)
            boundary[0, t] = power
            answer, load = asked(boundary), load_mw(case, boundary)[:, t]
            below, on, above = (asked.tool.hour(load + side * step) for side in (-1, 0, 1))
            assert below.prices_unique and above.prices_unique and not on.prices_unique
            assert below.lam[host] + 0.01 < on.lam[host] < above.lam[host] - 0.01
            preferred = below if power > 0 else above
            assert answer.schedule.lam[:, t] == pytest.approx(preferred.lam, abs=PRICE)
            compare(answer, t, on)
            phi = restated.optimal_cost(load[:, None])
            assert restated.price_value(load[:, None], on.lam[:, None]) == pytest.approx(phi, abs=COST)
    assert min(seen.values()) == 4
