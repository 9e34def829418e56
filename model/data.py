"""The instance: one transmission network, N feeders hosted at its buses, and the rules of trade.

Plain validated data, no modelling objects. Power in MW and Mvar, energy in MWh, prices in
$/MWh, feeder impedances in ohm, transmission reactances in per unit on ``base_mva``. Hourly
series are tuples of ``hours`` numbers. Bus numbers are those of the source data, so they
need not be contiguous. Whatever can be wrong in an instance is refused here, once, with the
field, its value and what is allowed.
"""

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
NonNegative = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e9)]
# Floors far below any device, so that no quotient or square of data leaves the range of a float.
Positive = Annotated[float, Field(allow_inf_nan=False, ge=1e-6, le=1e9)]
# $/MWh, far above any value of lost load: what a solver's tolerance leaves is not to be worth dollars.
Price = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e6)]
PositivePrice = Annotated[float, Field(allow_inf_nan=False, ge=1e-6, le=1e6)]
AnyPrice = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
BaseMva = Annotated[float, Field(allow_inf_nan=False, ge=1e-3, le=1e5)]
BaseKv = Annotated[float, Field(allow_inf_nan=False, ge=1e-2, le=1e4)]
Voltage = Annotated[float, Field(allow_inf_nan=False, ge=0.1, le=10)]  # p.u.
Efficiency = Annotated[float, Field(allow_inf_nan=False, ge=0.01, le=1)]
BusNumber = Annotated[int, Field(ge=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]  # what a table of results holds as a whole number

# A feeder with load has at least this peak, p.u.: a thousand times what the certificate lets pass in a row,
# else a point that serves nobody would be feasible.
PEAK_LOAD = 1e-3
LABEL_LENGTH = 200

SETTLEMENTS = ("lmp", "tariff")


class InputError(ValueError):
    """A user's mistake: the field, its value and what is allowed, in one line."""

    def __init__(self, field: str, value: object, allowed: str):
        line = " ".join(f"{_short(field)}: got {_short(_shown(value))}; allowed: {allowed}".split())
        super().__init__("".join(c if c.isprintable() else "?" for c in line))
        self.field, self.value, self.allowed = field, value, allowed


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer with more digits than Python writes
        return f"a {type(value).__name__} too long to show"


def _short(text: str) -> str:
    """At most 80 characters; a path tells most at its end."""
    return text if len(text) <= 80 else text[:30] + "..." + text[-47:]


def input_error(error: ValidationError) -> InputError:
    """The first complaint of a pydantic ``ValidationError`` as one :class:`InputError`."""
    first = error.errors(include_url=False)[0]
    path = "".join(f".{p}" if str(p).isidentifier() else f"[{p!r}]" for p in first["loc"])
    if first["type"] == "rule":
        ctx = first["ctx"]
        return InputError((path + "." + ctx["field"]).lstrip("."), ctx["value"], ctx["allowed"])
    if first["type"] == "extra_forbidden":
        return InputError(path.lstrip("."), first["input"], "no such field")
    if first["type"] == "missing":
        return InputError(path.lstrip("."), "nothing", "a value, the field is required")
    allowed = re.sub(r"^(Input should be|Tuple should have) | after validation, not \d+$", "", first["msg"])
    return InputError(path.lstrip(".") or "instance", first["input"], allowed)


def _refuse(field: str, value: object, allowed: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{field}", {"field": field, "value": value, "allowed": allowed})


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# A list is given up at its first mistake: millions of them would only take memory.
Series = Annotated[tuple[Finite, ...], Field(strict=False), FailFast()]
Prices = Annotated[tuple[AnyPrice, ...], Field(strict=False), FailFast()]
NonNegativeSeries = Annotated[tuple[NonNegative, ...], Field(strict=False), FailFast()]


class Bus(_Record):
    """A transmission bus and the native load that stays with it (ADNs not included)."""

    bus_i: BusNumber
    pd_mw: NonNegativeSeries


class Line(_Record):
    """A transmission branch: reactance in p.u. on ``base_mva``, rating in MW."""

    f_bus: BusNumber
    t_bus: BusNumber
    br_x: Positive
    rate_a_mw: Positive


class Block(_Record):
    """One block of a generating unit's piecewise linear cost."""

    p_max_mw: Positive
    cost_per_mwh: Price


class Gen(_Record):
    """A generating unit: cost blocks in rising order, an optional ramp limit per hour."""

    gen_bus: BusNumber
    blocks: Annotated[tuple[Block, ...], Field(strict=False, min_length=1), FailFast()]
    ramp_mw_per_h: Positive | None = None


class Transmission(_Record):
    """The follower's network."""

    buses: Annotated[tuple[Bus, ...], Field(strict=False, min_length=1), FailFast()]
    branches: Annotated[tuple[Line, ...], Field(strict=False), FailFast()]
    gens: Annotated[tuple[Gen, ...], Field(strict=False, min_length=1), FailFast()]
    ref_bus: BusNumber
    voll_per_mwh: PositivePrice
    spill_per_mwh: PositivePrice

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers = {bus.bus_i for bus in self.buses}
        if len(numbers) != len(self.buses):
            twice = Counter(b.bus_i for b in self.buses).most_common(1)[0][0]
            raise _refuse("buses", twice, "every bus_i once")
        if self.ref_bus not in numbers:
            raise _refuse("ref_bus", self.ref_bus, "a bus_i of this network")
        for k, line in enumerate(self.branches):
            for name in ("f_bus", "t_bus"):
                if getattr(line, name) not in numbers:
                    raise _refuse(f"branches[{k}].{name}", getattr(line, name), "a bus_i of this network")
            if line.f_bus == line.t_bus:
                raise _refuse(f"branches[{k}].t_bus", line.t_bus, "a bus other than f_bus")
        for k, gen in enumerate(self.gens):
            if gen.gen_bus not in numbers:
                raise _refuse(f"gens[{k}].gen_bus", gen.gen_bus, "a bus_i of this network")
            costs = [b.cost_per_mwh for b in gen.blocks]
            if any(high < low for low, high in zip(costs, costs[1:], strict=False)):
                raise _refuse(f"gens[{k}].blocks", costs, "costs that rise from block to block")
            if costs[-1] >= self.voll_per_mwh:
                raise _refuse(f"gens[{k}].blocks", costs[-1], f"costs below voll_per_mwh {self.voll_per_mwh}")
        island = numbers - _reached(self.ref_bus, [(k.f_bus, k.t_bus) for k in self.branches])
        if island:
            raise _refuse("branches", min(island), "every bus connected to ref_bus")
        return self


class FeederBus(_Record):
    """A feeder bus and its load."""

    bus_i: BusNumber
    pd_mw: NonNegativeSeries
    qd_mvar: Series


class FeederBranch(_Record):
    """A feeder branch; parent and child are found from the root, so the order is free."""

    f_bus: BusNumber
    t_bus: BusNumber
    br_r_ohm: Positive
    br_x_ohm: Positive
    rate_a_mva: Positive


class Pv(_Record):
    """Photovoltaics: inverter rating and the active power the sun offers."""

    bus: BusNumber
    s_mva: Positive
    available_mw: NonNegativeSeries


class Bess(_Record):
    """A battery: power and energy rating, one-way efficiencies, wear per MWh in or out."""

    bus: BusNumber
    p_max_mw: Positive
    energy_mwh: Positive
    efficiency_charge: Efficiency
    efficiency_discharge: Efficiency
    wear_per_mwh: Price


class Feeder(_Record):
    """An active distribution network (ADN): a radial feeder hosted at a transmission bus."""

    host_bus: BusNumber
    base_kv: BaseKv
    root_bus: BusNumber
    v_root: Voltage
    vmin: Voltage
    vmax: Voltage
    buses: Annotated[tuple[FeederBus, ...], Field(strict=False, min_length=2), FailFast()]
    branches: Annotated[tuple[FeederBranch, ...], Field(strict=False, min_length=1), FailFast()]
    peers: Annotated[tuple[BusNumber, ...], Field(strict=False), FailFast()]
    pv: Annotated[tuple[Pv, ...], Field(strict=False), FailFast()]
    bess: Annotated[tuple[Bess, ...], Field(strict=False), FailFast()]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers = {bus.bus_i for bus in self.buses}
        if len(numbers) != len(self.buses):
            twice = Counter(b.bus_i for b in self.buses).most_common(1)[0][0]
            raise _refuse("buses", twice, "every bus_i once")
        if self.root_bus not in numbers:
            raise _refuse("root_bus", self.root_bus, "a bus_i of this feeder")
        if not self.vmin <= self.v_root <= self.vmax:
            raise _refuse("v_root", self.v_root, f"between vmin {self.vmin} and vmax {self.vmax}")
        for k, branch in enumerate(self.branches):
            for name in ("f_bus", "t_bus"):
                if getattr(branch, name) not in numbers:
                    raise _refuse(f"branches[{k}].{name}", getattr(branch, name), "a bus_i of this feeder")
        pairs = [(k.f_bus, k.t_bus) for k in self.branches]
        lost = numbers - _reached(self.root_bus, pairs)
        if lost:
            raise _refuse("branches", min(lost), "every bus connected to the root")
        if len(pairs) != len(numbers) - 1:
            raise _refuse(
                "branches",
                f"{len(pairs)} branches on {len(numbers)} buses",
                "a tree, one branch fewer than buses: this one has a loop",
            )
        loads = {b.bus_i for b in self.buses if max(b.pd_mw, default=0.0) > 0}
        root = next(b for b in self.buses if b.bus_i == self.root_bus)
        if any(root.pd_mw) or any(root.qd_mvar):
            raise _refuse("buses", f"load at root bus {self.root_bus}", "no load at the root")
        if len(set(self.peers)) != len(self.peers):
            raise _refuse("peers", list(self.peers), "every bus once")
        peers = set(self.peers)
        for k, peer in enumerate(self.peers):
            if peer not in loads:
                raise _refuse(f"peers[{k}]", peer, "a bus with load")
        located = [(f"pv[{k}].bus", pv.bus) for k, pv in enumerate(self.pv)]
        located += [(f"bess[{k}].bus", bess.bus) for k, bess in enumerate(self.bess)]
        for field, bus in located:
            if bus not in peers:
                raise _refuse(field, bus, "a peer's bus (a load bus, never the root)")
        return self

    @property
    def load_buses(self) -> tuple[int, ...]:
        """Buses with load in any hour; each holds an energy account."""
        return tuple(b.bus_i for b in self.buses if max(b.pd_mw) > 0)

    @property
    def sellers(self) -> tuple[int, ...]:
        """Peers that have something to sell: PV or a battery at their bus."""
        with_device = {d.bus for d in self.pv} | {d.bus for d in self.bess}
        return tuple(p for p in self.peers if p in with_device)

    def parents(self) -> dict[int, tuple[int, FeederBranch]]:
        """For every bus but the root: its parent and the branch that leads there."""
        towards: dict[int, list[tuple[int, FeederBranch]]] = {}
        for branch in self.branches:
            towards.setdefault(branch.f_bus, []).append((branch.t_bus, branch))
            towards.setdefault(branch.t_bus, []).append((branch.f_bus, branch))
        parents: dict[int, tuple[int, FeederBranch]] = {}
        frontier = [self.root_bus]
        while frontier:
            i = frontier.pop()
            for j, branch in towards.get(i, ()):
                if j != self.root_bus and j not in parents:
                    parents[j] = (i, branch)
                    frontier.append(j)
        return {b.bus_i: parents[b.bus_i] for b in self.buses if b.bus_i != self.root_bus}


class Arc(_Record):
    """A pair of ADNs (0-based positions in ``feeders``) that may trade, and its wheeling fee."""

    seller: Annotated[int, Field(ge=0)]
    buyer: Annotated[int, Field(ge=0)]
    wheeling_per_mwh: PositivePrice


class Fees(_Record):
    """Fees in $/MWh, collected by the network companies."""

    access_per_mwh: Price
    network_per_mwh: Price
    local_per_mwh: Price


class Instance(_Record):
    """All a scheme needs to know; see the module's docstring for units."""

    name: str
    seed: Seed
    hours: Annotated[int, Field(ge=1, le=168)]
    base_mva: BaseMva
    settlement: Literal["lmp", "tariff"]
    partners: str
    network: str
    congestion: str
    transmission: Transmission
    feeders: Annotated[tuple[Feeder, ...], Field(strict=False, min_length=1), FailFast()]
    arcs: Annotated[tuple[Arc, ...], Field(strict=False), FailFast()]
    fees: Fees
    tariff_per_mwh: Prices

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        def check(field: str, series: tuple[float, ...]) -> None:
            if len(series) != self.hours:
                raise _refuse(field, f"{len(series)} values", f"one value for each of {self.hours} hours")

        for name in ("name", "partners", "network", "congestion"):
            label = getattr(self, name)
            if len(label) > LABEL_LENGTH or not label.isprintable():
                raise _refuse(name, label, f"at most {LABEL_LENGTH} printable characters")
        check("tariff_per_mwh", self.tariff_per_mwh)
        for k, bus in enumerate(self.transmission.buses):
            check(f"transmission.buses[{k}].pd_mw", bus.pd_mw)
        hosts = {bus.bus_i for bus in self.transmission.buses}
        for d, feeder in enumerate(self.feeders):
            if feeder.host_bus not in hosts:
                raise _refuse(
                    f"feeders[{d}].host_bus", feeder.host_bus, "a bus_i of the transmission network"
                )
            for k, load in enumerate(feeder.buses):
                check(f"feeders[{d}].buses[{k}].pd_mw", load.pd_mw)
                check(f"feeders[{d}].buses[{k}].qd_mvar", load.qd_mvar)
            for k, pv in enumerate(feeder.pv):
                check(f"feeders[{d}].pv[{k}].available_mw", pv.available_mw)
            peak_mw = max(map(math.fsum, zip(*(load.pd_mw for load in feeder.buses), strict=True)))
            if 0 < peak_mw < PEAK_LOAD * self.base_mva:
                least = f"no load, or a peak of at least {PEAK_LOAD * self.base_mva:g} MW, 1/1000 of base_mva"
                raise _refuse(f"feeders[{d}].buses", f"peak load {peak_mw:g} MW", least)
        seen = set()
        for k, arc in enumerate(self.arcs):
            for name in ("seller", "buyer"):
                if getattr(arc, name) >= len(self.feeders):
                    allowed = f"an ADN from 0 to {len(self.feeders) - 1}"
                    raise _refuse(f"arcs[{k}].{name}", getattr(arc, name), allowed)
            if arc.seller == arc.buyer or (arc.seller, arc.buyer) in seen:
                raise _refuse(f"arcs[{k}]", (arc.seller, arc.buyer), "two different ADNs, every pair once")
            seen.add((arc.seller, arc.buyer))
        return self

    @property
    def n_adns(self) -> int:
        return len(self.feeders)

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> "Instance":
        """Raises InputError where the text is not a valid instance."""
        try:
            case = cls.model_validate_json(text)
        except ValidationError as error:
            raise input_error(error) from None
        json.loads(text, object_pairs_hook=_fields_once)
        return case

    @classmethod
    def read(cls, path: str | Path) -> "Instance":
        """Raises InputError for a file that cannot be read or is not a valid instance."""
        try:
            text = None if Path(path).is_char_device() else Path(path).read_bytes()
        except OSError as error:
            raise InputError("instance file", str(path), f"a readable file ({error.strerror})") from None
        except ValueError as error:
            raise InputError("instance file", str(path), f"a file name ({error})") from None
        if text is None:
            raise InputError("instance file", str(path), "a file with an end, not a device")
        return cls.from_json(text)

    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the content; equal instances have the same."""
        content = _one_zero(self.model_dump(mode="json"))
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _reached(start: int, pairs: list[tuple[int, int]]) -> set[int]:
    neighbours: dict[int, list[int]] = {}
    for f, t in pairs:
        neighbours.setdefault(f, []).append(t)
        neighbours.setdefault(t, []).append(f)
    seen, frontier = {start}, [start]
    while frontier:
        for j in neighbours.get(frontier.pop(), ()):
            if j not in seen:
                seen.add(j)
                frontier.append(j)
    return seen


def _fields_once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object of a JSON text that names a field twice: nobody knows which of its values is meant."""
    counts = Counter(name for name, _ in pairs)
    if len(counts) < len(pairs):
        twice, count = counts.most_common(1)[0]
        raise InputError(twice, f"{count} values", "one value for a field")


def _one_zero(data: Any) -> Any:
    """Plain data with 0.0 for -0.0, which is equal to it and written differently."""
    if isinstance(data, dict):
        return {name: _one_zero(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_one_zero(value) for value in data]
    return data + 0.0 if isinstance(data, float) else data
