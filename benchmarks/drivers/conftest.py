"""Benchmarks run when asked for: ``pytest`` runs the tests, ``pytest --benchmark-only`` these."""

from pathlib import Path

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config, items):
    wanted = config.getoption("benchmark_only", False)
    kept = [item for item in items if (HERE in item.path.parents) == wanted]
    dropped = [item for item in items if (HERE in item.path.parents) != wanted]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
