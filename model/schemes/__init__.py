"""Coordination schemes, one a file; each reads like the paper."""

from pyomo.common.gc_manager import PauseGC

from model.complementarity import MODES
from model.data import InputError, Instance
from model.problem import Problem
from model.schemes import dso_led

SCHEMES = {"dso-led": dso_led}


def build(instance: Instance, scheme: str = "dso-led", mode: str = "big_m", stamped: bool = False) -> Problem:
    """The scheme's problem for an instance; raises InputError for a name not registered.

    ``stamped``: the ADNs are stated as a pattern for :func:`model.stamping.compile_problem`, which is many
    times faster; else the Pyomo model is whole.
    """
    if scheme not in SCHEMES:
        raise InputError("scheme", scheme, ", ".join(SCHEMES))
    if mode not in MODES:
        raise InputError("mode", mode, ", ".join(MODES))
    # A model is millions of live objects and no garbage: collecting while building only costs time.
    with PauseGC():
        return SCHEMES[scheme].build(instance, mode, stamped)
