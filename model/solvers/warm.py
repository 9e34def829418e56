"""Linear programs one after another, each from the last one's basis (dual simplex of HiGHS)."""

from typing import Any

import highspy
import numpy as np

from model.program import Array, Program
from model.solvers.linear import LinearResult, linear_solver, run

KIND = highspy.HighsBasisStatus


class Warm:
    """Solves programs that begin with the same columns and rows, with more of both from time to time.

    Rows may be added to the shared ones; what follows them is known by its name, one a column or row.
    """

    def __init__(self, n_columns: int):
        self.n_columns = n_columns
        self.shared: tuple[list, list] = ([], [])
        self.named: tuple[dict, dict] = ({}, {})

    def solve(self, program: Program, names: tuple[list, list], time_limit_s: float) -> LinearResult:
        """Solve a program without cones; ``names`` are those of its last columns and rows.

        Where it is infeasible, the duals are a ray that proves so, of either sign, if HiGHS found one.
        """
        n_rows = len(program.row_lower) - len(names[1])
        highs = linear_solver(
            program.c, program.A, program.row_lower, program.row_upper, program.lower, program.upper
        )
        columns, rows = self.shared
        if columns:
            basis = highspy.HighsBasis()
            basis.col_status = columns + [self.named[0].get(name, KIND.kLower) for name in names[0]]
            basis.row_status = (
                rows[:n_rows]
                + [KIND.kBasic] * (n_rows - len(rows))
                + [self.named[1].get(name, KIND.kBasic) for name in names[1]]
            )
            # It may be no basis of this program: HiGHS makes it one.
            basis.valid = basis.alien = True
            highs.setBasis(basis)
        found = run(highs, time_limit_s)
        if found.status == "error":  # a basis that it could not use
            highs.clearSolver()
            found = run(highs, time_limit_s)
        if found.status == "infeasible":
            return LinearResult("infeasible", None, _ray(highs), np.inf)
        if found.x is None or found.row_duals is None:
            return LinearResult("error" if found.status == "solved" else found.status, None, None, np.inf)
        basis = highs.getBasis()
        status = list(basis.col_status), list(basis.row_status)
        self.shared = status[0][: self.n_columns], status[1][:n_rows]
        self.named = (
            dict(zip(names[0], status[0][self.n_columns :], strict=True)),
            dict(zip(names[1], status[1][n_rows:], strict=True)),
        )
        return found


def _ray(highs: Any) -> Array | None:
    if not highs.getDualRayExist()[1]:
        highs.setOptionValue("presolve", "off")  # which may prove infeasibility without a ray
        highs.run()
    _, exists, ray = highs.getDualRay()
    return np.array(ray) if exists else None
