"""The schedule's table, and the payments and losses that the certificate adds up, against plain sums."""

import numpy as np
import pytest
from uneven import HOURS, PARENT, branch, draw_point, uneven

from model.metrics import extract, schedule, table
from model.outcome import Outcome
from model.program import compile_model
from model.schemes import build

CASE = uneven()
BASE = CASE.base_mva
# Floating point only: sums of some hundred numbers of size 1 to 1e3.
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@pytest.fixture(scope="module", params=["lmp", "tariff"])
def point(request):
    problem = build(uneven(request.param))
    program = compile_model(problem.m)
    draw_point(problem.m)
    return problem, program, np.array([v.value for v in program.variables])


def price(problem, d, t):
    """$/MWh at an ADN's boundary."""
    if problem.instance.settlement == "tariff":
        return (31.0, 37.0, 43.0)[t]
    return problem.multipliers.lam[(9, 9, 5, 2, 5)[d], t].value / BASE


def test_an_outcome_without_a_point_has_no_schedule(point):
    problem, program, x = point
    with pytest.raises(ValueError, match="no schedule"):
        schedule(problem, program, Outcome("infeasible"))
    assert len(schedule(problem, program, Outcome("solved", x))) == CASE.n_adns * HOURS


def test_payments_are_energy_times_price(point):
    problem, program, x = point
    m, found = problem.m, extract(problem, program, x).payments()
    expected = dict.fromkeys(found, 0.0)
    for d, b in m.feeder.items():
        feeder = CASE.feeders[d]
        for t in range(HOURS):
            expected["energy"] += price(problem, d, t) * BASE * b.P_boundary[t].value
            expected["access"] += 4.3 * BASE * (b.p_import[t].value + b.p_export[t].value)
        expected["network"] += (
            6.1 * BASE * sum(v.value for v in (*b.grid_import.values(), *b.grid_export.values()))
        )
        expected["local"] += 2.2 * BASE * sum(v.value for v in b.sell_in.values())
        expected["wear"] += BASE * sum(
            feeder.bess[k].wear_per_mwh * (b.charge[k, t].value + b.discharge[k, t].value)
            for k, t in b.charge
        )
    fee = {(0, 1): 4.1, (2, 0): 5.3, (0, 2): 3.7, (1, 0): 2.9}
    expected["wheeling"] = BASE * sum(fee[d, e] * v.value for (d, e, _), v in m.x.items())
    assert set(found) == {"energy", "access", "wheeling", "network", "local", "wear"}
    for name, paid in expected.items():
        assert found[name] == pytest.approx(paid, **CLOSE), name


def test_the_followers_side_is_read_back_in_mw_and_dollars(point):
    problem, program, x = point
    f, lam, found = problem.m.follower, problem.multipliers.lam, extract(problem, program, x)
    for t in range(HOURS):
        for n, i in enumerate((5, 2, 9)):
            assert found.shed[n, t] == pytest.approx(BASE * f.shed[i, t].value)
            assert found.spill[n, t] == pytest.approx(BASE * f.spill[i, t].value)
            assert found.theta[n, t] == (0.0 if i == 2 else f.theta[i, t].value)
            assert found.lam[n, t] == pytest.approx(lam[i, t].value / BASE)
        cost = 900 * found.shed[:, t].sum() + 3 * found.spill[:, t].sum()
        for (g, k), per_mwh in {(0, 0): 21.0, (0, 1): 33.0, (1, 0): 47.0}.items():
            assert found.pg[g][k, t] == pytest.approx(BASE * f.pg[g, k, t].value)
            cost += per_mwh * found.pg[g][k, t]
        assert found.generation_cost()[t] == pytest.approx(cost, **CLOSE)


def test_slack_of_the_cones_is_energy_in_mwh(point):
    """r l in ohm times kA^2, less what the flows cause at the sending end's voltage."""
    problem, program, x = point
    expected = 0.0
    for d, b in problem.m.feeder.items():
        feeder = CASE.feeders[d]
        for (j, t), current in b.l.items():
            i = PARENT[d][j]
            r = branch(feeder, i, j).br_r_ohm
            v = (feeder.v_root if i == feeder.root_bus else b.v[i, t].value ** 0.5) * feeder.base_kv
            s = BASE**2 * (b.P[j, t].value ** 2 + b.Q[j, t].value ** 2)
            expected += r * (current.value * (BASE / feeder.base_kv) ** 2 - s / v**2)
    assert extract(problem, program, x).phantom_losses_mwh() == pytest.approx(expected, **CLOSE)


