"""Mutation testing of the files that the certified numbers rest on: ``make mutants``.

Cosmic Ray makes the mutants. Run by it, each would start a new interpreter and spend seconds on imports; here
a fork of a process that has imported the libraries loads each in memory and runs the tests of its file only.
Files on disk are not touched. A mutant is killed where a test fails or its time is up. ``score`` is the share
killed; mutants that change nothing count as alive, mutants_equivalent.toml lists them with the reason.
"""

import argparse
import importlib.util
import math
import multiprocessing
import multiprocessing.connection
import os
import re
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import campaigns
import clarabel  # noqa: F401  (imported here, once, for all forks)
import highspy  # noqa: F401
import hypothesis  # noqa: F401
import pandas  # noqa: F401
import pyomo.environ as pyo
import pytest
import scipy.optimize
import scipy.sparse.csgraph  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# Only operators whose mutants mean something in arithmetic: no shifts of a float, no `x is 0`.
OPERATORS = re.compile(
    "core/("
    "ReplaceBinaryOperator_(Add|Sub|Mul|Div|Pow)_(Add|Sub|Mul|Div)|"
    "ReplaceComparisonOperator_(Eq|NotEq|Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE)|"
    "ReplaceComparisonOperator_(Is_IsNot|IsNot_Is)|ReplaceUnaryOperator_Delete_.*|"
    "NumberReplacer|AddNot|ReplaceAndWithOr|ReplaceOrWithAnd|ReplaceTrueWithFalse|ReplaceFalseWithTrue|"
    "ReplaceBreakWithContinue|ReplaceContinueWithBreak|RemoveDecorator|ZeroIterationForLoop)"
)

# The tests of each file, in the order in which they are run.
TESTS = {
    "model/kkt.py": ["test_kkt", "test_dual_signs"],
    "model/boundary.py": ["test_boundary"],
    "model/branch_flow.py": ["test_branch_flow"],
    "model/trading.py": ["test_trading"],
    "model/certificate.py": [
        "test_certificate_checks",
        "test_certificate",
        "test_certificate_forged",
        "test_certificate_cuts",
    ],
    "model/hour_blocks.py": ["test_hour_blocks", "test_hourly"],
    "model/by_hour.py": ["test_hourly", "test_certificate_cuts"],
    "model/follower_check.py": ["test_follower_check"],
    "model/region_check.py": ["test_region_check", "test_certificate_forged"],
    "model/price_hull.py": ["test_price_hull"],
    "model/bounds.py": ["test_bounds", "test_certificate_forged"],
    "model/resources.py": ["test_resources"],
    "model/dc_flow.py": ["test_dc_flow"],
}
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.toml")
# A mutant that sleeps for ever uses no processor time: waited for this many times its limit.
PATIENCE = 20
fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Mutant:
    """A changed source, with its lines removed and added."""

    code: str
    diff: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every different mutant that compiles."""
    seen = {source}
    for code in (*_by_operators(source), *_by_assignments(source)):
        if code not in seen and _compiles(code):
            seen.add(code)
            yield Mutant(code, _diff(source, code))


def _by_operators(source: str) -> Iterator[str]:
    nodes = list(ast_nodes(get_ast(source)))
    for name in operator_names():
        if not OPERATORS.fullmatch(name):
            continue
        operator = get_operator(name)()
        for occurrence in range(sum(len(list(operator.mutation_positions(node))) for node in nodes)):
            code = mutate_code(source, operator, occurrence)
            if code is not None:
                yield code


def _by_assignments(source: str) -> Iterator[str]:
    """``+=`` and ``-=`` exchanged, which Cosmic Ray leaves alone."""
    for found in re.finditer(r" ([-+])= ", source):
        other = {"+": " -= ", "-": " += "}[found[1]]
        yield source[: found.start()] + other + source[found.end() :]


def _compiles(code: str) -> bool:
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _diff(source: str, code: str) -> str:
    """Line numbers and changed lines, their indentation left out."""
    changed = list(unified_diff(source.splitlines(), code.splitlines(), lineterm="", n=0))[2:]
    return "\n".join(line if line.startswith("@@") else _line(line[0], line[1:]) for line in changed)


def _line(sign: str, text: str) -> str:
    return f"{sign} {' '.join(text.split())}"


def _meet(path: str, code: str, tests: list[str], limit_s: int) -> None:
    """In a fork: load the mutant in place of its module, run the tests, exit with pytest's code."""
    # Processor time, so that a busy machine kills no mutant; the kernel's signal ends one that never ends.
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    name = path.removesuffix(".py").replace("/", ".")
    package, _, short = name.rpartition(".")
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, path))
    sys.modules[name] = module
    try:
        exec(compile(code, path, "exec"), module.__dict__)
    except Exception:
        os._exit(int(pytest.ExitCode.TESTS_FAILED))
    setattr(sys.modules[package], short, module)
    files = [f"tests/{test}.py" for test in tests]
    off = [
        option
        for plugin in ("cacheprovider", "xdist", "benchmark", "cov")
        for option in ("-p", f"no:{plugin}")
    ]
    os._exit(int(pytest.main(["-x", "-q", *off, *files])))


