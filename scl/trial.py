"""What goes into training and what comes out: split data, a teacher, trials; finished epochs, ended trials."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from scl.checkpoint import Files
from scl.config import Config, canonical_json
from scl.data import Images


@dataclass(frozen=True)
class Data:
    """A split data set as uint8 tensors, with what its batches are normalised by."""

    train: Images
    val: Images
    test: Images
    mean: Tensor
    std: Tensor
    classes: int
    flip: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def to(self, device: torch.device) -> Data:
        return replace(
            self,
            train=self.train.to(device),
            val=self.val.to(device),
            test=self.test.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )


@dataclass(frozen=True)
class Teacher:
    """A trained network that guides: its configuration, its weights, its logits (N, K) on the test images."""

    config: Config
    weights: Mapping[str, Tensor]
    test_logits: Tensor


@dataclass(frozen=True)
class Trial:
    """What the trainer needs of a trial.

    files: where its checkpoints are; without, nothing is kept. every_epoch: evaluate after each epoch and not
    only after the last, which is all that is asked of a teacher. weights: to start from, where not from random ones.
    """

    id: str
    config: Config
    seed: int
    files: Files | None = None
    every_epoch: bool = True
    weights: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class EpochDone:
    """A trial finished an epoch: its row for epochs.parquet."""

    trial_id: str
    row: dict[str, Any]


@dataclass(frozen=True)
class TrialEnded:
    """A trial completed, was pruned or failed. `metrics`: its columns of trials.parquet, as far as training knows."""

    trial_id: str
    metrics: dict[str, Any]
    epochs: list[dict[str, Any]]
    weights: dict[str, Tensor] = field(default_factory=dict)
    test_logits: Tensor | None = None


Event = EpochDone | TrialEnded


def stream_seed(*names: object) -> int:
    """A seed of its own for each random stream, the same on every machine."""
    return int.from_bytes(hashlib.sha256(canonical_json(names).encode()).digest()[:8], "big") >> 1
