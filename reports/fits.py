"""How times, memory and nodes grow with the number of ADNs N: the fit of every measure on every growth curve.

What the runs tell of a measure is gathered here: values, and lower limits from runs that a limit stopped. The
rival laws are those of ``reports.laws``, their trial by larger sizes that of ``reports.challenge``.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.challenge import Challenge, challenge
from reports.laws import FEWEST_SIZES as FEWEST_TO_COMPARE
from reports.laws import FORMULAS, STEEPEST, Choice, Curve, Points, choose
from reports.rows import CENSORED, FINISHED, each

PHASES = {
    "generate_s": "generate",
    "build_s": "build",
    "compile_s": "compile",
    "solve_s": "solve",
    "certify_s": "certify",
    "total_s": "total",
}
# The total over the reference workload's time, as measured beside each run.
NORMALISED = "total_ref"
MEASURES = {**PHASES, NORMALISED: "normalised total", "peak_mb": "peak memory", "nodes": "nodes"}
UNITS = {NORMALISED: "reference workloads", "peak_mb": "MB", "nodes": "nodes"}  # the others: s
FEWEST_SIZES = 3
NARROW = 0.5  # width of an exponent's interval up to which one whole power inside it is named as the law
_LAWS = ("constant", "linear", "quadratic", "cubic")
_COURSE = tuple(name.removesuffix("_s") for name in PHASES if name != "total_s")


@dataclass(frozen=True)
class Fit:
    """The growth law of one measure on one growth curve, or the reason why there is none.

    ``law`` says it in words, ``chosen`` names the formula. ``curve`` is that of the law chosen, of the
    general law where the choice is undecided. ``low`` and ``high`` bound the exponent of the growing part
    with 95 % confidence, whatever the constant part. ``held`` are the laws that passed both comparisons, by
    AICc (``choice``) and by larger sizes (``challenge``). ``n_runs`` runs with a value, at ``n_sizes`` sizes,
    and ``n_censored`` with a lower limit entered; ``n_other`` did not.
    """

    series: str
    measure: str
    n_sizes: int
    n_runs: int
    n_censored: int
    n_other: int
    law: str
    chosen: str = ""
    curve: Curve | None = None
    low: float = math.nan
    high: float = math.nan
    choice: Choice | None = None
    challenge: Challenge | None = None
    held: tuple[str, ...] = ()

    @property
    def fitted(self) -> bool:
        return self.curve is not None

    @property
    def exponent(self) -> float:
        """Of the growing part; NaN where the law chosen has none."""
        return self.curve.exponent if self.curve is not None and _has_exponent(self.curve) else math.nan

    @property
    def constant(self) -> float:
        return self.curve.constant if self.curve is not None else math.nan

    @property
    def has_constant(self) -> bool:
        return self.constant > 0 and self.choice is not None and "power" not in self.choice.laws

    @property
    def interval_text(self) -> str:
        """The 95 % interval of the exponent; an end at the steepest law tried is open."""
        return _ends(self.low, self.high)

    @property
    def power_text(self) -> str:
        """The power law's exponent with its interval, whether or not that law describes the points."""
        if self.choice is None:
            return ""
        return f"{_fixed(self.choice.power.exponent)} {_ends(self.choice.power_low, self.choice.power_high)}"

    @property
    def exponent_text(self) -> str:
        """The growth with its interval, above its constant part if it has one, or that there is no fit."""
        if self.curve is None:
            return "no fit"
        above = f" above {amount(self.constant, self.measure)}" if self.has_constant else ""
        if not self.held:
            above += " (refuted by larger sizes)"
        elif "exponential" in self.held and len(self.held) > 1:
            above += " or exponentially"
        if self.curve.law == "exponential":
            return f"exp({self.curve.exponent:.2g} N)"
        if self.curve.law == "n log n":
            return f"N log N{above} (as a power {self.interval_text})"
        return f"N^{_fixed(self.exponent)} {self.interval_text}{above}"

    def at(self, n: np.ndarray) -> np.ndarray:
        """The fitted curve at sizes ``n``, in the measure's unit."""
        if self.curve is None:
            raise ValueError(f"{self.series}, {self.measure}: {self.law}")
        return self.curve.at(n)


def _has_exponent(curve: Curve) -> bool:
    return curve.law not in ("n log n", "exponential")


def _ends(low: float, high: float) -> str:
    return f"[{_fixed(low)}, {_fixed(high) if high < STEEPEST else f'> {STEEPEST:.0f}'}]"


def _fixed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no negative zero


def amount(value: float, measure: str) -> str:
    """A value of a measure with its unit, to two or three figures."""
    unit = UNITS.get(measure, "s")
    return f"{value:.0f} MB" if unit == "MB" else f"{value:.2g} {unit}"


def fit_growth(rows: pd.DataFrame, measures: Iterable[str] = tuple(MEASURES)) -> list[Fit]:
    """A fit for every growth curve and measure; ``rows`` as in ``Results.rows``."""
    return [
        fit_measure(group, str(series), measure)
        for series, group in rows.groupby("series", sort=False)
        for measure in measures
    ]


