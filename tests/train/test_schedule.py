"""The learning-rate schedule."""

from __future__ import annotations

import pytest

from scl.study.config import Config
from scl.study.term import Term
from scl.train.schedule import learning_rate


def test_learning_rate_schedules() -> None:
    cosine = Config(lr=1.0, epochs=10, warmup_epochs=2)
    assert [learning_rate(cosine, e) for e in (1, 2, 6, 10)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    steps = Config(lr=1.0, epochs=10, schedule="multistep", milestones=(3, 6))
    assert [learning_rate(steps, e) for e in (0, 3, 3.1, 6.1)] == pytest.approx([1, 1, 0.1, 0.01])


def test_pretraining_is_constant_and_the_schedule_starts_after_it() -> None:
    config = Config(lr=1.0, epochs=4, pretrain_epochs=3, losses={"fsp": Term(1.0, stage="pretrain")})
    assert [learning_rate(config, e) for e in (0, 1.5, 3, 5, 7)] == pytest.approx([1, 1, 1, 0.5, 0])
