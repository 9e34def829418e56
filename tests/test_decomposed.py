"""The method without a program of all ADNs and hours: points from the hours, and where hours are solved."""

import math
import os
import signal
import time

import brute_force
import distributed
import numpy as np
import pytest
from proofs import apart, begun, unproven
from small_cases import small_instance
from toys import ramping, relay, toy

from generators import instance
from model.certificate import certify
from model.data import InputError
from model.price_hull import Leaf
from model.program import compile_model
from model.schemes import build
from model.solvers import auto, decomposed, hour_points, hourly, solve, workers
from model.solvers.hour_points import Held
from model.solvers.hour_program import Question, hours_of
from model.solvers.hourly import HourlySearch
from model.solvers.workers import Cluster

TOYS = {
    "two": toy(2, 3),
    "congested": toy(3, 2, rate_mw=4.0),
    "tight": toy(3, 3, load_mw=7.0, rate_mw=1.0),
    "relay": relay(),
    "without batteries": toy(2, 3, rate_mw=4.0, battery=0.0),
}
SOUND = 5e-7


def silent(message):
    pass


def compiled(case):
    problem = build(case)
    return problem, compile_model(problem.m)


# The method.


@pytest.mark.parametrize("name", TOYS)
def test_the_method_agrees_with_the_default_one(name):
    problem, program = compiled(TOYS[name])
    outcome = solve(problem, program, "decomposed", 1e-3, 60.0)
    certificate = certify(problem, program, outcome, 1e-3)
    reference = certify(problem, program, solve(problem, program, "auto", 1e-4, 60.0), 1e-4)
    assert certificate.bound_by == "safe" and not [c for c in certificate.checks if not c.passed]
    scale = max(abs(reference.objective), 1.0)
    assert certificate.bound <= reference.objective + 1e-6 * scale
    assert certificate.objective >= reference.bound - 1e-6 * scale
    if name != "relay":  # its conflict is between binaries within an hour of an ADN as well
        assert certificate.status == "certified", certificate


def test_a_generated_instance_is_certified():
    problem, program = compiled(instance(3, seed=1, hours=10))
    outcome = solve(problem, program, "decomposed", 5e-3, 60.0)
    certificate = certify(problem, program, outcome, 5e-3)
    assert certificate.status == "certified" and certificate.bound_by == "safe", certificate
    assert len(outcome.cuts.block) > 0 and outcome.parts[0].n_cuts > 0


SEEDS = [seed for seed in range(40) if small_instance(seed).settlement == "lmp"]


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_the_method_encloses_the_enumerated_optimum(seed):
    case = small_instance(seed)
    problem, program = compiled(case)
    if not problem.prices_by_hour:
        with pytest.raises(InputError, match="no ramps"):
            solve(problem, program, "decomposed", 1e-5, 10.0)
        return
    certificate = certify(problem, program, solve(problem, program, "decomposed", 1e-5, 10.0), 1e-5)
    optimum = brute_force.solve(case)
    scale = max(abs(optimum.cost), 1.0)
    tolerated = 1e-5 * scale + 1e-6 * case.base_mva * float(np.abs(optimum.prices).sum()) * case.n_adns
    if certificate.bound is not None:
        assert certificate.bound <= optimum.cost + tolerated
    if certificate.objective is not None:
        assert certificate.objective >= optimum.cost - tolerated


@pytest.mark.parametrize(
    "case",
    [toy(2, 2, settlement="tariff"), ramping()],
    ids=["tariff", "ramps"],
)
def test_what_has_no_hours_apart_is_refused_in_one_line(case):
    problem, program = compiled(case)
    with pytest.raises(InputError) as refused:
        solve(problem, program, "decomposed", 1e-3, 10.0)
    told = str(refused.value)
    assert "method: got 'decomposed'" in told and "settlement lmp and no ramps" in told
    assert "\n" not in told


def test_time_that_is_up_ends_the_method_with_what_it_has():
    problem, program = compiled(instance(2, hours=12))
    began = time.monotonic()
    outcome = solve(problem, program, "decomposed", 1e-9, 2.0)
    assert time.monotonic() - began < 30.0
    certificate = certify(problem, program, outcome, 1e-9)
    assert outcome.x is not None and certificate.status in ("time_limit", "gap_limit"), certificate
    # Time for the beginning alone: its point, and nothing proven.
    outcome = solve(problem, program, "decomposed", 1e-9, 1e-3)
    certificate = certify(problem, program, outcome, 1e-9)
    assert certificate.status == "time_limit" and certificate.bound is None
    assert math.isfinite(certificate.objective) and not [c for c in certificate.checks if not c.passed]


