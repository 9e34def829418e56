"""Instances: determinism, nesting, hosts, partners, replacement, profiles, devices, options."""

import math
from collections import Counter

import numpy as np
import pytest

from generators import Options, adn, instance, profiles
from generators.ieee import case30, case33
from generators.placement import electrical_distance, hosts, partners
from model.data import InputError, Instance

RTS_79_WINTER_WEEKDAY = [
    67, 63, 60, 59, 59, 60, 74, 86, 95, 96, 96, 95, 95, 95, 93, 94, 99, 100, 100, 96, 91, 83, 73, 63,
]  # fmt: skip
NOON = 12


def load_mw(feeder):
    return np.sum([bus.pd_mw for bus in feeder.buses], axis=0)


def pv_mw(feeder):
    return np.sum([pv.available_mw for pv in feeder.pv], axis=0)


def native_peak():
    return dict(zip(case30().bus.bus_i.tolist(), case30().bus.pd.tolist(), strict=True))


def scale_of(case):
    """s, read off the generating units."""
    p_max = sum(block.p_max_mw for gen in case.transmission.gens for block in gen.blocks)
    return p_max / case30().gen.pmax.sum()


# Determinism and nesting


def test_same_arguments_same_instance():
    assert instance(4, seed=3) == instance(4, seed=3)
    assert instance(4, seed=3).digest() == instance(4, seed=3).digest()
    assert instance(4, seed=3).feeders != instance(4, seed=4).feeders


def test_default_instance_is_what_it_was():
    """A change here changes every published figure: raise the benchmarks' version with it."""
    assert instance(3, seed=0).digest() == "d1cfe92517d2"


def test_json_round_trip_keeps_every_bit():
    case = instance(2)
    assert Instance.from_json(case.to_json()) == case


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("graph", ["complete", "nearest:2"])
@pytest.mark.parametrize("network", ["fixed", "scaled"])
def test_every_instance_is_nested_in_the_next(seed, graph, network):
    largest = instance(8, seed, partners=graph, network=network)
    for n in range(1, 8):
        case = instance(n, seed, partners=graph, network=network)
        assert case.feeders == largest.feeders[:n]
        assert case.arcs == largest.arcs[: len(case.arcs)]
        assert all(max(arc.seller, arc.buyer) >= n for arc in largest.arcs[len(case.arcs) :])


def test_number_of_devices_leaves_loads_and_sun_alone():
    few, many = instance(2), instance(2, n_pv=16, n_bess=0, n_peers=20)
    for a, b in zip(few.feeders, many.feeders, strict=True):
        assert a.buses == b.buses
        assert pv_mw(a) == pytest.approx(pv_mw(b), abs=2e-5)


# Hosts, partners, wheeling


def test_hosts_follow_sainte_lague():
    loads = {bus: pd for bus, pd in native_peak().items() if pd > 0}
    seats = dict.fromkeys(loads, 0)
    for host in hosts(300):
        bids = {bus: round(loads[bus] / (2 * seats[bus] + 1), 9) for bus in loads}
        assert host == min(bus for bus in bids if bids[bus] == max(bids.values()))
        seats[host] += 1
    quota = {bus: 300 * pd / sum(loads.values()) for bus, pd in loads.items()}
    assert all(abs(seats[bus] - quota[bus]) < 1 for bus in loads)
    assert hosts(7) == [8, 7, 2, 21, 12, 30, 8]


def test_electrical_distance_is_the_resistance_between_two_buses():
    """Against one linear system: angle difference for one unit of power sent from i to j."""
    distance, mean = electrical_distance()
    branch = case30().branch
    f, t, b = branch.f_bus.to_numpy() - 1, branch.t_bus.to_numpy() - 1, 1 / branch.br_x.to_numpy()
    laplacian = np.zeros((30, 30))
    for k in range(len(branch)):
        laplacian[f[k], f[k]] += b[k]
        laplacian[t[k], t[k]] += b[k]
        laplacian[f[k], t[k]] -= b[k]
        laplacian[t[k], f[k]] -= b[k]
    for i, j in ((0, 1), (7, 25), (29, 4)):
        sent = np.zeros(30)
        sent[i], sent[j] = 1, -1
        theta = np.append(np.linalg.solve(laplacian[:-1, :-1], sent[:-1]), 0)
        assert distance[i, j] == pytest.approx(theta[i] - theta[j], abs=1e-6)
    assert (distance == distance.T).all()
    assert distance.diagonal().tolist() == 30 * [0]
    assert 0.1 < mean < 1


