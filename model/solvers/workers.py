"""Where hours and days are solved: in this process, or on the workers of a dask cluster.

Every program goes to the cluster once and stays there; questions and answers are what travels. When a
worker is lost, dask gives its programs to another one and repeats what was not finished: an answer depends
on nothing but its question.
"""

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

from model.data import InputError

# With fewer ADNs than this the hours are solved before a cluster would have started.
FEW = 12

# Questions, each to the program whose number is its ``program``. Programs of a class answer by
# ``answers(programs, questions)``: at least ``together`` at once, and more of them sooner; 1: each by itself.
Ask = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True)
class Cluster:
    """Which dask cluster: a scheduler's address, or so many workers of its own on this machine.

    ``n_workers`` None: as many as there are processors; 0: no cluster, all in this process.
    """

    scheduler: str | None = None
    n_workers: int | None = None


_chosen = Cluster()


def choose(cluster: Cluster) -> None:
    """Solve on this cluster from now on."""
    global _chosen
    _chosen = cluster


# Takes programs to where they are solved, and says how questions are put to them; they are there as long as
# somebody may ask. What is not answered at a time of ``time.monotonic`` has no answer: with many ADNs one
# round of questions may take minutes. The first round ends at a time of its own.
Connect = Callable[[list[Any], float, float], Ask]


@contextmanager
def connected(n_adns: int, progress: Callable[[str], None]) -> Iterator[Connect]:
    """A way to put questions to programs, answered in their order, for as long as the context lasts;
    ``n_adns``: of the instance that they belong to.

    Raises InputError where no scheduler answers at the address given.
    """
    n_workers = _chosen.n_workers if _chosen.n_workers is not None else len(os.sched_getaffinity(0))
    if _chosen.scheduler is None and (n_workers < 2 or n_adns < FEW):
        yield _here
        return
    from distributed import Client, LocalCluster

    if _chosen.scheduler is not None:
        progress(f"cluster {_chosen.scheduler}")
        try:
            client = Client(_chosen.scheduler, timeout="20s")
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                "scheduler", _chosen.scheduler, "the address of a running dask scheduler"
            ) from error
        with client:
            yield partial(_on, client)
        return
    progress(f"starting {n_workers} workers")
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            memory_limit=0,
            # What is cut off when the time is up is no news to the user.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield partial(_on, client)


def _here(programs: list[Any], ended: float, first_ended: float) -> Ask:
    ends = chain([first_ended], repeat(ended))
    together = _together(programs)

    def ask(questions: list[Any]) -> list[Any]:
        end = next(ends)
        told: dict[int, Any] = {}
        for group in _groups(together, questions, 1):
            if time.monotonic() < end:
                own = [questions[k] for k in group]
                told |= zip(group, _answers(own, *(programs[q.program] for q in own)), strict=True)
        return [told.get(k) for k in range(len(questions))]

    return ask


def _on(client: Any, programs: list[Any], ended: float, first_ended: float) -> Ask:
    from distributed import wait

    ends = chain([first_ended], repeat(ended))
    together = _together(programs)
    # A task that returns its argument, not scattered data: dask can make it again where a worker is lost.
    held = [_submitted(client, _held, program) for program in programs]

    def ask(questions: list[Any]) -> list[Any]:
        end, groups = next(ends), {}
        for group in _groups(together, questions, max(len(client.ncores()), 1)):
            own = [questions[k] for k in group]
            groups[_submitted(client, _answers, own, *(held[q.program] for q in own))] = group
        with suppress(TimeoutError):
            wait(list(groups), timeout=None if end == math.inf else max(end - time.monotonic(), 0.0))
        done = [future for future in groups if future.done()]
        client.cancel([future for future in groups if future not in done])
        told: dict[int, Any] = {}
        for future, answers in zip(done, client.gather(done), strict=True):
            told |= zip(groups[future], answers, strict=True)
        return [told.get(k) for k in range(len(questions))]

    return ask


def _groups(together: int, questions: list[Any], n_workers: int) -> list[list[int]]:
    """The numbers of the questions that go together: as many groups as workers, where that leaves enough for
    each.
    """
    n_groups = -(-len(questions) // together)
    if together > 1:
        n_groups = min(n_groups, n_workers)
    # Mostly the same programs to the same worker, which keeps what it has prepared of them; neighbouring
    # hours, which take about as long, to different ones.
    numbers = sorted(range(len(questions)), key=lambda k: questions[k].program % n_groups)
    return [
        numbers[len(numbers) * g // n_groups : len(numbers) * (g + 1) // n_groups] for g in range(n_groups)
    ]


def _submitted(client: Any, task: Callable[..., Any], *given: Any) -> Any:
    """The task's future. What is sent is as large as programs are: dask would warn of that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        return client.submit(task, *given, pure=False)


def _together(programs: list[Any]) -> int:
    return programs[0].together if programs else 1


def _held(program: Any) -> Any:
    return program


def _answers(questions: list[Any], *programs: Any) -> list[Any]:
    return type(programs[0]).answers(list(programs), questions)