def test_the_default_method_decomposes_where_there_are_many_adns(monkeypatch):
    problem, program = compiled(toy(2, 2, rate_mw=1.0))
    asked, known = [], decomposed.solve
    monkeypatch.setattr(decomposed, "solve", lambda *given: asked.append(None) or known(*given))
    solve(problem, program, "auto", 1e-3, 60.0)
    assert not asked
    monkeypatch.setattr(auto, "MANY", 2)
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert asked and outcome.cuts is not None
    assert certify(problem, program, outcome, 1e-3).status == "certified"
    # Where it finds no point, the relaxation as a whole is solved.
    monkeypatch.setattr(HourlySearch, "idle", lambda self: None)
    assert decomposed.solve(problem, program, 1e-3, 60.0, silent).status == "error"
    outcome = solve(problem, program, "auto", 1e-3, 60.0)
    assert len(asked) == 3 and certify(problem, program, outcome, 1e-3).status == "certified"


def test_a_beginning_without_a_sound_answer_is_no_beginning(monkeypatch):
    problem, program = compiled(TOYS["two"])
    search = apart(problem, program)
    assert search.idle().parts == () and program.violation(search.idle().x) < SOUND
    search.point = lambda x: None
    assert search.idle() is None
    search.ask = lambda questions: [None for _ in questions]
    assert search.idle() is None


@pytest.mark.parametrize("late", [False, True])
def test_the_first_reference_is_searched_roughly_and_makes_a_point_only_where_time_is_short(
    late, monkeypatch
):
    """Without duals of a relaxation the first reference prices batteries at rest: it is soon replaced."""
    problem, program = compiled(instance(2, seed=1, hours=6))
    search = apart(problem, program)
    made, near, halfway = [], search.points.near, hourly._halfway
    monkeypatch.setattr(
        search.points, "near", lambda *given: made.append(search.fine) or near(*given), raising=True
    )
    dues, look = [], search.points.look
    monkeypatch.setattr(search.points, "look", lambda *given: dues.append(search.due) or look(*given))
    if late:
        monkeypatch.setattr(hourly, "_halfway", lambda *given: 0.0 if not made else halfway(*given))
    told = []
    search.progress = told.append
    outcome = search.solve(search.idle(), 1e-3, time.monotonic() + 60.0)
    rough = hourly.ROUGH / 1e-3
    assert (rough in made) == late and made[-1] == hourly.FINE
    # Until there is a point it stays due.
    assert late or (dues and np.isfinite(dues).all())
    assert [message.split(":")[0] for message in told][:2] == ["reference 0", "reference 1"]
    certificate = certify(problem, program, outcome, 1e-3)
    assert certificate.status == "certified" and certificate.bound_by == "safe"


def test_a_schedule_that_no_hour_can_answer_stays_as_it_is():
    problem, program = compiled(TOYS["two"])
    search = begun(problem, program, 1e-3)
    start, leaves = np.full(search.points.flows.shape, 0.1), [search.trees[t][0] for t in search.hours]
    answers = search.points.answers
    search.points.ask = lambda questions: [None] * len(questions)
    assert search.points.look(leaves, native_prices(search), start) is start
    assert search.points.answers is answers


# Points.


@pytest.fixture(scope="module", params=TOYS)
def search(request):
    found = begun(*compiled(TOYS[request.param]), 1e-3)
    found.whole = False
    return found


def native_prices(search):
    found = []
    for t, hour in search.hours.items():
        market = search.markets[t]
        found.append(market.solve(np.zeros(len(hour.box)))[2][market.host_rows])
    return found


def everywhere(search):
    hosts = len(search.hours[0].box)
    return [Leaf(np.zeros((0, hosts)), np.zeros(0), None) for _ in search.hours]


