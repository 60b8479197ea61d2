"""Studies written again from their records. That their trials have the same ids: tests/report/questions/test_recipe."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scl.report.rebuilt import KEPT, MOST_ARMS, NotRebuilt, rebuilt
from scl.study.config import Config
from scl.study.identity import requested
from scl.study.options import Options
from scl.study.params import with_params
from scl.study.term import Term

RECORD: dict[str, Any] = {"study": "x", "question": "?", "baseline": "a", "teacher": {"config": {"student": "plain7"}}}
CONFIGS = [
    {"a": Config()},
    {"a": Config(), "b": Config(lr=0.2, losses={"kd": 1.0})},
    {"a": Config(ce=0, losses={"kd": 1.0}), "b": Config(ce=0, losses={"at": 1.0})},  # a base would have no term
    {"a": Config(optimizer="adamw", lr=0.1234), "b": Config(lr=0.1234)},  # a base has no rate of another optimizer
    {"a": Config(schedule="multistep", milestones=(1, 2)), "b": Config(schedule="multistep", milestones=(2,))},
    {"a": Config(self_taught=(0, 4), betas=(0.8, 0.9)), "b": Config(model="timm:x", pretrained=True, dropout=0.1)},
    {"a": Config(losses={"t": Term(2.0, (0, -1), 1, 3, loss="kd", options={"temperature": 1.5})}, label_smoothing=0.1)},
]


@pytest.mark.parametrize("configs", CONFIGS, ids=range(len(CONFIGS)))
def test_the_source_makes_the_same_study_and_configurations(configs: dict[str, Config]) -> None:
    study, source = rebuilt({**RECORD, "arms": {arm: requested(config) for arm, config in configs.items()}})
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(source, "page.py", "exec"), names)
    assert names["STUDY"] == study
    assert {arm: with_params(study.base, changes) for arm, changes in study.arms.items()} == configs
    assert study.teacher.model == "plain7"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "does not hold the settings"),
        ({"arms": {"a": {}}, "teacher": {}}, "does not hold the settings"),
        ({"arms": {str(i): {"epochs": i + 1} for i in range(MOST_ARMS + 1)}}, "more than 100 arms"),
        ({"arms": {"a": {"student": {"class": "Net", "sha256": "0"}}}}, "has a network of its author's"),
        ({"arms": {"a": {"initial_weights": {"sha256": "0"}}}}, "has weights from a file"),
        ({"arms": {"a": {"initial_weights": "/etc/hostname"}}}, "has weights from a file"),
        ({"arms": {"a": {"losses": {"x": {"weight": 1.0, "loss": {"function": "f"}}}}}}, "has a loss of its author's"),
        ({"arms": {"a": {"losses": {"kd": {"weight": 1.0, "tomorrow": 1}}}}}, "is none of this version"),
        ({"arms": {"a": {"lr": -1.0}}}, "is no configuration of this version"),
        ({"arms": {"a": {"lr": 0.1}}}, "otherwise than they were meant"),  # a default, which no version stores
        ({"arms": {"a": {"optimizer": "adamw"}, "b": {}}}, "the arm 'a' cannot be written as a change of another"),
        ({"arms": {"b": {}}}, "its record is not that of a study"),
        ({"arms": {"a": {}}, "study": None}, "its record is not that of a study"),
        ({"arms": {"a": {}}, "metric": "tomorrow"}, "its record is not that of a study"),
    ],
)
def test_what_cannot_be_written_says_why(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotRebuilt, match=reason):
        rebuilt({**RECORD, **changes})


def test_every_flag_that_a_rebuilt_study_needs_exists() -> None:
    assert set(KEPT) <= {field.name for field in dataclasses.fields(Options)}