def test_what_a_branch_loses_too_little_and_carries_too_much_are_in_mva(point):
    """Of every branch and hour, in ohm, kA and kV; the random point misses losses and ratings somewhere."""
    problem, program, x = point
    missing, beyond = [], []
    for d, b in problem.m.feeder.items():
        feeder = CASE.feeders[d]
        for (j, t), current in b.l.items():
            i = PARENT[d][j]
            line = branch(feeder, i, j)
            v = (feeder.v_root if i == feeder.root_bus else b.v[i, t].value ** 0.5) * feeder.base_kv
            s = BASE**2 * (b.P[j, t].value ** 2 + b.Q[j, t].value ** 2)
            squared_ka = current.value * (BASE / feeder.base_kv) ** 2
            missing.append(np.hypot(line.br_r_ohm, line.br_x_ohm) * (s / v**2 - squared_ka))
            beyond.append(feeder.base_kv * squared_ka**0.5 - line.rate_a_mva)
    found = extract(problem, program, x)
    assert found.missing_losses_mva() == pytest.approx(max(*missing, 0.0), **CLOSE)
    assert found.overcurrent_mva() == pytest.approx(max(*beyond, 0.0), **CLOSE)
    assert found.missing_losses_mva() > 0


@pytest.mark.parametrize("beyond", [0.01, -0.01])
def test_a_current_is_held_against_its_own_rating(point, beyond):
    problem, program, x = point
    x = x.copy()
    for d, b in problem.m.feeder.items():
        ratings = [branch(CASE.feeders[d], i, j).rate_a_mva for j, i in PARENT[d].items()]
        x[program.column(b.l.name)] = np.repeat([((rate + beyond) / BASE) ** 2 for rate in ratings], HOURS)
    expected = pytest.approx(max(beyond, 0.0), abs=1e-12)
    assert extract(problem, program, x).overcurrent_mva() == expected


def test_the_table_has_one_line_an_adn_and_hour(point):
    problem, program, x = point
    m, lines = problem.m, table(extract(problem, program, x))
    for d, b in m.feeder.items():
        feeder = CASE.feeders[d]
        for t in range(HOURS):
            own = lines[(lines.adn == d) & (lines.hour == t)].iloc[0]
            losses = (
                BASE**2
                / feeder.base_kv**2
                * sum(branch(feeder, i, j).br_r_ohm * b.l[j, t].value for j, i in PARENT[d].items())
            )
            volts = [b.v[j, t].value ** 0.5 for j in PARENT[d]]
            expected = {
                "host_bus": feeder.host_bus,
                "load_mw": sum(bus.pd_mw[t] for bus in feeder.buses),
                "pv_mw": BASE * sum(b.pv_p[k, t].value for k in range(len(feeder.pv))),
                "pv_available_mw": sum(pv.available_mw[t] for pv in feeder.pv),
                "charge_mw": BASE * sum(b.charge[k, t].value for k in range(len(feeder.bess))),
                "discharge_mw": BASE * sum(b.discharge[k, t].value for k in range(len(feeder.bess))),
                "energy_mwh": BASE * sum(b.energy[k, t].value for k in range(len(feeder.bess))),
                "p_boundary_mw": BASE * b.P_boundary[t].value,
                "p2p_within_mw": BASE * sum(v.value for (_, s), v in b.sell_in.items() if s == t),
                "p2p_sold_mw": BASE * sum(v.value for (i, _, s), v in m.x.items() if (i, s) == (d, t)),
                "p2p_bought_mw": BASE * sum(v.value for (_, e, s), v in m.x.items() if (e, s) == (d, t)),
                "price_per_mwh": price(problem, d, t),
                "losses_mw": losses,
                "v_min_pu": min(volts),
                "v_max_pu": max(volts),
            }
            for name, value in expected.items():
                assert own[name] == pytest.approx(value, **CLOSE), name
    assert len(lines) == CASE.n_adns * HOURS