def assert_sound(search, schedule, found):
    """A point of the problem after the follower's answer, with the schedule's batteries."""
    program, points = search.program, search.points
    answer = search.follower(found)
    assert program.violation(answer) < SOUND
    assert np.abs(answer[points.flows] - schedule).max(initial=0.0) < 1e-12
    charge, discharge = answer[points.flows]
    assert (np.minimum(charge, discharge) == 0.0).all()
    levels = answer[points.levels]
    assert (levels >= program.lower[points.levels]).all() and (levels <= program.upper[points.levels]).all()
    inflow = (points.stores * schedule).sum(axis=0)
    assert levels - np.roll(levels, 1, axis=1) == pytest.approx(inflow, abs=SOUND)
    x = answer[program.integer]
    assert np.abs(x - np.round(x)).max(initial=0.0) < 1e-6
    return answer


def at_rest(points, prices):
    return points.begin(np.zeros(points.flows.shape), prices, [np.zeros(len(price)) for price in prices])


def hour_load(search, x):
    return [hour.load(x) for hour in search.hours.values()]


def test_batteries_at_rest_are_a_sound_point(search):
    found = at_rest(search.points, native_prices(search))
    assert_sound(search, np.zeros(search.points.flows.shape), found)


@pytest.mark.parametrize("seed", range(3))
def test_a_point_near_any_schedule_is_sound_and_no_dearer(search, seed):
    """From rest, from batteries at random, and from those that charge and discharge at once."""
    points, rng = search.points, np.random.default_rng(seed)
    most = search.program.upper[points.flows]
    start = [0.0, 0.05, 0.1][seed] * rng.random(most.shape) * most
    # As much is stored as is taken, in each battery.
    if start.size:
        start[1] *= (points.stores[0] * start[0]).sum(axis=1, keepdims=True) / np.maximum(
            -(points.stores[1] * start[1]).sum(axis=1, keepdims=True), 1e-12
        )
    prices = native_prices(search)
    first = points._look(points.one_way(start), prices)
    schedule, found = points.near(everywhere(search), prices, start, -math.inf, 1e-4, math.inf)
    assert_sound(search, schedule, found)
    last = points._look(schedule, prices)
    assert last.values.sum() <= first.values.sum() + 1e-6 * abs(first.values.sum())
    # Without a point it is for the days to price, and leaves without limits cost nothing to keep to.
    points.answers, points.pressed = [], []
    other = points.better(everywhere(search), prices, start, -math.inf, 1e-4, math.inf)
    again = points._look(other, prices)
    assert again.values.sum() <= first.values.sum() + 1e-6 * abs(first.values.sum())
    assert len(points.answers) == len(points.pressed) == len(prices) and not np.any(points.pressed)


def test_a_cheap_schedule_is_not_enough_while_loads_lie_outside_their_leaves(monkeypatch):
    """The penalty may be less than the gap leaves room for; steps are made all the same."""
    monkeypatch.setattr(hour_points, "RESTORED", 0)
    search = apart(*compiled(TOYS["tight"]))
    search.idle()
    points, prices = search.points, native_prices(search)
    rest, edge = np.zeros(points.flows.shape), np.eye(len(prices[0]))
    loads = points._look(rest, prices).loads
    # In the second hour nothing but a battery makes the load less than that.
    least = points.ask([points._held(1, rest, 1e6 * np.ones(len(prices[1])), Held())])[0].load
    leaves = [Leaf(edge, least - 0.002 if t == 1 else load + 1.0) for t, load in enumerate(loads)]
    for enough in (-math.inf, math.inf):
        schedule, _ = points.near(leaves, prices, rest, enough, 0.5, math.inf)
        found = points._look(schedule, prices, points._kept(leaves))
        assert points._beyond(found, leaves).max() <= hour_points.OUTSIDE
    assert points._beyond(points._look(rest, prices, points._kept(leaves)), leaves).max() > 1e-4


def test_beside_whole_binaries_the_schedule_is_improved_again(monkeypatch):
    """From rest, where no step is worth its time until a binary in conflict is whole."""
    search = apart(*compiled(TOYS["congested"]))
    points, prices, leaves = search.points, native_prices(search), everywhere(search)
    start, asked, right = np.zeros(points.flows.shape), [], points.ask
    rounded_by_direction, j = hour_points.round_by_direction, int(np.flatnonzero(search.program.integer)[0])
    t, torn = int(points.hour_of[j]), []

    def once(program, x):
        rounded, undecided = rounded_by_direction(program, x)
        undecided[j] |= not torn
        torn.append(j)
        return rounded, undecided

    monkeypatch.setattr(hour_points, "PROMISE", math.inf)
    points.ask = lambda questions: asked.append(questions) or right(questions)
    kept, _ = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
    assert (kept == start).all() and len(asked) == 1
    asked.clear()
    monkeypatch.setattr(hour_points, "round_by_direction", once)
    schedule, found = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
    answer = assert_sound(search, schedule, found)
    rest, moved = (points._look(own, prices).values.sum() for own in (start, schedule))
    assert moved < rest - 1e-3 * abs(rest)
    # It is held in all that is asked of its hour from then on, and there alone.
    first, again, *later = asked[:-2]
    side = again[0].fixed[points.number[j]]
    assert [q.hour for q in again] == [t] and later and answer[j] == side
    for questions in later:
        for q in questions:
            assert (q.hour == t) == (len(q.fixed) > len(first[q.hour].fixed))
            assert q.hour != t or q.fixed[points.number[j]] == side


