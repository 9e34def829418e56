"""Rival laws of how a time, memory or number of nodes y grows with the number of ADNs N.

Each law is fitted in log space, so that errors count relative to y itself, by maximum likelihood with the
runs that a limit stopped as lower limits (:mod:`reports.tobit`). The laws are compared by the corrected
Akaike criterion AICc (Hurvich and Tsai 1989; Burnham and Anderson 2002). Intervals come from a bootstrap that
draws instances, each with all its runs; they are percentiles, widened for few instances as Hesterberg (2015,
section 5.2) does. ``reports.challenge`` compares the laws a second time, by what they say of larger sizes.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats
from scipy.special import expit, logit

from reports.tobit import tobit

LAWS = ("power", "linear", "n log n", "quadratic", "general", "exponential")
FORMULAS = {
    "power": "b N^p",
    "linear": "a + b N",
    "n log n": "a + b N log N",
    "quadratic": "a + b N^2",
    "general": "a + b N^p",
    "exponential": "b exp(c N)",
}
FEWEST_SIZES = 4  # three parameters pass through any three sizes
FEWEST_POINTS = 8  # instances, for a bootstrap and for laws to be compared
STEEPEST = 6.0  # the exponent is sought from 0 to here
UNDECIDED = 2.0  # laws whose AICc differ by less are not told apart
RESOLUTION = 1e-4  # relative error of every value, so that an exact fit does not make its rivals hopeless
CONFIDENCE = 0.95
DRAWS = 400
DRAWS_WITH_LIMITS = 150  # of the general law, whose likelihood is then sought anew at every place of a grid
_FIXED = {"linear": 1.0, "quadratic": 2.0}
_FARTHEST_SHARES = (-14.0, 7.0)  # logits of the constant part's share of y at the largest N


@dataclass(frozen=True)
class Points:
    """What a law is fitted to: one entry a run, ``y`` a value or, where ``is_limit``, a lower limit.

    ``instance`` numbers the instances; the runs of one share its weight of 1.
    """

    n: np.ndarray
    y: np.ndarray
    is_limit: np.ndarray
    instance: np.ndarray

    @property
    def n_instances(self) -> int:
        return len(np.unique(self.instance))

    @property
    def weights(self) -> np.ndarray:
        """The weight of each run."""
        _, which, counts = np.unique(self.instance, return_inverse=True, return_counts=True)
        return np.asarray(1.0 / counts[which])

    def at(self, chosen: np.ndarray) -> "Points":
        """Some of the runs."""
        return Points(self.n[chosen], self.y[chosen], self.is_limit[chosen], self.instance[chosen])

    def draws(self, count: int, fewest_sizes: int) -> np.ndarray:
        """Weights (count, n) of bootstrap samples of the instances, each with values at that many sizes.

        Drawn with a fixed seed: the same rows give the same report.
        """
        rng = np.random.default_rng(20260101)
        names, which = np.unique(self.instance, return_inverse=True)
        kept = np.zeros((0, len(self.n)))
        while len(kept) < count:
            times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
            weights = times[:, which] * self.weights
            there = [(weights[:, (self.n == n) & ~self.is_limit] > 0).any(axis=1) for n in np.unique(self.n)]
            enough = np.sum(there, axis=0) >= fewest_sizes
            kept = np.concatenate([kept, weights[enough]])
        return kept[:count]


def points(n: np.ndarray, y: np.ndarray, is_limit: np.ndarray | None = None) -> Points:
    """Points with one run an instance."""
    limits = np.zeros(len(n), dtype=bool) if is_limit is None else is_limit
    return Points(np.asarray(n, dtype=float), np.asarray(y, dtype=float), limits, np.arange(len(n)))


@dataclass(frozen=True)
class Curves:
    """Curves of one law, one an entry: ``constant + scale * g(N)``, errors of ``sigma`` in log space.

    ``g`` is N to the exponent, N log N, or, for the exponential law, exp(exponent * N).
    """

    law: str
    constant: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    sigma: np.ndarray
    likelihood: np.ndarray

    def at(self, n: np.ndarray) -> np.ndarray:
        """Values (curves, sizes) at sizes ``n``, in the unit of y."""
        n = np.asarray(n, dtype=float)
        with np.errstate(over="ignore"):
            growing = _growing(self.law, n, self.exponent[:, None])
            return np.asarray(self.constant[:, None] + self.scale[:, None] * growing)


@dataclass(frozen=True)
class Curve:
    """One curve, as in :class:`Curves`."""

    law: str
    constant: float
    scale: float
    exponent: float
    sigma: float
    likelihood: float

    def at(self, n: np.ndarray) -> np.ndarray:
        """The curve at sizes ``n``, in the unit of y."""
        n = np.asarray(n, dtype=float)
        return np.asarray(self.constant + self.scale * _growing(self.law, n, np.asarray(self.exponent)))


def _growing(law: str, n: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    if law == "n log n":
        return np.asarray(n * np.log(n) + 0 * exponent)
    return np.asarray(np.exp(exponent * n) if law == "exponential" else n**exponent)


def fit(law: str, at: Points) -> Curve:
    """The law's most likely curve."""
    curves = fit_many(law, at, at.weights[None])
    return Curve(law, *(float(getattr(curves, name)[0]) for name in list(Curve.__annotations__)[1:]))


