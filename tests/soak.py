"""The long campaigns: ``make soak``. What the tests do for tens of cases, for hundreds and thousands.

Every case is a seed; a failure prints it, and it belongs into the tests' list of those that once failed.
"""

import argparse
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import campaigns
import test_brute_force
import test_certificate
import test_faults
import test_hostile
from rich.progress import Progress

WORKERS = 2


def optimum(seed: int) -> str:
    try:
        told = test_brute_force.check(seed)
    except ArithmeticError:
        return "the enumeration is undecided"
    own = {
        name.split()[0]: status for name, status in told.items() if name.split()[0] in test_brute_force.OWN
    }
    others = [status for name, status in told.items() if name.split()[0] not in own]
    words = ", ".join(f"{name} {status}" for name, status in own.items())
    return f"{words}, others all" if set(others) <= {*own.values()} else f"{words}, others not all"


def loss(seed: int) -> str:
    relative = test_certificate.safe_loss(1 + seed % 8, seed // 8)
    assert 0 <= relative < 1e-6, f"seed {seed}: {relative}"
    return f"at most 1e{math.ceil(math.log10(max(relative, 1e-16)))}"


def kills(seed: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        counts = test_faults.kill_campaign(Path(folder), 25, seed)
    bad = "lost changed repeated damaged without_schedule orphans failed"
    assert not any(counts[name] for name in bad.split()), f"seed {seed}: {counts}"
    return f"{counts['kills']:.0f} kills"


# Campaign, subject, the check of one seed, and how many seeds for a length of 1.
CAMPAIGNS: list[tuple[str, str, Callable[[int], str], int]] = [
    ("brute force", "every mode and method against the enumerated bilevel optimum", optimum, 300),
    ("brute force", "proofs with dual vectors disturbed 100 times each", test_brute_force.check_bound, 300),
    ("brute force", "the same with the hours apart", test_brute_force.check_hours_apart, 300),
    ("safe bound", "what it loses on default instances, N = 1 to 8", loss, 24),
    ("hostile input", "files through the validator", test_hostile.check_input, 100_000),
    ("hostile input", "accepted instances solved and cross-checked", test_hostile.check_solved, 500),
    ("faults", "sweeps killed 25 times each", kills, 12),
]


def chunk(check: Callable[[int], str], seeds: Iterable[int]) -> tuple[Counter, list[str]]:
    """What became of some seeds, and the failures."""
    told: Counter = Counter()
    failures = []
    for seed in seeds:
        try:
            told[check(seed)] += 1
        except Exception as error:
            failures.append(f"seed {seed}: {type(error).__name__}: {error}"[:2000])
    return told, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=10_000, help="the first seed (tests use those below)")
    parser.add_argument("--length", type=float, default=1.0, help="1: about half an hour on two cores")
    parser.add_argument("--only", default="", help="campaigns whose name or subject contains this")
    given = parser.parse_args()
    failed = 0
    for campaign, subject, check, most in CAMPAIGNS:
        if given.only not in f"{campaign} {subject}":
            continue
        n = max(int(given.length * most), 2)
        seeds = range(given.first, given.first + n)
        size = max(n // 100, 1)
        told: Counter = Counter()
        failures: list[str] = []
        start = time.monotonic()
        with ProcessPoolExecutor(WORKERS) as pool, Progress(transient=True) as progress:
            task = progress.add_task(f"{campaign}: {subject}", total=n)
            parts = {pool.submit(chunk, check, seeds[k : k + size]): k for k in range(0, n, size)}
            for part in as_completed(parts):
                some, wrong = part.result()
                told += some
                failures += wrong
                progress.advance(task, sum(some.values()) + len(wrong))
        seconds = time.monotonic() - start
        print(f"{campaign}: {subject}: {n} cases, {len(failures)} failed, {seconds:.0f} s, {dict(told)}")
        for failure in failures:
            print(f"  {failure}")
        figures = {
            "cases": n,
            "failed": len(failures),
            "first_seed": given.first,
            "told": dict(told.most_common()),
        }
        campaigns.keep(campaign, subject, figures | {"seconds": round(seconds)})
        failed += len(failures)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