def test_hours_that_do_what_they_did_are_not_asked_again():
    search = apart(*compiled(TOYS["congested"]))
    points, prices, asked, right = search.points, native_prices(search), [], search.points.ask
    first = points._look(np.zeros(points.flows.shape), prices)
    points.ask = lambda questions: asked.extend(q.hour for q in questions) or right(questions)
    # Nothing is within reach of the first hour, whatever it would save.
    reach = np.array([0.0, *np.ones(len(prices) - 1)])
    found, *_ = points._proposal(prices, first.schedule, first.loads, reach, everywhere(search))
    assert (found[:, :, 0] == 0.0).all()
    other = first.schedule.copy()
    other[0, :, 1] = 0.01 * search.program.upper[points.flows[0, :, 1]]
    again = points._look(other, prices, None, first)
    assert asked == [1] and again.answers[0] is first.answers[0]
    assert np.allclose(again.values, points._look(other, prices).values, rtol=1e-6)


def test_one_way_keeps_what_is_stored(search):
    points, rng = search.points, np.random.default_rng(0)
    schedule = rng.random(points.flows.shape)
    schedule[1, :, ::2] = 0.0
    other = points.one_way(schedule)
    assert (np.minimum(*other) == 0).all() and (other >= 0).all()
    stored = [(points.stores * own).sum(axis=0) for own in (schedule, other)]
    assert stored[0] == pytest.approx(stored[1])


def test_a_schedule_that_is_cheap_enough_is_kept():
    problem, program = compiled(TOYS["congested"])
    search = apart(problem, program)
    points, prices, leaves = search.points, native_prices(search), everywhere(search)
    start = np.zeros(points.flows.shape)
    cost = points._look(start, prices).values.sum()
    better, _ = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
    assert points._look(better, prices).values.sum() < cost - 1e-3 * abs(cost)
    kept, found = points.near(leaves, prices, start, cost + 1e-6 * abs(cost), 1e-4, math.inf)
    assert (kept == start).all()
    assert_sound(search, kept, found)


@pytest.mark.parametrize("seed", range(3))
def test_the_schedule_wished_for_is_one_that_levels_allow(search, seed):
    """From what the hours answer each by itself, which levels forbid."""
    points, rng, hosts = search.points, np.random.default_rng(seed), len(search.hours[0].box)
    most, K = search.program.upper[points.flows], points.flows.shape[1]
    points.tangents = [{} for _ in search.hours]
    leaves, prices, tangents = everywhere(search), [], []
    for t in search.hours:
        lam = np.full(hosts, 400.0 * rng.random())
        question = Question(t, 100.0 * rng.normal(size=K), None, lam, np.zeros((0, hosts)), np.zeros(0))
        points.learn(question, search.ask([question])[0])
        prices.append(lam)
        tangents.append(points.known(t, leaves[t], lam)[0])
    found = points.wished(leaves, prices)
    inflow = (points.stores * found).sum(axis=0)
    assert inflow.sum(axis=1) == pytest.approx(0.0, abs=1e-7)
    assert (found >= 0).all() and (found <= most + 1e-9).all() and (np.minimum(*found) == 0).all()
    levels = np.cumsum(inflow, axis=1)
    room = (search.program.upper - search.program.lower)[points.levels]
    assert (np.ptp(levels, axis=1) <= room.min(axis=1, initial=math.inf) + 1e-7).all()

    def promised(schedule):
        return sum(
            tangent.value + float((tangent.slopes * (schedule[:, :, t] - tangent.schedule)).sum())
            for t, tangent in enumerate(tangents)
        )

    # Rest is a schedule too, and so is any part of it: none of them promises less within the same reach.
    flows = np.stack([tangent.schedule for tangent in tangents], axis=2)
    reach = (np.abs(found - flows) / np.maximum(most, 1e-9)).max(initial=0.0)
    for part in rng.random(5):
        if (np.abs(part * found - flows) <= min(reach, 1.0) * most).all():
            assert promised(found) <= promised(part * found) + 1e-6 * abs(promised(found))


