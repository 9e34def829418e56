"""What is wrong in an instance is refused with field, value and what is allowed, in one line."""

import json

import pytest
from toys import toy

from model.data import InputError, Instance


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
    "settlement": (_set(["settlement"], "barter"), "settlement", "'barter'"),
    "root voltage": (_set(["feeders", 0, "v_root"], 2.0), "feeders[0].v_root", "2.0"),
    "a field too many": (_set(["colour"], "red"), "colour", "'red'"),
    "text for a number": (
        _set(["transmission", "branches", 0, "br_x"], "0.1"),
        "transmission.branches[0].br_x",
        "'0.1'",
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
