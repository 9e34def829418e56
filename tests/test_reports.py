"""The report: rows read and refused, laws told apart, figures and tables complete, links whole."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reports import ReportError, schedules, tables, verdict, write_report
from reports.counts import CountLaw, arcs, compare_counts, count_laws
from reports.fits import fit_growth, fit_measure, growth_word
from reports.publish import FIGURES
from reports.rows import COUNTS, read_results
from reports.study import study as choose_study

COEFFICIENTS = {
    "n_vars": [21000, 9100, 24],
    "n_binaries": [4272, 1100, 0],
    "n_rows": [18000, 8800, 0],
    "n_cones": [0, 900, 0],
    "n_nonzeros": [70000, 32000, 72],
}
SIZES = (1, 2, 3, 5, 8, 10)
PARTNERS = ("nearest:4", "complete")
# With one method there is no profile, with one seed nothing to hold out.
SHOWN = set(FIGURES) - {"profiles", "claims", "challenge", "changes"}


def row(
    n: int, partners: str = "nearest:4", seed: int = 0, changes: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A certified run of ``n`` ADNs whose times follow N^1.5."""
    n_arcs = sum(2 * min(4 if partners == "nearest:4" else n, d) for d in range(n))
    counts = {name: a + b * n + c * n_arcs for name, (a, b, c) in COEFFICIENTS.items()}
    record = {
        **{"instance": f"{n:06x}{seed:06x}", "n_adns": n, "n_arcs": n_arcs, "seed": seed, "hours": 24},
        **{"scheme": "dso-led", "method": "auto", "mode": "big_m", "settlement": "lmp", "partners": partners},
        **{"network": "fixed", "congestion": "moderate", "coupling": "prices", "gap_target": 1e-3},
        **{"time_limit_s": 60.0, "status": "certified", "message": "", **counts},
        **{"predicted": dict(counts), "coefficients": COEFFICIENTS, "generate_s": 0.01 * n},
        **{"build_s": 0.2 * n, "compile_s": 0.1 * n, "solve_s": 0.5 * n**1.5, "certify_s": 0.1 * n},
        **{"total_s": 0.4 * n + 0.5 * n**1.5, "reference_s": 0.4, "peak_mb": 200.0 + 20 * n},
        **{"objective": 1000.0 * n, "bound": 999.5 * n, "bound_by": "safe", "gap": 5e-4, "abs_gap": 0.5 * n},
        **{
            "follower_regret": 1e-7,
            "cone_violation": 1e-7,
            "relaxation_slack": 0.0,
            "shed_mwh": 0.0,
            "nodes": 0,
        },
        **{"run_id": f"{partners.replace(':', '-')}-{n}-{seed}", "options": {"partners": partners}},
        **{"versions": {"highspy": "1.15.1", "python": "3.11"}, "cpu": "a processor", "commit": "abc1234"},
        "started_at": f"2026-01-{n:02d}T00:00:00Z",
    }
    return record | (changes or {}) | more


def timed_out(n: int, partners: str = "nearest:4") -> dict[str, Any]:
    unknown = dict.fromkeys(("objective", "bound", "bound_by", "gap", "abs_gap", "follower_regret", "nodes"))
    return row(n, partners, status="time_limit", solve_s=60.0, message="stopped", changes=unknown)


def schedule(n: int) -> pd.DataFrame:
    lines = []
    for adn in range(1, n + 1):
        for hour in range(24):
            pv = max(0.0, 4 * math.sin(math.pi * (hour - 6) / 12)) if 6 < hour < 18 else 0.0
            lines.append(
                {
                    **{"adn": adn, "hour": hour, "host_bus": adn, "load_mw": 2.0, "pv_mw": pv},
                    **{"pv_available_mw": pv, "charge_mw": 0.1, "discharge_mw": 0.0, "energy_mwh": 1.0},
                    **{
                        "p_boundary_mw": 2.1 - pv,
                        "p2p_within_mw": 0.3,
                        "p2p_sold_mw": 0.1,
                        "p2p_bought_mw": 0.1,
                    },
                    **{"price_per_mwh": 30.0 + adn, "losses_mw": 0.01, "v_min_pu": 0.95, "v_max_pu": 1.0},
                }
            )
    return pd.DataFrame(lines)


