"""Lines over the levels of a factor, a mark with its interval at each level. Several figures are drawn so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scl import stats
from scl.report.theme import COLOURS, DASHES, SYMBOLS, Figure, axis, figure, labels, line_at, numbers, span


@dataclass(frozen=True)
class Line:
    """A series over levels. at: index of each point's level; means: one a point, in the unit of the axis.

    colour: which of the theme's colours, -1 for the text's. joined: whether a line joins the points.
    """

    name: str
    at: tuple[int, ...]
    means: tuple[stats.Mean, ...]
    colour: int = 0
    joined: bool = True


def look(colour: int) -> dict[str, str]:
    """Colour, dash and symbol of a series; the text's colour for -1."""
    if colour < 0:
        return {"color": "@ink", "dash": "solid", "symbol": "circle"}
    return {
        "color": COLOURS[colour % len(COLOURS)],
        "dash": DASHES[colour % len(DASHES)],
        "symbol": SYMBOLS[(colour + 1) % len(SYMBOLS)],
    }


def draw_lines(
    lines: Sequence[Line],
    levels: Sequence[str],
    x_title: str,
    y_title: str,
    unit: str = "%",
    teacher: float = math.nan,
    zero: str = "",
    height: int = 380,
) -> Figure:
    """levels: the names under the axis, evenly spaced. zero: the name of a line at 0, if one is drawn."""
    names = labels([line.name for line in lines])
    ticks = labels(levels, 14)
    step = min(0.06, 0.4 / max(len(lines), 1))  # apart, so that no interval hides another
    data: list[dict[str, Any]] = []
    for i, line in enumerate(lines):
        style = look(line.colour)
        shift = step * (i - (len(lines) - 1) / 2)
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if line.joined else "markers",
                "name": names[line.name],
                "x": [round(at + shift, 4) for at in line.at],
                "y": numbers(m.mean for m in line.means),
                "error_y": _bars(line, style["color"]),
                "customdata": [
                    [names[line.name], ticks[levels[at]], f"n = {m.n}"]
                    for at, m in zip(line.at, line.means, strict=True)
                ],
                "hovertemplate": f"%{{customdata[0]}}<br>%{{customdata[1]}}: %{{y:.2f}} {unit}, "
                "%{customdata[2]}<extra></extra>",
                "line": {"color": style["color"], "dash": style["dash"], "width": 2},
                "marker": {"size": 9, "symbol": style["symbol"], "color": style["color"]},
            }
        )
    shapes, notes = line_at(teacher, "teacher", vertical=False)
    if zero:
        line0 = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 0, "y1": 0}
        shapes.append({**line0, "line": {"color": "@ink", "width": 1}})
        place = {"x": 1, "xref": "paper", "xanchor": "right", "y": 0, "yanchor": "bottom", "showarrow": False}
        notes.append({**place, "text": zero, "font": {"color": "@soft", "size": 12}})
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
    return figure(data, height, xaxis=x, yaxis=y, shapes=shapes, annotations=notes)


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
