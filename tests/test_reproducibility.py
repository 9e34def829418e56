"""Same seed, same instance, on every platform; same instance, same objective; every version is stated."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_growth, sizes
from benchmarks.records import Settings
from benchmarks.runner import PACKAGES, Recorder, facts_of, order_of
from generators import adn, instance, placement
from generators.ieee import case30
from generators.streams import Streams, streams
from model.solvers import METHODS
from reports.rows import read_results
from reports.tables import machine

ROOT = Path(__file__).parents[1]

# A change here changes every published figure: raise the benchmarks' version with it.
PINNED = [
    (1, {}, "9fff7c6c9691"),
    (3, {}, "d1cfe92517d2"),
    (2, {"seed": 1, "hours": 6}, "17096d3ea56c"),
    (4, {"seed": 2, "partners": "complete", "hours": 3}, "3f5e637272a3"),
    (5, {"seed": 3, "partners": "nearest:2", "network": "scaled", "hours": 4}, "bae46d3a8a2e"),
    (2, {"congestion": "strong", "settlement": "tariff", "hours": 5}, "77abdc8e4d78"),
    (2, {"congestion": "none", "ramp_mw_per_h": 12.5, "hours": 2}, "1a1071fb1daf"),
    (3, {"seed": 4294967295, "n_peers": 5, "n_pv": 3, "n_bess": 2, "hours": 1}, "a5782beb41dd"),
    (1, {"hours": 48, "pv_penetration": 0.3, "bess_power_share": 0.5, "bess_hours": 1.5}, "194aa5555294"),
    (40, {"hours": 1, "partners": "nearest:3"}, "64e75810a64d"),
    (60, {"hours": 2, "partners": "nearest:1", "seed": 9}, "6ff3e41e1863"),
    (2, {"hours": 2, "cost_scale": 3.3, "voll_per_mwh": 500, "wheeling_per_mwh": 0.001}, "70c37ffa3421"),
]

# The pinned digests, and one solve to the last bit, in a process of its own.
SCRIPT = """
import hashlib, json, sys
from generators import instance
from model.certificate import certify
from model.program import compile_model
from model.schemes import build
from model.solvers import solve
digests = [instance(n, **options).digest() for n, options in json.load(sys.stdin)]
problem = build(instance(2, hours=4))
program = compile_model(problem.m)
outcome = solve(problem, program, "auto", {gap}, 60.0)
found = certify(problem, program, outcome, {gap})
point = hashlib.sha256(outcome.x.tobytes()).hexdigest()
told = dict(digests=digests, point=point, status=found.status)
print(json.dumps(told | dict(objective=found.objective, bound=float(found.bound))))
"""
GAP = 1e-3
ENVIRONMENTS = {
    "plain": {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
    "elsewhere": {"PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "4", "LC_ALL": "C", "TZ": "Asia/Kathmandu"},
    # Other kernels for linear algebra and for numpy's functions, as on an older processor.
    "older processor": {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "@"},
}


def extensions() -> str:
    """What numpy may use beyond its baseline on this processor."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])