def fit_measure(group: pd.DataFrame, series: str, measure: str) -> Fit:
    """Fit one measure of one growth curve; the runs of one instance together weigh as one."""
    at = observed(group, measure)
    seen = ~at.is_limit
    n_sizes, n_seen = len(np.unique(at.n[seen])), int(seen.sum())
    about = (series, measure, n_sizes, n_seen, int(at.is_limit.sum()), len(group) - len(at.n))
    if n_sizes < FEWEST_SIZES:
        return Fit(*about, f"no fit: {n_sizes} of at least {FEWEST_SIZES} sizes finished")
    choice, trial = choose(at), challenge(at)
    held = _held(choice, trial)
    chosen, law = _in_words(choice, held, measure, n_sizes, at.n_instances)
    one = held[0] if len(held) == 1 else "general"
    curve = choice.rivals.get(one, choice.curve)
    return Fit(*about, law, chosen, curve, choice.low, choice.high, choice, trial, held)


def _held(choice: Choice, trial: Challenge | None) -> tuple[str, ...]:
    """The laws that AICc supports and the larger sizes did not refute; none where they refute them all."""
    return tuple(law for law in choice.laws if trial is None or law not in trial.refuted)


def _in_words(
    choice: Choice, held: tuple[str, ...], measure: str, n_sizes: int, n_instances: int
) -> tuple[str, str]:
    """The formula chosen and the growth it means."""
    growth = growth_word(choice.low, choice.high)
    if not choice.is_compared:
        few = f"{n_sizes} sizes" if n_sizes < FEWEST_TO_COMPARE else f"{n_instances} instances"
        return "b N^p only", f"{growth} if there is no constant part, which {few} cannot tell"
    if not held:
        best = " or ".join(FORMULAS[law] for law in choice.laws)
        return (
            f"undecided: {best} fits best, yet misses larger sizes",
            "undecided: no law holds beyond its sizes",
        )
    formulas = " or ".join(dict.fromkeys(FORMULAS[law] for law in held))
    if len(held) > 1:
        formulas = f"undecided: {formulas}"
    if "exponential" in held:
        others = growth.removeprefix("undecided: ")
        return formulas, "exponential" if len(held) == 1 else f"undecided: {others}, or exponential"
    if held == ("n log n",):
        growth = "as N log N"
    curve = choice.rivals[held[0]] if len(held) == 1 else choice.curve
    if not curve.constant > 0 or held == ("power",):
        return formulas, growth
    if "power" in held:
        return formulas, f"{growth}, with or without a constant part"
    return formulas, f"{growth} above a constant {amount(curve.constant, measure)}"


def observed(group: pd.DataFrame, measure: str) -> Points:
    """What the runs tell of a measure. Of a run that a limit stopped, the phases before that are values.

    The phase in which it was stopped, the total, the memory and the nodes are lower limits; what a phase
    after it lasted says nothing. Runs that failed say nothing. Nodes count the root. Raises ValueError for a
    measure that is not to be fitted.
    """
    if measure not in MEASURES:
        raise ValueError(f"{measure} is not a time, memory or number of nodes; counts are never fitted")
    found = []
    for row in each(group):
        value, is_limit = _told(row, measure)
        if value is not None and math.isfinite(value) and value > 0:
            name = row.instance or f"{row.n_adns} {row.seed}"
            found.append((float(row.n_adns), float(value), is_limit, f"{row.n_adns} {row.seed} {name}"))
    n, y, limits, names = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [], [])
    codes = pd.factorize(pd.Series(names, dtype="object"))[0]
    return Points(np.array(n), np.array(y), np.array(limits, dtype=bool), codes)


def _told(row: object, measure: str) -> tuple[float | None, bool]:
    """A run's value of a measure, and whether it is a lower limit only."""
    status = getattr(row, "status", "")
    if measure == NORMALISED:
        value, is_limit = _told(row, "total_s")
        reference = _known(row, "reference_s")
        return (value / reference if value and reference else None), is_limit
    value = _known(row, measure)
    if measure == "nodes" and value is not None:
        value += 1
    if status in FINISHED:
        return value, False
    if status not in CENSORED:
        return None, False
    if measure in ("peak_mb", "nodes"):
        return value, True
    spent = [_known(row, f"{phase}_s") for phase in _COURSE]
    stopped_in = _stopped_in(row, spent)
    if spent[stopped_in] is None and status == "time_limit":
        spent[stopped_in] = _known(row, "time_limit_s")
    if measure == "total_s":
        known = sum(seconds for seconds in spent if seconds is not None)
        return (value if value is not None else known or None), True
    place = _COURSE.index(measure.removesuffix("_s"))
    return (spent[place] if place <= stopped_in else None), place == stopped_in


def _stopped_in(row: object, spent: list[float | None]) -> int:
    """The place in a run's course at which a limit stopped it: as told, else the first without a time."""
    told = getattr(row, "stopped_in", "")
    if told in _COURSE:
        return _COURSE.index(told)
    return next((place for place, seconds in enumerate(spent) if seconds is None), _COURSE.index("solve"))


def _known(row: object, name: str) -> float | None:
    value = getattr(row, name)
    return None if pd.isna(value) else float(value)


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
