"""How sizes, times and memory grow with the number of ADNs N.

Counts have a closed form, ``count = a + b N + c A`` with A directed partner arcs, and are compared
with it exactly; they are never fitted. Times and memory are fitted over the runs that finished, by the
rival laws of ``reports.laws``.
"""

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.laws import FEWEST_SIZES as FEWEST_TO_COMPARE
from reports.laws import STEEPEST, Choice, choose
from reports.rows import CENSORED, COUNTS, FINISHED, each

PHASES = {
    "generate_s": "generate",
    "build_s": "build",
    "compile_s": "compile",
    "solve_s": "solve",
    "certify_s": "certify",
    "total_s": "total",
}
MEASURES = {**PHASES, "peak_mb": "peak memory"}
FEWEST_SIZES = 3
NARROW = 0.5  # width of an exponent's interval up to which one whole power inside it is named as the law
_LAWS = ("constant", "linear", "quadratic", "cubic")
_FORMULAS = {"power": "b N^p", "linear": "a + b N", "general": "a + b N^p"}


@dataclass(frozen=True)
class Fit:
    """The growth law of one measure on one growth curve, or the reason why there is none.

    ``law`` says it in words, ``chosen`` names the formula. The curve is ``constant + scale * N**exponent``
    in seconds or MB; ``low`` and ``high`` bound the exponent with 95 % confidence, whatever the constant
    part. ``has_constant`` is True where every supported law has one. ``power_exponent`` is that of the
    pure power law. ``n_runs`` runs of ``n_sizes`` sizes entered; ``n_censored`` runs were stopped by a
    limit and did not, nor did ``n_other``.
    """

    series: str
    measure: str
    n_sizes: int
    n_runs: int
    n_censored: int
    n_other: int
    law: str
    chosen: str = ""
    exponent: float = math.nan
    low: float = math.nan
    high: float = math.nan
    scale: float = math.nan
    constant: float = math.nan
    has_constant: bool = False
    power_exponent: float = math.nan

    @property
    def fitted(self) -> bool:
        return math.isfinite(self.exponent)

    @property
    def interval_text(self) -> str:
        """The 95 % interval of the exponent; an end at the steepest law tried is open."""
        return f"[{self.low:.2f}, {f'{self.high:.2f}' if self.high < STEEPEST else f'> {STEEPEST:.0f}'}]"

    @property
    def exponent_text(self) -> str:
        """The growth with its interval, above its constant part if it has one, or that there is no fit."""
        if not self.fitted:
            return "no fit"
        above = f" above {amount(self.constant, self.measure)}" if self.has_constant else ""
        return f"N^{self.exponent:.2f} {self.interval_text}{above}"

    def at(self, n: np.ndarray) -> np.ndarray:
        """The fitted curve at sizes ``n``, in the measure's unit."""
        return np.asarray(self.constant + self.scale * np.asarray(n, dtype=float) ** self.exponent)


def amount(value: float, measure: str) -> str:
    """A value of a measure with its unit, to two or three figures."""
    return f"{value:.0f} MB" if measure == "peak_mb" else f"{value:.2g} s"


def fit_growth(rows: pd.DataFrame) -> list[Fit]:
    """A fit for every growth curve and measure; ``rows`` as in ``Results.rows``."""
    return [
        fit_measure(group, str(series), measure)
        for series, group in rows.groupby("series", sort=False)
        for measure in MEASURES
    ]


def fit_measure(group: pd.DataFrame, series: str, measure: str) -> Fit:
    """Fit one measure of one growth curve; runs of one instance count as one, their geometric mean."""
    if measure not in MEASURES:
        raise ValueError(f"{measure} is not a time or memory; counts are never fitted")
    used = group[group["status"].isin(FINISHED) & (group[measure] > 0)]
    n_censored = int(group["status"].isin(CENSORED).sum())
    n_other = len(group) - len(used) - n_censored
    n_sizes = int(used["n_adns"].nunique())
    about = (series, measure, n_sizes, len(used), n_censored, n_other)
    if n_sizes < FEWEST_SIZES:
        law = f"no fit: {n_sizes} of at least {FEWEST_SIZES} sizes finished"
        return Fit(*about, law)
    logarithms = used.assign(log_y=np.log(used[measure].to_numpy(dtype=float)))
    points = logarithms.groupby(["n_adns", "seed", "instance"], dropna=False)["log_y"].mean().reset_index()
    choice = choose(points["n_adns"].to_numpy(dtype=float), np.exp(points["log_y"].to_numpy()))
    chosen, law = _in_words(choice, measure, n_sizes, len(points))
    return Fit(
        *about,
        law,
        chosen,
        exponent=choice.curve.exponent,
        low=choice.low,
        high=choice.high,
        scale=choice.curve.scale,
        constant=choice.curve.constant,
        has_constant="power" not in choice.laws,
        power_exponent=choice.power_exponent,
    )


