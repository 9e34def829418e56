"""Every method on the same small instances, for ``asv run``: default, decomposition, baselines.

One ADN; each run apart under its limits, as in a sweep, once. What a method cannot do here is not a
number (nan) and its status is in the row, so that a baseline that is missing or fails stops nothing.
"""

import math
import tempfile
from pathlib import Path

from benchmarks import sizes
from benchmarks.records import Spec


def order(method, hours):
    """The run of a method on the instance with so many hours."""
    return Spec(
        n_adns=1,
        seed=sizes.SEED,
        method=method,
        mode=sizes.RIVALS[method],
        gap=sizes.GAP,
        time_limit=sizes.TIME_LIMIT_S,
        options={"hours": hours},
    )


class Rivals:
    """What one run apart says of each method."""

    param_names = ("method", "hours")
    params = (tuple(sizes.RIVALS), sizes.RIVALS_HOURS)
    version = sizes.VERSION
    timeout = 60

    def setup_cache(self):
        from benchmarks.sweep import sweep

        specs = {
            order(method, hours): (method, hours) for method in self.params[0] for hours in self.params[1]
        }
        with tempfile.TemporaryDirectory() as folder:
            rows = sweep(list(specs), Path(folder))
        by_run = {row.run_id: row.model_dump() for row in rows}
        return {which: by_run[spec.run_id] for spec, which in specs.items()}

    setup_cache.timeout = len(sizes.RIVALS) * len(sizes.RIVALS_HOURS) * (60 + 2 * sizes.TIME_LIMIT_S)

    def track_reached(self, rows, method, hours):
        return float(rows[method, hours]["status"] == "certified")

    def track_gap(self, rows, method, hours):
        return _number(rows[method, hours]["gap"])

    def track_solve(self, rows, method, hours):
        return _ended(rows[method, hours], "solve_s")

    def track_total(self, rows, method, hours):
        return _ended(rows[method, hours], "total_s")

    def track_effort(self, rows, method, hours):
        """The total over the solve of one joint conic relaxation."""
        return _ended(rows[method, hours], "total_s") / _ended(rows["relaxation", hours], "solve_s")

    def track_peak_memory(self, rows, method, hours):
        return _number(rows[method, hours]["peak_mb"])

    track_reached.unit = "1 if certified to the gap"
    track_gap.unit = "relative gap"
    track_solve.unit = track_total.unit = "s"
    track_effort.unit = "conic relaxations"
    track_peak_memory.unit = "MB"


def _number(value):
    return math.nan if value is None else value


def _ended(row, name):
    """A time of a run that ended by itself; else it is the limit's, or that of a failure."""
    return _number(row[name]) if row["status"] in ("certified", "gap_limit") else math.nan
