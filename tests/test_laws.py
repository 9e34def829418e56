"""The growth laws: lower limits, intervals, the choice among rivals and their challenge, on known laws."""

import math
from pathlib import Path

import known_rows
import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from test_reports import results, row

from reports import figures, tables, verdict
from reports.challenge import challenge
from reports.fits import NORMALISED, Fit, fit_measure, observed
from reports.laws import DRAWS, FORMULAS, LAWS, Points, choose, fit, fit_many, interval, points
from reports.rows import read_results
from reports.study import study, words
from reports.tobit import likelihood, tobit

SIZES = np.repeat([1.0, 2, 4, 8, 16, 32, 64, 128], 5)
KNOWN = {
    "power": lambda n: 0.3 * n**1.4,
    "linear": lambda n: 1 + 0.1 * n,
    "n log n": lambda n: 1 + 0.1 * n * np.log(n),
    "quadratic": lambda n: 1 + 0.01 * n**2,
    "exponential": lambda n: np.exp(0.03 * n),
}


def measured(law: str, seed: int, scatter: float = 0.1, limit: float = math.inf) -> Points:
    """Values of a known law with scatter, stopped at a limit."""
    y = KNOWN[law](SIZES) * np.exp(np.random.default_rng(seed).normal(0, scatter, len(SIZES)))
    return points(SIZES, np.minimum(y, limit), y > limit)


# Lower limits.


def em(x: np.ndarray, y: np.ndarray, is_limit: np.ndarray) -> tuple[np.ndarray, float]:
    """Tobit by expectation and maximisation: limits replaced by their mean above themselves, repeatedly."""
    beta, variance = np.linalg.lstsq(x, y, rcond=None)[0], 1.0
    for _ in range(4000):
        centre, sigma = x @ beta, math.sqrt(variance)
        bound = (y - centre) / sigma
        hazard = stats.norm.pdf(bound) / stats.norm.sf(bound)
        filled = np.where(is_limit, centre + sigma * hazard, y)
        more = np.where(is_limit, variance * (1 + bound * hazard - hazard**2), 0.0)
        beta = np.linalg.lstsq(x, filled, rcond=None)[0]
        variance = float(np.mean((filled - x @ beta) ** 2 + more))
    return beta, math.sqrt(variance)


def test_tobit_is_the_fixed_point_of_expectation_and_maximisation() -> None:
    at = measured("power", 1, 0.3, limit=20.0)
    assert 5 < at.is_limit.sum() < 20
    x = np.stack([np.ones(len(SIZES)), np.log(SIZES)], axis=-1)
    found = tobit(x, np.log(at.y), at.is_limit, np.ones(len(SIZES)))
    beta, sigma = em(x, np.log(at.y), at.is_limit)
    assert found.beta == pytest.approx(beta, abs=1e-5) and float(found.sigma) == pytest.approx(
        sigma, abs=1e-5
    )
    for change in (1e-3, -1e-3):
        worse = likelihood(
            x, np.log(at.y), at.is_limit, np.ones(len(SIZES)), 0.0, found.beta + change, found.sigma
        )
        assert worse < found.likelihood


def test_tobit_without_limits_is_least_squares() -> None:
    at = measured("power", 2, 0.3)
    x = np.stack([np.ones(len(SIZES)), np.log(SIZES)], axis=-1)
    weights = np.random.default_rng(0).integers(0, 3, len(SIZES)).astype(float)
    found = tobit(x, np.log(at.y), at.is_limit, weights)
    assert found.beta == pytest.approx(sm.WLS(np.log(at.y), x, weights).fit().params, abs=1e-7)


def test_an_exponent_is_recovered_though_a_third_of_the_runs_was_stopped() -> None:
    """Left out, the stopped runs would be those of the slow instances, and growth would look slower."""
    with_limits, without = [], []
    for seed in range(40):
        at = measured("power", seed, 0.5, limit=12.0)
        with_limits.append(fit("power", at).exponent)
        without.append(fit("power", at.at(~at.is_limit)).exponent)
    assert np.mean(with_limits) == pytest.approx(1.4, abs=0.03)  # their standard error is 0.011
    assert np.mean(without) < 1.3


