"""The learning-rate schedule, and the place of a batch among those that are accumulated."""

from __future__ import annotations

import pytest
import torch

from scl.study.config import Config
from scl.study.term import Term
from scl.train.schedule import Place, learning_rate, place


def test_learning_rate_schedules() -> None:
    cosine = Config(lr=1.0, epochs=10, warmup_epochs=2)
    assert [learning_rate(cosine, e) for e in (1, 2, 6, 10)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    steps = Config(lr=1.0, epochs=10, schedule="multistep", milestones=(3, 6))
    assert [learning_rate(steps, e) for e in (0, 3, 3.1, 6.1)] == pytest.approx([1, 1, 0.1, 0.01])


def test_pretraining_is_constant_and_the_schedule_starts_after_it() -> None:
    config = Config(lr=1.0, epochs=4, pretrain_epochs=3, losses={"fsp": Term(1.0, stage="pretrain")})
    assert [learning_rate(config, e) for e in (0, 1.5, 3, 5, 7)] == pytest.approx([1, 1, 1, 0.5, 0])


def test_one_cycle_is_that_of_torch() -> None:
    """Torch counts steps from 0 and has its last rate one step before the end: with many steps the two agree."""
    steps = 2000
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=steps, cycle_momentum=False)
    config = Config(lr=0.5, epochs=10, schedule="onecycle")
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(config, 10 * (step + 1) / steps) == pytest.approx(expected, abs=2e-3)
        optimizer.step()
        if step + 1 < steps:
            torchs.step()
    assert learning_rate(config, 0) == pytest.approx(0.5 / 25)
    assert learning_rate(config, 3) == pytest.approx(0.5)
    assert learning_rate(config, 10) == pytest.approx(0.5 / 25 / 1e4)


def test_the_last_batches_of_an_epoch_are_a_step_of_their_own() -> None:
    places = [place(3, epoch, step, 7) for epoch in (0, 1) for step in range(7)]
    assert [p.together for p in places[:7]] == [3, 3, 3, 3, 3, 3, 1]
    assert [p.first for p in places[:7]] == [True, False, False, True, False, False, True]
    assert [p.last for p in places[:7]] == [False, False, True, False, False, True, True]
    assert [p.number for p in places] == [1, 1, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5, 5, 6]
    assert place(1, 2, 4, 7) == Place(1, True, True, 19)