def fit_many(law: str, at: Points, weights: np.ndarray, near: Curve | None = None) -> Curves:
    """The law's most likely curve for each row of ``weights`` (m, n).

    With ``near``, the law's curve for all points, the constant part and the exponent are sought on grids that
    are fine about that curve's; without it, weighting by weighting, to full precision.
    """
    log_y = np.log(at.y)
    if law in ("power", "exponential"):
        growth = np.log(at.n) if law == "power" else at.n
        x = np.stack([np.ones(len(at.n)), growth], axis=-1)
        found = tobit(x, log_y, at.is_limit, weights, RESOLUTION)
        level, exponent = found.beta[..., 0], found.beta[..., 1]
        return Curves(law, np.zeros_like(level), np.exp(level), exponent, found.sigma, found.likelihood)
    if near is None:
        ones = [_sought(law, at, log_y, row) for row in weights]
        return Curves(law, *(np.array(column) for column in zip(*ones, strict=True)))
    shares = _shares(law, at, near)
    powers = _powers(near) if law == "general" else np.array([near.exponent])
    if at.is_limit.any():  # a likelihood to be maximised at every place of the grid
        shares, powers = shares[::3], powers[::3] if law == "general" else powers
    share, power = (grid.ravel() for grid in np.meshgrid(shares, powers, indexing="ij"))
    found_at = _location(law, at, log_y, share[:, None], power[:, None], weights, 1e-3)
    best = found_at[2].argmax(axis=1)
    level, sigma, likely = (part[np.arange(len(weights)), best] for part in found_at)
    return Curves(law, *_parts(law, at, level, share[best], power[best]), sigma, likely)


