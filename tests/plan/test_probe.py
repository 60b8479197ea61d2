"""What a step costs."""

from __future__ import annotations

import pytest
import torch

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.build import build_model, macs
from scl.plan import probe
from scl.plan.probe import Probe
from scl.study.config import Config
from scl.study.term import Term
from tests.support.studies import CPU


def student_macs(config: Config) -> int:
    return macs(build_model(config.model, 4, 1, config.width), (1, 8, 8))


def test_each_kind_is_timed_once(tiny: SplitData, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Probe(Config(model="plain11", width=0.125), tiny, CPU, 1, student_macs)
    base = Config(width=0.125, batch_size=16)
    configs = {"a": base, "b": base.replace(lr=0.5), "kd": base.replace(losses={"kd": 1.0})}
    seconds = asked.step_seconds(configs)
    assert seconds["a"] == seconds["b"] > 0
    assert seconds["kd"] > 0
    assert len(asked.steps) == len(asked.forwards) == 2
    assert asked.step_seconds(configs) == seconds
    assert asked.teacher_seconds(32) == 2 * asked.teacher_seconds(16) > 0
    # Where time is up, multiply-accumulates tell: of the same batches twice the width costs more.
    monkeypatch.setattr(probe, "SECONDS", -1.0)
    wide = base.replace(width=0.5)
    assert asked.step_seconds({"a": base, "wide": wide})["wide"] == pytest.approx(
        seconds["a"] * student_macs(wide) / student_macs(base)
    )


def test_steps_that_take_long_are_timed_once(tiny: SplitData, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def counted(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        return (student - teacher).square().mean()

    config = Config(width=0.125, batch_size=16, losses={"mine": Term(1.0, loss=counted, compares="logits")})
    for seconds, expected in ((1000.0, 4), (0.0, 1)):
        monkeypatch.setattr(probe, "SECONDS", seconds)
        steps.clear()
        Probe(Config(model="plain11", width=0.125), tiny, CPU, 1, student_macs).step_seconds({"mine": config})
        assert len(steps) == expected


def test_a_loss_that_raises_is_told(tiny: SplitData) -> None:
    def broken(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("of no use")

    config = Config(width=0.125, batch_size=16, losses={"mine": Term(1.0, loss=broken, compares="logits")})
    asked = Probe(Config(model="plain11", width=0.125), tiny, CPU, 1, student_macs)
    with pytest.raises(UserError, match="of no use"):
        asked.step_seconds({"mine": config})
