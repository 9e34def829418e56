"""DSO-led or TSO-led? Verdicts from rows with known differences, and the study that `make study` orders."""

import gzip
import json
import math
from collections import Counter

import numpy as np
import pytest
from test_reports import results, row
from test_rivals import sweeps, swept  # noqa: F401

from generators import Options
from model.schemes import SCHEMES
from reports import claims, write_report
from reports.claims import CONFIRMED, MIXED, REFUTED
from reports.rows import read_results

DEFAULT = Options().model_dump()


def runs(seed, led, rival, options=None, ranges=None, n=5, **more):
    """One instance under both schemes, measures given as differences from what is common to them."""
    common = {"arbitrage_per_mwh": 1.0, "pv_shifted_share": 0.02, "self_consumption": 0.9}
    common |= {"self_sufficiency": 0.5, "import_mwh": 100.0, "social_cost": 1e5, "generation_cost": 1e5}
    chosen = DEFAULT | (options or {})
    return [
        row(n, seed=seed, scheme=scheme, method="auto", options=chosen, run_id=f"{scheme}-{seed}-{chosen}")
        | {"instance": f"{n}-{seed}-{chosen}", "measures": common | own, "figures": {}}
        | {"ranges": ranges or {}}
        | more
        for scheme, own in (("dso-led", led), ("tso-led", rival))
    ]


def wobbly(value, seed):
    """A value that varies a little from seed to seed."""
    return value * (1 + 0.01 * (seed % 3 - 1))


def studied(folder, records):
    results(folder, [row(1), row(2), row(3)])
    results(folder / "study", records)
    return claims.study(folder)


def clear(seed, **options):
    """Self-consumption up by 0.02, imports down by 3, arbitrage value down, sun shifted up."""
    led = {"self_consumption": 0.9 + wobbly(0.02, seed), "self_sufficiency": 0.5 + wobbly(0.01, seed)}
    led |= {"import_mwh": 100 - wobbly(3.0, seed), "arbitrage_per_mwh": 1.0 - wobbly(1.5, seed)}
    return runs(seed, led | {"pv_shifted_share": 0.02 + wobbly(0.01, seed)}, {}, options)


def verdicts(found):
    """Measure to verdict, from the table of the claims."""
    return {line[1].text: line[2].text for line in found.tables[0].lines}


def test_a_claim_is_confirmed_refuted_or_mixed_by_the_sign_of_paired_differences(tmp_path):
    found = studied(tmp_path, [one for seed in range(6) for one in clear(seed)])
    assert verdicts(found) == {
        "arbitrage value by throughput": REFUTED,
        "share of the sun shifted by batteries": CONFIRMED,
        "self-consumption": CONFIRMED,
        "self-sufficiency": CONFIRMED,
        "imports": CONFIRMED,
    }
    told = found.text
    assert "uses batteries more efficiently: mixed." in told
    assert "raises local self-consumption: confirmed." in told
    assert "lowers imports from the transmission network: confirmed." in told
    assert "imports -3 MWh (95 % interval" in told and "flips" not in told
    assert "6 instances of N = 5, default data" in told
    begun = [paragraph.split(":")[0] for paragraph in told.split("\n\n")]
    assert begun[:3] == [claim.words for claim in claims.CLAIMS]


def test_the_interval_is_of_differences_not_of_levels(tmp_path):
    """Instances differ by far more than the schemes do on each of them."""
    records = []
    for seed in range(5):
        rival = {"import_mwh": 100.0 * (1 + seed)}
        records += runs(seed, {"import_mwh": rival["import_mwh"] - wobbly(1.0, seed)}, rival)
    found = studied(tmp_path, records)
    line = next(line for line in found.tables[0].lines if line[1].text == "imports")
    assert line[2].text == CONFIRMED
    difference, low, high = (cell.key for cell in line[5:8])
    values = [-wobbly(1.0, seed) for seed in range(5)]
    half = 2.776445 * np.std(values, ddof=1) / math.sqrt(5)
    assert (difference, low, high) == pytest.approx(
        (np.mean(values), np.mean(values) - half, np.mean(values) + half), rel=1e-6
    )


@pytest.mark.parametrize(
    ("ends", "verdict"), [([99.0, 101.0], CONFIRMED), ([95.0, 101.0], MIXED), (None, CONFIRMED)]
)
def test_a_finding_that_a_tie_of_the_tso_undoes_is_mixed(tmp_path, ends, verdict):
    records = []
    for seed in range(5):
        ranges = None if ends is None else {"import_mwh": ends}
        records += runs(seed, {"import_mwh": 97.0 - wobbly(0.1, seed)}, {}, ranges=ranges)
    assert verdicts(studied(tmp_path, records))["imports"] == verdict


@pytest.mark.parametrize("values", [(3.0, -3.0, 2.0, -2.0), (5.0,)])
def test_what_varies_about_nothing_and_what_stands_alone_is_mixed(tmp_path, values):
    records = [one for k, v in enumerate(values) for one in runs(k, {"import_mwh": 100.0 + v}, {})]
    assert verdicts(studied(tmp_path, records))["imports"] == MIXED


