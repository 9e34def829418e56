"""Answers derived on paper, in MW, Mvar, kV, ohm and $, against the whole road from instance to schedule.

Every instance is small enough that its optimum follows from a few lines of arithmetic, which stand in the
test's docstring. No formula of the model is used; nothing is in per unit but the results that are read.

Tolerances:

- ``MW``: a method is asked for 1e-6 of costs of about 100 $, and what the leaders choose is worth 1 $/MWh or
  more against the next best: 1e-4 MW. What physics leaves no choice in is held to a row's 1e-6 p.u., ``ROW``.
- ``dollars``: the gap that is certified, 1e-5, and the 1e-5 MW of a row at prices below 100 $/MWh.
- ``prices``: a vertex of a linear program, exact but for HiGHS's dual feasibility, 1e-7.

``THIN`` feeders: 1e-6 ohm at 10 kV lose at most r I^2 = 1e-6 MW at their rating of 10 MVA (1 kA^2), which
the derivations take as nothing. Where a load has to meet a kink exactly, ``sent`` counts even that.
"""

from importlib.util import find_spec
from math import sqrt

import numpy as np
import pytest

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
from model.metrics import extract
from model.program import compile_model
from model.schemes import build
from model.solvers import solve
from model.solvers.relaxation import solve_relaxation

GAP, CERTIFIED = 1e-6, 1e-5
MW = 1e-4
ROW = 1e-5  # MW: 1e-6 p.u. on 10 MVA
THIN = 1e-6  # ohm
KV = 10.0
VOLL, SPILL = 1000.0, 1.5

# Every bilevel toy is solved in each of these ways and must meet the paper in all of them.
WAYS = [
    ("big_m", "auto"),
    ("big_m", "highs"),
    ("big_m", "scip"),
    ("sos1", "scip"),
    ("strong_duality", "scip"),
    ("big_m", "gurobi"),
    ("sos1", "gurobi"),
    ("strong_duality", "gurobi"),
]
ways = pytest.mark.parametrize(("mode", "method"), WAYS, ids=lambda value: value)


def mw(value):
    return pytest.approx(value, abs=MW)


def dollars(value):
    return pytest.approx(value, rel=CERTIFIED, abs=1e-3)


def prices(*values):
    return pytest.approx(values, rel=1e-6)


def adn(
    *loads, host=1, reactive=0.0, sun=None, inverter=20.0, battery=None, r=THIN, x=THIN, rate=10.0, vmax=1.1
):
    """Root 0 and load buses 1, 2, .. in a row; the devices stand at bus 1. Series are per hour, in MW."""
    hours = len(loads[0])
    buses = [FeederBus(bus_i=0, pd_mw=(0.0,) * hours, qd_mvar=(0.0,) * hours)]
    buses += [FeederBus(bus_i=k, pd_mw=p, qd_mvar=(reactive,) * hours) for k, p in enumerate(loads, 1)]
    return Feeder(
        host_bus=host,
        base_kv=KV,
        root_bus=0,
        v_root=1.0,
        vmin=0.9,
        vmax=vmax,
        buses=buses,
        branches=[
            FeederBranch(f_bus=k, t_bus=k + 1, br_r_ohm=r, br_x_ohm=x, rate_a_mva=rate)
            for k in range(len(loads))
        ],
        peers=range(1, len(loads) + 1),
        pv=[Pv(bus=1, s_mva=inverter, available_mw=sun)] if sun else [],
        bess=[Bess(bus=1, **battery)] if battery else [],
    )


def market(native, gens, lines=()):
    """Native load by bus; generating units as (bus, (width, cost), ..); lines as (from, to, rating)."""
    return Transmission(
        buses=[Bus(bus_i=i, pd_mw=load) for i, load in native.items()],
        branches=[Line(f_bus=f, t_bus=t, br_x=0.1, rate_a_mw=rate) for f, t, rate in lines],
        gens=[
            Gen(gen_bus=i, blocks=[Block(p_max_mw=width, cost_per_mwh=cost) for width, cost in blocks])
            for i, *blocks in gens
        ],
        ref_bus=1,
        voll_per_mwh=VOLL,
        spill_per_mwh=SPILL,
    )


def case(net, *feeders, access=0.0, network=0.0, local=0.0, wheeling=None, tariff=None, base_mva=10.0):
    """``wheeling``: fee by (seller, buyer); ``tariff``: its price by hour, and then it settles."""
    hours = len(net.buses[0].pd_mw)
    return Instance(
        name="paper",
        seed=0,
        hours=hours,
        base_mva=base_mva,
        settlement="lmp" if tariff is None else "tariff",
        partners="complete",
        network="fixed",
        congestion="none",
        transmission=net,
        feeders=feeders,
        arcs=[Arc(seller=d, buyer=e, wheeling_per_mwh=fee) for (d, e), fee in (wheeling or {}).items()],
        fees=Fees(access_per_mwh=access, network_per_mwh=network, local_per_mwh=local),
        tariff_per_mwh=tariff or (0.0,) * hours,
    )


def solved(instance, mode="big_m", method="auto"):
    """The certificate and the schedule of a certified solution."""
    if method == "scip" and find_spec("pyscipopt") is None:
        pytest.skip("SCIP is an extra")
    problem = build(instance, mode=mode)
    program = compile_model(problem.m)
    outcome = solve(problem, program, method, GAP, 60.0)
    certificate = certify(problem, program, outcome, CERTIFIED)
    assert certificate.status == "certified", certificate
    return certificate, extract(problem, program, outcome.x)


