"""The three columns of ratings derived again by the rule in the data file, and what they do to prices.

The DC optimal power flow here is a linear program of its own for ``scipy.optimize.linprog``.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy.optimize import linprog

from generators import instance
from generators.ieee import case30
from generators.profiles import SYSTEM_SHAPE

COST_SCALE, VOLL, SPILL = 10.0, 1000.0, 1.0
LEVELS = {"none": 0, "moderate": 2, "strong": 4}
DERATE, MARGIN, HEADROOM, BINDS = 0.82, 1.15, 1.25, 0.01
PEAK_HOUR = int(np.argmax(SYSTEM_SHAPE))


@dataclass
class Network:
    """What a DC optimal power flow needs: rows of ``branches`` are (from, to, MW per radian)."""

    branches: np.ndarray
    rate_mw: np.ndarray
    unit_bus: np.ndarray
    block_mw: np.ndarray
    block_cost: np.ndarray

    def solve(self, load_mw):
        """Cost in $, flows, prices, shadow prices of ratings and shedding at one hour's load."""
        n_bus, n_branch, n_block = len(load_mw), len(self.branches), len(self.block_mw)
        f, t, b = self.branches[:, 0].astype(int), self.branches[:, 1].astype(int), self.branches[:, 2]
        flow = np.zeros((n_branch, n_bus))
        flow[np.arange(n_branch), f] = b
        flow[np.arange(n_branch), t] = -b
        injection = np.zeros((n_bus, n_branch))
        injection[f, np.arange(n_branch)] = 1
        injection[t, np.arange(n_branch)] = -1
        units = np.zeros((n_bus, n_block))
        units[self.unit_bus, np.arange(n_block)] = 1
        balance = np.hstack([units, -injection @ flow, np.eye(n_bus), -np.eye(n_bus)])
        flows = np.hstack([np.zeros((n_branch, n_block)), flow, np.zeros((n_branch, 2 * n_bus))])
        angle = [(0, 0)] + (n_bus - 1) * [(None, None)]
        result = linprog(
            np.concatenate([self.block_cost, np.zeros(n_bus), np.full(n_bus, VOLL), np.full(n_bus, SPILL)]),
            A_ub=np.vstack([flows, -flows]),
            b_ub=np.concatenate([self.rate_mw, self.rate_mw]),
            A_eq=balance,
            b_eq=load_mw,
            bounds=[(0, mw) for mw in self.block_mw] + angle + 2 * n_bus * [(0, None)],
            method="highs-ds",
        )
        assert result.status == 0, result.message
        shadow = -result.ineqlin.marginals
        return Flow(
            cost=result.fun,
            flow_mw=flows @ result.x,
            price=result.eqlin.marginals,
            shadow=shadow[:n_branch] + shadow[n_branch:],
            shed_mw=result.x[n_block + n_bus : n_block + 2 * n_bus].sum(),
        )


@dataclass
class Flow:
    cost: float
    flow_mw: np.ndarray
    price: np.ndarray
    shadow: np.ndarray
    shed_mw: float

    @property
    def binding(self):
        return int((self.shadow > BINDS).sum())

    @property
    def spread(self):
        return float(np.ptp(self.price))


def ieee(rate_mw, blocks=3):
    case = case30()
    sizes = np.repeat(case.gen.pmax / blocks, blocks).to_numpy()
    middle = np.tile(np.arange(blocks) + 0.5, len(case.gen)) * sizes
    cost = np.repeat(case.gen.c1, blocks).to_numpy() + 2 * np.repeat(case.gen.c2, blocks).to_numpy() * middle
    return Network(
        branches=np.column_stack([case.branch.f_bus - 1, case.branch.t_bus - 1, 100 / case.branch.br_x]),
        rate_mw=np.asarray(rate_mw, dtype=float),
        unit_bus=np.repeat(case.gen.gen_bus - 1, blocks).to_numpy(),
        block_mw=sizes,
        block_cost=COST_SCALE * cost,
    )


def of_instance(case):
    """The follower's network of an instance, per-unit reactances on the instance's own base."""
    blocks = [(gen.gen_bus, block) for gen in case.transmission.gens for block in gen.blocks]
    return Network(
        branches=np.array(
            [(k.f_bus - 1, k.t_bus - 1, case.base_mva / k.br_x) for k in case.transmission.branches]
        ),
        rate_mw=np.array([k.rate_a_mw for k in case.transmission.branches]),
        unit_bus=np.array([bus - 1 for bus, _ in blocks]),
        block_mw=np.array([block.p_max_mw for _, block in blocks]),
        block_cost=np.array([block.cost_per_mwh for _, block in blocks]),
    )


def native(case):
    """Residual native load, bus by hour."""
    return np.array([bus.pd_mw for bus in case.transmission.buses])


def adn_load(feeder):
    return np.sum([bus.pd_mw for bus in feeder.buses], axis=0)


def adn_pv(feeder):
    return np.sum([pv.available_mw for pv in feeder.pv], axis=0)


@cache
def uncongested_peak():
    return abs(ieee(np.full(len(case30().branch), 1e4)).solve(case30().bus.pd.to_numpy()).flow_mw)


