"""Counts in closed form equal the built and compiled model, exactly."""

import pytest
from toys import toy

from generators import instance
from model.complementarity import MODES
from model.counts import coefficients, predict
from model.data import Instance
from model.program import compile_model
from model.schemes import build

COMBINATIONS = [
    {"n_adns": 1, "hours": 1},
    {"n_adns": 2, "hours": 2},
    {"n_adns": 3, "hours": 2, "partners": "complete"},
    {"n_adns": 4, "hours": 2, "partners": "nearest:1"},
    {"n_adns": 4, "hours": 1, "partners": "nearest:2", "seed": 3},
    {"n_adns": 2, "hours": 3, "settlement": "tariff"},
    {"n_adns": 2, "hours": 2, "network": "scaled"},
    {"n_adns": 2, "hours": 2, "congestion": "strong"},
    {"n_adns": 2, "hours": 2, "n_pv": 3, "n_bess": 0},
    {"n_adns": 2, "hours": 2, "n_pv": 0, "n_bess": 5},
    {"n_adns": 1, "hours": 2, "n_pv": 0, "n_bess": 0},
    {"n_adns": 2, "hours": 2, "n_pv": 0, "n_bess": 0},
    {"n_adns": 2, "hours": 2, "n_peers": 12},
    {"n_adns": 2, "hours": 3, "ramp_mw_per_h": 20.0},
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))
def test_generated_instances(options, mode):
    case = instance(**options)
    assert predict(case, mode) == compile_model(build(case, mode=mode).m).sizes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [{"n_adns": 2}, {"n_adns": 3, "hours": 1}, {"sun": 0.0, "battery": 0.0}, {"n_adns": 2, "sun": 0.0}],
    ids=str,
)
def test_other_networks(options, mode):
    case = toy(**options)
    assert predict(case, mode) == compile_model(build(case, mode=mode).m).sizes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seller", [0, 1])
@pytest.mark.parametrize("peers", [(), (1, 2)], ids=["no peers", "peers"])
def test_an_adn_that_may_only_sell_or_only_buy(peers, seller, mode):
    """Without devices or without peers it has no row for the side on which it has no partner."""
    case = toy(2, sun=0.0, battery=0.0)
    feeders = (case.feeders[0].model_copy(update={"peers": peers}), case.feeders[1])
    arcs = tuple(arc for arc in case.arcs if arc.seller == seller)
    case = Instance.from_json(case.model_copy(update={"feeders": feeders, "arcs": arcs}).to_json())
    assert len(case.arcs) == 1
    assert predict(case, mode) == compile_model(build(case, mode=mode).m).sizes


@pytest.mark.parametrize("partners", ["complete", "nearest:2"])
def test_one_polynomial_holds_for_every_size(partners):
    """The coefficients of one instance predict all others."""
    law = coefficients(instance(2, hours=4, partners=partners), "big_m")
    for n in (1, 2, 5, 9):
        case = instance(n, seed=7, hours=4, partners=partners)
        arcs = n * (n - 1) if partners == "complete" else 2 * sum(min(2, d) for d in range(n))
        assert len(case.arcs) == arcs
        assert predict(case, "big_m") == {name: a + b * n + c * arcs for name, (a, b, c) in law.items()}
