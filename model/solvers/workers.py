"""Where the ADNs' hours are solved: in this process, or on the workers of a dask cluster.

The ADNs are dealt to groups; a group's data goes to the cluster once and stays there. A worker that holds a
group keeps its solvers too. When a worker is lost, dask gives its groups to another one, from the
scheduler's copy, and repeats what was not finished: an answer depends on nothing but its order.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from model.data import InputError
from model.program import Array
from model.solvers.hour_conic import Answer, FeederHours, FeederSolver

# Fewer ADNs than this are solved before a cluster would have started.
FEW = 12
# Groups a worker: a lost worker then costs a part of its work, and uneven groups even out.
GROUPS = 3
# At most this many ADNs a group: what one task returns stays within some 10 MB.
LARGEST = 50


@dataclass(frozen=True)
class Order:
    """One block to solve: hour, values of its shared columns, prices; see ``FeederSolver.solve``."""

    hour: int
    values: Array
    price: Array
    held: bool = False
    binaries: Array | None = None


Orders = dict[int, list[Order]]
Answers = dict[int, list[Answer]]


class Workers(Protocol):
    """Solves orders by ADN; the answers come in the order of the orders."""

    def solve(self, orders: Orders) -> Answers: ...


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


class Here:
    """The ADNs' hours solved in this process."""

    def __init__(self, feeders: list[FeederHours]):
        self.solvers = [FeederSolver(feeder) for feeder in feeders]

    def solve(self, orders: Orders) -> Answers:
        """See :class:`Workers`."""
        return {d: _answers(self.solvers[d], own) for d, own in orders.items()}


class OnCluster:
    """The ADNs' hours solved by the workers of a dask cluster."""

    def __init__(self, feeders: list[FeederHours], client: Any, n_workers: int):
        self.client = client
        n_groups = max(GROUPS * n_workers, -(-len(feeders) // LARGEST))
        self.members = [list(range(k, len(feeders), n_groups)) for k in range(min(n_groups, len(feeders)))]
        # A task that returns its argument, not scattered data: dask can make it again where a worker is lost.
        self.groups = [
            client.submit(_group, uuid4().hex, {d: feeders[d] for d in own}, pure=False)
            for own in self.members
        ]

    def solve(self, orders: Orders) -> Answers:
        """See :class:`Workers`."""
        futures = []
        for own, group in zip(self.members, self.groups, strict=True):
            part = {d: orders[d] for d in own if d in orders}
            if part:
                futures.append(self.client.submit(_solve_group, group, part, pure=False))
        answers: Answers = {}
        for part in self.client.gather(futures):
            answers |= part
        return answers


@contextmanager
def workers(feeders: list[FeederHours], progress: Callable[[str], None]) -> Iterator[Workers]:
    """The chosen workers for these ADNs, for as long as the context lasts.

    Raises InputError where no scheduler answers at the address given.
    """
    n_workers = _chosen.n_workers if _chosen.n_workers is not None else len(os.sched_getaffinity(0))
    if _chosen.scheduler is None and (n_workers < 2 or len(feeders) < FEW):
        yield Here(feeders)
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
            yield OnCluster(feeders, client, len(client.scheduler_info()["workers"]) or n_workers)
        return
    progress(f"starting {n_workers} workers")
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        yield OnCluster(feeders, client, n_workers)


# What runs on the workers.

_solvers: dict[str, dict[int, FeederSolver]] = {}


def _group(name: str, feeders: dict[int, FeederHours]) -> tuple[str, dict[int, FeederHours]]:
    return name, feeders


def _solve_group(group: tuple[str, dict[int, FeederHours]], orders: Orders) -> Answers:
    name, feeders = group
    if name not in _solvers:
        _solvers[name] = {d: FeederSolver(feeder) for d, feeder in feeders.items()}
    return {d: _answers(_solvers[name][d], own) for d, own in orders.items()}


def _answers(solver: FeederSolver, orders: list[Order]) -> list[Answer]:
    return [
        solver.solve(order.hour, order.values, order.price, order.held, order.binaries) for order in orders
    ]
