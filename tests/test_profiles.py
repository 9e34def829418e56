"""Methods over all instances: shifted geometric means and performance profiles of hand-made races."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_reports import results, row

from reports import profiles, write_report
from reports.profiles import contest, profile, shifted_mean
from reports.rows import read_results


def races(times: dict[str, list[float | None]], limit: float = 100.0) -> list[dict[str, Any]]:
    """One instance a place; None is a run that the limit stopped."""
    return [
        row(
            place + 1,
            method=method,
            solve_s=limit if solve_s is None else solve_s,
            status="time_limit" if solve_s is None else "certified",
            time_limit_s=limit,
        )
        for method, all_s in times.items()
        for place, solve_s in enumerate(all_s)
    ]


def rows(folder: Path, records: list[dict[str, Any]]) -> pd.DataFrame:
    return read_results(results(folder, records)).rows


TIMES: dict[str, list[float | None]] = {
    "auto": [1.0, 2.0, 8.0, None],
    "highs": [0.5, 4.0, None, None],
    "naive": [None, None, None, None],
}


def test_the_shifted_geometric_mean_is_its_formula() -> None:
    assert shifted_mean(np.array([1.0, 5.0]), 3.0) == pytest.approx(math.sqrt(4 * 8) - 3)
    assert shifted_mean(np.array([7.0]), 10.0) == pytest.approx(7.0) and math.isnan(
        shifted_mean(np.array([]))
    )


def test_means_count_time_outs_at_the_limit_and_leave_them_out_of_the_common_ones(tmp_path: Path) -> None:
    found = contest(rows(tmp_path, races(TIMES)))
    assert found is not None and found.methods == ("auto", "highs", "naive")
    assert list(found.by_all) == [True, True, False, False]  # naive solves nothing, so it does not decide
    lines = {line[0].text: [cell.key for cell in line[1:]] for line in profiles.means(found).lines}

    def mean(*times: float) -> float:
        return math.prod(t + 10 for t in times) ** (1 / len(times)) - 10

    auto, highs = mean(1, 2, 8, 100), mean(0.5, 4, 100, 100)
    assert lines["auto"] == pytest.approx([3, auto, 1, mean(1, 2), 1])
    assert lines["highs"] == pytest.approx([2, highs, highs / auto, mean(0.5, 4), mean(0.5, 4) / mean(1, 2)])
    assert lines["naive"][:2] == pytest.approx([0, 100]) and lines["naive"][3:] == [None, None]


def test_profiles_are_shares_within_a_factor_of_the_best(tmp_path: Path) -> None:
    found = contest(rows(tmp_path, races(TIMES)))
    assert found is not None
    parts = profile(found.solve_s, found.solved, np.array([1.0, 1.99, 2.0, 1e9]))
    assert parts[:, 0] == pytest.approx([0.5, 0.5, 0.75, 0.75])  # best on two, twice the best on one
    assert parts[:, 1] == pytest.approx([0.25, 0.25, 0.5, 0.5]) and not parts[:, 2].any()
    shares = [[cell.text for cell in line] for line in profiles.shares(found).lines]
    assert shares[0] == ["all", "auto", "50 %", "75 %", "75 %", "75 %", "75 %"]
    assert shares[3] == ["solved by all", "auto", "50 %", "100 %", "100 %", "100 %", "100 %"]
    picture = profiles.picture(found)
    assert picture is not None and [panel.title for panel in picture.panels] == [
        "All: 4 instances",
        "Solved by all: 2 instances",
    ]


def test_only_instances_that_all_methods_ran_on_are_compared(tmp_path: Path) -> None:
    apart = [
        row(9, method="auto"),
        row(9, method="relaxation"),
        row(8, method="auto"),
        row(8, method="highs"),
    ]
    found = contest(rows(tmp_path / "apart", [*races(TIMES), *apart]))
    assert found is not None and len(found.solve_s) == 4
    assert contest(rows(tmp_path / "one", [row(n) for n in (1, 2)])) is None
    assert contest(rows(tmp_path / "unit", [row(1), row(1, method="relaxation")])) is None
    nothing = contest(rows(tmp_path / "none", races({"auto": [None], "highs": [None]})))
    assert nothing is not None and profiles.picture(nothing) is None


def test_a_point_that_is_not_certified_is_not_solved(tmp_path: Path) -> None:
    records = [row(1), row(1, method="highs", status="gap_limit"), row(1, method="scip", status="error")]
    found = contest(rows(tmp_path, records))
    assert found is not None and list(found.solved[0]) == [True, False, False]
    assert list(found.counted_s[0]) == [0.5, 60.0, 60.0]


def test_the_report_shows_profiles_with_their_tables(tmp_path: Path) -> None:
    page = write_report(results(tmp_path / "in", races(TIMES)), tmp_path / "out").read_text()
    assert 'id="figure-profiles"' in page and "Shifted geometric means of the solve time (shift 10 s" in page
    assert "Shares of instances solved" in page and "highs 26.5 s (2 solved)" in page
