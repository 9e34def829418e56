"""Big-M (Fortuny-Amat and McCarl 1981), with the certified bounds of ``model.kkt`` as M."""

import math

import pyomo.environ as pyo

from model.data import InputError
from model.kkt import Pair
from model.program import Array, Program


def add(m: pyo.ConcreteModel, pairs: list[Pair]) -> None:
    """multiplier <= M z and slack <= S (1 - z), z binary. Refuses a bound that is not finite."""
    for pair in pairs:
        if not (math.isfinite(pair.multiplier_bound) and math.isfinite(pair.slack_bound)):
            raise InputError("mode", "big_m", f"a certified bound for {pair.multiplier.name}, which has none")
    index = range(len(pairs))
    m.complementarity = pyo.Block()
    m.complementarity.binding = pyo.Var(index, domain=pyo.Binary)

    @m.complementarity.Constraint(index)
    def multiplier_limit(b, n):
        return pairs[n].multiplier - pairs[n].multiplier_bound * b.binding[n] <= 0

    @m.complementarity.Constraint(index)
    def slack_limit(b, n):
        return pairs[n].slack + pairs[n].slack_bound * b.binding[n] <= pairs[n].slack_bound


def complete(program: Program, x: Array) -> Array:
    """Set each binary to the side on which its complementarity holds at x."""
    binding = program.column("complementarity.binding")
    limits = program.rows["complementarity.multiplier_limit"], program.rows["complementarity.slack_limit"]
    x = x.copy()
    x[binding] = 0.0
    multiplier = program.A[limits[0]] @ x
    multiplier_bound = -program.A[limits[0]][:, binding].diagonal()
    slack_bound = program.A[limits[1]][:, binding].diagonal()
    slack = slack_bound - program.row_upper[limits[1]] + program.A[limits[1]] @ x
    x[binding] = multiplier * slack_bound > slack * multiplier_bound
    return x
