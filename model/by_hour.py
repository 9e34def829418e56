"""The hours apart: all ADNs in one hour are one block, and only aggregated storage joins the hours.

What ADNs do in different hours is joined by what their batteries store, ``e_kt - e_k,t-1 = n_kt`` (n: net
inflow of battery k). Let ``r_kt`` be a *reference*: any numbers, as prices of what is stored. As levels are
cyclic, every feasible point has

    sum_kt r_kt n_kt = sum_kt (r_kt - r_k,t+1) e_kt,

so the difference may be added to the cost. What joins the hours is then kept in sum over the batteries only:

    sum_k e_kt - sum_k e_k,t-1 = u_t = sum_k n_kt,   0 <= e_kt <= e_k,max.

That is a relaxation for every reference, and close where the batteries' own prices are near
``r_kt + a price of the hour``. They are: all batteries answer to the same grid, and a price that stays from
one hour to the next needs no level of its own. Each hour's block is seen by the rest through ``u_t`` and the
loads ``L_t`` at the hosts alone, a few numbers whatever the number of ADNs; its least cost
``eta_t(u_t, L_t)`` is convex, and cuts on it (``model.hour_blocks.cut_rows``) come from any dual vector of
the block. Before the hours' payments the program is ``min sum_t eta_t``; they come with
``model.price_hull.hull``, which states u, eta and their cuts for every leaf apart: the convex hull of what
each hour can do, so that of all non-convexity only its sum over the hours is left out.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import block_array, coo_array, csr_array, eye_array, hstack

from model.hour_blocks import Blocks, pattern, row_owners, with_totals
from model.price_hull import HourCuts, HourLoads
from model.problem import Problem
from model.program import Array, Program, narrow

FOLLOWER = ("follower.", "complementarity.")


@dataclass(frozen=True, eq=False)
class HourBlocks(Blocks):
    """Blocks of which block t holds all own columns of hour t.

    Attributes:
        loads_at: columns of the loads at the hosts, (T, hosts).
        inflow: columns of the aggregated net inflow, (T,).
        batteries: columns of the batteries' net inflows, (K, T).
        dynamics: rows of the batteries' dynamics, (K, T).
        kept: the columns of the problem's program that stand first here.
        dynamics_before: the rows of the problem's relaxation that became ``dynamics``, (K, T).
    """

    loads_at: Array
    inflow: Array
    batteries: Array
    dynamics: Array
    kept: Array
    dynamics_before: Array

    def hour_loads(
        self, hours: dict[int, HourLoads], sides: Array, coefficients: csr_array, of_cut: Array
    ) -> dict[int, HourLoads]:
        """The hours' loads in terms of the shared program's columns, with the cuts on every hour's block.

        ``sides``, ``coefficients``: of :func:`model.hour_blocks.cut_rows`; ``of_cut``: their blocks.
        """
        n = len(self.shared) + self.n_blocks
        found = {}
        for t, hour in hours.items():
            own = np.flatnonzero((of_cut == t) & np.isfinite(sides))
            joined = np.array([self.position[self.inflow[t]], len(self.shared) + t])
            at = self.position[self.loads_at[t]]
            rows = coefficients[own].toarray() if len(own) else np.zeros((0, n))
            found[t] = replace(
                hour,
                boundary=[at[[i]] for i in range(len(at))],
                cost=coo_array((n,)),
                native=coo_array((n,)),
                cuts=HourCuts(joined, rows[:, joined], rows[:, at], sides[own]),
            )
        return found


def stored_levels(program: Program, hours: int, kind: str = "energy") -> Array:
    """Columns of all batteries' stored energy, or of their ``charge`` or ``discharge``, (K, T)."""
    found = [
        np.arange(where.start, where.stop)
        for name, where in program.columns.items()
        if name.startswith("feeder[") and name.endswith(f".{kind}")
    ]
    return np.concatenate([np.zeros(0, dtype=int), *found]).reshape(-1, hours)


def rise(n_batteries: int, hours: int) -> csr_array:
    """By how much levels rise in their hour, of all levels (K, T) in a row; the day is a cycle."""
    n = n_batteries * hours
    back = np.roll(np.arange(n).reshape(n_batteries, hours), 1, axis=1)
    before = csr_array((np.ones(n), (np.arange(n), back.ravel())), shape=(n, n))
    return eye_array(n, format="csr") - before


