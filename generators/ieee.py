"""The IEEE 30-bus transmission network and the IEEE 33-bus feeder, read from ``data/``.

Columns carry MATPOWER's names in lower case. Source, units and this project's own columns
(ratings) are stated in the head of each file. Impedances of the transmission network are in
per unit on ``BASE_MVA_30``, those of the feeder in ohm. The tables are cached: do not change them.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import pandas as pd

BASE_MVA_30 = 100.0


@dataclass(frozen=True)
class Case30:
    """The transmission network: tables of buses, branches and generating units."""

    bus: pd.DataFrame
    branch: pd.DataFrame
    gen: pd.DataFrame

    @cached_property
    def ref_bus(self) -> int:
        return int(self.bus.bus_i[self.bus.type == 3].iloc[0])


@dataclass(frozen=True)
class Case33:
    """The feeder: tables of buses and of branches, the open tie switches among them."""

    bus: pd.DataFrame
    branch: pd.DataFrame

    @cached_property
    def root_bus(self) -> int:
        return int(self.bus.bus_i[self.bus.type == 3].iloc[0])

    @cached_property
    def load_buses(self) -> npt.NDArray[np.int64]:
        return self.bus.bus_i[self.bus.pd > 0].to_numpy()

    @cached_property
    def pd_mw(self) -> npt.NDArray[np.float64]:
        return self.bus.pd.to_numpy()

    @cached_property
    def reactive_ratio(self) -> npt.NDArray[np.float64]:
        """Mvar per MW of each bus, zero where there is no load."""
        return (self.bus.qd / self.bus.pd).fillna(0.0).to_numpy()

    @cached_property
    def voltage_limits(self) -> tuple[float, float]:
        """Limits that hold at every bus below the root, p.u."""
        below = self.bus[self.bus.bus_i != self.root_bus]
        return float(below.vmin.max()), float(below.vmax.min())

    @cached_property
    def base_kv(self) -> float:
        return float(self.bus.base_kv.iloc[0])

    @property
    def closed(self) -> pd.DataFrame:
        """The branches in service: a tree."""
        return self.branch[self.branch.br_status == 1]


def _table(name: str) -> pd.DataFrame:
    with files("generators").joinpath("data", name).open(encoding="utf-8") as text:
        return pd.read_csv(text, comment="#")


@cache
def case30() -> Case30:
    """The IEEE 30-bus transmission network."""
    return Case30(_table("case30_bus.csv"), _table("case30_branch.csv"), _table("case30_gen.csv"))


@cache
def case33() -> Case33:
    """The IEEE 33-bus feeder."""
    return Case33(_table("case33bw_bus.csv"), _table("case33bw_branch.csv"))
