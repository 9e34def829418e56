"""Regression with lower limits among the observations, many weightings at once.

The Tobit model (Tobin 1958) in the form of Olsen (1978), ``gamma = beta / sigma`` and ``h = 1 / sigma``, in
which its log-likelihood is concave, so that Newton's method finds the one maximum. Of a value observed the
density counts, of a lower limit the probability that the value lies above it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

STEPS = 60
_RIDGE = 1e-10
_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Tobit:
    """The maximum: ``beta`` (..., k), ``sigma`` (...) and the log-likelihood (...)."""

    beta: np.ndarray
    sigma: np.ndarray
    likelihood: np.ndarray


def tobit(
    x: np.ndarray,
    y: np.ndarray,
    is_limit: np.ndarray,
    weights: np.ndarray,
    blur: float = 0.0,
    close: float = 1e-8,
) -> Tobit:
    """Fit ``y = x beta + sigma e`` with standard normal ``e``.

    Shapes: ``x`` (..., n, k), ``y`` and ``weights`` (..., n), broadcast together; ``is_limit`` (n). ``blur``
    is the standard deviation of a further error in every observed value, so that an exact fit has a sigma.
    ``close`` is the relative step at which the search ends.
    """
    weights, y = np.broadcast_arrays(weights, y)
    x = np.broadcast_to(x, (*y.shape, x.shape[-1]))
    level = y.mean(axis=-1, keepdims=True)
    start = _least_squares(x, y - level, weights, ~is_limit, blur)
    beta, sigma = _newton(x, y - level, is_limit, weights, blur, close, *start) if is_limit.any() else start
    beta = beta.copy()
    beta[..., 0] += level[..., 0]  # the first column of x is the constant
    return Tobit(beta, sigma, likelihood(x, y, is_limit, weights, blur, beta, sigma))


def likelihood(
    x: np.ndarray,
    y: np.ndarray,
    is_limit: np.ndarray,
    weights: np.ndarray,
    blur: float,
    beta: np.ndarray,
    sigma: np.ndarray,
) -> np.ndarray:
    """The weighted log-likelihood of the parameters."""
    u = ((x @ beta[..., None])[..., 0] - y) / sigma[..., None]
    spread = (blur / sigma[..., None]) ** 2
    seen = -0.5 * (u**2 + spread + _LOG_2PI) - np.log(sigma)[..., None]
    return np.asarray((weights * np.where(is_limit, log_ndtr(u), seen)).sum(axis=-1))


def _least_squares(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, is_seen: np.ndarray, blur: float
) -> tuple[np.ndarray, np.ndarray]:
    """All values taken as observed: the answer without limits, else where to start."""
    weighted = x * weights[..., None]
    gram = _ridged(np.swapaxes(weighted, -1, -2) @ x)
    beta = np.linalg.solve(gram, (np.swapaxes(weighted, -1, -2) @ y[..., None]))[..., 0]
    errors = y - (x @ beta[..., None])[..., 0]
    mean = (weights * errors**2).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1e-300)
    return beta, np.sqrt(mean + max(blur, 1e-12) ** 2)


def _newton(
    x: np.ndarray,
    y: np.ndarray,
    is_limit: np.ndarray,
    weights: np.ndarray,
    blur: float,
    close: float,
    beta: np.ndarray,
    sigma: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    z = np.concatenate([x, -y[..., None]], axis=-1)
    d = np.concatenate([beta, np.ones_like(sigma)[..., None]], axis=-1) / sigma[..., None]
    # What is observed enters by its moments alone; only the limits are looked at in every step.
    seen, above = z[..., ~is_limit, :], z[..., is_limit, :]
    gram = np.swapaxes(seen * weights[..., ~is_limit, None], -1, -2) @ seen
    gram[..., -1, -1] += blur**2 * weights[..., ~is_limit].sum(axis=-1)
    n_seen, weights = weights[..., ~is_limit].sum(axis=-1), weights[..., is_limit]
    for _ in range(STEPS):
        u = (above @ d[..., None])[..., 0]
        hazard = np.exp(-0.5 * u**2 - log_ndtr(u)) / np.sqrt(2 * np.pi)
        h = d[..., -1]
        gradient = (np.swapaxes(above, -1, -2) @ (weights * hazard)[..., None] - gram @ d[..., None])[..., 0]
        gradient[..., -1] += n_seen / h
        curvature = gram + np.swapaxes(above, -1, -2) @ (above * (weights * hazard * (u + hazard))[..., None])
        curvature[..., -1, -1] += n_seen / h**2
        step = np.linalg.solve(_ridged(curvature), gradient[..., None])[..., 0]
        fall = np.maximum(-step[..., -1], 1e-300)
        shrink = np.minimum(1.0, 0.7 * h / fall)  # h stays positive
        d = d + shrink[..., None] * step
        if (np.abs(step) <= close * (1 + np.abs(d).max(axis=-1, keepdims=True))).all():
            break
    return d[..., :-1] / d[..., -1:], 1 / d[..., -1]


def _ridged(matrix: np.ndarray) -> np.ndarray:
    """Made regular where a weighting leaves fewer sizes than parameters."""
    size = matrix.shape[-1]
    trace = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None]
    return np.asarray(matrix + (_RIDGE * trace + 1e-300) * np.eye(size))
