"""The report of a study: one self-contained HTML page, built from the store alone.

facts.py     what the page says, computed once
words.py     numbers as words, and the verdict
compare.py   figures that compare arms; training.py figures of training
records.py, panels.py   the panels, a function each
page.html.j2, page.css, page.js   the page
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from scl import results
from scl.report import facts, words
from scl.report.blocks import Plot
from scl.report.panels import PANELS
from scl.report.theme import plain, shorten
from scl.storage import Folder

__all__ = ["render", "summary", "verdict", "write"]

HERE = Path(__file__).parent


def write(store: Folder) -> None:
    """Build `report.html` from what the store holds."""
    store.write("report.html", render(results.read(store)).encode())


def verdict(study: results.Results) -> str:
    """Which arm won, by how much and how surely, in one sentence of plain text."""
    return words.verdict(facts.gather(study))


def summary(study: results.Results) -> pd.DataFrame:
    """The main table as numbers, a row an arm; columns as in `facts.summary`."""
    return facts.summary(facts.gather(study))


def render(study: results.Results) -> str:
    """The page. The same store gives the same page, byte by byte."""
    gathered = facts.gather(study)
    panels = [panel(gathered) for panel in PANELS]
    plots = [block for panel in panels for block in panel.blocks if isinstance(block, Plot)]
    figures = {f"{plot.id}-{i}": figure for plot in plots for i, figure in enumerate(plot.figures)}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["short"] = lambda name: shorten(plain(name))
    return environment.get_template("page.html.j2").render(
        study=study.study,
        panels=panels,
        figures=_script_json(figures),
        figure_count=len(figures),
        style=Markup((HERE / "page.css").read_text()),
        script=Markup((HERE / "page.js").read_text()),
        plotly=Markup(get_plotlyjs()) if figures else "",
    )


def _script_json(value: Any) -> Markup:
    """JSON that may stand inside <script>: nothing in it can close the element or open a comment."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
