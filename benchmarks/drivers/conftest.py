"""Benchmarks run when asked for: ``pytest`` runs the tests, ``pytest --benchmark-only`` these."""

from pathlib import Path

import pytest

from benchmarks.runner import forget_peak_memory, peak_memory_mb, reference_workload, warm_up

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    wanted = config.getoption("benchmark_only", False)
    kept = [item for item in items if (HERE in item.path.parents) == wanted]
    dropped = [item for item in items if (HERE in item.path.parents) != wanted]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def warm():
    """What is loaded or set up at first use is nobody's time."""
    warm_up()


@pytest.fixture
def peak_mb():
    """Says the peak memory of this process since the test began, MB; None where the system cannot."""
    return peak_memory_mb if forget_peak_memory() else lambda: None


@pytest.fixture
def reference_s():
    """The time of the fixed reference workload before the test, s."""
    return reference_workload()
