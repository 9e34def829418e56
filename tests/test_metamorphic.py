"""Pairs of instances whose answers are tied by an argument, though neither answer is known.

The instances are drawn at random (``drawn``: three transmission buses in a loop, ADNs with sun, batteries and
trade, lines that congest in some) or come from the generators (``ieee``). No formula of the model is used.

Tolerances:

- A solution encloses the optimum between its bound and its objective. Two enclosures of one optimum meet, up
  to the 1e-6 by which the certificate lets either objective be off (``rounding``). A relation between optima
  is tested as what it says of the enclosures, so nothing is assumed of how good a method is. ``solved`` keeps
  the enclosures small: a gap of 1e-4, or of a cent where the cost is near zero.
- ``PRICE``: prices are vertices of the follower's dual, the same to rounding while the optimum puts the load
  into the same price region. The drawn blocks lie dollars apart; 1e-4 $/MWh is nothing.
- ``relaxed``: values of the convex relaxation, to 1e-6 and 1e-4 $. Clarabel stops at 1e-8 of some 100 $ that
  change hands, in either of two forms of the problem.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import toy

from generators import instance
from model.certificate import certify
from model.data import (
    Arc,
    Bess,
    Block,
    Bus,
    Feeder,
    FeederBranch,
    FeederBus,
    Fees,
    Gen,
    Instance,
    Line,
    Pv,
    Transmission,
)
from model.follower_check import FollowerRestated
from model.metrics import extract
from model.program import compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.relaxation import solve_relaxation

GAP, CERTIFIED, CENT = 1e-5, 1e-4, 0.01
MONEY = 1e-6
PRICE = 1e-4  # $/MWh
SEEDS = range(3)
few = settings(derandomize=True, max_examples=3, deadline=None)


def drawn(seed, n_adns=2, hours=2, settlement="lmp"):
    """A random instance, every number generic: no ties between costs, fees or sizes."""
    rng = np.random.default_rng([seed, 3])

    def series(low, high):
        return tuple(rng.uniform(low, high, hours))

    def gen(bus):
        costs = np.sort(rng.uniform(15, 60, 3))
        return Gen(
            gen_bus=bus, blocks=[Block(p_max_mw=rng.uniform(2, 6), cost_per_mwh=cost) for cost in costs]
        )

    def line(f, t):
        return Line(f_bus=f, t_bus=t, br_x=rng.uniform(0.05, 0.2), rate_a_mw=rng.uniform(1, 4))

    net = Transmission(
        buses=[Bus(bus_i=i, pd_mw=series(2, 6)) for i in (1, 2, 3)],
        branches=[line(1, 2), line(2, 3), line(1, 3)],
        gens=[gen(1), gen(2), gen(3)],
        ref_bus=1,
        voll_per_mwh=1000.0,
        spill_per_mwh=1.0,
    )

    def branch(f, t):
        ohm = rng.uniform(0.1, 0.6, 2)
        return FeederBranch(f_bus=f, t_bus=t, br_r_ohm=ohm[0], br_x_ohm=ohm[1], rate_a_mva=6.0)

    def adn():
        loads = [np.array(series(0.3, 1.2)) for _ in range(3)]
        sun = rng.uniform(2, 5)
        return Feeder(
            host_bus=int(rng.integers(1, 4)),
            base_kv=12.66,
            root_bus=0,
            v_root=1.0,
            vmin=0.9,
            vmax=1.1,
            buses=[FeederBus(bus_i=0, pd_mw=(0.0,) * hours, qd_mvar=(0.0,) * hours)]
            + [FeederBus(bus_i=k, pd_mw=tuple(p), qd_mvar=tuple(0.4 * p)) for k, p in enumerate(loads, 1)],
            branches=[branch(0, 1), branch(1, 2), branch(int(rng.integers(1, 3)), 3)],
            peers=(1, 2, 3),
            pv=[Pv(bus=2, s_mva=1.1 * sun, available_mw=tuple(sun * rng.uniform(0, 1, hours)))],
            bess=[
                Bess(
                    bus=3,
                    p_max_mw=rng.uniform(0.2, 0.8),
                    energy_mwh=rng.uniform(0.5, 1.5),
                    efficiency_charge=0.95,
                    efficiency_discharge=0.93,
                    wear_per_mwh=rng.uniform(0.5, 2),
                )
            ],
        )

    return Instance(
        name=f"drawn-{seed}",
        seed=seed,
        hours=hours,
        base_mva=10.0,
        settlement=settlement,
        partners="complete",
        network="fixed",
        congestion="none",
        transmission=net,
        feeders=[adn() for _ in range(n_adns)],
        arcs=[
            Arc(seller=d, buyer=e, wheeling_per_mwh=rng.uniform(2, 6))
            for d in range(n_adns)
            for e in range(n_adns)
            if d != e
        ],
        fees=Fees(
            access_per_mwh=rng.uniform(1, 5),
            network_per_mwh=rng.uniform(1, 6),
            local_per_mwh=rng.uniform(0.5, 4),
        ),
        tariff_per_mwh=series(20, 50),
    )


def ieee(n_adns=1):
    """The IEEE instance, four hours of its day, complete partners."""
    return instance(n_adns, hours=4, partners="complete")


@cache
def solved(case):
    """The certificate, the schedule and the sizes of a certified solution."""
    problem = build(case)
    program = compile_model(problem.m)
    outcome = solve(problem, program, gap=GAP)
    certificate = certify(problem, program, outcome, CERTIFIED)
    assert certificate.status in ("certified", "gap_limit"), certificate  # every check passed
    assert certificate.abs_gap <= max(CERTIFIED * abs(certificate.objective), CENT)
    return certificate, extract(problem, program, outcome.x), program.sizes


@cache
def relaxed_value(case):
    """The optimum in $ of the convex relaxation: the welfare bound."""
    program = compile_model(build(case).m).relaxed()
    result = solve_relaxation(program)
    assert result.status == "solved"
    return program.objective(result.x)


def rounding(*certificates):
    """What the certificate lets an objective be off, in $, in all."""
    return sum(MONEY * max(abs(c.objective), 1.0) for c in certificates)


def assert_same_optimum(one, other, factor=1.0):
    """The enclosures [bound, objective] meet, the first one's times ``factor``."""
    slack = rounding(other) + factor * rounding(one)
    assert factor * one.bound <= other.objective + slack
    assert other.bound <= factor * one.objective + slack


