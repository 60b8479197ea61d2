"""The figures of a page as files for a paper: in light colours, as wide as a column or a page, each by its own name.

The page's script draws them from the same changes (`changes`), so that a file saved by a click equals one that
`scl report STORE --figures DIR` writes.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scl.errors import RunFailed, UserError
from scl.report import paper_table
from scl.report.blocks import Panel, Plot
from scl.report.csv_text import table_csv
from scl.report.facts import Facts
from scl.report.formatting import plain
from scl.report.theme import Figure, coloured, labels, literal
from scl.store.output import file_name


@dataclass(frozen=True)
class Width:
    """pixels: the width at which a figure is drawn. words: what it is for."""

    pixels: int
    words: str


# 420 pixels on a column of 88 mm show letters of 12 to 13 pixels as 7 to 8 points.
WIDTHS = {"column": Width(420, "one column"), "page": Width(680, "a page")}
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
DENSITY = 3  # pixels of a PNG for each of the figure: 364 to the inch on a column
DRAWN, WRITTEN = ("svg", "pdf", "png"), ("csv", "tex")
FORMATS = (*DRAWN, *WRITTEN)


@dataclass(frozen=True)
class Saved:
    """One figure of a plot. id: as the page names it. file, table: names without suffixes, of its file and of that of
    its plot's numbers."""

    id: str
    file: str
    table: str
    plot: Plot
    number: int

    @property
    def figure(self) -> Figure:
        return self.plot.figures[self.number]

    @property
    def title(self) -> str:
        """The heading of a small multiple, or nothing."""
        return self.plot.titles[self.number] if self.number < len(self.plot.titles) else ""


def saved(study: str, panels: Sequence[Panel]) -> list[Saved]:
    """Every figure of these panels, `STUDY-PLOT` or, of several in one plot, `STUDY-PLOT-TITLE`."""
    taken: set[str] = set()

    def free(text: str) -> str:
        name = base = file_name(text)
        while name.lower() in taken:  # some disks do not tell capitals apart
            name = f"{base}-{len(taken)}"
        taken.add(name.lower())
        return name

    out = []
    for plot in [block for panel in panels for block in panel.blocks if isinstance(block, Plot)]:
        table = free(f"{study}-{plot.id}")
        for i in range(len(plot.figures)):
            title = plot.titles[i] if i < len(plot.titles) else str(i + 1)
            file = table if len(plot.figures) == 1 else free(f"{study}-{plot.id}-{title}")
            out.append(Saved(f"{plot.id}-{i}", file, table, plot, i))
    return out


