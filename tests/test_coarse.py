"""The coarser instance: what it keeps of the instance in every case, and where it is the same problem."""

import numpy as np
import pytest
from toys import toy

from generators import instance
from model.coarse import coarsened
from model.data import Instance
from model.program import compile_model
from model.schemes import build
from model.solvers.relaxation import solve_relaxation

CASES = {
    "one host each": instance(20, 3, hours=3, partners="complete"),
    "several a host": instance(47, 0, hours=4, partners="nearest:4"),
    "without devices": instance(25, 1, hours=2, partners="nearest:2", n_pv=0, n_bess=0),
}


def cost(case: Instance) -> float:
    """Of the conic relaxation."""
    program = compile_model(build(case).m).relaxed()
    found = solve_relaxation(program, 60.0)
    assert found.status == "solved"
    return program.objective(found.x)


def totals(case: Instance) -> dict[int, np.ndarray]:
    """Of every host: load, reactive load and sun in every hour, inverters, batteries' power and energy."""
    found: dict[int, np.ndarray] = {}
    for f in case.feeders:
        nothing = np.zeros(case.hours)
        own = np.concatenate(
            [
                sum((np.array(bus.pd_mw) for bus in f.buses), nothing),
                sum((np.array(pv.available_mw) for pv in f.pv), nothing),
                [sum(pv.s_mva for pv in f.pv)],
                [sum(b.p_max_mw for b in f.bess), sum(b.energy_mwh for b in f.bess)],
            ]
        )
        found[f.host_bus] = found.get(f.host_bus, 0.0) + own
    return found


@pytest.mark.parametrize("n_groups", [1, 20, 30])
@pytest.mark.parametrize("name", CASES)
def test_hosts_keep_what_they_have_in_every_hour(name, n_groups):
    case = CASES[name]
    coarse = coarsened(case, n_groups)
    own = Instance.model_validate(coarse.instance.model_dump())
    before, after = totals(case), totals(own)
    assert before.keys() == after.keys()
    for host in before:
        assert after[host] == pytest.approx(before[host], rel=1e-9, abs=1e-12)
    sizes = np.bincount(coarse.group)
    assert len(sizes) == own.n_adns >= len(before) and sizes.min() > 0
    assert abs(own.n_adns - max(n_groups, len(before))) <= len(before)
    for d, g in enumerate(coarse.group):
        assert own.feeders[g].host_bus == case.feeders[d].host_bus
        m = sizes[g]
        assert own.feeders[g].branches[0].br_r_ohm * m == pytest.approx(case.feeders[d].branches[0].br_r_ohm)


@pytest.mark.parametrize("name", CASES)
def test_groups_trade_where_any_of_their_adns_do(name):
    case = CASES[name]
    coarse = coarsened(case, 20)
    pairs = {(int(coarse.group[a.seller]), int(coarse.group[a.buyer])) for a in case.arcs}
    arcs = {(a.seller, a.buyer): a.wheeling_per_mwh for a in coarse.instance.arcs}
    assert arcs.keys() == {(s, b) for s, b in pairs if s != b}
    for (s, b), fee in arcs.items():
        fees = [
            a.wheeling_per_mwh for a in case.arcs if (coarse.group[a.seller], coarse.group[a.buyer]) == (s, b)
        ]
        assert min(fees) - 1e-12 <= fee <= max(fees) + 1e-12


def test_as_many_groups_as_adns_are_the_instance_itself():
    case = instance(20, 1, hours=2, partners="nearest:2")
    coarse = coarsened(case, 20)
    # In the hosts' order.
    order = np.argsort(coarse.group)
    assert sorted(coarse.group) == list(range(20))
    for d, feeder in zip(order, coarse.instance.feeders, strict=True):
        whole = case.feeders[d]
        assert feeder.bess == whole.bess and feeder.branches == whole.branches
        for own, before in zip(feeder.buses, whole.buses, strict=True):
            assert own.pd_mw == pytest.approx(before.pd_mw)
    assert cost(coarse.instance) == pytest.approx(cost(case), rel=1e-6)


@pytest.mark.parametrize("m", [2, 5])
def test_adns_alike_are_one_of_their_size(m):
    """Without trades across, which a group has no need of: its members sell to each other at no gain."""
    two = toy(2, 3, rate_mw=4.0).model_copy(update={"arcs": ()})
    case = two.model_copy(update={"feeders": tuple(f for f in two.feeders for _ in range(m))})
    coarse = coarsened(case, 2)
    assert coarse.instance.n_adns == 2 and coarse.group.tolist() == [0] * m + [1] * m
    assert cost(coarse.instance) == pytest.approx(cost(case), rel=1e-6)


def test_a_group_has_the_devices_of_any_of_its_adns():
    case = toy(2, 3).model_copy(update={"arcs": ()})
    bare = case.feeders[0].model_copy(update={"pv": (), "bess": ()})
    mixed = case.model_copy(update={"feeders": (bare, case.feeders[0], bare)})
    before, after = totals(mixed), totals(coarsened(mixed, 1).instance)
    (host,) = before
    assert after[host] == pytest.approx(before[host], rel=1e-9)
