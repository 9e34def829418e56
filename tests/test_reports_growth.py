"""The rival growth laws of the report, and the sentences of its verdict on targets and shared instances."""

import math
import random
from pathlib import Path
from typing import Any

import known_rows
import numpy as np
import pytest
from test_reports import results, row

from reports import compare_results, tables, verdict
from reports.fits import Fit, fit_measure
from reports.laws import Choice, choose, points
from reports.page import gather
from reports.rows import GROUP, STATUSES, read_results

REQUIRED = {"n_adns", "status", *GROUP}
SIZES = np.repeat([1.0, 2.0, 3.0, 5.0, 8.0, 10.0], 2)


def noisy(y: np.ndarray, spread: float, seed: int = 0) -> np.ndarray:
    return y * np.exp(np.random.default_rng(seed).normal(0, spread, len(y)))


def choose_points(y: np.ndarray) -> Choice:
    return choose(points(SIZES, y))


def fitted(folder: Path, records: list[dict[str, Any]], measure: str = "build_s") -> Fit:
    return fit_measure(read_results(results(folder, records)).rows, "nearest:4", measure)


def test_affine_times_are_linear_above_a_constant(tmp_path: Path) -> None:
    times = noisy(0.572 + 0.085 * SIZES, 0.01, seed=1)
    records = [row(int(n), seed=i % 2, build_s=y) for i, (n, y) in enumerate(zip(SIZES, times, strict=True))]
    fit = fitted(tmp_path, records)
    assert fit.chosen == "a + b N" and fit.law == "linear above a constant 0.57 s" and fit.has_constant
    assert fit.low < 1 < fit.high and fit.high - fit.low < 0.3 and fit.exponent == 1
    assert (
        fit.constant == pytest.approx(0.572, rel=0.03)
        and fit.curve is not None
        and fit.curve.scale == pytest.approx(0.085, rel=0.1)
    )
    assert (
        fit.choice is not None and fit.choice.power_exponent < 0.4
    )  # what a power law alone would have told
    assert fit.exponent_text == f"N^1.00 {fit.interval_text} above 0.57 s"
    assert verdict.times([fit]) == ""  # it is not the solve time
    line = [cell.text for cell in tables.fits([fit], ["build_s"]).lines[0]]
    assert line[2:6] == ["linear above a constant 0.57 s", "a + b N", "0.57 s", "1.00"]


@pytest.mark.parametrize("exponent", [0.5, 1.37, 2.0])
def test_a_power_law_is_recovered(exponent: float) -> None:
    choice = choose_points(noisy(0.5 * SIZES**exponent, 0.03))
    # At p = 2 the quadratic law above a tiny constant is as good.
    assert choice.laws in ([("power",), ("power", "quadratic")] if exponent == 2 else [("power",)])
    assert choice.curve.constant == pytest.approx(0, abs=1e-3)
    assert choice.low < exponent < choice.high and choice.high - choice.low < 0.5
    assert choice.curve.exponent == pytest.approx(choice.power_exponent) == pytest.approx(exponent, abs=0.05)


def test_a_quadratic_above_a_constant_is_recovered() -> None:
    choice = choose_points(noisy(1 + 0.05 * SIZES**2, 0.02))
    assert choice.laws == ("quadratic", "general") and choice.low < 2 < choice.high
    assert choice.curve.constant == pytest.approx(1, rel=0.05)
    assert choice.curve.at(np.array([8.0]))[0] == pytest.approx(1 + 0.05 * 64, rel=0.05)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = [choose_points(noisy(0.572 + 0.085 * SIZES, 0.02, seed)) for seed in range(20)]
    assert sum(choice.low <= 1 <= choice.high for choice in held) >= 17


def test_the_choice_is_deterministic_and_free_of_units() -> None:
    times = noisy(0.3 + 0.2 * SIZES, 0.02)
    one, milli = choose_points(times), choose_points(1000 * times)
    assert one == choose_points(times) and one.laws == milli.laws
    assert (one.low, one.high) == pytest.approx((milli.low, milli.high), abs=1e-4)


