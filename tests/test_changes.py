"""Two results compared: changes found where they were made, noise left alone, counts to the last one."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_reports import results, row

import tso_dso
from reports import ReportError, compare_results, read_results, write_changes
from reports.changes import Change, Comparison

PHASES = ("build_s", "compile_s", "solve_s", "certify_s")


def runs(
    seed: int, factor: float = 1.0, noise: float = 0.03, speed: float = 1.0, **changes: Any
) -> list[dict[str, Any]]:
    """Ten runs of a suite; building takes ``factor`` times as long, the machine ``speed`` times."""
    rng = np.random.default_rng(seed)
    records = []
    for n in (1, 2, 4, 8, 16):
        for k in (0, 1):
            record = row(n, seed=k, reference_s=0.04 * speed)
            scatter = np.exp(rng.normal(0, noise, size=len(PHASES)))
            for name, own in zip(PHASES, scatter, strict=True):
                record[name] *= own * speed * (factor if name == "build_s" else 1.0)
            record["generate_s"] *= speed * np.exp(rng.normal(0, noise))
            record["peak_mb"] *= np.exp(rng.normal(0, 0.003))
            record["total_s"] = sum(record[name] for name in PHASES)
            records.append(record | changes)
    return records


def compared(folder: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Comparison:
    return compare_results(
        *(read_results(results(folder / name, records)) for name, records in (("a", before), ("b", after)))
    )


def measure(found: Comparison, name: str) -> Change:
    return next(one for one in found.changes if one.measure == name)


def test_a_fifth_more_build_time_is_found_and_nothing_else(tmp_path: Path) -> None:
    found = compared(tmp_path, runs(0), runs(1, factor=1.2))
    build = measure(found, "build_s")
    assert build.is_change and build.verdict == "slower" and build.low < 1.2 < build.high
    assert build.ratio == pytest.approx(1.2, rel=0.03) and build.n == 10
    assert [one.measure for one in found.changes if one.is_change] == ["build_s"]
    assert found.sentences[0] == "All counts are equal in 10 pairs of runs."
    assert found.sentences[1].startswith("Build with nearest:4: slower, +")


def test_what_became_faster_is_said_too(tmp_path: Path) -> None:
    assert measure(compared(tmp_path, runs(0, factor=1.25), runs(1)), "build_s").verdict == "faster"


@pytest.mark.long
def test_noise_is_called_noise_as_often_as_it_should(tmp_path: Path) -> None:
    """Of 24 comparisons of equals, 5 % may tell of a change; six of 24 with probability 0.001."""
    false = [
        compared(tmp_path / str(k), runs(2 * k, noise=0.1), runs(2 * k + 1, noise=0.1)) for k in range(24)
    ]
    assert sum(any(one.is_change for one in found.changes) for found in false) < 6


def test_a_slower_machine_is_no_slower_code(tmp_path: Path) -> None:
    assert not any(one.is_change for one in compared(tmp_path, runs(0), runs(1, speed=1.5)).changes)
    without = [record | {"reference_s": None} for record in runs(1, speed=1.5)]
    unknown = compared(tmp_path / "unknown", runs(0), without)
    assert measure(unknown, "build_s").is_change
    assert any("have no time of the reference workload" in note for note in unknown.notes)


def test_a_change_within_a_machines_day_is_not_held_against_the_code(tmp_path: Path) -> None:
    one = measure(compared(tmp_path, runs(0, noise=0.001), runs(1, factor=1.02, noise=0.001)), "build_s")
    assert not one.is_change and one.verdict == "no more than a machine's day (5 %)"


def test_one_more_constraint_a_feeder_is_found_exactly(tmp_path: Path) -> None:
    after = [record | {"n_rows": record["n_rows"] + record["n_adns"]} for record in runs(0)]
    found = compared(tmp_path, runs(0), after)
    assert found.sentences[0] == "Counts changed, which is no noise: rows +1 an ADN with nearest:4."
    assert list(found.counts["after"] - found.counts["before"]) == [1, 2, 4, 8, 16]


def test_runs_are_paired_by_their_order_and_the_rest_is_counted(tmp_path: Path) -> None:
    before = [*runs(0), row(32, seed=0)]
    after = [record | {"status": "time_limit"} if record["n_adns"] == 16 else record for record in runs(1)]
    after += [row(1, "complete"), row(2, changes={"options": {"pv": 3}})]
    found = compared(tmp_path, before, after)
    assert len(found.pairs) == 10 and found.alone == (1, 2)
    assert len(found.statuses) == 2 and "2 of 10 runs ended with another status." in found.sentences
    assert measure(found, "solve_s").n == 8 and "Without a pair: 1 runs before, 2 after." in found.notes
    with pytest.raises(ReportError, match="results folder: got .*runs of the same order as in"):
        compared(tmp_path / "none", [row(1)], [row(2)])


def test_two_pairs_are_too_few_to_tell(tmp_path: Path) -> None:
    one = measure(
        compared(tmp_path, [row(1), row(2)], [row(1, build_s=9.0), row(2, build_s=18.0)]), "build_s"
    )
    assert not one.is_change and one.verdict == "too few pairs to tell"


def test_versions_and_commits_that_differ_are_named(tmp_path: Path) -> None:
    found = compared(tmp_path, runs(0), runs(1, commit="fedcba9", versions={"highspy": "1.16.0"}))
    assert "highspy: 1.15.1 before, 1.16.0 after." in found.notes
    assert "commit: abc1234 before, fedcba9 after." in found.notes


def test_the_page_shows_what_changed(tmp_path: Path) -> None:
    before = results(tmp_path / "a", runs(0))
    after = results(
        tmp_path / "b", [record | {"n_rows": record["n_rows"] + 1} for record in runs(1, factor=1.3)]
    )
    page, _ = write_changes(before, after, tmp_path / "out")
    words = page.read_text()
    assert "Counts changed, which is no noise: rows" in words and "Build with nearest:4: slower" in words
    assert 'id="figure-changes"' in words and (tmp_path / "out" / "figures" / "changes.png").is_file()
    assert "![" in (tmp_path / "out" / "report.md").read_text()
    quiet, _ = write_changes(before, results(tmp_path / "c", runs(0)), tmp_path / "quiet")
    assert '<p class="headline">Nothing changed beyond noise.</p>' in quiet.read_text()
    assert re.search(r'class="headline">Counts changed[^<]* Build with nearest:4: slower', words)
    with pytest.raises(ReportError, match="output folder"):
        write_changes(before, after, before)


def test_the_command_line_compares_two_results_and_refuses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tso_dso, "end_cleanly", lambda: None)  # the signals of this process are pytest's
    monkeypatch.chdir(tmp_path)
    results(tmp_path / "a", runs(0))
    results(tmp_path / "b", runs(1, factor=1.2))

    def told(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as end:
            tso_dso.main(["report", *words])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    status, out, errors = told("a", "b")
    assert (status, errors) == (0, "") and out.splitlines()[1].startswith("Build with nearest:4: slower, +")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    status, out, errors = told("a", "b", "-o", "out")
    assert status == 0 and out.endswith("report: out/index.html\n")
    for words, complaint in (
        (["a"], "output: got ''"),
        (["a", "b", "a"], "results folders: got 'a b a'; allowed: one folder, or two"),
        (["a", "nowhere"], "results folder: got 'nowhere'"),
    ):
        status, out, errors = told(*words)
        assert (status, out) == (2, "") and errors.startswith(f"error: {complaint}")
        assert errors.count("\n") == 1
