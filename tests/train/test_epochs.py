"""The row of an epoch, from the values of its steps and its logits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from scl.study.config import Config
from scl.train.epochs import epoch_row
from scl.train.shares import Shares
from scl.train.types import TrialFailure, TrialSpec

CONFIG = Config(model="plain3", epochs=4, lr=0.4, losses={"kd": 0.5})
WEIGHTS = {"ce": 1.0, "kd": 0.5}
SIZES = (30, 10)
VALUES = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
LOGITS = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
LABELS = torch.tensor([0, 1, 1, 1])


def row(values: torch.Tensor = VALUES, evaluated: Any = ()) -> dict[str, Any]:
    shares = Shares(CONFIG, nn.Linear(2, 2))
    return epoch_row(TrialSpec("t", CONFIG, 0), 1, values, 20.0, SIZES, WEIGHTS, shares, dict(evaluated))


def test_values_of_steps_count_by_their_images() -> None:
    found = row()
    assert (found["trial_id"], found["epoch"], found["train_acc"]) == ("t", 1, 0.5)
    assert (found["term.ce"], found["term.kd"]) == (1.5, 2.5)  # (30 · 1 + 10 · 3) / 40, (30 · 2 + 10 · 4) / 40
    assert (found["weighted.ce"], found["weighted.kd"], found["train_loss"]) == (1.5, 1.25, 2.75)
    assert 0 < found["lr"] <= 0.4
    assert not any(name.startswith(("val", "test")) for name in found)


def test_parts_that_were_evaluated_have_columns() -> None:
    found = row(evaluated={"val": (LOGITS, LABELS), "test": (LOGITS[:2], LABELS[:2])})
    assert (found["val_acc"], found["test_acc"]) == (0.75, 1.0)
    wrong, right = math.log1p(math.exp(2.0)), math.log1p(math.exp(-2.0))
    assert found["val_loss"] == pytest.approx((wrong + 3 * right) / 4)
    assert found["val_balanced_acc"] == pytest.approx((1 + 2 / 3) / 2)
    assert "test_loss" not in found


def test_a_part_without_images_has_no_column() -> None:
    found = row(evaluated={"val": (LOGITS[:0], LABELS[:0]), "test": (LOGITS, LABELS)})
    assert "val_acc" not in found
    assert "val_loss" not in found


@pytest.mark.parametrize(
    ("step", "term", "value", "message"),
    [
        (0, 1, math.nan, "loss term 'kd' became nan at epoch 1, step 1 of 2"),
        (1, 0, math.inf, "loss term 'ce' became inf at epoch 1, step 2 of 2"),
    ],
)
def test_a_term_that_is_not_finite_is_named_with_its_step(step: int, term: int, value: float, message: str) -> None:
    values = VALUES.clone()
    values[step, term] = value
    with pytest.raises(TrialFailure, match=message + r"; lower lr \(0.4\), .* share \(weights: ce 1, kd 0.5\)"):
        row(values)


@pytest.mark.parametrize("part", ["val", "test"])
def test_logits_that_are_not_finite_are_named_with_their_part(part: str) -> None:
    with pytest.raises(TrialFailure, match=f"{part} logits are not finite after epoch 1, step 2; lower lr"):
        row(evaluated={part: (LOGITS * math.inf, LABELS)})
