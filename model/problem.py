"""A coordination problem, built: the instance, the scheme that built it, and the Pyomo model."""

from dataclasses import dataclass

import pyomo.environ as pyo

from model.data import Instance
from model.kkt import Multipliers, Pair


@dataclass(frozen=True)
class Problem:
    """What a scheme builds and a solver takes.

    ``m`` states everything, or where ``pattern`` is given all but the ADNs' insides: of an ADN it has the
    variables of ``boundary.add_boundary_variables`` only, and ``pattern`` the rest over the hours of
    ``model.stamping.pattern_hours``. Names and indices are the same.

    ``coupling`` is ``"prices"`` where the follower's prices enter the leader's cost and
    ``"none"`` where the bilevel problem splits (settlement ``tariff``).
    """

    instance: Instance
    scheme: str
    mode: str
    m: pyo.ConcreteModel
    multipliers: Multipliers
    pairs: list[Pair]
    pattern: pyo.ConcreteModel | None = None

    @property
    def coupling(self) -> str:
        return "prices" if self.instance.settlement == "lmp" else "none"

    @property
    def prices_by_hour(self) -> bool:
        """True where the follower's prices matter to the leaders and every hour has its own: no ramps."""
        ramps = any(gen.ramp_mw_per_h is not None for gen in self.instance.transmission.gens)
        return self.coupling == "prices" and not ramps
