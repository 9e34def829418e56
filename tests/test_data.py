"""What is wrong in an instance is refused with field, value and what is allowed, in one line."""

import json
import math
import time
from collections import Counter

import pytest
from toys import toy

from model.data import Feeder, InputError, Instance


def broken(change):
    """A valid instance's JSON with one change, as text."""
    data = json.loads(toy(2, 2).to_json())
    change(data)
    return json.dumps(data)


def _loop(data):
    data["feeders"][0]["branches"].append(
        {"f_bus": 2, "t_bus": 0, "br_r_ohm": 1.0, "br_x_ohm": 1.0, "rate_a_mva": 1.0}
    )


def _set(path, value):
    def change(data):
        *head, last = path
        for key in head:
            data = data[key]
        data[last] = value

    return change


BAD = {
    "unknown feeder bus": (
        _set(["feeders", 0, "branches", 0, "t_bus"], 99),
        "feeders[0].branches[0].t_bus",
        "99",
    ),
    "unknown host": (_set(["feeders", 1, "host_bus"], 7), "feeders[1].host_bus", "7"),
    "unknown transmission bus": (
        _set(["transmission", "branches", 0, "f_bus"], 5),
        "transmission.branches[0].f_bus",
        "5",
    ),
    "unknown unit bus": (
        _set(["transmission", "gens", 0, "gen_bus"], 5),
        "transmission.gens[0].gen_bus",
        "5",
    ),
    "island": (_set(["transmission", "branches"], []), "transmission.branches", "2"),
    "loop": (_loop, "feeders[0].branches", "3 branches on 3 buses"),
    "lost bus": (_set(["feeders", 0, "branches", 1, "f_bus"], 2), "feeders[0].branches", "2"),
    "negative resistance": (
        _set(["feeders", 0, "branches", 0, "br_r_ohm"], -0.1),
        "feeders[0].branches[0].br_r_ohm",
        "-0.1",
    ),
    "PV on the root": (_set(["feeders", 0, "pv", 0, "bus"], 0), "feeders[0].pv[0].bus", "0"),
    "battery off the peers": (_set(["feeders", 0, "peers"], [1]), "feeders[0].pv[0].bus", "2"),
    "peer without load": (_set(["feeders", 0, "peers"], [0, 1, 2]), "feeders[0].peers[0]", "0"),
    "load at the root": (
        _set(["feeders", 0, "buses", 0, "pd_mw"], [1.0, 1.0]),
        "feeders[0].buses",
        "load at root bus 0",
    ),
    "lengths differ": (
        _set(["feeders", 1, "buses", 1, "pd_mw"], [1.0]),
        "feeders[1].buses[1].pd_mw",
        "1 values",
    ),
    "tariff too long": (_set(["tariff_per_mwh"], [1.0, 2.0, 3.0]), "tariff_per_mwh", "3 values"),
    "no ADN": (_set(["feeders"], []), "feeders", "[]"),
    "arc to nobody": (_set(["arcs", 0, "buyer"], 5), "arcs[0].buyer", "5"),
    "arc to itself": (_set(["arcs", 0, "buyer"], 0), "arcs[0]", "(0, 0)"),
    "falling costs": (
        _set(["transmission", "gens", 0, "blocks", 1, "cost_per_mwh"], 1.0),
        "transmission.gens[0].blocks",
        "[20.0, 1.0]",
    ),
    "dearer than lost load": (
        _set(["transmission", "voll_per_mwh"], 40.0),
        "transmission.gens[1].blocks",
        "45.0",
    ),
    "as dear as lost load": (
        _set(["transmission", "voll_per_mwh"], 45.0),
        "transmission.gens[1].blocks",
        "45.0",
    ),
    "settlement": (_set(["settlement"], "barter"), "settlement", "'barter'"),
    "root voltage": (_set(["feeders", 0, "v_root"], 2.0), "feeders[0].v_root", "2.0"),
    "a field too many": (_set(["colour"], "red"), "colour", "'red'"),
    "text for a number": (
        _set(["transmission", "branches", 0, "br_x"], "0.1"),
        "transmission.branches[0].br_x",
        "'0.1'",
    ),
    "transmission bus twice": (_set(["transmission", "buses", 1, "bus_i"], 1), "transmission.buses", "1"),
    "line to itself": (
        _set(["transmission", "branches", 0, "t_bus"], 1),
        "transmission.branches[0].t_bus",
        "1",
    ),
    "unknown reference": (_set(["transmission", "ref_bus"], 9), "transmission.ref_bus", "9"),
    "unknown root": (_set(["feeders", 0, "root_bus"], 9), "feeders[0].root_bus", "9"),
    "peer twice": (_set(["feeders", 0, "peers"], [1, 2, 2]), "feeders[0].peers", "[1, 2, 2]"),
    "arc twice": (_set(["arcs", 1], {"seller": 0, "buyer": 1, "wheeling_per_mwh": 1.0}), "arcs[1]", "(0, 1)"),
    "PV of other hours": (
        _set(["feeders", 0, "pv", 0, "available_mw"], [1.0]),
        "feeders[0].pv[0].available_mw",
        "1 values",
    ),
    "reactive load of other hours": (
        _set(["feeders", 0, "buses", 1, "qd_mvar"], []),
        "feeders[0].buses[1].qd_mvar",
        "0 values",
    ),
    "native load of other hours": (
        _set(["transmission", "buses", 0, "pd_mw"], [1.0, 1.0, 1.0]),
        "transmission.buses[0].pd_mw",
        "3 values",
    ),
    "reactive load at the root": (
        _set(["feeders", 0, "buses", 0, "qd_mvar"], [0.0, -1.0]),
        "feeders[0].buses",
        "load at root bus 0",
    ),
    "bus twice": (_set(["feeders", 0, "buses", 2, "bus_i"], 1), "feeders[0].buses", "1"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_instance(what):
    change, field, value = BAD[what]
    with pytest.raises(InputError) as error:
        Instance.from_json(broken(change))
    message = str(error.value)
    assert message.startswith(f"{field}: got ")
    assert value in message and "; allowed: " in message and "\n" not in message


FLOORS = [
    (["base_mva"], 1e-300, 1e-3),
    (["feeders", 0, "base_kv"], 1e-200, 1e-2),
    (["feeders", 0, "vmin"], 1e-300, 0.1),
    (["feeders", 0, "branches", 0, "br_x_ohm"], 1e-300, 1e-6),
    (["feeders", 0, "bess", 0, "efficiency_discharge"], 1e-320, 0.01),
    (["feeders", 0, "pv", 0, "s_mva"], 1e-7, 1e-6),
    (["transmission", "branches", 0, "br_x"], 1e-300, 1e-6),
    (["transmission", "voll_per_mwh"], 0.0, 1e-6),
    (["arcs", 0, "wheeling_per_mwh"], 1e-9, 1e-6),
]


@pytest.mark.parametrize(("path", "value", "floor"), FLOORS)
def test_a_divisor_too_small_is_refused_with_its_floor(path, value, floor):
    with pytest.raises(InputError) as error:
        Instance.from_json(broken(_set(path, value)))
    assert error.value.field.endswith(path[-1]) and error.value.value == value
    words, number = error.value.allowed.rsplit(" ", 1)
    assert (words, float(number)) == ("greater than or equal to", floor)


@pytest.mark.parametrize("field", ["efficiency_charge", "efficiency_discharge"])
def test_a_battery_may_be_without_losses_and_never_makes_energy(field):
    path = ["feeders", 0, "bess", 0, field]
    assert getattr(Instance.from_json(broken(_set(path, 1.0))).feeders[0].bess[0], field) == 1.0
    for gain in (math.nextafter(1.0, 2.0), 1.2):
        with pytest.raises(InputError, match=f"{field}: got {gain}; allowed: less than or equal to 1"):
            Instance.from_json(broken(_set(path, gain)))


@pytest.mark.parametrize(("field", "value"), [("base_mva", 1e6), ("base_mva", 1e-4)])
def test_the_power_base_has_a_range(field, value):
    with pytest.raises(InputError, match=f"^{field}: got {value}; allowed: "):
        Instance.from_json(broken(_set([field], value)))


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e-300])
def test_what_may_be_zero_may_be_tiny(value):
    case = Instance.from_json(broken(_set(["fees", "access_per_mwh"], value)))
    assert case.fees.access_per_mwh == value


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", "null", '"x"', "[]", "-1"])
def test_bad_number_in_a_profile(text):
    whole = toy(1, 2).to_json().replace('"pd_mw":[0.6,1.0]', f'"pd_mw":[0.6,{text}]', 1)
    with pytest.raises(InputError, match=r"feeders\[0\]\.buses\[1\]\.pd_mw\[1\]"):
        Instance.from_json(whole)


