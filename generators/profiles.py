"""Hourly shapes: system load, classes of consumers, sun and clouds, time-of-use tariff.

Every function takes clock hours, so that any number of steps can be drawn from one day. A
step is one hour long whatever its number; the shapes are taken at the middle of the hour.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Clock = npt.NDArray[np.int64]

# IEEE Committee Report, "IEEE Reliability Test System", 1979, table 3: hourly peak load in percent
# of the daily peak, winter weekday, hour 0 to 23.
SYSTEM_SHAPE = (
    np.array(
        [67, 63, 60, 59, 59, 60, 74, 86, 95, 96, 96, 95, 95, 95, 93, 94, 99, 100, 100, 96, 91, 83, 73, 63]
    )
    / 100
)

LATITUDE_DEG = 40.0
DECLINATION_DEG = 15.0  # early May: 23.45 sin(360 (284 + 121) / 365), Duffie and Beckman eq. 1.6.1
PERFORMANCE_RATIO = 0.9

CLOUD_MEMORY = 0.8  # correlation of one hour's clouds with the next hour's

SHOULDER_HOURS = (7, 17)  # from, up to but not including
PEAK_HOURS = (17, 22)


def clock_hours(hours: int) -> Clock:
    """The clock hour (0..23) of each of ``hours`` steps.

    Up to 24 steps sample one day evenly (a single step is noon), more go on cyclically over days.
    """
    steps = np.arange(hours)
    if hours <= 24:
        return (24 * (2 * steps + 1)) // (2 * hours)
    return steps % 24


def system_shape(clock: Clock) -> Array:
    """Native load of every transmission bus, relative to its peak."""
    return SYSTEM_SHAPE[clock]


def households(hour: Array) -> Array:
    """Relative load of households: 0.35 + 0.25 g(7.5, 1.5) + 0.65 g(19.5, 2.5).

    ``g(m, w) = exp(-((hour - m) / w)^2 / 2)`` on the clock's circle: a morning and an evening peak.
    """
    return 0.35 + 0.25 * _bump(hour, 7.5, 1.5) + 0.65 * _bump(hour, 19.5, 2.5)


def commercial(hour: Array) -> Array:
    """Relative load of commerce: 0.25 + 0.75 u(8) (1 - u(17)), a plateau over the working day.

    ``u(m) = 1 / (1 + exp(-(hour - m) / 0.7))``, hours on the clock's circle.
    """
    hour = hour % 24
    return 0.25 + 0.75 * _step(hour, 8.0) * (1 - _step(hour, 17.0))


def clear_sky(hour: Array) -> Array:
    """PV output under a clear sky, in MW per MW of panels, at solar time ``hour``.

    Solar elevation for the stated latitude and declination (Duffie and Beckman, Solar Engineering of
    Thermal Processes, eq. 1.6.5, hour angle 15 degrees an hour from noon), horizontal irradiance by
    Haurwitz (1945): ``1098 cos z exp(-0.057 / cos z)`` W/m2, over 1000 W/m2, times the performance ratio.
    """
    latitude, declination = np.radians(LATITUDE_DEG), np.radians(DECLINATION_DEG)
    hour_angle = np.radians(15.0 * (hour - 12.0))
    cos_zenith = np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    cos_zenith = cos_zenith + np.sin(latitude) * np.sin(declination)
    up = np.maximum(cos_zenith, 1e-3)  # keeps the exponent finite below the horizon
    return np.where(cos_zenith > 0, PERFORMANCE_RATIO * 1.098 * up * np.exp(-0.057 / up), 0.0)


def clouds(steps: int, depth: float, rng: np.random.Generator) -> Array:
    """A factor in (0, 1] per step: ``1 - depth / (1 + exp(-1.5 z))`` with z a standard normal AR(1)."""
    shocks = rng.standard_normal(steps)
    z = np.empty(steps)
    z[0] = shocks[0]
    for t in range(1, steps):
        z[t] = CLOUD_MEMORY * z[t - 1] + np.sqrt(1 - CLOUD_MEMORY**2) * shocks[t]
    return 1 - depth / (1 + np.exp(-1.5 * z))


def time_of_use(clock: Clock, off_peak: float, shoulder: float, peak: float) -> Array:
    """A price per step in $/MWh: peak 17-22 h, shoulder 7-17 h, off-peak else."""
    price = np.full(len(clock), off_peak)
    price[(clock >= SHOULDER_HOURS[0]) & (clock < SHOULDER_HOURS[1])] = shoulder
    price[(clock >= PEAK_HOURS[0]) & (clock < PEAK_HOURS[1])] = peak
    return price


def _bump(hour: Array, middle: float, width: float) -> Array:
    distance = (hour - middle + 12) % 24 - 12
    return np.exp(-0.5 * (distance / width) ** 2)


def _step(hour: Array, middle: float) -> Array:
    return 1 / (1 + np.exp(-(hour - middle) / 0.7))
