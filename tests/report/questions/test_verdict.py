"""The first panel: its cards and the accuracies behind them."""

from __future__ import annotations

import pytest
from scipy import stats as reference

from scl.report.blocks import Cards
from scl.report.questions import verdict
from scl.report.results import Results
from tests.support.pages import Page


def test_accuracies_are_means_with_students_intervals(plain: tuple[Page, str, Results]) -> None:
    facts = plain[2].facts
    shown = {row.arm: row for row in verdict.accuracies(facts).rows}
    for arm, row in shown.items():
        x = 100 * facts.scores[arm].dropna().to_numpy()
        low, high = reference.t.interval(0.95, len(x) - 1, x.mean(), reference.sem(x))
        assert (row.value, row.low, row.high) == pytest.approx((x.mean(), low, high), rel=1e-9)
    assert list(shown) == list(facts.scores.mean().sort_values(ascending=False).index)


def test_the_cards_are_about_the_winner(plain: tuple[Page, str, Results]) -> None:
    (cards,) = [block.cards for block in verdict.panel(plain[2].facts).blocks if isinstance(block, Cards)]
    by_label = {card.label: card for card in cards}
    assert by_label["Test accuracy"].note == "mean of channel+spatial"
    assert by_label["Seeds"].note == "22 of 25 trials completed"
    assert {"Minus the baseline", "Minus the teacher", "Smallest detectable effect"} <= set(by_label)
