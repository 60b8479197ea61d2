"""The invariant for each field of the recipe: alone, in a cohort, stopped after any epoch and resumed, bitwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from scl.data.batches import SplitData
from scl.store.files import open_folder
from scl.study.fields import WORDS
from scl.study.term import Term
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.training import ARMS, BASE, ends, stop_after

ADAM: dict[str, Any] = {"optimizer": "adamw", "lr": 0.002}


def with_everything(student: torch.Tensor, teacher: torch.Tensor, labels: Any, images: Any, teacher_logits: Any) -> Any:
    right = torch.nn.functional.one_hot(labels, 10) * teacher_logits.softmax(1)
    return (student.mean((1, 2, 3)) - teacher.mean((1, 2, 3)) - right.sum(1) * images.mean((1, 2, 3))).square().mean()


RECIPES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name, "lr": 0.002, "betas": (0.8, 0.99)} for name in WORDS["optimizer"] if name != "sgd"},
    "groups": {**ADAM, "decay_norms": False, "head_lr": 3.0, "layer_decay": 0.7, "weight_decay": 0.05},
    "sgd in groups": {"decay_norms": False, "head_lr": 2.0},
    "clipped": {"clip_norm": 0.5},
    "accumulated": {"accumulate": 3},
    "averaged": {"ema": 0.9},
    "averaged, accumulated": {"ema": 0.9, "accumulate": 2, **ADAM},
    "one cycle": {"schedule": "onecycle"},
    "balanced": {"class_weights": "balanced", "label_smoothing": 0.1},
    "patient": {"patience": 1, "epochs": 6, "lr": 0.2},
    "patient, averaged": {"patience": 2, "epochs": 5, "ema": 0.99},
    "after pre-training": {
        **ADAM, "losses": {"fsp": Term(5.0, stage="pretrain"), "hint": 0.1}, "pretrain_epochs": 1, "ema": 0.9,
    },
    "a loss of all": {"losses": {"mine": Term(1.0, loss=with_everything)}},
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_alone_in_a_cohort_and_resumed_are_bitwise_equal(
    tiny: SplitData, teacher: Teacher, tmp_path: Path, name: str
) -> None:
    config = BASE.replace(**{"losses": {"kd": 0.9}, "epochs": 2, **RECIPES[name]})
    alone = ends([TrialSpec(name, config, 0)], tiny, teacher)[name]
    assert alone.metrics["state"] == "completed", alone.metrics["error"]
    beside = ends([TrialSpec("kd", ARMS["kd"], 0), TrialSpec(name, config, 0)], tiny, teacher)[name]
    resumed = []
    for epoch in range(1, alone.metrics["epochs"]):
        trial = TrialSpec(name, config, 0, open_folder(str(tmp_path / str(epoch))))
        stop_after(epoch, trial, tiny, teacher)
        resumed.append(ends([trial], tiny, teacher)[name])
    for other in (beside, *resumed):
        assert other.epochs == alone.epochs
        assert torch.equal(other.test_logits, alone.test_logits)
        assert {k: torch.equal(v, alone.weights[k]) for k, v in other.weights.items()} == dict.fromkeys(
            alone.weights, True
        )
        for metric in ("val_acc", "test_acc", "best_epoch", "test_loss"):
            assert other.metrics[metric] == alone.metrics[metric]


def test_each_field_of_the_recipe_moves_the_numbers(tiny: SplitData, teacher: Teacher) -> None:
    changes = {
        "baseline": {},
        **{name: {"optimizer": name, "lr": 0.002} for name in WORDS["optimizer"] if name != "sgd"},
        "betas": {**ADAM, "betas": (0.5, 0.9)}, "eps": {**ADAM, "eps": 0.1}, "decay": {**ADAM, "weight_decay": 0.5},
        "norms": {**ADAM, "weight_decay": 0.5, "decay_norms": False}, "clip": {"clip_norm": 0.1},
        "accumulate": {"accumulate": 2}, "head": {"head_lr": 0.5}, "layers": {"layer_decay": 0.5}, "ema": {"ema": 0.9},
        "weights": {"class_weights": "balanced"}, "cycle": {"schedule": "onecycle"},
    }  # fmt: skip
    configs = {name: BASE.replace(**{"epochs": 1, **change}) for name, change in changes.items()}
    found = ends([TrialSpec(name, config, 0) for name, config in configs.items()], tiny, teacher)
    losses = {name: end.metrics["test_loss"] for name, end in found.items()}
    assert len(set(losses.values())) == len(changes), losses
