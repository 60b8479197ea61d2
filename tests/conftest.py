"""What tests share: one thread, a tiny data set, a teacher for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scl import data, datasets, trainer
from scl.config import Config
from scl.data import Images
from scl.trainer import Data, Teacher, Trial, TrialEnded

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar100"
RECIPE = {"batch_size": 32, "lr": 0.05, "epochs": 3}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """200 digits to train on, 100 to validate, 797 to test."""
    digits = datasets.load("digits", tmp_path_factory.mktemp("cache"))
    train, val = data.split(digits.train_labels, val=0.1, seed=0, limit=200, classes=10)
    mean, std = data.normalisation(digits)

    def part(images, labels) -> Images:  # type: ignore[no-untyped-def]
        return Images(torch.from_numpy(images), torch.from_numpy(labels))

    return Data(
        part(digits.train_images[train], digits.train_labels[train]),
        part(digits.train_images[val], digits.train_labels[val]),
        part(digits.test_images, digits.test_labels),
        torch.from_numpy(mean),
        torch.from_numpy(std),
        classes=10,
        flip=False,
    )


@pytest.fixture(scope="session")
def teacher(tiny: Data) -> Teacher:
    config = Config(student="plain11", width=0.125, **RECIPE)
    ended = [e for e in trainer.train_cohort([Trial("t", config, 0)], tiny, None, CPU) if isinstance(e, TrialEnded)]
    assert ended[0].test_logits is not None
    return Teacher(config, ended[0].weights, ended[0].test_logits)
