"""All pairs of arms."""

from __future__ import annotations

import numpy as np
import pytest

from scl.report.questions import pairs
from scl.report.results import Results
from tests.support.pages import Page


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