def welfare_bound(instance):
    """The optimum in $ of the convex relaxation, min phi(D + P) - phi(D) + fees + wear."""
    relaxed = compile_model(build(instance).m).relaxed()
    return relaxed.objective(solve_relaxation(relaxed).x)


def sent(p, q=0.0, r=THIN, x=THIN):
    """Sending-end P and Q (MW, Mvar), current squared (kA^2) and voltage squared (kV^2) at the load's end.

    With line-to-line kV, S^2 = V^2 I^2 in MVA. From V0^2 = V1^2 + 2 (r p + x q) + (r^2 + x^2) I^2 and
    I^2 = (p^2 + q^2) / V1^2 follows the quadratic V1^4 - A V1^2 + (r^2 + x^2)(p^2 + q^2) = 0 with
    A = V0^2 - 2 (r p + x q); its larger root is the one that a feeder runs at.
    """
    a = KV**2 - 2 * (r * p + x * q)
    voltage = (a + sqrt(a**2 - 4 * (r**2 + x**2) * (p**2 + q**2))) / 2
    current = (p**2 + q**2) / voltage
    return p + r * current, q + x * current, current, voltage


def steady():
    """One hour, one block at 30 $/MWh that nobody exhausts: the price is 30 whatever the ADNs do."""
    return market({1: (50.0,)}, [(1, (200.0, 30.0))])


# --- Feeder power flow ---------------------------------------------------------------------------


class TestTwoBusPowerFlow:
    """r = 0.5 ohm, x = 0.4 ohm, 10 kV at the root; energy at 30 $/MWh, access 4, network 6 $/MWh."""

    R, X = 0.5, 0.4

    def check(self, schedule, base_mva, current, voltage, active, reactive, mvar=ROW):
        """Current in kA^2, voltage in kV^2 at bus 1, power at the root in MW and Mvar.

        ``mvar``: how far reactive power may be off; it moves V1^2 by 2 x times that, beside a row's 1e-6 p.u.
        """
        (f,) = schedule.feeders
        assert f.l_pu[0, 0] * (base_mva / KV) ** 2 == pytest.approx(current, abs=1e-6)
        assert f.v_pu[0, 0] * KV**2 == pytest.approx(voltage, abs=1e-6 * KV**2 + 2 * self.X * mvar)
        assert f.P_boundary[0] == pytest.approx(active, abs=ROW)
        assert f.Q_mvar[0, 0] == pytest.approx(reactive, abs=mvar)

    @pytest.mark.parametrize("base_mva", [1.0, 5.0, 10.0])
    def test_a_constant_load_draws_what_the_quadratic_says(self, base_mva):
        """Chosen so that the root sees 6 MW and 8 Mvar: I^2 = (36 + 64) / 100 = 1 kA^2, so the branch loses
        0.5 MW and 0.4 Mvar and the load is 5.5 MW and 7.6 Mvar. V1^2 = 100 - 2 (0.5 * 6 + 0.4 * 8)
        + 0.41 * 1 = 88.01 kV^2. Cost: 30 * 6 for energy, 4 * 6 access, 6 * 5.5 network = 237 $.
        """
        assert sent(5.5, 7.6, self.R, self.X) == pytest.approx((6.0, 8.0, 1.0, 88.01), rel=1e-12)
        feeder = adn((5.5,), reactive=7.6, r=self.R, x=self.X, rate=12.0)
        certificate, schedule = solved(case(steady(), feeder, access=4.0, network=6.0, base_mva=base_mva))
        self.check(schedule, base_mva, 1.0, 88.01, 6.0, 8.0)
        assert certificate.objective == dollars(237.0)

    def test_an_export_with_a_strong_inverter_leaves_at_unity_power_factor(self):
        """Sun 5.08 MW over a load of 1 MW and 0.3 Mvar. The inverter has room to supply the load's and the
        branch's reactive power, which costs nothing and saves losses, so Q = 0 at the root and 4 MW leave:
        I^2 = 16 / 100 = 0.16 kA^2, losses 0.08 MW, and 5.08 - 1 - 0.08 = 4. V1^2 = 100 + 2 * 0.5 * 4
        + 0.41 * 0.16 = 104.0656 kV^2. Cost: -30 * 4 + 4 * 4 + 6 * 4.08 = -79.52 $.

        The optimum is flat in Q: a Q of 2e-3 Mvar loses 0.5 * 4e-6 / 100 MW, which at 30 + 6 - 4 $/MWh is
        6e-7 $, and Clarabel stops at 1e-8 of the objective, 8e-7 $.
        """
        feeder = adn((1.0,), reactive=0.3, sun=(5.08,), r=self.R, x=self.X)
        certificate, schedule = solved(case(steady(), feeder, access=4.0, network=6.0))
        self.check(schedule, 10.0, 0.16, 104.0656, -4.0, 0.0, mvar=2e-3)
        assert certificate.objective == dollars(-79.52)

    def test_an_export_with_a_full_inverter_draws_the_rest_of_its_reactive_power(self):
        """Chosen so that 4 MW leave the root and 3 Mvar enter: I^2 = 0.25 kA^2, losses 0.125 MW and 0.1 Mvar.
        Sun 5.125 MW over a load of 1 MW and 3.8 Mvar; of these the inverter gives 0.9 Mvar, all that its
        rating sqrt(5.125^2 + 0.9^2) leaves beside the sun (giving up 1 MW would free 5.7 Mvar, worth 0.17 MW
        of losses). V1^2 = 100 - 2 (0.5 * -4 + 0.4 * 3) + 0.41 * 0.25 = 101.7025 kV^2. Cost: -30 * 4 + 4 * 4 +
        6 * 4.125 = -79.25 $.
        """
        assert sent(-4.125, 2.9, self.R, self.X) == pytest.approx((-4.0, 3.0, 0.25, 101.7025), rel=1e-12)
        rating = sqrt(5.125**2 + 0.9**2)
        feeder = adn((1.0,), reactive=3.8, sun=(5.125,), inverter=rating, r=self.R, x=self.X)
        certificate, schedule = solved(case(steady(), feeder, access=4.0, network=6.0))
        self.check(schedule, 10.0, 0.25, 101.7025, -4.0, 3.0)
        assert certificate.objective == dollars(-79.25)

    @pytest.mark.parametrize(
        "limit", [{"vmax": 1.02, "x": THIN}, {"rate": 4.0, "x": 0.4}], ids=["voltage", "current"]
    )
    def test_a_limit_of_the_feeder_curtails_the_sun(self, limit):
        """V1 = 10.2 kV at its limit means I = (10.2 - 10) / 0.5 = 0.4 kA through a branch that is all
        resistance (1e-6 ohm of reactance moves V1^2 by 2 x Q < 1e-5 kV^2, the export by as little); so does a
        rating of 4 MVA at 10 kV, whatever the reactance, since the inverter supplies what it takes. The bus
        sends 10.2 * 0.4 = 4.08 MW, of which 4 arrive; of 6 MW of sun over a load of 1 MW, 0.92 MW are
        curtailed. Cost: -30 * 4 + 4 * 4 + 6 * 4.08 = -79.52 $.
        """
        feeder = adn((1.0,), sun=(6.0,), r=self.R, **limit)
        certificate, schedule = solved(case(steady(), feeder, access=4.0, network=6.0))
        (f,) = schedule.feeders
        assert f.P_boundary[0] == mw(-4.0)
        assert f.pv[0, 0] == mw(5.08)
        assert f.l_pu[0, 0] == pytest.approx(0.16, abs=1e-6)
        assert certificate.objective == dollars(-79.52)