@pytest.mark.parametrize("limit", [math.inf, 15.0])
def test_the_bootstrap_interval_covers_the_exponent_as_often_as_it_says(limit: float) -> None:
    """Of 120 intervals of 95 %, fewer than 106 hold the truth with probability 0.0004 only."""
    held = 0
    for seed in range(120):
        at = measured("power", seed, 0.3, limit)
        exponents = fit_many("power", at, at.draws(DRAWS, 3)).exponent
        low, high = interval(exponents, at.n_instances, 2)
        held += low <= 1.4 <= high
    assert 106 <= held < 120


def test_the_bootstrap_draws_instances_whole() -> None:
    at = measured("power", 0)
    thrice = Points(*(np.repeat(part, 3) for part in (at.n, at.y, at.is_limit, at.instance)))
    weights = thrice.draws(50, 3).reshape(50, len(SIZES), 3)
    assert (weights == weights[..., :1]).all() and weights.sum(axis=(1, 2)) == pytest.approx(len(SIZES))
    assert choose(thrice).power_high == pytest.approx(choose(at).power_high)


# Rivals.


@pytest.mark.parametrize("law", KNOWN)
def test_every_rival_is_recognised_where_it_holds(law: str) -> None:
    at = measured(law, 5, 0.05)
    choice, trial = choose(at), challenge(at)
    assert trial is not None and law in trial.standing and law in choice.laws
    assert set(choice.laws) <= {law, "general"}  # which holds most of them as special cases
    assert set(trial.standing) <= {law, "general", *(["quadratic"] if law == "exponential" else [])}


@pytest.mark.long
def test_the_true_law_is_rarely_refuted_by_the_sizes_held_out() -> None:
    """The intervals hold with 95 %; of 30 fewer than 24 stand with probability 0.0006."""
    stood = 0
    for seed in range(30):
        trial = challenge(measured("linear", seed, 0.2))
        assert trial is not None
        stood += "linear" in trial.standing
    assert stood >= 24


def test_the_challenge_looks_at_larger_sizes_only() -> None:
    at = measured("power", 4)
    trial = challenge(at)
    assert trial is not None
    assert (trial.fitted, trial.held) == ((1, 2, 4, 8, 16), (32, 64, 128))
    changed = challenge(Points(at.n, np.where(at.n > 16, 100 * at.y, at.y), at.is_limit, at.instance))
    assert changed is not None and changed.standing == ()
    for law in LAWS:
        assert changed.trials[law].low == pytest.approx(trial.trials[law].low)
    assert trial.measured[0] == pytest.approx(stats.gmean(at.y[at.n == 32]))
    one = trial.trials["power"]
    assert (one.low < one.value).all() and (one.value < one.high).all() and 1 <= one.factor < 1.5


def test_a_held_out_size_that_was_stopped_refutes_only_what_stays_below() -> None:
    trial = challenge(measured("power", 6, 0.1, limit=60.0))
    assert trial is not None and list(trial.is_limit) == [False, True, True]
    assert "power" in trial.standing and "linear" in trial.refuted
    above = trial.trials["quadratic"]  # above the limit nothing contradicts it there
    assert list(above.meets[1:]) == [True, True]


def test_too_little_to_hold_out_is_no_challenge() -> None:
    few = SIZES < 20  # five sizes
    assert challenge(measured("power", 0).at(few)) is None
    single = np.arange(len(SIZES)) % 5 == 0  # one seed: five instances below those held out
    assert challenge(measured("power", 0).at(single)) is None


def told(folder: Path, times: dict[int, list[float]], **changes: object) -> Fit:
    records = [
        row(n, seed=k, solve_s=y, **changes) for n, all_y in times.items() for k, y in enumerate(all_y)
    ]
    return fit_measure(read_results(results(folder, records)).rows, "nearest:4", "solve_s")


def test_power_or_exponential_is_undecided_once(tmp_path: Path) -> None:
    """Six sizes up to ten, as the default sweep has, tell powers from exponentials only without scatter."""
    rng = np.random.default_rng(0)
    times = {n: list(0.3 * np.exp(0.3 * n + rng.normal(0, 0.3, 2))) for n in (1, 2, 3, 5, 8, 10)}
    fitted = told(tmp_path, times)
    assert {"exponential", "quadratic"} <= set(fitted.held)
    assert fitted.law.startswith("undecided: ") and fitted.law.count("undecided") == 1
    assert fitted.law.endswith(", or exponential")


