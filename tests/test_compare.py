"""Schemes side by side: the command, the table, the intervals, and what relates one scheme to another."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
from test_cli import files, run  # noqa: F401
from toys import toy

from model.schemes import SCHEMES
from reports.compare import RELATED, SHOWN, bars, cells, interval, measured, profiles, tie_range


def line(scheme, instance="one", seed=0, **more):
    """A run of the study with a few measures."""
    own = {"social_cost": 1010.0, "generation_cost": 1000.0, "import_mwh": 50.0}
    given = {name: more.pop(name) for name in list(more) if name not in ("bound", "figures", "ranges")}
    return {
        "instance": instance,
        "seed": seed,
        "scheme": scheme,
        "status": "certified",
        "bound": None,
        "figures": {},
        "ranges": {},
        "measures": own | given,
    } | more


def test_compare_writes_all_schemes_and_prints_a_table(run, tmp_path):  # noqa: F811
    (tmp_path / "case.json").write_text(toy(2, 3).to_json())
    for _ in range(2):  # the second time over the files of the first
        status, told, _ = run("compare", "case.json", "-o", "out")
        assert status == 0
    assert files(tmp_path / "out") == sorted(
        ["adns.csv", "certificates.json", "measures.csv", "measures.png", "profiles.png", "ranges.csv"]
        + [f"schedule-{scheme}.csv" for scheme in SCHEMES]
    )
    rows = list(csv.DictReader((tmp_path / "out/measures.csv").open()))
    assert [row["scheme"] for row in rows] == list(SCHEMES)
    printed = {text.split("\t")[0]: text.split("\t")[1:] for text in told.splitlines() if "\t" in text}
    assert printed["measure"] == list(SCHEMES)
    imports = [f"{float(row['import_mwh']):,.2f}" for row in rows]
    assert printed["imports (MWh)"] == imports
    central = next(row for row in rows if row["scheme"] == "centralised")
    assert 0 <= float(central["price"]) < 1e-6
    assert all(float(row["above_centralised"]) >= 0 for row in rows)
    checks = json.loads((tmp_path / "out/certificates.json").read_text())
    (of_case,) = checks.values()
    assert {own["status"] for own in of_case.values()} == {"certified"}
    adns = pd.read_csv(tmp_path / "out/adns.csv")
    assert len(adns) == 2 * len(SCHEMES)
    ranges = pd.read_csv(tmp_path / "out/ranges.csv").set_index("measure")
    assert set(ranges["scheme"]) == {"tso-led"}
    led = next(row for row in rows if row["scheme"] == "tso-led")
    low, high = ranges.loc["import_mwh", ["least", "most"]]
    assert low <= float(led["import_mwh"]) <= high
    whole = {row["scheme"]: float(row["dso_cost"]) for row in rows}
    assert adns.groupby("scheme")["dso_cost"].sum().to_dict() == pytest.approx(whole)


def test_compare_of_several_instances_shows_means_with_intervals(run, tmp_path):  # noqa: F811
    cases = [toy(1, 2), toy(1, 2, load_mw=4.0)]
    for name, case in zip("ab", cases, strict=True):
        (tmp_path / f"{name}.json").write_text(case.to_json())
    status, told, _ = run(
        "compare", "a.json", "b.json", "--schemes", "centralised,uncoordinated", "-o", "out"
    )
    assert status == 0
    rows = pd.read_csv(tmp_path / "out/measures.csv")
    names = [case.digest() for case in cases]
    assert rows["instance"].tolist() == [name for name in names for _ in range(2)]
    means = rows.groupby("scheme", sort=False)["import_mwh"].mean()
    assert f"imports (MWh)\t{means['centralised']:,.2f}\t{means['uncoordinated']:,.2f}" in told
    written = {f"schedule-{scheme}-{name}.csv" for scheme in means.index for name in names}
    assert written < set(files(tmp_path / "out"))
    assert set(json.loads((tmp_path / "out/certificates.json").read_text())) == set(names)
    assert set(pd.read_csv(tmp_path / "out/adns.csv")["instance"]) == set(names)
    status, _, errors = run("compare", "a.json", "b.json", "a.json", "-o", "twice")
    assert (status, errors) == (2, f"error: instance: got '{names[0]}'; allowed: every instance once\n")


def test_bars_have_the_interval_over_the_instances():
    found = measured([line("nash", str(k), k, import_mwh=v) for k, v in enumerate((10.0, 20.0, 60.0))])
    picture = bars(found, "three seeds")
    # What relates a scheme to another that is not there has no panel.
    assert [panel.title for panel in picture.panels] == ["Imports"]
    (axes,) = picture.figure().axes
    own = interval([10.0, 20.0, 60.0])
    assert [list(drawn.get_ydata()) for drawn in axes.lines if len(drawn.get_ydata()) == 2][0] == [
        own.low,
        own.high,
    ]


def test_compare_takes_some_schemes_and_says_by_its_status_that_one_failed(run, tmp_path):  # noqa: F811
    (tmp_path / "case.json").write_text(toy(1, 1).to_json())
    status, told, _ = run("compare", "case.json", "--schemes", "centralised,uncoordinated", "-o", "out")
    assert status == 0
    assert "schedule-dso-led.csv" not in files(tmp_path / "out")
    case = toy(1, 1)
    thin = tuple(branch.model_copy(update={"rate_a_mva": 0.01}) for branch in case.feeders[0].branches)
    feeders = (case.feeders[0].model_copy(update={"branches": thin}),)
    (tmp_path / "dark.json").write_text(case.model_copy(update={"feeders": feeders}).to_json())
    status, told, _ = run("compare", "dark.json", "--schemes", "centralised", "-o", "dark")
    assert (status, files(tmp_path / "dark")) == (1, ["certificates.json"])
    assert "centralised\tinfeasible" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--schemes", "anarchy"), "error: scheme: got 'anarchy'; allowed: dso-led, tso-led"),
        (("--schemes", ""), "error: scheme: got ''"),
        (("--gap", "0"), "error: gap: got '0'"),
        (("--time-limit", "never"), "error: time_limit: got 'never'"),
    ],
)
def test_compare_refuses_in_one_line(run, tmp_path, words, told):  # noqa: F811
    (tmp_path / "case.json").write_text(toy(1, 1).to_json())
    status, _, errors = run("compare", "case.json", "-o", "out", *words)
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith(told)
    assert not (tmp_path / "out").exists()


def test_an_interval_is_students_t():
    """Of 1, 2, 3, 4, 5: mean 3, standard error sqrt(0.5), t(0.975, 4) = 2.776445."""
    found = interval([1, 2, 3, 4, 5, math.nan])
    assert (found.mean, found.n) == (3.0, 5)
    assert found.low == pytest.approx(3 - 2.776445 * math.sqrt(0.5), rel=1e-6)
    assert found.high == pytest.approx(3 + 2.776445 * math.sqrt(0.5), rel=1e-6)
    assert math.isnan(interval([7.0]).low) and interval([7.0]).mean == 7.0
    assert interval([]).n == 0 and math.isnan(interval([math.nan]).mean)


def test_schemes_are_related_on_the_same_instance_only():
    rows = [
        line("centralised", "one", bound=1000.0),
        line("tso-led", "one", figures={"scheduled_generation_cost": 990.0}),
        line("nash", "one", social_cost=1030.0),
        line("nash", "two", social_cost=1030.0),
        {"scheme": "dso-led", "instance": "one", "measures": None},
    ]
    found = measured(rows)
    assert len(found) == 4
    one, two = found[found.scheme == "nash"].to_dict("records")
    assert one["above_centralised"] == pytest.approx(30.0)
    assert one["price"] == pytest.approx(0.03)
    assert one["costs_follower"] == pytest.approx(10.0)
    assert all(math.isnan(two[name]) for name in RELATED)


def test_the_table_shows_means_over_instances():
    rows = [line("nash", f"case {k}", k, import_mwh=v) for k, v in enumerate((10.0, 20.0, 60.0))]
    table = cells(measured(rows))
    assert table.title == "All schemes, means over up to 3 instances"
    assert table.columns == ["measure", "nash"]
    shown = {own[0].text: own[1].text for own in table.lines}
    assert shown["imports (MWh)"] == "30.00"
    assert len(table.lines) == len(SHOWN)


def test_ranges_over_ties_are_averaged_and_nothing_is_made_of_none():
    rows = [
        line("tso-led", "one", ranges={"import_mwh": [40.0, 50.0]}),
        line("tso-led", "two", ranges={"import_mwh": [42.0, 56.0]}),
        line("tso-led", "three", ranges=None),
    ]
    found = measured(rows)
    assert tie_range(found, "import_mwh") == (41.0, 53.0)
    assert tie_range(found, "wear") is None


def test_figures_say_in_words_what_they_show():
    rows = [line(scheme, str(seed), seed, import_mwh=50.0 + seed) for scheme in SCHEMES for seed in range(3)]
    picture = bars(measured(rows), "three instances")
    panel = next(panel for panel in picture.panels if panel.title == "Imports")
    assert "nash 51 MWh" in panel.alt.replace(",", "")
    schedule = pd.DataFrame({"hour": [0, 1, 0, 1], "adn": [0, 0, 1, 1]})
    for name in ("p_boundary_mw", "energy_mwh", "p2p_within_mw", "p2p_sold_mw", "price_per_mwh"):
        schedule[name] = [1.0, 2.0, 3.0, 4.0]
    day = profiles({"nash": schedule}, "a case")
    assert "from 4 to 6" in day.panels[0].alt  # sums of two ADNs
    assert "from 8 to 12" in day.panels[2].alt
    assert "from 2 to 3" in day.panels[3].alt  # a price is a mean
    figure = day.figure()
    drawn = figure.axes[0].lines[0]
    assert np.asarray(drawn.get_ydata()).tolist() == [4.0, 6.0]
