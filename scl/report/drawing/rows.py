"""Rows of arms, one below the other: a mark with its interval and a ring for each seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats
from scl.report.blocks import Cell, Column, Table, number_table
from scl.report.theme import Figure, Marks, arm_axis, figure, labels, numbers, rows_height, scatter, span

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

    line: the teacher's accuracy. band: the smallest detectable effect. Either may be NaN.
    """

    rows: tuple[ArmRow, ...]
    baseline: str
    decimals: int
    beyond: int = 0
    line: float = math.nan
    band: float = math.nan


def mean_row(arm: str, values: pd.Series, faint: bool = False, off_scale: bool = False) -> ArmRow:
    """The mean with Student's 95 % interval. values: one for each seed of the index, in the unit of the axis."""
    mean = stats.mean_interval(values.to_numpy(dtype=float))
    return ArmRow(arm, mean.mean, mean.low, mean.high, by_seed(values), faint, off_scale)


def by_seed(values: pd.Series) -> dict[int, float]:
    return {int(seed): float(value) for seed, value in values.items()}


def seeds_listed(arms: int) -> int:
    """The number of seeds with a column of their own in a table. trials.parquet has all; the page stays small."""
    return min(MOST_SEEDS_DRAWN, max(MOST_SEED_CELLS // max(arms, 1), 1))


def rows_table(shown: ArmRows, show: Callable[[float, int], str]) -> Table:
    """The numbers of the figure. show: a fraction and its decimals → text."""
    seeds = sorted({seed for row in shown.rows for seed in row.seeds})[: seeds_listed(len(shown.rows))]
    columns = [Column("value", "Estimate"), Column("low", "95 % from"), Column("high", "to")]
    columns += [Column(f"seed_{seed}", f"Seed {seed}") for seed in seeds]
    rows = []
    for row in shown.rows:
        values = [row.value, row.low, row.high, *[row.seeds.get(seed, math.nan) for seed in seeds]]
        rows.append((row.arm, [Cell(show(v / 100, shown.decimals), v) for v in values]))
    return number_table(columns, rows)


def draw_rows(
    shown: ArmRows, x: dict[str, Any], marks: Marks, unit: str, include: list[float], share: bool = False
) -> Figure:
    """unit: a hover template of x. include: values that the axis must hold besides those of the arms.
    share: x is a share in %, so the axis ends at 0 and 100."""
    rows = shown.rows
    held = [v for r in rows if not r.off_scale for v in (r.value, r.low, r.high, *r.seeds.values())]
    x["range"] = span([*include, *held], share)
    shapes, notes = marks
    left = {"x": 0, "xref": "paper", "xanchor": "left", "showarrow": False, "font": {"color": "@soft", "size": 12}}
    notes = notes + [
        {**left, "y": i, "text": f"◂ {row.value:.{shown.decimals}f} %, off the scale"}
        for i, row in enumerate(rows)
        if row.off_scale
    ]
    arms = [row.arm for row in rows]
    names = labels(arms)
    y, narrow = arm_axis(arms)
    colours = ["@soft" if r.faint else "@ink" if r.arm == shown.baseline else "@c1" for r in rows]
    drawn = {row.arm: list(row.seeds.items())[:MOST_SEEDS_DRAWN] for row in rows}
    # Seeds stand a little below the interval of their arm, so that neither hides the other.
    rings = scatter(
        "markers",
        numbers(value for row in rows for _, value in drawn[row.arm]),
        [i + 0.24 for i, row in enumerate(rows) for _ in drawn[row.arm]],
        customdata=[[names[row.arm], seed] for row in rows for seed, _ in drawn[row.arm]],
        hovertemplate=f"%{{customdata[0]}}<br>seed %{{customdata[1]}}: {unit}<extra></extra>",
        marker={
            "size": 6,
            "symbol": "circle-open",
            "color": [c for row, c in zip(rows, colours, strict=True) for _ in drawn[row.arm]],
        },
    )
    bars = [
        scatter("lines", numbers([row.low, row.high]), [i, i], hoverinfo="skip", line={"color": colour, "width": 2})
        for i, (row, colour) in enumerate(zip(rows, colours, strict=True))
        if math.isfinite(row.low)
    ]
    diamonds = scatter(
        "markers",
        numbers(row.value for row in rows),
        list(range(len(rows))),
        customdata=[[names[row.arm], _interval(row, shown.decimals)] for row in rows],
        hovertemplate=f"%{{customdata[0]}}<br>{unit} %{{customdata[1]}}<extra></extra>",
        marker={"size": 10, "symbol": "diamond", "color": colours},
    )
    data = [rings, *bars, diamonds]
    return figure(data, rows_height(len(rows)), narrow, xaxis=x, yaxis=y, shapes=shapes, annotations=notes)


def _interval(row: ArmRow, decimals: int) -> str:
    return f"[{row.low:.{decimals}f}, {row.high:.{decimals}f}]" if math.isfinite(row.low) else ""