NUMBERS_TOO_DEAR = [
    ["transmission", "voll_per_mwh"],
    ["transmission", "spill_per_mwh"],
    ["transmission", "gens", 0, "blocks", 0, "cost_per_mwh"],
    ["fees", "access_per_mwh"],
    ["feeders", 0, "bess", 0, "wear_per_mwh"],
    ["arcs", 0, "wheeling_per_mwh"],
    ["tariff_per_mwh", 0],
]


@pytest.mark.parametrize("path", NUMBERS_TOO_DEAR, ids=lambda path: str(path[-1]))
def test_a_price_that_makes_a_tolerance_worth_dollars_is_refused(path):
    """At 1e9 $/MWh a trade of -1e-9 p.u., which every solver may leave, pays 10 $."""
    with pytest.raises(InputError, match="allowed: less than or equal to 1000000"):
        Instance.from_json(broken(_set(path, 1.1e6)))


def limits(schema, data, definitions, path=()):
    """Every number in the data that its schema limits: path, limit, and the step towards what is refused."""
    schema = definitions[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    schema = next((s for s in schema.get("anyOf", ()) if s.get("type") != "null"), schema)
    if isinstance(data, dict):
        for name, entry in data.items():
            yield from limits(schema["properties"][name], entry, definitions, (*path, name))
    elif isinstance(data, list) and data:
        yield from limits(schema["items"], data[0], definitions, (*path, 0))
    for key, direction in (("minimum", -1), ("maximum", 1)):
        if key in schema:
            yield path, schema[key], direction, schema["type"] == "integer"


def limited():
    schema = Instance.model_json_schema()
    data = json.loads(toy(2, 2).to_json())
    data["transmission"]["gens"][0]["ramp_mw_per_h"] = 1.0
    return list(limits(schema, data, schema["$defs"]))


def test_every_number_of_an_instance_has_a_limit_on_both_sides():
    """But positions in lists, whose upper limit is the list's length."""
    data = json.loads(toy(2, 2).to_json())
    data["transmission"]["gens"][0]["ramp_mw_per_h"] = 1.0

    def numbers(item, path=()):
        if isinstance(item, dict):
            for name, entry in item.items():
                yield from numbers(entry, (*path, name))
        elif isinstance(item, list):
            if item:
                yield from numbers(item[0], (*path, 0))
        elif isinstance(item, int | float):
            yield path

    sides = Counter(path for path, *_ in limited())
    one_sided = {("arcs", 0, "seller"), ("arcs", 0, "buyer")}
    assert {path: 1 if path in one_sided else 2 for path in numbers(data)} == sides


@pytest.mark.parametrize(
    ("path", "limit", "direction", "whole"), limited(), ids=lambda value: ".".join(map(str, value))
    if isinstance(value, tuple) else str(value),
)  # fmt: skip
def test_every_limit_holds_at_the_last_digit(path, limit, direction, whole):
    """Just outside is refused with this limit; just inside this limit is no reason to refuse."""
    outside = limit + direction if whole else math.nextafter(limit, direction * math.inf)

    def refusal(value):
        text = broken(_set(["transmission", "gens", 0, "ramp_mw_per_h"], 1.0))
        data = json.loads(text)
        _set(path, value)(data)
        try:
            Instance.from_json(json.dumps(data))
        except InputError as error:
            return error
        return None

    words = "greater than or equal to " if direction < 0 else "less than or equal to "
    error = refusal(outside)
    name = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)[1:]
    assert error is not None and (error.field, error.value) == (name, outside)
    assert error.allowed.startswith(words) and json.loads(error.allowed.removeprefix(words)) == limit
    within = refusal(limit)
    assert within is None or not within.allowed.startswith(words)


