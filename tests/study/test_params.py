"""A configuration as flat names."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from scl.errors import UserError
from scl.study.config import Config
from scl.study.identity import effective, requested, sha256
from scl.study.params import overridden, params, with_params
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


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        (0.9, {"share.kd": 0.3}, Term(1.0, share=0.3)),  # it replaces the weight
        (0.9, {"kd.share": 0.3}, Term(1.0, share=0.3)),
        (0, {"share.kd": 0.3}, Term(1.0, share=0.3)),
        (0.9, {"share.kd": 0.3, "weight.kd": 2}, Term(2.0, share=0.3)),
        (0.9, {"weight.kd": 2, "kd.share": 0.3, "kd.warmup": 3}, Term(2.0, share=0.3, warmup=3)),
        (Term(0.5, share=1), {"share.kd": 0.3}, Term(0.5, share=0.3)),
        (Term(share=1), {"weight.kd": 0}, Term(0.0)),
        (Term(share=1), {"weight.kd": 10_000}, Term(10_000.0)),  # it replaces the share
        (Term(0.5, share=1), {"weight.kd": 2, "kd.share": None}, Term(2.0)),
        (Term(share=1), {"weight.kd": 2, "share.kd": 3}, Term(2.0, share=3)),
        (Term(0.5, share=1), {"share.kd": None}, Term(0.5)),
        (None, {"share.kd": 0.3, "kd.temperature": 2}, Term(share=0.3, options={"temperature": 2})),
    ],
)
def test_a_share_is_set_as_a_weight_is(before: Any, changes: dict[str, Any], after: Term) -> None:
    config = with_params(Config(losses={} if before is None else {"kd": before}), changes)
    assert config == Config(losses={"kd": after})
    assert params(config).get("share.kd") == after.share
    flat = {name: value for name, value in params(config).items() if "kd" in name}
    assert params(with_params(Config(losses={"kd": 1}), flat)) == params(config)


def test_a_loss_called_share_keeps_its_options() -> None:
    def mine(student: torch.Tensor, teacher: torch.Tensor, kd: float = 1.0, share: float = 1.0) -> torch.Tensor:
        return (student - teacher).mean() * kd * share

    config = with_params(Config(losses={"share": Term(1.0, loss=mine), "kd": 1.0}), {"share.kd": 0.5, "kd.share": 0.3})
    assert config.losses["share"] == Term(1.0, loss=mine, options={"kd": 0.5})
    assert config.losses["kd"].share == 0.3
    other = with_params(Config(losses={"mine": Term(1.0, loss=mine)}), {"mine.share": 0.5, "share.mine": 0.3})
    assert other.losses["mine"] == Term(share=0.3, loss=mine, options={"share": 0.5})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("share.kd", "0.3", ""), ("kd.share", "0.3", ""), ("share.mine", "2", ""),
        ("share.kd", "0", "share must be a finite number above 0"),
        ("kd.share", "much", "share must be a finite number above 0, .* got 'much'"),
        ("share.kd", "nan", "must be a finite number"),
        ("kd.shares", "1", "unknown name 'kd.shares' .did you mean 'kd.share'"),
        ("share.at", "1", "no arm of this run has the loss 'at'"),
        ("share.other", "1", "unknown name 'share.other'"),
    ],
)  # fmt: skip
def test_shares_are_set_on_the_command_line(name: str, text: str, says: str) -> None:
    def mine(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return (student - teacher).mean()

    arms = {"a": Config(losses={"kd": 0.9, "mine": Term(1.0, loss=mine)}), "b": Config()}
    if says:
        with pytest.raises(UserError, match=says):
            overridden(arms, {name: text})
        return
    found = overridden(arms, {name: text})
    loss = name.replace("share", "").strip(".")
    assert (found["a"].losses[loss].share, found["a"].losses[loss].weight) == (float(text), 1.0)
    assert found["b"] == arms["b"]
