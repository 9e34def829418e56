"""The IEEE data files, figure by figure against pandapower's copies, and the feeder's power flow."""

import math
from importlib.resources import files

import numpy as np
import pytest

from generators.ieee import case30, case33

NETWORKS = "pandapower.networks"


def same(ours, theirs, digits=9):
    assert np.asarray(ours, dtype=float).tolist() == pytest.approx(
        np.asarray(theirs, dtype=float).tolist(), abs=10.0**-digits, rel=10.0**-digits
    )


def loads_of(net):
    """P and Q per bus of a pandapower network, zero where there is no load."""
    p, q = np.zeros(len(net.bus)), np.zeros(len(net.bus))
    p[net.load.bus], q[net.load.bus] = net.load.p_mw, net.load.q_mvar
    return p, q


def test_case30_buses_match_pandapower():
    net = pytest.importorskip(NETWORKS).case30()
    bus = case30().bus
    p, q = loads_of(net)
    shunt_q = np.zeros(30)
    shunt_q[net.shunt.bus] = -net.shunt.q_mvar  # pandapower counts consumption, MATPOWER injection
    assert bus.bus_i.tolist() == list(range(1, 31))
    for ours, theirs in (
        (bus.pd, p),
        (bus.qd, q),
        (bus.gs, np.zeros(30)),
        (bus.bs, shunt_q),
        (bus.base_kv, net.bus.vn_kv),
        (bus.zone, net.bus.zone),
        (bus.vmax, net.bus.max_vm_pu),
        (bus.vmin, net.bus.min_vm_pu),
    ):
        same(ours, theirs)


def test_case30_branches_match_pandapower():
    net = pytest.importorskip(NETWORKS).case30()
    branch, line = case30().branch, net.line
    ohm = 135.0**2 / 100
    assert (branch.f_bus - 1).tolist() == line.from_bus.tolist()
    assert (branch.t_bus - 1).tolist() == line.to_bus.tolist()
    assert branch.br_status.tolist() == line.in_service.astype(int).tolist()
    same(branch.br_r, line.r_ohm_per_km * line.length_km / ohm)
    same(branch.br_x, line.x_ohm_per_km * line.length_km / ohm)
    same(branch.br_b, line.c_nf_per_km * 1e-9 * 2 * math.pi * net.f_hz * ohm)
    same(branch.rate_a, line.max_i_ka * 135 * math.sqrt(3))


def test_case30_units_match_pandapower():
    net = pytest.importorskip(NETWORKS).case30()
    gen = case30().gen
    reference, others = net.ext_grid.iloc[0], net.gen
    assert (gen.gen_bus - 1).tolist() == [reference.bus, *others.bus]
    assert case30().ref_bus - 1 == reference.bus
    same(gen.pg[1:], others.p_mw)
    for ours, theirs in (
        ("qmax", "max_q_mvar"),
        ("qmin", "min_q_mvar"),
        ("pmax", "max_p_mw"),
        ("pmin", "min_p_mw"),
    ):
        same(gen[ours], [reference[theirs], *others[theirs]])
    cost = net.poly_cost
    assert cost.et.tolist() == ["ext_grid"] + 5 * ["gen"]
    assert cost.element[1:].tolist() == others.index.tolist()
    same(gen.c2, cost.cp2_eur_per_mw2)
    same(gen.c1, cost.cp1_eur_per_mw)
    same(gen.c0, cost.cp0_eur)


def test_case33_matches_pandapower():
    net = pytest.importorskip(NETWORKS).case33bw()
    bus, branch, line = case33().bus, case33().branch, net.line
    p, q = loads_of(net)
    assert bus.bus_i.tolist() == list(range(1, 34))
    same(bus.pd, p)
    same(bus.qd, q)
    same(bus.base_kv, net.bus.vn_kv)
    same(bus.vmax, net.bus.max_vm_pu)
    same(bus.vmin, net.bus.min_vm_pu)
    assert (branch.f_bus - 1).tolist() == line.from_bus.tolist()
    assert (branch.t_bus - 1).tolist() == line.to_bus.tolist()
    assert branch.br_status.tolist() == line.in_service.astype(int).tolist()
    same(branch.br_r, line.r_ohm_per_km * line.length_km)
    same(branch.br_x, line.x_ohm_per_km * line.length_km)


