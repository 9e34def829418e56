"""What a solver or method returns: a point, a bound, and what proves the bound."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from model.hour_blocks import Cuts
from model.price_hull import Leaf, Region


@dataclass(frozen=True, eq=False)
class Bounded:
    """A part of the search with a dual vector of its hull program, see ``model.price_hull.hull``.

    ``fixed``: leader binaries (columns) that have one value in this part. ``bound``: what the search
    made of it, in $. ``n_cuts``: how many of the outcome's cuts its program has, where there are cuts.
    """

    chosen: dict[int, tuple[Leaf, ...]]
    known: dict[int, tuple[Region, ...]]
    row_duals: np.ndarray
    cone_duals: np.ndarray
    bound: float
    fixed: dict[int, float] = field(default_factory=dict)
    n_cuts: int = 0


@dataclass(frozen=True)
class Outcome:
    """One solve, before anybody checked it.

    ``status``: ``solved`` (ended by itself), ``time_limit``, ``memory_limit``, ``infeasible`` or
    ``error``. ``x``: a point of the program (one value a column) or None. ``bound``: a lower bound in $
    for which there is only the solver's word, or None. ``parts``: parts that together cover all loads of
    the ADNs, each with the dual vector from which the certificate recomputes a bound; one without chosen
    leaves is the relaxation itself; empty where the solver gives no dual vector. ``trees``: the leaves by
    hour that the parts refer to or that were split off theirs. ``cuts``: where there are any, the parts'
    programs are those of ``model.by_hour`` in place of the relaxation. ``nodes``: branch-and-bound nodes.
    """

    status: str
    x: np.ndarray | None = None
    bound: float | None = None
    parts: tuple[Bounded, ...] = ()
    trees: dict[int, tuple[Leaf, ...]] = field(default_factory=dict)
    cuts: Cuts | None = None
    nodes: int = 0
    message: str = ""

    @property
    def least(self) -> float:
        """The parts' least bound, as the search saw it; -inf without parts."""
        return min((part.bound for part in self.parts), default=-math.inf)

    def closes(self, value: float, gap: float) -> bool:
        """Whether the parts' least bound is within a relative gap of what a point costs, in $."""
        return value - self.least <= gap * max(abs(value), 1.0)

    def or_proof_of(self, earlier: "Outcome") -> "Outcome":
        """This outcome, with an earlier one's proof where that says more."""
        if earlier.least <= self.least:
            return self
        return replace(self, parts=earlier.parts, trees=earlier.trees, cuts=earlier.cuts)
