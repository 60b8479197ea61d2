"""How figures look: colours as tokens that the page resolves for light, dark and print, and labels as plain text.

A figure is a dict `{data, layout, narrow}`: Plotly's two parts, and what changes in the layout on a narrow screen.
Colours start with "@" (`@ink`, `@c1`, …); page.css gives their values.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Figure = dict[str, Any]

COLOURS = ("@c1", "@c2", "@c3", "@c4", "@c5", "@c6")  # Okabe–Ito, without its black and its yellow
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down")
WIDE, NARROW = 40, 16  # characters of a label in a figure


def plain(text: object) -> str:
    """The text on one line, without control characters: what may stand in HTML once it is escaped."""
    spaced = " ".join(str(text).split())
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in spaced)


def shorten(text: str, most: int = WIDE) -> str:
    """At most `most` characters; the middle goes, as names often differ at their ends."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail]}…{text[-tail:]}"


def isolated(text: str) -> str:
    """The text with its direction kept to itself: right-to-left names do not turn the sentence around them."""
    turns = any(unicodedata.bidirectional(c) in ("R", "AL", "AN", "RLE", "RLO", "RLI") for c in text)
    return f"\u2068{text}\u2069" if turns else text


def literal(text: str) -> str:
    """The text as Plotly shows it letter by letter: its pseudo-HTML escaped, its direction kept to itself."""
    return isolated(html.escape(text))


def labels(names: Iterable[str], most: int = WIDE) -> dict[str, str]:
    """Each name as a figure shows it: short, literal, and told apart by a number where shortening made twins."""
    out: dict[str, str] = {}
    seen: dict[str, int] = {}
    for name in names:
        short = shorten(plain(name), most)
        seen[short] = seen.get(short, 0) + 1
        out[name] = literal(short if seen[short] == 1 else f"{short} ({seen[short]})")
    return out


def styles(arms: Sequence[str], baseline: str) -> dict[str, dict[str, str]]:
    """Colour, dash and symbol of each arm; the baseline is drawn in ink. 84 arms pass before one repeats."""
    out = {baseline: {"color": "@ink", "dash": "solid", "symbol": "circle"}}
    for i, arm in enumerate(a for a in arms if a != baseline):
        out[arm] = {
            "color": COLOURS[i % len(COLOURS)],
            "dash": DASHES[i % len(DASHES)],
            "symbol": SYMBOLS[(i + 1) % len(SYMBOLS)],
        }
    return out


def figure(
    data: list[dict[str, Any]],
    height: int,
    narrow: Mapping[str, Any] | None = None,
    legend: int = 0,
    top: int = 44,
    **layout: Any,
) -> Figure:
    """A figure with this page's layout, `height` pixels high without its legend.

    narrow: dotted paths of the layout → values on a narrow screen. legend: how many names it holds, 0 for none.
    top: pixels above the drawing.
    """
    rows, narrow_rows = math.ceil(legend / 3), legend
    base: dict[str, Any] = {
        "height": height + 22 * rows,
        "margin": {"l": 8, "r": 16, "t": top, "b": 44},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "@soft", "activecolor": "@ink"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "@ink"},
        "hoverlabel": {"bgcolor": "@raised", "bordercolor": "@rule", "font": {"color": "@ink"}, "align": "left"},
        "hovermode": "closest",
        "showlegend": legend > 0,
        # The legend starts 56 pixels under the axis: its place is given in heights of the drawing.
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -56 / (height - 88),
            "yanchor": "top",
            "maxheight": 24 * narrow_rows + 10,
            "itemwidth": 44,
            "font": {"size": 12},
        },
    }
    change = {"height": height + 22 * narrow_rows} if legend else {}
    return {"data": data, "layout": {**base, **layout}, "narrow": {**change, **(narrow or {})}}


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


def arm_axis(arms: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A y axis with one row an arm, the first on top, and what changes on a narrow screen.

    Rows are numbered, not named: names that look alike stay apart.
    """
    wide, narrow = labels(arms), labels(arms, NARROW)
    y = axis(
        "",
        tickmode="array",
        tickvals=list(range(len(arms))),
        ticktext=[wide[arm] for arm in arms],
        range=[len(arms) - 0.4, -0.6],
        showgrid=False,
        tickfont={"color": "@ink"},
    )
    return y, {"yaxis.ticktext": [narrow[arm] for arm in arms]}


def span(values: Iterable[float], share: bool = False) -> list[float] | None:
    """A range of an axis that holds the finite values and some air; None where there are none.

    share: the values are shares in %, so that what an interval claims beyond 0 or 100 is not shown.
    """
    finite = [min(max(v, 0.0), 100.0) if share else v for v in values if math.isfinite(v)]
    if not finite:
        return None
    air = 0.05 * (max(finite) - min(finite)) or 0.5
    return [min(finite) - air, max(finite) + air]


def rows_height(rows: int) -> int:
    return 112 + max(rows, 2) * (34 if rows <= 16 else 24)


def line_at(value: float, text: str, vertical: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A dashed line across the figure with its name, as shapes and annotations; none where there is no value."""
    if not math.isfinite(value):
        return [], []
    along, across = ("x", "y") if vertical else ("y", "x")
    shape = {
        "type": "line",
        f"{along}0": value,
        f"{along}1": value,
        f"{across}0": 0,
        f"{across}1": 1,
        f"{across}ref": "paper",
        "line": {"color": "@teacher", "width": 1.5, "dash": "dash"},
    }
    place = {"x": value, "y": 1, "yref": "paper", "yanchor": "bottom"}
    if not vertical:
        place = {"x": 1, "xref": "paper", "y": value, "xanchor": "right", "yanchor": "bottom"}
    note = {**place, "text": text, "showarrow": False, "font": {"color": "@teacher", "size": 12}}
    return [shape], [note]


def plotly_figure(drawn: Figure, theme: str = "light") -> Any:
    """A `plotly.graph_objects.Figure` of a figure as this package draws it: for notebooks and pages of one's own.

    theme: `light` or `dark`, the colours of page.css.
    """
    import plotly.graph_objects as go

    css = (Path(__file__).parent / "page.css").read_text()
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", css)
    colours = dict(re.findall(r"--(\w+): ([^;]+);", blocks[0] if theme == "light" else blocks[0] + blocks[1]))

    def coloured(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: coloured(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [coloured(v, key) for v in value]
        if not key.endswith(("color", "colorscale")) or not str(value).startswith("@"):
            return value
        name, _, alpha = str(value)[1:].partition("/")
        colour = colours[name]
        if not alpha:
            return colour
        r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({r},{g},{b},{alpha})"

    page = {"paper_bgcolor": colours["page"], "plot_bgcolor": colours["page"]}
    return go.Figure(coloured(drawn["data"]), {**coloured(drawn["layout"]), **page})


def numbers(values: Iterable[float], digits: int = 5) -> list[float | None]:
    """Values as JSON takes them: rounded to more digits than a figure shows, None for NaN."""
    return [round(float(v), digits) if math.isfinite(v) else None for v in values]
