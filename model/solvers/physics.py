"""Physics made exact: stored energy, flows, currents and voltages where a solver leaves them a little off.

What is injected into a radial feeder determines its flows, and those in which no cone is slack are the ones
that physics knows (DistFlow, Baran and Wu 1989). An interior-point method ends beside them, by more the less
losses may exceed their least.
"""

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from model.by_hour import stored_levels
from model.program import Array, Program, cone_starts, touched

DYNAMICS = "energy_dynamics"
STORAGE = "charge", "discharge"
ROWS = "active_balance", "root_balance", "reactive_balance", "voltage_drop"
FLOWS = "P", "Q", "v", "P_boundary"
CURRENT = "l"
# Currents change by less than this in the last step, in p.u.; each step leaves a few hundredths of the error.
EXACT, STEPS = 1e-13, 50


class Physics:
    """The batteries and the power flow of all feeders of a compiled program, for many points of it."""

    def __init__(self, program: Program, hours: int):
        def numbers(where: dict[str, slice], names: tuple[str, ...]) -> Array:
            own = [
                np.arange(part.start, part.stop)
                for name, part in where.items()
                if name.startswith("feeder[") and name.rpartition(".")[2] in names
            ]
            return np.concatenate([np.zeros(0, dtype=int), *own])

        self.levels = stored_levels(program, hours)
        self.most = program.upper[self.levels].max(axis=1, initial=0.0)
        self.storage = np.stack([stored_levels(program, hours, name) for name in STORAGE])
        # What charge adds to what is stored, and discharge, below zero: (2, K, T).
        self.stores = np.zeros(self.storage.shape)
        if self.stores.size:
            at = np.tile(numbers(program.rows, (DYNAMICS,)), 2), self.storage.ravel()
            self.stores = -np.asarray(program.A[at]).reshape(self.storage.shape)
        self.flows = numbers(program.columns, FLOWS)
        of_flow = numbers(program.rows, ROWS)
        rows = program.A[of_flow]
        self.side = program.row_lower[of_flow]
        currents = np.zeros(len(program.c), dtype=bool)
        currents[numbers(program.columns, (CURRENT,))] = True
        given = rows.copy()
        given.data[np.isin(given.indices, self.flows)] = 0.0
        self.given = given
        self.solve = splu(csc_array(rows[:, self.flows])).solve
        # The cone of a current: |(tail, P, Q)| <= head, where head^2 - tail^2 is a voltage times the current.
        first = cone_starts(program.cone_dims)
        first = first[touched(program.cone_A, currents)[first]]
        self.cones = program.cone_A[(first[:, None] + np.arange(4)).ravel()]
        self.cone_b = program.cone_b[first[:, None] + np.arange(4)]
        row = np.repeat(np.arange(self.cones.shape[0]), np.diff(self.cones.indptr))
        own = currents[self.cones.indices]
        self.current = self.cones.indices[own & (row % 4 == 0)]
        self.in_head, self.in_tail = (self.cones.data[own & (row % 4 == k)] for k in (0, 1))

    def __call__(self, x: Array) -> Array:
        """A copy of ``x`` with energy in its batteries for what they do, and the flows of what is injected.

        A battery that gives more than it takes in the day, or takes more, does less of that.
        """
        x = x.copy()
        self._store(x)
        sign = self.in_head / self.in_tail
        for _ in range(STEPS):
            head, tail, P, Q = (self.cone_b + (self.cones @ x).reshape(-1, 4)).T
            # One of the factors of head^2 - tail^2 is free of the current, the other has it twice.
            change = ((P**2 + Q**2) / (head - sign * tail) - (head + sign * tail)) / (2 * self.in_head)
            x[self.current] += change
            x[self.flows] = self.solve(self.side - self.given @ x)
            if np.abs(change).max(initial=0.0) <= EXACT:
                break
        return x

    def _store(self, x: Array) -> None:
        moved = self.stores * x[self.storage]
        taken = np.abs(moved).sum(axis=2)
        balanced = moved * (taken.min(axis=0) / np.maximum(taken, EXACT))[:, :, None]
        levels = np.cumsum(balanced.sum(axis=0), axis=1)
        low, high = levels.min(axis=1, initial=0.0), levels.max(axis=1, initial=0.0)
        part = np.minimum(self.most / np.maximum(high - low, EXACT), 1.0)
        levels, balanced = part[:, None] * levels, part[:, None] * balanced
        before = (x[self.levels] - levels).mean(axis=1) if levels.size else part
        before = np.clip(before, -part * low, self.most - part * high)
        x[self.levels] = levels + before[:, None]
        x[self.storage] = balanced / self.stores
