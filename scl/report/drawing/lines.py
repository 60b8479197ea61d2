"""Lines over the levels of a factor, with a mark and its interval at each level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scl import stats
from scl.report.blocks import Cell, Mark
from scl.report.formatting import DASH, fixed
from scl.report.theme import (
    COLOURS,
    DASHES,
    SYMBOLS,
    Figure,
    axis,
    figure,
    labels,
    numbers,
    scatter,
    span,
    teacher_line,
    zero_line,
)


@dataclass(frozen=True)
class Line:
    """A series over levels. at: the index of each point's level; means: one for each point, in the unit of the axis.

    colour: an index into the colours of the theme, −1 for the colour of the text. joined: a line joins the points.
    """

    name: str
    at: tuple[int, ...]
    means: tuple[stats.Mean, ...]
    colour: int = 0
    joined: bool = True


def line_style(colour: int) -> dict[str, str]:
    """Colour, dash and symbol of a series."""
    if colour < 0:
        return {"color": "@ink", "dash": "solid", "symbol": "circle"}
    return {
        "color": COLOURS[colour % len(COLOURS)],
        "dash": DASHES[colour % len(DASHES)],
        "symbol": SYMBOLS[(colour + 1) % len(SYMBOLS)],
    }


def line_key(colours: dict[str, int]) -> list[Mark]:
    """The key of a figure. colours: name of a series → its colour."""
    styles = {name: line_style(colour) for name, colour in colours.items()}
    return [Mark(name, style["color"], style["symbol"]) for name, style in styles.items()]


def line_cells(line: Line, levels: int) -> list[Cell]:
    """The numbers of a line, a cell a level: the mean ± the half-width of its interval."""
    by_level = dict(zip(line.at, line.means, strict=True))
    return [_mean_cell(by_level.get(i)) for i in range(levels)]


def _mean_cell(mean: stats.Mean | None) -> Cell:
    if mean is None or mean.n == 0:
        return Cell(DASH)
    half = mean.high - mean.mean
    return Cell(fixed(mean.mean, 2) + (f" ± {half:.2f}" if math.isfinite(half) else ""), mean.mean)


def draw_lines(
    lines: Sequence[Line],
    levels: Sequence[str],
    x_title: str,
    y_title: str,
    unit: str = "%",
    teacher: float = math.nan,
    zero: str = "",
) -> Figure:
    """levels: the names below the axis, evenly spaced. zero: the name of a line at 0; empty for no line."""
    names = labels([line.name for line in lines])
    ticks = labels(levels, 14)
    step = min(0.06, 0.4 / max(len(lines), 1))  # the lines are shifted so that no interval hides another
    data = []
    for i, line in enumerate(lines):
        style = line_style(line.colour)
        shift = step * (i - (len(lines) - 1) / 2)
        about = [[names[line.name], ticks[levels[at]], f"n = {m.n}"] for at, m in zip(line.at, line.means, strict=True)]
        hover = f"%{{customdata[0]}}<br>%{{customdata[1]}}: %{{y:.2f}} {unit}, %{{customdata[2]}}<extra></extra>"
        data.append(
            scatter(
                "lines+markers" if line.joined else "markers",
                [round(at + shift, 4) for at in line.at],
                numbers(m.mean for m in line.means),
                name=names[line.name],
                error_y=_bars(line, style["color"]),
                customdata=about,
                hovertemplate=hover,
                line={"color": style["color"], "dash": style["dash"], "width": 2},
                marker={"size": 9, "symbol": style["symbol"], "color": style["color"]},
            )
        )
    shapes, notes = teacher_line(teacher, vertical=False)
    if zero:
        line0, name0 = zero_line(zero, vertical=False)
        shapes, notes = shapes + line0, notes + name0
    held = [v for line in lines for m in line.means for v in (m.mean, m.low, m.high)]
    x = axis(
        x_title,
        tickmode="array",
        tickvals=list(range(len(levels))),
        ticktext=[ticks[level] for level in levels],
        range=[-0.35, len(levels) - 0.65],
        showgrid=False,
    )
    y = axis(y_title, range=span([*held, teacher, *([0.0] if zero else [])], share=unit == "%"))
    return figure(data, 380, xaxis=x, yaxis=y, shapes=shapes, annotations=notes)


def _bars(line: Line, colour: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": numbers(m.high - m.mean for m in line.means),
        "arrayminus": numbers(m.mean - m.low for m in line.means),
        "color": colour,
        "thickness": 1.3,
        "width": 3,
    }
