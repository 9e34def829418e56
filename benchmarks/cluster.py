"""A sweep's runs on the workers of a dask cluster, one at a time on each.

Each worker makes its runs as a sweep at home does: apart, under their limits, watched from outside. The rows
come back and are written here. Workers need this package and should be one a machine, else the runs disturb
each other. Where the sweep ends, dask cancels what it had asked for and the runs end with it.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.files import write_whole
from benchmarks.records import Row, Spec
from model.data import InputError

PATIENCE = "20s"
LOOK_S = 1.0  # how often a run asks whether it is still wanted


def spread(
    scheduler: str,
    orders: Iterator[Spec],
    folder: Path,
    worker: Sequence[str],
    grace_s: float,
    told: Callable[[Spec, dict[str, Any]], None],
    done: Callable[[Spec, Row, float], None],
) -> None:
    """Make the runs of ``orders``, each taken when a worker is free; ``done`` is called with each row and its
    s.

    Raises InputError where no scheduler answers, none of its workers is there, or they lack this package.
    """
    from distributed import Client, as_completed

    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, TimeoutError, ValueError):
        raise InputError("scheduler", scheduler, "the address of a running dask scheduler") from None
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise InputError("scheduler", scheduler, "a dask scheduler with at least one worker")
        running: dict[Any, tuple[Spec, str, float]] = {}
        ended = as_completed()

        def start_more() -> None:
            busy = {address for _, address, _ in running.values()}
            for address in sorted(set(client.scheduler_info(n_workers=-1)["workers"]) - busy):
                spec = next(orders, None)
                if spec is None:
                    return
                words = spec.model_dump_json(), tuple(worker), grace_s
                future = client.submit(
                    run_here, *words, workers=[address], allow_other_workers=True, pure=False
                )
                running[future] = spec, address, time.monotonic()
                told(spec, {"phase": f"on {address}"})
                ended.add(future)

        start_more()
        while running:
            future = next(ended)
            spec, _, started = running.pop(future)
            error = future.exception() if future.status != "finished" else None
            if isinstance(error, ImportError):
                allowed = f"a cluster whose workers have this package ({error})"
                raise InputError("scheduler", scheduler, allowed)
            if error is not None or future.status != "finished":
                row = lost(spec, f"the worker was lost: {error}")
            else:
                text, schedule = future.result()
                row = Row.model_validate_json(text)
                if schedule is not None:
                    write_whole(folder / "schedules" / f"{spec.run_id}.csv", schedule)
            done(spec, row, time.monotonic() - started)
            start_more()


def lost(spec: Spec, message: str) -> Row:
    """The row of a run of which nothing came back."""
    from benchmarks.sweep import order

    return Row(**order(spec), status="error", message=message)


def run_here(text: str, worker: Sequence[str], grace_s: float) -> tuple[str, str | None]:
    """On a worker: make the run whose :class:`Spec` is ``text``; its row as JSON, and its schedule if any."""
    from benchmarks.sweep import run_apart

    spec = Spec.model_validate_json(text)
    with tempfile.TemporaryDirectory(prefix="tso-dso-run-") as scratch:
        folder = Path(scratch)
        (folder / "schedules").mkdir()
        row = run_apart(spec, folder, lambda spec, news: None, worker, grace_s, _is_wanted())
        schedule = folder / "schedules" / f"{spec.run_id}.csv"
        return row.model_dump_json(), schedule.read_text("utf-8") if schedule.is_file() else None


def _is_wanted() -> Callable[[], bool]:
    """Whether the scheduler still wants the task that this thread works on; looked at once in ``LOOK_S``."""
    from distributed import get_worker
    from distributed.worker import thread_state

    tasks, key = get_worker().state.tasks, thread_state.key
    looked_at, wanted = 0.0, True

    def is_wanted() -> bool:
        nonlocal looked_at, wanted
        if time.monotonic() - looked_at > LOOK_S:
            looked_at = time.monotonic()
            task = tasks.get(key)
            wanted = task is not None and task.state == "executing"
        return wanted

    return is_wanted
