"""Trials on the tiny data set, and the events of their training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scl.data.batches import SplitData, normalisation
from scl.data.images import Images
from scl.data.named import load_dataset
from scl.data.split import split
from scl.models.staged import Features
from scl.study.config import Config
from scl.study.term import Term
from scl.train import checkpoint
from scl.train.loop import train_cohort
from scl.train.teacher import Teacher, TeacherForward
from scl.train.types import TrialEnded, TrialSpec
from tests.support.studies import CPU, RECIPE

BASE = Config(width=0.125, **RECIPE)
ARMS = {
    "baseline": BASE,
    "kd": BASE.replace(ce=0.1, losses={"kd": 0.9}),
    "hint": BASE.replace(losses={"hint": 0.1}),
    "at": BASE.replace(losses={"at": 10}),
    "channel": BASE.replace(losses={"channel": 0.3}),
    "spatial": BASE.replace(losses={"spatial": 0.3}),
    "both": BASE.replace(losses={"channel": 0.3, "spatial": 0.3}),
    "scl": BASE.replace(losses={"channel": 0.3, "spatial": 0.3}, self_taught=4),
}
# Arms whose steps change between epochs.
CHANGING = {
    "baseline": BASE,
    "kd, warmed up, ended": BASE.replace(losses={"kd": Term(1.0, warmup=2), "at": Term(5.0, end=2)}),
    "scl": BASE.replace(losses={"channel": 0.3, "spatial": 0.3}, self_taught=4),
    "fsp first": BASE.replace(losses={"fsp": Term(50.0, stage="pretrain")}, pretrain_epochs=1, epochs=2),
    "a memory": BASE.replace(losses={"crd": 0.8}),
    "shares": BASE.replace(losses={"kd": Term(share=0.3), "channel": Term(share=0.3, warmup=2)}),
}


def few_digits(cache: Path, test: int, train: int = 200, val: int = 100) -> SplitData:
    """So many digits to train on, to validate, and to test."""
    digits = load_dataset("digits", cache)
    trained, held = split(digits.train_labels, val=0.1, seed=0, limit=train, classes=10)
    assert len(trained) == train
    assert len(held) >= val
    mean, std = normalisation(digits)

    def part(images: np.ndarray, labels: np.ndarray) -> Images:
        return Images(torch.from_numpy(images), torch.from_numpy(labels))

    return SplitData(
        part(digits.train_images[trained], digits.train_labels[trained]),
        part(digits.train_images[held[:val]], digits.train_labels[held[:val]]),
        part(digits.test_images[:test], digits.test_labels[:test]),
        torch.from_numpy(mean),
        torch.from_numpy(std),
        classes=10,
        flip=False,
    )


def ends(
    trials: list[TrialSpec], data: SplitData, teacher: Teacher | None, device: torch.device = CPU, **options: Any
) -> dict[str, TrialEnded]:
    """How the trials of a cohort ended, by id."""
    events = train_cohort(trials, data, teacher, device, **options)
    return {event.trial_id: event for event in events if isinstance(event, TrialEnded)}


def train(names: list[str], data: SplitData, teacher: Teacher | None, **options: Any) -> dict[str, TrialEnded]:
    """How these of ARMS end, trained as one cohort."""
    return ends([TrialSpec(name, ARMS[name], 0) for name in names], data, teacher, **options)


def epochs_of(
    configs: dict[str, Config], data: SplitData, teacher: Teacher, device: torch.device = CPU, **options: Any
) -> dict[str, list[dict[str, Any]]]:
    """The rows of all epochs, by arm, of one cohort that completes."""
    trials = [TrialSpec(name, config, 0) for name, config in configs.items()]
    ended = ends(trials, data, teacher, device, **options)
    assert {name: end.metrics["error"] for name, end in ended.items()} == dict.fromkeys(configs)
    return {name: end.epochs for name, end in ended.items()}


def stop_after(epochs: int, trial: TrialSpec, data: SplitData, teacher: Teacher) -> None:
    """Train until the checkpoint of this epoch is written, and stop within the next epoch."""
    list(zip(range(epochs + 1), train_cohort([trial], data, teacher, CPU), strict=False))
    assert trial.files is not None
    kept = checkpoint.load_last_epoch(trial.files)
    assert kept is not None
    assert kept[1]["epoch"] == epochs


def drawing_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """A custom loss that uses random numbers."""
    return ((student * torch.rand(student.shape[1], 1, 1)).mean() - teacher.mean()).square()


@dataclass
class Shelf:
    """Files in memory. full: nothing can be written."""

    files: dict[str, bytes] = field(default_factory=dict)
    full: bool = False

    def read(self, name: str) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def write(self, name: str, content: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.files[name] = content


def counted_forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of each forward of a teacher from now on."""
    seen: list[int] = []
    original = TeacherForward.__call__

    def counted(self: TeacherForward, images: torch.Tensor, wanted: Any) -> Features:
        seen.append(len(images))
        return original(self, images, wanted)

    monkeypatch.setattr(TeacherForward, "__call__", counted)
    return seen
