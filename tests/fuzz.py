"""Hostile instance files and valid but nasty instances, each a function of its seed alone.

``hostile(seed)`` spoils the JSON of a small valid instance in one to four places: in its values, its lists,
its graphs, its text or its bytes. Some of what comes out is still valid. ``nasty(seed)`` is always valid: an
instance pushed to where numbers are extreme or sections are empty, small enough to be solved in a second.
"""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

from toys import relay, toy

from generators import instance
from model.data import InputError, Instance

Data = dict[str, Any]
Place = tuple[Any, Any]  # a container and a key or position in it


@cache
def valid_texts() -> tuple[str, ...]:
    """Small valid instances as JSON, to be spoilt."""
    cases = (
        toy(1, 1),
        toy(1, 2),
        toy(2, 2),
        toy(3, 1, settlement="tariff"),
        relay(),
        toy(2, 4, sun=0.0, battery=0.0),
        instance(1, hours=2),
        instance(2, hours=1, ramp_mw_per_h=20, n_peers=4, n_pv=2, n_bess=2),
    )
    return tuple(case.to_json() for case in cases)


# Values

# Tokens as they stand in a JSON text; some of them are not JSON.
NUMBERS = (
    "0 -0 -0.0 1 -1 2 0.5 1e-6 9.99e-7 1e-3 0.1 10 168 169 1e5 1e9 1000000001 1e-308 5e-324 1e308 1.8e308 "
    "-1e308 1e400 -1e400 1e-400 NaN Infinity -Infinity -NaN 9007199254740993 9223372036854775808 "
    "-9223372036854775809 "
    "0x10 1_000 01 +1 .5 5. 1e 1e+ --1 1e5.0 1.0000000000000000000000000000000001"
).split() + ["1" + "0" * 400, "-1" + "0" * 400, "9" * 5000, "0." + "0" * 2000 + "1", "1e" + "9" * 400]
STRINGS = (
    "", " ", "0", "1.5", "NaN", "true", "null", "lmp", "LMP", "tariff ", "\u0000", "\n", "\r\n", "\t",
    "\x1b[31mred",
    "\u202eright to left", "\ufeff", "\u2028", "\U0001f50b", "e\u0301", "\ud800", "\udfff\ud800",
    "\u00e9" * 50,
    "x" * 1000, "../../etc/passwd", "%s%n", "{value}", "\\", '"', "nearest:4", "complete", "__proto__", "-",
)  # fmt: skip
TOKENS = (
    "true", "false", "null", "[]", "{}", "[[]]", "[null]", '{"a":1}', "[1,2,3]", '["1"]', "undefined",
    "None", "",
    "[" * 150 + "]" * 150, '{"a":' * 150 + "1" + "}" * 150, "[" * 100_000, '"' + "y" * 50_000 + '"',
    "[" + "0," * 5_000 + "0]", '"\\ud800"', '"\\u0000"', '"\\x41"', "'single'", "/* no */ 1", "1 2",
)  # fmt: skip


class Raw(str):
    """A token that :func:`text_of` writes into the text as it is."""


