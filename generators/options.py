"""What a user may choose about an instance: every field with its unit, default and range."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from generators.ieee import case30

Price = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
PositivePrice = Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)]  # stays positive when rounded
Efficiency = Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)]

COST_BLOCKS = 3  # blocks per generating unit, equal in size


class Options(BaseModel):
    """Options of :func:`generators.instance`. Strings are read as numbers where a number is due."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours: int = Field(24, ge=1, le=168, description="steps of one hour")
    settlement: Literal["lmp", "tariff"] = Field("lmp", description="price of the ADNs' energy")
    partners: str = Field("nearest:4", description="who trades with whom: complete or nearest:k")
    network: Literal["fixed", "scaled"] = Field(
        "fixed", description="own size until outgrown, or in proportion"
    )
    congestion: Literal["none", "moderate", "strong"] = Field(
        "moderate", description="ratings that bind at least 0, 2 or 4 lines at the system peak"
    )

    n_peers: int = Field(32, ge=1, le=32, description="peers per ADN, among its 32 load buses")
    n_pv: int = Field(8, ge=0, le=32, description="PV units per ADN")
    pv_penetration: float = Field(
        1.4, ge=0.01, le=5, allow_inf_nan=False, description="installed PV MW per MW of the ADN's peak load"
    )
    n_bess: int = Field(4, ge=0, le=32, description="batteries per ADN")
    bess_power_share: float = Field(
        0.2, ge=0.01, le=5, allow_inf_nan=False, description="battery MW per MW of the ADN's peak load"
    )
    bess_hours: float = Field(3.0, ge=0.1, le=24, allow_inf_nan=False, description="battery MWh per MW")
    efficiency_charge: Efficiency = Field(0.95, description="battery, one way")
    efficiency_discharge: Efficiency = Field(0.95, description="battery, one way")
    wear_per_mwh: Price = Field(2.0, description="battery wear, $/MWh charged or discharged")

    access_per_mwh: Price = Field(4.0, description="fee on the ADN's import and export, $/MWh")
    network_per_mwh: Price = Field(6.0, description="fee on a bus's grid import and export, $/MWh")
    local_per_mwh: Price = Field(2.0, description="fee on trade within an ADN, $/MWh")
    wheeling_per_mwh: PositivePrice = Field(3.0, description="fee on trade across ADNs, $/MWh")
    wheeling_distance_per_mwh: Price = Field(
        1.5, description="added to it per mean electrical distance of load buses, $/MWh"
    )
    tariff_off_peak_per_mwh: Price = Field(30.0, description="tariff 22-7 h, $/MWh")
    tariff_shoulder_per_mwh: Price = Field(36.0, description="tariff 7-17 h, $/MWh")
    tariff_peak_per_mwh: Price = Field(44.0, description="tariff 17-22 h, $/MWh")

    cost_scale: float = Field(
        10.0, gt=0, le=1000, allow_inf_nan=False, description="factor on case30's generation costs"
    )
    ramp_mw_per_h: float | None = Field(
        None, ge=1e-3, le=1e6, allow_inf_nan=False, description="per generating unit, unscaled, MW/h"
    )
    voll_per_mwh: PositivePrice = Field(1000.0, description="value of lost load, $/MWh")
    spill_per_mwh: PositivePrice = Field(1.0, description="cost of spilling, $/MWh")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not re.fullmatch(r"complete|nearest:[1-9][0-9]{0,5}", self.partners):
            raise _refuse("partners", self.partners, "complete, or nearest:k with k a whole number from 1")
        for name in ("n_pv", "n_bess"):
            if getattr(self, name) > self.n_peers:
                allowed = f"at most n_peers {self.n_peers}: devices stand at peers"
                raise _refuse(name, getattr(self, name), allowed)
        gen = case30().gen
        dearest = float((gen.c1 + 2 * gen.c2 * gen.pmax).max() * self.cost_scale)
        if self.voll_per_mwh <= dearest:
            allowed = f"more than the dearest unit's {dearest:g} $/MWh at cost_scale {self.cost_scale:g}"
            raise _refuse("voll_per_mwh", self.voll_per_mwh, allowed)
        return self

    @property
    def nearest(self) -> int | None:
        """The k of ``nearest:k``; None for the complete graph."""
        return None if self.partners == "complete" else int(self.partners.removeprefix("nearest:"))


def _refuse(field: str, value: object, allowed: str) -> PydanticCustomError:
    """An error that ``model.data.input_error`` turns into a user's one line."""
    return PydanticCustomError("rule", "{field}", {"field": field, "value": value, "allowed": allowed})
