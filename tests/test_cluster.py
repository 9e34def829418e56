"""A sweep on a dask cluster: the rows of a sweep at home, one run a worker, stopped at any moment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from benchmarks.records import Row, Spec
from benchmarks.sweep import sweep
from model.data import InputError

ROOT = Path(__file__).parents[1]

# Ends by itself, after a while, fails, or hangs, by the number of ADNs; leaves a schedule and tells its
# process.
CHILD = """
import json, os, sys, time
spec = json.load(sys.stdin)
with open(sys.argv[1], "a") as facts:
    def tell(**news):
        print(json.dumps(news), file=facts, flush=True)
    tell(phase="solve", nodes=os.getpid())
    started = time.time()
    match spec["n_adns"]:
        case 1 | 2 | 3 | 4:
            time.sleep(0.5)
        case 5:
            raise RuntimeError("the roof is on fire")
        case 6:
            open(os.path.join(os.path.dirname(__file__), "hangs"), "w").write(str(os.getpid()))
            time.sleep(100)
    with open(sys.argv[2], "w") as file:
        file.write(f"schedule of {spec['n_adns']}\\n")
    tell(status="certified", objective=started, bound=time.time(), cpu=str(os.getppid()), done=True)
"""


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of two workers, which find this package and its tests' folder."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def worker(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "child.py").write_text(CHILD)
    return (sys.executable, str(tmp_path / "child.py"))


def spec(n_adns: int, **changes: Any) -> Spec:
    return Spec(**{"n_adns": n_adns, "time_limit": 30} | changes)


def test_rows_and_schedules_come_back_and_no_worker_makes_two_runs_at_once(
    scheduler: str, worker: tuple[str, ...], tmp_path: Path
) -> None:
    told: list[dict[str, Any]] = []
    specs = [spec(n) for n in (1, 2, 3, 4, 5)]
    rows = sweep(specs, tmp_path / "out", lambda one, news: told.append(news), worker, scheduler=scheduler)
    by_size = {row.n_adns: row for row in rows}
    assert [by_size[n].status for n in (1, 2, 3, 4, 5)] == [*4 * ["certified"], "error"]
    assert by_size[5].message == "RuntimeError: the roof is on fire"
    for n in (1, 2, 3, 4):
        schedule = tmp_path / "out" / "schedules" / f"{by_size[n].run_id}.csv"
        assert schedule.read_text() == f"schedule of {n}\n"
    lines = (tmp_path / "out" / "rows.jsonl").read_text().splitlines()
    assert [Row(**json.loads(line)) for line in lines] == rows
    spans = sorted((row.objective, row.bound) for row in rows if row.n_adns < 5)
    overlaps = [sum(a < start < b for a, b in spans) for start, _ in spans]  # type: ignore[operator]
    assert max(overlaps) == 1  # two at a time, on two workers with two threads each
    assert len({news["phase"] for news in told if "phase" in news}) == 2
    assert sweep(specs, tmp_path / "out", worker=worker, scheduler=scheduler) == []


def test_the_real_worker_runs_on_a_cluster(scheduler: str, tmp_path: Path) -> None:
    order = Spec(n_adns=1, gap=0.05, options={"hours": 1})
    (row,) = sweep([order], tmp_path, scheduler=scheduler)
    assert row.status == "certified" and row.run_id == order.run_id and row.commit
    assert (tmp_path / "schedules" / f"{row.run_id}.csv").is_file()


def test_a_sweep_killed_leaves_no_run_on_the_cluster(
    scheduler: str, worker: tuple[str, ...], tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path; from benchmarks.records import Spec; from benchmarks.sweep import sweep\n"
    )
    code += f"sweep([Spec(n_adns=6)], Path('out'), worker={worker!r}, scheduler={scheduler!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    wait_for(lambda: (tmp_path / "hangs").exists() and (tmp_path / "hangs").read_text() != "")
    run = int((tmp_path / "hangs").read_text())
    assert psutil.pid_exists(run)
    process.kill()
    process.wait()
    wait_for(lambda: not psutil.pid_exists(run))
    assert (tmp_path / "out" / "rows.jsonl").read_bytes() == b""


def wait_for(happened: Any) -> None:
    given_up = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < given_up
        time.sleep(0.05)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_no_scheduler_there_is_refused(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.cluster.PATIENCE", "1s")
    with pytest.raises(
        InputError, match="scheduler: got .*; allowed: the address of a running dask scheduler"
    ):
        sweep([spec(1)], tmp_path, scheduler=address)


def test_a_cluster_without_workers_is_refused(tmp_path: Path) -> None:
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as empty,
        pytest.raises(InputError, match="a dask scheduler with at least one worker"),
    ):
        sweep([spec(1)], tmp_path, scheduler=empty.scheduler_address)
