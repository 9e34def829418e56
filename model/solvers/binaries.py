"""Leader binaries from a relaxed point."""

import numpy as np

from model.program import Array, Program

# A binary's row may be violated by this much, relative to its big-M: what an
# interior-point solver leaves on a variable that is zero.
TOLERANCE = 1e-6


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
    at_most = (program.row_upper[own_rows][part.row] - activity[part.row]) / part.data
    at_least = (program.row_lower[own_rows][part.row] - activity[part.row]) / part.data
    low, high = np.minimum(at_most, at_least), np.maximum(at_most, at_least)
    least, most = np.zeros(len(columns)), np.ones(len(columns))
    np.maximum.at(least, part.col, low)
    np.minimum.at(most, part.col, high)
    fits_zero = least <= TOLERANCE
    fits_one = most >= 1 - TOLERANCE
    z = np.where(fits_zero, 0.0, 1.0)
    undecided = ~fits_zero & ~fits_one
    z[undecided] = least[undecided] > 1 - most[undecided]
    x = x.copy()
    x[columns] = z
    mask = np.zeros(len(program.c), dtype=bool)
    mask[columns[undecided]] = True
    return x, mask
