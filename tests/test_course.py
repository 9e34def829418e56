"""The course of a sweep: the order of its runs, which are skipped, and how long the rest takes."""

import time

import pytest

from benchmarks.course import Course, Known, in_order
from benchmarks.records import Spec


def spec(n_adns: int, **changes) -> Spec:
    return Spec(**{"n_adns": n_adns, "time_limit": 0.5, "memory_limit": 200} | changes)


def test_order_takes_every_size_before_the_next_seed_in_an_order_of_the_seeds_own():
    sizes_run = (1, 2, 3, 4, 5, 6)
    specs = [spec(n, seed=seed) for n in sizes_run for seed in (1, 0, 2)]
    order = in_order([*specs, specs[0]])
    blocks = [[s.n_adns for s in order if s.seed == seed] for seed in (0, 1, 2)]
    assert [s.seed for s in order] == 6 * [0] + 6 * [1] + 6 * [2]
    assert all(sorted(block) == list(sizes_run) for block in blocks)
    assert len({tuple(block) for block in blocks}) == 3 and list(sizes_run) not in blocks
    assert in_order(specs[::-1]) == order
    fewer = in_order([s for s in specs if s.n_adns != 3])  # a run's place depends on no other run
    assert fewer == [s for s in order if s.n_adns != 3]


# Which sizes of five, with three seeds each, a limit stops; what is tried and what is skipped then.
def made(stopped, known=None, seeds=3):
    """The course of a sweep whose runs are stopped where ``stopped(n, seed)``: tried and skipped sizes."""
    course = Course([spec(n, seed=k) for n in (1, 2, 3, 4, 5) for k in range(seeds)], known or {})
    tried, skipped = [], []
    for run in course:
        if run.run_id in (known or {}):
            continue
        reason = course.hopeless(run)
        if reason is not None:
            skipped.append((run.n_adns, run.seed, reason))
        else:
            tried.append((run.n_adns, run.seed))
        status = "skipped" if reason else "time_limit" if stopped(run.n_adns, run.seed) else "certified"
        course.note(run, Known("here", status, 1.0))
    return tried, skipped


def test_sizes_above_one_that_no_seed_ended_are_skipped_whatever_the_order():
    tried, skipped = made(lambda n, seed: n >= 3)
    assert {n for n, _ in tried} >= {1, 2, 3} and {(3, seed) for seed in range(3)} <= set(tried)
    assert len(tried) + len(skipped) == 15 and {n for n, *_ in skipped} == {4, 5}
    assert {reason for *_, reason in skipped} == {
        "not tried: a limit stopped all 3 runs of this method with 3 ADNs"
    }
    # Of the two larger sizes the first seed may have been drawn before; no further seed is tried.
    assert sum(n > 3 for n, _ in tried) <= 2


def test_one_seed_that_ended_keeps_the_larger_sizes():
    tried, skipped = made(lambda n, seed: n >= 3 and seed != 2)
    assert len(tried) == 15 and not skipped


def test_a_resumed_sweep_skips_what_it_knows_to_be_hopeless():
    known = {spec(2, seed=k).run_id: Known("there", "memory_limit", 9.0) for k in range(3)}
    tried, skipped = made(lambda n, seed: False, known)
    assert {n for n, _ in tried} == {1} and {n for n, *_ in skipped} == {3, 4, 5}


def test_a_failure_is_no_time_out():
    known = {spec(2, seed=k).run_id: Known("there", "error", 9.0) for k in range(3)}
    assert not made(lambda n, seed: False, known)[1]


def test_what_is_left_is_estimated_from_what_was_run():
    runs = [spec(n, seed=seed, time_limit=600) for n in (1, 2, 4, 8) for seed in (0, 1)]
    course = Course(runs, {})
    assert course.left_s() is None
    course.note(runs[0], Known("here", "certified", 1.0))  # N = 1
    assert course.left_s() == pytest.approx(1 + 2 * (2 + 4 + 8))
    course.note(runs[4], Known("here", "certified", 16.0))  # N = 4: as N^2 then, so N = 2 takes 4 s
    assert course.left_s() == pytest.approx(1 + 2 * 4 + 16 + 2 * 64)
    for run in runs:
        course.note(run, Known("here", "certified", 1.0))
    assert course.left_s() == 0


def test_a_large_sweep_is_looked_over_quickly():
    """After every run: what is hopeless and how long the rest takes, in no time beside the shortest run."""
    runs = [spec(n, seed=seed) for n in range(1, 41) for seed in range(50)]
    course = Course(runs, {})
    course.note(runs[0], Known("here", "certified", 1.0))
    start = time.monotonic()
    for _ in range(5):
        assert course.left_s() > 0
    assert time.monotonic() - start < 5  # 0.1 s unless each run is compared with all others
