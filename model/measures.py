"""What a schedule does with batteries, sun and the boundary: the same measures for every scheme.

Everything physical (batteries, self-consumption, imports, losses, voltages) comes from flows, never from
accounts, so that no finding rests on bookkeeping; trade and money come from accounts, which is what they are.
"""

import math

import numpy as np
import pandas as pd

from model.accounts import TSO, Accounts, accounts, adn
from model.metrics import Schedule, table
from model.program import Array

# Name: (unit, what it is). Measures of all ADNs together; those of ``by_adn`` have the same definitions.
MEASURES = {
    "battery_cycles": ("1", "equivalent full cycles: half of what enters and leaves storage, by its size"),
    "battery_mwh": ("MWh", "charged and discharged"),
    "pv_shifted_share": ("1", "of the sun used, what the same ADN's batteries charged while it shone"),
    "arbitrage_per_mwh": ("$/MWh", "worth of discharge less charge at the boundary's price, by MWh of both"),
    "self_consumption": ("1", "of the sun used, what did not leave the ADN"),
    "self_sufficiency": ("1", "of what the ADN took, losses included, what did not come from above"),
    "import_mwh": ("MWh", "taken at the boundary"),
    "export_mwh": ("MWh", "given at the boundary"),
    "import_peak_mw": ("MW", "largest boundary power in an hour"),
    "p2p_within_mwh": ("MWh", "traded within ADNs (an account)"),
    "p2p_across_mwh": ("MWh", "traded across ADNs (an account)"),
    "losses_mwh": ("MWh", "lost in the feeders"),
    "curtailed_mwh": ("MWh", "sun not used"),
    "v_min_pu": ("p.u.", "lowest voltage"),
    "v_max_pu": ("p.u.", "highest voltage"),
    "dso_cost": ("$", "what the ADNs pay and bear"),
}
OF_ALL = {
    "shed_mwh": ("MWh", "load not served"),
    "social_cost": ("$", "generation, shedding, spillage and wear"),
    "generation_cost": ("$", "the TSO's: generation, shedding, spillage"),
    "fees": ("$", "paid to the network companies"),
    "wear": ("$", "of batteries"),
    "congestion_rent": ("$", "what the network's limits are worth at the prices"),
    "tso_result": ("$", "what the TSO is left with"),
    "imbalance_payment": ("$", "paid for leaving an exchange schedule"),
    "accounts_open": ("1", "by how much the accounts do not close, by turnover"),
}


def by_adn(schedule: Schedule, exchange: Array | None = None, imbalance_per_mwh: float = 0.0) -> pd.DataFrame:
    """Every measure of ``MEASURES``, one line an ADN."""
    ledger = accounts(schedule, exchange, imbalance_per_mwh)
    hours = table(schedule)
    lines = [_measured(schedule, [d], hours[hours.adn == d], ledger) for d in range(schedule.instance.n_adns)]
    return pd.DataFrame(lines, index=pd.Index(range(len(lines)), name="adn"))


def measures(
    schedule: Schedule, exchange: Array | None = None, imbalance_per_mwh: float = 0.0
) -> dict[str, float]:
    """Every measure of ``MEASURES`` and ``OF_ALL`` of a schedule; NaN for a share of nothing.

    ``exchange``, (ADN, T) in MW, and its price as in :class:`model.decision.Decision`.
    """
    ledger = accounts(schedule, exchange, imbalance_per_mwh)
    paid = schedule.payments()
    own = _measured(schedule, list(range(schedule.instance.n_adns)), table(schedule), ledger)
    return own | {
        "shed_mwh": float(schedule.shed.sum()),
        "social_cost": schedule.social_cost(),
        "generation_cost": float(schedule.generation_cost().sum()),
        "fees": sum(paid[name] for name in ("access", "wheeling", "network", "local")),
        "wear": paid["wear"],
        "congestion_rent": ledger.rent,
        "tso_result": ledger.position(TSO),
        "imbalance_payment": ledger.paid_for("imbalance"),
        "accounts_open": ledger.closes_to,
    }


def _measured(schedule: Schedule, adns: list[int], hours: pd.DataFrame, ledger: Accounts) -> dict[str, float]:
    """The measures of some ADNs; ``hours`` are their lines of the schedule's table."""
    instance = schedule.instance
    batteries = [
        (bess, schedule.feeders[d].charge[k], schedule.feeders[d].discharge[k])
        for d in adns
        for k, bess in enumerate(instance.feeders[d].bess)
    ]
    moved = sum(
        bess.efficiency_charge * charge.sum() + discharge.sum() / bess.efficiency_discharge
        for bess, charge, discharge in batteries
    )
    size = sum(bess.energy_mwh for bess, *_ in batteries)
    used = float((hours.charge_mw + hours.discharge_mw).sum())
    sun = float(hours.pv_mw.sum())
    worth = float((hours.price_per_mwh * (hours.discharge_mw - hours.charge_mw)).sum())
    imported = float(hours.p_boundary_mw.clip(lower=0).sum())
    exported = float((-hours.p_boundary_mw).clip(lower=0).sum())
    traded = {d: 0.0 for d in range(instance.n_adns)}
    for arc, power in zip(instance.arcs, schedule.trades, strict=True):
        traded[arc.seller] += float(power.sum())
    return {
        "battery_cycles": _share(0.5 * float(moved), size),
        "battery_mwh": used,
        "pv_shifted_share": _share(float(np.minimum(hours.charge_mw, hours.pv_mw).sum()), sun),
        "arbitrage_per_mwh": _share(worth, used),
        "self_consumption": _share(sun - exported, sun),
        "self_sufficiency": _share(sun - exported, sun - exported + imported),
        "import_mwh": imported,
        "export_mwh": exported,
        "import_peak_mw": float(hours.groupby("hour").p_boundary_mw.sum().max()),
        "p2p_within_mwh": float(hours.p2p_within_mw.sum()),
        "p2p_across_mwh": sum(traded[d] for d in adns),
        "losses_mwh": float(hours.losses_mw.sum()),
        "curtailed_mwh": float((hours.pv_available_mw - hours.pv_mw).sum()),
        "v_min_pu": float(hours.v_min_pu.min()),
        "v_max_pu": float(hours.v_max_pu.max()),
        "dso_cost": -sum(ledger.position(adn(d)) for d in adns),
    }


def _share(part: float, whole: float) -> float:
    """A quotient; NaN of next to nothing (1 Wh, or what an interior-point method leaves)."""
    return part / whole if whole > 1e-3 else math.nan
