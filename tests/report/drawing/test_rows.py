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


@pytest.mark.parametrize(
    ("value", "text", "side"), [(10.0, "◂ 10.0 %, off the scale", "left"), (95.0, "95.0 %, off the scale ▸", "right")]
)
def test_a_row_off_the_scale_is_a_text_and_nothing_that_covers_it(value: float, text: str, side: str) -> None:
    a = mean_row("a", pd.Series([70.0, 72.0], index=[0, 1]))
    b = mean_row("b", pd.Series([value - 30, value + 30], index=[0, 1]), off_scale=True)  # its bar reaches the axis
    drawn = draw_rows(ArmRows((a, b), "a", 1), axis("x"), ([], []), "%{x}", [])
    (note,) = drawn["layout"]["annotations"]
    assert (note["text"], note["xanchor"], note["y"]) == (text, side, 1)
    assert "b" not in {arm for of in drawn["arms"] for arm in ([of] if isinstance(of, str) else of)}


def test_a_collapsed_arm_that_the_axis_holds_is_drawn_as_any_other() -> None:
    rows = (mean_row("a", pd.Series([10.0, 90.0])), mean_row("b", pd.Series([28.0]), off_scale=True))
    drawn = draw_rows(ArmRows(rows, "a", 1), axis("x"), ([], []), "%{x}", [])
    assert drawn["layout"]["annotations"] == []
    assert drawn["data"][-1]["x"] == [50.0, 28.0]


@pytest.mark.parametrize(
    ("ends", "values", "drawn", "said"),
    [
        ((0.0, 100.0), [98.0, 99.0], [92.1469, 100.0], "Bars end at 100 %,"),
        ((0.0, 100.0), [1.0, 99.0], [0.0, 100.0], "Bars end at 0 and 100 %,"),
        ((0.0, math.inf), [0.1, 0.2], [0.0, 0.78531], "Bars end at 0,"),
        ((-60.0, 40.0), [38.0, 39.0], [32.1469, 40.0], "Bars end where the arm itself would be below 0 or above 100 %"),
        ((0.0, 100.0), [50.0, 51.0], [44.1469, 56.8531], ""),
    ],
)
def test_bars_end_at_what_is_possible_and_tables_do_not(
    ends: tuple[float, float], values: list[float], drawn: list[float], said: str
) -> None:
    row = mean_row("a", pd.Series(values))
    shown = ArmRows((row,), "a", 1, ends=ends)
    bar = draw_rows(shown, axis("x"), ([], []), "%{x}", [])["data"][1]
    assert bar["x"] == pytest.approx(drawn, abs=1e-4)
    assert shown.cut.strip().startswith(said)
    assert bool(shown.cut) == bool(said)
    assert rows_table(shown, percent_number).rows[0].cells[3].value == pytest.approx(row.high)


def test_the_table_has_a_column_a_seed_while_there_is_room() -> None:
    table = rows_table(rows(), percent_number)
    assert [c.label for c in table.columns] == ["Arm", "Estimate", "95 % from", "to", "Seed 0", "Seed 1"]
    assert [cell.shown for cell in table.rows[1].cells] == ["b", "10.0", "–", "–", "–", "10.0"]
    assert (seeds_listed(2), seeds_listed(100), seeds_listed(1000)) == (30, 6, 1)
