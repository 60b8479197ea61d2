"""Rows of arms."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from scl.report.drawing.rows import ArmRows, draw_rows, mean_row, rows_table, seeds_listed
from scl.report.formatting import percent_number
from scl.report.theme import axis, zero_line


def rows() -> ArmRows:
    a = mean_row("a", pd.Series([70.0, 72.0], index=[0, 1]))
    b = mean_row("b", pd.Series([10.0], index=[1]), off_scale=True)
    return ArmRows((a, b), "a", 1)


def test_a_row_is_a_mean_with_students_interval() -> None:
    a, b = rows().rows
    assert (a.value, a.high - a.low) == pytest.approx((71.0, 2 * 12.7062), rel=1e-4)
    assert (b.value, math.isnan(b.low), b.seeds) == (10.0, True, {1: 10.0})


def test_the_axis_does_not_stretch_to_an_arm_off_the_scale() -> None:
    drawn = draw_rows(rows(), axis("x"), zero_line("zero"), "%{x}", [70.0])
    low, high = drawn["layout"]["xaxis"]["range"]
    assert 10 < low < 60
    assert high > 72
    assert "◂ 10.0 %, off the scale" in [note["text"] for note in drawn["layout"]["annotations"]]


def test_the_table_has_a_column_a_seed_while_there_is_room() -> None:
    table = rows_table(rows(), percent_number)
    assert [c.label for c in table.columns] == ["Arm", "Estimate", "95 % from", "to", "Seed 0", "Seed 1"]
    assert [cell.shown for cell in table.rows[1].cells] == ["b", "10.0", "–", "–", "–", "10.0"]
    assert (seeds_listed(2), seeds_listed(100), seeds_listed(1000)) == (30, 6, 1)