@pytest.mark.parametrize("base_mva", [1.0, 10.0, 1e5])
def test_a_feeder_too_small_for_the_certificate_is_refused(base_mva):
    """The certificate lets 1e-6 p.u. pass in a row: a feeder below that would be served by serving nobody."""
    data = json.loads(toy(1, 2).to_json()) | {"base_mva": base_mva}
    for k, bus in enumerate(data["feeders"][0]["buses"]):
        bus["pd_mw"] = [0.0, 0.0004 * base_mva * k]
    assert Instance.from_json(json.dumps(data)).base_mva == base_mva  # the peak is 1.2e-3 p.u.
    for bus in data["feeders"][0]["buses"]:
        bus["pd_mw"][1] *= 0.8
    with pytest.raises(
        InputError, match=r"^feeders\[0\]\.buses: got 'peak load .* MW'; allowed: no load, or"
    ):
        Instance.from_json(json.dumps(data))


def test_a_feeder_without_any_load_is_an_instance():
    def dark(data):
        data["feeders"][0].update(peers=[], pv=[], bess=[])
        for bus in data["feeders"][0]["buses"]:
            bus["pd_mw"] = [0.0, 0.0]

    assert Instance.from_json(broken(dark)).feeders[0].load_buses == ()


@pytest.mark.parametrize("name", ["name", "partners", "network", "congestion"])
@pytest.mark.parametrize("value", ["two\nlines", "\x1b[31m", "\u202e", "x" * 201, "\x00"])
def test_a_label_is_short_and_printable(name, value):
    """Labels go to terminals, tables and pages."""
    with pytest.raises(InputError, match=f"^{name}: got .*; allowed: at most 200 printable characters$"):
        Instance.from_json(broken(_set([name], value)))
    assert getattr(Instance.from_json(broken(_set([name], "Zürich, 変電所 " * 10))), name)


