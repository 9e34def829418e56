"""Which variable bounds are redundant.

Every variable of a scheme has a finite box, because a safe bound needs one. Many of these
boxes follow from other rows, or hold at every optimum of the follower. A solver to which a bound costs a row
may leave those out; the suffix ``redundant_box`` of a block says which, by variable.
"""

import pyomo.environ as pyo

LOWER = "lower"
UPPER = "upper"
BOTH = "both"


def add_redundant_boxes(b: pyo.Block) -> None:
    """Give a block the suffix ``redundant_box``: variable -> LOWER, UPPER or BOTH."""
    b.redundant_box = pyo.Suffix(datatype=None)
