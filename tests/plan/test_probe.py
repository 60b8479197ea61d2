"""What a step costs, and what a cohort may hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.build import build_model, macs
from scl.plan import packing, probe
from scl.plan.packing import MOST, plan_cohorts, room
from scl.plan.plan import missing
from scl.plan.probe import Probe
from scl.study.config import Config
from scl.study.study import Study
from scl.study.term import Term
from scl.train.process import freed_memory_kept, physical_memory
from tests.support.studies import CPU, planned


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


def test_cohorts_hold_what_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"baseline": {}, **{f"kd {w}": {"losses": {"kd": float(w)}} for w in range(1, 9)}}
    study = Study("room", "?", arms, base=Config(width=0.125, epochs=1), teacher=Config("plain11", 0.125), seeds=1)
    made = replace(planned(study, tmp_path, "--epochs", "1"), slots=2)
    todo = missing(made)
    assert room(made, todo) > MOST
    parameters = made.feasibility.cost(todo[0].config, idle=False).params
    monkeypatch.setattr(packing, "physical_memory", lambda: 2 * 2 * 12 * parameters * 3)
    assert room(made, todo) == 3
    assert max(len(cohort) for cohort in plan_cohorts(made, todo)) == 3
    monkeypatch.setattr(packing, "physical_memory", lambda: 1)
    assert room(made, todo) == 1


def test_freed_memory_stays_and_no_number_moves() -> None:
    x = torch.rand(64, 64)
    before = x @ x
    with freed_memory_kept():
        assert torch.equal(before, x @ x)
    assert physical_memory() > 2**28
