"""Ways to put ``0 <= multiplier perp slack >= 0`` into a program; one mode a file.

A mode is a function ``add(m, pairs)`` that adds its rows to the block ``m.complementarity``.
"""

from model.complementarity import big_m, sos1, strong_duality

MODES = {"big_m": big_m, "sos1": sos1, "strong_duality": strong_duality}
