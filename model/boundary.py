"""The seam between the two grids: signs, accounts and settlement of the boundary power.

One sign, here: ``P_boundary[t]`` is the power that enters a feeder at its root, positive when
the feeder imports. It is load at the host bus of the transmission network. Per unit on ``base_mva``.
"""

import pyomo.environ as pyo

from model.boxes import BOTH, UPPER
from model.data import Instance
from model.kkt import LoadBox, Multipliers
from model.per_unit import FeederData, TransmissionData, price
from model.trading import partners

# Variables that are an ADN's account: they cost fees, and no power moves with them.
ACCOUNTS = frozenset(("p_import", "p_export", "importing"))


def add_boundary_variables(b: pyo.Block, data: FeederData, hours: range) -> None:
    """Physical boundary power, the import and export accounts, and their binary."""
    b.P_boundary = pyo.Var(hours, bounds=lambda b, t: data.boundary_box[t])
    b.p_import = pyo.Var(hours, bounds=(0, data.root_capacity + data.sold_capacity))
    b.p_export = pyo.Var(hours, bounds=(0, data.root_capacity + data.bought_capacity))
    b.importing = pyo.Var(hours, domain=pyo.Binary)
    b.redundant_box.update({b.P_boundary: BOTH, b.p_import: UPPER, b.p_export: UPPER, b.importing: BOTH})


def add_boundary_account(m: pyo.ConcreteModel, instance: Instance, hours: range) -> None:
    """P_boundary = p_import - p_export + sum_e x[e,d] - sum_e x[d,e]."""
    buyers, sellers = partners(instance)

    @m.Constraint(range(instance.n_adns), hours)
    def boundary_account(m, d, t):
        b = m.feeder[d]
        traded = sum(m.x[e, d, t] for e in sellers[d]) - sum(m.x[d, e, t] for e in buyers[d])
        return b.P_boundary[t] - b.p_import[t] + b.p_export[t] - traded == 0


def add_import_or_export(b: pyo.Block, data: FeederData, hours: range) -> None:
    """An ADN's account imports or exports in an hour, not both (binary ``importing``)."""

    @b.Constraint(hours)
    def import_limit(b, t):
        return b.p_import[t] - (data.root_capacity + data.sold_capacity) * b.importing[t] <= 0

    @b.Constraint(hours)
    def export_limit(b, t):
        most = data.root_capacity + data.bought_capacity
        return b.p_export[t] + most * b.importing[t] <= most


def hosted(m: pyo.ConcreteModel, instance: Instance) -> dict[int, list[pyo.Var]]:
    """For every transmission bus: the boundary power variables of the ADNs it hosts."""
    at: dict[int, list[pyo.Var]] = {bus.bus_i: [] for bus in instance.transmission.buses}
    for d, feeder in enumerate(instance.feeders):
        at[feeder.host_bus].append(m.feeder[d].P_boundary)
    return at


def load_box(
    instance: Instance, feeders: list[FeederData], network: TransmissionData, hours: range
) -> LoadBox:
    """Least and most load of every transmission bus and hour, whatever the leaders do."""
    box = {i: [(pd, pd) for pd in network.pd[i]] for i in network.buses}
    for feeder, data in zip(instance.feeders, feeders, strict=True):
        for t in hours:
            low, high = box[feeder.host_bus][t]
            least, most = data.boundary_box[t]
            box[feeder.host_bus][t] = (low + least, high + most)
    return box


def add_boundary_value(m: pyo.ConcreteModel, multipliers: Multipliers, at: dict, hours: range) -> None:
    """sum lam[b(d),t] P_boundary[d,t], the energy's worth at the follower's prices: bilinear."""

    @m.Expression(hours)
    def boundary_value(m, t):
        return sum(multipliers.lam[i, t] * power[t] for i, powers in at.items() for power in powers)


def access_fees(b: pyo.Block, instance: Instance, hours: range):
    """The access charge on the import and export accounts, in $."""
    return price(instance, instance.fees.access_per_mwh) * sum(b.p_import[t] + b.p_export[t] for t in hours)


def settlement_payment(m: pyo.ConcreteModel, instance: Instance, hours: range):
    """What the ADNs pay for energy, in $: a linear expression under either settlement.

    ``tariff``: the given price times P_boundary. ``lmp``: sum lam[b(d),t] P_boundary[d,t],
    which strong duality of the follower turns into its cost minus the value of its multipliers at
    native demand (Fortuny-Amat and McCarl 1981 use the same identity).
    """
    if instance.settlement == "tariff":
        return sum(
            price(instance, instance.tariff_per_mwh[t]) * m.feeder[d].P_boundary[t]
            for d in range(instance.n_adns)
            for t in hours
        )
    return sum(m.follower.hour_cost[t] - m.follower.native_value[t] for t in hours)


def add_imbalance(m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range) -> None:
    """P_boundary - up + down = exchange: what an ADN takes more and less than an exchange schedule says.

    ``exchange`` is a mutable parameter; a scheme without a schedule lifts the row's limits.
    """
    adns = range(instance.n_adns)

    def deviation_box(m: pyo.ConcreteModel, d: int, t: int) -> tuple[float, float]:
        least, most = feeders[d].boundary_box[t]
        return 0, max(most - least, 0.0)

    m.exchange = pyo.Param(adns, hours, mutable=True, default=0.0)
    m.imbalance_up = pyo.Var(adns, hours, bounds=deviation_box)
    m.imbalance_down = pyo.Var(adns, hours, bounds=deviation_box)

    @m.Constraint(adns, hours)
    def exchange_schedule(m, d, t):
        taken = m.feeder[d].P_boundary[t] - m.imbalance_up[d, t] + m.imbalance_down[d, t]
        return taken == m.exchange[d, t]
