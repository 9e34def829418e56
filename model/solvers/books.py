"""Accounts and trades kept beside power that stands: hour by hour, with whole binaries.

Accounts move no power and nothing joins those of two hours. So once the feeders' power is held, what is left
of a program is a mixed-integer linear program for every hour, small enough for HiGHS.
"""

import time
from dataclasses import replace

import numpy as np

from model import boundary, trading
from model.program import Array, Program, touched
from model.solvers.binaries import leader_binaries, round_by_direction
from model.solvers.follower import SOUND
from model.solvers.linear import FINE, linear_solver, run
from model.solvers.relaxation import components

ACCOUNTS = boundary.ACCOUNTS | trading.ACCOUNTS


def account_columns(program: Program) -> Array:
    """True for the columns of accounts and trades, binaries included; all others are the grids' power."""
    mask = np.zeros(len(program.c), dtype=bool)
    for name, where in program.columns.items():
        mask[where] = name.rpartition(".")[2] in ACCOUNTS
    return mask


def keep_books(
    program: Program, relaxed: Program, cost: Array, x: Array, gap: float, ended: float
) -> Array | None:
    """``x`` with whole binaries and the accounts that cost least beside its power, to a relative ``gap``.

    ``relaxed`` has the columns of ``program`` in their places, and may have other boxes. None where an hour
    has no accounts in time, or the power itself keeps no side of its binaries.
    """
    mine = account_columns(program)
    # An interior-point method leaves a little less than nothing, which no account could take.
    x = round_by_direction(program, np.clip(x, relaxed.lower, relaxed.upper))[0]
    columns = np.flatnonzero(mine)
    rows = np.flatnonzero(touched(relaxed.A, mine))
    binaries = np.zeros_like(mine)
    binaries[leader_binaries(program)] = True
    none = np.zeros(0, dtype=int)
    books = replace(relaxed, c=cost, integer=binaries).around(np.where(mine, 0.0, x))
    books = books.part(columns, rows, none, none)
    of_column, of_row = components(books)
    for number in range(of_column.max(initial=-1) + 1):
        own = of_column == number
        part = books.part(np.flatnonzero(own), np.flatnonzero(of_row == number))
        highs = linear_solver(
            part.c, part.A, part.row_lower, part.row_upper, part.lower, part.upper, part.integer
        )
        highs.setOptionValue("mip_rel_gap", gap)
        for name, tolerance in FINE.items():
            highs.setOptionValue(name, tolerance)
        found = run(highs, max(ended - time.monotonic(), 0.0)).x
        if found is None:
            return None
        x[columns[own]] = np.where(part.integer, np.round(found), found)
    return x if relaxed.violation(x) <= SOUND else None