@pytest.mark.parametrize("k", [1, 2, 4, 100])
def test_nearest_partners(k):
    sequence = hosts(40)
    distance, _ = electrical_distance()
    pairs = partners(sequence, k, seed=5)
    assert len(pairs) == sum(min(k, d) for d in range(40))
    assert len(set(pairs)) == len(pairs)
    for d in range(1, 40):
        to = distance[sequence[d] - 1]
        chosen = [e for e, later in pairs if later == d]
        others = set(range(d)) - set(chosen)
        assert all(e < d for e in chosen)
        assert all(to[sequence[e] - 1] <= to[sequence[o] - 1] for e in chosen for o in others)


def test_ties_among_partners_are_drawn_from_the_seed():
    sequence = hosts(200)
    assert partners(sequence, 2, seed=1) == partners(sequence, 2, seed=1)
    assert partners(sequence, 2, seed=1) != partners(sequence, 2, seed=2)


@pytest.mark.parametrize(
    ("graph", "count"),
    [("complete", 12 * 11), ("nearest:3", 2 * (0 + 1 + 2 + 9 * 3)), ("nearest:50", 12 * 11)],
)
def test_number_of_arcs(graph, count):
    case = instance(12, partners=graph, hours=1)
    assert len(case.arcs) == count
    assert case.partners == graph


def test_wheeling_grows_with_distance_and_exceeds_the_local_fee():
    case = instance(12, partners="complete", hours=1)
    distance, mean = electrical_distance()
    for arc in case.arcs:
        i, j = (case.feeders[d].host_bus - 1 for d in (arc.seller, arc.buyer))
        assert arc.wheeling_per_mwh == pytest.approx(3 + 1.5 * distance[i, j] / mean, abs=1e-4)
        assert arc.wheeling_per_mwh > case.fees.local_per_mwh
    fees = [arc.wheeling_per_mwh for arc in case.arcs]
    assert min(fees) == 3  # ADNs 0 and 6 share a host
    assert 4 < np.mean(fees) < 5


# The transmission network


@pytest.mark.parametrize("network", ["fixed", "scaled"])
@pytest.mark.parametrize(("n_adns", "seed"), [(1, 0), (8, 1), (60, 0)])
def test_adns_replace_native_load_and_never_more(network, n_adns, seed):
    case = instance(n_adns, seed, network=network)
    s, native = scale_of(case), native_peak()
    peaks = dict.fromkeys(native, 0.0)
    for feeder in case.feeders:
        peaks[feeder.host_bus] += load_mw(feeder).max()
    m = max(peaks[bus] / (0.8 * native[bus]) for bus in native if native[bus])
    assert s == pytest.approx(m if network == "scaled" else max(1, m), rel=1e-5)
    shape = np.array(RTS_79_WINTER_WEEKDAY) / 100
    for bus in case.transmission.buses:
        expected = (s * native[bus.bus_i] - peaks[bus.bus_i]) * shape
        assert list(bus.pd_mw) == pytest.approx(expected.tolist(), abs=1e-4)
        assert min(bus.pd_mw) >= 0
    for line, rate, br_x in zip(
        case.transmission.branches, case30().branch.rate_moderate, case30().branch.br_x, strict=True
    ):
        assert line.rate_a_mw == pytest.approx(s * rate, rel=1e-5)
        assert line.br_x / case.base_mva == pytest.approx(br_x / 100 / s, rel=1e-5)


def test_small_instances_leave_the_fixed_network_alone():
    assert scale_of(instance(20)) == pytest.approx(1, abs=1e-6)
    assert scale_of(instance(60)) > 1
    assert scale_of(instance(1, network="scaled")) < 1


