"""The look of the figures: colours as tokens that the page resolves for light, dark and print, layouts and labels.

A figure is a dict `{data, layout, narrow, arms, rows, columns}`: Plotly's two parts, the changes of the layout on a
narrow screen, and the arms of the traces and along the axes, so that the page can highlight them. Colours start with
"@" (`@ink`, `@c1`, …); page.css gives their values.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scl.report.formatting import isolated
from scl.report.names import shortened

Figure = dict[str, Any]
Marks = tuple[list[dict[str, Any]], list[dict[str, Any]]]  # shapes and annotations of a layout

COLOURS = ("@c1", "@c2", "@c3", "@c4", "@c5", "@c6")  # Okabe–Ito without its black and its yellow
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = (
    "circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down",
    "circle-open", "square-open", "diamond-open", "triangle-up-open",
)  # fmt: skip
WIDE, NARROW = 40, 16  # characters of a label in a figure


def literal(text: str) -> str:
    """The text as Plotly shows it letter by letter: its pseudo-HTML is escaped, its direction isolated."""
    return isolated(html.escape(text))


def labels(names: Iterable[str], most: int = WIDE) -> dict[str, str]:
    """Each name as a figure shows it: shortened by what these names have in common, literal, no two alike."""
    return {name: literal(text) for name, text in shortened(tuple(names), most).items()}


def series_style(i: int) -> dict[str, str]:
    """Colour, dash and symbol of series i; −1: the colour of the text. No two of 330 are alike, and of the first 55 no
    two without their colours."""
    if i < 0:
        return {"color": "@ink", "dash": "solid", "symbol": "circle"}
    colour, dash = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]
    return {"color": colour, "dash": dash, "symbol": SYMBOLS[(i + 1) % len(SYMBOLS)]}


def figure(
    data: list[dict[str, Any]],
    height: int,
    narrow: Mapping[str, Any] | None = None,
    legend: int = 0,
    top: int = 44,
    marks: Marks | None = None,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    **layout: Any,
) -> Figure:
    """A figure with the layout of this page, `height` pixels high without its legend.

    data: traces; `arm` of a trace is its arm, or a list with the arm of each point. narrow: dotted paths of the layout
    → values on a narrow screen. legend: the number of names in it, 0 for no legend. top: pixels above the drawing.
    marks: shapes and annotations. rows, columns: the arms at 0, 1, … of the y axis and of the x axis.
    """
    legend_rows, narrow_rows = math.ceil(legend / 3), legend
    # The legend starts 56 pixels below the axis; Plotly wants its place in heights of the drawing.
    place = {"x": 0, "xanchor": "left", "y": -56 / (height - 88), "yanchor": "top", "maxheight": 24 * narrow_rows + 10}
    base: dict[str, Any] = {
        "height": height + 22 * legend_rows,
        "margin": {"l": 8, "r": 16, "t": top, "b": 44},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "@soft", "activecolor": "@ink"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "@ink"},
        "hoverlabel": {"bgcolor": "@raised", "bordercolor": "@rule", "font": {"color": "@ink"}, "align": "left"},
        "hovermode": "closest",
        "showlegend": legend > 0,
        "legend": {"orientation": "h", **place, "itemwidth": 44, "tracegroupgap": 0, "font": {"size": 12}},
    }
    if marks is not None:
        base["shapes"], base["annotations"] = marks
    change = {"height": height + 22 * narrow_rows} if legend else {}
    drawn: Figure = {"data": [], "layout": {**base, **layout}, "narrow": {**change, **(narrow or {})}, "arms": []}
    for trace in data:
        add(drawn, trace)
    return drawn | {"rows": list(rows), "columns": list(columns)}


def add(drawn: Figure, trace: Mapping[str, Any]) -> None:
    """Draw one more trace, with its `arm` if it has one."""
    drawn["data"].append({key: value for key, value in trace.items() if key != "arm"})
    drawn["arms"].append(trace.get("arm"))


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"color": "@soft", "size": 13}, "standoff": 10},
        "gridcolor": "@grid",
        "linecolor": "@rule",
        "tickcolor": "@rule",
        "tickfont": {"color": "@soft"},
        "zeroline": False,
        "automargin": True,
        **more,
    }


def arm_axis(wide: Iterable[str], narrow: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A y axis with one row an arm, the first on top, and its changes on a narrow screen. wide, narrow: the labels.

    Positions are numbers, not names, so that names that look alike stay apart.
    """
    texts = list(wide)
    y = axis("", **ticks(texts), range=[len(texts) - 0.4, -0.6], showgrid=False, tickfont={"color": "@ink"})
    return y, {"yaxis.ticktext": list(narrow)}


def ticks(names: Iterable[str]) -> dict[str, Any]:
    """Names at the positions 0, 1, … of an axis."""
    texts = list(names)
    return {"tickmode": "array", "tickvals": list(range(len(texts))), "ticktext": texts}


Ends = tuple[float, float]  # the least and the most that a value can be
ANY: Ends = (-math.inf, math.inf)