def assert_same(case, changed, factor=1.0):
    """Same optimum (times ``factor``), same prices at every bus."""
    certificate, schedule, _ = solved(case)
    other, other_schedule, _ = solved(changed)
    assert_same_optimum(certificate, other, factor)
    assert other_schedule.lam == pytest.approx(schedule.lam, abs=PRICE)


def relaxed(value):
    return pytest.approx(value, rel=1e-6, abs=1e-4)


def assert_sum(whole, parts):
    """The whole's enclosure meets the sum of the parts'."""
    slack = rounding(whole, *parts)
    assert whole.bound <= sum(part.objective for part in parts) + slack
    assert sum(part.bound for part in parts) <= whole.objective + slack


def times(series, k):
    return tuple(k * value for value in series)


def edited(case, transmission=None, feeder=None, **fields):
    """A validated copy; ``transmission`` and ``feeder`` edit their part's plain data in place."""
    data = case.model_dump() | fields
    if transmission:
        transmission(data["transmission"])
    for each in data["feeders"] if feeder else []:
        feeder(each)
    return Instance.model_validate(data)


def with_series(case, change):
    """A copy with every hourly series (the only tuples of floats in an instance) changed, and its hours."""

    def walk(value):
        if isinstance(value, dict):
            return {name: walk(each) for name, each in value.items()}
        if isinstance(value, tuple) and value and isinstance(value[0], float):
            return change(value)
        return tuple(map(walk, value)) if isinstance(value, tuple) else value

    data = walk(case.model_dump())
    return Instance.model_validate(data | {"hours": len(data["tariff_per_mwh"])})


# --- Units: what the numbers are counted in is no matter --------------------------------------------