def test_cost_blocks_have_the_quadratic_costs():
    """Three equal blocks, each at the unit's mean marginal cost, times cost_scale."""
    case = instance(1, cost_scale=7)
    for gen, (_, unit) in zip(case.transmission.gens, case30().gen.iterrows(), strict=True):
        assert len(gen.blocks) == 3
        produced = paid = 0.0
        for block in gen.blocks:
            produced += block.p_max_mw
            paid += block.p_max_mw * block.cost_per_mwh
            assert paid == pytest.approx(7 * (unit.c2 * produced**2 + unit.c1 * produced), rel=1e-5)
        assert produced == pytest.approx(unit.pmax, abs=1e-5)
        assert gen.ramp_mw_per_h is None


def test_ramps_scale_with_the_network():
    case = instance(3, network="scaled", ramp_mw_per_h=10)
    expected = pytest.approx(10 * scale_of(case), rel=1e-5)
    assert all(gen.ramp_mw_per_h == expected for gen in case.transmission.gens)


# Profiles


def test_system_shape_is_that_of_rts_79():
    assert (100 * profiles.SYSTEM_SHAPE).round(9).tolist() == RTS_79_WINTER_WEEKDAY


@pytest.mark.parametrize("hours", [1, 2, 3, 5, 7, 12, 23, 24])
def test_short_horizons_sample_the_day(hours):
    expected = [math.floor(24 * (t + 0.5) / hours) for t in range(hours)]
    assert profiles.clock_hours(hours).tolist() == expected
    assert instance(1, hours=hours).hours == hours


def test_long_horizons_go_on_over_days():
    assert profiles.clock_hours(168).tolist() == 7 * list(range(24))
    case = instance(1, hours=48)
    assert case.tariff_per_mwh[:24] == case.tariff_per_mwh[24:]
    assert case.transmission.buses[1].pd_mw[:24] == case.transmission.buses[1].pd_mw[24:]
    assert load_mw(case.feeders[0])[:24].tolist() != load_mw(case.feeders[0])[24:].tolist()


def test_classes_of_consumers():
    hour = np.arange(0, 24, 0.25)
    households, commercial = profiles.households(hour), profiles.commercial(hour)
    assert hour[households.argmax()] == 19.5
    assert households[hour == 7.5] > households[hour == 5] < households[hour == 19.5]
    assert commercial[hour == 12.5] > 0.99
    assert commercial[hour == 3] < 0.27
    for shape in (households, commercial):
        assert shape.max() == pytest.approx(1, abs=0.01)
        assert shape.max() <= 1 + 1e-9
        assert shape.min() > 0.2


def test_clear_sky_follows_the_sun():
    hour = np.arange(0, 24, 0.05)
    output = profiles.clear_sky(hour)
    assert hour[output.argmax()] == pytest.approx(12, abs=0.03)
    half_day = np.degrees(np.arccos(-np.tan(np.radians(40)) * np.tan(np.radians(15)))) / 15
    assert hour[output > 0][0] == pytest.approx(12 - half_day, abs=0.06)
    assert hour[output > 0][-1] == pytest.approx(12 + half_day, abs=0.06)
    assert 0.8 < output.max() < 0.9
    assert profiles.clear_sky(np.array([10.0])) == pytest.approx(profiles.clear_sky(np.array([14.0])))


def test_sun_and_loads_are_taken_at_the_middle_of_the_hour(monkeypatch):
    """Without what is drawn, the sun is symmetric about 12:00 and commerce, open 8 to 17 h, about 12:30."""
    for drawn in ("SOLAR_SHIFT_H", "CLOUD_DEPTH", "SHIFT_H", "BUS_SHIFT_H"):
        monkeypatch.setattr(adn, drawn, (0, 0))
    monkeypatch.setattr(adn, "NOISE", (1, 1))
    monkeypatch.setattr(adn, "COMMERCIAL_SHARE", (1, 1))
    monkeypatch.setattr(adn, "BUS_SHARE_SPREAD", 0)
    feeder = adn.adn(0, seed=0, host_bus=8, options=Options())
    sun, load = pv_mw(feeder), load_mw(feeder)
    watts = 1e-6 * len(feeder.buses)  # every bus is rounded
    assert sun.max() > 1 and sun == pytest.approx(sun[::-1], abs=watts)  # 0:30 is as far from noon as 23:30
    assert np.ptp(load) > 1 and load[1:] == pytest.approx(load[:0:-1], abs=watts)  # 1:30 as 23:30