# --- The follower --------------------------------------------------------------------------------


MERIT_ORDER = [(1, (5.0, 20.0), (4.0, 32.0)), (1, (3.0, 45.0))]


@pytest.mark.parametrize(
    ("total", "price", "dispatch", "shed"),
    [
        (4.0, 20.0, (4.0, 0.0, 0.0), 0.0),
        (6.0, 32.0, (5.0, 1.0, 0.0), 0.0),
        (9.0, 32.0, (5.0, 4.0, 0.0), 0.0),
        (10.0, 45.0, (5.0, 4.0, 1.0), 0.0),
        (12.0, 45.0, (5.0, 4.0, 3.0), 0.0),
        (13.0, VOLL, (5.0, 4.0, 3.0), 1.0),
    ],
    ids=["first block", "second block", "second block full", "other unit", "all full", "shedding"],
)
@ways
def test_one_bus_dispatches_in_merit_order(total, price, dispatch, shed, mode, method):
    """Blocks of 5 MW at 20, 4 MW at 32 and 3 MW at 45 $/MWh serve the total load in that order; the price is
    the cost of the block that serves the next MW less. Where a block is just full the price may be anything
    up to the next block's cost (VOLL above all of them); the leaders buy, so optimistic means its own cost.
    The ADN takes 1 MW and its branch's losses, the native load is what is left to the total.
    """
    drawn = sent(1.0)[0]
    net = market({1: (total - drawn,)}, MERIT_ORDER)
    certificate, schedule = solved(case(net, adn((1.0,))), mode, method)
    assert schedule.lam[:, 0] == prices(price)
    assert np.concatenate(schedule.pg)[:, 0] == mw(dispatch)
    assert schedule.shed[0, 0] == mw(shed)
    assert certificate.objective == dollars(price * drawn)
    cost = 20 * dispatch[0] + 32 * dispatch[1] + 45 * dispatch[2] + VOLL * shed
    assert schedule.generation_cost()[0] == dollars(cost)


def test_a_surplus_is_spilled_at_minus_its_price():
    """A tariff of 30 $/MWh makes the ADN export 3 MW whatever its host does with them: of native load there
    are 2 MW, no unit runs, 1 MW is spilled at 1.5 $/MWh, and a MW less costs 1.5 $ less: the price is -1.5.
    """
    certificate, schedule = solved(
        case(market({1: (2.0,)}, MERIT_ORDER), adn((1.0,), sun=(4.0,)), tariff=(30.0,))
    )
    assert schedule.spill[0, 0] == mw(1.0)
    assert schedule.lam[:, 0] == prices(-SPILL)
    assert schedule.generation_cost()[0] == dollars(1.5)
    assert certificate.objective == dollars(-90.0)


