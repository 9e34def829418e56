"""Sizes in closed form: every count is ``a + b N + c A`` for N alike ADNs and A trade arcs.

``A`` is ``N (N - 1)`` with complete partners and ``2 sum_d min(k, d - 1)`` with ``nearest:k``. The
numbers a, b, c follow from hours T, buses, branches and devices alone: each family below says
how many rows it has and how many entries, and a test holds them equal to the built model, exactly.

Letters: T hours. Feeder: n branches (= buses but the root), m of them at the root, K load buses, R peers,
Z sellers, V photovoltaics, S batteries. Transmission: B buses, L lines (M of them at the reference bus),
G cost blocks, W ramp-limited steps (units times T - 1).
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from model.data import Feeder, Instance, Transmission
from model.per_unit import feeder_data


@dataclass(frozen=True)
class Sizes:
    """One set of counts, or what one feeder, arc or network adds to it."""

    n_vars: int = 0
    n_binaries: int = 0
    n_rows: int = 0
    n_cones: int = 0
    n_nonzeros: int = 0

    def __add__(self, other: "Sizes") -> "Sizes":
        return Sizes(*(x + y for x, y in zip(astuple(self), astuple(other), strict=True)))

    def to_dict(self) -> dict[str, int]:
        return dict(zip(Sizes.__dataclass_fields__, astuple(self), strict=True))


def predict(instance: Instance, mode: str) -> dict[str, int]:
    """The sizes of ``dso-led`` in a complementarity mode, without building it."""
    total = _follower(instance, mode)
    sellers, buyers = ({getattr(arc, end) for arc in instance.arcs} for end in ("seller", "buyer"))
    for d, feeder in enumerate(instance.feeders):
        total += _feeder(feeder, instance.base_mva, instance.hours, mode, d in sellers, d in buyers)
    for _ in instance.arcs:
        total += _arc(instance.hours)
    return total.to_dict()


def coefficients(instance: Instance, mode: str) -> dict[str, tuple[int, int, int]]:
    """For each count its (a, b, c); holds for every N where all ADNs are like the first."""
    a = _follower(instance, mode)
    b = _feeder(instance.feeders[0], instance.base_mva, instance.hours, mode, sells=True, buys=True)
    parts = a.to_dict(), b.to_dict(), _arc(instance.hours).to_dict()
    return {name: (parts[0][name], parts[1][name], parts[2][name]) for name in parts[0]}


def _sum(hours: int, families: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Rows and entries of families given per hour."""
    listed = list(families)
    return hours * sum(rows for rows, _ in listed), hours * sum(entries for _, entries in listed)


def _feeder(feeder: Feeder, base_mva: float, T: int, mode: str, sells: bool, buys: bool) -> Sizes:
    parents = feeder.parents()
    n = len(parents)
    m = sum(i == feeder.root_bus for i, _ in parents.values())
    K, R, Z = len(feeder.load_buses), len(feeder.peers), len(feeder.sellers)
    V, S = len(feeder.pv), len(feeder.bess)
    sold, bought = int(sells or Z > 0), int(buys or R > 0)
    rows, entries = _sum(
        T,
        (
            (n, 3 * n - m + V + 2 * S),  # active_balance: P, l, onward P, devices
            (1, 1 + m),  # root_balance
            (n, 3 * n - m + V),  # reactive_balance: Q, l, onward Q, inverters
            (n, 5 * n - m),  # voltage_drop: v_j, P, Q, l and v_i but at the root
            (S, 4 * S if T > 1 else 2 * S),  # energy_dynamics: two levels (they cancel if T = 1), two flows
            (2 * S, 4 * S),  # charge_limit, discharge_limit
            (K, K + 2 * R + 3 * Z + V + 2 * S),  # peer_account
            (Z, 2 * Z + V + S),  # own_output_limit
            (2 * Z, 6 * Z),  # selling_limit, buying_limit
            (int(R > 0), Z + R),  # local_market
            (2, 4),  # import_limit, export_limit
            (sold + bought, Z + R),  # sold_across, bought_across
            (2, 2),  # trade_sale_limit, trade_purchase_limit
            (int(Z > 0), Z + K + S if Z else 0),  # surplus_limit, but for its binary
            (int(S > 0), Z + K + 2 * S if S else 0),  # surplus_limit_charging, but for its binary
            (1, 3),  # boundary_account
            (0, 1),  # P_boundary in nodal_balance
            (0, 4 * n - m),  # current_cone: P, Q, l and v_i but at the root
            (0, 2 * V),  # inverter_cone
            (0, int(mode == "strong_duality")),  # lam P_boundary
        ),
    )
    # The binary stands in the last two where its coefficient, the ADN's surplus, is not zero.
    data = feeder_data(feeder, base_mva)
    most = sum(data.bess_power)
    entries += sum(bool(Z and left) + bool(S and left != most) for left in data.surplus)
    return Sizes(
        n_vars=T * (4 * n + 2 * V + 4 * S + K + 2 * R + 4 * Z + 5),
        n_binaries=T * (S + Z + 2),
        n_rows=rows,
        n_cones=T * (n + V),
        n_nonzeros=entries,
    )


