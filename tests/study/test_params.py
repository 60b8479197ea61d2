"""A configuration as flat names."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from scl.study.config import Config
from scl.study.identity import effective, requested, sha256
from scl.study.params import params, with_params
from scl.study.term import Term


def test_params_are_flat_and_typed() -> None:
    flat = params(Config(losses={"kd": Term(0.9, options={"temperature": 2.0})}))
    assert flat["weight.kd"] == 0.9
    assert flat["kd.temperature"] == 2.0
    assert all(type(v) in (int, float, str, bool) for v in flat.values())


def test_numbers_of_numpy_are_numbers() -> None:
    swept = Config(losses={"kd": Term(np.float64(0.5), layers=[np.int64(1)], options={"temperature": np.float32(2)})})
    plain = Config(losses={"kd": Term(0.5, layers=(1,), options={"temperature": 2.0})})
    assert requested(swept) == requested(plain)
    assert params(swept) == params(plain)


@pytest.mark.parametrize(
    ("swept", "plain"),
    [
        ({"lr": np.float64(0.5)}, {"lr": 0.5}),
        ({"lr": np.float32(0.5)}, {"lr": 0.5}),
        ({"lr": np.int64(1)}, {"lr": 1}),
        ({"lr": Fraction(1, 2)}, {"lr": 0.5}),
        ({"epochs": np.int32(4)}, {"epochs": 4}),
        ({"self_taught": np.uint8(8)}, {"self_taught": 8}),
        ({"self_taught": [np.int64(8), 0, 2]}, {"self_taught": (8, 0, 2)}),
        (
            {"schedule": "multistep", "milestones": list(np.array([2, 3]))},
            {"schedule": "multistep", "milestones": (2, 3)},
        ),
    ],
)
def test_a_field_swept_with_numpy_is_the_same_trial(swept: dict[str, Any], plain: dict[str, Any]) -> None:
    assert requested(Config(**swept)) == requested(Config(**plain))
    assert json.dumps(params(Config(**swept))) == json.dumps(params(Config(**plain)))
    assert sha256(effective(Config(**swept))) == sha256(effective(Config(**plain)))


def test_a_field_and_a_loss_that_need_each_other_are_set_at_once() -> None:
    config = with_params(Config(), {"pretrain_epochs": 2, "weight.at": 1.0, "at.stage": "pretrain", "at.layers": (-1,)})
    assert (config.pretrain_epochs, config.losses["at"].stage, config.losses["at"].layers) == (2, "pretrain", (-1,))
    config = with_params(Config(), {"losses": {"kd": 0.5}, "kd.temperature": 2, "kd.warmup": 3})
    assert config.losses["kd"] == Term(0.5, loss="kd", warmup=3, options={"temperature": 2})


def test_an_option_of_a_custom_loss_comes_before_a_field_of_the_term() -> None:
    def mine(student: torch.Tensor, teacher: torch.Tensor, end: float = 1.0) -> torch.Tensor:
        return (student - teacher).mean() * end

    config = with_params(Config(losses={"mine": Term(1.0, loss=mine)}), {"mine.end": 0.5})
    assert (config.losses["mine"].options, config.losses["mine"].end) == ({"end": 0.5}, None)