class TestTwoBusFollower:
    """20 $/MWh at bus 1, 45 $/MWh at bus 2; native loads of 2 and 9 MW, an ADN of 1 MW at each."""

    def solved(self, rate, line, mode="big_m", method="auto"):
        units = [(1, (50.0, 20.0)), (2, (50.0, 45.0))]
        net = market({1: (2.0,), 2: (9.0,)}, units, [(*line, rate)])
        return solved(case(net, adn((1.0,), host=1), adn((1.0,), host=2)), mode, method)

    @pytest.mark.parametrize("line", [(1, 2), (2, 1)], ids=["along the line", "against the line"])
    @ways
    def test_a_congested_line_splits_prices(self, line, mode, method):
        """4 MW pass. Unit 1 gives 3 + 4 = 7 MW, unit 2 the other 6 MW. A MW more at a bus comes from that
        bus's own unit: 20 and 45 $/MWh. Loads pay 3 * 20 + 10 * 45 = 510 $, units earn
        7 * 20 + 6 * 45 = 410 $: the rent is 4 * (45 - 20) = 100 $. The ADNs pay 20 + 45 $. The angle of bus 2
        is -x f / base = -0.1 * 4 / 10.
        """
        certificate, schedule = self.solved(4.0, line, mode, method)
        assert schedule.lam[:, 0] == prices(20.0, 45.0)
        assert np.concatenate(schedule.pg)[:, 0] == mw((7.0, 6.0))
        assert schedule.theta[:, 0] == pytest.approx((0.0, -0.04), abs=1e-7)
        load = np.array([2.0, 9.0]) + [f.P_boundary[0] for f in schedule.feeders]
        generated = np.array([pg[0, 0] for pg in schedule.pg])
        assert schedule.lam[:, 0] @ (load - generated) == dollars(100.0)
        assert certificate.objective == dollars(65.0)

    @pytest.mark.parametrize("line", [(1, 2), (2, 1)], ids=["along the line", "against the line"])
    def test_a_line_with_room_leaves_one_price(self, line):
        """All 13 MW come from unit 1, 10 MW pass; both pay 20 $/MWh and there is no rent."""
        certificate, schedule = self.solved(10.5, line)
        assert schedule.lam[:, 0] == prices(20.0, 20.0)
        assert np.concatenate(schedule.pg)[:, 0] == mw((13.0, 0.0))
        assert schedule.theta[:, 0] == pytest.approx((0.0, -0.1), abs=1e-7)
        assert certificate.objective == dollars(40.0)


@ways
def test_a_congested_loop_makes_a_price_above_every_unit(mode, method):
    """Three buses, three equal lines. Of what unit 1 (20 $/MWh) sends to the load at bus 3, two thirds pass
    line 1-3, of what unit 2 (45 $/MWh) sends, one third. Load 12 MW, line 1-3 rated 6 MW: 2/3 g1 + 1/3 g2 = 6
    and g1 + g2 = 12 give g1 = g2 = 6. A MW more at bus 3 within the rating takes 2 MW more of unit 2 and 1 MW
    less of unit 1: 2 * 45 - 20 = 70 $/MWh. The ADN at bus 3 pays 70 $ for 1 MW. Line 1-2 carries
    (6 - 6) / 3 = 0, so both units stand at one angle; that of bus 3 is -0.1 * 6 / 10.
    """
    units = [(1, (50.0, 20.0)), (2, (50.0, 45.0))]
    lines = [(1, 2, 50.0), (1, 3, 6.0), (3, 2, 50.0)]
    net = market({1: (0.0,), 2: (0.0,), 3: (12.0 - sent(1.0)[0],)}, units, lines)
    certificate, schedule = solved(case(net, adn((1.0,), host=3)), mode, method)
    assert schedule.lam[:, 0] == prices(20.0, 45.0, 70.0)
    assert np.concatenate(schedule.pg)[:, 0] == mw((6.0, 6.0))
    assert schedule.theta[:, 0] == pytest.approx((0.0, 0.0, -0.06), abs=1e-7)
    assert certificate.objective == dollars(70.0)


# --- A battery -----------------------------------------------------------------------------------