def scaled(case, k):
    """All powers, energies and ratings times k, all impedances divided by k.

    Cost is in blocks: a quadratic c2 p^2 with c2 / k costs k times as much at k p, so block widths grow by k
    and their prices stay.
    """

    def transmission(net):
        for bus in net["buses"]:
            bus["pd_mw"] = times(bus["pd_mw"], k)
        for line in net["branches"]:
            line["rate_a_mw"] *= k
            line["br_x"] /= k
        for gen in net["gens"]:
            for block in gen["blocks"]:
                block["p_max_mw"] *= k

    def feeder(f):
        for bus in f["buses"]:
            bus["pd_mw"], bus["qd_mvar"] = times(bus["pd_mw"], k), times(bus["qd_mvar"], k)
        for branch in f["branches"]:
            branch["rate_a_mva"] *= k
            branch["br_r_ohm"] /= k
            branch["br_x_ohm"] /= k
        for pv in f["pv"]:
            pv["s_mva"] *= k
            pv["available_mw"] = times(pv["available_mw"], k)
        for bess in f["bess"]:
            bess["p_max_mw"] *= k
            bess["energy_mwh"] *= k

    return edited(case, transmission, feeder)


def rebased(case, k):
    """Another base_mva: only the transmission reactances are data in per unit on it."""

    def transmission(net):
        for line in net["branches"]:
            line["br_x"] *= k

    return edited(case, transmission, base_mva=k * case.base_mva)


def at_other_voltage(case, k):
    """k times the feeders' voltage and k^2 times their ohms: the same drops in per cent, the same losses."""

    def feeder(f):
        f["base_kv"] *= k
        for branch in f["branches"]:
            branch["br_r_ohm"] *= k**2
            branch["br_x_ohm"] *= k**2

    return edited(case, feeder=feeder)


@few
@given(seed=st.integers(0, 10**6), k=st.floats(0.1, 20))
def test_scaling_power_and_impedance_scales_cost_and_leaves_prices_alone(seed, k):
    assert_same(drawn(seed), scaled(drawn(seed), k), factor=k)


@few
@given(seed=st.integers(0, 10**6), k=st.floats(0.1, 20))
def test_the_power_base_is_no_matter(seed, k):
    assert_same(drawn(seed), rebased(drawn(seed), k))


@few
@given(seed=st.integers(0, 10**6), k=st.floats(0.5, 10))
def test_the_voltage_level_is_no_matter(seed, k):
    assert_same(drawn(seed), at_other_voltage(drawn(seed), k))


@pytest.mark.parametrize("change", [scaled, rebased, at_other_voltage])
def test_units_are_no_matter_on_the_ieee_instance(change):
    assert_same(ieee(), change(ieee(), 4.0), factor=4.0 if change is scaled else 1.0)


# --- Names and order are no matter -------------------------------------------------------------------


def renumbered(case, rng):
    """New numbers for all buses, all lists shuffled, branches turned round at random, ADNs permuted.

    Returns the instance with, for each of its transmission buses, the place in the original's list.
    """

    def shuffled(items):
        return [items[k] for k in rng.permutation(len(items))]

    def fresh(buses):
        numbers = rng.choice(1000, len(buses), replace=False).tolist()
        return {bus["bus_i"]: number for bus, number in zip(buses, numbers, strict=True)}

    def turned(branch, number):
        f, t = number[branch["f_bus"]], number[branch["t_bus"]]
        return branch | ({"f_bus": f, "t_bus": t} if rng.random() < 0.5 else {"f_bus": t, "t_bus": f})

    data = case.model_dump()
    net = data["transmission"]
    host = fresh(net["buses"])
    origin = {host[bus["bus_i"]]: n for n, bus in enumerate(net["buses"])}
    net["buses"] = shuffled([bus | {"bus_i": host[bus["bus_i"]]} for bus in net["buses"]])
    net["branches"] = shuffled([turned(line, host) for line in net["branches"]])
    net["gens"] = shuffled([gen | {"gen_bus": host[gen["gen_bus"]]} for gen in net["gens"]])
    net["ref_bus"] = host[net["ref_bus"]]
    for f in data["feeders"]:
        number = fresh(f["buses"])
        f["host_bus"], f["root_bus"] = host[f["host_bus"]], number[f["root_bus"]]
        f["buses"] = shuffled([bus | {"bus_i": number[bus["bus_i"]]} for bus in f["buses"]])
        f["branches"] = shuffled([turned(branch, number) for branch in f["branches"]])
        f["peers"] = shuffled([number[peer] for peer in f["peers"]])
        for devices in ("pv", "bess"):
            f[devices] = shuffled([device | {"bus": number[device["bus"]]} for device in f[devices]])
    order = rng.permutation(case.n_adns)
    place = {int(d): n for n, d in enumerate(order)}
    data["feeders"] = [data["feeders"][d] for d in order]
    data["arcs"] = shuffled(
        [arc | {"seller": place[arc["seller"]], "buyer": place[arc["buyer"]]} for arc in data["arcs"]]
    )
    return Instance.model_validate(data), [origin[bus["bus_i"]] for bus in net["buses"]]


