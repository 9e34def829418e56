"""How the coordination problem grows with the number of ADNs: the suite of ``asv run``.

One TSO above N radial feeders of 33 buses, 24 hours. Set-up is outside the timed verbs. What asks for a
full solve without timing it (gaps, sizes) is looked up in rows that are made once.
"""

import time

from benchmarks import sizes
from benchmarks.records import Settings
from generators import instance

PHASES = ("build", "compile", "solve", "certify")
SETTINGS = Settings(gap=sizes.GAP, time_limit=sizes.TIME_LIMIT_S)


def case_of(n_adns, partners):
    """The instance of a size and a partner graph."""
    return instance(n_adns, seed=sizes.SEED, partners=partners)


class _Growth:
    """What all classes here share: the sizes, and a fresh set-up before every sample."""

    param_names = ("n_adns", "partners")
    params = (sizes.N_ADNS, sizes.PARTNERS)
    version = sizes.VERSION
    timeout = 120 + 2 * sizes.TIME_LIMIT_S
    number, rounds, warmup_time = 1, 1, 0.0
    repeat = (1, 10, 20.0)  # least and most samples, and the seconds after which no further one starts


class Assembly(_Growth):
    """From the instance to sparse arrays, in processor time: one thread's work on however busy a machine."""

    timer = time.process_time
    version = f"{sizes.VERSION}, processor time"

    def setup(self, n_adns, partners):
        from model.schemes import build
        from model.stamping import compile_problem

        self.build, self.compile = build, compile_problem
        self.case = case_of(n_adns, partners)
        self.problem = build(self.case, stamped=True)

    def time_build(self, n_adns, partners):
        self.build(self.case, stamped=True)

    def time_compile(self, n_adns, partners):
        self.compile(self.problem)


class Solution(_Growth):
    """From sparse arrays to a point and a bound."""

    def setup(self, n_adns, partners):
        from model.schemes import build
        from model.solvers import solve
        from model.stamping import compile_problem

        self.solve = solve
        self.problem = build(case_of(n_adns, partners), stamped=True)
        self.program = compile_problem(self.problem)

    def time_solve(self, n_adns, partners):
        self.solve(self.problem, self.program, gap=SETTINGS.gap, time_limit_s=SETTINGS.time_limit)


class Memory(_Growth):
    """The whole run in one process."""

    def peakmem_run(self, n_adns, partners):
        from benchmarks.runner import Recorder, measure

        measure(case_of(n_adns, partners), SETTINGS, Recorder())


class Result(_Growth):
    """What one certified run says of each size, from rows made once."""

    def setup_cache(self):
        from benchmarks.runner import Recorder, measure, reference_workload, warm_up

        warm_up()
        rows = {}
        for n_adns in sizes.N_ADNS:
            for partners in sizes.PARTNERS:
                recorder = Recorder()
                before = reference_workload()
                measure(case_of(n_adns, partners), SETTINGS, recorder)
                reference_s = (before + reference_workload()) / 2
                rows[n_adns, partners] = recorder.facts | {"reference_s": reference_s}
        return rows

    setup_cache.timeout = len(sizes.N_ADNS) * len(sizes.PARTNERS) * _Growth.timeout

    def track_gap(self, rows, n_adns, partners):
        return rows[n_adns, partners]["gap"]

    def track_follower_regret(self, rows, n_adns, partners):
        return rows[n_adns, partners]["follower_regret"]

    def track_normalised_total(self, rows, n_adns, partners):
        """Build to certificate, over a fixed workload timed before and after: for machines that differ."""
        row = rows[n_adns, partners]
        return sum(row[f"{phase}_s"] for phase in PHASES) / row["reference_s"]

    def track_n_vars(self, rows, n_adns, partners):
        return rows[n_adns, partners]["n_vars"]

    def track_n_binaries(self, rows, n_adns, partners):
        return rows[n_adns, partners]["n_binaries"]

    def track_n_rows(self, rows, n_adns, partners):
        return rows[n_adns, partners]["n_rows"]

    def track_n_cones(self, rows, n_adns, partners):
        return rows[n_adns, partners]["n_cones"]

    def track_n_nonzeros(self, rows, n_adns, partners):
        return rows[n_adns, partners]["n_nonzeros"]

    track_gap.unit = "relative gap"
    track_follower_regret.unit = "$"
    track_normalised_total.unit = "reference workloads"
    track_n_vars.unit = "variables"
    track_n_binaries.unit = "binaries"
    track_n_rows.unit = "rows"
    track_n_cones.unit = "cones"
    track_n_nonzeros.unit = "nonzeros"
