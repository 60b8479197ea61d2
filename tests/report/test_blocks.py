"""The parts of a panel."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scl.report.blocks import Cell, Column, Row, Table, arm_cell, frame_table, number_table


def test_a_cell_holds_the_exact_number() -> None:
    assert Cell("0.3", 0.1 + 0.2).exact == "0.30000000000000004"
    assert Cell("3", 3.0).exact == "3"
    assert Cell("3", np.float64(0.5)).exact == "0.5"
    assert Cell("–", math.nan).exact == Cell("text").exact == ""


def test_neighbouring_columns_of_one_group_share_a_heading() -> None:
    columns = [Column("a", "a"), Column("b", "b", group="x"), Column("c", "c", group="x"), Column("d", "d")]
    assert Table(columns, [Row([])]).groups == [("", 1), ("x", 2), ("", 1)]
    assert Table(columns[:1], []).groups == []


def test_tables_of_numbers_name_their_rows() -> None:
    table = number_table([Column("v", "V")], [("an\narm", [Cell("1", 1)])])
    assert table.rows[0].arm == "an\narm"
    assert table.rows[0].cells[0] == arm_cell("an\narm") == Cell("an arm")
    frame = frame_table(pd.DataFrame({"s": [1.234, math.nan]}, index=["a", "b"]), 1)
    assert [[cell.shown for cell in row.cells] for row in frame.rows] == [["a", "1.2"], ["b", "–"]]