def test_totals_known_from_the_literature():
    assert case30().bus.pd.sum() == pytest.approx(189.2)
    assert case30().gen.pmax.sum() == pytest.approx(335)
    assert len(case30().branch) == 41
    assert case33().bus.pd.sum() == pytest.approx(3.715)
    assert case33().bus.qd.sum() == pytest.approx(2.3)
    assert len(case33().closed) == 32
    assert len(case33().branch) == 37


def test_feeder_ratings_are_the_assumption_stated():
    branch = case33().branch
    trunk = (branch.t_bus <= 6) & (branch.t_bus == branch.f_bus + 1)
    assert trunk.sum() == 5
    amperes = np.where(trunk, 400, 200)
    same(branch.rate_assumed, np.round(math.sqrt(3) * 12.66 * amperes / 1000, 2))


@pytest.mark.parametrize(
    "name",
    ["case30_bus.csv", "case30_branch.csv", "case30_gen.csv", "case33bw_bus.csv", "case33bw_branch.csv"],
)
def test_every_file_states_source_and_units(name):
    text = files("generators").joinpath("data", name).read_text(encoding="utf-8")
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert any("Source:" in line for line in head)
    assert any("Units:" in line for line in head)


def power_flow(load_mva):
    """Backward/forward sweep of the feeder at constant power; losses in MW, lowest voltage in p.u."""
    case = case33()
    z = (case.closed.br_r + 1j * case.closed.br_x).to_numpy() / case.base_kv**2
    parent, child = (case.closed.f_bus - 1).to_numpy(), (case.closed.t_bus - 1).to_numpy()
    order, reached = [], {case.root_bus - 1}
    while len(order) < len(z):
        for k in range(len(z)):
            if k not in order and parent[k] in reached:
                order.append(k)
                reached.add(child[k])
    voltage = np.ones(len(load_mva), dtype=complex)
    for _ in range(50):
        current = np.conj(load_mva / voltage)
        for k in reversed(order):
            current[parent[k]] += current[child[k]]
        for k in order:
            voltage[child[k]] = voltage[parent[k]] - z[k] * current[child[k]]
    losses = sum(z[k].real * abs(current[child[k]]) ** 2 for k in order)
    return losses, abs(voltage).min()


def nominal_mva():
    return (case33().bus.pd + 1j * case33().bus.qd).to_numpy()


def test_nominal_losses_are_those_of_the_literature():
    losses_mw, v_min = power_flow(nominal_mva())
    assert 1000 * losses_mw == pytest.approx(202.7, abs=0.05)
    assert v_min == pytest.approx(0.9131, abs=1e-4)


def test_nominal_power_flow_matches_pandapower():
    pandapower = pytest.importorskip("pandapower")
    net = pytest.importorskip(NETWORKS).case33bw()
    pandapower.runpp(net, tolerance_mva=1e-10, numba=False)
    losses_mw, v_min = power_flow(nominal_mva())
    assert losses_mw == pytest.approx(net.res_line.pl_mw.sum(), rel=1e-6)
    assert v_min == pytest.approx(net.res_bus.vm_pu.min(), rel=1e-7)


def test_largest_load_the_profiles_allow_keeps_the_voltage_limits():
    """Loads never exceed 1.1 times nominal (generators/adn.py), so every ADN is feasible without devices."""
    _, v_min = power_flow(1.1 * nominal_mva())
    vmin, _ = case33().voltage_limits
    assert v_min >= vmin
