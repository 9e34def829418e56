"""How long every method takes to the same gap on the same small instances of one ADN.

``pytest --benchmark-only -k rival`` runs these alone. Status, gap, sizes and peak memory are in the
``extra_info``. A method that cannot run here is skipped with its reason; a baseline may fail, the default
may not.
"""

import itertools

import pytest

from benchmarks import sizes
from generators import instance
from model.certificate import certify
from model.data import InputError
from model.program import compile_model
from model.schemes import build
from model.solvers import check_method, solve

CERTIFY = ("auto", "decomposed")
CASES = [
    pytest.param(method, hours, id=f"n001-{hours:02d}h-{method}")
    for method, hours in itertools.product(sizes.RIVALS, sizes.RIVALS_HOURS)
]


@pytest.mark.parametrize(("method", "hours"), CASES)
def test_rival(benchmark, peak_mb, method, hours):
    try:
        check_method(method)
    except InputError as refusal:
        pytest.skip(str(refusal))
    problem = build(instance(1, seed=sizes.SEED, hours=hours), mode=sizes.RIVALS[method])
    program = compile_model(problem.m)
    limits = {"method": method, "gap": sizes.GAP, "time_limit_s": sizes.TIME_LIMIT_S}
    outcome = benchmark.pedantic(solve, (problem, program), limits, rounds=1)
    benchmark.extra_info |= program.sizes | {"peak_mb": peak_mb()}
    certificate = certify(problem, program, outcome, gap=sizes.GAP)
    names = "status message objective bound bound_by gap".split()
    benchmark.extra_info |= {name: getattr(certificate, name) for name in names}
    assert certificate.status == "certified" or method not in CERTIFY, certificate
    assert method != "relaxation" or certificate.bound_by == "safe"
