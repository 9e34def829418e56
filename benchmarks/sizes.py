"""The frozen sizes, seed and limits of the asv and pytest-benchmark suites.

Raise ``VERSION`` when a generator, a default or a tolerance changes what is measured: asv then
starts a new series, and a sweep does not take rows of the old kind for its own. ``TSO_DSO_LARGE=1`` in the
environment adds the larger sizes.
"""

import os

VERSION = "1"
LARGE = bool(os.environ.get("TSO_DSO_LARGE"))
N_ADNS = (1, 2, 5, 10, *((20, 50, 100) if LARGE else ()))
PARTNERS = ("nearest:4", "complete")
SEED = 0
GAP = 0.01
TIME_LIMIT_S = 60.0

# Each method with the complementarity mode that suits it, the default first: `tso-dso sweep --rivals`.
# `relaxation` is the unit of effort, the last five are baselines.
RIVALS = {
    "auto": "big_m",
    "decomposed": "big_m",
    "relaxation": "big_m",
    "highs": "big_m",
    "naive": "big_m",
    "scip": "sos1",
    "gurobi": "sos1",
    "mindtpy": "big_m",
}
# What the rivals are measured on by asv and pytest-benchmark: most do not end on a whole day.
RIVALS_HOURS = (1, 24) if LARGE else (1,)