def outcomes(path: str, found: list[Mutant], tests: list[str], workers: int, limit_s: int) -> list[str]:
    """``killed``, ``timeout`` or ``survived`` for every mutant; the limit is processor time."""
    verdict = [""] * len(found)
    waiting = list(enumerate(found))[::-1]
    running: dict[int, tuple] = {}  # sentinel: process, number of the mutant, deadline
    while waiting or running:
        while waiting and len(running) < workers:
            number, mutant = waiting.pop()
            process = fork.Process(target=_meet, args=(path, mutant.code, tests, limit_s))
            process.start()
            running[process.sentinel] = process, number, time.monotonic() + PATIENCE * limit_s
        multiprocessing.connection.wait(list(running), timeout=0.5)
        for sentinel, (process, number, deadline) in list(running.items()):
            if process.exitcode is None and time.monotonic() < deadline:
                continue
            late = process.exitcode in (None, -signal.SIGXCPU, -signal.SIGKILL)
            process.kill()
            process.join()
            del running[sentinel]
            verdict[number] = "timeout" if late else "killed" if process.exitcode else "survived"
    return verdict


def explained(path: str) -> Counter:
    """How many mutants of each diff are known to change nothing."""
    listed = tomllib.loads(EQUIVALENT.read_text())["mutant"] if EQUIVALENT.exists() else []
    return Counter(
        _line("-", own["was"]) + "\n" + _line("+", own["is"]) for own in listed if own["file"] == path
    )


def _lines(diff: str) -> str:
    """A diff without line numbers."""
    return "\n".join(line for line in diff.splitlines() if not line.startswith("@@"))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def campaign(path: str, workers: int) -> dict:
    """One file's mutants against its tests; prints those that survive without an explanation."""
    start, before = time.monotonic(), _children_s()
    source, tests = Path(path).read_text(), TESTS[path]
    if outcomes(path, [Mutant(source, "")], tests, 1, 600) != ["survived"]:
        raise SystemExit(f"{path}: its tests fail on the file as it is")
    limit_s = 10 + 5 * math.ceil(_children_s() - before)
    found = list(mutants(source))
    verdicts = outcomes(path, found, tests, workers, limit_s)
    alive = [mutant for mutant, verdict in zip(found, verdicts, strict=True) if verdict == "survived"]
    known = explained(path)
    unexplained = []
    for mutant in alive:
        lines = _lines(mutant.diff)
        if known[lines]:
            known[lines] -= 1
        else:
            unexplained.append(mutant)
    for mutant in unexplained:
        print(f"{path} survived:\n{mutant.diff}")
    killed = len(found) - len(alive)
    return {
        "mutants": len(found),
        "killed": killed,
        "timeouts": verdicts.count("timeout"),
        "equivalent": len(alive) - len(unexplained),
        "survived": len(unexplained),
        "score": round(killed / len(found), 4),
        "seconds": round(time.monotonic() - start),
    }


def main() -> None:
    """Run the campaign; the figures of each file go where the report reads them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("files", nargs="*", default=list(TESTS))
    parser.add_argument("-n", "--workers", type=int, default=2)
    asked = parser.parse_args()
    sys.path[:0] = ["", "tests"]
    importlib.import_module("model")
    pyo.TransformationFactory("core.kkt")
    for path in asked.files:
        figures = campaign(path, asked.workers)
        print(path, figures, flush=True)
        campaigns.keep("mutants", path, figures)


if __name__ == "__main__":
    main()
