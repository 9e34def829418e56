"""Who pays whom: a double-entry ledger of a schedule's day, and what every party is left with.

Parties: every ADN, the TSO as market operator, the producers, the native consumers, the network companies.
Energy is paid nodally to and by the TSO at the follower's prices, by the ADNs at their settlement's. A trade
across ADNs is settled at each end's boundary price, so that only its wheeling is left to pay, half by each
side. Shed load is paid for like generation and lost by the consumers at its value; spillage is borne by the
producers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.metrics import Schedule
from model.program import Array

TSO, PRODUCERS, CONSUMERS, NETWORKS = "TSO", "producers", "consumers", "network companies"


def adn(d: int) -> str:
    """The name of ADN ``d`` as a party."""
    return f"ADN {d}"


@dataclass(frozen=True)
class Transfer:
    """A payment in $; a negative amount flows the other way."""

    payer: str
    receiver: str
    purpose: str
    amount: float


@dataclass(frozen=True)
class Accounts:
    """The day's transfers and the real costs that parties bear, $.

    ``rent``: congestion rent by line flows and price differences. ``open``: how far the accounts are from
    closing, in $, by three identities that no ledger gives for free: the TSO is left with the rent, the gap
    between tariff and prices, and imbalance payments; the ADNs pay what the leaders' cost adds up to; all
    parties together lose generation, shedding, spillage and wear.
    """

    transfers: tuple[Transfer, ...]
    borne: dict[str, float]
    rent: float
    open: float

    @property
    def turnover(self) -> float:
        return sum(abs(transfer.amount) for transfer in self.transfers)

    @property
    def closes_to(self) -> float:
        """``open`` relative to the turnover."""
        return self.open / max(self.turnover, 1.0)

    def position(self, party: str) -> float:
        """What a party receives less what it pays and bears, $."""
        received = sum(t.amount for t in self.transfers if t.receiver == party)
        paid = sum(t.amount for t in self.transfers if t.payer == party)
        return received - paid - self.borne.get(party, 0.0)

    def paid_for(self, purpose: str) -> float:
        return sum(t.amount for t in self.transfers if t.purpose == purpose)

    @property
    def parties(self) -> list[str]:
        return list(dict.fromkeys(name for t in self.transfers for name in (t.payer, t.receiver)))


def imbalance_mwh(schedule: Schedule, exchange: Array | None) -> Array:
    """What each ADN takes more or less than its exchange schedule, (ADN,) in MWh; none without one."""
    if exchange is None:
        return np.zeros(len(schedule.feeders))
    return np.abs(np.array([f.P_boundary for f in schedule.feeders]) - exchange).sum(axis=1)


def accounts(schedule: Schedule, exchange: Array | None = None, imbalance_per_mwh: float = 0.0) -> Accounts:
    """The ledger of a schedule; ``exchange`` as in :class:`model.decision.Decision`."""
    instance, net = schedule.instance, schedule.instance.transmission
    left = imbalance_per_mwh * imbalance_mwh(schedule, exchange)
    transfers = [*_of_adns(schedule, left)]
    row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
    native = np.array([bus.pd_mw for bus in net.buses], dtype=float)
    lam = schedule.lam
    generated = sum(
        float(lam[row[gen.gen_bus]] @ dispatch.sum(axis=0))
        for gen, dispatch in zip(net.gens, schedule.pg, strict=True)
    )
    transfers += [
        Transfer(CONSUMERS, TSO, "native energy", float((lam * native).sum())),
        Transfer(TSO, PRODUCERS, "generation", generated),
        Transfer(TSO, PRODUCERS, "spillage", -float((lam * schedule.spill).sum())),
        Transfer(TSO, CONSUMERS, "shed load", float((lam * schedule.shed).sum())),
    ]
    blocks = [
        float(np.array([b.cost_per_mwh for b in gen.blocks]) @ dispatch.sum(axis=1))
        for gen, dispatch in zip(net.gens, schedule.pg, strict=True)
    ]
    borne = {
        PRODUCERS: sum(blocks) + net.spill_per_mwh * float(schedule.spill.sum()),
        CONSUMERS: net.voll_per_mwh * float(schedule.shed.sum()),
    }
    for d, (feeder, f) in enumerate(zip(instance.feeders, schedule.feeders, strict=True)):
        use = (f.charge + f.discharge).sum(axis=1)
        borne[adn(d)] = sum(bess.wear_per_mwh * float(use[k]) for k, bess in enumerate(feeder.bess))

    rent = _rent(schedule)
    ledger = Accounts(tuple(transfers), borne, rent, 0.0)
    power = np.array([f.P_boundary for f in schedule.feeders])
    hosts = lam[[row[feeder.host_bus] for feeder in instance.feeders]]
    tariff_gap = float(((schedule.boundary_price - hosts) * power).sum())
    paid = sum(schedule.payments().values()) + float(left.sum())
    parties = ledger.parties
    losses = (
        ledger.position(TSO) - rent - tariff_gap - float(left.sum()),
        sum(ledger.position(adn(d)) for d in range(instance.n_adns)) + paid,
        sum(ledger.position(party) for party in parties) + schedule.social_cost(),
    )
    return Accounts(ledger.transfers, borne, rent, max(abs(loss) for loss in losses))


def _of_adns(schedule: Schedule, imbalance: Array) -> Iterator[Transfer]:
    instance, fees = schedule.instance, schedule.instance.fees
    prices = schedule.boundary_price
    wheeling = np.zeros(instance.n_adns)
    for arc, traded in zip(instance.arcs, schedule.trades, strict=True):
        for end in (arc.seller, arc.buyer):
            wheeling[end] += 0.5 * arc.wheeling_per_mwh * float(traded.sum())
    for d, f in enumerate(schedule.feeders):
        yield Transfer(adn(d), TSO, "energy", float(prices[d] @ f.P_boundary))
        yield Transfer(adn(d), TSO, "imbalance", float(imbalance[d]))
        used = float((f.p_import + f.p_export).sum())
        yield Transfer(adn(d), NETWORKS, "access", fees.access_per_mwh * used)
        exchanged = float(f.grid_import.sum() + f.grid_export.sum())
        yield Transfer(adn(d), NETWORKS, "network", fees.network_per_mwh * exchanged)
        yield Transfer(adn(d), NETWORKS, "local", fees.local_per_mwh * float(f.sell_in.sum()))
        yield Transfer(adn(d), NETWORKS, "wheeling", float(wheeling[d]))


def _rent(schedule: Schedule) -> float:
    """sum (lam_to - lam_from) flow over lines and hours, $: what the network's limits are worth."""
    net, base = schedule.instance.transmission, schedule.instance.base_mva
    row = {bus.bus_i: n for n, bus in enumerate(net.buses)}
    total = 0.0
    for line in net.branches:
        i, j = row[line.f_bus], row[line.t_bus]
        flow = (schedule.theta[i] - schedule.theta[j]) * base / line.br_x
        total += float((schedule.lam[j] - schedule.lam[i]) @ flow)
    return total