class TestBatteryArbitrage:
    """Efficiencies 0.9 in and 0.8 out, wear 2 $/MWh both ways, access 3, network 2, cheap hour 20 $/MWh.

    A MWh charged costs 20 + 3 + 2 + 2 = 27 $ and gives back 0.72 MWh, each of which saves the dear price p, 3
    and 2 $ of fees, and wears 2 $. It pays from 0.72 (p + 3) = 27, that is p = 34.5 $/MWh. At p = 36.5 $/MWh
    it earns 0.72 * 39.5 - 27 = 1.44 $ a MWh charged. Without the battery the ADN buys 2 MW in the cheap hour
    and ``load``, 2 MW if not stated, in the dear one.
    """

    FEES = {"access": 3.0, "network": 2.0}
    UNIT = {"efficiency_charge": 0.9, "efficiency_discharge": 0.8, "wear_per_mwh": 2.0}

    def solved(self, dear, load=2.0, swap=False, lmp=False, r=THIN, x=THIN, reactive=0.0, **size):
        """Hour 0 cheap and hour 1 dear, or the other way round."""

        def order(cheap_hour, dear_hour):
            return (dear_hour, cheap_hour) if swap else (cheap_hour, dear_hour)

        unit = self.UNIT | {"p_max_mw": 5.0, "energy_mwh": 10.0} | size
        feeder = adn(order(2.0, load), battery=unit, r=r, x=x, reactive=reactive)
        # Steps of 50 MW: with native loads in their middle nobody moves the price.
        net = market({1: order(25.0, 75.0)}, [(1, (50.0, 20.0), (50.0, dear))])
        tariff = None if lmp else order(20.0, dear)
        certificate, schedule = solved(case(net, feeder, tariff=tariff, **self.FEES))
        (f,) = schedule.feeders
        hour = order(0, 1)
        return certificate.objective, f, hour

    @pytest.mark.parametrize("lmp", [False, True], ids=["tariff", "lmp"])
    @pytest.mark.parametrize("swap", [False, True], ids=["cheap first", "dear first"])
    @pytest.mark.parametrize(
        ("size", "load", "charged"),
        [
            ({"energy_mwh": 0.9}, 2.0, 1.0),
            ({"p_max_mw": 0.5}, 2.0, 0.5),
            ({}, 0.36, 0.5),
        ],
        ids=["energy binds", "power binds", "load binds"],
    )
    def test_it_earns_the_spread_after_losses_wear_and_fees(self, size, load, charged, swap, lmp):
        """Charged is what binds: 0.9 MWh of energy hold 1 MWh charged; 0.5 MW of power; or a dear load of
        0.36 MWh = 0.72 * 0.5, since beyond it the ADN would export, losing 36.5 + 5 and 5 $ of fees more:
        0.72 * (36.5 - 5 - 2) - 27 < 0. The energy level rises by 0.9 MWh a MWh charged and falls again in
        the other hour, whichever comes first: the day is cyclic.
        """
        objective, f, (cheap, dear) = self.solved(36.5, load, swap, lmp, **size)
        assert f.charge[0, [cheap, dear]] == mw((charged, 0.0))
        assert f.discharge[0, [cheap, dear]] == mw((0.0, 0.72 * charged))
        assert f.energy[0, cheap] - f.energy[0, dear] == mw(0.9 * charged)
        assert objective == dollars(2.0 * 25.0 + load * 41.5 - 1.44 * charged)

    @pytest.mark.parametrize(("dear", "charged"), [(33.0, 0.0), (36.0, 1.0)])
    def test_the_threshold_price_decides(self, dear, charged):
        """At 34.5 $/MWh a MWh charged earns nothing; 1.5 $/MWh beside it is 1.08 $ for each."""
        objective, f, (cheap, _) = self.solved(dear, energy_mwh=0.9)
        assert f.charge[0, cheap] == mw(charged)
        gain = 1.08 if charged else 0.0
        assert objective == dollars(2.0 * 25.0 + 2.0 * (dear + 5.0) - gain)

    def test_it_idles_at_one_price(self):
        objective, f, _ = self.solved(20.0)
        assert f.charge == mw(np.zeros((1, 2)))
        assert objective == dollars(4.0 * 25.0)

    def test_losses_of_the_feeder_are_paid_exactly(self):
        """r = 0.5, x = 0.4 ohm and 1 Mvar of reactive load: 0.5 MW of power bind, so the branch sends out 2.5
        MW in the cheap hour and 2 - 0.36 = 1.64 MW in the dear one; the root takes what the quadratic says.
        Energy and access are paid on that, network charges on 2.5 and 1.64 MWh, wear on 0.5 and 0.36 MWh. The
        dear price of 40 $/MWh is far above the threshold of 34.5 $/MWh, which marginal losses of
        2 r P / V^2 = 2.5 % move by about 1 $/MWh.
        """
        line = {"r": 0.5, "x": 0.4}
        objective, f, (cheap, dear) = self.solved(40.0, p_max_mw=0.5, reactive=1.0, **line)
        taken = sent(2.5, 1.0, **line)[0], sent(1.64, 1.0, **line)[0]
        assert f.P_boundary[[cheap, dear]] == mw(taken)
        expected = 23.0 * taken[0] + 43.0 * taken[1] + 2.0 * (2.5 + 1.64) + 2.0 * (0.5 + 0.36)
        assert objective == dollars(expected)
        # 0.0375 + 0.0189 MWh are lost: at these prices 2 $, a thousand times the tolerance.
        assert sum(taken) - 4.14 == pytest.approx(0.0564, abs=1e-4)

    @ways
    def test_paid_to_consume_it_does_not_charge_and_discharge_at_once(self, mode, method):
        """One hour at -20 $/MWh: a battery that must end as it began stands still, though charging c and
        discharging 0.72 c at once would burn 0.28 c and be paid 5.6 - 3.44 $ for it. What the ADN may burn is
        what its branch of 0.5 ohm can lose by the relaxation, at its rating of 2 MVA (0.04 kA^2) 0.02 MW. So
        it takes 1.02 MW and is paid 20.4 $.
        """
        feeder = adn((1.0,), battery=self.UNIT | {"p_max_mw": 5.0, "energy_mwh": 10.0}, r=0.5, rate=2.0)
        certificate, schedule = solved(case(steady(), feeder, tariff=(-20.0,)), mode, method)
        (f,) = schedule.feeders
        assert (f.charge[0, 0], f.discharge[0, 0], f.P_boundary[0]) == (mw(0.0), mw(0.0), mw(1.02))
        assert certificate.objective == dollars(-20.4)
        assert certificate.relaxation == "not exact"


# --- Peer-to-peer trade --------------------------------------------------------------------------


class TestTradeWithinAnAdn:
    """Bus 1: sun 3 MW over a load of 1 MW. Bus 2: load only. Price 30, access 4, network 6 $/MWh.

    Trade within an ADN moves no power across its root: energy and access stay as they are. A MWh sold next
    door saves the seller's and the buyer's network charge, 12 $, and costs the local fee.
    """

    def solved(self, local, load):
        feeder = adn((1.0,), (load,), sun=(3.0,))
        certificate, schedule = solved(case(steady(), feeder, access=4.0, network=6.0, local=local))
        return certificate.objective, schedule.feeders[0]

    @pytest.mark.parametrize(
        ("load", "traded"), [(1.5, 1.5), (4.0, 2.0)], ids=["need binds", "surplus binds"]
    )
    def test_it_is_worth_two_network_charges_less_the_local_fee(self, load, traded):
        """The surplus after the seller's own load is 2 MW. Without trade it is exported and the other load
        imported; at the root only their difference. So 30 (load - 2) + 4 |load - 2| + 6 (2 + load) $; a local
        fee of 2 $/MWh makes a trade worth 10 $/MWh, one of 13 $/MWh makes it a loss.
        """
        idle, alone = self.solved(13.0, load)
        assert alone.sell_in[0, 0] == mw(0.0)
        assert idle == dollars(30 * (load - 2) + 4 * abs(load - 2) + 6 * (2 + load))
        objective, f = self.solved(2.0, load)
        assert f.sell_in[0, 0] == mw(traded)
        assert f.buy_in[:, 0] == mw((0.0, traded))
        assert f.P_boundary[0] == mw(alone.P_boundary[0])
        assert idle - objective == dollars(10.0 * traded)

    @pytest.mark.parametrize(("local", "traded"), [(11.0, 1.5), (13.0, 0.0)])
    def test_the_threshold_is_two_network_charges(self, local, traded):
        _, f = self.solved(local, 1.5)
        assert f.sell_in[0, 0] == mw(traded)


