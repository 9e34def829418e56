"""An instance from a size, a seed and options."""

from numbers import Integral
from typing import Any

from pydantic import ValidationError

from generators import network, placement, profiles
from generators.adn import adn
from generators.options import Options
from model.data import Arc, Fees, InputError, Instance, input_error

MAX_ADNS = 10_000
MAX_SEED = 2**32 - 1  # one word of numpy's seed sequence: [seed, d] then never meets another pair


def instance(n_adns: int, seed: int = 0, **options: Any) -> Instance:
    """The IEEE 30-bus network above ``n_adns`` IEEE 33-bus ADNs.

    Deterministic bit for bit, and nested: ADN d has the same feeder, devices, host, partners among
    earlier ADNs and wheeling fees in every larger instance; the transmission data may differ.

    Args:
        n_adns: number of ADNs, 1 to 10000.
        seed: of all that is drawn, 0 to 2^32 - 1.
        **options: fields of :class:`generators.Options`.

    Raises:
        InputError: for a value out of range or an unknown option.
    """
    n_adns = _whole("n_adns", n_adns, 1, MAX_ADNS)
    seed = _whole("seed", seed, 0, MAX_SEED)
    try:
        chosen = Options(**options)
        return _assemble(n_adns, seed, chosen)
    except ValidationError as error:
        raise input_error(error) from None


def _assemble(n_adns: int, seed: int, options: Options) -> Instance:
    hosts = placement.hosts(n_adns)
    feeders = tuple(adn(d, seed, host, options) for d, host in enumerate(hosts))
    clock = profiles.clock_hours(options.hours)
    tariff = profiles.time_of_use(
        clock, options.tariff_off_peak_per_mwh, options.tariff_shoulder_per_mwh, options.tariff_peak_per_mwh
    )
    return Instance(
        name=f"ieee30-ieee33-n{n_adns}-seed{seed}",
        seed=seed,
        hours=options.hours,
        base_mva=network.BASE_MVA,
        settlement=options.settlement,
        partners=options.partners,
        network=options.network,
        congestion=options.congestion,
        transmission=network.transmission(feeders, options),
        feeders=feeders,
        arcs=_arcs(hosts, seed, options),
        fees=Fees(
            access_per_mwh=options.access_per_mwh,
            network_per_mwh=options.network_per_mwh,
            local_per_mwh=options.local_per_mwh,
        ),
        tariff_per_mwh=tuple(tariff.tolist()),
    )


def _arcs(hosts: list[int], seed: int, options: Options) -> tuple[Arc, ...]:
    """Both directions of every pair, those of a later ADN after those of earlier ones."""
    pairs = placement.partners(hosts, options.nearest, seed)
    fees = placement.wheeling(hosts, pairs, options.wheeling_per_mwh, options.wheeling_distance_per_mwh)
    return tuple(
        Arc(seller=seller, buyer=buyer, wheeling_per_mwh=fee)
        for (e, d), fee in zip(pairs, fees, strict=True)
        for seller, buyer in ((d, e), (e, d))
    )


def _whole(field: str, value: object, least: int, most: int) -> int:
    if isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most:
        return int(value)
    raise InputError(field, value, f"a whole number from {least} to {most}")