def test_loads_lie_in_the_leaves_that_are_asked_for():
    """Every hour's load a little lower or higher than it would be, as far as batteries can move it."""
    problem, program = compiled(TOYS["congested"])
    search = apart(problem, program)
    points, prices = search.points, native_prices(search)
    schedule, found = points.near(
        everywhere(search), prices, np.zeros(points.flows.shape), -math.inf, 1e-4, math.inf
    )
    usual = hour_load(search, found)
    hosts = len(usual[0])
    assert not points._beyond(points._look(schedule, prices), everywhere(search)).any()
    for sign in (1.0, -1.0):
        # More in one hour, less in the other.
        leaves = [
            Leaf(side * np.ones((1, hosts)), np.array([side * usual[t].sum() - 2e-3]), None)
            for t, side in ((0, sign), (1, -sign))
        ]
        for start in (schedule, np.zeros(points.flows.shape)):
            own, moved = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
            answer = assert_sound(search, own, moved)
            for leaf, load in zip(leaves, hour_load(search, answer), strict=True):
                assert (leaf.G @ load <= leaf.h + 1e-7).all()


def test_a_load_that_cannot_come_into_its_leaf_is_soon_left_outside(monkeypatch):
    """Drawn in by its hour and the next, once, then by any hour, once."""
    search = apart(*compiled(TOYS["congested"]))
    points, prices, leaves = search.points, native_prices(search), everywhere(search)
    hosts, reaches, right = len(search.hours[0].box), [], points._proposal
    leaves[0] = Leaf(np.ones((1, hosts)), np.array([-10.0]), None)
    monkeypatch.setattr(hour_points, "STEPS", 0)
    points._proposal = lambda *given: reaches.append(given[3]) or right(*given)
    start = np.zeros(points.flows.shape)
    schedule, found = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
    assert_sound(search, schedule, found)
    first, then = reaches
    assert (first > 0).tolist() == [True, True] + [False] * (len(prices) - 2) and np.ndim(then) == 0


def test_an_hour_keeps_its_load_in_a_leaf_as_far_as_it_can_and_pays_for_the_rest():
    search = apart(*compiled(TOYS["congested"]))
    points, prices, leaves = search.points, native_prices(search), everywhere(search)
    rest, hosts = np.zeros(points.flows.shape), len(search.hours[0].box)
    free = points._look(rest, prices)
    most = points._look(rest, [price - 1e4 for price in prices])
    room = np.array([more.sum() - load.sum() for more, load in zip(most.loads, free.loads, strict=True)])
    t = int(room.argmax())
    assert room[t] > 1e-3  # sun may be curtailed
    usual, costs = free.loads[t].sum(), [free.values[t]]
    for more, missed in ((0.5 * room[t], 0.0), (room[t] + 0.1, 0.1)):
        leaves[t] = Leaf(-np.ones((1, hosts)), np.array([-usual - more]), None)
        seen = points._look(rest, prices, points._kept(leaves))
        costs.append(seen.values[t])
        assert seen.answers[t].moved == pytest.approx(missed, abs=1e-5)
        assert points._beyond(seen, leaves)[t] == pytest.approx(missed, abs=1e-5)
        assert points.known(t, leaves[t], prices[t])[-1].value == pytest.approx(seen.values[t])
    assert costs[0] < costs[1] < costs[2] - 0.1 * np.abs(prices[t]).max()


def test_the_slopes_are_what_another_unit_costs():
    """One-sided differences of the hours' convex costs are no less than the tangents."""
    problem, program = compiled(TOYS["congested"])
    search = apart(problem, program)
    points, prices = search.points, native_prices(search)
    start = np.full(points.flows.shape, 0.0)
    start[0, :, 0], start[1, :, 1] = 0.01, 0.01 * 0.95**2
    first = points._look(start, prices)
    slopes = [points.known(t, leaf, prices[t])[0].slopes for t, leaf in enumerate(everywhere(search))]
    for way, t in ((0, 0), (1, 1)):
        for k in range(start.shape[1]):
            for step in (1e-3, -1e-3):
                other = start.copy()
                other[way, k, t] += step
                found = points._look(other, prices)
                change = found.values[t] - first.values[t]
                tangent = step * slopes[t][way, k]
                assert change >= tangent - 1e-5 * max(abs(first.values[t]), 1.0)
                assert change == pytest.approx(tangent, abs=0.2 * abs(tangent) + 1e-3)


