"""The recipe in words."""

from __future__ import annotations

from typing import Any

import pytest

from scl.report.recipe import PARTS, parts, recipe, short, whole
from scl.study.config import Config
from scl.study.identity import requested
from scl.study.term import Term


@pytest.mark.parametrize(
    ("config", "heading", "words"),
    [
        (Config(), "Optimizer", "sgd momentum 0.9 with Nesterov; weight decay 0.0005 of all parameters"),
        (Config(momentum=0.5, nesterov=False, weight_decay=0), "Optimizer", "sgd momentum 0.5; weight decay 0"),
        (
            Config(optimizer="adamw", lr=1e-3, betas=(0.9, 0.98), decay_norms=False, clip_norm=1, ema=0.999),
            "Optimizer",
            "adamw betas 0.9, 0.98 eps 1e-08; weight decay 0.0005 of weights alone, not biases and norms; gradients "
            "clipped to norm 1; average of the weights kept, decay 0.999",
        ),
        (
            Config(accumulate=2, head_lr=10, layer_decay=0.7),
            "Optimizer",
            "sgd momentum 0.9 with Nesterov; weight decay 0.0005 of all parameters; 2 batches a step; rate of the "
            "classifier × 10; rate × 0.7 for each layer before it",
        ),
        (Config(lr=0.0123456789), "Learning rate", "0.0123456789: cosine to 0 over 30 epochs"),
        (Config(warmup_epochs=1, epochs=2), "Learning rate",
         "0.1: linear warm-up over 1 epoch, then cosine to 0 over 1 epoch"),
        (Config(schedule="multistep", milestones=(10, 20, 25)), "Learning rate",
         "0.1: × 0.1 after epoch 10, 20 and 25"),
        (Config(schedule="onecycle"), "Learning rate", "0.1 at the peak of one cycle: up from 1/25 of it in the first "
         "30 % of the epochs, down to 1/250,000"),
        (Config(patience=5), "Length",
         "30 epochs; ends after 5 epochs without a better validation accuracy, and keeps the best"),
        (Config(pretrain_epochs=3, losses={"fsp": Term(1, stage="pretrain")}), "Length",
         "3 epochs of pre-training; 30 epochs; the last one counts"),
        (Config(shared_batches=True), "Batches",
         "128 images, each image once an epoch, in random order; the same for all seeds, and so is their augmentation"),
        (Config(sampling="balanced", batch_size=1024), "Batches", "1,024 images, each class equally often"),
        (Config(augment="auto+mixup:0.4"), "Augmentation", "auto+mixup:0.4, here crop+flip+mixup:0.4"),
        (Config(augment="none"), "Augmentation", "none"),
        (Config(precision="bf16"), "Precision", "bf16, losses in fp32"),
        (Config(precision="bf16", kernels="fused"), "Precision",
         "bf16, losses in fp32; batch norm, ReLU and pooling in fused kernels"),
        (Config(), "Objective", "cross-entropy × 1"),
        (
            Config(ce=0, losses={"kd": Term(0.9, options={"temperature": 2})}, label_smoothing=0.1),
            "Objective",
            "kd × 0.9 (temperature 2); label smoothing 0.1",
        ),
        (Config(model="vgg8", expansion=64), "Network",
         "vgg8; weights drawn from the seed; expanded to 64 channels in training"),
        (Config(losses={"at": Term(share=0.3, warmup=2)}), "Objective",
         "cross-entropy × 1 + at × 1 (share 0.3, warmup 2); guided maps: tap relu, connector auto"),
        (
            Config(losses={"at": Term(1000, layers=(-1,), warmup=2), "twice": Term(1, loss="kd")}),
            "Objective",
            "cross-entropy × 1 + at × 1000 (layers -1, warmup 2) + twice [kd] × 1 (temperature 4); guided maps: tap "
            "relu, connector auto",
        ),
        (Config(self_taught=(0, 2), width=0.5), "Network", "plain5 × 0.5 (width); weights drawn from the seed; "
         "self-taught neurons: 0, 2, at layers, added, guided first"),
        (Config(model="timm:x", pretrained=True, dropout=0.2), "Network",
         "timm:x; from published weights; dropout 0.2"),
    ],
)  # fmt: skip
def test_a_configuration_in_words(config: Config, heading: str, words: str) -> None:
    assert parts(requested(config), "crop+flip")[heading] == words


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"student": {"class": "Mine", "sha256": "0"}},
        {"initial_weights": {"sha256": "0"}},
        {"losses": {"own": {"weight": 2.0, "loss": {"function": "mine", "sha256": "0"}}}},
        {"a field of tomorrow": 1},
    ],
)
def test_a_record_of_any_version_has_words(stored: dict[str, Any]) -> None:
    assert parts(stored, "").keys() == PARTS.keys()
    assert whole(stored)["lr"] == Config.lr


def test_what_is_shared_stands_once() -> None:
    arms = {"a": {}, "b": {"losses": {"kd": {"weight": 0.5}}}, "c": {"epochs": 30, "losses": {"kd": {"weight": 0.5}}}}
    shared, own = recipe(arms, "")
    assert dict(shared).keys() == PARTS.keys() - {"Objective"}
    assert own == {"Objective": {"a": "cross-entropy × 1", **dict.fromkeys("bc", f"{short(arms['b'])}")}}
