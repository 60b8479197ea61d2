"""Panels → one self-contained HTML page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scl.report.blocks import Panel, Plot, Rest
from scl.report.csv_text import csv_attributes
from scl.report.formatting import plain, shorten
from scl.report.paper_figures import WIDTHS, for_page, saved
from scl.report.running import Running
from scl.report.theme import WIDE

HERE = Path(__file__).parent
SCRIPTS = ("page.js", "export.js")

# Symbols of a key as Plotly draws them, in a box from −6 to 6.
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


def page(title: str, panels: Sequence[Panel], question: str = "", running: Running | None = None) -> str:
    """A page of these panels, in their order. title: small on top and in the title of the window; question: large.
    running: what goes on; then the page loads itself again from time to time.

    Raises:
        ModuleNotFoundError: Jinja2 or Plotly is not installed. Plotly is needed only for figures.
    """
    import jinja2

    blocks = [block for panel in panels for block in panel.blocks]
    figures = {f"{b.id}-{i}": figure for b in blocks if isinstance(b, Plot) for i, figure in enumerate(b.figures)}
    files = saved(title, panels)
    rest = {b.table: _packed(b) for b in blocks if isinstance(b, Rest)}
    loader, undefined = jinja2.FileSystemLoader(HERE), jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, undefined=undefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    seen = itertools.count(1)
    filters: dict[str, Callable[..., Any]] = {
        "csv": csv_attributes,
        "kind": lambda block: type(block).__name__,
        "short": lambda name: shorten(plain(name), WIDE),
        "named": lambda name: shorten(plain(name), 60),
        "shape": lambda mark: _SHAPES[mark.symbol],
        # Screen readers list regions by label: a number makes each label unique.
        "unique": lambda table: f", table {next(seen)}",
    }
    environment.filters |= filters
    return environment.get_template("page.html.j2").render(
        title=title,
        question=question or title,
        panels=panels,
        running=running,
        figures=_script_json(figures),
        figure_count=len(figures),
        paper=_script_json(for_page(files)),
        widths=WIDTHS,
        rest=_script_json(rest) if rest else "",
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script="\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
        plotly=_plotly() if figures else "",
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _packed(rest: Rest) -> dict[str, Any]:
    """Column by column: numbers to seven digits with their format; texts as indices into the distinct ones."""
    columns = []
    for i, how in enumerate(rest.formats):
        cells = [row.cells[i] for row in rest.rows]
        if how is None:
            columns.append(_coded([c.shown for c in cells]))
        else:
            numbers = [None if c.exact == "" else float(f"{c.value:.7g}") for c in cells]
            whole = [None if v is None else int(v) if v.is_integer() else v for v in numbers]
            columns.append({"scale": how[0], "digits": how[1], "numbers": whole})
    arms, kinds = _coded([row.arm for row in rest.rows]), _coded([row.kind for row in rest.rows])
    return {"arms": arms, "kinds": kinds, "columns": columns}


def _coded(texts: Sequence[str]) -> dict[str, Any]:
    """Each distinct text once, with an index for each row; without the index if most texts differ."""
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    if len(distinct) > len(texts) / 2:
        return {"texts": list(texts)}
    return {"texts": list(distinct), "at": [distinct[text] for text in texts]}


def _script_json(value: Any) -> str:
    """JSON that is safe inside <script>: nothing in it can close the element or open a comment."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})