def test_no_point_without_the_hours_answers():
    problem, program = compiled(TOYS["congested"])
    search = apart(problem, program)
    points, prices = search.points, native_prices(search)
    start, right = np.zeros(points.flows.shape), search.ask
    leaves = everywhere(search)

    def silent_after(calls):
        asked = []

        def ask(questions):
            asked.append(None)
            return right(questions) if len(asked) <= calls else [None] * len(questions)

        points.ask = ask

    silent_after(0)
    schedule, found = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
    assert found is None and schedule is start
    silent_after(1)  # the schedule it began with stands
    schedule, found = points.near(leaves, prices, start, -math.inf, 1e-4, math.inf)
    assert (schedule == start).all()
    if found is not None:
        assert_sound(search, schedule, found)
    points.ask = right
    # No time for another schedule: the point is that of the first one.
    schedule, found = points.near(leaves, prices, start, -math.inf, 1e-4, -math.inf)
    assert (schedule == start).all()
    assert_sound(search, schedule, found)


def test_binaries_in_conflict_are_settled_in_their_hour_alone(monkeypatch):
    problem, program = compiled(TOYS["congested"])
    search = apart(problem, program)
    points, prices, asked = search.points, native_prices(search), []
    column = int(np.flatnonzero(program.integer & (points.hour_of == 1))[0])
    rounded_by_direction, right = hour_points.round_by_direction, search.ask

    def torn(program, x):
        rounded, undecided = rounded_by_direction(program, x)
        undecided[column] |= len(asked) == 1
        return rounded, undecided

    def ask(questions):
        asked.append(questions)
        return right(questions)

    monkeypatch.setattr(hour_points, "round_by_direction", torn)
    points.ask = ask
    found = at_rest(points, prices)
    assert_sound(search, np.zeros(points.flows.shape), found)
    first, again = asked
    assert len(first) == 2 and [question.hour for question in again] == [1]
    added = again[0].fixed.keys() - first[1].fixed.keys()
    assert points.number[column] in added and all(again[0].fixed[j] in (0.0, 1.0) for j in added)
    # What cannot be settled is no point.
    asked.clear()
    points.ask = lambda questions: ask(questions) if not asked else [None] * len(questions)
    assert at_rest(points, prices) is None
    monkeypatch.setattr(hour_points, "SETTLINGS", 0)
    points.ask = right
    assert at_rest(points, prices) is None


