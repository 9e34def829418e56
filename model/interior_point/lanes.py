"""Arithmetic on four numbers side by side, one a program, which processors do as one.

A vector over the programs is (length, 4), and here flat; ``i`` counts its rows. Indices are unsigned: Numba
would else ask of each whether it counts from the end.
"""

from typing import Any

import numba
import numpy as np

from model.interior_point import LANES

compiled = numba.njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
inlined = numba.njit(inline="always")

ZERO = 0.0, 0.0, 0.0, 0.0


@compiled
def get(x: Any, i: Any) -> Any:
    """Row i of a flat vector."""
    at = np.uint64(LANES) * np.uint64(i)
    return x[at], x[at + np.uint64(1)], x[at + np.uint64(2)], x[at + np.uint64(3)]


@compiled
def put(x: Any, i: Any, v: Any) -> None:
    """Set row i of a flat vector."""
    at = np.uint64(LANES) * np.uint64(i)
    x[at], x[at + np.uint64(1)], x[at + np.uint64(2)], x[at + np.uint64(3)] = v


@compiled
def add(a: Any, b: Any) -> Any:
    """``a + b``."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@compiled
def subtract(a: Any, b: Any) -> Any:
    """``a - b``."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]


@compiled
def multiply(a: Any, b: Any) -> Any:
    """``a b``."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]


@compiled
def divide(a: Any, b: Any) -> Any:
    """``a / b``."""
    return a[0] / b[0], a[1] / b[1], a[2] / b[2], a[3] / b[3]


@compiled
def shifted(a: Any, f: float) -> Any:
    """``a + f``."""
    return a[0] + f, a[1] + f, a[2] + f, a[3] + f


@compiled
def scaled(a: Any, f: float) -> Any:
    """``f a``."""
    return f * a[0], f * a[1], f * a[2], f * a[3]


@compiled
def root(a: Any) -> Any:
    """The square root of each."""
    return np.sqrt(a[0]), np.sqrt(a[1]), np.sqrt(a[2]), np.sqrt(a[3])


@compiled
def size(a: Any) -> Any:
    """The absolute value of each."""
    return abs(a[0]), abs(a[1]), abs(a[2]), abs(a[3])


@compiled
def largest(a: Any, b: Any) -> Any:
    """The larger of each; b where a is no number."""
    return (
        a[0] if a[0] > b[0] else b[0],
        a[1] if a[1] > b[1] else b[1],
        a[2] if a[2] > b[2] else b[2],
        a[3] if a[3] > b[3] else b[3],
    )
