"""Early stopping: the best epoch, and when a trial is out of patience."""

from __future__ import annotations

from typing import Any

import pytest

from scl.study.config import Config
from scl.study.term import Term
from scl.train.patience import best_row, out_of_patience

PRETRAIN: dict[str, Any] = {"losses": {"fsp": Term(1.0, stage="pretrain")}, "pretrain_epochs": 2}


def rows(*accuracies: float | None) -> list[dict[str, Any]]:
    values = [{} if a is None else {"val_acc": a} for a in accuracies]
    return [{"epoch": i, **value} for i, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("fields", "accuracies", "best", "ended"),
    [
        ({}, (0.1, 0.5, 0.2), 2, False),
        ({"patience": 1}, (0.1, 0.5), 2, False),
        ({"patience": 1}, (0.1, 0.5, 0.5), 2, True),  # an equal one is no better
        ({"patience": 2}, (0.1, 0.5, 0.4), 2, False),
        ({"patience": 2}, (0.1, 0.5, 0.4, 0.5), 2, True),
        ({"patience": 2}, (0.1, 0.5, 0.4, 0.6), 4, False),
        ({"patience": 1}, (), None, False),
        ({"patience": 1}, (None, None), None, False),
        ({"patience": 1, **PRETRAIN}, (0.9, 0.8), None, False),
        ({"patience": 1, **PRETRAIN}, (0.9, 0.8, 0.2), 3, False),
        ({"patience": 1, **PRETRAIN}, (0.9, 0.8, 0.2, 0.1), 4 - 1, True),
        (PRETRAIN, (0.9, 0.8, 0.2), 1, False),
    ],
)
def test_a_trial_ends_after_epochs_without_a_better_accuracy(
    fields: dict[str, Any], accuracies: tuple[float | None, ...], best: int | None, ended: bool
) -> None:
    config, history = Config(**fields), rows(*accuracies)
    found = best_row(config, history)
    assert (found["epoch"] if found else None) == best
    assert out_of_patience(config, history) is ended
