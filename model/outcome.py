"""What a solver or method returns: a point, a bound, and the dual vectors behind the bound."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """One solve, before anybody checked it.

    ``status``: ``solved`` (ended by itself), ``time_limit``, ``memory_limit``, ``infeasible`` or
    ``error``. ``x``: a point of the program (one value a column) or None. ``bound``: the solver's own
    lower bound in $. ``row_duals`` and ``cone_duals``: dual vectors of the program's relaxation, from
    which the certificate recomputes a bound; None where the solver gives none. ``nodes``:
    branch-and-bound nodes.
    """

    status: str
    x: np.ndarray | None = None
    bound: float | None = None
    row_duals: np.ndarray | None = None
    cone_duals: np.ndarray | None = None
    nodes: int = 0
    message: str = ""
