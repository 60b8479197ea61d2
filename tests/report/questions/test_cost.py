"""Accuracy against cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scl.report.blocks import Plot
from scl.report.questions import cost
from tests.support.synthetic import (
    ARMS,
    EFFECTS,
    accuracy,
    gathered,
    make_store,
    rewrite_trials,
)


def test_costs_of_a_prediction_or_of_training(tmp_path: Path) -> None:
    facts = gathered(make_store(tmp_path / "a", ARMS, range(3), accuracy(EFFECTS)))
    assert [c.x_title for c in cost.costs(facts)] == list(cost.PREDICTION.values())[
        :3
    ]  # no store of old has file sizes
    cloud = cost.costs(facts)[0]
    means = facts.scores.mean()
    for arm, x, on in zip(cloud.arms, cloud.x, cloud.front, strict=True):
        cheaper = [a for a, c in zip(cloud.arms, cloud.x, strict=True) if c <= x and a != arm]
        assert on == all(means[a] < means[arm] for a in cheaper)
    same = rewrite_trials(
        make_store(tmp_path / "b", ARMS, range(3), accuracy(EFFECTS)),
        lambda t: t.assign(params=1000, macs=5000, latency_ms=1.0),
    )
    assert [c.x_title for c in cost.costs(gathered(same))] == list(cost.TRAINING.values())


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"params": 1000, "macs": 5000, "latency_ms": 1.0},
            "All arms have the same parameters, multiply-adds for one image and latency of one image. By",
        ),
        (
            {"params": 1000, "macs": 5000, "latency_ms": None},
            "All arms have the same parameters and multiply-adds for one image. By",
        ),
        ({"params": None, "macs": None, "latency_ms": None}, "The store holds no cost of a prediction. By"),
    ],
    ids=["all", "two", "none"],
)
def test_only_known_costs_are_called_equal(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    store = make_store(tmp_path, ARMS, range(3), accuracy(EFFECTS))
    panel = cost.panel(gathered(rewrite_trials(store, lambda t: t.assign(**columns, device=t["arm"]))))
    assert panel.answer.startswith(said)
    (plot,) = panel.blocks
    assert isinstance(plot, Plot)
    assert "Training time is a trial's own steps and its share of the teacher's, on " in plot.caption
    assert "times on different devices do not compare" in plot.caption
    assert "Latency" not in plot.caption
