"""Clouds of points."""

from __future__ import annotations

import numpy as np

from scl.report.appearance import appearance
from scl.report.drawing.cloud import Cloud, cloud_key, draw_cloud

CLOUD = Cloud(
    "cost", ("b", "a"), np.array([2.0, 1.0]), np.array([80.0, 70.0]), (None, 3), 75.0,
    appearance(("a", "b", "c"), "a", None, ()), np.array([True, True]),
)  # fmt: skip


def test_the_front_is_a_stair_by_rising_cost_and_its_points_have_names() -> None:
    drawn = draw_cloud(CLOUD)
    stairs, first, second = drawn["data"]
    assert stairs["x"] == [1.0, 2.0]
    assert stairs["line"]["shape"] == "hv"
    assert first["customdata"] == [["a", "seed 3"]]
    assert second["customdata"] == [["b", ""]]
    assert {"a", "b", "teacher"} == {note["text"] for note in drawn["layout"]["annotations"]}


def test_the_key_holds_the_arms_with_a_point_in_the_order_of_the_study() -> None:
    assert [(m.name, m.colour) for m in cloud_key(CLOUD)] == [("a", "@ink"), ("b", "@c1")]
