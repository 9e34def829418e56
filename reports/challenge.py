"""Laws fitted to the smaller sizes, challenged by the larger ones that were held out.

As the empirical scaling analyser does (Mu and Hoos 2015): each law says in which interval the geometric mean
of the larger sizes will lie, before it has seen them; a law whose interval misses one is refuted. A law may
fit the sizes measured best and still say nothing of larger ones.
"""

from dataclasses import dataclass

import numpy as np

from reports.laws import (
    CONFIDENCE,
    DRAWS,
    DRAWS_WITH_LIMITS,
    FEWEST_POINTS,
    FEWEST_SIZES,
    LAWS,
    Curve,
    Points,
    fit,
    fit_many,
    interval,
)

FEWEST_HELD = 2


@dataclass(frozen=True)
class Trial:
    """What one law, fitted to the smaller sizes, says of those held out: a value and an interval at each.

    ``meets`` says at which sizes the interval holds what was measured; ``factor`` is the typical factor
    between value and measurement, NaN where only lower limits were measured.
    """

    curve: Curve
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    meets: np.ndarray
    factor: float


@dataclass(frozen=True)
class Challenge:
    """The trials of all laws. ``measured`` are geometric means at ``held`` sizes, or lower limits of them."""

    fitted: tuple[int, ...]
    held: tuple[int, ...]
    measured: np.ndarray
    is_limit: np.ndarray
    trials: dict[str, Trial]

    @property
    def refuted(self) -> tuple[str, ...]:
        return tuple(law for law, trial in self.trials.items() if not trial.meets.all())

    @property
    def standing(self) -> tuple[str, ...]:
        return tuple(law for law, trial in self.trials.items() if trial.meets.all())


def challenge(at: Points) -> Challenge | None:
    """Hold out the largest third of the sizes, at least two; None where too little is left to fit.

    The intervals hold the means of all sizes held out together with 95 % confidence (Bonferroni). They allow
    for the curve's uncertainty (bootstrap over instances) and for the scatter of so many instances' mean.
    """
    sizes = np.unique(at.n)
    n_held = max(FEWEST_HELD, round(len(sizes) / 3))
    small = at.at(at.n < sizes[-n_held])
    n_small = len(np.unique(small.n[~small.is_limit])) if len(sizes) > n_held else 0
    if n_small < FEWEST_SIZES or small.n_instances < FEWEST_POINTS:
        return None
    held = sizes[-n_held:]
    measured, is_limit, numbers = (
        np.array(column) for column in zip(*(_mean(at, n) for n in held), strict=True)
    )
    draws = small.draws(DRAWS_WITH_LIMITS if small.is_limit.any() else DRAWS, fewest_sizes=3)
    noise = np.random.default_rng(20260102).standard_normal((len(draws), n_held)) / np.sqrt(numbers)
    trials = {law: _trial(law, small, draws, held, measured, is_limit, noise) for law in LAWS}
    fitted = tuple(int(n) for n in sizes[:-n_held])
    return Challenge(fitted, tuple(int(n) for n in held), measured, is_limit, trials)


def _mean(at: Points, n: float) -> tuple[float, bool, int]:
    """The geometric mean over the instances of a size, whether it is a lower limit only, and their number."""
    here = at.at(at.n == n)
    mean = float(np.exp(np.average(np.log(here.y), weights=here.weights)))
    return mean, bool(here.is_limit.any()), here.n_instances


def _trial(
    law: str,
    small: Points,
    draws: np.ndarray,
    held: np.ndarray,
    measured: np.ndarray,
    is_limit: np.ndarray,
    noise: np.ndarray,
) -> Trial:
    curve = fit(law, small)
    curves = fit_many(law, small, draws, curve)
    n_parameters = 3 if law == "general" else 2
    spread = np.sqrt(small.n_instances / (small.n_instances - n_parameters))
    with np.errstate(divide="ignore"):
        told = np.log(curves.at(held)) + spread * curves.sigma[:, None] * noise
    level = 1 - (1 - CONFIDENCE) / len(held)
    ends = [interval(column, small.n_instances, n_parameters, level) for column in told.T]
    low, high = np.exp(np.array(ends).T)
    value = curve.at(held)
    meets = (measured <= high) & (is_limit | (measured >= low))
    errors = np.log(value / measured)[~is_limit]
    factor = float(np.exp(np.sqrt(np.mean(errors**2)))) if len(errors) else float("nan")
    return Trial(curve, value, low, high, meets, factor)
