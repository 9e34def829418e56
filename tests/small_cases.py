"""Random instances small enough for ``brute_force``: at most six leader binaries and two hours.

Values come from coarse grids on purpose: loads then meet the ends of cost blocks exactly, lines bind exactly,
and the follower's prices are often not unique.
"""

from random import Random

from model.data import (
    Arc,
    Bess,
    Block,
    Bus,
    Feeder,
    FeederBranch,
    FeederBus,
    Fees,
    Gen,
    Instance,
    Line,
    Pv,
    Transmission,
)

# Networks by number of buses: one of each kind, a ring last.
LINES = {1: [()], 2: [((1, 2),)], 3: [((1, 2), (2, 3)), ((1, 2), (1, 3)), ((1, 2), (2, 3), (1, 3))]}
# (ADNs, hours, PV, battery). Binaries: import or export, seller or buyer, sells or buys, charging.
SHAPES = [
    (1, 1, True, False),
    (1, 2, True, True),
    (1, 2, True, False),
    (1, 2, False, True),
    (2, 1, True, False),
]


def small_instance(seed: int) -> Instance:
    """One or two ADNs on one to three transmission buses, one or two hours."""
    rng = Random(seed)
    n_adns, hours, sun, battery = rng.choice(SHAPES)
    net = _transmission(rng, hours)
    arcs = ((0, 1), (1, 0)) if n_adns == 2 and rng.random() < 0.7 else ()
    fees = (0.0, 2.0, 6.0)
    return Instance(
        name=f"small {seed}",
        seed=seed,
        hours=hours,
        base_mva=rng.choice((1.0, 10.0)),
        settlement=rng.choice(("lmp", "lmp", "lmp", "lmp", "tariff")),
        partners="complete",
        network="fixed",
        congestion="none",
        transmission=net,
        feeders=tuple(_feeder(rng, hours, len(net.buses), sun, battery) for _ in range(n_adns)),
        arcs=tuple(Arc(seller=d, buyer=e, wheeling_per_mwh=rng.choice((1.0, 4.0))) for d, e in arcs),
        fees=Fees(
            access_per_mwh=rng.choice(fees), network_per_mwh=rng.choice(fees), local_per_mwh=rng.choice(fees)
        ),
        tariff_per_mwh=tuple(rng.choice((-20.0, 10.0, 30.0, 50.0)) for _ in range(hours)),
    )


def _transmission(rng: Random, hours: int) -> Transmission:
    n = rng.randint(1, 3)
    gens = []
    for g in range(rng.randint(1, 3)):
        costs = sorted(rng.choices((0.0, 10.0, 20.0, 25.0, 45.0), k=rng.randint(1, 2)))
        # Ramps join the hours, and the dual's vertices are many: one unit's, on the smaller networks only.
        ramp = rng.choice((None, None, 0.5, 1.0)) if hours > 1 and n < 3 and g == 0 else None
        blocks = tuple(Block(p_max_mw=_halves(rng, 0.5, 6), cost_per_mwh=cost) for cost in costs)
        gens.append(Gen(gen_bus=rng.randint(1, n), blocks=blocks, ramp_mw_per_h=ramp))
    return Transmission(
        buses=tuple(
            Bus(bus_i=i + 1, pd_mw=tuple(_halves(rng, 0, 4) for _ in range(hours))) for i in range(n)
        ),
        branches=tuple(
            Line(
                f_bus=f,
                t_bus=t,
                br_x=rng.choice((0.05, 0.1, 0.3)),
                rate_a_mw=rng.choice((0.5, 1.0, 2.0, 20.0)),
            )
            for f, t in rng.choice(LINES[n])
        ),
        gens=tuple(gens),
        ref_bus=rng.randint(1, n),
        voll_per_mwh=rng.choice((100.0, 1000.0)),
        spill_per_mwh=rng.choice((1.0, 5.0)),
    )


def _feeder(rng: Random, hours: int, n_hosts: int, sun: bool, battery: bool) -> Feeder:
    """Root 0 and one or two load buses, in a row or side by side; devices at the last of them."""
    n = rng.randint(1, 2)
    loads = [tuple(rng.choice((0.25, 0.5, 1.0, 1.5)) for _ in range(hours)) for _ in range(n)]
    loads = [(0.0,) * hours, *loads]
    available = tuple(rng.choice((0.0, 0.5, 2.0, 4.0)) for _ in range(hours))
    return Feeder(
        host_bus=rng.randint(1, n_hosts),
        base_kv=rng.choice((6.0, 12.66)),
        root_bus=0,
        v_root=1.0,
        vmin=0.9,
        vmax=1.1,
        buses=tuple(
            FeederBus(bus_i=k, pd_mw=load, qd_mvar=tuple(0.3 * p for p in load))
            for k, load in enumerate(loads)
        ),
        branches=tuple(
            FeederBranch(
                f_bus=rng.choice((0, k)),
                t_bus=k + 1,
                br_r_ohm=rng.choice((0.1, 0.5)),
                br_x_ohm=0.3,
                rate_a_mva=rng.choice((3.0, 6.0)),
            )
            for k in range(n)
        ),
        peers=tuple(range(1, n + 1)),
        pv=(Pv(bus=n, s_mva=rng.choice((1.0, 4.0)), available_mw=available),) if sun else (),
        bess=(
            Bess(
                bus=n,
                p_max_mw=rng.choice((0.5, 1.0)),
                energy_mwh=1.0,
                efficiency_charge=0.95,
                efficiency_discharge=0.9,
                wear_per_mwh=rng.choice((0.0, 2.0)),
            ),
        )
        if battery
        else (),
    )


def _halves(rng: Random, low: float, high: float) -> float:
    """A multiple of one half."""
    return rng.randint(int(2 * low), int(2 * high)) / 2
