"""The sentence about Stein's interval."""

from __future__ import annotations

from typing import Any

import pytest

from scl.report.stein import stein_sentence

FOUND: dict[str, Any] = {
    "between": ["kd", "baseline"], "width": 0.01, "pilot": 5, "n": 12, "estimate": 0.0123,
    "low": 0.0073, "high": 0.0173, "wanted": 12, "cap": 50,
}  # fmt: skip
SENTENCE = (
    "By Stein's two stages, “kd” minus “baseline” is +1.23 points, 95 % interval +0.73 to +1.73, over 12 seeds: a "
    "difference is shown. The pair and a width of 1 point were fixed before a pilot of 5 seeds, which chose the number "
    "of seeds. The interval is of this pair alone and needs no correction."
)


@pytest.mark.parametrize(
    ("changed", "instead"),
    [
        ({}, ""),
        ({"low": -0.001}, "difference is not shown"),
        ({"low": -0.02, "high": -0.001}, "difference is shown"),
        ({"width": 0.0025}, "width of 0.25 points"),
        ({"width": 0.03}, "width of 3 points"),
        ({"wanted": 90}, "no correction. The width needs 90 seeds; --max-seeds 50 allowed fewer, so"),
    ],
)
def test_the_interval_is_told_with_what_was_fixed_before(changed: dict[str, Any], instead: str) -> None:
    sentence = stein_sentence({"stein": FOUND | changed}, 2)
    assert instead in sentence
    if not changed:
        assert sentence == SENTENCE


@pytest.mark.parametrize("study", [{}, {"stein": None}])
def test_without_an_interval_there_is_no_sentence(study: dict[str, Any]) -> None:
    assert stein_sentence(study, 2) == ""
