"""Local random generators: what is drawn for ADN d depends on the seed and d alone."""

from typing import NamedTuple

import numpy as np


class Streams(NamedTuple):
    """Independent generators of one ADN: another number of devices leaves load and sun as they were."""

    load: np.random.Generator
    sun: np.random.Generator
    devices: np.random.Generator
    ties: np.random.Generator


def streams(seed: int, d: int) -> Streams:
    """The generators of ADN ``d`` (0-based)."""
    return Streams(*np.random.default_rng([seed, d]).spawn(len(Streams._fields)))
