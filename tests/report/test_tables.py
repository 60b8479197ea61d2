"""Cells and tables of numbers."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from scl.report.blocks import Cell, Column
from scl.report.formatting import fixed
from scl.report.tables import (
    arm_cell,
    count_cell,
    frame_table,
    interval_cell,
    number_cells,
    number_table,
    p_cell,
    text_cell,
)


@pytest.mark.parametrize(
    ("cell", "shown", "exact"),
    [
        (text_cell("two\nlines"), "two lines", ""),
        (count_cell(12), "12", "12"),
        (p_cell(0.04321), "0.043", "0.04321"),
        (interval_cell(71.04, 70.2, 71.84, 1), "71.0 (70.2 to 71.8)", "71.04"),
        (interval_cell(-1.04, -2.0, 0.0, 1), "−1.0 (−2.0 to 0.0)", "-1.04"),
        (interval_cell(71.04, math.nan, math.nan, 1), "71.0", "71.04"),  # one seed has no interval
        (interval_cell(math.nan, math.nan, math.nan, 1), "–", ""),
        *zip(number_cells(fixed, 2, 1500.0, 250.0, unit=1000), ("1.50", "0.25"), ("1500", "250"), strict=True),
    ],
)
def test_a_cell_shows_a_rounded_number_and_holds_the_exact_one(cell: Cell, shown: str, exact: str) -> None:
    assert (cell.shown, cell.exact) == (shown, exact)


def test_a_long_arm_is_shortened_in_its_middle() -> None:
    shown = arm_cell("a" * 50 + "b" * 50).shown
    assert len(shown) == 60
    assert shown.startswith("aaa")
    assert shown.endswith("bbb")


def test_tables_of_numbers_name_their_rows() -> None:
    table = number_table([Column("v", "V")], [("an\narm", [Cell("1", 1)])])
    assert table.rows[0].arm == "an\narm"
    assert table.rows[0].cells[0] == arm_cell("an\narm") == Cell("an arm", arm="an\narm")
    frame = frame_table(pd.DataFrame({"s": [1.234, math.nan]}, index=["a", "b"]), 1)
    assert [[cell.shown for cell in row.cells] for row in frame.rows] == [["a", "1.2"], ["b", "–"]]
