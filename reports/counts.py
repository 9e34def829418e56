"""Counts beside their closed form ``a + b N + c A`` with A directed partner arcs: compared, never fitted."""

import re
from dataclasses import dataclass

import pandas as pd

from reports.rows import COUNTS, each


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
