"""The report of a study: one self-contained HTML page, tables and figures, built from the store alone.

results.py      a study in a notebook: its tables, verdict and figures     comparison.py    a page over several studies
facts.py        the numbers of a study, computed once                      paper_table.py   the main table for a paper
findings.py     the verdict in sentences                                   questions/       a module for each panel
limits.py       what to keep in mind beside it                             looks.py         the looks at a study
drift.py        gradients far from their share                             epochs.py        values by epoch
decision.py     what to use, and the box about it (decision_box.py)        tuning.py        what was tried for each arm
recipe.py       every setting in words                                     rebuilt.py       a study from its record
confused.py     classes that are taken for each other                      flips.py         images that an arm turns
registered.py   a declaration beside what came later
running.py      the bar of a run that goes on                              effort.py        device hours and energy
formatting.py   numbers and times as text                                  drawing/         drawings that panels share
names.py        short names, no two alike                                  theme.py         the look of the figures
factors.py      the factors of a design                                    appearance.py    the look of the arms
blocks.py       the parts of a panel                                       glossary.py      words and symbols
tables.py       cells and tables of numbers                                search/          the pictures of a search
csv_text.py     tables as CSV                                              latex_text.py    text as LaTeX
paper_figures.py  figures as files
assemble.py     panels → HTML: page.html.j2, page.css, and the scripts state.js (links, reloads, theme), figures.js,
                tables.js, arms.js (picking), page.js and export.js (saving figures)

A custom page: `reports/own_page.py`. Importing this package needs neither Plotly nor Jinja2; making a page needs both.
"""

from __future__ import annotations

from dataclasses import replace

from scl.report.assemble import page
from scl.report.blocks import Panel, Plot
from scl.report.facts import Facts, gather
from scl.report.formatting import plain
from scl.report.questions import PANELS
from scl.report.results import Results, load
from scl.report.running import running
from scl.report.tables import frame_table
from scl.report.theme import plotly_figure
from scl.store.files import Folder
from scl.store.results import Results as StoredResults
from scl.store.results import read_results

__all__ = [
    "PANELS",
    "Facts",
    "Panel",
    "Plot",
    "Results",
    "frame_table",
    "gather",
    "load",
    "page",
    "plotly_figure",
    "render",
    "write",
]


def write(store: Folder) -> None:
    """Build `report.html` from the store, in the store.

    Raises:
        ModuleNotFoundError: Jinja2 or Plotly is not installed.
    """
    store.write("report.html", render(read_results(store, coded=True)).encode())


def render(results: StoredResults) -> str:
    """The page as HTML. The same store gives the same page, byte by byte."""
    facts = results.facts if isinstance(results, Results) else gather(results)
    title, question = _titles(results)
    panels, goes_on = [panel(facts) for panel in PANELS], running(results.running)
    if goes_on:  # a verdict that sounds final misleads who reads nothing else
        first, *others = panels
        panels = [replace(first, title="Which arm leads so far?", answer=f"So far: {first.answer}"), *others]
    return page(title, panels, question, goes_on, facts.appearance)


def render_start(results: StoredResults) -> str:
    """The page of a run that has no results yet: what runs, and that the page will fill itself."""
    title, question = _titles(results)
    waiting = Panel("verdict", "Verdict", "No trial has ended yet. This page is written again as results arrive.")
    return page(title, [waiting], question, running(results.running))


def _titles(results: StoredResults) -> tuple[str, str]:
    """The study's name and question."""
    title = plain(results.study.get("study") or "study")
    return title, plain(results.study.get("question") or "What did this study find?")
