"""The master program with no more of its cuts than its solution needs.

A cut on an hour stands once in every leaf of the hour, so most rows of a master are cuts, and nearly all of
them are slack. A solution without some of them that misses none of them is one with all of them; the duals of
what was left out are zero.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import highspy
import numpy as np

from model.price_hull import Hull, Leaf
from model.program import Array
from model.solvers.linear import LinearResult, linear_solver, run

# What is missed by more than this is stated; rows of cuts have entries of at most 1.
MISSED = 1e-7
# So many of the cuts that a leaf's part misses most are stated at a time.
MOST = 2


@dataclass
class LazyCuts:
    """``stated``: of every leaf the numbers of the cuts, among its hour's, that solutions have needed."""

    stated: dict[Leaf, set[int]] = field(default_factory=dict)

    def solve(
        self,
        node: Hull,
        time_limit_s: float,
        upper: Array | None = None,
        integer: Array | None = None,
        tune: Callable[[highspy.Highs], object] = lambda highs: None,
    ) -> LinearResult:
        """Solve a node's program, with other upper limits or integers where they are given."""
        p = node.program
        ended = time.monotonic() + time_limit_s
        rows = np.ones(len(p.row_lower), dtype=bool)
        # The first time all are stated: what is needed would take many passes to find.
        for t, where in node.of_cuts.items() if self.stated else ():
            rows[where] = False
            for leaf, own in zip(node.leaves[t], where, strict=True):
                rows[own[sorted(self._of(leaf))]] = True
        order = np.flatnonzero(rows)
        highs = linear_solver(
            p.c,
            p.A[order],
            p.row_lower[order],
            p.row_upper[order],
            p.lower,
            p.upper if upper is None else upper,
            integer,
        )
        tune(highs)
        while True:
            found = run(highs, max(ended - time.monotonic(), 0.1))
            if found.status == "error":  # the simplex method lost its way; interior points may not
                highs.clearSolver()
                highs.setOptionValue("solver", "ipm")
                found = run(highs, max(ended - time.monotonic(), 0.1))
            if found.x is None:
                return replace(found, row_duals=None)
            fresh = self._missed(node, found.x) if self.stated else np.zeros(0, dtype=int)
            if not len(fresh) or time.monotonic() >= ended:
                break
            more = p.A[fresh]
            highs.addRows(
                len(fresh),
                p.row_lower[fresh],
                p.row_upper[fresh],
                more.nnz,
                more.indptr[:-1],
                more.indices,
                more.data,
            )
            order = np.append(order, fresh)
        if found.row_duals is None:
            return found
        duals = np.zeros(len(p.row_lower))
        duals[order] = found.row_duals
        if not self.stated:
            for t, where in node.of_cuts.items():
                for leaf, own in zip(node.leaves[t], where, strict=True):
                    self.stated[leaf] = set(np.flatnonzero(duals[own]).tolist())
        return replace(found, row_duals=duals)

    def _of(self, leaf: Leaf) -> set[int]:
        """Those of a leaf; of one just split off, its parent's."""
        if leaf not in self.stated:
            self.stated[leaf] = set() if leaf.parent is None else set(self._of(leaf.parent))
        return self.stated[leaf]

    def _missed(self, node: Hull, x: Array) -> Array:
        """The rows that a point misses most in each leaf; they count as stated."""
        p, found = node.program, [np.zeros(0, dtype=int)]
        misses = p.row_lower - p.A @ x
        for t, where in node.of_cuts.items():
            for leaf, own in zip(node.leaves[t], where, strict=True):
                missed = misses[own]
                missed[sorted(self._of(leaf))] = 0.0
                worst = np.argsort(-missed)[:MOST]
                worst = worst[missed[worst] > MISSED]
                self.stated[leaf].update(worst.tolist())
                found.append(own[worst])
        return np.concatenate(found)
