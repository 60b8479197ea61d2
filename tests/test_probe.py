"""What a step costs, and what a cohort may hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CPU

from scl import cli, memory, models, plan, probe
from scl.config import Config, Term, UserError
from scl.probe import Probe
from scl.storage import open_folder
from scl.study import MOST, Study
from scl.trial import Data


def macs(config: Config) -> int:
    return models.macs(models.build_model(config.student, 4, 1, config.width), (1, 8, 8))


def test_each_kind_is_timed_once(tiny: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Probe(Config(student="plain11", width=0.125), tiny, CPU, 1, macs)
    base = Config(width=0.125, batch_size=16)
    configs = {"a": base, "b": base.replace(lr=0.5), "kd": base.replace(losses={"kd": 1.0})}
    seconds = asked.own(configs)
    assert seconds["a"] == seconds["b"] > 0
    assert seconds["kd"] > 0
    assert len(asked.steps) == len(asked.forwards) == 2
    assert asked.own(configs) == seconds
    assert asked.forward(32) == 2 * asked.forward(16) > 0
    # Where time is up, multiply-accumulates tell: of the same batches twice the width costs more.
    monkeypatch.setattr(probe, "SECONDS", -1.0)
    wide = base.replace(width=0.5)
    assert asked.own({"a": base, "wide": wide})["wide"] == pytest.approx(seconds["a"] * macs(wide) / macs(base))


def test_steps_that_take_long_are_timed_once(tiny: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def counted(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        return (student - teacher).square().mean()

    config = Config(width=0.125, batch_size=16, losses={"mine": Term(1.0, loss=counted, compares="logits")})
    for seconds, expected in ((1000.0, 4), (0.0, 1)):
        monkeypatch.setattr(probe, "SECONDS", seconds)
        steps.clear()
        Probe(Config(student="plain11", width=0.125), tiny, CPU, 1, macs).own({"mine": config})
        assert len(steps) == expected


def test_a_loss_that_raises_is_told(tiny: Data) -> None:
    def broken(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("of no use")

    config = Config(width=0.125, batch_size=16, losses={"mine": Term(1.0, loss=broken, compares="logits")})
    asked = Probe(Config(student="plain11", width=0.125), tiny, CPU, 1, macs)
    with pytest.raises(UserError, match="of no use"):
        asked.own({"mine": config})


def test_cohorts_hold_what_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"baseline": {}, **{f"kd {w}": {"losses": {"kd": float(w)}} for w in range(1, 9)}}
    study = Study("room", "?", arms, base=Config(width=0.125, epochs=1), teacher=Config("plain11", 0.125), seeds=1)
    options = cli.Options(**vars(cli.parser(study).parse_args(["--out", str(tmp_path), "--epochs", "1"])))
    made = replace(plan.make_plan(study, options, open_folder(str(tmp_path))), slots=2)
    todo = plan.missing(made)
    assert plan.room(made, todo) > MOST
    parameters = made.bench.cost(todo[0].config, idle=False).params
    monkeypatch.setattr(memory, "physical", lambda: 2 * 2 * 12 * parameters * 3)
    assert plan.room(made, todo) == 3
    assert max(len(cohort) for cohort in plan.plan_cohorts(made, todo)) == 3
    monkeypatch.setattr(memory, "physical", lambda: 1)
    assert plan.room(made, todo) == 1


def test_freed_memory_stays_and_no_number_moves() -> None:
    x = torch.rand(64, 64)
    before = x @ x
    memory.keep_freed()
    assert torch.equal(before, x @ x)
    assert memory.physical() > 2**28
