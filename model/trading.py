"""Peer-to-peer (P2P) trade within an ADN and across ADNs, and the peers' energy accounts.

Every load bus of a feeder keeps an energy account. A peer may also buy from other peers, and
a peer with a device (a seller) may sell: to peers of its own ADN (``_in``) or to other
ADNs (``_out``). Trades across ADNs, ``x[d, e, t] >= 0``, live on the instance's partner graph.
All power in per unit on ``base_mva``. Accounts are bookkeeping; the physics is in ``branch_flow``.
"""

import pyomo.environ as pyo

from model.boxes import BOTH, UPPER
from model.data import Instance
from model.per_unit import FeederData, price

# Variables that are accounts and trades: they cost fees, and no power moves with them.
ACCOUNTS = frozenset(
    "grid_import grid_export buy_in buy_out sell_in sell_out selling x exports_trade".split()
)


def add_account_variables(b: pyo.Block, data: FeederData, hours: range) -> None:
    """Purchases and sales of every load bus, each in a finite box.

    Nobody exports more to the grid than its devices can give: a limit of the model. All other
    upper bounds follow from it, the accounts and the rows of the binaries.
    """

    def intake_box(b: pyo.Block, i: int, t: int) -> tuple[float, float]:
        return 0, data.intake[i]

    b.grid_import = pyo.Var(data.load_buses, hours, bounds=intake_box)
    b.grid_export = pyo.Var(data.sellers, hours, bounds=lambda b, i, t: (0, data.output[i]))
    b.buy_in = pyo.Var(data.peers, hours, bounds=intake_box)
    b.buy_out = pyo.Var(data.peers, hours, bounds=intake_box)
    for name in ("sell_in", "sell_out"):
        setattr(b, name, pyo.Var(data.sellers, hours, bounds=lambda b, i, t: (0, data.output[i])))
    b.selling = pyo.Var(data.sellers, hours, domain=pyo.Binary)
    trades = (b.grid_import, b.buy_in, b.buy_out, b.sell_in, b.sell_out)
    b.redundant_box.update(dict.fromkeys(trades, UPPER) | {b.selling: BOTH})


def add_peer_account(b: pyo.Block, data: FeederData, hours: range) -> None:
    """pd + charge + grid_export + sell_in + sell_out = pv + discharge + grid_import + buy_in + buy_out."""
    peers, sellers = set(data.peers), set(data.sellers)

    @b.Constraint(data.load_buses, hours)
    def peer_account(b, i, t):
        received = b.grid_import[i, t]
        if i in peers:
            received += b.buy_in[i, t] + b.buy_out[i, t]
        if i in sellers:
            received -= b.grid_export[i, t] + b.sell_in[i, t] + b.sell_out[i, t]
            received += sum(b.pv_p[k, t] for k in data.pv_at[i])
            received += sum(b.discharge[k, t] - b.charge[k, t] for k in data.bess_at[i])
        return received == data.pd[i][t]


def add_own_output_limit(b: pyo.Block, data: FeederData, hours: range) -> None:
    """sell_in + sell_out <= pv + discharge: a peer sells its own output only."""

    @b.Constraint(data.sellers, hours)
    def own_output_limit(b, i, t):
        output = sum(b.pv_p[k, t] for k in data.pv_at[i]) + sum(b.discharge[k, t] for k in data.bess_at[i])
        return b.sell_in[i, t] + b.sell_out[i, t] - output <= 0


def add_sell_or_buy(b: pyo.Block, data: FeederData, hours: range) -> None:
    """A seller sells or buys peer-to-peer in an hour, not both (binary ``selling``)."""

    @b.Constraint(data.sellers, hours)
    def selling_limit(b, i, t):
        return b.sell_in[i, t] + b.sell_out[i, t] - data.output[i] * b.selling[i, t] <= 0

    @b.Constraint(data.sellers, hours)
    def buying_limit(b, i, t):
        most = data.intake[i]
        return b.buy_in[i, t] + b.buy_out[i, t] + most * b.selling[i, t] <= most


def add_local_market(b: pyo.Block, data: FeederData, hours: range) -> None:
    """sum_i sell_in = sum_i buy_in: what peers of an ADN sell each other, they buy."""

    @b.Constraint(hours if data.peers else [])
    def local_market(b, t):
        return sum(b.sell_in[i, t] for i in data.sellers) == sum(b.buy_in[i, t] for i in data.peers)


def add_trades(m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range) -> None:
    """x[d, e, t]: power ADN d sells ADN e, on the arcs of the partner graph."""
    arcs = [(arc.seller, arc.buyer) for arc in instance.arcs]

    def trade_box(m: pyo.ConcreteModel, d: int, e: int, t: int) -> tuple[float, float]:
        return 0, min(feeders[d].sold_capacity, feeders[e].bought_capacity)

    m.x = pyo.Var(arcs, hours, bounds=trade_box)
    m.exports_trade = pyo.Var(range(len(feeders)), hours, domain=pyo.Binary)
    m.redundant_box.update({m.x: UPPER, m.exports_trade: BOTH})