def test_clouds_are_a_correlated_factor():
    factor = profiles.clouds(20_000, 0.5, np.random.default_rng(1))
    assert 0.5 <= factor.min() < factor.max() <= 1
    assert np.corrcoef(factor[:-1], factor[1:])[0, 1] == pytest.approx(0.78, abs=0.05)


def test_tariff_is_time_of_use():
    case = instance(1, settlement="tariff")
    assert case.settlement == "tariff"
    assert case.tariff_per_mwh == (7 * (30.0,)) + (10 * (36.0,)) + (5 * (44.0,)) + (2 * (30.0,))


def test_adns_differ_and_stay_within_the_feeder():
    case = instance(30, seed=2)
    nominal = case33().bus
    peak_hours = set()
    for feeder in case.feeders:
        for bus, pd, qd in zip(feeder.buses, nominal.pd, nominal.qd, strict=True):
            assert max(bus.pd_mw) <= 1.1 * pd + 1e-6
            assert list(bus.qd_mvar) == pytest.approx(
                [p * qd / pd if pd else 0.0 for p in bus.pd_mw], abs=1e-6
            )
        peak_hours.add(int(load_mw(feeder).argmax()))
    assert len(peak_hours) >= 4
    peaks = [load_mw(feeder).max() for feeder in case.feeders]
    assert min(peaks) > 1.5
    assert max(peaks) > 1.2 * min(peaks)


# Devices


def test_devices_have_the_sizes_asked_for():
    case = instance(
        4, pv_penetration=0.7, bess_power_share=0.3, bess_hours=2, n_pv=5, n_bess=3, wear_per_mwh=1.5
    )
    for feeder in case.feeders:
        peak = load_mw(feeder).max()
        assert len(feeder.pv) == 5
        assert len(feeder.bess) == 3
        assert sum(pv.s_mva for pv in feeder.pv) == pytest.approx(1.1 * 0.7 * peak, abs=1e-5)
        assert all(0 < max(pv.available_mw) < pv.s_mva for pv in feeder.pv)
        assert len({pv.s_mva for pv in feeder.pv}) == 5
        assert sum(bess.p_max_mw for bess in feeder.bess) == pytest.approx(0.3 * peak, abs=1e-5)
        for bess in feeder.bess:
            assert bess.energy_mwh == pytest.approx(2 * bess.p_max_mw, abs=1e-5)
            assert (bess.efficiency_charge, bess.efficiency_discharge, bess.wear_per_mwh) == (0.95, 0.95, 1.5)


@pytest.mark.parametrize(
    ("n_peers", "n_pv", "n_bess", "sellers"),
    [
        (32, 8, 4, 10),
        (32, 8, 5, 10),
        (32, 0, 4, 4),
        (32, 8, 0, 8),
        (6, 5, 4, 6),
        (4, 4, 4, 4),
        (1, 1, 1, 1),
        (5, 0, 0, 0),
    ],
)
def test_every_adn_has_the_same_counts(n_peers, n_pv, n_bess, sellers):
    case = instance(6, n_peers=n_peers, n_pv=n_pv, n_bess=n_bess, hours=2)
    for feeder in case.feeders:
        assert len(feeder.peers) == n_peers
        assert len({pv.bus for pv in feeder.pv}) == n_pv
        assert len({bess.bus for bess in feeder.bess}) == n_bess
        assert len(feeder.sellers) == sellers


def test_some_adns_export_at_noon_and_some_do_not():
    surplus = [pv_mw(feeder)[NOON] > load_mw(feeder)[NOON] for feeder in instance(10, seed=0).feeders]
    assert 3 <= sum(surplus) <= 8