def _arc(T: int) -> Sizes:
    """x in sold_across, bought_across, both trade limits and two boundary accounts."""
    return Sizes(n_vars=T, n_nonzeros=6 * T)


def _follower(instance: Instance, mode: str) -> Sizes:
    net, T = instance.transmission, instance.hours
    B, L, G = len(net.buses), len(net.branches), sum(len(gen.blocks) for gen in net.gens)
    M = sum(net.ref_bus in (line.f_bus, line.t_bus) for line in net.branches)
    ramped = [len(gen.blocks) for gen in net.gens if gen.ramp_mw_per_h is not None]
    W = len(ramped) * (T - 1)
    ramp_entries = 2 * sum(ramped) * (T - 1)
    angles = _angle_entries(net)
    pairs = T * (2 * L + 2 * G + 2 * B) + 2 * W
    slack_entries = T * (2 * (2 * L - M) + 2 * G + 2 * B) + 2 * ramp_entries

    rows, entries = _sum(
        T,
        (
            (B, G + 2 * B + angles),  # nodal_balance
            (L, 2 * L - M),  # flow_limit
            (G, 3 * G),  # stationarity of pg: lam, mu_pg_lo, mu_pg_up
            (2 * B, 4 * B),  # stationarity of shed and spill
            (B - 1, angles + 2 * (2 * L - M)),  # stationarity of theta
        ),
    )
    base = Sizes(
        n_vars=T * (G + 3 * B - 1) + T * B + pairs,
        n_rows=rows + W,
        n_nonzeros=entries + ramp_entries + 2 * ramp_entries,  # ramp_limit, and its mu in stationarity of pg
    )
    if mode == "big_m":
        return base + Sizes(pairs, pairs, 2 * pairs, 0, 3 * pairs + slack_entries)
    if mode == "sos1":
        return base + Sizes(pairs, 0, pairs, 0, pairs + slack_entries)
    costly = sum(block.cost_per_mwh > 0 for gen in net.gens for block in gen.blocks)
    native = sum(pd > 0 for bus in net.buses for pd in bus.pd_mw)
    value = T * (costly + 2 * B) + native + T * (2 * L + G) + 2 * W
    return base + Sizes(n_rows=1 if ramped else T, n_nonzeros=value)


def _angle_entries(net: Transmission) -> int:
    """Entries of nodal_balance in angles: one a bus and two a pair of neighbours, none for the reference."""
    pairs = {frozenset((line.f_bus, line.t_bus)) for line in net.branches}
    at_reference = sum(net.ref_bus in pair for pair in pairs)
    isolated = len(net.buses) == 1
    return 0 if isolated else len(net.buses) - 1 + 2 * len(pairs) - at_reference
