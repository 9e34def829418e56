"""Branch flow (DistFlow) constraints of one radial feeder, Baran and Wu (1989).

Branch ``(i, j)`` runs from parent bus ``i`` to child bus ``j`` and is indexed by its child.
``P`` and ``Q`` are its sending-end flows, ``l`` its squared current and ``v`` the squared bus
voltage, all in per unit on ``base_mva``. Every function adds one family to the feeder's block.
"""

import pyomo.environ as pyo

from model.boxes import BOTH, LOWER
from model.per_unit import FeederData


def add_flow_variables(b: pyo.Block, data: FeederData, hours: range) -> None:
    """P, Q, l per branch and v per bus but the root, each in a finite box.

    ``P^2 + Q^2 <= v_i l`` with ``v_i <= vmax^2`` and ``l <= rate^2`` puts both flows within
    ``vmax rate``; those two boxes are implied by the other rows. The boxes of v and l are limits, but for
    ``l >= 0``, which the cone says too: said twice, it costs an interior-point method digits.
    """

    def flow_box(b: pyo.Block, j: int, t: int) -> tuple[float, float]:
        most = data.v_max**0.5 * data.rate[j]
        return -most, most

    b.P = pyo.Var(data.buses, hours, bounds=flow_box)
    b.Q = pyo.Var(data.buses, hours, bounds=flow_box)
    b.l = pyo.Var(data.buses, hours, bounds=lambda b, j, t: (0, data.rate[j] ** 2))
    b.v = pyo.Var(data.buses, hours, bounds=(data.v_min, data.v_max))
    b.redundant_box.update({b.P: BOTH, b.Q: BOTH, b.l: LOWER})


def _voltage(b: pyo.Block, data: FeederData, i: int, t: int):
    return data.v_root if i == data.root else b.v[i, t]


def add_active_balance(b: pyo.Block, data: FeederData, hours: range) -> None:
    """P_ij - r l_ij = sum_k P_jk + pd_j + charge_j - pv_j - discharge_j; dual ``lam_p``."""
    parent = {j: i for i, j in data.branches}

    @b.Constraint(data.buses, hours)
    def active_balance(b, j, t):
        devices = sum(b.charge[k, t] - b.discharge[k, t] for k in data.bess_at[j])
        devices -= sum(b.pv_p[k, t] for k in data.pv_at[j])
        onward = sum(b.P[k, t] for k in data.children[j])
        return b.P[j, t] - data.r[j] * b.l[j, t] - onward - devices == data.pd[j][t]

    @b.Constraint(hours)
    def root_balance(b, t):
        return b.P_boundary[t] - sum(b.P[j, t] for j in parent if parent[j] == data.root) == 0


def add_reactive_balance(b: pyo.Block, data: FeederData, hours: range) -> None:
    """Q_ij - x l_ij = sum_k Q_jk + qd_j - q_pv_j; dual ``lam_q``. The root supplies the rest."""

    @b.Constraint(data.buses, hours)
    def reactive_balance(b, j, t):
        onward = sum(b.Q[k, t] for k in data.children[j]) - sum(b.pv_q[k, t] for k in data.pv_at[j])
        return b.Q[j, t] - data.x[j] * b.l[j, t] - onward == data.qd[j][t]


def add_voltage_drop(b: pyo.Block, data: FeederData, hours: range) -> None:
    """v_j = v_i - 2 (r P_ij + x Q_ij) + (r^2 + x^2) l_ij; dual ``lam_v``."""
    parent = {j: i for i, j in data.branches}

    @b.Constraint(data.buses, hours)
    def voltage_drop(b, j, t):
        r, x = data.r[j], data.x[j]
        drop = 2 * r * b.P[j, t] + 2 * x * b.Q[j, t] - (r**2 + x**2) * b.l[j, t]
        return b.v[j, t] - _voltage(b, data, parent[j], t) + drop == 0


def add_current_cone(b: pyo.Block, data: FeederData, hours: range) -> None:
    """P_ij^2 + Q_ij^2 <= v_i l_ij, the conic relaxation of Farivar and Low (2013)."""
    parent = {j: i for i, j in data.branches}

    @b.Constraint(data.buses, hours)
    def current_cone(b, j, t):
        return b.P[j, t] ** 2 + b.Q[j, t] ** 2 <= _voltage(b, data, parent[j], t) * b.l[j, t]


def losses(b: pyo.Block, data: FeederData, hours: range):
    """sum r l over branches and hours: what the feeder loses, in p.u. h."""
    return sum(data.r[j] * b.l[j, t] for j in data.buses for t in hours)
