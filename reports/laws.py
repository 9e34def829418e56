"""Rival laws of how a time or a memory y grows with the number of ADNs N, and the choice among them.

The general law is ``y = a + b N**p`` with a constant part ``a >= 0``. The power law (``a = 0``) and the
linear law (``p = 1``) are its special cases. All are fitted by least squares in log space, so that errors
count relative to the time itself, and compared by the corrected Akaike criterion AICc (Hurvich and Tsai,
1989; Burnham and Anderson, 2002). The interval of ``p`` is that of the general law's profile likelihood:
it allows for any constant part, whichever law is chosen.
"""

from dataclasses import dataclass

import numpy as np
import statsmodels.api as sm
from scipy import optimize, stats

FEWEST_SIZES = 4  # three parameters pass through any three sizes
FEWEST_POINTS = 5  # the AICc of a law with two parameters and a variance needs one point more than four
STEEPEST = 6.0  # the exponent is sought from 0 to here
UNDECIDED = 2.0  # laws whose AICc differ by less are not told apart
RESOLUTION = 1e-4  # relative error below which a fit counts as exact
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Curve:
    """``y = constant + scale * N**exponent`` and the sum of its squared errors in log space."""

    constant: float
    scale: float
    exponent: float
    squares: float

    def at(self, n: np.ndarray) -> np.ndarray:
        """The curve at sizes ``n``, in the unit of y."""
        return np.asarray(self.constant + self.scale * np.asarray(n, dtype=float) ** self.exponent)


@dataclass(frozen=True)
class Choice:
    """The laws that the points support, the curve to show and the 95 % interval of its exponent.

    ``laws`` holds one or more of power, linear and general; with more than one the choice is undecided
    and ``curve`` is the general law's. ``power_exponent`` is that of the power law, for comparison.
    ``is_compared`` is False where only the power law was fitted.
    """

    laws: tuple[str, ...]
    curve: Curve
    low: float
    high: float
    power_exponent: float
    is_compared: bool


def choose(n: np.ndarray, y: np.ndarray) -> Choice:
    """The growth law of positive values ``y`` at sizes ``n``, one point an instance, three sizes or more.

    Only the power law is fitted where fewer than four sizes or five points cannot show a constant part,
    and where not even the power law shows growth: a constant part needs a growing one beside it.
    """
    power, low, high = _power_law(n, y)
    if len(np.unique(n)) < FEWEST_SIZES or len(n) < FEWEST_POINTS:
        return Choice(("power",), power, low, high, power.exponent, False)
    if low <= 0:
        return Choice(("power",), power, low, high, power.exponent, True)
    rivals = {"power": power, "linear": _with_exponent(n, y, 1.0), "general": _general_law(n, y)}
    laws = _supported(rivals, len(n))
    curve = rivals[laws[0] if len(laws) == 1 else "general"]
    low, high = _interval(n, y, rivals["general"])
    return Choice(laws, curve, low, high, power.exponent, True)


def _power_law(n: np.ndarray, y: np.ndarray) -> tuple[Curve, float, float]:
    """``y = b N**p`` with the interval of p: a straight line through the logarithms."""
    outcome = sm.OLS(np.log(y), sm.add_constant(np.log(n))).fit()
    intercept, exponent = (float(value) for value in outcome.params)
    low, high = (float(value) for value in outcome.conf_int(alpha=1 - CONFIDENCE)[1])
    return Curve(0.0, float(np.exp(intercept)), exponent, float(outcome.ssr)), low, high


def _with_exponent(n: np.ndarray, y: np.ndarray, exponent: float) -> Curve:
    """The best ``y = a + b N**exponent``: one search, for the share of ``a`` in y at the largest N."""
    growing, log_y = (n / n.max()) ** exponent, np.log(y)

    def errors(share: float) -> np.ndarray:
        return np.asarray(log_y - np.log(share + (1 - share) * growing))

    def squares(share: float) -> float:  # the level of y is the mean error, so it needs no search
        return float(len(y) * errors(share).var())

    grid = np.linspace(0.0, 0.999, 28)
    best = int(np.argmin([squares(share) for share in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    share = 0.0 if squares(0.0) <= found.fun * (1 + 1e-9) else float(found.x)
    level = float(np.exp(errors(share).mean()))
    scale = level * (1 - share) / float(n.max()) ** exponent
    return Curve(level * share, scale, exponent, squares(share))


def _general_law(n: np.ndarray, y: np.ndarray) -> Curve:
    """The best ``y = a + b N**p`` over ``p`` from 0 to ``STEEPEST``."""

    def squares(exponent: float) -> float:
        return _with_exponent(n, y, exponent).squares

    grid = np.linspace(0.0, STEEPEST, 25)
    best = int(np.argmin([squares(exponent) for exponent in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    return _with_exponent(n, y, float(found.x))


def _inexact(curve: Curve, n_points: int) -> float:
    """Squared errors, never below those of the clock: exact fits would make every rival hopeless."""
    return curve.squares + n_points * RESOLUTION**2


def _limit(general: Curve, n_points: int) -> float:
    """Squared errors up to which a special case of the general law is not rejected (F test)."""
    freedom = n_points - 3
    return _inexact(general, n_points) * (1 + float(stats.f.ppf(CONFIDENCE, 1, freedom)) / freedom)


def _supported(rivals: dict[str, Curve], n_points: int) -> tuple[str, ...]:
    """The laws whose AICc is within ``UNDECIDED`` of the least.

    With few points AICc shuns the third parameter however badly the others fit; a special case that the
    F test rejects therefore does not stand alone.
    """

    def aicc(name: str) -> float:
        parameters = 4 if name == "general" else 3  # the variance is one of them
        spare = n_points - parameters - 1
        if spare <= 0:
            return np.inf
        correction = 2 * parameters * (parameters + 1) / spare
        fit = n_points * np.log(_inexact(rivals[name], n_points) / n_points)
        return float(fit + 2 * parameters + correction)

    scores = {name: aicc(name) for name in rivals if name != "linear" or rivals[name].constant > 0}
    least = min(scores.values())
    laws = [name for name, score in scores.items() if score - least <= UNDECIDED]
    if laws != ["general"] and all(
        _inexact(rivals[name], n_points) > _limit(rivals["general"], n_points) for name in laws
    ):
        laws = [*(name for name in laws if name != "general"), "general"]
    return tuple(laws)


def _interval(n: np.ndarray, y: np.ndarray, general: Curve) -> tuple[float, float]:
    """The exponents about the best one that the F test does not reject, whatever the constant part."""
    limit = _limit(general, len(n))

    def excess(exponent: float) -> float:
        return _inexact(_with_exponent(n, y, exponent), len(n)) - limit

    ends = []
    for farthest in (0.0, STEEPEST):
        inside, step = general.exponent, 1e-3
        while True:
            outside = general.exponent + float(np.sign(farthest - general.exponent)) * step
            outside = float(np.clip(outside, 0.0, STEEPEST))
            if excess(outside) > 0:
                ends.append(float(optimize.brentq(excess, inside, outside, xtol=1e-6)))
                break
            if outside == farthest or inside == outside:
                ends.append(farthest)
                break
            inside, step = outside, 2 * step
    return ends[0], ends[1]
