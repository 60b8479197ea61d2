"""The results of a study in a notebook."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scl import report
from scl.errors import UserError
from scl.report.blocks import Plot
from scl.report.questions import PANELS
from scl.report.results import Results, load
from scl.report.theme import plotly_figure
from scl.store import results as stored
from scl.store.files import Folder
from tests.support.pages import NASTY, Page
from tests.support.synthetic import ARMS, make_search_store, make_store


def test_summary_has_a_row_an_arm(plain: tuple[Page, str, Results]) -> None:
    frame = plain[2].summary()
    assert list(frame["arm"]) == ARMS
    assert math.isnan(frame.loc[0, "difference"])
    assert frame.loc[4, "difference_low"] > 0


def test_load_gives_the_rows_of_the_store(tmp_path: Path) -> None:
    make_store(tmp_path, ARMS[:2], range(2))
    results, rows = load(str(tmp_path)), stored.load(str(tmp_path))
    assert results.trials.equals(rows.trials)
    assert results.epochs.equals(rows.epochs)
    assert (results.study, results.damaged) == (rows.study, rows.damaged)
    assert repr(results) == "<Results of 'ablation': 4 trials, 4 completed>"
    with pytest.raises(UserError, match="no results in"):
        load(str(tmp_path / "none"))


@pytest.mark.parametrize(
    "make", [lambda folder: make_store(folder, ARMS, states={(ARMS[1], 0): "failed"}), make_search_store]
)
def test_the_page_is_that_of_results_that_are_read_as_a_user_reads_them(
    make: Callable[[Path], Folder], tmp_path: Path
) -> None:
    """A page is written from ids of epochs that are codes, because they take less memory."""
    store = make(tmp_path / "store")
    report.write(store)
    assert store.read("report.html").decode() == report.render(stored.read_results(store))


def test_every_figure_of_the_page_has_a_name_and_a_number(plain: tuple[Page, str, Results]) -> None:
    results = plain[2]
    drawn = 0
    for make in PANELS:
        panel = make(results.facts)
        plots = [block for block in panel.blocks if isinstance(block, Plot)]
        figures = [figure for plot in plots for figure in plot.figures]
        for number, figure in enumerate(figures):
            assert results.figure(panel.id, number) == plotly_figure(figure)
        for plot in plots:
            # A panel and a plot of one name start with the same figure.
            assert results.figure(plot.id) == plotly_figure(plot.figures[0])
        drawn += len(figures)
    assert drawn == len(plain[0].figures())
    assert results.figure("against_baseline") == results.figure("differences")
    assert results.figure("verdict", theme="dark") != results.figure("verdict")


def test_mistakes_name_what_is_valid(plain: tuple[Page, str, Results]) -> None:
    results = plain[2]
    for wrong, message in (
        (
            {"name": "verdikt"},
            r"unknown figure 'verdikt' \(did you mean 'verdict'\?\); valid: verdict, accuracy, .*seeds",
        ),
        ({"name": "search"}, "'search' has no figure in this study: This study ran no search"),
        ({"name": "table"}, "'table' has no figure"),
        ({"name": "seeds", "number": 2}, "number must be 0 to 1 for 'seeds', got 2"),
        ({"name": "seeds", "number": -1}, "number must be 0 to 1"),
        ({"name": "seeds", "theme": "grey"}, "unknown theme 'grey'"),
    ):
        with pytest.raises(UserError, match=message):
            results.figure(**wrong)  # type: ignore[arg-type]


def test_a_notebook_shows_verdict_and_table_with_every_name_escaped(tmp_path: Path) -> None:
    make_store(tmp_path, NASTY, range(3))
    results = load(str(tmp_path))
    shown = Page(results._repr_html_())
    assert not {"img", "b", "i", "script"} & {tag for tag, _ in shown.tags}
    assert results.verdict() in shown.text
    assert shown.text.count("95 % interval") >= 2
    assert [tag for tag, _ in shown.tags].count("tr") == 2 + len(NASTY)


def test_numbers_and_words_need_neither_plotly_nor_jinja(tmp_path: Path) -> None:
    make_store(tmp_path, ARMS, range(2))
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["plotly", "jinja2", "optuna"]))
from scl import report
results = report.load({str(tmp_path)!r})
results.summary(), results.verdict(), results._repr_html_()
try:
    results.figure("verdict")
except ModuleNotFoundError as error:
    print(error.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("plotly")
