"""Rows of a study whose laws are known, as a sweep would have written them: for tests of the report."""

from pathlib import Path
from typing import Any

import numpy as np
from test_reports import results, row, schedule

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
LIMIT_S = 100.0
MEMORY = {"generate_mb": 0.5, "build_mb": 0.8, "compile_mb": 0.9, "solve_mb": 1.0, "certify_mb": 0.7}


def run(
    n: int, partners: str, seed: int, exponent: float, method: str = "auto", **changes: Any
) -> dict[str, Any]:
    """A run whose solve takes 0.1 s N^exponent with 15 % scatter, certified or stopped after 100 s."""
    rng = np.random.default_rng([n, seed, len(partners), len(method)])
    noise = np.exp(rng.normal(0, 0.15, size=4))
    solve_s = 0.1 * n**exponent * noise[0]
    peak_mb = (220 + 9 * n) * noise[1] ** 0.2
    record = row(
        n, partners, seed=seed, method=method, network="scaled", time_limit_s=LIMIT_S, solve_s=solve_s
    )
    record |= {
        "build_s": (0.2 + 0.05 * n) * noise[2],
        "peak_mb": peak_mb,
        "reference_s": 0.035 * noise[3] ** 0.2,
    }
    record |= {name: share * peak_mb for name, share in MEMORY.items()}
    record |= {"options": {"partners": partners, "network": "scaled"}, "nodes": n // 4}
    record |= {"run_id": f"{method}-{partners.replace(':', '-')}-{n}-{seed}"}
    record["started_at"] = f"2026-01-{1 + seed:02d}T00:00:00Z"
    if solve_s > LIMIT_S:
        unknown = (
            "objective",
            "bound",
            "bound_by",
            "gap",
            "abs_gap",
            "follower_regret",
            "certify_s",
            "total_s",
        )
        record |= dict.fromkeys(unknown) | {"status": "time_limit", "solve_s": LIMIT_S, "stopped_in": "solve"}
    else:
        record["total_s"] = sum(record[name] for name in ("build_s", "compile_s", "solve_s", "certify_s"))
    return record | changes


EXPONENTS = {"nearest:4": 1.5, "complete": 1.3}


def study(folder: Path) -> Path:
    """Two partner graphs at eight sizes with five seeds, rivals at the two smallest, and a fixed network.

    Only those of nearest:4 run into the limit, at the largest size: time grows as N^1.5 there and N^1.3 with
    the other.
    """
    records = [
        run(n, graph, seed, exponent)
        for seed in range(5)
        for n in SIZES
        for graph, exponent in EXPONENTS.items()
    ]
    for n in SIZES[:2]:
        for seed in range(3):
            records.append(run(n, "nearest:4", seed, 1.5, "relaxation", status="gap_limit", gap=None))
            records.append(run(n, "nearest:4", seed, 5.0, "highs"))
            records.append(run(n, "nearest:4", seed, 1.0, "naive", status="time_limit", solve_s=LIMIT_S))
    records += [run(n, "nearest:4", 0, 1.2, network="fixed", run_id=f"fixed-{n}") for n in SIZES[:4]]
    path = results(folder, records)
    (path / "schedules").mkdir(exist_ok=True)
    schedule(4).to_csv(path / "schedules" / "auto-nearest-4-4-0.csv", index=False)
    return path
