"""The parts of a panel."""

from __future__ import annotations

import math

import numpy as np

from scl.report.blocks import Cell, Column, Row, Table


def test_a_cell_holds_the_exact_number() -> None:
    assert Cell("0.3", 0.1 + 0.2).exact == "0.30000000000000004"
    assert Cell("3", 3.0).exact == "3"
    assert Cell("3", np.float64(0.5)).exact == "0.5"
    assert Cell("–", math.nan).exact == Cell("text").exact == ""


def test_neighbouring_columns_of_one_group_share_a_heading() -> None:
    columns = [Column("a", "a"), Column("b", "b", group="x"), Column("c", "c", group="x"), Column("d", "d")]
    assert Table(columns, [Row([])]).groups == [("", 1), ("x", 2), ("", 1)]
    assert Table(columns[:1], []).groups == []
