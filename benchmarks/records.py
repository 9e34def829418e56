"""A run's order (:class:`Spec`) and its result (:class:`Row`), one JSON line in ``rows.jsonl``."""

import hashlib
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from benchmarks import sizes
from generators import Options
from generators.assemble import MAX_ADNS, MAX_SEED

Status = Literal["certified", "gap_limit", "time_limit", "memory_limit", "infeasible", "error", "skipped"]


class Settings(BaseModel):
    """How an instance is built and solved; the defaults of ``tso-dso solve`` and ``sweep``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str = Field("dso-led", description="coordination scheme")
    mode: str = Field("big_m", description="how the follower's complementarities are written")
    method: str = Field("auto", description="solver, or the method built on several")
    gap: float = Field(1e-3, gt=0, le=1, allow_inf_nan=False, description="relative gap to certify")
    time_limit: float = Field(600.0, gt=0, le=1e6, allow_inf_nan=False, description="the solver's time, s")


class Spec(Settings):
    """One run of a sweep: an instance by its recipe, and how it is solved."""

    n_adns: int = Field(ge=1, le=MAX_ADNS, description="number of active distribution networks")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="seed of the instance")
    memory_limit: float = Field(
        8000.0, gt=0, le=1e9, allow_inf_nan=False, description="memory at which a run is ended, MB"
    )
    options: Options = Options()

    @property
    def settings(self) -> Settings:
        """The part that says how the instance is built and solved."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    @property
    def run_id(self) -> str:
        """The same order is the same run."""
        return identify("", self)


def identify(digest: str, settings: Settings) -> str:
    """A run's name, twelve hexadecimal digits: of the instance's digest and of how it is solved."""
    order = f"{sizes.VERSION} {digest} {settings.model_dump_json()}"
    return hashlib.sha256(order.encode()).hexdigest()[:12]


def _known(value: Any) -> Any:
    """JSON has no infinity: a bound never found is a number not known."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_known)]
Count = int | None


class Row(BaseModel):
    """The result of one run. What a run did not live to find out is None.

    Times in s, memory in MB, ``objective``, ``bound``, ``abs_gap`` and ``follower_regret`` in $,
    energy in MWh; the gaps are relative. ``predicted`` holds the closed-form counts and
    ``coefficients`` their ``a, b, c`` in ``a + b N + c n_arcs``. ``reference_s`` is the time of
    a small fixed workload in the same process, before the run and after it, to compare machines and moments.
    ``<phase>_mb`` is the largest resident memory within a phase. ``stopped_in`` is the phase in which a limit
    ended the run: its time is how long it had lasted by then, those of earlier phases are whole. ``measures``
    are those of :mod:`model.measures`, ``ranges`` the least and most of each over what a scheme leaves open,
    ``figures`` the scheme's own numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    instance: str | None = None
    n_adns: int
    n_arcs: Count = None
    seed: int
    hours: Count = None
    scheme: str
    method: str
    mode: str
    settlement: str | None = None
    partners: str | None = None
    network: str | None = None
    congestion: str | None = None
    coupling: str | None = None
    gap_target: float
    time_limit_s: float
    status: Status
    message: str = ""
    n_vars: Count = None
    n_binaries: Count = None
    n_rows: Count = None
    n_cones: Count = None
    n_nonzeros: Count = None
    predicted: dict[str, int] | None = None
    coefficients: dict[str, tuple[int, int, int]] | None = None
    generate_s: Number = None
    build_s: Number = None
    compile_s: Number = None
    solve_s: Number = None
    certify_s: Number = None
    total_s: Number = None
    reference_s: Number = None
    stopped_in: str | None = None
    generate_mb: Number = None
    build_mb: Number = None
    compile_mb: Number = None
    solve_mb: Number = None
    certify_mb: Number = None
    peak_mb: Number = None
    objective: Number = None
    bound: Number = None
    bound_by: str | None = None
    gap: Number = None
    abs_gap: Number = None
    follower_regret: Number = None
    cone_violation: Number = None
    relaxation_slack: Number = None
    shed_mwh: Number = None
    nodes: Count = None
    measures: dict[str, Number] | None = None
    ranges: dict[str, tuple[Number, Number]] | None = None
    figures: dict[str, Number] | None = None
    run_id: str
    options: dict[str, Any] = {}
    versions: dict[str, str] = {}
    cpu: str = ""
    commit: str | None = None
    started_at: str