def applies(problem: Problem) -> bool:
    """True where there are several hours with prices of their own, joined by storage alone."""
    return problem.instance.hours > 1 and problem.prices_by_hour


def blocks_by_hour(
    problem: Problem, program: Program, reference: Array, hours: dict[int, HourLoads]
) -> HourBlocks:
    """The relaxation with aggregated storage, in blocks by hour; ``reference``: (K, T), $ per p.u. h.

    Raises ValueError where anything but storage joins the hours, or the reference is no price of every
    battery and hour.
    """
    return HoursApart(problem, program, hours).at(reference)


class HoursApart:
    """What the programs by hour have in common, whatever the reference.

    Columns: own, n_kt, u_t, L_th. Rows: the leaders', n into u, boundary power into L. The levels' columns
    and rows, which a reference tells, come last.
    """

    def __init__(self, problem: Problem, program: Program, hours: dict[int, HourLoads]):
        total = with_totals(problem, program)
        T, n = problem.instance.hours, len(total.c)
        hour, energy, leader = np.arange(n) % T, np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
        for name, where in program.columns.items():
            leader[where] = not name.startswith(FOLLOWER)
            hour[where] = np.arange(where.stop - where.start) % T
        hour[len(program.c) :] = np.arange(n - len(program.c)) % T
        stored = stored_levels(program, T)
        energy[stored] = True
        K = len(stored)

        where = pattern(total.A)
        rows = np.flatnonzero(where @ (~leader).astype(float) == 0)
        own = np.flatnonzero(leader & ~energy)
        A, levels = total.A[rows], where[rows]
        dynamic = np.flatnonzero(levels @ energy.astype(float) > 0)
        # Every dynamics row reads e_t - e_{t-1} + flows = 0; its place is told by its level that rises.
        place = A[dynamic][:, stored.ravel()].tocoo()
        rising, falling = place.data == 1.0, place.data == -1.0
        at = np.full(len(dynamic), -1)
        at[place.row[rising]] = place.col[rising]
        before = np.full(len(dynamic), -1)
        before[place.row[falling]] = place.col[falling]
        k, t = np.divmod(at, T)
        if (
            not (rising | falling).all()
            or len(place.data) != 2 * len(dynamic)
            or not np.array_equal(np.sort(at), np.arange(K * T))
            or not np.array_equal(before, k * T + (t - 1) % T)
            or (total.row_lower[rows][dynamic] != 0).any()
            or (total.row_upper[rows][dynamic] != 0).any()
            or total.cone_A[:, np.flatnonzero(energy)].nnz
            or total.c[energy].any()
            or total.lower[energy].any()
        ):
            raise ValueError("storage is not stated as levels and flows")

        n_hosts = len(next(iter(hours.values())).box)
        first = np.cumsum([0, len(own), K * T, T, T * n_hosts])
        batteries = first[1] + np.arange(K * T).reshape(K, T)
        self.inflow = first[2] + np.arange(T)
        self.loads_at = first[3] + np.arange(T * n_hosts).reshape(T, n_hosts)
        position = np.full(n, -1)
        position[own] = np.arange(len(own))
        take = csr_array((np.ones(len(dynamic)), (dynamic, at)), shape=(len(rows), K * T))
        join = csr_array((np.ones(K * T), (np.tile(np.arange(T), K), np.arange(K * T))), shape=(T, K * T))
        boundary = [
            (t * n_hosts + i, own_columns) for t in hours for i, own_columns in enumerate(hours[t].boundary)
        ]
        into = csr_array(
            (
                np.ones(sum(len(c) for _, c in boundary)),
                (
                    np.concatenate([np.full(len(c), row) for row, c in boundary]),
                    np.concatenate([position[c] for _, c in boundary]),
                ),
            ),
            shape=(T * n_hosts, len(own)),
        )
        matrix = block_array(
            [
                [A[:, own], take, None, csr_array((len(rows), T * n_hosts))],
                [None, join, -eye_array(T), None],
                [into, None, None, -eye_array(T * n_hosts)],
            ],
            format="csr",
        )
        extra = np.zeros(matrix.shape[0] - len(rows))

        flows = A[dynamic][:, own]
        up, down = flows.maximum(0), -flows.minimum(0)
        most = np.zeros((2, K * T))
        most[0, at] = up @ total.lower[own] - down @ total.upper[own]
        most[1, at] = up @ total.upper[own] - down @ total.lower[own]
        most_stored = total.upper[stored].max(axis=1, initial=0.0).repeat(T)
        net = np.array([np.maximum(-most[1], -most_stored), np.minimum(-most[0], most_stored)])
        sums = net.reshape(2, K, T).sum(axis=1)
        box = np.stack([hours[t].box.T for t in sorted(hours)], axis=1).reshape(2, -1)
        lower, upper = _widened(np.hstack([net, sums, box]))
        free = np.zeros(first[4] - first[1], dtype=bool)
        cones = csr_array((total.cone_A.shape[0], len(free)))
        self.program = replace(
            total,
            c=np.append(total.c[own], np.zeros(len(free))),
            A=narrow(matrix),
            row_lower=np.append(total.row_lower[rows], extra),
            row_upper=np.append(total.row_upper[rows], extra),
            lower=np.append(total.lower[own], lower),
            upper=np.append(total.upper[own], upper),
            integer=np.zeros(first[4], dtype=bool),
            enforced_lower=np.append(total.enforced_lower[own], free),
            enforced_upper=np.append(total.enforced_upper[own], free),
            cone_A=narrow(block_array([[total.cone_A[:, own], cones]], format="csr")),
            columns={},
            variables=[],
        )
        self.of_column = np.concatenate(
            [hour[own], np.tile(np.arange(T), K), np.full(first[4] - first[2], -1)]
        )
        self.of_row, self.of_cone_row = row_owners(self.program, self.of_column)
        self.hours, self.batteries, self.kept = T, batteries, own
        dynamics = np.empty(K * T, dtype=int)
        dynamics[at] = dynamic
        self.dynamics, self.dynamics_before = (of.reshape(K, T) for of in (dynamics, rows[dynamics]))
        self.levels = np.array([total.lower[stored], total.upper[stored]])

    def at(self, reference: Array) -> HourBlocks:
        """The blocks at a reference. Raises ValueError where it is no price of every battery and hour."""
        p, (K, T) = self.program, self.batteries.shape
        if reference.shape != (K, T) or not np.isfinite(reference).all():
            raise ValueError("a reference has a price for every battery and hour")
        # A level that costs nothing needs no column of its own: all of them are one.
        worth = np.roll(reference, -1, axis=1) - reference
        apart = np.nonzero(worth)
        sums = (self.levels * (worth == 0)).sum(axis=1)
        lower, upper = _widened(np.hstack([sums, self.levels[:, apart[0], apart[1]]]))
        n, n_levels = len(p.c), len(lower)
        of_level = np.append(np.arange(T), apart[1])
        levels_at = csr_array((np.ones(n_levels), (of_level, np.arange(n_levels))), shape=(T, n_levels))
        take = csr_array((np.ones(T), (np.arange(T), self.inflow)), shape=(T, n))
        rows = narrow(hstack([-take, rise(1, T) @ levels_at], format="csr"))
        still = np.zeros(T)
        made = p.extended(np.append(still, worth[apart]), lower, upper, rows, still, still)
        made.c[self.batteries] = reference
        return HourBlocks(
            program=made,
            hours=T,
            n_blocks=T,
            of_column=np.append(self.of_column, np.full(n_levels, -1)),
            of_row=np.append(self.of_row, np.full(T, -1)),
            of_cone_row=self.of_cone_row,
            loads_at=self.loads_at,
            inflow=self.inflow,
            batteries=self.batteries,
            dynamics=self.dynamics,
            kept=self.kept,
            dynamics_before=self.dynamics_before,
        )


def _widened(box: Array) -> Array:
    """Limits, (2, n), wider by far more than their own rounding."""
    slack = 1e-9 * (1.0 + np.abs(box).max(axis=0))
    return box + np.array([-slack, slack])
