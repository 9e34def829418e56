"""How long building, compiling, solving and certifying take, by the number of ADNs.

``pytest --benchmark-only`` runs all sizes, ``pytest --benchmark-only -k n001`` the smallest.
Sizes, gap, status and peak memory of each run are in its ``extra_info`` (``--benchmark-json FILE``).
"""

import itertools

import pytest

from benchmarks import sizes
from benchmarks.runner import reference_workload
from generators import instance
from model.certificate import certify
from model.counts import predict
from model.schemes import build
from model.solvers import solve
from model.stamping import compile_problem

LIMITS = {"gap": sizes.GAP, "time_limit_s": sizes.TIME_LIMIT_S}
CASES = [
    pytest.param((n_adns, partners), id=f"n{n_adns:03d}-{partners}")
    for n_adns, partners in itertools.product(sizes.N_ADNS, sizes.PARTNERS)
]


def rounds(n_adns):
    """So many that the least of the short ones was disturbed by nobody."""
    return 10 if n_adns <= 2 else 3


# Fixtures of the module: the verbs of one size run together, and share what is not timed.
@pytest.fixture(scope="module", params=CASES)
def case(request):
    n_adns, partners = request.param
    return instance(n_adns, seed=sizes.SEED, partners=partners)


@pytest.fixture(scope="module")
def problem(case):
    return build(case, stamped=True)


@pytest.fixture(scope="module")
def program(problem):
    return compile_problem(problem)


@pytest.fixture(scope="module")
def outcomes(problem):
    """Filled by the timed solve, for the certificate."""
    return []


def normalise(benchmark, reference_s):
    """The least time over that of a fixed workload, before and after: for machines that differ."""
    reference_s = (reference_s + reference_workload()) / 2
    benchmark.extra_info["reference_s"] = reference_s
    if benchmark.stats is not None:  # else run with --benchmark-disable
        benchmark.extra_info["normalised"] = benchmark.stats.stats.min / reference_s


def test_build(benchmark, case, reference_s):
    problem = benchmark.pedantic(build, (case,), {"stamped": True}, rounds=rounds(case.n_adns))
    benchmark.extra_info["coupling"] = problem.coupling
    normalise(benchmark, reference_s)


def test_compile(benchmark, case, problem, reference_s):
    program = benchmark.pedantic(compile_problem, (problem,), rounds=rounds(problem.instance.n_adns))
    benchmark.extra_info |= program.sizes
    normalise(benchmark, reference_s)
    assert program.sizes == predict(case, problem.mode)


def test_solve(benchmark, peak_mb, problem, program, outcomes, reference_s):
    outcome = benchmark.pedantic(solve, (problem, program), LIMITS, rounds=1)
    outcomes.append(outcome)
    benchmark.extra_info |= {"status": outcome.status, "bound": outcome.bound, "nodes": outcome.nodes}
    benchmark.extra_info["peak_mb"] = peak_mb()
    normalise(benchmark, reference_s)
    assert outcome.x is not None


def test_certify(benchmark, problem, program, outcomes, reference_s):
    outcome = outcomes[0] if outcomes else solve(problem, program, **LIMITS)
    certificate = benchmark.pedantic(certify, (problem, program, outcome), {"gap": sizes.GAP}, rounds=1)
    names = "status objective bound bound_by gap follower_regret cone_violation".split()
    benchmark.extra_info |= {name: getattr(certificate, name) for name in names}
    normalise(benchmark, reference_s)
    assert certificate.status in ("certified", "gap_limit")