def test_where_a_finding_flips_is_told(tmp_path):
    records = [one for seed in range(6) for one in clear(seed)]
    for seed in range(3):
        records += clear(seed, pv_penetration=0.7)
        records += runs(seed, {"import_mwh": 100 + wobbly(2.0, seed)}, {}, {"settlement": "tariff"})
        fees = {name: 2 * DEFAULT[name] for name in claims.FEES}
        records += runs(seed, {"import_mwh": 100 + (3.0, -3.0, 0.1)[seed]}, {}, fees)
    found = studied(tmp_path, records)
    imports = found.text[found.text.index("lowers imports") :]
    assert "It flips for imports at settlement tariff." in imports
    assert "local self-consumption: confirmed." in found.text
    assert found.text.count("It flips at none of the 3 other levels.") == 2
    places = next(line for line in found.tables[1].lines if line[0].text == "imports")
    shown = [cell.text for cell in places[1:]]
    assert shown == [CONFIRMED, "pv penetration 0.7", "settlement tariff", "fees times 2"]
    levels = {line[0].text for line in found.tables[2].lines}
    assert levels == {"default", "pv penetration 0.7", "settlement tariff", "fees times 2"}


def test_another_size_is_a_level_of_its_own(tmp_path):
    records = [one for seed in range(4) for one in clear(seed)]
    records += runs(0, {"import_mwh": 200.0}, {}, n=50)
    found = studied(tmp_path, records)
    assert {line[0].text for line in found.tables[2].lines} == {"default", "N = 50"}
    assert next(line for line in found.tables[0].lines if line[1].text == "imports")[5].key < 0


def test_what_single_schemes_tell_is_averaged(tmp_path):
    records = [one for seed in range(4) for one in clear(seed)]
    for one in records:
        if one["scheme"] == "tso-led":
            one["figures"] = {"restoring_costs_dsos": float(one["seed"]), "gain_limit_0": 7.0}
    (line,) = studied(tmp_path, records).tables[-1].lines
    assert [cell.text for cell in line[:3]] == ["tso-led", "restoring costs dsos", "1.500"]


def test_runs_that_are_not_certified_prove_nothing(tmp_path):
    records = [one for seed in range(4) for one in clear(seed)]
    records += runs(9, {"import_mwh": 1e6}, {}, status="gap_limit")
    found = studied(tmp_path, records)
    assert "2 of 10 runs are not certified and were left out." in found.text
    assert verdicts(found)["imports"] == CONFIRMED


def test_without_both_schemes_there_is_no_section(tmp_path):
    results(tmp_path, [row(1)])
    assert claims.study(tmp_path) is None
    assert studied(tmp_path, [one for one in clear(0) if one["scheme"] == "dso-led"]) is None
    failed = [one | {"status": "error", "measures": None} for one in clear(0)]
    assert studied(tmp_path, failed) is None


def test_the_page_has_the_section_its_figure_and_its_rows(tmp_path):
    records = [one for seed in range(4) for one in clear(seed)]
    studied(tmp_path / "rows", records)
    page = write_report(tmp_path / "rows", tmp_path / "out")
    told = page.read_text()
    assert (
        "DSO-led or TSO-led?" in told and "lowers imports from the transmission network: confirmed." in told
    )
    assert 'id="figure-claims"' in told
    assert (tmp_path / "out/figures/claims.png").stat().st_size > 10_000
    assert (tmp_path / "out/report.md").read_text().count("One factor at a time") == 1
    lines = gzip.decompress((tmp_path / "out/study.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == records
    assert 'href="study.jsonl.gz"' in told and "(study.jsonl.gz)" in (tmp_path / "out/report.md").read_text()
    # the growth study is as it was
    assert "tso-led" not in read_results(tmp_path / "rows").series


def test_make_study_orders_the_case(swept):  # noqa: F811
    """20 seeds at the default, one factor at a time with 5 seeds, every scheme on each."""
    lines = sweeps("study", "RESULTS=somewhere", "OUT=page")
    specs = {}
    for words in lines[1:]:
        assert words[-2:] == ["-o", "somewhere/study"]
        specs |= {spec.run_id: spec for spec in swept(*words)}
    assert {spec.n_adns for spec in specs.values()} == {5}
    assert {spec.options.hours for spec in specs.values()} == {24}
    recipes = {spec.run_id: spec.options.model_dump() for spec in specs.values()}
    named = dict(zip(recipes, claims.levels(list(recipes.values())), strict=True))
    seeds = Counter((named[key], spec.scheme) for key, spec in specs.items())
    expected = {"default": 20, "fees times 0.5": 5, "fees times 2": 5, "settlement tariff": 5}
    expected |= {f"pv penetration {v}": 5 for v in (0.7, 2.1)}
    expected |= {f"bess power share {v}": 5 for v in (0.1, 0.4)}
    expected |= {"congestion none": 5, "congestion strong": 5, "network scaled": 5}
    assert seeds == {(level, scheme): n for level, n in expected.items() for scheme in SCHEMES}