def results(folder: Path, records: list[dict[str, Any]], tail: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written report of both partner graphs, with time-outs and schedules; returns its folder."""
    base = tmp_path_factory.mktemp("report")
    records = [row(n, partners) for partners in PARTNERS for n in SIZES[:-1]]
    records += [row(10), timed_out(10, "complete")]
    folder = results(base / "results", records)
    (folder / "schedules").mkdir()
    for n in (3, 5):
        schedule(n).to_csv(folder / "schedules" / f"nearest-4-{n}-0.csv", index=False)
    return write_report(folder, base / "out" / "latest").parent


def test_power_law_is_recovered(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    records = [
        row(n, seed=seed, solve_s=0.5 * n**1.37 * math.exp(noise.normal(0, 0.1)))
        for n in (1, 2, 4, 8, 16, 32)
        for seed in range(3)
    ]
    rows = read_results(results(tmp_path, records)).rows
    fit = fit_measure(rows, "nearest:4", "solve_s")
    assert fit.low < 1.37 < fit.high and fit.high - fit.low < 0.3
    assert fit.law == "between linear and quadratic" and (fit.n_sizes, fit.n_runs) == (6, 18)
    assert fit.at(np.array([8.0]))[0] == pytest.approx(0.5 * 8**1.37, rel=0.1)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.9, 1.1, "linear"),
        (1.9, 2.2, "quadratic"),
        (0.9, 1.7, "compatible with linear"),
        (1.2, 1.8, "between linear and quadratic"),
        (0.3, 0.8, "between constant and linear"),
        (0.8, 2.1, "undecided: linear to quadratic"),
        (-9.0, 9.0, "undecided: constant to cubic"),
        (-0.5, -0.1, "falling"),
        (3.2, 4.0, "faster than cubic"),
    ],
)
def test_growth_word(low: float, high: float, word: str) -> None:
    assert growth_word(low, high) == word


def test_stopped_runs_are_lower_limits_and_failed_ones_nothing(tmp_path: Path) -> None:
    """Stopped after 10 s where the law says 11 and 16 s, they leave it; stopped after 60 s they bend it."""
    known = [row(n) for n in (1, 2, 3, 5)] + [row(4, status="error", solve_s=99.0)]
    early = [row(n, status="time_limit", solve_s=10.0, stopped_in="solve") for n in (8, 10)]
    fit = fit_measure(read_results(results(tmp_path / "early", known + early)).rows, "nearest:4", "solve_s")
    assert fit.exponent == pytest.approx(1.5, abs=1e-3)
    assert (fit.n_runs, fit.n_censored, fit.n_other) == (4, 2, 1)
    late = [timed_out(8), timed_out(10)]
    fit = fit_measure(read_results(results(tmp_path / "late", known + late)).rows, "nearest:4", "solve_s")
    assert fit.exponent > 2


def test_no_fit_from_two_sizes(tmp_path: Path) -> None:
    rows = read_results(results(tmp_path, [row(n, seed=seed) for n in (1, 2) for seed in range(4)])).rows
    fits = fit_growth(rows)
    assert fits and not any(fit.fitted for fit in fits)
    assert "2 of at least 3 sizes" in fits[0].law


def test_counts_are_never_fitted(tmp_path: Path) -> None:
    rows = read_results(results(tmp_path, [row(n) for n in SIZES])).rows
    assert not {fit.measure for fit in fit_growth(rows)} & set(COUNTS)
    for count in COUNTS:
        with pytest.raises(ValueError, match="never fitted"):
            fit_measure(rows, "nearest:4", count)


def test_counts_agree_and_a_mismatch_is_flagged(tmp_path: Path) -> None:
    good = [row(n, partners) for n in SIZES for partners in PARTNERS]
    assert compare_counts(read_results(results(tmp_path / "good", good)).rows)["equal"].all()
    wrong = [row(1), row(2), row(3, n_rows=18000 + 3 * 8800 + 1)]
    compared = compare_counts(read_results(results(tmp_path / "bad", wrong)).rows)
    bad = compared[~compared["equal"].astype(bool)]
    assert [(line.n_adns, line.count) for line in bad[["n_adns", "count"]].itertuples(index=False)] == [
        (3, "n_rows")
    ]
    assert verdict.agreement(compared).startswith("MISMATCH: 1 of 15 built counts differ")
    flags = [line[3] for line in tables.sizes(compared).lines]
    assert [(flag.text, flag.alarm) for flag in flags] == [("yes", False), ("yes", False), ("NO", True)]


def test_sizes_stand_in_order_whatever_else_differs(tmp_path: Path) -> None:
    studies = [row(n) for n in (2, 8)] + [row(n, network="scaled", run_id=f"s{n}") for n in (1, 8, 5)]
    compared = compare_counts(choose_study(read_results(results(tmp_path, studies))).counted)
    assert [line[0].text for line in tables.sizes(compared).lines] == ["1", "2", "5", "8"]


def test_coefficients_must_agree_too(tmp_path: Path) -> None:
    skewed = row(2, coefficients=COEFFICIENTS | {"n_vars": [21000, 9101, 24]})
    compared = compare_counts(read_results(results(tmp_path, [skewed])).rows).set_index("count")["equal"]
    assert compared["n_vars"] is False and compared["n_rows"] is True


def test_a_killed_run_has_sizes_not_known(tmp_path: Path) -> None:
    unknown = dict.fromkeys((*COUNTS, "predicted", "coefficients", "gap"))
    killed = row(4, status="memory_limit", changes=unknown)
    compared = compare_counts(read_results(results(tmp_path, [killed])).rows)
    assert compared["equal"].isna().all()


@pytest.mark.parametrize("n", [1, 2, 4, 5, 9])
def test_arcs_follow_their_definition(n: int) -> None:
    assert arcs("complete", n) == n * (n - 1)
    assert arcs("nearest:4", n) == 2 * sum(min(4, d - 1) for d in range(1, n + 1))
    assert arcs("ring", n) is None


def test_laws_and_crossover(tmp_path: Path) -> None:
    rows = read_results(results(tmp_path, [row(n, partners) for n in (1, 5) for partners in PARTNERS])).rows
    laws = {(law.series, law.count): law for law in count_laws(rows)}
    near, full = laws["nearest:4", "n_vars"], laws["complete", "n_vars"]
    assert (near.law, near.crossover) == ("linear", None)
    assert near.at(50) - near.at(49) == 9100 + 2 * 4 * 24  # type: ignore[operator]
    assert full.law == "quadratic" and full.crossover == pytest.approx(1 + 9100 / 24)
    n = full.crossover
    assert n is not None and 24 * n * (n - 1) == pytest.approx(9100 * n)
    assert laws["complete", "n_cones"].law == "linear"
    assert CountLaw("ring", "ring", "n_vars", 1, 2, 3).law == "unknown"


def test_series_names_tell_what_differs(tmp_path: Path) -> None:
    records = [row(1), row(1, mode="sos1"), row(1, "complete")]
    assert read_results(results(tmp_path, records)).series == [
        "nearest:4, big_m",
        "nearest:4, sos1",
        "complete, big_m",
    ]


def test_damaged_last_line_is_left_out_with_a_note(tmp_path: Path) -> None:
    found = read_results(results(tmp_path, [row(1), row(2)], tail='{"n_adns": 3, "sta'))
    assert len(found.rows) == 2 and "line 3" in found.notes[0]


@pytest.mark.parametrize("tail", ["", "\n", "not json\n"])
def test_no_rows_are_refused(tmp_path: Path, tail: str) -> None:
    with pytest.raises(ReportError, match="at least one result row"):
        read_results(results(tmp_path, [], tail=tail))
    assert not (tmp_path / "out").exists()


def test_missing_folder_and_missing_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="results folder: got .*nowhere"):
        write_report(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ReportError, match=r"rows\.jsonl"):
        write_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_elsewhere_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row(1)) + "\n{broken\n" + json.dumps(row(2)) + "\n")
    with pytest.raises(ReportError, match=r"rows\.jsonl line 2: got '{broken'"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n_adns": 0}, "n_adns: got 0"),
        ({"n_adns": None}, "n_adns: got None"),
        ({"n_adns": 1.5}, "n_adns: got 1.5"),
        ({"status": "fine"}, "status: got 'fine'; allowed: certified"),
        ({"solve_s": "fast"}, "solve_s: got 'fast'; allowed: a number"),
        ({"gap": True}, "gap: got True"),
        ({"partners": 4}, "partners: got 4"),
        ({"versions": "1.0"}, "versions: got '1.0'"),
        ({"coefficients": {"n_vars": [1, 2]}}, "coefficients.n_vars"),
        ({"predicted": {"n_vars": 1.5}}, "predicted.n_vars"),
    ],
)
def test_bad_fields_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ReportError) as caught:
        read_results(results(tmp_path, [row(1), row(2, changes=changes)]))
    message = str(caught.value)
    assert f"rows.jsonl line 2, {complaint}" in message and "\n" not in message


def test_mixed_rows_are_named(tmp_path: Path) -> None:
    records = [
        row(1),
        row(2, commit="other", versions={"highspy": "1.14.0"}, options={"pv": 1}, shed_mwh=0.5),
    ]
    notes = " ".join(read_results(results(tmp_path, records)).notes)
    for words in ("2 commits", "versions of highspy: 1.14.0, 1.15.1", "generator options", "shed in 1 of 2"):
        assert words in notes


def test_page_is_self_contained_and_complete(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert not re.findall(r"https?://|src=|@import|url\((?!#)", page)
    assert all(f'id="figure-{name}"' in page for name in SHOWN)
    assert page.count("<svg") == 2 + 5 + 4 + 2 + 1 + 6
    assert "Holding out the larger sizes needs six sizes" in page
    assert page.count('role="img" aria-label="') == page.count("<svg") and page.count("<figcaption>") == 6
    for title in (
        "Sizes as built and as predicted",
        "Closed forms",
        "Fitted growth laws",
        "Seconds by phase",
    ):
        assert f"<h3>{title}" in page
    for title in ("Every run", "Peak memory", "Energy of the day", "Machine, settings and versions"):
        assert f"<h3>{title}" in page
    identities = re.findall(r'\bid="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(identities)
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_verdict_says_the_laws(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert "Variables grow linearly with nearest:4 and quadratically with complete" in page
    assert "solve time grows as N^1.50 [1.50, 1.50] with nearest:4" in page
    assert "for N &lt;= 5 the two partner graphs are the same instances" in page
    assert "Built counts equal the closed form in all 60 comparisons" in page
    assert "11 certified to the target of 0.1 % and 1 time_limit" in page and "above N = 380" in page
    assert "The run shown: N = 5, nearest:4, seed 0, certified." in page


def test_markdown_links_exist(report: Path) -> None:
    text = (report / "report.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert {f"figures/{name}.png" for name in SHOWN} < set(links)
    assert all((report / link).is_file() for link in links)
    for header, ruler in re.findall(r"^(\|.*)\n(\|[ :|-]+)$", text, flags=re.MULTILINE):
        assert header.count("|") == ruler.count("|")


def test_downloads_hold_the_rows(report: Path) -> None:
    lines = (report / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["n_adns"] for line in lines] == [*SIZES[:-1], *SIZES[:-1], 10, 10]
    table = pd.read_csv(report / "rows.csv")
    assert len(table) == 12 and table["predicted_n_vars"].eq(table["n_vars"]).all()
    assert json.loads(table["coefficients_n_vars"][0]) == [21000, 9100, 24]


def test_report_is_compact_deterministic_and_replaces_an_older_one(report: Path, tmp_path: Path) -> None:
    source, output = report.parent.parent / "results", tmp_path / "out"
    (output / "figures").mkdir(parents=True)
    (output / "index.html").write_text("old")
    (output / "mine.txt").write_text("kept")
    write_report(source, output)
    files = [path.relative_to(report) for path in report.rglob("*") if path.is_file()]
    assert all((report / path).read_bytes() == (output / path).read_bytes() for path in files)
    assert (output / "mine.txt").read_text() == "kept"
    assert sum((report / path).stat().st_size for path in files) < 2e6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_one_size_all_stopped_and_no_schedule(tmp_path: Path) -> None:
    (tmp_path / "out" / "figures").mkdir(parents=True)
    older = [tmp_path / "out" / name for name in ("figures/day.png", "figures/claims.png", "study.jsonl.gz")]
    for path in older:
        path.write_text("of an older report")
    unknown = dict.fromkeys((*COUNTS, "predicted", "solve_s", "peak_mb", "gap"))
    skipped = row(5, status="skipped", changes=unknown)
    page = write_report(results(tmp_path / "in", [timed_out(5), skipped]), tmp_path / "out").read_text()
    assert "too few sizes finished" in page and "0 of at least 3 sizes finished" in page
    assert "No run finished by itself" in page and "Fewer than three sizes" in page
    assert "No run has left a readable schedule" in page
    assert "study.jsonl" not in page and not any(path.exists() for path in older)


def test_rows_with_nothing_but_a_status(tmp_path: Path) -> None:
    kept = ("n_adns", "status", "scheme", "method", "mode", "partners", "network", "settlement", "congestion")
    bare = {name: row(2)[name] for name in kept} | {"status": "error", "message": "<script>|x"}
    page = write_report(results(tmp_path / "in", [bare]), tmp_path / "out").read_text()
    assert "&lt;script&gt;" in page and "<script>|x" not in page
    assert "No built count could be compared" in page


def test_energy_of_the_day_is_physical(tmp_path: Path) -> None:
    folder = results(tmp_path, [row(2)])
    (folder / "schedules").mkdir()
    schedule(2).to_csv(folder / "schedules" / "nearest-4-2-0.csv", index=False)
    _, totals, _ = schedules.one_day(read_results(folder))
    assert totals is not None and list(totals.index) == [1, 2]
    balance = totals["imported"] - totals["exported"]
    assert balance[1] == pytest.approx(schedule(1)["p_boundary_mw"].sum()) and totals["exported"][1] > 0
    assert totals["mean price ($/MWh)"][2] == pytest.approx(32.0)


def test_unreadable_schedule_is_left_out_with_a_note(tmp_path: Path) -> None:
    folder = results(tmp_path / "in", [row(5)])
    (folder / "schedules").mkdir()
    schedule(5).drop(columns="pv_mw").to_csv(folder / "schedules" / "nearest-4-5-0.csv", index=False)
    picture, totals, notes = schedules.one_day(read_results(folder))
    assert picture is None and totals is None
    assert notes == ["Schedule nearest-4-5-0.csv was left out: it lacks the column pv_mw."]


def test_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    folder = results(tmp_path / "in", [row(1)])
    (tmp_path / "file").write_text("a file")
    for output in (tmp_path / "file", tmp_path / "file" / "below", folder):
        with pytest.raises(ReportError, match="output folder: got"):
            write_report(folder, output)
    assert (tmp_path / "file").read_text() == "a file" and [path.name for path in folder.iterdir()] == [
        "rows.jsonl"
    ]
