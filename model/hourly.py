"""A number that differs by hour, in the place of one number of a Pyomo expression."""

from typing import Any

import numpy as np
from pyomo.common.numeric_types import RegisterNumericType


class Hourly:
    """The values of a number in all hours, (T,): Pyomo adds and multiplies it like any number.

    ``stamping`` puts it into limits and into coefficients that are linear in it.
    """

    __slots__ = ("values",)
    # Else numpy would take it apart when it stands to the left.
    __array_ufunc__ = None

    def __init__(self, values: Any):
        self.values = np.array(values, dtype=float)

    def __add__(self, other: Any) -> "Hourly":
        return Hourly(self.values + _values(other))

    def __sub__(self, other: Any) -> "Hourly":
        return Hourly(self.values - _values(other))

    def __rsub__(self, other: Any) -> "Hourly":
        return Hourly(_values(other) - self.values)

    def __mul__(self, other: Any) -> "Hourly":
        return Hourly(self.values * _values(other))

    def __neg__(self) -> "Hourly":
        return Hourly(-self.values)

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> bool:
        return bool(np.all(self.values == _values(other)))

    def __float__(self) -> float:
        raise ValueError("a number that differs by hour stands where one for all hours is due")

    def __gt__(self, other: Any) -> bool:
        return float(self) > other

    def __bool__(self) -> bool:
        """Pyomo leaves out what is zero: that has to be so in all hours."""
        return bool(self.values.any())

    __hash__ = None  # type: ignore[assignment]


RegisterNumericType(Hourly)


def _values(number: Any) -> Any:
    return number.values if isinstance(number, Hourly) else number