def _in_words(choice: Choice, measure: str, n_sizes: int, n_points: int) -> tuple[str, str]:
    """The formula chosen and the growth it means."""
    growth = growth_word(choice.low, choice.high)
    if not choice.is_compared:
        few = f"{n_sizes} sizes" if n_sizes < FEWEST_TO_COMPARE else f"{n_points} instances"
        return "b N^p only", f"{growth} if there is no constant part, which {few} cannot tell"
    above = f"{growth} above a constant {amount(choice.curve.constant, measure)}"
    chosen = " or ".join(_FORMULAS[law] for law in choice.laws)
    if len(choice.laws) > 1:
        chosen = f"undecided: {chosen}"
        return chosen, f"{growth}, with or without a constant part" if "power" in choice.laws else above
    return chosen, growth if "power" in choice.laws else above


def growth_word(low: float, high: float) -> str:
    """The growth law that a 95 % interval of the exponent supports, or that it is undecided."""
    inside = [name for power, name in enumerate(_LAWS) if low <= power <= high]
    if len(inside) > 1:
        return f"undecided: {inside[0]} to {inside[-1]}"
    if inside:  # a wide interval excludes the other laws, yet powers between them remain possible
        return inside[0] if high - low <= NARROW else f"compatible with {inside[0]}"
    if high < 0:
        return "falling"
    if low > len(_LAWS) - 1:
        return f"faster than {_LAWS[-1]}"
    power = math.floor(low)
    return f"between {_LAWS[power]} and {_LAWS[power + 1]}" if power >= 0 else "undecided"


def arcs(partners: str, n: float) -> float | None:
    """Directed partner arcs among ``n`` ADNs: n(n-1) if complete, 2 sum_d min(k, d-1) for nearest:k."""
    if partners == "complete":
        return n * (n - 1)
    nearest = re.fullmatch(r"nearest:(\d+)", partners)
    if nearest is None:
        return None
    k = int(nearest[1])
    return 2 * n * k - k * (k + 1) if n > k else n * (n - 1)


@dataclass(frozen=True)
class CountLaw:
    """The closed form ``count = a + b N + c A`` of one count on one growth curve."""

    series: str
    partners: str
    count: str
    a: float
    b: float
    c: float

    def at(self, n: float) -> float | None:
        """The count at ``n`` ADNs; None where the partner graph has no known number of arcs."""
        if self.c == 0:
            return self.a + self.b * n
        n_arcs = arcs(self.partners, n)
        return None if n_arcs is None else self.a + self.b * n + self.c * n_arcs

    @property
    def law(self) -> str:
        """linear, quadratic or unknown."""
        if self.c == 0 or self.partners.startswith("nearest:"):
            return "linear"
        return "quadratic" if self.partners == "complete" else "unknown"

    @property
    def crossover(self) -> float | None:
        """The N above which the pair term ``c N (N-1)`` exceeds the ADN term ``b N``."""
        return 1 + self.b / self.c if self.law == "quadratic" and self.c > 0 else None

    @property
    def words(self) -> str:
        if self.c == 0:
            return f"linear: {self.b:,.0f} an ADN, none for a trading pair"
        if self.law == "linear":
            k = int(self.partners.split(":")[1])
            return f"linear: {self.b + 2 * k * self.c:,.0f} for each ADN beyond {k:,}"
        if self.crossover is not None:
            return f"quadratic: the trading pairs outweigh the ADNs above N = {self.crossover:,.0f}"
        return "not known for this partner graph"


def count_laws(rows: pd.DataFrame) -> list[CountLaw]:
    """The distinct closed forms stated by the rows, one per growth curve, count and coefficients."""
    laws: dict[CountLaw, None] = {}
    for row in each(rows):
        for count in COUNTS:
            triple = row.coefficients.get(count)
            if triple is not None:
                laws[CountLaw(row.series, row.partners, count, *triple)] = None
    order = list(dict.fromkeys(rows["series"]))
    return sorted(laws, key=lambda law: (order.index(law.series), list(COUNTS).index(law.count)))


def compare_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Built counts beside predicted ones, one line per distinct (series, n_adns, n_arcs, count).

    Columns: series, n_adns, n_arcs, count, built, predicted, equal. ``equal`` is None where either
    figure is missing; where the row states coefficients, a + b N + c A must agree as well. A run that
    was killed before it could count stands here only if no other run of its size counted.
    """
    lines = []
    for row in each(rows):
        for count in COUNTS:
            built, predicted = getattr(row, count), row.predicted.get(count)
            triple = row.coefficients.get(count)
            equal: bool | None = None
            if not pd.isna(built) and predicted is not None:
                equal = int(built) == predicted
                if triple is not None and not pd.isna(row.n_arcs):
                    a, b, c = triple
                    equal = equal and int(built) == a + b * int(row.n_adns) + c * int(row.n_arcs)
            lines.append((row.series, row.n_adns, row.n_arcs, count, built, predicted, equal))
    names = ["series", "n_adns", "n_arcs", "count", "built", "predicted", "equal"]
    table = pd.DataFrame(lines, columns=names).astype({"predicted": "Int64", "equal": "object"})
    table = table.drop_duplicates(ignore_index=True)
    key = ["series", "n_adns", "n_arcs", "count"]
    has_built = table["built"].notna().groupby([table[name] for name in key], dropna=False).transform("any")
    return table[table["built"].notna() | ~has_built].reset_index(drop=True)
