"""Which analyses count as looks."""

from __future__ import annotations

from typing import Any

import pytest

from scl.report.looks import counted, of_other_seeds, seeds_of


@pytest.mark.parametrize(
    ("looks", "numbers"),
    [
        ([], []),
        ([{"seeds": [0, 1, 2]}], [3]),
        ([{"seeds": 3}, {"seeds": [0, 1, 2, 3, 4]}], [3, 5]),
        ([{"seeds": [0, 1, 2]}, {"seeds": [0, 1, 2, 3, 4]}], [3, 5]),
        ([{"seeds": [0]}, {"seeds": [0, 1, 2]}], [3]),  # one seed shows no difference
        ([{"seeds": [0]}], [1]),
        ([{"seeds": [0, 1]}, {"seeds": [0, 1, 2]}, {"seeds": [0, 1]}], [2]),  # back to the first look
        ([{"seeds": [0, 1, 2]}, {"seeds": [0, 1]}], [3, 2]),  # a choice of seeds after all were seen
        ([{"seeds": [0, 1, 2], "of": "a"}, {"seeds": [0, 1, 2, 3], "of": "b"}], [4]),  # other settings
        ([{"seeds": [0, 1, 2]}, {"seeds": [0, 1, 2, 3], "of": "b"}], [3, 4]),
        ([{"seeds": [0, 1, 2]}, {"seeds": [7, 8]}], [2]),  # other seeds
        ([{"seeds": [0, 1], "part": "a"}, {"seeds": [2, 3], "part": "b"}, {"seeds": [0, 1, 2, 3]}], [4]),
    ],
)
def test_the_looks_that_count(looks: list[dict[str, Any]], numbers: list[int]) -> None:
    assert [len(seeds_of(look)) for look in counted({"looks": looks})] == numbers


def test_earlier_looks_at_other_seeds() -> None:
    assert of_other_seeds({"looks": [{"seeds": [0, 1]}, {"seeds": [1, 2]}, {"seeds": [4, 2]}]}) == [0, 1]
    assert of_other_seeds({}) == []


def test_the_pilot_of_steins_rule_is_no_look() -> None:
    looks = [{"seeds": [0, 1, 2, 3, 4]}, {"seeds": list(range(12))}]
    assert len(counted({"looks": looks, "stein": {"pilot_seeds": [0, 1, 2, 3, 4]}})) == 1
    assert len(counted({"looks": looks})) == 2
