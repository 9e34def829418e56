"""The frozen sizes, seed and limits of the asv and pytest-benchmark suites.

Raise ``VERSION`` when a generator, a default or a tolerance changes what is measured: asv then
starts a new series, and a sweep does not take rows of the old kind for its own.
"""

VERSION = "1"
N_ADNS = (1, 2, 5, 10)
PARTNERS = ("nearest:4", "complete")
SEED = 0
GAP = 0.01
TIME_LIMIT_S = 60.0
