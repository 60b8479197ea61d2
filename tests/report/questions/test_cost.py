"""Accuracy against cost."""

from __future__ import annotations

from pathlib import Path

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
    assert [c.x_title for c in cost.costs(facts)] == list(cost.PREDICTION.values())
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
