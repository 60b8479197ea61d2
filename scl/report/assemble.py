"""Panels → one self-contained HTML page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from scl.report.blocks import Mark, Panel, Plot, Rest
from scl.report.theme import plain, shorten

HERE = Path(__file__).parent

# Symbols of a key, in a box from −6 to 6; as Plotly draws them.
_SHAPES = {
    "circle": '<circle r="4.5" fill="currentColor"/>',
    "circle-open": '<circle r="4" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "square": '<rect x="-4.5" y="-4.5" width="9" height="9" fill="currentColor"/>',
    "diamond": '<path d="M0-6 6 0 0 6-6 0Z" fill="currentColor"/>',
    "triangle-up": '<path d="M0-5.5 5.5 4-5.5 4Z" fill="currentColor"/>',
    "triangle-down": '<path d="M0 5.5 5.5-4-5.5-4Z" fill="currentColor"/>',
    "cross": '<path d="M-2-5.5h4v3.5h3.5v4H2v3.5h-4V2h-3.5v-4H-2Z" fill="currentColor"/>',
    "x": '<path d="M-5-5 5 5M5-5-5 5" stroke="currentColor" stroke-width="3.5"/>',
    "x-thin": '<path d="M-4-4 4 4M4-4-4 4" stroke="currentColor" stroke-width="1.5"/>',
}


def page(title: str, panels: Sequence[Panel], question: str = "") -> str:
    """A page of these panels, in their order. title: shown small on top and in the window's title; question: large."""
    blocks = [block for panel in panels for block in panel.blocks]
    figures = {f"{b.id}-{i}": figure for b in blocks if isinstance(b, Plot) for i, figure in enumerate(b.figures)}
    rest = {b.table: _packed(b) for b in blocks if isinstance(b, Rest)}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["short"] = lambda name: shorten(plain(name))
    environment.filters["named"] = lambda name: shorten(plain(name), 60)
    environment.filters["shape"] = _shape
    seen = itertools.count(1)
    # A number tells regions with one label apart for those who hear them listed.
    environment.filters["unique"] = lambda table: f", table {next(seen)}"
    return environment.get_template("page.html.j2").render(
        title=title,
        question=question or title,
        panels=panels,
        figures=_script_json(figures),
        figure_count=len(figures),
        rest=_script_json(rest) if rest else "",
        style=Markup((HERE / "page.css").read_text()),
        script=Markup((HERE / "page.js").read_text()),
        plotly=Markup(get_plotlyjs()) if figures else "",
    )


def _shape(mark: Mark) -> Markup:
    return Markup(_SHAPES[mark.symbol])


def _packed(rest: Rest) -> dict[str, Any]:
    """Column by column: numbers with their format, to seven digits; texts as indices into the different ones."""
    columns = []
    for i, how in enumerate(rest.formats):
        cells = [row.cells[i] for row in rest.rows]
        if how is None:
            columns.append(_coded([c.shown for c in cells]))
        else:
            numbers = [None if c.exact == "" else float(f"{c.value:.7g}") for c in cells]
            whole = [None if v is None else int(v) if v.is_integer() else v for v in numbers]
            columns.append({"scale": how[0], "digits": how[1], "numbers": whole})
    return {
        "arms": _coded([row.arm for row in rest.rows]),
        "kinds": _coded([row.kind for row in rest.rows]),
        "columns": columns,
    }


def _coded(texts: Sequence[str]) -> dict[str, Any]:
    """One text is named once; where all differ, they stand as they are."""
    different = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    if len(different) > len(texts) / 2:
        return {"texts": list(texts)}
    return {"texts": list(different), "at": [different[text] for text in texts]}


def _script_json(value: Any) -> Markup:
    """JSON that may stand inside <script>: nothing in it can close the element or open a comment."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