class TestTradeAcrossAdns:
    """ADN 0: sun 3 MW over a load of 1 MW. ADN 1 (and 2): load 1.5 MW. Price 30, access 4, network 6 $/MWh.

    A MWh sold across saves seller and buyer one access and one network charge each, 20 $, and costs its
    wheeling. The energy payment is on physical flows and stays. Without trade the two pay
    30 (1.5 - 2) + 10 (1.5 + 2) = 20 $.
    """

    SELLER, BUYER = adn((1.0,), sun=(3.0,)), adn((1.5,))

    def solved(self, *feeders, wheeling, **fees):
        certificate, schedule = solved(
            case(steady(), *feeders, wheeling=wheeling, access=4.0, network=6.0, **fees)
        )
        return certificate.objective, schedule

    def test_it_is_worth_four_charges_less_wheeling(self):
        """1.5 MWh at 20 - 4 = 16 $/MWh save 24 $ against no arcs, and against an arc that costs 21 $/MWh."""
        alone, _ = self.solved(self.SELLER, self.BUYER, wheeling={})
        dear, idle = self.solved(self.SELLER, self.BUYER, wheeling={(0, 1): 21.0, (1, 0): 21.0})
        assert alone == dollars(20.0)
        assert dear == dollars(20.0)
        assert idle.trades == mw(np.zeros((2, 1)))
        objective, schedule = self.solved(self.SELLER, self.BUYER, wheeling={(0, 1): 4.0, (1, 0): 4.0})
        assert schedule.trades[:, 0] == mw((1.5, 0.0))
        seller, buyer = schedule.feeders
        assert (seller.P_boundary[0], buyer.P_boundary[0]) == mw((-2.0, 1.5))
        assert (seller.p_export[0], buyer.p_import[0]) == mw((0.5, 0.0))
        assert alone - objective == dollars(24.0)

    @pytest.mark.parametrize(("wheeling", "traded"), [(19.0, 1.5), (21.0, 0.0)])
    def test_the_threshold_is_four_charges(self, wheeling, traded):
        _, schedule = self.solved(self.SELLER, self.BUYER, wheeling={(0, 1): wheeling})
        assert schedule.trades[0, 0] == mw(traded)

    def test_the_cheaper_arc_is_filled_first(self):
        """2 MW of surplus, 1.5 MW wanted on either arc: 1.5 at 20 - 4 and 0.5 at 20 - 6 $/MWh save 31 $
        of 30 (3 - 2) + 10 (3 + 2) = 80 $.
        """
        objective, schedule = self.solved(
            self.SELLER, self.BUYER, self.BUYER, wheeling={(0, 1): 6.0, (0, 2): 4.0}
        )
        assert schedule.trades[:, 0] == mw((0.5, 1.5))
        assert objective == dollars(80.0 - 31.0)

    @pytest.mark.parametrize(
        ("local", "within", "cost"), [(2.0, 1.5, 45.0), (6.0, 0.5, 49.0)], ids=["local first", "across first"]
    )
    def test_the_cheaper_market_is_filled_first(self, local, within, cost):
        """ADN 0 has a second bus that wants 1.5 MW, as does ADN 1; wheeling 4 $/MWh. Of the 3 MW wanted, 2 MW
        are surplus and 1 MW is imported at 30 + 4 + 6 $/MWh; physically 1 MW enters in all, so energy is 30 $
        and fees are 10 + local * within + 4 * across. Local at 2 $/MWh: 1.5 within and 0.5 across,
        10 + 3 + 2 $. Local at 6 $/MWh: 0.5 within and 1.5 across, 10 + 3 + 6 $.
        """
        seller = adn((1.0,), (1.5,), sun=(3.0,))
        objective, schedule = self.solved(seller, self.BUYER, wheeling={(0, 1): 4.0}, local=local)
        assert schedule.feeders[0].sell_in[0, 0] == mw(within)
        assert schedule.trades[0, 0] == mw(2.0 - within)
        assert objective == dollars(cost)


# --- Bilevel toys --------------------------------------------------------------------------------


def cost_at_prices(schedule, prices):
    """What the leaders' schedule costs in $ where its energy is paid at the given prices."""
    payments = schedule.payments()
    energy = sum(float(prices @ f.P_boundary) for f in schedule.feeders)
    return sum(payments.values()) - payments["energy"] + energy


