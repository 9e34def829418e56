"""The table of dual signs in ``model.kkt``, line by line: what one more MW of every limit is worth.

``follower_lp`` has every limit as a number of its own, to be moved up and down.
"""

import re

import numpy as np
import pytest
from follower_lp import follower_lp
from toys import toy

from generators import instance
from model import kkt
from model.metrics import extract
from model.program import compile_model
from model.schemes import build
from model.solvers.follower import Follower

LINE = re.compile(r"^(\w+) +(load|lower|upper) +([+-])(\w+) +\[", re.MULTILINE)
TABLE = LINE.findall(kkt.__doc__)
STEP = 1e-4  # MW


def _multipliers(mult, name):
    """The multipliers of a name of the table, by key."""
    if hasattr(mult, name):
        return getattr(mult, name)
    pairs, side = getattr(mult, name.rpartition("_")[0]), name.endswith("_up")
    return {key: pair[side] for key, pair in pairs.items()}


def _ramping(case, ramp):
    gens = tuple(gen.model_copy(update={"ramp_mw_per_h": ramp}) for gen in case.transmission.gens)
    return case.model_copy(update={"transmission": case.transmission.model_copy(update={"gens": gens})})


CASES = [
    toy(2, 2, rate_mw=1.0),
    toy(2, 2, load_mw=40.0),
    toy(2, 2, load_mw=0.5, sun=6.0, rate_mw=1.0),
    _ramping(toy(2, 3, rate_mw=4.0), 0.5),
    instance(2, hours=2, congestion="strong"),
]


@pytest.fixture(scope="module")
def answers():
    """The follower's answers to random boundary power: (case, load, multipliers in $/MWh by id)."""
    rng = np.random.default_rng(11)
    found = []
    for case in CASES:
        problem = build(case)
        program = compile_model(problem.m)
        follower = Follower(problem, program)
        boundary = np.concatenate([program.column(b.P_boundary.name) for b in problem.m.feeder.values()])
        for _ in range(4):
            x = np.zeros(len(program.c))
            share = rng.uniform(0, 1, len(boundary))
            x[boundary] = program.lower[boundary] + share * (program.upper - program.lower)[boundary]
            x = follower(x)
            load = np.array([bus.pd_mw for bus in case.transmission.buses], dtype=float)
            for feeder, schedule in zip(case.feeders, extract(problem, program, x).feeders, strict=True):
                row = [bus.bus_i for bus in case.transmission.buses].index(feeder.host_bus)
                load[row] += schedule.P_boundary
            number = program.objective_map.number
            found.append((case, load, problem.multipliers, lambda v, x=x, number=number: x[number[id(v)]]))
    return found


def test_the_table_names_every_multiplier():
    fields = {"lam", "mu_shed", "mu_spill"}
    fields |= {f"mu_{name}_{side}" for name in ("flow", "pg", "ramp") for side in ("lo", "up")}
    assert {name for *_, name in TABLE} == fields
    assert {re.sub("_(lo|up)$", "", name) for name in fields} == set(kkt.Multipliers.__dataclass_fields__)


@pytest.mark.parametrize(("row", "side", "sign", "name"), TABLE)
def test_a_limit_is_worth_what_the_table_says(answers, row, side, sign, name):
    """Where phi has a slope in the limit: up and down by 1e-4 MW it changes by that slope, sign and all."""
    rng = np.random.default_rng(12)
    compared, binding = 0, 0
    for case, load, mult, value in answers:
        multipliers = _multipliers(mult, name)
        # Those that bind, and a few that do not.
        keys = sorted(multipliers, key=lambda key: -abs(value(multipliers[key])))
        some = [keys[n] for n in rng.integers(0, len(keys), 2)] if keys else []
        for key in {*keys[:4], *some}:
            moved = [follower_lp(case, load, (row, side, key), step) for step in (-STEP, 0.0, STEP)]
            if None in moved:
                continue
            costs = [cost for cost, _ in moved]
            down, up = (costs[1] - costs[0]) / STEP, (costs[2] - costs[1]) / STEP
            if abs(up - down) > 1e-4:
                continue  # on a kink the slope is not unique
            worth = value(multipliers[key]) / case.base_mva * (1 if sign == "+" else -1)
            # phi of up to 1e5 $ to 1e-9 of itself, divided by the step.
            assert worth == pytest.approx(up, abs=1e-3 + 1e-9 * abs(costs[1]) / STEP)
            compared += 1
            binding += abs(up) > 0.1
    assert compared >= 10 and binding >= 3
