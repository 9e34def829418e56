"""What the hours have answered at one reference of the batteries' prices: cuts, and how close they are."""

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array, vstack

from model.by_hour import HourBlocks
from model.hour_blocks import Cuts, cut_rows
from model.price_hull import HourLoads
from model.program import Array
from model.solvers.hour_program import Answer, Question
from model.solvers.leaf_bounds import Use


@dataclass
class Answered:
    """``hours``: the hours' loads without cuts; ``node_hours``: in terms of the master's columns, with all
    cuts so far. ``questions``: those answered, one a cut; ``sides``, ``coefficients``: the cuts' rows.
    """

    blocks: HourBlocks
    reference: Array
    hours: dict[int, HourLoads]
    node_hours: dict[int, HourLoads] = field(init=False)
    questions: list[Question] = field(default_factory=list)
    row_duals: list[Array] = field(default_factory=list)
    cone_duals: list[Array] = field(default_factory=list)
    sides: Array = field(default_factory=lambda: np.zeros(0))
    coefficients: csr_array = field(init=False)
    # Of an hour and a leaf: inflows, and what the hour costs with them at the leaf's prices.
    values: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.coefficients = csr_array((0, len(self.blocks.relaxation.c)))
        self._renew()

    def _renew(self) -> None:
        self.node_hours = self.blocks.hour_loads(self.hours, self.sides, self.coefficients, self.of_cut)

    @property
    def of_cut(self) -> Array:
        """The hour of every cut."""
        return np.array([question.hour for question in self.questions], dtype=int)

    @property
    def cuts(self) -> Cuts:
        """All cuts so far."""
        return Cuts(self.of_cut, list(self.row_duals), list(self.cone_duals), self.reference)

    def add(self, questions: list[Question], answers: list[Answer | None]) -> None:
        """Add the cuts of the questions that were answered."""
        told = [(q, answer) for q, answer in zip(questions, answers, strict=True) if answer is not None]
        first = len(self.questions)
        self.questions += [question for question, _ in told]
        self.row_duals += [answer.row_duals for _, answer in told]
        self.cone_duals += [answer.cone_duals for _, answer in told]
        sides, coefficients = cut_rows(self.blocks, self.cuts.part(slice(first, None)))
        self.sides = np.append(self.sides, sides)
        self.coefficients = vstack([self.coefficients, coefficients], format="csr")
        self._renew()

    def learn(self, use: Use, answer: Answer) -> None:
        """What an hour answered to what is used of a leaf, at the leaf's prices."""
        self.values.setdefault((use.hour, id(use.leaf)), []).append((use.inflow, answer.value))

    def of(self, numbers: dict[int, Array]) -> list[Question]:
        """The questions whose cuts these are, of every hour by the cuts' numbers among the hour's."""
        of_cut, told = self.of_cut, np.isfinite(self.sides)
        places = {t: np.flatnonzero((of_cut == t) & told)[own] for t, own in numbers.items()}
        return [self.questions[k] for own in places.values() for k in own]

    def missed(self, uses: list[Use]) -> float:
        """By how much a point is dearer by cuts that came after it, in $."""
        return sum(use.share * max(self._short(use), 0.0) for use in uses)

    def _short(self, use: Use) -> float:
        """The most by which a cut of the hour misses what is used of a leaf, in $."""
        cuts = self.node_hours[use.hour].cuts
        assert cuts is not None
        missed = cuts.sides - cuts.on_joined @ [use.inflow, use.cost] - cuts.on_loads @ use.load
        return float(missed.max(initial=0.0))

    def most_short(self, use: Use) -> float:
        """The most by which the cuts may miss what is used of a leaf, in $.

        What the hour costs in a leaf at its prices is convex in the inflow: at most what joins two answers.
        """
        told = sorted(self.values.get((use.hour, id(use.leaf)), ()))
        if use.leaf.region is None or not told or not told[0][0] <= use.inflow <= told[-1][0]:
            return np.inf
        paid = use.leaf.region.lam @ use.load
        return float(np.interp(use.inflow, *np.array(told).T) - use.cost - paid)
