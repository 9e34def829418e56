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
    columns = leader_binaries(program)
    own_rows = ~program.complementarity_rows
    A = program.A[own_rows]
    part = A[:, columns].tocoo()
    activity = A @ x - A[:, columns] @ x[columns]
    beyond = []
    for value in (0.0, 1.0):
        row = activity[part.row] + part.data * value
        violation = np.maximum(
            row - program.row_upper[own_rows][part.row], program.row_lower[own_rows][part.row] - row
        )
        worst = np.zeros(len(columns))
        np.maximum.at(worst, part.col, violation)
        beyond.append(worst)
    at_zero, at_one = beyond
    x = x.copy()
    x[columns] = at_one < at_zero
    undecided = np.minimum(at_zero, at_one) > TOLERANCE
    mask = np.zeros(len(program.c), dtype=bool)
    mask[columns[undecided]] = True
    return x, mask


def settle(program: Program, relaxed: Program, x: Array, ended: float, rounds: int = 5) -> Array | None:
    """A point of ``relaxed`` near x whose leader binaries are integral; None where none is found in time.

    ``relaxed`` has the program's columns first, perhaps more; ``ended`` is a time of ``time.monotonic``. Only
    binaries in conflict are fixed: the others may turn when those have.
    """
    n = len(program.c)
    for _ in range(rounds):
        rounded, undecided = round_by_direction(program, x[:n])
        if not undecided.any():
            return np.concatenate([rounded, x[n:]])
        if time.monotonic() >= ended:
            return None
        columns = np.flatnonzero(undecided)
        relaxed = relaxed.with_fixed(dict(zip(columns.tolist(), rounded[columns].tolist(), strict=True)))
        result = solve_relaxation(relaxed, max(ended - time.monotonic(), 0.1))
        if result.status != "solved":
            return None
        x = result.x
    return None