@cache
def derived():
    """The three columns by the rule stated in case30_branch.csv."""
    branch, load = case30().branch, case30().bus.pd.to_numpy()
    flow = uncongested_peak()
    rate = np.maximum(branch.rate_a, np.round(HEADROOM * flow, 1)).to_numpy()
    columns, kept = {"none": rate}, []
    for k in np.argsort(-flow / branch.rate_a.to_numpy(), kind="stable"):
        trial = rate.copy()
        trial[k] = round(DERATE * flow[k], 1)
        network = ieee(trial)
        if trial[k] <= 0 or (network.solve(load).shadow[[*kept, k]] <= BINDS).any():
            continue
        if any(network.solve(MARGIN * s * load).shed_mw > 1e-6 for s in sorted(set(SYSTEM_SHAPE))[::-1]):
            continue
        rate, kept = trial, [*kept, k]
        columns |= {level: rate for level, lines in LEVELS.items() if lines == len(kept)}
        if len(kept) == max(LEVELS.values()):
            return columns
    raise AssertionError(f"only {len(kept)} lines can be made to bind")


@pytest.mark.parametrize("level", LEVELS)
def test_columns_follow_from_the_rule(level):
    assert case30().branch[f"rate_{level}"].tolist() == pytest.approx(derived()[level].tolist(), abs=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_native_load_binds_lines_at_the_peak_and_is_never_shed(level):
    network = ieee(case30().branch[f"rate_{level}"])
    hours = [network.solve(s * case30().bus.pd.to_numpy()) for s in SYSTEM_SHAPE]
    assert max(hour.shed_mw for hour in hours) == pytest.approx(0, abs=1e-9)
    peak = hours[PEAK_HOUR]
    assert peak.binding >= LEVELS[level]
    if level == "none":
        assert max(hour.binding for hour in hours) == 0
        assert max(hour.spread for hour in hours) == pytest.approx(0, abs=1e-6)
    else:
        assert 2 < peak.spread < 10
        assert 30 < peak.price.min() < peak.price.max() < 45


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("network", "n_adns"), [("fixed", 3), ("scaled", 3), ("fixed", 60)])
def test_scaling_leaves_prices_as_they_were(level, network, n_adns):
    """At native load (ADNs at their peak times the system's shape) only the unit of power has changed."""
    case = instance(n_adns, seed=1, network=network, congestion=level)
    load = native(case)[:, PEAK_HOUR]
    for feeder in case.feeders:
        load[feeder.host_bus - 1] += adn_load(feeder).max()
    at_home = ieee(case30().branch[f"rate_{level}"]).solve(case30().bus.pd.to_numpy())
    scaled = of_instance(case).solve(load)
    assert scaled.price == pytest.approx(at_home.price, abs=1e-3)
    assert scaled.binding == at_home.binding
    s = load.sum() / case30().bus.pd.sum()
    assert scaled.flow_mw == pytest.approx(s * at_home.flow_mw, abs=1e-3 * s)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("network", ["fixed", "scaled"])
@pytest.mark.parametrize(("n_adns", "seed"), [(1, 0), (5, 1), (20, 2)])
def test_nothing_is_shed_whatever_the_devices_do(level, network, n_adns, seed):
    """Neither with all PV and no losses nor with no PV and 7 % losses (they never exceed 6.1 %)."""
    case = instance(n_adns, seed, network=network, congestion=level)
    follower = of_instance(case)
    dark, bright = native(case), native(case)
    for feeder in case.feeders:
        dark[feeder.host_bus - 1] += 1.07 * adn_load(feeder)
        bright[feeder.host_bus - 1] += adn_load(feeder) - adn_pv(feeder)
    dark_hours, bright_hours = (
        [follower.solve(load[:, t]) for t in range(case.hours)] for load in (dark, bright)
    )
    hours = dark_hours + bright_hours
    assert max(hour.shed_mw for hour in hours) == pytest.approx(0, abs=1e-9)
    if level == "none":
        assert max(hour.binding for hour in hours) == 0
    elif network == "fixed":
        assert dark_hours[PEAK_HOUR].binding >= LEVELS[level]
        assert dark_hours[PEAK_HOUR].spread > 2
        assert max(hour.spread for hour in bright_hours) > 0.5  # PV relieves the lines, not all day


def test_cost_of_the_optimal_power_flow_matches_pandapower():
    """Many blocks per unit come close to the quadratic costs that pandapower minimises."""
    pandapower = pytest.importorskip("pandapower")
    net = pytest.importorskip("pandapower.networks").case30()
    pandapower.rundcopp(net, numba=False)
    ours = ieee(case30().branch.rate_a, blocks=300).solve(case30().bus.pd.to_numpy())
    assert ours.cost / COST_SCALE == pytest.approx(net.res_cost, rel=1e-5)
    assert ours.price / COST_SCALE == pytest.approx(net.res_bus.lam_p.to_numpy(), rel=2e-3)


def test_three_blocks_cost_little_more_than_the_quadratic():
    load = case30().bus.pd.to_numpy()
    coarse, fine = (ieee(case30().branch.rate_a, blocks=n).solve(load).cost for n in (3, 300))
    assert fine < coarse < 1.02 * fine


def test_unscaled_network_of_an_instance_is_the_ieee_network():
    case = instance(2)
    ours, theirs = of_instance(case), ieee(case30().branch.rate_moderate)
    assert ours.block_mw == pytest.approx(theirs.block_mw, abs=1e-6)
    assert ours.block_cost == pytest.approx(theirs.block_cost, abs=1e-6)
    assert ours.branches == pytest.approx(theirs.branches, rel=1e-8)
