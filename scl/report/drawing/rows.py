"""Rows of arms, one below the other: a mark with its interval and a ring for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report import theme
from scl.report.blocks import Column, Table
from scl.report.formatting import PERCENT, Unit
from scl.report.tables import number_cells, number_table
from scl.report.theme import Figure, Marks, labels, numbers

MOST_SEEDS_DRAWN = 30
MOST_SEED_CELLS = 600  # of a table with a column a seed


@dataclass(frozen=True)
class ArmRow:
    """One arm of a figure: a value, its interval, and the values by seed, all in one unit.

    faint: the arm is left out of the comparison. off_scale: the axis does not stretch to it.
    """

    arm: str
    value: float
    low: float
    high: float
    seeds: dict[int, float]
    faint: bool = False
    off_scale: bool = False


@dataclass(frozen=True)
class ArmRows:
    """rows: the best first. beyond: the number of lower arms that are left out.

    line: the teacher's value. band: the smallest detectable effect. Either may be NaN. unit: of all values.
    """

    rows: tuple[ArmRow, ...]
    baseline: str
    decimals: int
    beyond: int = 0
    line: float = math.nan
    band: float = math.nan
    unit: Unit = PERCENT


Show = Callable[[float, int], str]  # a fraction and its decimals → text


def mean_row(
    arm: str,
    values: pd.Series,
    faint: bool = False,
    off_scale: bool = False,
    ends: tuple[float, float] = (-math.inf, math.inf),
) -> ArmRow:
    """The mean with Student's 95 % interval, cut at `ends`. values: by seed, in the unit of the axis."""
    mean = stats.mean_interval(values.to_numpy(dtype=float)).within(*ends)
    return ArmRow(arm, mean.mean, mean.low, mean.high, by_seed(values), faint, off_scale)


def by_seed(values: pd.Series) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in values.items()}


def seeds_listed(arms: int) -> int:
    """The number of seeds with a column of their own in a table. trials.parquet has all; the page stays small."""
    return min(MOST_SEEDS_DRAWN, max(MOST_SEED_CELLS // max(arms, 1), 1))


def rows_table(shown: ArmRows, show: Show, show_end: Show | None = None) -> Table:
    """The numbers of the figure. show_end: of the ends of intervals, if they are shown in another way."""
    seeds = sorted({seed for row in shown.rows for seed in row.seeds})[: seeds_listed(len(shown.rows))]
    columns = [Column("value", "Estimate"), Column("low", "95 % from"), Column("high", "to")]
    columns += [Column(f"seed_{seed}", f"Seed {seed}") for seed in seeds]
    rows, unit = [], shown.unit.factor
    for r in shown.rows:
        cells = number_cells(show, shown.decimals, r.value, unit=unit)
        cells += number_cells(show_end or show, shown.decimals, r.low, r.high, unit=unit)
        of_seeds = [r.seeds.get(seed, math.nan) for seed in seeds]
        rows.append((r.arm, [*cells, *number_cells(show, shown.decimals, *of_seeds, unit=unit)]))
    return number_table(columns, rows)


def draw_rows(
    shown: ArmRows, x: dict[str, Any], marks: Marks, unit: str, include: list[float], share: bool = False
) -> Figure:
    """unit: a hover template of x. include: values that the axis must hold besides those of the arms.
    share: x is a share in %, so the axis ends at 0 and 100."""
    rows = shown.rows
    held = [v for r in rows if not r.off_scale for v in (r.value, r.low, r.high, *r.seeds.values())]
    x["range"] = theme.span([*include, *held], share)
    left = {"x": 0, "xref": "paper", "xanchor": "left"}
    off = [
        (i, f"◂ {r.value:.{shown.decimals}f} {shown.unit.name}, off the scale")
        for i, r in enumerate(rows)
        if r.off_scale
    ]
    marks = theme.both(marks, ([], [theme.label(text, "@soft", y=i, **left) for i, text in off]))
    arms = [row.arm for row in rows]
    names = labels(arms)
    y, narrow = theme.arm_axis(arms)
    colours = ["@soft" if r.faint else "@ink" if r.arm == shown.baseline else "@c1" for r in rows]
    drawn = [(i, seed, v) for i, row in enumerate(rows) for seed, v in list(row.seeds.items())[:MOST_SEEDS_DRAWN]]
    # Seeds stand a little below the interval of their arm, so that neither hides the other.
    values, below = numbers(value for _, _, value in drawn), [i + 0.24 for i, _, _ in drawn]
    about = [[names[arms[i]], seed] for i, seed, _ in drawn]
    hover = f"%{{customdata[0]}}<br>seed %{{customdata[1]}}: {unit}"
    rings = theme.markers(values, below, hover, 6, "circle-open", [colours[i] for i, _, _ in drawn], customdata=about)
    ends = [(i, numbers([row.low, row.high])) for i, row in enumerate(rows) if math.isfinite(row.low)]
    look = [{"hoverinfo": "skip", "line": {"color": colour, "width": 2}} for colour in colours]
    bars = [theme.scatter("lines", span, [i, i], **look[i]) for i, span in ends]
    values, about = numbers(row.value for row in rows), [[names[r.arm], _interval(r, shown.decimals)] for r in rows]
    hover = f"%{{customdata[0]}}<br>{unit} %{{customdata[1]}}"
    diamonds = theme.markers(values, list(range(len(rows))), hover, 10, "diamond", colours, customdata=about)
    return theme.figure([rings, *bars, diamonds], theme.rows_height(len(rows)), narrow, marks=marks, xaxis=x, yaxis=y)


def _interval(row: ArmRow, decimals: int) -> str:
    return f"[{row.low:.{decimals}f}, {row.high:.{decimals}f}]" if math.isfinite(row.low) else ""
