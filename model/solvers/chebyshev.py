"""The largest ball in a leaf: where to explore it from, and whether there is anything in it."""

import highspy
import numpy as np
from scipy.sparse import csr_array

from model.price_hull import Leaf
from model.program import Array
from model.solvers.linear import linear_solver, run


class Balls:
    """The largest ball in a leaf and the box, and in what halfspaces leave of it, one after another."""

    def __init__(self, leaf: Leaf, box: Array):
        n, infinite = len(box), np.full(len(box), np.inf)
        self.middle = box.mean(axis=1)
        G = np.vstack([leaf.G, np.eye(n), -np.eye(n)])
        h = np.concatenate([leaf.h, box[:, 1], -box[:, 0]])
        self.highs = linear_solver(
            np.append(np.zeros(n), -1.0),
            csr_array(np.column_stack([G, np.linalg.norm(G, axis=1)])),
            np.full(len(h), -np.inf),
            h,
            np.append(-infinite, 0.0),
            np.append(infinite, np.inf),
        )
        self.highs.setOptionValue("presolve", "off")  # takes longer than what it saves

    def ball(self) -> tuple[Array, float]:
        """Centre and radius; the radius is negative where there is no ball."""
        x = run(self.highs).x
        return (self.middle, -1.0) if x is None else (x[:-1], float(x[-1]))

    def cut(self, g: Array, limit: float) -> None:
        """Leave what has ``g L <= limit``."""
        n = len(g)
        row = np.append(g, np.linalg.norm(g))
        self.highs.addRow(-highspy.kHighsInf, limit, n + 1, np.arange(n + 1), row)

    def beyond(self, g: Array, limit: float) -> float:
        """The radius of the largest ball with ``g L >= limit``."""
        self.cut(-g, -limit)
        radius = self.ball()[1]
        last = self.highs.getNumRow() - 1
        self.highs.deleteRows(1, np.array([last], dtype=np.int32))
        return radius


def chebyshev(leaf: Leaf, box: Array) -> tuple[Array, float]:
    """Centre and radius of the largest ball in a leaf and the box; the radius is negative if none."""
    return Balls(leaf, box).ball()
