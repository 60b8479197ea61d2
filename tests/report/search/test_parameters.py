"""What a search varied, and the values of its trials."""

from __future__ import annotations

import math

from scl.report.facts import Facts
from scl.report.search.parameters import parameters
from tests.support.synthetic import SPACE


def test_parameters_are_those_of_the_space_with_the_values_of_the_trials(searched: Facts) -> None:
    found = {parameter.name: parameter for parameter in parameters(searched)}
    assert list(found) == list(SPACE)
    rows = searched.searched[searched.searched["state"].isin(["completed", "pruned"])]
    for name, parameter in found.items():
        assert set(parameter.frame["number"]) == set(rows["number"])
        if parameter.choices:
            assert set(parameter.frame["x"]) <= set(parameter.choices)
            assert math.isnan(parameter.low)
            continue
        about = searched.study["search_space"][name]
        assert (parameter.low, parameter.high, parameter.log) == (about["low"], about["high"], bool(about.get("log")))
        assert parameter.frame["x"].between(parameter.low, parameter.high).all()