# Options


def test_options_reach_the_instance():
    case = instance(
        2,
        access_per_mwh=1,
        network_per_mwh=2,
        local_per_mwh=0.5,
        voll_per_mwh=500,
        spill_per_mwh=3,
        congestion="none",
    )
    assert (case.fees.access_per_mwh, case.fees.network_per_mwh, case.fees.local_per_mwh) == (1, 2, 0.5)
    assert (case.transmission.voll_per_mwh, case.transmission.spill_per_mwh) == (500, 3)
    assert (case.congestion, case.network, case.settlement) == ("none", "fixed", "lmp")
    assert case.base_mva == 10


def test_options_may_be_text():
    assert Options(hours="6", partners="nearest:2", pv_penetration="0.5") == Options(  # type: ignore[arg-type]
        hours=6, partners="nearest:2", pv_penetration=0.5
    )


@pytest.mark.parametrize("n_adns", [0, -1, 10_001, 1.0, "3", True, None])
def test_number_of_adns_is_checked(n_adns):
    with pytest.raises(InputError, match=r"^n_adns: got .*; allowed: a whole number from 1 to 10000$"):
        instance(n_adns)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_seed_is_checked(seed):
    with pytest.raises(InputError, match=r"^seed: got .*; allowed: a whole number from 0"):
        instance(1, seed)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hours", 0),
        ("hours", 169),
        ("hours", "many"),
        ("partners", "nearest"),
        ("partners", "nearest:0"),
        ("partners", "nearest:-1"),
        ("partners", "all"),
        ("settlement", "pool"),
        ("network", "big"),
        ("congestion", "mild"),
        ("n_peers", 0),
        ("n_peers", 33),
        ("n_pv", 33),
        ("n_bess", -1),
        ("pv_penetration", 0),
        ("pv_penetration", float("nan")),
        ("bess_hours", float("inf")),
        ("bess_power_share", -1),
        ("efficiency_charge", 1.1),
        ("wheeling_per_mwh", 0),
        ("wheeling_per_mwh", 1e-6),
        ("local_per_mwh", -1),
        ("cost_scale", 0),
        ("ramp_mw_per_h", 0),
        ("ramp_mw_per_h", 1e-9),
        ("voll_per_mwh", 40.0),
        ("spill_per_mwh", 0),
        ("spill_per_mwh", 1e-9),
        ("colour", "red"),
    ],
)
def test_bad_options_are_refused_in_one_line(option, value):
    with pytest.raises(InputError) as error:
        instance(1, **{option: value})
    line = str(error.value)
    assert line.startswith(f"{option}: got {value!r}; allowed: ")
    assert "\n" not in line
    assert error.value.field == option


def test_the_smallest_values_survive_rounding():
    least = {"wheeling_per_mwh": 1e-3, "wheeling_distance_per_mwh": 0, "ramp_mw_per_h": 1e-3}
    small = {"pv_penetration": 0.01, "n_pv": 32, "bess_power_share": 0.01, "bess_hours": 0.1, "n_bess": 32}
    case = instance(2, network="scaled", spill_per_mwh=1e-3, cost_scale=1e-9, **least, **small)
    assert {arc.wheeling_per_mwh for arc in case.arcs} == {1e-3}
    assert all(gen.ramp_mw_per_h > 0 for gen in case.transmission.gens)


def test_the_largest_network_keeps_its_reactances_above_the_floor():
    loads = {bus: pd for bus, pd in native_peak().items() if pd > 0}
    seats = Counter(hosts(10_000))
    largest_adn_mw = 1.1 * case33().bus.pd.sum()
    s = max(seats[bus] * largest_adn_mw / (0.8 * loads[bus]) for bus in loads)
    assert case30().branch.br_x.min() * 10 / 100 / s > 1e-6


def test_devices_need_peers():
    with pytest.raises(InputError, match="^n_pv: got 8; allowed: at most n_peers 4"):
        instance(1, n_peers=4)
