"""Panels → one self-contained HTML page."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scl.report.appearance import Appearance
from scl.report.blocks import Cell, Panel, Plot, Table
from scl.report.csv_text import csv_attributes
from scl.report.formatting import plain
from scl.report.names import distinct, shortened
from scl.report.paper_figures import WIDTHS, for_page, saved
from scl.report.running import Running
from scl.report.tables import MOST_OF_A_NAME
from scl.report.theme import NARROW, WIDE, Figure

HERE = Path(__file__).parent
# One script: what a link and a reload keep; figures; tables; the list of arms; the rest of the page; saving figures.
SCRIPTS = ("state.js", "figures.js", "tables.js", "arms.js", "page.js", "export.js")
FEWEST_TO_PICK = 3  # arms of a page with a list to pick from

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
    "square-open": '<rect x="-4" y="-4" width="8" height="8" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "diamond-open": '<path d="M0-5 5 0 0 5-5 0Z" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "triangle-up-open": '<path d="M0-4.5 4.7 3.5-4.7 3.5Z" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "x-thin": '<path d="M-4-4 4 4M4-4-4 4" stroke="currentColor" stroke-width="1.5"/>',
}


def page(
    title: str,
    panels: Sequence[Panel],
    question: str = "",
    running: Running | None = None,
    appearance: Appearance | None = None,
) -> str:
    """A page of these panels, in their order. title: small on top and in the title of the window; question: large.
    running: what goes on; then the page loads itself again from time to time. appearance: of the arms, which the reader
    can pick then.

    Raises:
        ModuleNotFoundError: Jinja2 or Plotly is not installed. Plotly is needed only for figures.
    """
    arms = appearance.arms if appearance else ()
    blocks = [block for panel in panels for block in panel.blocks]
    plots = [block for block in blocks if isinstance(block, Plot)]
    at = {arm: i for i, arm in enumerate(arms)}
    figures = {f"{plot.id}-{i}": _placed(figure, at) for plot in plots for i, figure in enumerate(plot.figures)}
    files = saved(title, panels)
    names = _Names(arms)
    tables = [*(plot.table for plot in plots), *(block for block in blocks if isinstance(block, Table))]
    long = [table for table in tables if table.rest]
    rests = {id(table): f"rest-{i}" for i, table in enumerate(long)}
    rest = {rests[id(table)]: _packed(table, names) for table in long}
    listed = appearance if appearance and len(arms) >= FEWEST_TO_PICK else None
    seen = itertools.count(1)
    functions: dict[str, Callable[..., Any]] = {
        "csv_of": lambda table: csv_attributes(table, names.shown),
        "kind_of": lambda block: type(block).__name__,
        "title_of": lambda name: names.short(name, WIDE),
        "named": lambda name: names.short(name, MOST_OF_A_NAME),
        "shown": names.shown,
        "whole": names.whole,
        "rest_of": lambda table: rests.get(id(table), ""),
        "shape_of": lambda mark: _SHAPES[mark.symbol],
        # Screen readers list regions by label: a number makes each label unique.
        "unique": lambda table: f", table {next(seen)}",
    }
    return _template().render(
        **functions,
        title=title,
        question=question or title,
        panels=panels,
        running=running,
        figures=_script_json(figures),
        figure_count=len(figures),
        paper=_script_json(for_page(files)),
        widths=WIDTHS,
        rest=_script_json(rest) if rest else "",
        arms=_script_json(_listed(listed)) if listed else "",
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script="\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
        plotly=_plotly() if figures else "",
    )


@functools.cache
def _template() -> Any:
    """The page's template. Compiling it takes as long as a small page, and a run writes its page again and again."""
    import jinja2

    loader, undefined = jinja2.FileSystemLoader(HERE), jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, undefined=undefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2")


class _Names:
    """The names of arms, the same everywhere on a page."""

    def __init__(self, arms: Sequence[str]) -> None:
        self._whole = distinct(tuple(arms))
        self._short = {most: shortened(tuple(arms), most) for most in (WIDE, MOST_OF_A_NAME)}

    def short(self, name: str, most: int) -> str:
        return self._short[most].get(name) or shortened((name,), most)[name]

    def whole(self, name: str) -> str:
        """The whole name if `short` cuts it in a table, else ''."""
        text = self._whole.get(name) or plain(name)
        return text if name and text != self.short(name, MOST_OF_A_NAME) else ""

    def shown(self, cell: Cell) -> str:
        return self.short(cell.arm, MOST_OF_A_NAME) if cell.arm in self._whole else cell.shown


def _placed(figure: Figure, at: Mapping[str, int]) -> Figure:
    """The figure with places in the list of arms instead of names, −1 for a name that is no arm."""

    def place(of: Any) -> Any:
        if isinstance(of, list):
            return [at.get(arm, -1) for arm in of]
        return -1 if of is None else at.get(str(of), -1)

    return figure | {key: [place(of) for of in figure.get(key, ())] for key in ("arms", "rows", "columns")}


def _listed(appearance: Appearance) -> dict[str, Any]:
    """The list of arms: whole names, which links hold; short ones; names in the store if they are others; styles."""
    arms = appearance.arms
    whole, short = distinct(arms), shortened(arms, 2 * NARROW)
    styles = [appearance.style(arm) for arm in arms]
    return {
        "names": [whole[arm] for arm in arms],
        "short": {i: short[arm] for i, arm in enumerate(arms) if short[arm] != whole[arm]},
        "stored": {i: arm for i, arm in enumerate(arms) if arm != whole[arm]},
        "styles": _coded([" ".join(style.values()).lstrip("@") for style in styles]),
        "shapes": {name: _SHAPES[name] for name in sorted({style["symbol"] for style in styles})},
    }


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _packed(table: Table, names: _Names) -> dict[str, Any]:
    """The rest of a table column by column: numbers to seven digits with their format; texts as indices into the
    distinct ones, and nothing if they are the arms."""
    arms, kinds = _coded([row.arm for row in table.rest]), _coded([row.kind for row in table.rest])
    columns = []
    for i, how in enumerate(table.formats):
        cells = [row.cells[i] for row in table.rest]
        if how is None:
            coded = _coded([names.shown(c) for c in cells])
            columns.append({} if coded == arms else coded)
        else:
            numbers = [None if c.exact == "" else float(f"{c.value:.7g}") for c in cells]
            whole = [None if v is None else int(v) if v.is_integer() else v for v in numbers]
            columns.append({**asdict(how), "numbers": whole})
    return {"count": len(table.rest), "arms": arms, "kinds": kinds, "columns": columns}


def _coded(texts: Sequence[str]) -> dict[str, Any]:
    """Each distinct text once, with an index for each row; without it if most texts differ, or if all are the same."""
    places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    if len(places) == 1:
        return {"all": texts[0]}
    if len(places) > len(texts) / 2:
        return {"texts": list(texts)}
    return {"texts": list(places), "at": [places[text] for text in texts]}


def _script_json(value: Any) -> str:
    """JSON that is safe inside <script>: nothing in it can close the element or open a comment."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})