def _parts(
    law: str, at: Points, level: np.ndarray, share: np.ndarray, power: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Constant, scale and exponent from the level at the largest N and the constant part's share of it."""
    largest = _growing(law, np.asarray(at.n.max()), power)
    return np.exp(level) * share, np.exp(level) * (1 - share) / largest, power


def _offset(law: str, n: np.ndarray, share: np.ndarray, power: np.ndarray) -> np.ndarray:
    """The logarithm of the curve over its value at the largest N."""
    growing = _growing(law, n, power) / _growing(law, n.max(), power)
    return np.log(np.maximum(share + (1 - share) * growing, 1e-300))


def _location(
    law: str,
    at: Points,
    log_y: np.ndarray,
    share: np.ndarray,
    power: np.ndarray,
    weights: np.ndarray,
    close: float = 1e-8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level, sigma and likelihood (weightings, places) at places (places, 1) of share and power."""
    rest = log_y - _offset(law, at.n, share, power)  # (places, n)
    if at.is_limit.any():
        one = np.ones((len(at.n), 1))
        found = tobit(one, rest[None], at.is_limit, weights[:, None], RESOLUTION, close)
        return found.beta[..., 0], found.sigma, found.likelihood
    total = weights.sum(axis=1)[:, None]
    level = weights @ rest.T / total
    centre = rest.mean(axis=1)
    squares = weights @ ((rest - centre[:, None]) ** 2).T / total - (level - centre) ** 2
    sigma = np.sqrt(np.maximum(squares, 0.0) + RESOLUTION**2)
    return level, sigma, -total * (np.log(sigma) + 0.5 * np.log(2 * np.pi) + 0.5)


def _sought(law: str, at: Points, log_y: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    """Constant, scale, exponent, sigma and likelihood of the best curve, by a grid and a local search."""

    def located(share: float, power: float) -> tuple[float, float, float]:
        where = np.array([[share]]), np.array([[power]])
        level, sigma, likely = _location(law, at, log_y, *where, weights[None])
        return float(level[0, 0]), float(sigma[0, 0]), float(likely[0, 0])

    is_general = law == "general"
    powers = np.linspace(0.0, STEEPEST, 25) if is_general else np.array([_FIXED.get(law, 1.0)])
    grid = np.linspace(*_FARTHEST_SHARES, 43)
    place, power = (part.ravel() for part in np.meshgrid(grid, powers, indexing="ij"))
    likely = _location(law, at, log_y, expit(place)[:, None], power[:, None], weights[None])[2][0]
    best = int(likely.argmax())
    start = np.array([place[best], power[best]][: 1 + is_general])
    bounds = [_FARTHEST_SHARES, (0.0, STEEPEST)][: 1 + is_general]

    def cost(where: np.ndarray) -> float:
        return -located(float(expit(where[0])), float(where[1]) if is_general else float(powers[0]))[2]

    options = {"xatol": 1e-7, "fatol": 1e-9, "maxiter": 400}
    found = optimize.minimize(cost, start, method="Nelder-Mead", bounds=bounds, options=options)
    places = [(float(expit(found.x[0])), float(found.x[1]) if is_general else float(powers[0]))]
    if law != "n log n":  # which would be 0 at N = 1
        places.append((0.0, places[0][1]))
    if is_general:
        without = fit_many("power", at, weights[None])
        places[-1] = (0.0, float(np.clip(without.exponent[0], 0.0, STEEPEST)))
    # A constant part that explains nothing is none.
    chosen, at_power = max(places, key=lambda place: located(*place)[2] + 1e-6 * (place[0] == 0))
    level, sigma, best_likely = located(chosen, at_power)
    parts = _parts(law, at, *(np.array(value) for value in (level, chosen, at_power)))
    return (*(float(part) for part in parts), sigma, best_likely)


def _shares(law: str, at: Points, near: Curve) -> np.ndarray:
    """Shares of the constant part at the largest N: none, and about that of a curve, ever wider apart."""
    share = near.constant / near.at(np.array([at.n.max()]))[0]
    centre = float(np.clip(logit(share), *_FARTHEST_SHARES)) if share > 0 else -7.0
    steps = np.concatenate([[0.0], np.geomspace(0.01, 15, 34)])
    grid = np.unique(np.clip(np.concatenate([centre - steps, centre + steps]), *_FARTHEST_SHARES))
    return np.concatenate([[] if law == "n log n" else [0.0], expit(grid)])


def _powers(near: Curve) -> np.ndarray:
    """Exponents about that of a curve, ever wider apart, with that of the curve among them."""
    steps = np.concatenate([[0.0], np.geomspace(0.003, STEEPEST, 34)])
    around = np.concatenate([near.exponent - steps[:0:-1], near.exponent + steps])
    return np.unique(np.clip(around, 0.0, STEEPEST))


def interval(
    values: np.ndarray, n_instances: int, n_parameters: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The percentile interval of bootstrap ``values``, widened for few instances.

    Percentiles at ``Phi(-sqrt(n / (n - k)) t)`` instead of ``Phi(-z)``, t Student's with n - k degrees of
    freedom: as wide as the classical interval for a mean (k = 1: Hesterberg 2015, equation 5).
    """
    freedom = max(n_instances - n_parameters, 1)
    quantile = stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(n_instances / freedom)
    tail = float(stats.norm.cdf(-quantile))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Choice:
    """The laws that the points support, the curve to show and the 95 % interval of its exponent.

    ``laws`` are those whose AICc is close to the least; with more than one the choice is undecided. ``curve``
    is that of the one law, or of the general law. ``low`` and ``high`` bound the general law's exponent,
    which allows for any constant part. ``power`` is the power law's curve with the interval of its exponent.
    ``scores`` are the AICc above the least, ``rivals`` all curves. ``is_compared`` is False where only the
    power law was fitted.
    """

    laws: tuple[str, ...]
    curve: Curve
    low: float
    high: float
    power: Curve
    power_low: float
    power_high: float
    scores: dict[str, float]
    rivals: dict[str, Curve]
    is_compared: bool

    @property
    def power_exponent(self) -> float:
        return self.power.exponent


def choose(at: Points) -> Choice:
    """The growth law of values at three sizes or more.

    Only the power law is fitted where fewer than four sizes or eight instances cannot show a constant part,
    and where not even the power law shows growth: a constant part needs a growing one beside it.
    """
    power = fit("power", at)
    n_sizes = len(np.unique(at.n[~at.is_limit]))
    if n_sizes < FEWEST_SIZES or at.n_instances < FEWEST_POINTS:
        low, high = _wald(at)
        return Choice(("power",), power, low, high, power, low, high, {}, {"power": power}, False)
    draws = at.draws(DRAWS, fewest_sizes=3)
    exponents = fit_many("power", at, draws).exponent
    power_low, power_high = interval(exponents, at.n_instances, 2)
    if power_low <= 0:
        own = (power, power_low, power_high)
        return Choice(("power",), power, power_low, power_high, *own, {}, {"power": power}, True)
    rivals = {law: power if law == "power" else fit(law, at) for law in LAWS}
    laws, scores = _supported(rivals, at.n_instances)
    general = rivals["general"]
    curve = rivals[laws[0]] if len(laws) == 1 else general
    some = draws[:DRAWS_WITH_LIMITS] if at.is_limit.any() else draws
    low, high = interval(fit_many("general", at, some, general).exponent, at.n_instances, 3)
    return Choice(laws, curve, low, high, power, power_low, power_high, scores, rivals, True)


def _wald(at: Points) -> tuple[float, float]:
    """The interval of the power law's exponent where instances are too few to be drawn from.

    From the curvature of the likelihood, with Student's t: without lower limits, that of least squares.
    """
    freedom = max(at.n_instances - 2, 1)
    power = fit("power", at)
    log_n, weights = np.log(at.n), at.weights
    x = np.stack([np.ones(len(log_n)), log_n], axis=-1)
    u = (np.log(power.scale) + power.exponent * log_n - np.log(at.y)) / power.sigma
    hazard = stats.norm.pdf(u) / np.maximum(stats.norm.cdf(u), 1e-300)
    bend = weights * np.where(at.is_limit, hazard * (u + hazard), 1.0)
    information = x.T @ (x * bend[:, None]) / power.sigma**2
    spread = np.sqrt(np.linalg.inv(information)[1, 1] * at.n_instances / freedom)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * spread)
    return power.exponent - reach, power.exponent + reach


def _supported(rivals: dict[str, Curve], n_points: int) -> tuple[tuple[str, ...], dict[str, float]]:
    """The laws whose AICc is within ``UNDECIDED`` of the least, and every law's AICc above the least.

    With few points AICc shuns the third parameter however badly the others fit; so special cases that a
    likelihood-ratio test rejects against the general law do not stand without it.
    """

    def aicc(law: str) -> float:
        parameters = 4 if law == "general" else 3  # sigma is one of them
        spare = n_points - parameters - 1
        return -2 * rivals[law].likelihood + 2 * parameters * (1 + (parameters + 1) / spare)

    # Without a constant part the linear and the quadratic law are the power law.
    known = {law: aicc(law) for law in rivals if law not in _FIXED or rivals[law].constant > 0}
    least = min(known.values())
    laws = [law for law, score in known.items() if score - least <= UNDECIDED]
    if "general" not in laws:
        best = max(rivals[law].likelihood for law in laws)
        ratio = np.expm1(2 * (rivals["general"].likelihood - best) / n_points) * (n_points - 3)
        if ratio > stats.f.ppf(CONFIDENCE, 1, n_points - 3):
            laws.append("general")
    return tuple(laws), {law: score - least for law, score in known.items()}