@cache
def run(environment: str) -> dict:
    given = {k: extensions() if v == "@" else v for k, v in ENVIRONMENTS[environment].items()}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(gap=GAP)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | given,
        input=json.dumps([(n, options) for n, options, _ in PINNED]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize(("n_adns", "options", "digest"), PINNED, ids=lambda value: str(value))
def test_an_instance_is_what_it_was(n_adns, options, digest):
    assert instance(n_adns, **options).digest() == digest


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_instance_is_the_same_in_every_process(environment):
    """Whatever the order of hashes, the locale, the clock, the threads and the processor's own functions."""
    assert run(environment)["digests"] == [digest for *_, digest in PINNED]


@pytest.mark.parametrize("partners", sizes.PARTNERS)
def test_the_asv_suite_measures_the_instance_that_it_names(partners):
    case = bench_growth.case_of(7, partners)
    assert (case.n_adns, case.seed, case.partners) == (7, sizes.SEED, partners)
    assert len(case.arcs) == {"nearest:4": 2 * (0 + 1 + 2 + 3 + 3 * 4), "complete": 7 * 6}[partners]


class Shaken:
    """A random generator whose floats differ in their last digits, as another compiler's may."""

    def __init__(self, rng, shake):
        self.rng, self.shake = rng, shake

    def uniform(self, *limits):
        return self.shake(self.rng.uniform(*limits))

    def standard_normal(self, n):
        return self.shake(self.rng.standard_normal(n))

    def __getattr__(self, name):
        return getattr(self.rng, name)


@pytest.fixture
def shaken(monkeypatch):
    """Every function whose last bit a platform is free to choose returns up to four units beside it."""
    noise = np.random.default_rng(0)

    def shake(value):
        steps = noise.integers(-4, 5, np.shape(value))
        return value + steps * np.spacing(value)

    for name in ("exp", "sin", "cos"):
        exact = getattr(np, name)
        monkeypatch.setattr(np, name, lambda x, exact=exact: shake(exact(x)))
    pinv = np.linalg.pinv
    monkeypatch.setattr(
        np.linalg, "pinv", lambda *a, **k: pinv(*a, **k) * (1 + 1e-13 * noise.normal(size=(30, 30)))
    )
    monkeypatch.setattr(
        adn, "streams", lambda *seeds: Streams(*(Shaken(rng, shake) for rng in streams(*seeds)))
    )
    placement.electrical_distance.cache_clear()
    yield
    placement.electrical_distance.cache_clear()


def test_what_a_platform_may_round_differently_does_not_reach_the_instance(shaken):
    """libm, SIMD and fused operations differ in last bits; every drawn number is rounded far above them."""
    assert [instance(n, **options).digest() for n, options, _ in PINNED] == [digest for *_, digest in PINNED]


def test_without_the_rounding_last_bits_would_reach_the_instance(shaken, monkeypatch):
    """So that the test above can fail."""
    monkeypatch.setattr(adn, "DIGITS", 16)
    assert instance(1).digest() != instance(1).digest()


def test_electrical_distances_lie_far_from_where_their_rounding_turns():
    """Six digits are kept of distances that linear algebra gives to about fourteen."""
    branch = case30().branch
    laplacian = np.zeros((30, 30))
    for f, t, x in zip(branch.f_bus - 1, branch.t_bus - 1, branch.br_x, strict=True):
        laplacian[[f, t], [f, t]] += 1 / x
        laplacian[[f, t], [t, f]] -= 1 / x
    x = np.linalg.pinv(laplacian, hermitian=True)
    distance = 1e6 * (np.diag(x)[:, None] + np.diag(x)[None, :] - 2 * x)
    assert np.abs(np.abs(distance - np.floor(distance)) - 0.5).min() > 1e-5


def test_two_processes_find_the_same_point_to_the_last_bit():
    """On one machine nothing depends on the order of hashes, on threads or on the time of day."""
    one, other = run("plain"), run("elsewhere")
    assert one["status"] == "certified"
    assert (one["point"], one["objective"], one["bound"]) == (
        other["point"],
        other["objective"],
        other["bound"],
    )


def test_another_processor_finds_the_same_objective_within_the_gap():
    one, other = run("plain"), run("older processor")
    assert one["status"] == other["status"] == "certified"
    assert abs(one["objective"] - other["objective"]) <= GAP * max(abs(one["objective"]), 1.0)
    for a, b in ((one, other), (other, one)):
        assert a["bound"] <= b["objective"] + 1e-6 * abs(b["objective"])  # the certificate's own for money


def imported(folder: str) -> set[str]:
    """Top-level names of all modules that a folder's files import, inside functions too."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).split(".")[0])
    return names


def exactly_required(package: str) -> set[str]:
    """The packages whose version follows from this one's: those that it requires with ``==``."""
    found = (re.match(r"([\w.-]+)\s*==", line) for line in importlib.metadata.requires(package) or [])
    return {normal(match[1]) for match in found if match}


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_every_package_that_can_change_a_number_is_in_the_row():
    """What the model and the generators import, or what fixes its version; and every solver."""
    outside = {
        name
        for folder in ("model", "generators")
        for name in imported(folder)
        if name not in sys.stdlib_module_names and name not in ("model", "generators")
    }
    assert {"numpy", "pyomo", "highspy", "clarabel", "gurobipy", "scipy", "pydantic"} <= outside
    owners = importlib.metadata.packages_distributions()
    stated = {normal(package) for package in PACKAGES}
    stated |= {
        follower for package in PACKAGES if package in owners for follower in exactly_required(package)
    }
    for name in outside:
        assert {normal(package) for package in owners[name]} & stated, f"{name} is not in runner.PACKAGES"
    assert set(METHODS) == set("auto decomposed highs naive gurobi scip mindtpy relaxation".split()), (
        "name the new method's solver here"
    )
    assert {"highspy", "clarabel", "gurobipy", "pyscipopt", "tso-dso-benchmark"} <= stated


def test_the_row_and_the_report_state_every_version(tmp_path):
    recorder = Recorder()
    recorder.note(**facts_of(instance(1, hours=1)))
    row = recorder.row(**order_of(Settings()), status="error", run_id="0" * 12)
    installed = {normal(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}
    expected = {package: installed[normal(package)] for package in PACKAGES if normal(package) in installed}
    assert row.versions == expected | {"python": "{}.{}.{}".format(*sys.version_info)}
    (tmp_path / "rows.jsonl").write_text(row.model_dump_json() + "\n")
    lines = [[cell.text for cell in line] for line in machine(read_results(tmp_path).rows).lines]
    assert {name: value for name, value in lines if name in row.versions} == row.versions
    assert ["processor", row.cpu] in lines and row.cpu