@pytest.mark.parametrize("name", [name for name in TOYS if name != "without batteries"])
def test_every_answer_is_a_tangent_to_what_the_hour_costs(name):
    """Whatever its schedule, and within its leaf where it was asked for one."""
    problem, program = compiled(TOYS[name])
    search = apart(problem, program)
    points, told, learn = search.points, [], search.points.learn
    points.learn = lambda question, answer: (told.append(question), learn(question, answer))[1]
    search.solve(search.idle(), 1e-3, time.monotonic() + 60.0)
    assert any(len(question.h) for question in told) and any(not len(question.h) for question in told)
    rng, nothing, compared = np.random.default_rng(0), np.zeros(points.flows.shape[1]), 0
    for question in told[:: max(len(told) // 40, 1)]:
        t, leaf = question.hour, Leaf(question.G, question.h)
        tangents = points.known(t, leaf, question.lam)
        for _ in range(3):
            schedule = points.one_way(rng.random(points.flows.shape) ** 3 * program.upper[points.flows])
            held = points._held(t, schedule, question.lam, Held()).fixed
            asked = Question(t, nothing, None, question.lam, question.G, question.h, held)
            answer = search.ask([asked])[0]
            if answer is None or answer.moved > 1e-7:  # outside the leaf
                continue
            compared += 1
            for tangent in tangents:
                least = tangent.value + float((tangent.slopes * (schedule[:, :, t] - tangent.schedule)).sum())
                assert answer.value >= least - 1e-4 * max(abs(answer.value), 1.0)
    assert compared > 10


# Workers.


@pytest.fixture
def cluster():
    yield workers.choose
    workers.choose(Cluster(n_workers=0))


def questions_of(search):
    """As a search puts them: inflow held and free, prices, a leaf's limits, columns held."""
    asked = search.answered.questions[-24:]
    hosts, K = len(search.hours[0].box), len(search.points.levels)
    nowhere = np.zeros((0, hosts)), np.zeros(0)
    for t in search.hours:
        asked.append(Question(t, np.ones(K), None, np.full(hosts, 20.0), *nowhere))
        asked.append(search.points._held(t, np.zeros(search.points.flows.shape), np.zeros(hosts), Held()))
    # Not in the order of the hours, and one without an answer.
    asked.append(Question(0, np.ones(K), np.nan, np.full(hosts, 20.0), *nowhere))
    return asked[::-1]


def assert_same(here, there):
    assert [answer is None for answer in here] == [answer is None for answer in there]
    for one, other in zip(here, there, strict=True):
        if one is not None:
            assert one.value == other.value and one.moved == other.moved
            for name in ("x", "load", "row_duals", "cone_duals"):
                assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.long
def test_a_cluster_answers_as_this_process_does_and_outlives_a_lost_worker(cluster, monkeypatch):
    monkeypatch.setattr(workers, "FEW", 2)
    problem, program = compiled(TOYS["tight"])
    search = apart(problem, program)
    search.solve(unproven(problem, program), 1e-3, time.monotonic() + 60.0)
    questions = questions_of(search)
    cluster(Cluster(n_workers=0))
    told, hours = [], hours_of(search.blocks)
    with workers.connected(3, told.append) as connect:
        here = connect(hours, math.inf, math.inf)(questions)
    assert not told and here[0] is None and here[1] is not None
    cluster(Cluster(n_workers=2))
    with workers.connected(3, told.append) as connect:
        ask = connect(hours, math.inf, math.inf)
        assert told == ["starting 2 workers"]
        assert_same(here, ask(questions))
        client = ask.__closure__[0].cell_contents
        pid = next(iter(client.run(os.getpid).values()))
        os.kill(pid, signal.SIGKILL)
        assert_same(here, ask(questions))
        # A cluster that runs already is used by its address, and stays.
        cluster(Cluster(scheduler=client.scheduler.address))
        with workers.connected(3, told.append) as other:
            assert_same(here, other(hours, math.inf, math.inf)(questions))
        assert_same(here, ask(questions))


@pytest.mark.long
@pytest.mark.parametrize("n_workers", [0, 2])
def test_what_is_not_answered_in_time_has_no_answer(cluster, monkeypatch, n_workers):
    monkeypatch.setattr(workers, "FEW", 2)
    cluster(Cluster(n_workers=n_workers))
    problem, program = compiled(TOYS["two"])
    search = apart(problem, program)
    questions = questions_of(search)
    hours = hours_of(search.blocks)
    with workers.connected(2, silent) as connect:
        ask = connect(hours, time.monotonic(), math.inf)
        # But for the first questions, which are the beginning.
        assert sum(answer is not None for answer in ask(questions)) == len(questions) - 1
        assert ask(questions) == [None] * len(questions)
        ask = connect(hours, time.monotonic() + 60.0, time.monotonic())
        assert ask(questions) == [None] * len(questions)
        for _ in range(2):
            assert sum(answer is not None for answer in ask(questions)) == len(questions) - 1


def test_few_adns_are_solved_here(cluster):
    cluster(Cluster(n_workers=2))
    problem, program = compiled(TOYS["two"])
    told = []
    search = apart(problem, program)
    with workers.connected(workers.FEW - 1, told.append) as connect:
        ask = connect(hours_of(search.blocks), math.inf, math.inf)
        assert len(ask(questions_of(search))) == 7 and not told


def test_a_scheduler_that_does_not_answer_is_told_in_one_line(cluster, monkeypatch):
    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: client(address, timeout="1s"))
    cluster(Cluster(scheduler="tcp://127.0.0.1:1"))
    problem, program = compiled(TOYS["two"])
    with pytest.raises(InputError, match="scheduler: got 'tcp://127.0.0.1:1'") as refused:
        solve(problem, program, "decomposed", 1e-3, 60.0)
    assert "\n" not in str(refused.value)
