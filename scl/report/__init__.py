"""The report of a study: one self-contained HTML page, built from the store alone.

facts.py     what a page says, computed once          figures/       numbers, and their drawings
words.py     numbers as words, and the verdict        panels/        the panels of a study's page, a function each
export.py    the main table for a paper               between.py     a page over several studies
blocks.py    what a panel is made of                  assemble.py    panels → HTML (page.html.j2, page.css, page.js)

A page of your own: `reports/own_page.py`.
"""

from __future__ import annotations

import pandas as pd

from scl import results
from scl.report import facts, words
from scl.report.assemble import page
from scl.report.blocks import Panel, Plot, frame_table
from scl.report.facts import Facts, gather
from scl.report.panels import PANELS
from scl.report.theme import plain, plotly_figure
from scl.storage import Folder

__all__ = [
    "Facts",
    "Panel",
    "Plot",
    "frame_table",
    "gather",
    "page",
    "plotly_figure",
    "render",
    "summary",
    "verdict",
    "write",
]


def write(store: Folder) -> None:
    """Build `report.html` from what the store holds."""
    store.write("report.html", render(results.read(store)).encode())


def verdict(study: results.Results) -> str:
    """Which arm won, by how much and how surely, in one sentence of plain text; before it, in another, the answer to
    what was declared before the run, where something was."""
    facts = gather(study)
    return "\n".join(text for text in (words.goal(facts), words.verdict(facts)) if text)


def summary(study: results.Results) -> pd.DataFrame:
    """The main table as numbers, a row an arm; columns as in `facts.summary`."""
    return facts.summary(gather(study))


def render(study: results.Results) -> str:
    """The page. The same store gives the same page, byte by byte."""
    gathered = gather(study)
    title = plain(study.study.get("study") or "study")
    question = plain(study.study.get("question") or "What did this study find?")
    return page(title, [panel(gathered) for panel in PANELS], question)