@pytest.mark.parametrize(("old", "twice"), [
    ('"seed":0', "seed"), ('"hours":2', "hours"), ('"ref_bus":1', "ref_bus"), ('"vmin":0.9', "vmin"),
])  # fmt: skip
def test_a_field_named_twice_is_refused(old, twice):
    """JSON leaves open which of two values counts; a reader of the file may take the other."""
    text = toy(2, 2).to_json()
    with pytest.raises(InputError, match=f"^{twice}: got '2 values'; allowed: one value for a field$"):
        Instance.from_json(text.replace(old, f"{old},{old}", 1))


@pytest.mark.parametrize(("key", "shown"), [
    ("", "['']"), (" ", "[' ']"), ("\n\x00", r"['\n\x00']"), ("..", "['..']"), ("Größe", "Größe"),
    ("\u202e", r"['\u202e']"),
])  # fmt: skip
def test_a_field_of_strange_characters_is_named_so_that_it_can_be_found(key, shown):
    with pytest.raises(InputError) as error:
        Instance.from_json(broken(lambda data: data.update({key: 1})))
    assert str(error.value) == f"{shown}: got 1; allowed: no such field"


def test_a_refusal_stays_short_whatever_it_has_to_show():
    for field, value in (("f" * 10**6, 1), ("hours", "v" * 10**6), ("hours", list(range(10**5)))):
        line = str(InputError(field, value, "a number"))
        assert len(line) < 250 and line.endswith("; allowed: a number")
    assert str(InputError("seed", 10**5000, "less")) == "seed: got a int too long to show; allowed: less"
    assert str(InputError("a\nb\x00", "\x1b", "c\u202e d")) == r"a b?: got '\x1b'; allowed: c? d"


def test_a_million_mistakes_in_a_list_are_one():
    """Told from the first; collecting them all would take seconds and gigabytes."""
    start = time.monotonic()
    with pytest.raises(InputError, match=r"^tariff_per_mwh\[0\]: got 'x'"):
        Instance.from_json(broken(_set(["tariff_per_mwh"], ["x"] * 1_000_000)))
    assert time.monotonic() - start < 3, "0.2 s where the list is given up at once, 5 s where it is not"


def test_a_feeder_of_many_devices_is_checked_in_time():
    """20,000 devices on as many peers: looked up one by one in a tuple this takes more than 10 s."""
    n = 20_000
    data = json.loads(toy(1, 1).to_json())["feeders"][0]
    data["buses"] += [{"bus_i": i, "pd_mw": [1.0], "qd_mvar": [0.0]} for i in range(3, n)]
    data["branches"] += [dict(data["branches"][0], t_bus=i) for i in range(3, n)]
    data["peers"] = list(range(1, n))
    data["pv"] *= n
    for pv in data["pv"]:
        pv["bus"] = n - 1
    start = time.monotonic()
    assert len(Feeder.model_validate_json(json.dumps(data)).pv) == n
    assert time.monotonic() - start < 5


def test_equal_instances_have_equal_digests():
    """-0.0 equals 0.0; rounding may leave either."""
    plain = Instance.from_json(broken(_set(["fees", "access_per_mwh"], 0.0)))
    signed = Instance.from_json(broken(_set(["fees", "access_per_mwh"], -0.0)))
    assert plain == signed and plain.digest() == signed.digest()
    series = [Instance.from_json(broken(_set(["tariff_per_mwh"], [zero, 1.0]))) for zero in (0.0, -0.0)]
    assert series[0].digest() == series[1].digest() != plain.digest()


def test_missing_field():
    with pytest.raises(InputError, match="hours: got 'nothing'; allowed: a value, the field is required"):
        Instance.from_json(broken(lambda data: data.pop("hours")))


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 5000, b"\xff\xfe", b"null", b"{}", b'{"hours": 1e999}'])
def test_what_is_not_an_instance_at_all(text):
    with pytest.raises(InputError) as error:
        Instance.from_json(text)
    assert "\n" not in str(error.value)


def test_unreadable_file(tmp_path):
    with pytest.raises(InputError, match="instance file"):
        Instance.read(tmp_path / "nothing.json")


def test_json_round_trip_keeps_every_bit(tmp_path):
    case = toy(2, 4)
    (tmp_path / "case.json").write_text(case.to_json())
    again = Instance.read(tmp_path / "case.json")
    assert again == case and again.digest() == case.digest()
    assert toy(2, 4, load_mw=6.1).digest() != case.digest()