class TestTheLeadersMoveThePriceToTheNextLowerBlock:
    """12 MW at 30, above that 36 $/MWh. Native loads of 8 and 10.5 MW; an ADN with 2 MW in both hours.

    Its battery loses a fifth (efficiencies 1 and 0.8) and wears 1 $/MWh; access and network 1 $/MWh each. At
    the posted prices of 30 and 36 $/MWh it does not pay: a MWh charged costs 30 + 2 + 1 = 33 $ and saves
    0.8 (36 + 2 - 1) = 29.6 $. But with f MWh discharged in hour 1 the last f MW of load fall away, and from
    f = 0.5 on the load is 12 MW or less and the block of 30 $/MWh sets the price of what is still bought:

    hour 0: (2 + f / 0.8) (30 + 2) + f / 0.8          hour 1: (2 - f) (price + 2) + f

    f = 0: 64 + 76 = 140 $ (the price takers' choice). f = 0.5: 84 + 0.625 + 48 + 0.5 = 133.125 $. Between and
    beyond, the cost rises with f: by 41.25 - 37 and 41.25 - 31 $/MWh. So the leaders discharge 0.5 MWh to the
    kink, where the optimistic price is the lower one, and gain 6.875 $.

    The welfare bound prices hour 1 along the merit order, 1.5 * 30 + 0.5 * 36 = 63 $: idling is its choice,
    and 60 + 63 + 4 * 2 = 131 $ its value, 2.125 $ below the optimum. Branching has to close that.
    """

    UNIT = {
        "p_max_mw": 2.0,
        "energy_mwh": 4.0,
        "efficiency_charge": 1.0,
        "efficiency_discharge": 0.8,
        "wear_per_mwh": 1.0,
    }

    def instance(self, tariff=None):
        net = market({1: (8.0, 10.5)}, [(1, (12.0, 30.0), (12.0, 36.0))])
        return case(net, adn((2.0, 2.0), battery=self.UNIT), access=1.0, network=1.0, tariff=tariff)

    @ways
    def test_the_optimum_is_at_the_kink(self, mode, method):
        certificate, schedule = solved(self.instance(), mode, method)
        (f,) = schedule.feeders
        assert f.discharge[0] == mw((0.0, 0.5))
        assert f.charge[0] == mw((0.625, 0.0))
        assert schedule.lam[0] == prices(30.0, 30.0)
        assert certificate.objective == dollars(133.125)

    def test_the_welfare_bound_stays_below(self):
        assert welfare_bound(self.instance()) == dollars(131.0)

    def test_price_takers_idle_and_pay_more(self):
        """The same ADN facing 30 and 36 $/MWh as a tariff; its schedule then costs 140 $ at the market's
        prices, which are 30 and 36 $/MWh indeed: nothing in the prices tells a price taker of the 6.875 $.
        """
        _, schedule = solved(self.instance(tariff=(30.0, 36.0)))
        assert schedule.feeders[0].discharge == mw(np.zeros((1, 2)))
        assert schedule.lam[0] == prices(30.0, 36.0)
        assert cost_at_prices(schedule, schedule.lam[0]) == dollars(140.0)


class TestTheLeadersMoveThePriceToTheNextHigherBlock:
    """10 MW at 20, above that 40 $/MWh; native load 12 MW; fees 2 $/MWh; an ADN with sun 4 MW, load 1 MW.

    Exporting all 3 MW leaves 9 MW to the units: 3 (20 - 2) = 54 $ earned. Exporting 2 MW leaves them at
    10 MW, where the price may be 40 $/MWh: 2 (40 - 2) = 76 $. Exporting less earns less at the same price. So
    1 MW is withheld. The welfare bound is what the units save, 2 * 40 + 1 * 20, less fees for 3 MW: -94 $.
    """

    def instance(self, tariff=None):
        net = market({1: (12.0,)}, [(1, (10.0, 20.0), (10.0, 40.0))])
        return case(net, adn((1.0,), sun=(4.0,)), access=1.0, network=1.0, tariff=tariff)

    @ways
    def test_the_optimum_withholds_to_the_kink(self, mode, method):
        certificate, schedule = solved(self.instance(), mode, method)
        assert schedule.feeders[0].P_boundary[0] == mw(-2.0)
        assert schedule.feeders[0].pv[0, 0] == mw(3.0)
        assert schedule.lam[:, 0] == prices(40.0)
        assert certificate.objective == dollars(-76.0)

    def test_the_welfare_bound_stays_below(self):
        assert welfare_bound(self.instance()) == dollars(-94.0)

    @pytest.mark.parametrize("posted", [20.0, 40.0])
    def test_price_takers_export_all_and_earn_less(self, posted):
        _, schedule = solved(self.instance(tariff=(posted,)))
        assert schedule.feeders[0].P_boundary[0] == mw(-3.0)
        assert cost_at_prices(schedule, schedule.lam[0]) == dollars(-54.0)


