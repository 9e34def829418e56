"""Who may know whom (docs: CONTRIBUTING.md), read from the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"generators", "model", "benchmarks", "reports", "tso_dso", "tests"}
MAY_KNOW = {
    "generators": {"generators", "model"},
    "model": {"model"},
    "benchmarks": {"benchmarks", "model", "generators"},
    "reports": {"reports"},
}
SOLVERS = {"pyomo", "highspy", "clarabel", "gurobipy", "pyscipopt"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("room", MAY_KNOW)
def test_rooms_know_only_whom_they_may(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        known = {name.split(".")[0] for name in imports(path)} & ROOMS
        assert known <= MAY_KNOW[room], f"{path} imports {known - MAY_KNOW[room]}"


def test_generators_know_of_the_model_only_its_data():
    for path in (ROOT / "generators").rglob("*.py"):
        modules = {name for name in imports(path) if name.split(".")[0] == "model"}
        assert all(name == "model" or name.startswith("model.data") for name in modules), path


def test_data_generators_and_reports_know_no_solver_and_no_pyomo():
    for path in [
        ROOT / "model/data.py",
        *(ROOT / "generators").rglob("*.py"),
        *(ROOT / "reports").rglob("*.py"),
    ]:
        assert not {name.split(".")[0] for name in imports(path)} & SOLVERS, path


def test_the_certificate_shares_nothing_with_the_solvers():
    for name in ("certificate.py", "follower_check.py"):
        modules = imports(ROOT / "model" / name)
        assert not any(
            module.startswith(("model.solvers", "model.dc_flow", "model.kkt")) for module in modules
        )
        assert not {module.split(".")[0] for module in modules} & SOLVERS
