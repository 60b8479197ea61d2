"""Lines over the levels of a factor, with a mark and its interval at each level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scl import stats
from scl.report import theme
from scl.report.blocks import Cell, Mark
from scl.report.tables import interval_cell
from scl.report.theme import ANY, Ends, Figure, axis, clipped, labels, numbers, series_style


@dataclass(frozen=True)
class Line:
    """A series over levels. at: the index of each point's level; means: one for each point, in the unit of the axis.

    colour: an index into the colours of the theme, −1 for the colour of the text. joined: a line joins the points.
    arms: of each point; empty if points are no single arms.
    """

    name: str
    at: tuple[int, ...]
    means: tuple[stats.Mean, ...]
    colour: int = 0
    joined: bool = True
    arms: tuple[str, ...] = ()


def line_key(colours: dict[str, int]) -> list[Mark]:
    """The key of a figure. colours: name of a series → its colour."""
    styles = {name: series_style(colour) for name, colour in colours.items()}
    return [Mark(name, style["color"], style["symbol"]) for name, style in styles.items()]


def line_cells(line: Line, levels: int, decimals: int) -> list[Cell]:
    """The numbers of a line, a cell a level: the mean and its interval."""
    by_level = {i: (mean.mean, mean.low, mean.high) for i, mean in zip(line.at, line.means, strict=True)}
    return [interval_cell(*by_level.get(i, (math.nan,) * 3), decimals) for i in range(levels)]


def draw_lines(
    lines: Sequence[Line],
    levels: Sequence[str],
    x_title: str,
    y_title: str,
    unit: str = "%",
    teacher: float = math.nan,
    zero: str = "",
    ends: Ends = ANY,
) -> Figure:
    """levels: the names below the axis, evenly spaced. zero: the name of a line at 0; empty for no line. ends: the
    least and the most that a value can be, where the bars end."""
    names = labels([line.name for line in lines])
    ticks = labels(levels, 14)
    step = min(0.06, 0.4 / max(len(lines), 1))  # the lines are shifted so that no interval hides another
    data = []
    for i, line in enumerate(lines):
        colour, dash, symbol = series_style(line.colour).values()
        shift = step * (i - (len(lines) - 1) / 2)
        x, y = [round(at + shift, 4) for at in line.at], numbers(m.mean for m in line.means)
        about = [[names[line.name], ticks[levels[at]], f"n = {m.n}"] for at, m in zip(line.at, line.means, strict=True)]
        hover = f"%{{customdata[0]}}<br>%{{customdata[1]}}: %{{y:.2f}} {unit}, %{{customdata[2]}}"
        trace = theme.markers(x, y, hover, 9, symbol, colour, name=names[line.name], customdata=about)
        trace["mode"] = "lines+markers" if line.joined else "markers"
        trace["line"] = {"color": colour, "dash": dash, "width": 2}
        spans = [(m.mean, *_within(m, ends)) for m in line.means]
        bars = [high - mean for mean, _, high in spans], [mean - low for mean, low, _ in spans]
        data.append({**trace, "error_y": theme.error_bars(*bars, colour), "arm": list(line.arms) or None})
    marks = theme.teacher_line(teacher, vertical=False)
    if zero:
        marks = theme.both(marks, theme.zero_line(zero, vertical=False))
    held = [v for line in lines for m in line.means for v in (m.mean, *_within(m, ends))]
    places = theme.ticks(ticks[level] for level in levels)
    x_axis = axis(x_title, **places, range=[-0.35, len(levels) - 0.65], showgrid=False)
    y_axis = axis(y_title, range=theme.span([*held, teacher, *([0.0] if zero else [])]))
    return theme.figure(data, 380, xaxis=x_axis, yaxis=y_axis, marks=marks)


def _within(mean: stats.Mean, ends: Ends) -> tuple[float, float]:
    return clipped(mean.low, ends), clipped(mean.high, ends)