@pytest.mark.parametrize(("constant", "scale"), [(1.0, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_exact_values(constant: float, scale: float) -> None:
    """Constant, proportional and affine values without any noise."""
    choice: Choice = choose_points(constant + scale * SIZES)
    assert choice.laws == (("linear",) if constant and scale else ("power",))
    assert choice.curve.exponent == pytest.approx(1 if scale else 0, abs=1e-6)
    assert choice.low - 1e-6 <= choice.curve.exponent <= choice.high + 1e-6 < choice.low + 0.02


def test_undecided_between_laws_is_said(tmp_path: Path) -> None:
    times = noisy(0.05 + 0.5 * SIZES, 0.1, seed=3)
    records = [row(int(n), seed=i % 2, solve_s=y) for i, (n, y) in enumerate(zip(SIZES, times, strict=True))]
    fit = fitted(tmp_path, records, "solve_s")
    assert fit.chosen == "undecided: b N^p or a + b N" and not fit.has_constant
    assert fit.law.endswith(", with or without a constant part") and "above" not in fit.exponent_text


def test_three_sizes_are_fitted_by_the_power_law_and_say_so(tmp_path: Path) -> None:
    records = [row(n, seed=seed, build_s=0.2 * n * (1 + 0.01 * seed)) for n in (1, 2, 5) for seed in range(3)]
    fit = fitted(tmp_path, records)
    assert fit.chosen == "b N^p only" and fit.exponent == pytest.approx(1)
    assert fit.law == "linear if there is no constant part, which 3 sizes cannot tell"


def test_repeated_runs_of_an_instance_are_one_point(tmp_path: Path) -> None:
    sizes = (1, 2, 3, 5, 8, 10)
    single = [row(n, build_s=(0.5 + 0.1 * n) * math.exp(0.01 * (-1) ** n)) for n in sizes]
    once, thrice = fitted(tmp_path / "a", single), fitted(tmp_path / "b", 3 * single)
    assert (thrice.n_runs, once.n_runs) == (18, 6)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_an_open_end_of_the_interval_is_shown() -> None:
    fit = Fit("a", "solve_s", 4, 5, 0, 0, "linear", low=0.9, high=6.0)
    assert fit.interval_text == "[0.90, > 6]"


def test_quality_states_the_targets(tmp_path: Path) -> None:
    def words(*records: dict[str, Any]) -> str:
        return verdict.quality(read_results(results(tmp_path, list(records))).rows)

    percent = words(row(1, gap_target=0.01), row(2, gap_target=0.01))
    assert percent.startswith("Of 2 runs: 2 certified to the target of 1 %. ")
    mixed = words(row(1, gap_target=0.01), row(2, gap_target=0.03), row(3, gap_target=0.03))
    assert "3 certified to the targets of 1 % (1 run) and 3 % (2 runs). " in mixed
    above = words(row(1), row(2, status="gap_limit", gap=0.02))
    assert "1 certified to the target of 0.1 % and 1 gap_limit above the target of 0.1 %" in above
    assert "1 certified (target not recorded)" in words(row(1, gap_target=None))


def test_sizes_with_the_same_instances_are_named(tmp_path: Path) -> None:
    def words(*records: dict[str, Any]) -> list[str]:
        return verdict.same_instances(read_results(results(tmp_path, list(records))).rows)

    def digest(n: int, partners: str) -> dict[str, Any]:
        return row(n, partners, instance=f"{partners}-{n}")

    both = [digest(n, partners) for n in (1, 2, 5, 8) for partners in ("nearest:4", "complete")]
    (sentence,) = words(*both)
    assert "Partner graphs nearest:4 and complete: for N <= 5 the two partner graphs are the same" in sentence
    assert words(digest(8, "nearest:4"), digest(8, "complete")) == []
    assert words(digest(2, "nearest:4"), digest(3, "complete")) == []
    assert words(digest(2, "nearest:4"), digest(2, "complete") | {"n_arcs": None}) == []
    # As many arcs, but not between every pair: the same only if the digests are.
    assert words(digest(8, "nearest:4"), digest(8, "ring") | {"n_arcs": 44}) == []


def test_skipped_is_a_refused_order_or_a_hopeless_size() -> None:
    meaning = dict(verdict.HOW_TO_READ)["Status"]
    assert "its order was refused or because a limit stopped every seed of a smaller size" in meaning


@pytest.mark.parametrize(
    ("value", "printed"), [(-1e-9, "0.00"), (-0.0, "0.00"), (-0.004, "0.00"), (-0.01, "-0.01"), (0.0, "0.00")]
)
def test_no_negative_zero(value: float, printed: str) -> None:
    assert tables.number(value, "{:.2f}").text == printed


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(8))
def test_any_mixture_of_rows_has_a_report_and_a_comparison(seed: int, tmp_path: Path) -> None:
    """Statuses, designs, methods and what is not known drawn at random: no failure, no warning."""
    draw = random.Random(seed)
    sizes = draw.sample([1, 2, 3, 5, 8, 12, 20, 32, 64, 100], draw.randint(1, 9))
    records = []
    for _ in range(draw.randint(1, 40)):
        n = draw.choice(sizes)
        record = row(
            n,
            draw.choice(["nearest:4", "complete"]),
            seed=draw.randint(0, 4),
            status=draw.choice([*6 * ["certified"], *STATUSES]),
            method=draw.choice([*5 * ["auto"], "highs", "relaxation"]),
            network=draw.choice(["scaled", "scaled", "fixed"]),
            gap_target=draw.choice([0.01, 0.01, None]),
            solve_s=draw.choice([0.1 * n ** draw.uniform(0, 3), 1e-9, 1.0]),
            nodes=draw.choice([0, 0, 3, None]),
            stopped_in=draw.choice([None, "solve", "build"]),
        )
        unknown = draw.sample([name for name in record if name not in REQUIRED], draw.randint(0, 4))
        records.append(record | dict.fromkeys(unknown))
    found = read_results(results(tmp_path / "a", records))
    content = gather(found)
    assert content["headline"] and len(content["sections"]) >= 8
    assert compare_results(found, read_results(results(tmp_path / "b", records))).counts.empty


def test_other_schemes_do_not_race_with_the_methods(tmp_path: Path) -> None:
    every = read_results(known_rows.study(tmp_path / "all")).records
    records = [one for one in every if one["n_adns"] <= 2]  # where rivals ran
    slow = [
        one | {"scheme": "tso-led", "solve_s": 50.0, "run_id": f"tso-led-{k}"}
        for k, one in enumerate(records)
        if one["method"] == "auto"
    ]
    alone, beside = (
        gather(read_results(results(tmp_path / str(len(rows)), rows))) for rows in (records, records + slow)
    )
    methods = [
        [(one.text, one.tables) for one in content["sections"] if one.anchor == "methods"]
        for content in (alone, beside)
    ]
    assert len(methods[0]) == 1 and methods[0] == methods[1]
