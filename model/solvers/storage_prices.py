"""Better prices of what every battery stores, by what the hours answered.

Prices of all batteries' stored energy in every hour take the hours apart, and each hour's least cost at them
is part of a lower bound (Lagrange). What an hour was seen to do, at what cost and with what inflow of each
battery, bounds its least cost from above at any prices; the highest that all of that allows, near the best
prices so far, is the next step (the boxstep method, Marsten, Hogan and Blankenship 1975).
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import block_array, csr_array, eye_array

from model.by_hour import rise
from model.program import Array
from model.solvers.linear import solve_linear

# How far a step goes at first, relative to the prices' mean size, and how much shorter where it failed.
REACH, SHORTER = 0.02, 0.3


@dataclass
class StoragePrices:
    """``least``, ``most``: limits of every battery's stored energy, (K, T)."""

    least: Array
    most: Array
    hours: list[int] = field(default_factory=list)
    inflows: list[Array] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    best: float = -np.inf
    centre: Array = field(default_factory=lambda: np.zeros((0, 0)))
    reach: float = REACH

    def learn(self, hour: int, inflow: Array, cost: float) -> None:
        """An hour can have the batteries' net inflows, (K,), at a cost in $."""
        self.hours.append(hour)
        self.inflows.append(inflow)
        self.costs.append(cost)

    def step(self, prices: Array, bound: float) -> Array | None:
        """Prices to try next, (K, T), after these, (K, T), gave a bound; None where there is no step."""
        if bound > self.best:
            self.best, self.centre = bound, prices
        else:
            self.reach *= SHORTER
        K, T = self.centre.shape
        n, J = K * T, len(self.costs)
        hours = np.array(self.hours, dtype=int)
        if not n or len(np.unique(hours)) < T:
            return None
        number = np.arange(J)
        taken = csr_array(
            (
                np.concatenate(self.inflows),
                ((np.arange(K) * T + hours[:, None]).ravel(), number.repeat(K)),
            ),
            shape=(n, J),
        )
        one = csr_array((np.ones(J), (hours, number)), shape=(T, J))
        # Columns: shares of what was seen, levels, and what is missing or too much at the box's two prices.
        A = block_array(
            [[taken, -rise(K, T), eye_array(n), -eye_array(n)], [one, None, None, None]], format="csr"
        )
        A = csr_array((A.data, A.indices, A.indptr), shape=(n + T, J + 3 * n))
        far = self.reach * float(np.abs(self.centre).mean())
        centre = self.centre.ravel()
        side = np.append(np.zeros(n), np.ones(T))
        found = solve_linear(
            np.concatenate([self.costs, np.zeros(n), far - centre, far + centre]),
            A,
            side,
            side,
            np.concatenate([np.zeros(J), self.least.ravel(), np.zeros(2 * n)]),
            np.concatenate([np.full(J, np.inf), self.most.ravel(), np.full(2 * n, np.inf)]),
        )
        if found.row_duals is None:
            return None
        stepped: Array = -found.row_duals[:n].reshape(K, T)
        return stepped
