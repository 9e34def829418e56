"""Physics made exact: flows against Newton's method of pandapower, stored energy by its rows."""

from dataclasses import replace

import numpy as np
import pytest

from generators import instance
from model.metrics import extract
from model.program import cone_starts, tail_norms
from model.schemes import share

HOURS = 3
NEWTON_MW = 1e-6  # what Newton's method leaves, and a kA counted in p.u.


@pytest.fixture(scope="module")
def injected():
    """A point of two feeders with sun and batteries anywhere in their boxes, and flows of nobody."""
    c = share(instance(2, seed=5, hours=HOURS))
    draw = np.random.default_rng(7)
    x = np.clip(draw.normal(size=len(c.program.c)), 0.9 * c.program.lower, 0.9 * c.program.upper)
    for name in ("pv_p", "pv_q", "charge", "discharge"):
        own = c.columns(name)
        x[own] = draw.uniform(c.program.lower[own], c.program.upper[own])
    for name in ("P", "Q", "l", "v"):
        x[c.columns(name)] = 0.5 * c.program.upper[c.columns(name)]
    return c, x, c.physics(x)


def test_flows_are_those_of_newtons_method(injected):
    pytest.importorskip("pandapower")
    from replay import FeederReplay

    c, _, flowing = injected
    base = c.instance.base_mva
    schedule = extract(c.problem, c.program, flowing)
    pv_q = c.columns("pv_q")
    first = 0
    for feeder, f in zip(c.instance.feeders, schedule.feeders, strict=True):
        own = pv_q[first : first + len(feeder.pv)]
        first += len(feeder.pv)
        replay = FeederReplay(feeder)
        for t in range(HOURS):
            ac = replay.hour(f, base * flowing[own], t)
            assert np.abs(f.P_mw[:, t] - ac.p_mw).max() <= NEWTON_MW
            assert np.abs(f.Q_mvar[:, t] - ac.q_mvar).max() <= NEWTON_MW
            assert np.abs(np.sqrt(f.v_pu[:, t]) - ac.v_pu).max() <= 1e-8
            assert abs(f.P_boundary[t] - ac.boundary_mw) <= NEWTON_MW


def test_rows_hold_and_no_cone_is_slack(injected):
    c, _, flowing = injected
    p = c.program
    names = ("active_balance", "root_balance", "reactive_balance", "voltage_drop")
    for name, where in p.rows.items():
        if name.rpartition(".")[2] in names:
            assert np.abs((p.A[where] @ flowing) - p.row_lower[where]).max() <= 1e-12
    starts = cone_starts(p.cone_dims)
    of_current = p.cone_dims == 4
    assert of_current.sum() == c.columns("l").size
    s = p.cone_b + p.cone_A @ flowing
    assert np.abs(s[starts] - tail_norms(s, starts))[of_current].max() <= 1e-12


def test_batteries_store_what_they_do_and_no_more(injected):
    """As many MWh into each as out of it, at least one way as drawn, levels within their limits."""
    c, x, exact = injected
    p = c.program
    for name, where in p.rows.items():
        if name.endswith(".energy_dynamics"):
            assert np.abs(p.A[where] @ exact).max() <= 1e-12
    levels = c.columns("energy")
    assert exact[levels].min() >= 0 and (exact[levels] <= p.upper[levels] * (1 + 1e-12)).all()
    drawn = [x[c.columns(name)] for name in ("charge", "discharge")]
    done = [exact[c.columns(name)] for name in ("charge", "discharge")]
    part = np.array([one.sum(axis=1) / other.sum(axis=1) for one, other in zip(done, drawn, strict=True)])
    assert (part <= 1 + 1e-12).all() and (part.min(axis=0) < 1 - 1e-6).any()
    assert np.abs(done[0] - part[0][:, None] * drawn[0]).max() <= 1e-12


def test_a_battery_that_would_overflow_does_less(injected):
    c, x, _ = injected
    x = x.copy()
    charge, discharge, levels = (c.columns(name) for name in ("charge", "discharge", "energy"))
    most = c.program.upper[levels].max(axis=1)
    x[charge] = x[discharge] = 0.0
    x[charge[:, 0]], x[discharge[:, 2]] = 3 * most, 3 * most
    exact = c.physics(x)
    assert exact[levels].max(axis=1) == pytest.approx(most)
    assert exact[levels].min(axis=1) == pytest.approx(0.0, abs=1e-12)


def test_what_is_injected_stays(injected):
    c, _, exact = injected
    again = c.physics(exact)
    assert np.abs(again - exact).max() <= 1e-12
    pushed = exact.copy()
    moved = np.zeros(len(exact), dtype=bool)
    for name in ("P", "Q", "l", "v", "P_boundary", "energy"):
        moved[c.columns(name)] = True
    pushed[moved] *= 1.1
    mended = c.physics(pushed)
    assert np.array_equal(mended[~moved & ~_storage(c)], exact[~moved & ~_storage(c)])
    flows = moved.copy()
    flows[c.columns("energy")] = False  # a level may begin anywhere
    assert np.abs(mended - exact)[flows].max() <= 1e-12


def test_flows_stay_where_exact_ones_would_leave_their_limits(injected):
    """One voltage has its limit a little below what the physics makes of it."""
    c, x, exact = injected
    top = c.columns("v")[:1, :1]
    p = c.relaxed
    upper = p.upper.copy()
    upper[top] = exact[top] - 1e-3
    tight = replace(c, relaxed=replace(p, upper=upper))
    assert np.array_equal(c.flowing(x)[top], exact[top])
    stays = np.clip(x, p.lower, upper)
    flows = c.columns("l")
    assert np.array_equal(tight.flowing(x)[flows], stays[flows])


def _storage(c):
    mask = np.zeros(len(c.program.c), dtype=bool)
    for name in ("charge", "discharge"):
        mask[c.columns(name)] = True
    return mask
