"""What a scheme and a complementarity mode refuse, and which rows a mode adds."""

import math

import pyomo.environ as pyo
import pytest
from toys import toy

from model.complementarity import MODES
from model.data import InputError
from model.kkt import Pair
from model.schemes import build


@pytest.mark.parametrize(
    ("field", "names"), [("scheme", {"scheme": "tso-led?"}), ("mode", {"mode": "guess"})]
)
def test_an_unknown_name_is_refused_with_the_names_there_are(field, names):
    with pytest.raises(InputError) as error:
        build(toy(1, 1), **names)
    assert error.value.field == field
    assert ("dso-led" if field == "scheme" else "big_m") in error.value.allowed


@pytest.mark.parametrize("bounds", [(math.inf, 1.0), (1.0, math.inf), (math.nan, 1.0)])
def test_big_m_refuses_a_bound_that_is_not_finite(bounds):
    m = pyo.ConcreteModel()
    m.mu, m.slack = pyo.Var(), pyo.Var()
    with pytest.raises(InputError, match="a certified bound for mu"):
        MODES["big_m"].add(m, [Pair(m.mu, bounds[0], m.slack, bounds[1])])
    MODES["big_m"].add(m, [Pair(m.mu, 2.0, m.slack, 3.0)])
    m.mu.value, m.slack.value = 0.5, 0.25
    for binding, mu_room, slack_room in ((0.0, 0.5, 0.25 - 3.0), (1.0, 0.5 - 2.0, 0.25)):
        m.complementarity.binding[0].value = binding
        own = m.complementarity
        assert pyo.value(own.multiplier_limit[0].body - own.multiplier_limit[0].upper) == mu_room
        assert pyo.value(own.slack_limit[0].body - own.slack_limit[0].upper) == slack_room
