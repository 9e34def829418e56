"""Leader binaries from a relaxed point.

Most relaxed points need no search: the power that flows tells each binary's side. Where two powers
flow that one binary forbids together (a relay of trade, a battery that burns power), the binary is
set to the larger one's side and the program solved again, until nothing is in conflict.
"""

import time

import numpy as np

from model.program import Array, Program
from model.solvers.relaxation import solve_relaxation

# A binary's row may be violated by this much, in p.u.: what an interior-point solver leaves on a
# variable that is zero, and a tenth of what the certificate lets pass.
TOLERANCE = 1e-7


def leader_binaries(program: Program) -> Array:
    """Columns of the binaries that are not the complementarities' own."""
    mask = program.integer.copy()
    for name, where in program.columns.items():
        if name.startswith("complementarity."):
            mask[where] = False
    return np.flatnonzero(mask)


def round_by_direction(program: Program, x: Array) -> tuple[Array, Array]:
    """x with every leader binary at a side its rows allow, and a mask of those that have none.

    A binary's rows read ``a <= M z`` and ``b <= M (1 - z)``: the power that flows tells the side. A
    binary without a side (both flow) goes to the larger one.
    """
    columns, at_zero, at_one = _violations(program, x)
    x = x.copy()
    x[columns] = at_one < at_zero
    mask = np.zeros(len(program.c), dtype=bool)
    mask[columns[np.minimum(at_zero, at_one) > TOLERANCE]] = True
    return x, mask


def _violations(program: Program, x: Array) -> tuple[Array, Array, Array]:
    """Leader binaries, and by how much their rows are violated at x with each at 0 and at 1."""
    columns = leader_binaries(program)
    own_rows = ~program.complementarity_rows
    A = program.A[own_rows]
    part = A[:, columns].tocoo()
    activity = A @ x - A[:, columns] @ x[columns]
    beyond = []
    for value in (0.0, 1.0):
        row = activity[part.row] + part.data * value
        above = row - program.row_upper[own_rows][part.row]
        below = program.row_lower[own_rows][part.row] - row
        worst = np.zeros(len(columns))
        np.maximum.at(worst, part.col, np.maximum(above, below))
        beyond.append(worst)
    return columns, beyond[0], beyond[1]


def settle(program: Program, relaxed: Program, x: Array, ended: float, rounds: int = 5) -> Array | None:
    """A point of ``relaxed`` near x whose leader binaries are integral; None where none is found in time.

    ``relaxed`` has the program's columns first, perhaps more; ``ended`` is a time of ``time.monotonic``.
    Fixed are the binaries in conflict and, lest the conflict move on, those of the same kind whose
    side is told by a flow. All others stay free: they may have to turn when those have.
    """
    n = len(program.c)
    for _ in range(rounds):
        rounded, undecided = round_by_direction(program, x[:n])
        if not undecided.any():
            return np.concatenate([rounded, x[n:]])
        if time.monotonic() >= ended:
            return None
        columns = kin(program, x[:n], undecided)
        relaxed = relaxed.with_fixed(dict(zip(columns.tolist(), rounded[columns].tolist(), strict=True)))
        result = solve_relaxation(relaxed, max(ended - time.monotonic(), 0.1))
        if result.status != "solved":
            return None
        x = result.x
    return None


def kin(program: Program, x: Array, undecided: Array) -> Array:
    """The undecided columns and those of the same Pyomo variables that fit one side only."""
    columns, at_zero, at_one = _violations(program, x)
    one_sided = np.zeros(len(program.c), dtype=bool)
    one_sided[columns[(at_zero > TOLERANCE) != (at_one > TOLERANCE)]] = True
    kind = np.zeros(len(program.c), dtype=bool)
    for where in program.columns.values():
        kind[where] = undecided[where].any()
    return np.flatnonzero(undecided | (one_sided & kind))
