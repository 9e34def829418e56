"""Outcomes forged by hand to look right: each once passed a check, none may be certified now.

Sun that a point leaves unused keeps the price low in truth; the forged proofs say that it cannot. So the
point of the same case without sun would be optimal, at several times the true cost.
"""

from dataclasses import replace

import numpy as np
import pytest

from model.bounds import safe_bound
from model.certificate import Certificate, certify
from model.complementarity import big_m
from model.data import (
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
from model.outcome import Bounded, Outcome
from model.price_hull import HourLoads, Leaf, Region, hour_loads, hull, split, whole
from model.problem import Problem
from model.program import Program, compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.auto import welfare
from model.solvers.follower import Follower
from model.solvers.hour_market import HourMarket
from model.solvers.relaxation import solve_relaxation

KV, OHM = 12.66, 0.1
GAP = 1e-3
BLOCKS = ((5.0, 10.0), (20.0, 50.0))  # MW, $/MWh


def adn(load=(1.0,), kv=KV, ohm=OHM, rate=6.0, mvar=0.0, pv=(), bess=()) -> Feeder:
    """One branch to one bus with a load in MW by the hour."""
    hours = len(load)
    return Feeder(
        host_bus=1,
        base_kv=kv,
        root_bus=0,
        v_root=1.0,
        vmin=0.9,
        vmax=1.1,
        buses=(
            FeederBus(bus_i=0, pd_mw=(0.0,) * hours, qd_mvar=(0.0,) * hours),
            FeederBus(bus_i=1, pd_mw=tuple(load), qd_mvar=(mvar,) * hours),
        ),
        branches=(FeederBranch(f_bus=0, t_bus=1, br_r_ohm=ohm, br_x_ohm=ohm, rate_a_mva=rate),),
        peers=(1,),
        pv=pv,
        bess=bess,
    )


def case(feeder, native, blocks=BLOCKS, gens=None, lines=(), base=10.0, tariff=None) -> Instance:
    """``native``: MW by bus and hour."""
    hours = len(native[0])
    gen = Gen(gen_bus=1, blocks=tuple(Block(p_max_mw=width, cost_per_mwh=cost) for width, cost in blocks))
    return Instance(
        name="forged",
        seed=0,
        hours=hours,
        base_mva=base,
        settlement="lmp" if tariff is None else "tariff",
        partners="complete",
        network="fixed",
        congestion="none",
        transmission=Transmission(
            buses=tuple(Bus(bus_i=i + 1, pd_mw=tuple(pd)) for i, pd in enumerate(native)),
            branches=lines,
            gens=gens or (gen,),
            ref_bus=1,
            voll_per_mwh=1000.0,
            spill_per_mwh=1.0,
        ),
        feeders=(feeder,),
        arcs=(),
        fees=Fees(access_per_mwh=0.0, network_per_mwh=0.0, local_per_mwh=0.0),
        tariff_per_mwh=(30.0 if tariff is None else tariff,) * hours,
    )


def taken(load=1.0, kv=KV, ohm=OHM, base=10.0) -> float:
    """MW that enter a feeder with that load: load and losses, P = p + r P^2, the root at 1 p.u."""
    power = load / base
    for _ in range(60):
        power = load / base + ohm * base / kv**2 * power**2
    return base * power


def sun(mw) -> tuple[Pv, ...]:
    return (Pv(bus=1, s_mva=max(0.01, *mw), available_mw=tuple(mw)),)


def solved(instance: Instance, gap: float = 1e-4) -> tuple[Problem, Program, Outcome, Certificate]:
    problem = build(instance, mode="big_m")
    program = compile_model(problem.m)
    outcome = solve(problem, program, "auto", gap, 60.0)
    return problem, program, outcome, certify(problem, program, outcome, gap)


def loads(problem: Problem, program: Program) -> dict[int, HourLoads]:
    follower = FollowerRestated(problem.instance)
    costs = follower.optimal_cost(follower.native)
    return hour_loads(problem, program, {t: phi + 1e-10 * max(abs(phi), 1.0) for t, phi in enumerate(costs)})


def forged(problem, program, x, tree) -> Certificate:
    """A proof of one part that names the leaves of ``tree``, with its honest dual vector, for a point."""
    known = {t: () for t in tree}
    program_of_part = hull(program.relaxed(), loads(problem, program), tree, known).program
    part = solve_relaxation(program_of_part)
    assert part.status == "solved"
    bounded = Bounded(tree, known, part.row_duals, part.cone_duals, 0.0)
    return certify(problem, program, Outcome("solved", x, None, (bounded,), tree), GAP)


def everywhere(lam: float, value: float, base, slope) -> Leaf:
    """The whole box as one explored leaf of one host."""
    none = np.zeros((0, 1)), np.zeros(0)
    return Leaf(*none, Region(np.array([lam]), value, np.array(base), np.array(slope)[:, None], none))


def without_sun(make, wanted="certified"):
    """Problem and program with sun, their true optimum, and the point of the same case without."""
    problem, program, _, truth = solved(make(True))
    dark = solved(make(False))
    assert truth.status == "certified" and dark[3].status == wanted
    assert dark[3].objective > truth.objective + 0.5
    return problem, program, dark[2].x, truth


def proves_nothing(found: Certificate, truth: Certificate) -> None:
    assert found.status == "gap_limit"
    assert found.bound is None or found.bound <= truth.objective


def test_a_leaf_that_holds_in_one_hour_is_checked_in_every_hour_it_is_named_for():
    feeder = taken()
    problem, program, x, truth = without_sun(
        lambda up: case(adn((1.0, 1.0), pv=sun((0.0, 0.001 * up))), ((9.0, 5.0 - feeder + 0.0005),))
    )
    hour = loads(problem, program)[0]
    dear = HourMarket(problem, program, 0).region(hour.box.mean(axis=1), hour)
    leaf = replace(split(whole(hour), dear, [])[0], parent=None)
    proves_nothing(forged(problem, program, x, {0: (leaf, leaf), 1: (leaf, leaf)}), truth)


@pytest.mark.parametrize("hidden", [np.nan, np.inf])
def test_a_region_with_a_number_missing_holds_nowhere(hidden):
    """Shedding serves the load at whatever the plane says; an angle without a number hides the imbalance."""
    native = 5.0 - taken() + 0.0003
    problem, program, x, truth = without_sun(
        lambda up: case(
            adn(pv=sun((0.0006 * up,))),
            ((native,), (0.0,)),
            lines=(Line(f_bus=1, t_bus=2, br_x=0.1, rate_a_mw=5.0),),
        )
    )
    centre = float(loads(problem, program)[0].box.mean())
    follower = FollowerRestated(problem.instance)
    (phi,) = follower.optimal_cost(follower.native + np.array([[10.0 * centre], [0.0]]))
    value, shed = phi - 500.0 * centre, 1.0 / 10_000.0
    dispatch = [0, 0, value * shed, 0, 0, 0, hidden], [0, 0, 500.0 * shed, 0, 0, 0, hidden]
    proves_nothing(forged(problem, program, x, {0: (everywhere(500.0, value, *dispatch),)}), truth)


def test_with_ramps_no_region_holds():
    """Each hour alone, unit 1 serves all at 10 $/MWh; its ramp does not let it."""
    cheap = Gen(gen_bus=1, blocks=(Block(p_max_mw=20.0, cost_per_mwh=10.0),), ramp_mw_per_h=1.0)
    gens = cheap, Gen(gen_bus=1, blocks=(Block(p_max_mw=20.0, cost_per_mwh=50.0),))
    native = (4.0 + taken(ohm=1e-5) - 0.0003, 3.0)
    problem, program, x, truth = without_sun(
        lambda up: case(adn((0.0, 1.0), ohm=1e-5, pv=sun((0.0, 0.0006 * up))), (native,), gens=gens)
    )
    leaves = {
        t: (everywhere(100.0, 10 * mw, [mw / 10, 0, 0, 0], [1, 0, 0, 0]),) for t, mw in enumerate(native)
    }
    proves_nothing(forged(problem, program, x, leaves), truth)


def test_under_a_tariff_regions_prove_nothing():
    problem, program, outcome, truth = solved(case(adn(), ((9.0,),), tariff=30.0))
    hour = loads(problem, program)[0]
    region = HourMarket(problem, program, 0).region(hour.box.mean(axis=1), hour)
    leaf = replace(split(whole(hour), region, [])[0], parent=None)
    found = forged(problem, program, outcome.x, {0: (leaf,)})
    assert truth.status == "certified" and found.bound is None


def test_a_price_beyond_its_region_is_seen_however_small_the_base():
    """Of 1e-3 MVA: 3e-7 MW beyond the kink are 3e-4 p.u., and the price there is a hundredth."""
    grid = {"base": 1e-3, "kv": 0.4}
    native = 1.0 - taken(1e-3, **grid) + 3e-7
    problem, program, x, truth = without_sun(
        lambda up: case(
            adn((1e-3,), kv=0.4, rate=5e-3, pv=sun((6e-7 * up,))),
            ((native,),),
            blocks=((1.0, 10.0), (20.0, 999.0)),
            base=1e-3,
        )
    )
    dispatch = [1e3, native * 1e3 - 1e3, 0, 0], [0, 1, 0, 0]
    leaf = everywhere(0.999, 10.0 + 999.0 * (native - 1.0), *dispatch)
    proves_nothing(forged(problem, program, x, {0: (leaf,)}), truth)


def test_a_dispatch_a_little_too_dear_proves_no_price():
    """10 GW of native load: 1e-8 of its cost are more than 20 W at 40 $/MWh, by which this is too dear."""
    native, beyond, least = 1e4, 2e-5, taken(ohm=1e-4)
    problem, program, x, truth = without_sun(
        lambda up: case(
            adn(ohm=1e-4, pv=sun((0.0006 * up,))),
            ((native,),),
            blocks=((native + least - 0.0006 + beyond, 10.0), (1e4, 50.0)),
        )
    )
    low = float(loads(problem, program)[0].box[0, 0])
    served = native / 10.0 + low  # by unit 1 whatever the load, the rest by unit 2
    leaf = everywhere(500.0, 100.0 * served - 500.0 * low, [served, -low, 0, 0], [0, 1, 0, 0])
    proves_nothing(forged(problem, program, x, {0: (leaf,)}), truth)


@pytest.mark.parametrize("word", ["certified", "gap_limit", "solved"])
def test_without_a_point_nothing_is_certified(word):
    problem = build(case(adn(), ((9.0,),)), mode="big_m")
    assert certify(problem, compile_model(problem.m), Outcome(word), GAP).status == "error"


@pytest.mark.parametrize("large", [1e308, np.inf, -np.inf, np.nan])
def test_dual_vectors_that_overflow_prove_nothing(large):
    """The least of several bounds would pass over one that is no number."""
    _, program, outcome, truth = solved(case(adn(), ((9.0,),)))
    relaxed, part = program.relaxed(), outcome.parts[0]
    for row in range(len(part.row_duals)):
        for sign in (1.0, -1.0):
            duals = part.row_duals.copy()
            duals[row] = sign * large
            assert safe_bound(relaxed, duals, part.cone_duals) <= truth.objective
    alternating = np.where(np.arange(len(part.row_duals)) % 2, large, -large)
    assert safe_bound(relaxed, alternating, part.cone_duals) <= truth.objective
    for wrong in (part.row_duals[:, None], part.row_duals[:-1]):
        assert safe_bound(relaxed, wrong, part.cone_duals) == -np.inf


def test_a_point_of_another_shape_is_no_point():
    problem, program, outcome, _ = solved(case(adn(), ((9.0,),)))
    for x in (outcome.x[:-1], np.append(outcome.x, 0.0), outcome.x[:, None], outcome.x + 0j):
        found = certify(problem, program, replace(outcome, x=x), GAP)
        assert found.status == "error" and found.message == "failed: finite point"


def refused(problem, program, outcome, x, check: str, bound=None) -> None:
    found = certify(problem, program, replace(outcome, x=x, bound=bound), GAP)
    assert check in [one.name for one in found.checks if not one.passed], found


def test_a_large_impedance_hides_no_power():
    """5 ohm are 31 p.u. at 12.66 kV and 1000 MVA; 27 kW of 2 MW would never be bought."""
    problem, program, outcome, _ = solved(case(adn((2.0,), ohm=5.0), ((1.0,),), base=1000.0))
    x, saved = outcome.x.copy(), 2.7e-5
    for name in ("P", "P_boundary", "p_import"):
        x[program.column(f"feeder[0].{name}")] -= saved
    x[program.column("follower.pg")[0]] -= saved
    x[program.column("feeder[0].v")] += 2 * 5.0 / (KV**2 / 1000.0) * saved
    refused(problem, program, outcome, x, "rows")


def test_a_small_rating_is_held_in_amperes():
    """10 kVA at 10 MVA: 1e-6 p.u. of squared current would be as much again."""
    tight = solved(case(adn((0.01,), rate=0.0101, mvar=0.01), ((1.0,),)))
    loose = solved(case(adn((0.01,), rate=0.02, mvar=0.01), ((1.0,),)))
    assert (tight[3].status, loose[3].status) == ("infeasible", "certified")
    refused(*tight[:3], loose[2].x, "line ratings")


def test_a_rating_as_good_as_none_hides_no_losses():
    problem, program, outcome, _ = solved(case(adn((2.0,), ohm=2.0, rate=9999.0), ((1.0,),)))
    x, z = outcome.x.copy(), 2.0 / (KV**2 / 10.0)
    saved = 0.01 * x[program.column("feeder[0].l")]
    for name in ("P", "P_boundary", "p_import", "Q"):
        x[program.column(f"feeder[0].{name}")] -= z * saved
    x[program.column("follower.pg")[0]] -= z * saved[0]
    x[program.column("feeder[0].l")] -= saved
    x[program.column("feeder[0].v")] += 2 * z**2 * saved
    assert program.cone_misses(x).max() < 1e-6 and program.row_misses(x).max() < 1e-9
    refused(problem, program, outcome, x, "losses")


def test_a_binary_a_hair_off_lets_no_power_through():
    """Paid to consume, a battery would charge and discharge at once: 9e-7 of 200 GW."""
    unit = {"efficiency_charge": 0.5, "efficiency_discharge": 0.5, "wear_per_mwh": 0.0}
    bess = (Bess(bus=1, p_max_mw=2e5, energy_mwh=2.0, **unit),)
    instance = case(adn(rate=1.2, bess=bess), ((1.0,),), blocks=((50.0, 10.0),), tariff=-20.0)
    problem, program, outcome, truth = solved(instance)
    assert truth.status == "certified"
    x = solve_relaxation(program.relaxed()).x
    leaders = program.integer.copy()
    leaders[program.column("complementarity.binding")] = False
    x[leaders] = np.round(x[leaders])
    x[program.column("feeder[0].charging")] = 9e-7
    x[program.column("feeder[0].importing")], x[program.column("feeder[0].p_export")] = 1.0, 0.0
    x[program.column("feeder[0].p_import")] = x[program.column("feeder[0].P_boundary")]
    x = Follower(problem, program)(x)
    assert program.objective(x) < truth.objective - 1.0
    refused(problem, program, outcome, x, "rows")


def test_a_large_market_hides_no_price_from_a_small_adn():
    """1 TW of native load: one part in 1e8 of the follower's cost is more than the leaders pay."""
    native = 1e6
    cheap = native + taken(base=1.0) - 2e-5
    instance = case(adn(), ((native,),), blocks=((cheap, 10.0), (1e3, 990.0)), base=1.0)
    problem, program, outcome, honest = solved(instance)
    assert honest.objective == pytest.approx(990.0, rel=1e-3)
    x, number, mult = outcome.x.copy(), program.objective_map.number, problem.multipliers
    low = [
        (mult.lam[1, 0], 10.0),
        (mult.mu_pg[0, 0, 0][0], 0.0),
        (mult.mu_pg[0, 0, 0][1], 0.0),
        (mult.mu_pg[0, 1, 0][0], 980.0),
        (mult.mu_pg[0, 1, 0][1], 0.0),
        (mult.mu_shed[1, 0], 990.0),
        (mult.mu_spill[1, 0], 11.0),
    ]
    for variable, value in low:
        x[number[id(variable)]] = value
    payment = 10.0 * x[program.column("feeder[0].P_boundary")][0]
    # A multiplier of 2e-8 $/MWh makes good what strong duality misses.
    full = number[id(mult.mu_pg[0, 0, 0][1])]
    for _ in range(2):
        x[full] -= (program.objective(x) - payment) / cheap
    parts = welfare(problem, program, GAP, 60.0, lambda told: None).parts
    refused(
        problem, program, replace(outcome, parts=parts), big_m.complete(program, x), "prices are dual optimal"
    )