def value(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.55:
        return Raw(rng.choice(NUMBERS))
    if kind < 0.75:
        return rng.choice(STRINGS)
    if kind < 0.9:
        return Raw(rng.choice(TOKENS))
    return rng.choice((-1, 1)) * 10.0 ** rng.uniform(-12, 12)


def text_of(data: Data) -> str:
    """JSON with every :class:`Raw` as its bare token, and lone surrogates escaped."""
    raw: list[str] = []

    def marked(item: Any) -> Any:
        if isinstance(item, Raw):
            raw.append(item)
            return f"@@{len(raw) - 1}@@"
        if isinstance(item, dict):
            return {key: marked(entry) for key, entry in item.items()}
        return [marked(entry) for entry in item] if isinstance(item, list) else item

    text = json.dumps(marked(data), separators=(",", ":"))
    for number, token in enumerate(raw):
        text = text.replace(f'"@@{number}@@"', token, 1)
    return text


def places(data: Any, shape: str = "") -> Iterator[tuple[str, Place]]:
    """Every place in the data with its shape: its path without the positions in lists."""
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, item in entries:
        name = f"{shape}.{key}" if isinstance(data, dict) else f"{shape}[]"
        yield name, (data, key)
        if isinstance(item, dict | list):
            yield from places(item, name)


def place(data: Data, rng: random.Random, suits: Callable[[Any], bool] = lambda item: True) -> Place | None:
    """A place whose value suits: first its shape is drawn, so that a field is as likely as a long series."""
    shapes: dict[str, list[Place]] = {}
    for name, (container, key) in places(data):
        if suits(container[key]):
            shapes.setdefault(name, []).append((container, key))
    return rng.choice(shapes[rng.choice(sorted(shapes))]) if shapes else None


def number(item: Any) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


# Changes of the data: each spoils it in place


def replace_value(data: Data, rng: random.Random) -> None:
    container, key = place(data, rng) or (data, "name")
    container[key] = value(rng)


def retype_value(data: Data, rng: random.Random) -> None:
    """The right value in the wrong type: a number as text, as truth, in a list."""
    container, key = place(data, rng, number) or (data, "hours")
    kept = container[key]
    container[key] = rng.choice(
        [str(kept), bool(kept), [kept], {"value": kept}, f"{kept} ", Raw(f"{kept}.0")]
    )


def scale_number(data: Data, rng: random.Random) -> None:
    container, key = place(data, rng, number) or (data, "hours")
    container[key] = container[key] * rng.choice([-1, 0, 1e-9, 1e-6, 1e-3, 1e3, 1e6, 1e9, 1e300])


def delete_field(data: Data, rng: random.Random) -> None:
    container, key = place(data, rng) or (data, "name")
    del container[key]


def rename_field(data: Data, rng: random.Random) -> None:
    container, key = place(data, rng)  # type: ignore[misc]
    if isinstance(container, dict):
        new = rng.choice(
            [key.upper(), f" {key}", f"{key}\u200b", f"{key}\u0000", "", "\ud800", key * 40, "\u5b57"]
        )
        container[new] = container.pop(key)


def add_field(data: Data, rng: random.Random) -> None:
    container, _ = place(data, rng, lambda item: isinstance(item, dict)) or (data, "")
    target = container if isinstance(container, dict) else data
    target[rng.choice([*STRINGS, "bus_i", "pd_mw", "k" * 100_000])] = value(rng)


def change_list(data: Data, rng: random.Random) -> None:
    found = place(data, rng, lambda item: isinstance(item, list))
    if found is None:
        return
    items = found[0][found[1]]
    what = rng.randrange(8)
    if what == 0:
        items.clear()
    elif what == 1 and items:
        items.pop(rng.randrange(len(items)))
    elif what == 2 and items:
        items.append(deepcopy(rng.choice(items)))
    elif what == 3:
        items.reverse()
    elif what == 4:
        items.append(value(rng))
    elif what == 5:
        found[0][found[1]] = {str(n): item for n, item in enumerate(items)}
    elif what == 6:
        found[0][found[1]] = [items]
    else:
        found[0][found[1]] = items * rng.choice([2, 3, 50])


def swap_sections(data: Data, rng: random.Random) -> None:
    first, second = place(data, rng), place(data, rng)
    if first is None or second is None:
        return
    one, other = first[0][first[1]], second[0][second[1]]
    if not inside(one, second[0]) and not inside(other, first[0]):
        first[0][first[1]], second[0][second[1]] = other, one


def inside(outer: Any, container: Any) -> bool:
    """True where the container is the outer value or lies in it."""
    if outer is container:
        return True
    entries = outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ()
    return any(inside(item, container) for item in entries if isinstance(item, dict | list))


def change_graph(data: Data, rng: random.Random) -> None:
    """Loops, islands, parallels, strangers: in the transmission network or in a feeder."""
    feeders = data.get("feeders")
    networks = [data.get("transmission"), *(feeders if isinstance(feeders, list) else [])]
    network = rng.choice([n for n in networks if isinstance(n, dict)] or [{}])
    buses, branches = network.get("buses"), network.get("branches")
    if not (isinstance(buses, list) and isinstance(branches, list) and buses and branches):
        return
    if not all(isinstance(item, dict) for item in (*buses, *branches)):
        return
    numbers = [bus.get("bus_i") for bus in buses] + [0, -1, 10**9, 10**9 + 1, 999]
    branch = rng.choice(branches)
    what = rng.randrange(9)
    if what == 0:
        branches.append(dict(branch, f_bus=rng.choice(numbers), t_bus=rng.choice(numbers)))
    elif what == 1:
        branch["t_bus"] = branch.get("f_bus")
    elif what == 2:
        branches.append(dict(branch))
    elif what == 3:
        branches.remove(branch)
    elif what == 4:
        branch[rng.choice(["f_bus", "t_bus"])] = rng.choice(numbers)
    elif what == 5:
        rng.choice(buses)["bus_i"] = rng.choice(numbers)
    elif what == 6:
        network[rng.choice(["root_bus", "ref_bus", "host_bus"])] = rng.choice(numbers)
    elif what == 7:
        branch["f_bus"], branch["t_bus"] = branch.get("t_bus"), branch.get("f_bus")
    else:
        buses.append(dict(rng.choice(buses)))


def change_arcs(data: Data, rng: random.Random) -> None:
    arcs, feeders = data.get("arcs"), data.get("feeders")
    if not isinstance(arcs, list) or not isinstance(feeders, list):
        return
    ends = [0, 1, len(feeders) - 1, len(feeders), -1, 2**31, 10**30]
    arcs.append(
        dict(seller=rng.choice(ends), buyer=rng.choice(ends), wheeling_per_mwh=rng.choice([4.0, 0.0, -1.0]))
    )


DATA_CHANGES = (
    replace_value, replace_value, retype_value, scale_number, delete_field, rename_field, add_field,
    change_list,
    swap_sections, change_graph, change_graph, change_arcs,
)  # fmt: skip


# Changes of the text and of its bytes


def cut(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(len(text) + 1)]


def flip_bits(text: bytes, rng: random.Random) -> bytes:
    spoilt = bytearray(text)
    for _ in range(min(rng.choice([1, 1, 2, 5, 50]), len(spoilt))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def insert_bytes(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text) + 1)
    junk = rng.choice(
        [b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b",", b"}", b'"', b"\\", b"\n"]
    )
    return text[:at] + junk * rng.choice([1, 1, 3, 1000]) + text[at:]


def drop_bytes(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.choice([1, 2, 10, 200]) :]


def repeat_field(text: bytes, rng: random.Random) -> bytes:
    """A field named twice in one object."""
    starts = [at for at in range(len(text)) if text[at : at + 1] == b"{"]
    if not starts:
        return text
    at = rng.choice(starts)
    field = rng.choice(
        [b'"seed":7,', b'"bus_i":1,', b'"hours":2,', b'"pd_mw":[],', b'"buses":[],', b'"a":1,"a":1,']
    )
    return text[: at + 1] + field + text[at + 1 :]


def wrap(text: bytes, rng: random.Random) -> bytes:
    before, after = rng.choice([
        (b"\xef\xbb\xbf", b""), (b"\xff\xfe", b""), (b"[", b"]"), (b'{"instance":', b"}"), (b"", b"\n\n"),
        (b" ", b" "),
        (b"", b"}"), (b"", b"\x00"), (b"[" * 100_000, b""),
        (b'{"a":' * 100_000, b""), (b"[" * 120, b"]" * 120),
        (b"//\n", b""), (b"", b"x"), (b"\x1f\x8b", b""), (b"--- !!python/object\n", b""),
        (b"", b" " * 100_000),
    ])  # fmt: skip
    return before + text + after


def recode(text: bytes, rng: random.Random) -> bytes:
    return text.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-32", "utf-7"]))


def forget(text: bytes, rng: random.Random) -> bytes:
    """Another file altogether."""
    return rng.choice([
        b"", b" ", b"\n", b"{}", b"[]", b"null", b"true", b"0", b"NaN", b'""', b"{", b"}", b"[" * 100_000,
        b"\x00" * 100,
        b'{"a":' * 100_000, b"[]" * 1000, b"%PDF-1.7", b"\x7fELF\x02", b"PK\x03\x04",
        b'"' * 1001, b"-", b'{"name":1}',
        b"{" + b",".join(b'"f%d":%d' % (n, n) for n in range(2000)) + b"}", rng.randbytes(200), b"9" * 10_000,
    ])  # fmt: skip


TEXT_CHANGES = (cut, flip_bits, flip_bits, insert_bytes, drop_bytes, repeat_field, wrap, recode, forget)


def hostile(seed: int) -> bytes:
    """A hostile instance file."""
    rng = random.Random(f"hostile {seed}")
    data = json.loads(rng.choice(valid_texts()))
    kind = rng.random()
    if kind < 0.8:
        for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
            rng.choice(DATA_CHANGES)(data, rng)
    text = text_of(data).encode("utf-8", "surrogatepass")
    return rng.choice(TEXT_CHANGES)(text, rng) if kind > 0.7 else text


# Valid, and nasty


def power(rng: random.Random, low: float, high: float) -> float:
    """A number between two powers of ten, every size as likely."""
    return float(f"{10.0 ** rng.uniform(low, high):.3g}")


def feeder_of(data: Data, rng: random.Random) -> Data:
    return rng.choice(data["feeders"])


def loads_of(data: Data, rng: random.Random) -> list[Data]:
    """The buses of a feeder or, as often, of the transmission network."""
    network = rng.choice([feeder_of(data, rng), data["transmission"]])
    return [bus for bus in network["buses"] if bus["bus_i"] != network.get("root_bus")]


def scale_loads(data: Data, rng: random.Random) -> None:
    factor = power(rng, -5, 4)
    for bus in loads_of(data, rng):
        for series in ("pd_mw", "qd_mvar"):
            bus[series] = [factor * p for p in bus.get(series, [])]
        if not bus["qd_mvar"]:
            del bus["qd_mvar"]


def one_load(data: Data, rng: random.Random) -> None:
    bus = rng.choice(loads_of(data, rng))
    bus["pd_mw"] = [p * power(rng, -9, 2) for p in bus["pd_mw"]]


def dark_hours(data: Data, rng: random.Random) -> None:
    """No load anywhere in some hours."""
    hour = rng.randrange(data["hours"])
    for network in (data["transmission"], *data["feeders"]):
        for bus in network["buses"]:
            bus["pd_mw"][hour] = 0.0


def no_native_load(data: Data, rng: random.Random) -> None:
    for bus in data["transmission"]["buses"]:
        bus["pd_mw"] = [0.0] * data["hours"]


def no_adn_load(data: Data, rng: random.Random) -> None:
    feeder = feeder_of(data, rng)
    feeder.update(peers=[], pv=[], bess=[])
    for bus in feeder["buses"]:
        bus["pd_mw"] = [0.0] * data["hours"]


def reactive(data: Data, rng: random.Random) -> None:
    factor = rng.choice([0.0, -1.0, 3.0, -20.0])
    for bus in feeder_of(data, rng)["buses"]:
        bus["qd_mvar"] = [factor * q for q in bus["qd_mvar"]]


def impedance(data: Data, rng: random.Random) -> None:
    branch = rng.choice(feeder_of(data, rng)["branches"])
    branch[rng.choice(["br_r_ohm", "br_x_ohm"])] = power(rng, -6, 4)


def feeder_rating(data: Data, rng: random.Random) -> None:
    rng.choice(feeder_of(data, rng)["branches"])["rate_a_mva"] = power(rng, -6, 9)


def voltage_limits(data: Data, rng: random.Random) -> None:
    low, root, high = rng.choice(
        [(1.0, 1.0, 1.0), (1.0, 1.0, 1.1), (0.1, 10.0, 10.0), (0.1, 0.1, 0.1), (0.99, 1.0, 1.01)]
    )
    feeder_of(data, rng).update(vmin=low, v_root=root, vmax=high)


def base_voltage(data: Data, rng: random.Random) -> None:
    feeder_of(data, rng)["base_kv"] = rng.choice([0.01, 0.4, 110.0, 1e4])


def base_power(data: Data, rng: random.Random) -> None:
    data["base_mva"] = rng.choice([1e-3, 0.1, 1.0, 100.0, 1e3, 1e5])


def line(data: Data, rng: random.Random) -> None:
    branches = data["transmission"]["branches"]
    if branches:
        branch = rng.choice(branches)
        branch[rng.choice(["br_x", "rate_a_mw"])] = power(rng, -6, 9)


def parallel_line(data: Data, rng: random.Random) -> None:
    branches = data["transmission"]["branches"]
    if branches:
        branch = rng.choice(branches)
        branches.append(dict(branch, f_bus=branch["t_bus"], t_bus=branch["f_bus"], br_x=power(rng, -4, 2)))


def one_bus(data: Data, rng: random.Random) -> None:
    """The transmission network as a single bus without lines."""
    net = data["transmission"]
    kept = net["buses"][0]["bus_i"]
    net.update(buses=net["buses"][:1], branches=[], ref_bus=kept)
    for thing, field in [
        *((gen, "gen_bus") for gen in net["gens"]),
        *((f, "host_bus") for f in data["feeders"]),
    ]:
        thing[field] = kept


def far_numbers(data: Data, rng: random.Random) -> None:
    """Bus numbers of the transmission network far apart."""
    net = data["transmission"]
    new = {bus["bus_i"]: rng.randrange(10**9) for bus in net["buses"]}
    for things, fields in (
        (net["buses"], ["bus_i"]),
        (net["branches"], ["f_bus", "t_bus"]),
        (net["gens"], ["gen_bus"]),
        ([net], ["ref_bus"]),
        (data["feeders"], ["host_bus"]),
    ):
        for thing in things:
            for field in fields:
                thing[field] = new[thing[field]]


def block(data: Data, rng: random.Random) -> None:
    """Sizes of blocks: too little, so that load is shed, or without end."""
    rng.choice(rng.choice(data["transmission"]["gens"])["blocks"])["p_max_mw"] = power(rng, -6, 9)


def block_costs(data: Data, rng: random.Random) -> None:
    """All free, all equal, a hair apart, dearer than any fee, or just below the value of lost load."""
    net = data["transmission"]
    costs = rng.choice([
        lambda n: 0.0, lambda n: 30.0, lambda n: 30.0 + 1e-9 * n, lambda n: 900.0 + n, lambda n: 1e-9,
        lambda n: 10.0 ** n,
        lambda n: 999.999999 + 1e-9 * n,
    ])  # fmt: skip
    number = 0
    for gen in net["gens"]:
        for item in gen["blocks"]:
            item["cost_per_mwh"] = float(costs(number))
            number += 1


def penalties(data: Data, rng: random.Random) -> None:
    data["transmission"][rng.choice(["voll_per_mwh", "spill_per_mwh"])] = power(rng, -6, 6)


def ramps(data: Data, rng: random.Random) -> None:
    rng.choice(data["transmission"]["gens"])["ramp_mw_per_h"] = power(rng, -6, 3)


def fees(data: Data, rng: random.Random) -> None:
    names = rng.choice([list(data["fees"]), [rng.choice(list(data["fees"]))]])
    fee = rng.choice([0.0, 0.0, 5e-324, 1e-9, 100.0, 1e4, 1e6])
    data["fees"].update(dict.fromkeys(names, fee))


def wheeling(data: Data, rng: random.Random) -> None:
    for arc in data["arcs"]:
        arc["wheeling_per_mwh"] = power(rng, -6, 6)


def fewer_arcs(data: Data, rng: random.Random) -> None:
    """Nobody trades, or some in one direction only."""
    data["arcs"] = [arc for arc in data["arcs"] if rng.random() < 0.4] if rng.random() < 0.6 else []


def tariff(data: Data, rng: random.Random) -> None:
    data["settlement"] = "tariff"
    prices = rng.choice([(0.0,), (-50.0, 60.0), (1e-9,), (1e4, -1e4), (40.0, 30.0), (1e6,)])
    data["tariff_per_mwh"] = [prices[t % len(prices)] for t in range(data["hours"])]


def no_devices(data: Data, rng: random.Random) -> None:
    feeder = feeder_of(data, rng)
    feeder.update(
        {name: [] for name in rng.choice([("pv",), ("bess",), ("pv", "bess"), ("pv", "bess", "peers")])}
    )


def more_devices(data: Data, rng: random.Random) -> None:
    """Several devices of one kind at one bus."""
    devices = feeder_of(data, rng)[rng.choice(["pv", "bess"])]
    devices += deepcopy(devices[:1]) * rng.choice([1, 2])


def pv_size(data: Data, rng: random.Random) -> None:
    for pv in feeder_of(data, rng)["pv"]:
        pv["s_mva"] = power(rng, -6, 9)
        if rng.random() < 0.5:
            pv["available_mw"] = [p * power(rng, -6, 6) for p in pv["available_mw"]]


def battery(data: Data, rng: random.Random) -> None:
    for bess in feeder_of(data, rng)["bess"]:
        field, least, most = rng.choice([
            ("p_max_mw", -6, 9), ("energy_mwh", -6, 9), ("efficiency_charge", -2, 0),
            ("efficiency_discharge", -2, 0),
            ("wear_per_mwh", -9, 6),
        ])  # fmt: skip
        bess[field] = rng.choice([power(rng, least, most), 1.0])


def everything(data: Data, rng: random.Random) -> None:
    """All powers and energies by one factor: prices stay, sizes do not."""
    factor = 10.0 ** rng.choice([-6, -4, -3, -2, 2, 4, 6])

    def scale(item: Any) -> None:
        for name, entry in item.items():
            if name.endswith(("_mw", "_mvar", "_mva", "_mwh", "_mw_per_h")) and name != "base_mva":
                if not name.endswith("per_mwh") and entry is not None:
                    item[name] = [factor * p for p in entry] if isinstance(entry, list) else factor * entry
            elif isinstance(entry, dict):
                scale(entry)
            elif isinstance(entry, list):
                for part in entry:
                    if isinstance(part, dict):
                        scale(part)

    scale(data)


NASTY_CHANGES = (
    scale_loads, one_load, dark_hours, no_native_load, no_adn_load, reactive, impedance, impedance,
    feeder_rating,
    feeder_rating, voltage_limits, base_voltage, base_power, line, line, parallel_line, one_bus,
    far_numbers, block, block,
    block_costs, penalties, ramps, fees, fees, wheeling, fewer_arcs, tariff, no_devices, more_devices,
    pv_size, battery,
    battery, everything,
)  # fmt: skip


def nasty(seed: int) -> Instance:
    """A valid instance, as hard on numbers as the validator allows. A change it refuses is left out."""
    rng = random.Random(f"nasty {seed}")
    n_adns, hours = rng.choice([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (3, 1)])
    base = rng.choice([
        toy(n_adns, hours), toy(n_adns, hours, rate_mw=4.0), toy(n_adns, hours, settlement="tariff"), relay(),
        toy(n_adns, hours, sun=8.0), toy(n_adns, hours, load_mw=25.0),
    ])  # fmt: skip
    case = base
    for _ in range(rng.choice([1, 2, 3, 4, 6])):
        data = json.loads(case.to_json())
        rng.choice(NASTY_CHANGES)(data, rng)
        try:
            case = Instance.from_json(json.dumps(data))
        except InputError:
            continue
    return case