def changes(one: Saved, width: str) -> dict[str, Any]:
    """What a figure for a paper has beside that of the page: `traces`, the key of its plot as names of a legend, and
    `layout`, dotted paths → values, after those of `narrow` in a column."""
    about, base = WIDTHS[width], one.figure
    layout: dict[str, Any] = {"width": about.pixels, "font.family": FONT, "modebar.remove": "toimage"}
    layout |= {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}
    height, names_a_row = base["layout"]["height"], 3
    if width == "column" and "height" in base["narrow"]:
        height, names_a_row = base["narrow"]["height"], 1
    named = [trace for trace in base["data"] if trace.get("name") and trace.get("showlegend", True)]
    hidden = sum(map(is_hidden, named))
    if hidden:  # the height counts their names, in rows of a legend as theme.figure makes them
        height -= 22 * (math.ceil(len(named) / names_a_row) - math.ceil((len(named) - hidden) / names_a_row))
    above = 26 if one.title else 0  # the screen leaves room for buttons
    layout["margin.t"] = 26 + above
    height += layout["margin.t"] - base["layout"]["margin"]["t"]
    if one.title:
        place = {"x": 0.02, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 8}}
        layout["title"] = {"text": literal(plain(one.title)), "font": {"size": 13}, **place}
    traces = []
    if one.plot.key:
        names = labels([mark.name for mark in one.plot.key])
        for mark in one.plot.key:
            look = {
                "color": mark.colour,
                "symbol": mark.symbol,
                "size": 9,
                "line": {"color": mark.colour, "width": 1.5},
            }
            point = {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "marker": look}
            traces.append({**point, "name": names[mark.name], "showlegend": True, "hoverinfo": "skip"})
        longest = max(map(len, names.values()))
        rows = math.ceil(len(traces) / max(1, (about.pixels - 30) // round(46 + 6.2 * longest)))
        place = {"orientation": "h", "x": 0, "xanchor": "left", "y": -56 / (height - 88), "yanchor": "top"}
        layout |= {"showlegend": True, "legend": {**place, "font": {"size": 12}, "maxheight": 24 * rows + 10}}
        height += 12 + 20 * rows
    return {"traces": traces, "layout": {**layout, "height": height}}


def is_hidden(trace: Mapping[str, Any]) -> bool:
    """Whether a reader of the page has to click a name to see a trace, which a file cannot offer."""
    return trace.get("visible") == "legendonly"


def for_page(figures: Sequence[Saved]) -> dict[str, Any]:
    """What the page's script needs to save these figures: `figures`, by id the names of their files and, for each
    width, their changes with an index into `traces`, because plots share their keys."""
    pool: dict[str, int] = {}
    out: dict[str, Any] = {}
    for one in figures:
        out[one.id] = {"file": one.file, "table": one.table}
        for width in WIDTHS:
            change = changes(one, width)
            key = json.dumps(change["traces"])
            out[one.id][width] = {**change, "traces": pool.setdefault(key, len(pool))}
    return {"figures": out, "traces": [json.loads(key) for key in pool]}


def for_paper(one: Saved, width: str) -> dict[str, Any]:
    """The figure as Plotly draws it, with its colours."""
    figure, change = copy.deepcopy(one.figure), changes(one, width)
    data, layout = [trace for trace in figure["data"] if not is_hidden(trace)], figure["layout"]
    if change["traces"]:
        data = [{**trace, "showlegend": False} for trace in data] + change["traces"]
    for path, value in [*(figure["narrow"].items() if width == "column" else ()), *change["layout"].items()]:
        *outer, last = path.split(".")
        inner = layout
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return coloured({"data": data, "layout": layout})


def texts(facts: Facts, figures: Sequence[Saved], formats: Sequence[str]) -> dict[str, str]:
    """The numbers of each plot and the main table as CSV, and the main table as LaTeX: name of the file → text."""
    out: dict[str, str] = {}
    if "csv" in formats:
        out |= {f"{one.table}.csv": table_csv(one.plot.table) for one in figures}
        out[f"{paper_table.file(facts)}.csv"] = paper_table.comma_separated(facts)
    if "tex" in formats:
        out[f"{paper_table.file(facts)}.tex"] = paper_table.latex(facts)
    return out


def drawn(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Figures as images. figures: name of the file, whose suffix is one of DRAWN → the figure as Plotly draws it.

    Chrome or Chromium draws them, with the plotly.js of the installed Plotly; nothing comes from the network.

    Raises:
        UserError: Kaleido, or Chrome, is not there.
        RunFailed: Chrome ends, or takes more than a minute and a half for a figure.
    """
    try:
        import kaleido
        from kaleido.errors import ChromeNotFoundError, KaleidoError
    except ImportError:
        raise UserError(
            f"{', '.join(DRAWN)} need Kaleido, which draws figures with Chrome or Chromium: install the extra "
            "`figures` (uv sync --inexact --extra figures, or pip install 'kaleido>=1.0'). Without it, the page "
            f"saves figures by a click, and --formats {','.join(WRITTEN)} writes the numbers"
        ) from None

    async def draw() -> dict[str, bytes]:
        out = {}
        async with kaleido.Kaleido(mathjax=False) as chrome:
            for name, figure in figures.items():
                form, layout = name.rpartition(".")[2], figure["layout"]
                size = {"width": layout["width"], "height": layout["height"], "scale": DENSITY if form == "png" else 1}
                out[name] = await chrome.calc_fig(dict(figure), opts={"format": form, **size})
        return out

    try:
        return asyncio.run(draw())
    except ChromeNotFoundError:
        raise UserError(
            "no Chrome or Chromium was found, which draws the figures: install one, or name it, as in "
            f"BROWSER_PATH=/usr/bin/chromium. Without one, --formats {','.join(WRITTEN)} writes the numbers, and the "
            "page saves figures by a click"
        ) from None
    except (KaleidoError, TimeoutError, RuntimeError, OSError) as error:
        raise RunFailed(
            f"Chrome did not draw the figures ({type(error).__name__}: {error}); try again, name another one with "
            "BROWSER_PATH, or save figures on the page by a click"
        ) from error