def test_what_the_evidence_does_not_tell_is_undecided(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    blurred = {n: list((0.05 + 0.1 * n) * np.exp(rng.normal(0, 0.5, 3))) for n in (1, 2, 4, 8, 16, 32)}
    fitted = told(tmp_path / "blurred", blurred)
    assert fitted.chosen.startswith("undecided: ") and FORMULAS["linear"] in fitted.chosen
    broken = {
        n: [(1 + 0.1 * n if n < 20 else 0.05 * n**1.7) * (1 + k / 50) for k in range(4)]
        for n in known_rows.SIZES
    }
    fitted = told(tmp_path / "broken", broken)
    assert fitted.law == "undecided: no law holds beyond its sizes" and "misses larger sizes" in fitted.chosen
    assert fitted.exponent_text.endswith(" (refuted by larger sizes)")


def test_an_exponential_is_said_without_an_exponent(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    times = {n: list(np.exp(0.05 * n + rng.normal(0, 0.03, 4))) for n in known_rows.SIZES}
    fitted = told(tmp_path, times)
    assert (fitted.law, fitted.chosen) == ("exponential", "b exp(c N)")
    assert fitted.exponent_text == "exp(0.05 N)" and math.isnan(fitted.exponent)
    line = [cell.text for cell in tables.fits([fitted], ["solve_s"]).lines[0]]
    assert line[5] == "–" and "solve time grows as exp(0.05 N) with nearest:4" in verdict.headline(
        [], [fitted]
    )


def test_three_sizes_and_seven_instances_are_not_compared(tmp_path: Path) -> None:
    few = told(tmp_path / "few", {1: [1.0, 1.1], 2: [2.0, 2.1], 4: [4.0], 8: [8.0, 8.1]})
    assert few.chosen == "b N^p only" and "which 7 instances cannot tell" in few.law
    x = np.log([1, 1, 2, 2, 4, 8, 8])
    ends = sm.OLS(np.log([1, 1.1, 2, 2.1, 4, 8, 8.1]), sm.add_constant(x)).fit().conf_int()[1]
    assert (few.low, few.high) == pytest.approx(tuple(ends), rel=1e-4)
    two = told(tmp_path / "two", {1: [1.0] * 9, 2: [2.0] * 9})
    assert not two.fitted and "2 of at least 3 sizes" in two.law


# What a stopped run tells of each phase.


def seen(folder: Path, measure: str, **changes: object) -> list[tuple[float, bool]]:
    at = observed(read_results(results(folder, [row(4, changes=dict(changes))])).rows, measure)
    return [(float(y), bool(limit)) for y, limit in zip(at.y, at.is_limit, strict=True)]


def test_phases_before_the_limit_are_whole_the_one_at_it_a_lower_limit(tmp_path: Path) -> None:
    killed = {"status": "time_limit", "stopped_in": "compile", "compile_s": 90.0, "reference_s": 0.5}
    killed |= dict.fromkeys(("solve_s", "certify_s", "total_s", "nodes"))

    def told_of(measure: str) -> list[tuple[float, bool]]:
        return seen(tmp_path, measure, **killed)

    assert told_of("build_s") == [(0.8, False)] and told_of("compile_s") == [(90.0, True)]
    assert told_of("solve_s") == told_of("certify_s") == told_of("nodes") == []
    total = 0.04 + 0.8 + 90.0
    assert told_of("total_s") == [(pytest.approx(total), True)]
    assert told_of(NORMALISED) == [(pytest.approx(total / 0.5), True)]
    assert told_of("peak_mb") == [(280.0, True)]


def test_rows_of_older_sweeps_tell_the_phase_by_what_is_missing(tmp_path: Path) -> None:
    killed = {"status": "time_limit", "time_limit_s": 60.0} | dict.fromkeys(
        ("solve_s", "certify_s", "total_s")
    )
    assert seen(tmp_path, "solve_s", **killed) == [(60.0, True)]
    assert seen(tmp_path, "solve_s", **killed | {"status": "memory_limit"}) == []
    assert seen(tmp_path, "compile_s", **killed) == [(0.4, False)]
    by_itself = {"status": "time_limit", "solve_s": 61.0}
    assert (
        seen(tmp_path, "solve_s", **by_itself) == [(61.0, True)]
        and seen(tmp_path, "certify_s", **by_itself) == []
    )
    assert seen(tmp_path, "solve_s", status="error") == seen(tmp_path, "solve_s", status="skipped") == []
    assert seen(tmp_path, "nodes", nodes=0) == [(1.0, False)]


def test_nodes_that_are_none_are_constant_without_a_negative_zero(tmp_path: Path) -> None:
    records = [row(n, seed=k, nodes=0) for n in (1, 2, 4, 8) for k in (0, 1)]
    fitted = fit_measure(read_results(results(tmp_path, records)).rows, "nearest:4", "nodes")
    assert (fitted.law, fitted.exponent_text) == ("constant", "N^0.00 [0.00, 0.00]")


def test_normalising_takes_a_slow_machine_out(tmp_path: Path) -> None:
    """The last sizes were run on a machine, or in an hour, of half the speed."""
    records = [
        row(n, seed=k, total_s=slow * n**1.2, reference_s=slow * 0.04)
        for n in known_rows.SIZES
        for k in range(3)
        for slow in [1.0 if n < 10 else 2.0]
    ]
    rows = read_results(results(tmp_path, records)).rows
    assert fit_measure(rows, "nearest:4", NORMALISED).exponent == pytest.approx(1.2, abs=1e-3)
    assert fit_measure(rows, "nearest:4", "total_s").choice.power_exponent > 1.3  # type: ignore[union-attr]


# The runs that a study is about.


def test_the_study_is_of_one_design_on_the_scaled_network(tmp_path: Path) -> None:
    scaled = [
        row(n, graph, network="scaled", gap_target=0.03)
        for n in (1, 2, 5)
        for graph in ("nearest:4", "complete")
    ]
    fixed = [row(n, network="fixed", gap_target=0.03) for n in (1, 2, 3, 5, 8)]
    finer = [row(n, network="scaled", gap_target=0.001) for n in (1, 2)]
    chosen = study(read_results(results(tmp_path / "all", [*fixed, *finer, *scaled])))
    assert set(chosen.main.rows["network"]) == {"scaled"} and set(chosen.main.rows["gap_target"]) == {0.03}
    assert chosen.main.series == ["nearest:4", "complete"] and len(chosen.others) == 7
    assert list(dict.fromkeys(chosen.counted["series"])) == ["nearest:4", "complete"]
    some = study(read_results(results(tmp_path / "some", [*fixed, *finer])))  # two sizes are no study
    assert set(some.main.rows["network"]) == {"fixed"}


def test_the_study_is_of_the_dso_led_runs_whichever_stand_first(tmp_path: Path) -> None:
    records = [row(n, scheme=scheme) for n in (1, 2, 5, 8) for scheme in ("tso-led", "dso-led")]
    chosen = study(read_results(results(tmp_path, records)))
    assert set(chosen.main.rows["scheme"]) == {"dso-led"} and set(chosen.others["scheme"]) == {"tso-led"}
    assert words(chosen.main.rows).startswith("dso-led, ")


def test_the_challenge_and_its_table_say_the_same(tmp_path: Path) -> None:
    main = study(read_results(known_rows.study(tmp_path))).main
    fits = [
        fit_measure(group, str(name), "solve_s") for name, group in main.rows.groupby("series", sort=False)
    ]
    picture = figures.challenge(fits)
    assert picture is not None and [panel.title for panel in picture.panels] == ["nearest:4", "complete"]
    table = tables.challenges(fits, ["solve_s"])
    assert len(table.lines) == 2 * len(LAWS) * 3
    for fitted in fits:
        assert fitted.challenge is not None and "power" in fitted.challenge.standing
        assert {"linear", "quadratic", "exponential"} <= set(fitted.challenge.refuted)
        own = [line for line in table.lines if line[1].text == fitted.series]
        assert {line[2].text for line in own if line[10].text == "refuted"} >= {"a + b N", "b exp(c N)"}
        assert fitted.low < known_rows.EXPONENTS[fitted.series] < fitted.high
    assert [fitted.n_censored for fitted in fits] == [5, 0]
    assert "had to foretell the solve time at N = 32, 64 and 128: b N^p" in verdict.challenges(fits)
