"""Rows of arms: a mark with its interval and a ring a seed, one under another. Several figures are drawn so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scl.report.theme import Figure, arm_axis, figure, labels, numbers, rows_height, span

MOST_SEEDS_DRAWN = 30


@dataclass(frozen=True)
class ArmRow:
    """One arm of a figure: a mark, its interval, and the seeds behind it (seed → value), all in one unit.

    faint: left out of the comparison. off_scale: the axis does not stretch to it.
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
    """rows: the best on top. beyond: how many lower arms are not among them.

    line: the teacher's accuracy. band: the smallest effect seen, or NaN.
    """

    rows: tuple[ArmRow, ...]
    baseline: str
    decimals: int
    beyond: int
    line: float = math.nan
    band: float = math.nan


def draw_rows(
    shown: ArmRows,
    x: dict[str, Any],
    shapes: list[dict[str, Any]],
    notes: list[dict[str, Any]],
    unit: str,
    also: list[float],
    share: bool = False,
) -> Figure:
    """unit: a hover template of x. also: values that the axis must hold beside the arms'.
    share: x is a share in %, which ends at 0 and 100."""
    rows = shown.rows
    held = [v for r in rows if not r.off_scale for v in (r.value, r.low, r.high, *r.seeds.values())]
    x["range"] = span([*also, *held], share)
    aside = {"x": 0, "xref": "paper", "xanchor": "left", "showarrow": False}
    aside["font"] = {"color": "@soft", "size": 12}
    notes = notes + [
        {**aside, "y": i, "text": f"◂ {row.value:.{shown.decimals}f} %, off the scale"}
        for i, row in enumerate(rows)
        if row.off_scale
    ]
    arms = [row.arm for row in rows]
    names = labels(arms)
    y, narrow = arm_axis(arms)
    colours = ["@soft" if r.faint else "@ink" if r.arm == shown.baseline else "@c1" for r in rows]
    drawn = {row.arm: list(row.seeds.items())[:MOST_SEEDS_DRAWN] for row in rows}
    # Seeds stand a little under their arm's interval, so that neither hides the other.
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(value for row in rows for _, value in drawn[row.arm]),
        "y": [i + 0.24 for i, row in enumerate(rows) for _ in drawn[row.arm]],
        "customdata": [[names[row.arm], seed] for row in rows for seed, _ in drawn[row.arm]],
        "hovertemplate": f"%{{customdata[0]}}<br>seed %{{customdata[1]}}: {unit}<extra></extra>",
        "marker": {
            "size": 6,
            "symbol": "circle-open",
            "color": [c for row, c in zip(rows, colours, strict=True) for _ in drawn[row.arm]],
        },
    }
    bars = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": numbers([row.low, row.high]),
            "y": [i, i],
            "hoverinfo": "skip",
            "line": {"color": colour, "width": 2},
        }
        for i, (row, colour) in enumerate(zip(rows, colours, strict=True))
        if math.isfinite(row.low)
    ]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(row.value for row in rows),
        "y": list(range(len(rows))),
        "customdata": [[names[row.arm], _interval(row, shown.decimals)] for row in rows],
        "hovertemplate": f"%{{customdata[0]}}<br>{unit} %{{customdata[1]}}<extra></extra>",
        "marker": {"size": 10, "symbol": "diamond", "color": colours},
    }
    height = rows_height(len(rows))
    return figure([dots, *bars, marks], height, narrow, xaxis=x, yaxis=y, shapes=shapes, annotations=notes)


def _interval(row: ArmRow, decimals: int) -> str:
    return f"[{row.low:.{decimals}f}, {row.high:.{decimals}f}]" if math.isfinite(row.low) else ""


def zero_line(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The line of no difference with its name, as shapes and annotations."""
    line = {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": "@ink", "width": 1}}
    place = {"x": 0, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
    return [line], [{**place, "text": text, "font": {"color": "@soft", "size": 12}}]