class TestCongestionSplitsPrices:
    """20 $/MWh at bus 1, 45 $/MWh at bus 2, 4 MW between them; native loads 2 and 6 MW; fees 2 $/MWh."""

    def instance(self, *feeders, tariff=None, native=6.0):
        units = [(1, (50.0, 20.0)), (2, (50.0, 45.0))]
        net = market({1: (2.0,), 2: (native,)}, units, [(1, 2, 4.0)])
        return case(net, *feeders, access=1.0, network=1.0, tariff=tariff)

    def seller(self, tariff=None):
        return self.instance(adn((1.0,), sun=(4.0,), host=2), tariff=tariff)

    @ways
    def test_a_seller_congests_the_line_to_be_paid_the_dear_price(self, mode, method):
        """Sun 4 MW over a load of 1 MW at bus 2. With all 3 MW exported, 3 MW pass the line and the price is
        20 $/MWh: 3 * 18 = 54 $. With 2 MW exported the line is just full and the price may be 45 $/MWh:
        2 * 43 = 86 $. With less exported it stays there. So 1 MW of sun is withheld to fill the line.
        """
        certificate, schedule = solved(self.seller(), mode, method)
        assert schedule.feeders[0].P_boundary[0] == mw(-2.0)
        assert schedule.lam[:, 0] == prices(20.0, 45.0)
        # The angle tells the flow: x f / base = 0.1 * 4 / 10.
        assert schedule.theta[0, 0] - schedule.theta[1, 0] == pytest.approx(0.04, abs=1e-7)
        assert certificate.objective == dollars(-86.0)

    def test_the_welfare_bound_stays_below(self):
        """Exporting 3 MW saves 2 MW of unit 2, for which there was no room on the line, and 1 MW of unit 1:
        2 * 45 + 20 = 110 $, less 3 * 2 $ of fees.
        """
        assert welfare_bound(self.seller()) == dollars(-104.0)

    def test_a_price_taker_empties_the_line_and_earns_less(self):
        _, schedule = solved(self.seller(tariff=(45.0,)))
        assert schedule.feeders[0].P_boundary[0] == mw(-3.0)
        assert schedule.lam[:, 0] == prices(20.0, 20.0)
        assert cost_at_prices(schedule, schedule.lam[1]) == dollars(-54.0)

    @ways
    def test_a_buyer_relieves_the_line_to_pay_the_cheap_price(self, mode, method):
        """Two ADNs at bus 2 with 2 MW of load each, native load 2.5 MW; sun of 2.5 MW at one of them. With
        all of it used 4 MW must come in: the line is just full, the price 20 $/MWh is among the dual-optimal
        ones. The sunny ADN exports 0.5, the other imports 2: (2 - 0.5) * 20 + 2 * 2.5 = 35 $. Anything less
        of sun costs 45 $/MWh.
        """
        feeders = adn((2.0,), sun=(2.5,), host=2), adn((2.0,), host=2)
        native = 4.0 - sent(2.0)[0] - sent(-0.5)[0]
        certificate, schedule = solved(self.instance(*feeders, native=native), mode, method)
        assert [f.P_boundary[0] for f in schedule.feeders] == mw((-0.5, 2.0))
        assert schedule.lam[:, 0] == prices(20.0, 20.0)
        assert certificate.objective == dollars(35.0)

    @ways
    def test_the_leaders_pay_the_rent_between_their_own_networks(self, mode, method):
        """2 MW exported at bus 1, 2 MW imported at bus 2: no energy in all, yet 2 (45 - 20) = 50 $ go to the
        TSO as congestion rent (and 8 $ to the network companies): loads of 0 and 8 MW behind a full line.
        """
        feeders = adn((1.0,), sun=(3.0,)), adn((2.0,), host=2)
        certificate, schedule = solved(self.instance(*feeders), mode, method)
        assert [f.P_boundary[0] for f in schedule.feeders] == mw((-2.0, 2.0))
        assert schedule.lam[:, 0] == prices(20.0, 45.0)
        assert certificate.objective == dollars(58.0)


class TestADegenerateFollowerIsOptimistic:
    """The load stands exactly on a kink, so that every price between two costs is dual optimal."""

    BLOCKS = [(1, (10.0, 20.0), (10.0, 40.0))]

    @ways
    def test_a_buyer_is_given_the_cheaper_price(self, mode, method):
        """2 MW, losses and the native load fill the block of 10 MW at 20 $/MWh; the next costs 40 $/MWh."""
        drawn = sent(2.0)[0]
        certificate, schedule = solved(
            case(market({1: (10.0 - drawn,)}, self.BLOCKS), adn((2.0,))), mode, method
        )
        assert schedule.lam[:, 0] == prices(20.0)
        assert certificate.objective == dollars(40.0)

    @ways
    def test_a_seller_is_given_the_dearer_price(self, mode, method):
        """2 MW of export off a native load of 12 MW; with less sun used the price is 40 $/MWh anyway."""
        certificate, schedule = solved(
            case(market({1: (12.0,)}, self.BLOCKS), adn((1.0,), sun=(3.0,))), mode, method
        )
        assert schedule.feeders[0].P_boundary[0] == mw(-2.0)
        assert schedule.lam[:, 0] == prices(40.0)
        assert certificate.objective == dollars(-80.0)

    @pytest.mark.parametrize(
        ("bought", "price"), [(3.0, 20.0), (0.5, 40.0)], ids=["net buyers", "net sellers"]
    )
    @ways
    def test_the_leaders_together_choose_for_their_net_position(self, bought, price, mode, method):
        """One ADN exports 1 MW, the other imports 3 or 0.5 MW: their payments to each other cancel, so the
        price is the cheaper one where they buy in all and the dearer one where they sell.
        """
        native = 10.0 - sent(bought)[0] - sent(-1.0)[0]
        certificate, schedule = solved(
            case(market({1: (native,)}, self.BLOCKS), adn((1.0,), sun=(2.0,)), adn((bought,))), mode, method
        )
        assert schedule.lam[:, 0] == prices(price)
        assert certificate.objective == dollars(price * (bought - 1.0))

    @ways
    def test_a_seller_stops_where_it_would_drown_its_host(self, mode, method):
        """Sun for 4 MW of export, a native load of 2 MW. Beyond 2 MW the price is that of spillage, -1.5
        $/MWh; at 2 MW no unit runs and any price from -1.5 to 20 $/MWh is dual optimal: 2 * 20 = 40 $ are
        earned.
        """
        certificate, schedule = solved(
            case(market({1: (2.0,)}, self.BLOCKS), adn((1.0,), sun=(5.0,))), mode, method
        )
        assert schedule.feeders[0].P_boundary[0] == mw(-2.0)
        assert schedule.lam[:, 0] == prices(20.0)
        assert certificate.objective == dollars(-40.0)