def add_trade_balance(
    m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range
) -> None:
    """sum_i sell_out = sum_e x[d,e] and sum_i buy_out = sum_e x[e,d], per ADN and hour."""
    buyers, sellers = partners(instance)

    @m.Constraint(range(len(feeders)), hours)
    def sold_across(m, d, t):
        b = m.feeder[d]
        sold = sum(m.x[d, e, t] for e in buyers[d])
        if not buyers[d] and not feeders[d].sellers:
            return pyo.Constraint.Skip  # nothing to sell and nobody to sell to
        return sum(b.sell_out[i, t] for i in feeders[d].sellers) - sold == 0

    @m.Constraint(range(len(feeders)), hours)
    def bought_across(m, d, t):
        b = m.feeder[d]
        bought = sum(m.x[e, d, t] for e in sellers[d])
        if not sellers[d] and not feeders[d].peers:
            return pyo.Constraint.Skip  # nobody to buy and nobody to buy from
        return sum(b.buy_out[i, t] for i in feeders[d].peers) - bought == 0


def add_seller_or_buyer(
    m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range
) -> None:
    """An ADN sells to others or buys from them in an hour, not both (binary ``exports_trade``)."""
    buyers, sellers = partners(instance)

    @m.Constraint(range(len(feeders)), hours)
    def trade_sale_limit(m, d, t):
        most = feeders[d].sold_capacity
        return sum(m.x[d, e, t] for e in buyers[d]) - most * m.exports_trade[d, t] <= 0

    @m.Constraint(range(len(feeders)), hours)
    def trade_purchase_limit(m, d, t):
        most = feeders[d].bought_capacity
        return sum(m.x[e, d, t] for e in sellers[d]) + most * m.exports_trade[d, t] <= most


def add_surplus_limits(
    m: pyo.ConcreteModel, instance: Instance, feeders: list[FeederData], hours: range
) -> None:
    """sum_i sell_out <= sum_i grid_import + discharge - charge + (sun - load) y: who sells has it left over.

    With y = 1 the ADN buys nothing across, and its accounts add up to that, grid_export and what it curtails
    left out; with y = 0 it sells nothing. So the rows follow where y, ``exports_trade``, is whole. Where it
    is a fraction they see what the limits of y do not: an ADN that passes on what it buys cannot sell the sun
    of the part of it that buys (disjunctive programming, Balas 1985, of which this is a projection). Charge
    stands once left out, and once with all of it set free on the side that buys.
    """

    def sold(d: int, t: int):
        b, data = m.feeder[d], feeders[d]
        across = sum(b.sell_out[i, t] for i in data.sellers)
        across -= sum(b.grid_import[i, t] for i in data.load_buses)
        return across - sum(b.discharge[k, t] for k in range(len(data.bess_power)))

    able = [d for d, data in enumerate(feeders) if data.sellers]

    @m.Constraint(able, hours)
    def surplus_limit(m, d, t):
        return sold(d, t) - feeders[d].surplus[t] * m.exports_trade[d, t] <= 0

    @m.Constraint([d for d in able if feeders[d].bess_power], hours)
    def surplus_limit_charging(m, d, t):
        most = sum(feeders[d].bess_power)
        charge = sum(m.feeder[d].charge[k, t] for k in range(len(feeders[d].bess_power)))
        return sold(d, t) + charge - (feeders[d].surplus[t] - most) * m.exports_trade[d, t] <= most


def partners(instance: Instance) -> tuple[list[list[int]], list[list[int]]]:
    """For every ADN: the ADNs it may sell to, and those it may buy from."""
    buyers: list[list[int]] = [[] for _ in instance.feeders]
    sellers: list[list[int]] = [[] for _ in instance.feeders]
    for arc in instance.arcs:
        buyers[arc.seller].append(arc.buyer)
        sellers[arc.buyer].append(arc.seller)
    return buyers, sellers


def peer_fees(b: pyo.Block, instance: Instance, data: FeederData, hours: range):
    """Network charge on grid_import + grid_export and the local fee on sell_in, in $."""
    network = price(instance, instance.fees.network_per_mwh)
    local = price(instance, instance.fees.local_per_mwh)
    exchanged = sum(b.grid_import[i, t] for i in data.load_buses for t in hours)
    exchanged += sum(b.grid_export[i, t] for i in data.sellers for t in hours)
    return network * exchanged + local * sum(b.sell_in[i, t] for i in data.sellers for t in hours)


def wheeling_fees(m: pyo.ConcreteModel, instance: Instance, hours: range):
    """The wheeling fee on every trade across ADNs, in $."""
    return sum(
        price(instance, arc.wheeling_per_mwh) * m.x[arc.seller, arc.buyer, t]
        for arc in instance.arcs
        for t in hours
    )
