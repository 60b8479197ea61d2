"""All pairs of arms."""

from __future__ import annotations

import numpy as np
import pytest

from scl.report.blocks import Heading, Plot, Table
from scl.report.facts import Facts
from scl.report.formatting import format_seeds
from scl.report.questions import pairs
from scl.report.results import Results
from tests.support.pages import Page
from tests.support.synthetic import accuracy, gathered, make_store


def test_the_matrix_is_antisymmetric_and_counts_significant_pairs(plain: tuple[Page, str, Results]) -> None:
    facts = plain[2].facts
    shown = pairs.pair_matrix(facts)
    assert shown.difference == pytest.approx(-shown.difference.T, nan_ok=True)
    upper = np.triu_indices(len(shown.arms), 1)
    assert shown.pairs == len(upper[0]) == 10
    assert shown.significant == (shown.p[upper] < 0.05).sum() > 0
    i, j = shown.arms.index("kd"), shown.arms.index("baseline")
    assert shown.difference[i, j] == pytest.approx(100 * facts.contrasts["kd"].estimate)
    assert pairs.panel(facts).answer == f"{shown.significant} of 10 pairs differ significantly (Holm, 5 %)."


def test_only_significant_pairs_have_a_colour(plain: tuple[Page, str, Results]) -> None:
    shown = pairs.pair_matrix(plain[2].facts)
    (heat,) = pairs.draw_pair_matrix(shown)["data"]
    for i, row in enumerate(heat["z"]):
        for j, value in enumerate(row):
            assert value == (None if i == j else np.sign(shown.difference[i, j]) if shown.p[i, j] < 0.05 else 0)


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Arms at three heights, so that most pairs differ and some do not."""
    arms = [f"arm {i}" for i in range(40)]
    value = accuracy({arm: 0.03 * (i % 3) for i, arm in enumerate(arms)}, spread=0.004)
    return gathered(make_store(tmp_path_factory.mktemp("forty"), arms, range(4), value, epochs=1))


def test_with_many_arms_a_table_says_what_each_one_differs_from(forty: Facts) -> None:
    """The same as the matrix: its numbers are the rows and columns of the figure."""
    shown = pairs.pair_matrix(forty)
    panel = pairs.panel(forty)
    heading, standing, plot = panel.blocks
    assert heading == Heading("What each arm is shown to differ from")
    assert isinstance(standing, Table)
    assert isinstance(plot, Plot)
    assert [row.arm for row in standing.rows] == list(shown.arms)
    for i, row in enumerate(standing.rows):
        _, number, _, better, unclear, worse = row.cells
        assert number.value == i + 1
        for cell, side in ((better, 1), (unclear, 0), (worse, -1)):
            numbers = [j + 1 for j in range(40) if j != i and shown.shown[i, j] == side]
            assert cell.shown == (format_seeds(numbers) or "–")
    assert len(plot.table.rows) + len(plot.table.rest) == 40 * 39 // 2
    (figure,) = plot.figures
    assert figure["rows"] == figure["columns"] == list(shown.arms)
    texts = figure["layout"]["xaxis"]["ticktext"]
    assert [text for text in texts if text] == [str(i) for i in range(2, 41, 2)]


def test_few_arms_need_no_such_table(plain: tuple[Page, str, Results]) -> None:
    assert [type(block) for block in pairs.panel(plain[2].facts).blocks] == [Plot]
