"""The largest ball in a leaf: where to explore it from, and whether there is anything in it."""

import numpy as np
from scipy.sparse import csr_array

from model.price_hull import Leaf
from model.program import Array
from model.solvers.linear import linear_solver, run


def chebyshev(leaf: Leaf, box: Array) -> tuple[Array, float]:
    """Centre and radius of the largest ball in a leaf and the box; the radius is negative if none."""
    n, infinite = len(box), np.full(len(box), np.inf)
    G = np.vstack([leaf.G, np.eye(n), -np.eye(n)])
    h = np.concatenate([leaf.h, box[:, 1], -box[:, 0]])
    highs = linear_solver(
        np.append(np.zeros(n), -1.0),
        csr_array(np.column_stack([G, np.linalg.norm(G, axis=1)])),
        np.full(len(h), -np.inf),
        h,
        np.append(-infinite, 0.0),
        np.append(infinite, np.inf),
    )
    highs.setOptionValue("presolve", "off")  # takes longer than what it saves
    x = run(highs).x
    return (box.mean(axis=1), -1.0) if x is None else (x[:n], float(x[n]))