def clipped(value: float, ends: Ends) -> float:
    """The value, or the end that it is beyond; NaN stays NaN."""
    return min(max(value, ends[0]), ends[1]) if math.isfinite(value) else value


def span(values: Iterable[float], ends: Ends = ANY) -> list[float] | None:
    """The range of an axis that holds the finite values, as far as they are within `ends`, with a margin; None without
    finite values."""
    finite = [clipped(v, ends) for v in values if math.isfinite(v)]
    if not finite:
        return None
    margin = 0.05 * (max(finite) - min(finite)) or 0.5
    return [min(finite) - margin, max(finite) + margin]


def rows_height(rows: int) -> int:
    return 112 + max(rows, 2) * (34 if rows <= 16 else 24)


def teacher_line(value: float, vertical: bool) -> Marks:
    """A dashed line across the figure at the teacher's value; empty if the value is not finite."""
    if not math.isfinite(value):
        return [], []
    return _line(value, vertical, {"color": "@teacher", "width": 1.5, "dash": "dash"}, "teacher", "@teacher")


def both(one: Marks, other: Marks) -> Marks:
    return one[0] + other[0], one[1] + other[1]


def zero_line(text: str, vertical: bool = True) -> Marks:
    """The line of no difference; text: what the values are compared with."""
    return _line(0.0, vertical, {"color": "@ink", "width": 1}, text, "@soft")


def bound_line(value: float, vertical: bool = True) -> Marks:
    """The line of a constraint on the x axis, whose right side breaks it, or else on the y axis."""
    return _line(value, vertical, {"color": "@bad", "width": 1.5, "dash": "dot"}, "constraint", "@bad")


def _line(value: float, vertical: bool, style: dict[str, Any], text: str, colour: str) -> Marks:
    along, across = ("x", "y") if vertical else ("y", "x")
    ends = {f"{along}0": value, f"{along}1": value, f"{across}0": 0, f"{across}1": 1, f"{across}ref": "paper"}
    place = {along: value, across: 1, f"{across}ref": "paper", "yanchor": "bottom"}
    place |= {} if vertical else {"xanchor": "right"}
    return [{"type": "line", **ends, "line": style}], [label(text, colour, **place)]


def label(text: str, colour: str, **place: Any) -> dict[str, Any]:
    """A text in the drawing; what it covers shines through."""
    look = {"font": {"color": colour, "size": 12}, "bgcolor": "@page/0.7"}
    return {"text": text, "showarrow": False, **look, **place}


def scatter(mode: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> dict[str, Any]:
    """A trace of points, lines or both; mode as Plotly names it."""
    return {"type": "scatter", "mode": mode, "x": x, "y": y, **more}


def markers(
    x: Sequence[Any], y: Sequence[Any], hover: str, size: int, symbol: str, color: Any, edge: float = 0, **more: Any
) -> dict[str, Any]:
    """A trace of points. hover: a template of the text on hover. edge: the width of an open symbol's line."""
    marker = {"size": size, "symbol": symbol, "color": color}
    if edge:
        marker["line"] = {"width": edge, "color": color}
    return {**scatter("markers", x, y, hovertemplate=f"{hover}<extra></extra>", marker=marker), **more}


def error_bars(above: Iterable[float], below: Iterable[float], colour: str, digits: int = 5) -> dict[str, Any]:
    """The bars of a trace: distances from its points to the ends of their intervals."""
    ends = {"array": numbers(above, digits), "arrayminus": numbers(below, digits)}
    return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.3, "width": 3, **ends}


def plotly_figure(drawn: Figure, theme: str = "light") -> Any:
    """A `plotly.graph_objects.Figure` of a figure of this package, for notebooks and custom pages.

    theme: `light` or `dark`, the colours of page.css.

    Raises:
        ModuleNotFoundError: Plotly is not installed.
    """
    import plotly.graph_objects as go

    page = {"paper_bgcolor": "@page", "plot_bgcolor": "@page"}
    found = coloured({"data": drawn["data"], "layout": {**drawn["layout"], **page}}, theme)
    return go.Figure(found["data"], found["layout"])


def coloured(drawn: Figure, theme: str = "light") -> Figure:
    """A figure with the colours of page.css in place of tokens. theme: `light` or `dark`."""
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", css)
    colours = dict(re.findall(r"--(\w+): ([^;]+);", blocks[0] if theme == "light" else blocks[0] + blocks[1]))

    def of(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: of(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [of(v, key) for v in value]
        if not key.endswith(("color", "colorscale")) or not str(value).startswith("@"):
            return value
        name, _, alpha = str(value)[1:].partition("/")
        if not alpha:
            return colours[name]
        r, g, b = (int(colours[name][i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({r},{g},{b},{alpha})"

    return of(drawn)


def numbers(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Values for JSON: rounded to more digits than a figure shows, None for NaN."""
    return [round(float(v), digits) if math.isfinite(v) else None for v in values]