def assert_names_do_not_matter(case, seed):
    changed, origin = renumbered(case, np.random.default_rng(seed))
    certificate, schedule, sizes = solved(case)
    other, other_schedule, other_sizes = solved(changed)
    assert other_sizes == sizes
    assert_same_optimum(certificate, other)
    assert other_schedule.lam == pytest.approx(schedule.lam[origin], abs=PRICE)


@pytest.mark.long
@few
@given(seed=st.integers(0, 10**6))
def test_renumbering_buses_and_adns_changes_nothing(seed):
    assert_names_do_not_matter(drawn(seed, n_adns=3), seed)


def test_renumbering_the_ieee_instance_changes_nothing():
    assert_names_do_not_matter(ieee(2), 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reference_bus_is_no_matter(seed):
    def transmission(net):
        net["ref_bus"] = 3

    assert_same(drawn(seed), edited(drawn(seed), transmission))


def lines_in_two(net):
    """Two equal lines beside each other: half the rating, twice the reactance each."""
    halves = [
        line | {"br_x": 2 * line["br_x"], "rate_a_mw": line["rate_a_mw"] / 2} for line in net["branches"]
    ]
    net["branches"] = [*halves, *halves]


def blocks_in_two(net):
    """Two blocks of half the width at the same cost, one after the other."""
    for gen in net["gens"]:
        halves = [block | {"p_max_mw": block["p_max_mw"] / 2} for block in gen["blocks"]]
        gen["blocks"] = [half for half in halves for _ in range(2)]


def units_by_block(net):
    """Every block a unit of its own."""
    net["gens"] = [gen | {"blocks": [block]} for gen in net["gens"] for block in gen["blocks"]]


@pytest.mark.parametrize("change", [lines_in_two, blocks_in_two, units_by_block])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_network_written_in_pieces_is_the_same(seed, change):
    assert_same(drawn(seed), edited(drawn(seed), change))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hour_that_a_day_begins_with_is_no_matter(seed):
    """Batteries are cyclic and the follower has no ramps: all series turned by an hour are the same day."""
    case = drawn(seed, hours=3)
    certificate, schedule, _ = solved(case)
    other, other_schedule, _ = solved(with_series(case, lambda series: (*series[1:], series[0])))
    assert_same_optimum(certificate, other)
    assert other_schedule.lam == pytest.approx(np.roll(schedule.lam, -1, axis=1), abs=PRICE)


# --- What can have no effect has none ----------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_an_adn_without_load_and_partners_adds_nothing(seed):
    """Two buses, no load, nothing to trade: it draws nothing and pays nothing."""
    case = drawn(seed)
    zero = (0.0,) * case.hours
    idle = case.feeders[0].model_dump() | {
        "buses": [{"bus_i": k, "pd_mw": zero, "qd_mvar": zero} for k in (0, 1)],
        "branches": [{"f_bus": 0, "t_bus": 1, "br_r_ohm": 0.3, "br_x_ohm": 0.3, "rate_a_mva": 6.0}],
        "peers": (),
        "pv": (),
        "bess": (),
    }
    changed = edited(case, feeders=[*case.model_dump()["feeders"], idle])
    assert_same(case, changed)
    assert solved(changed)[1].feeders[-1].P_boundary == pytest.approx(np.zeros(case.hours), abs=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_arcs_dearer_than_all_they_save_add_nothing(seed):
    """A MWh sold across saves at most the access and network charges of its seller and its buyer."""
    case = drawn(seed)
    saved = 2 * (case.fees.access_per_mwh + case.fees.network_per_mwh)
    dear = [arc.model_dump() | {"wheeling_per_mwh": saved + 0.5} for arc in case.arcs]
    assert_same(edited(case, arcs=()), edited(case, arcs=dear))
    assert solved(edited(case, arcs=dear))[1].trades == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("rate_mw", [8.0, 4.0], ids=["uncongested", "congested"])
def test_the_value_of_lost_load_is_no_matter_where_none_is_lost(rate_mw):
    """Bus 2 has 10 MW of its own for at most 8 MW of load, so no choice of the leaders makes VOLL a price.

    VOLL is in every certified bound of the model: one that cuts an optimum off would show here.
    """
    case = toy(2, 4, rate_mw=rate_mw)
    for voll in (100.0, 20000.0):
        assert_same(case, edited(case, lambda net, voll=voll: net.update(voll_per_mwh=voll)))


@pytest.mark.parametrize("seed", SEEDS)
def test_ramps_that_nothing_can_reach_leave_the_relaxation_alone(seed):
    """A unit's whole capacity within the hour. (With ramps the hours are one program, without them many.)"""

    def transmission(net):
        for gen in net["gens"]:
            gen["ramp_mw_per_h"] = sum(block["p_max_mw"] for block in gen["blocks"])

    case = drawn(seed)
    assert relaxed_value(edited(case, transmission)) == relaxed(relaxed_value(case))


@pytest.mark.parametrize(
    "case",
    [drawn(110), edited(drawn(102, hours=3), feeder=lambda f: f.update(bess=()))],
    ids=lambda case: case.name,
)
def test_a_trace_of_another_price_region_costs_nothing(case):
    """Kept from a campaign of these tests: the best point found was 7 % dearer than the bound.

    The optimum is on a kink. The last relaxed point was beside it by a share of another region too small to
    divide, a millionth p.u., and was answered with the dearer price.
    """
    certificate, _, _ = solved(case)
    assert certificate.gap <= CERTIFIED


# --- Sums ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_without_batteries_a_day_is_the_sum_of_its_hours(seed):
    case = edited(drawn(seed, hours=3), feeder=lambda f: f.update(bess=()))
    whole = solved(case)[0]
    hours = [with_series(case, lambda series, t=t: series[t : t + 1]) for t in range(case.hours)]
    assert_sum(whole, [solved(hour)[0] for hour in hours])


@pytest.mark.parametrize("seed", SEEDS)
def test_under_a_tariff_adns_without_partners_cost_the_sum_of_each_alone(seed):
    case = edited(drawn(seed, n_adns=3, settlement="tariff"), arcs=())
    whole = solved(case)[0]
    alone = [solved(case.model_copy(update={"feeders": (feeder,)}))[0] for feeder in case.feeders]
    assert_sum(whole, alone)


def doubled(case):
    """Two copies of every ADN; loads, blocks, ratings and susceptances of the network times two."""

    def transmission(net):
        for bus in net["buses"]:
            bus["pd_mw"] = times(bus["pd_mw"], 2)
        for line in net["branches"]:
            line["rate_a_mw"] *= 2
            line["br_x"] /= 2
        for gen in net["gens"]:
            for block in gen["blocks"]:
                block["p_max_mw"] *= 2

    feeders = case.model_dump()["feeders"]
    return edited(case, transmission, feeders=[*feeders, *feeders])


@pytest.mark.parametrize("settlement", ["lmp", "tariff"])
@pytest.mark.parametrize("seed", SEEDS)
def test_two_copies_on_twice_the_network_cost_twice_as_much_relaxed(seed, settlement):
    """Relaxed, the problem is convex, so the mean of two copies' schedules is as good as theirs: they do the
    same.

    The doubled network then serves twice the load at twice the cost. No trade across: a copy would be a
    new partner.
    """
    case = edited(drawn(seed, settlement=settlement), arcs=())
    assert relaxed_value(doubled(case)) == relaxed(2 * relaxed_value(case))


def test_two_copies_of_the_ieee_instance_cost_twice_as_much_relaxed():
    case = edited(ieee(2), arcs=())
    assert relaxed_value(doubled(case)) == relaxed(2 * relaxed_value(case))


@pytest.mark.parametrize("seed", SEEDS)
def test_two_equal_days_cost_twice_one_relaxed(seed):
    """Convex again: the mean of the two days' schedules is a cyclic day. Trade across included."""
    case = drawn(seed, hours=3)
    days = with_series(case, lambda series: (*series, *series))
    assert relaxed_value(days) == relaxed(2 * relaxed_value(case))


# --- An ADN without devices is fixed load ------------------------------------------------------------


class TestAnAdnWithoutDevicesIsFixedLoad:
    """The last ADN loses its devices. It still keeps accounts: it pays energy, access and network charges,
    and it might buy from the others. Partners are complete, so that removing it leaves the others' partner
    graph as it was, and every arc costs a little more than the charges it saves, so that nobody buys: this
    ADN then has no choice at all. It draws its load and losses, P, and pays fees F. ``replaced`` removes it
    and adds P to the native load of its host: the follower then faces the same load, bus by bus.
    """

    def with_passive(self, case):
        saved = 2 * (case.fees.access_per_mwh + case.fees.network_per_mwh)
        data = case.model_dump()
        *others, last = data["feeders"]
        data["feeders"] = [*others, last | {"pv": (), "bess": ()}]
        data["arcs"] = [arc | {"wheeling_per_mwh": saved + 0.5} for arc in data["arcs"]]
        return Instance.model_validate(data)

    def replaced(self, case, power):
        data = case.model_dump()
        *data["feeders"], last = data["feeders"]
        for bus in data["transmission"]["buses"]:
            if bus["bus_i"] == last["host_bus"]:
                bus["pd_mw"] = tuple(np.add(bus["pd_mw"], power))
        data["arcs"] = [
            arc for arc in data["arcs"] if max(arc["seller"], arc["buyer"]) < len(data["feeders"])
        ]
        return Instance.model_validate(data)

    def power_and_fees(self, case):
        """P in MW by hour, from the solution, and F in $: its account is P, its buses import their load."""
        _, schedule, _ = solved(case)
        power = schedule.feeders[-1].P_boundary
        load = sum(sum(bus.pd_mw) for bus in case.feeders[-1].buses)
        assert power.sum() > load
        return power, case.fees.access_per_mwh * power.sum() + case.fees.network_per_mwh * load

    def row(self, case):
        return [bus.bus_i for bus in case.transmission.buses].index(case.feeders[-1].host_bus)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_under_a_tariff_the_others_and_the_follower_do_the_same(self, seed):
        """The tariff leaves the others no reason to mind: the cost differs by the tariff on P and F, and the
        follower dispatches the same at the same prices.
        """
        case = self.with_passive(drawn(seed, settlement="tariff"))
        power, fees = self.power_and_fees(case)
        changed = self.replaced(case, power)
        with_it, schedule, _ = solved(case)
        without, other_schedule, _ = solved(changed)
        own = float(np.dot(case.tariff_per_mwh, power)) + fees
        slack = rounding(with_it, without)
        assert with_it.bound - own <= without.objective + slack
        assert without.bound <= with_it.objective - own + slack
        assert other_schedule.lam == pytest.approx(schedule.lam, abs=PRICE)
        assert other_schedule.generation_cost() == pytest.approx(schedule.generation_cost(), rel=1e-5)

    @pytest.mark.parametrize("case", [*(drawn(seed) for seed in SEEDS), ieee(2)], ids=lambda case: case.name)
    def test_under_prices_the_cost_differs_by_what_its_load_is_worth(self, case):
        """The leaders together mind the price of P where it is an ADN's and not where it is native, so they
        may choose differently. But each choice is open in both: with lam1 and lam2 the prices at the host in
        the two optima, C1 (with the ADN) and C2 (without),

        C2 <= C1 - lam1 P - F  and  C1 <= C2 + lam2 P + F,  so  lam1 P <= C1 - C2 - F <= lam2 P,

        an equality where the prices are the same.
        """
        case = self.with_passive(case)
        power, fees = self.power_and_fees(case)
        with_it, schedule, _ = solved(case)
        without, other_schedule, _ = solved(self.replaced(case, power))
        worth = [float(each.lam[self.row(case)] @ power) for each in (schedule, other_schedule)]
        slack = rounding(with_it, without)
        assert worth[0] - with_it.abs_gap - without.abs_gap - slack <= (
            with_it.objective - without.objective - fees
        )
        assert with_it.objective - without.objective - fees <= (
            worth[1] + with_it.abs_gap + without.abs_gap + slack
        )

    @pytest.mark.parametrize("case", [*(drawn(seed) for seed in SEEDS), ieee(2)], ids=lambda case: case.name)
    def test_relaxed_the_cost_differs_by_the_followers_cost_of_its_load(self, case):
        """The relaxation's cost is phi(D + load of all ADNs) - phi(D) + fees: moving P into D adds phi(D + P)
        - phi(D) and F, whatever the others do. phi is the certificate's own statement of the follower.
        """
        case = self.with_passive(case)
        power, fees = self.power_and_fees(case)
        changed = self.replaced(case, power)

        def phi(instance):
            follower = FollowerRestated(instance)
            return follower.optimal_cost(follower.native).sum()

        own = phi(changed) - phi(case) + fees
        assert relaxed_value(case) == relaxed(relaxed_value(changed) + own)


# --- Fees ---------------------------------------------------------------------------------------------


def _raised_fee(name):
    def change(case, by):
        fee = getattr(case.fees, f"{name}_per_mwh") + by
        return case.model_copy(update={"fees": case.fees.model_copy(update={f"{name}_per_mwh": fee})})

    return change


def _raised_wheeling(case, by):
    arcs = [arc.model_dump() for arc in case.arcs]
    return edited(case, arcs=[arc | {"wheeling_per_mwh": arc["wheeling_per_mwh"] + by} for arc in arcs])


def _raised_wear(case, by):
    def feeder(f):
        for bess in f["bess"]:
            bess["wear_per_mwh"] += by

    return edited(case, feeder=feeder)


def _sum(schedule, *names):
    return sum(float(getattr(f, name).sum()) for f in schedule.feeders for name in names)


# How a fee is raised, and the energy in MWh that pays it.
FEES = {
    "access": (_raised_fee("access"), lambda s: _sum(s, "p_import", "p_export")),
    "network": (_raised_fee("network"), lambda s: _sum(s, "grid_import", "grid_export")),
    "local": (_raised_fee("local"), lambda s: _sum(s, "sell_in")),
    "wheeling": (_raised_wheeling, lambda s: float(s.trades.sum())),
    "wear": (_raised_wear, lambda s: _sum(s, "charge", "discharge")),
}


FEE_CASES = {
    "drawn": drawn(0),
    "trading": drawn(1),
    "without partners": edited(drawn(1), arcs=()),  # what is left over is exported
    "ieee": ieee(),
}


@pytest.mark.long
@pytest.mark.parametrize("by", [0.3, 3.0])
@pytest.mark.parametrize("fee", FEES)
@pytest.mark.parametrize("case", FEE_CASES.values(), ids=FEE_CASES)
def test_raising_a_fee_raises_what_pays_it_by_no_more_than_the_gaps(case, fee, by):
    """Let x1, x2 be the solutions at fees a1 < a2, f the rest of the cost and E the energy that pays. What is
    allowed does not depend on fees, so each is a choice in the other's problem, and its absolute gap e says
    how much better that choice can be:

    f(x1) + a1 E1 <= f(x2) + a1 E2 + e1,      f(x2) + a2 E2 <= f(x1) + a2 E1 + e2.

    Added: (a2 - a1)(E2 - E1) <= e1 + e2. Each alone, with C the objective: C1 + (a2 - a1) E2 - e1 <= C2 and
    C2 <= C1 + (a2 - a1) E1 + e2, which ties cost to energy and would show a fee charged on anything else.
    """
    raised, energy = FEES[fee]
    one, schedule1, _ = solved(case)
    two, schedule2, _ = solved(raised(case, by))
    paid1, paid2 = energy(schedule1), energy(schedule2)
    slack = rounding(one, two)
    assert paid2 <= paid1 + (one.abs_gap + two.abs_gap + slack) / by
    assert one.objective + by * paid2 - one.abs_gap - slack <= two.objective
    assert two.objective <= one.objective + by * paid1 + two.abs_gap + slack


@pytest.mark.parametrize("fee", FEES)
def test_every_fee_is_paid_in_one_of_the_cases(fee):
    assert max(FEES[fee][1](solved(case)[1]) for case in FEE_CASES.values()) > 0.01


@pytest.mark.parametrize("fee", ["local", "wheeling", "wear"])
def test_a_prohibitive_fee_ends_what_is_voluntary(fee):
    """And it happened before: the test above is not about nothing."""
    raised, energy = FEES[fee]
    before = [energy(solved(drawn(seed))[1]) for seed in SEEDS]
    after = [energy(solved(raised(drawn(seed), 100.0))[1]) for seed in SEEDS]
    assert max(before) > 0.1
    assert after == pytest.approx([0.0] * len(after), abs=1e-3)


# --- More freedom costs no more ----------------------------------------------------------------------


def more_sun(f):
    for pv in f["pv"]:
        pv["s_mva"] *= 1.4
        pv["available_mw"] = times(pv["available_mw"], 1.4)


def larger_inverters(f):
    for pv in f["pv"]:
        pv["s_mva"] *= 1.4


def larger_batteries(f):
    for bess in f["bess"]:
        bess["p_max_mw"] *= 1.5
        bess["energy_mwh"] *= 1.5


def wider_limits(f):
    f["vmin"] -= 0.05
    f["vmax"] += 0.05
    for branch in f["branches"]:
        branch["rate_a_mva"] *= 1.5


@pytest.mark.long
@pytest.mark.parametrize("change", [more_sun, larger_inverters, larger_batteries, wider_limits])
@pytest.mark.parametrize("seed", SEEDS)
def test_larger_devices_and_limits_cost_the_leaders_no_more(seed, change):
    """Everything that could be done before still can (sun may be curtailed): the optimum does not rise.

    True of what is the leaders' own only: a stronger transmission network may well cost them more.
    """
    case, changed = solved(drawn(seed))[0], solved(edited(drawn(seed), feeder=change))[0]
    assert changed.bound <= case.objective + rounding(case, changed)
    # 1e-4 $: Clarabel's 1e-8 of some 100 $ that change hands, a hundred times.
    assert relaxed_value(edited(drawn(seed), feeder=change)) <= relaxed_value(drawn(seed)) + 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_partners_cost_the_leaders_no_more(seed):
    case, changed = solved(edited(drawn(seed), arcs=()))[0], solved(drawn(seed))[0]
    assert changed.bound <= case.objective + rounding(case, changed)


# --- Accounts and physics ----------------------------------------------------------------------------


def negative_tariff():
    """Paid to consume, the relaxed cones lose power on purpose; the accounts must carry that too."""
    return edited(drawn(1, settlement="tariff"), tariff_per_mwh=(-60.0, 40.0))


@pytest.mark.parametrize(
    "case",
    [
        *(drawn(seed, n_adns=3) for seed in SEEDS),
        drawn(0, settlement="tariff"),
        negative_tariff(),
        toy(3, 4),
        ieee(2),
    ],
    ids=lambda case: f"{case.name}-{case.settlement}",
)
def test_accounts_and_physics_agree(case):
    """p_import - p_export = losses + sum grid_import - sum grid_export, losses being r I^2 of every branch.

    The identity holds ADN by ADN and hour by hour, and is no row of the model: it follows from the peers'
    accounts, the local market, the trade balances and the boundary account. Each of these has its own share
    in it, so they are looked at as well. To 1e-5 MW a row of 1e-6 p.u.; a sum of some dozens of rows, 1e-4
    MW.
    """
    _, schedule, _ = solved(case)
    z = case.base_mva
    for d, (feeder, f) in enumerate(zip(case.feeders, schedule.feeders, strict=True)):
        ohm = {frozenset((b.f_bus, b.t_bus)): b.br_r_ohm for b in feeder.branches}
        r = np.array([ohm[frozenset((i, j))] for j, (i, _) in feeder.parents().items()])
        losses = (r / feeder.base_kv**2 * z**2) @ f.l_pu
        exchanged = f.grid_import.sum(axis=0) - f.grid_export.sum(axis=0)
        assert f.p_import - f.p_export == pytest.approx(losses + exchanged, abs=1e-4)
        assert losses.sum() > 1e-3

        sold = schedule.trades[[k for k, arc in enumerate(case.arcs) if arc.seller == d]].sum(axis=0)
        bought = schedule.trades[[k for k, arc in enumerate(case.arcs) if arc.buyer == d]].sum(axis=0)
        assert f.sell_out.sum(axis=0) == pytest.approx(sold, abs=1e-4)
        assert f.buy_out.sum(axis=0) == pytest.approx(bought, abs=1e-4)
        assert f.sell_in.sum(axis=0) == pytest.approx(f.buy_in.sum(axis=0), abs=1e-4)
        assert f.P_boundary == pytest.approx(f.p_import - f.p_export + bought - sold, abs=1e-4)
        load = np.sum([bus.pd_mw for bus in feeder.buses], axis=0)
        devices = f.pv.sum(axis=0) + f.discharge.sum(axis=0) - f.charge.sum(axis=0)
        assert f.P_boundary == pytest.approx(load + losses - devices, abs=1e-4)
        for one, way in ((f.p_import, f.p_export), (sold, bought), (f.charge, f.discharge)):
            assert np.minimum(one, way).max(initial=0.0) < 1e-4
