"""The factors of a study."""

from __future__ import annotations

from typing import Any

import pytest

from scl.report.factors import factor_names, factors_of

LEVELS = {"a": {"depth": 3, "loss": "kd"}, "b": {"depth": 5.0, "loss": "kd"}, "c": {"depth": 3, "loss": "cc"}}


@pytest.mark.parametrize(
    ("factors", "names"),
    [
        (None, []),
        ({"depth": {"levels": [3]}}, []),
        ({"depth": {"levels": [3, 5]}, "loss": {"levels": ["kd", "cc"]}}, ["depth", "loss"]),
        ({"depth": [3, 5], "loss": ["kd", "cc"], "control": ["x", "y"]}, ["depth", "loss"]),
    ],
)
def test_factors_have_two_levels(factors: Any, names: list[str]) -> None:
    assert factor_names({"factors": factors}) == names


def test_depth_lies_along_the_axis_and_colours_show_the_loss() -> None:
    study = {"factors": {"loss": {"levels": ["cc", "kd", "none"]}, "depth": {"levels": [3, 5.0]}}, "arm_levels": LEVELS}
    found = factors_of(study, ["a", "b", "c", "elsewhere"])
    assert found is not None
    assert (found.across, found.by, found.others) == ("depth", "loss", ["depth"])
    assert found.order == {"loss": ("cc", "kd"), "depth": ("3", "5")}
    assert found.levels["b"] == {"loss": "kd", "depth": "5"}


def test_one_factor_is_no_design() -> None:
    assert factors_of({"factors": {"loss": {"levels": ["kd", "cc"]}}, "arm_levels": LEVELS}, ["a"]) is None
