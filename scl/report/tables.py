"""Cells and tables of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from scl.report.blocks import Cell, Column, Row, Table
from scl.report.formatting import Unit, fixed, p_value, plain, shorten


def text_cell(text: object) -> Cell:
    return Cell(plain(text))


def arm_cell(arm: object) -> Cell:
    """An arm's name, shortened; data-arm of the row holds the whole name."""
    return Cell(shorten(plain(arm), 60), arm=str(arm))


def number_cells(show: Callable[[float, int], str], decimals: int, *values: float, unit: float = 1) -> list[Cell]:
    """A cell for each value. show: a value in units and its decimals → text, often a method of a Unit."""
    of = getattr(show, "__self__", None)
    factor = of.factor / unit if isinstance(of, Unit) else 1.0
    return [Cell(show(value / unit, decimals), value, factor=factor) for value in values]


def count_cell(n: int) -> Cell:
    return Cell(str(n), n)


def p_cell(p: float) -> Cell:
    return Cell(p_value(p), p)


def interval_cell(mean: float, low: float, high: float, decimals: int) -> Cell:
    """`71.0 (70.2 to 71.8)`: the mean and its interval."""
    known = math.isfinite(low) and math.isfinite(high)
    if not known:
        return Cell(fixed(mean, decimals), float(mean))
    text = f"{fixed(mean, decimals)} ({fixed(low, decimals)} to {fixed(high, decimals)})"
    return Cell(text, float(mean), (float(low), float(high)))


def frame_table(frame: pd.DataFrame, decimals: int = 2, label: str = "Numbers") -> Table:
    """The numbers of a figure from a frame: first its index, then its columns, with this many decimals."""
    columns = [Column("arm", str(frame.index.name or ""), number=False)]
    columns += [Column(f"c{i}", plain(name)) for i, name in enumerate(frame.columns)]
    rows = [
        Row([arm_cell(name), *number_cells(fixed, decimals, *map(float, values))], arm=plain(name))
        for name, values in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    return Table(columns, rows, label=label)


def number_table(
    columns: Sequence[Column], rows: Sequence[tuple[str, Sequence[Cell]]], head: str = "Arm", label: str = "Numbers"
) -> Table:
    """The numbers of a figure: one row an arm (or what `head` names), its name in the first column."""
    return Table(
        (Column("arm", head, number=False), *columns),
        [Row((arm_cell(arm), *cells), arm=arm) for arm, cells in rows],
        label=label,
    )
