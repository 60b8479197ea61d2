"""The inputs of training (trials) and its outputs (events: finished epochs, ended trials; failures)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from scl.study.config import Config
from scl.train.checkpoint import Files
from scl.train.inputs import Inputs


class TrialFailure(Exception):
    """Ends one trial and not its cohort. The message is for the author of its configuration."""


@dataclass(frozen=True)
class TrialSpec:
    """A trial as the trainer needs it.

    files: the folder of its checkpoints (None: no checkpoints). every_epoch: evaluate after each epoch, or only after
    the last one, which is enough for a teacher. weights: initial weights; those of tensors that they lack come from
    the seed (None: all). inputs: what the network takes (None: what the data give), for a teacher from elsewhere that
    is fine-tuned.
    """

    id: str
    config: Config
    seed: int
    files: Files | None = None
    every_epoch: bool = True
    weights: Mapping[str, Tensor] | None = None
    inputs: Inputs | None = None


@dataclass(frozen=True)
class EpochDone:
    """A trial finished an epoch. row: its row of epochs.parquet."""

    trial_id: str
    row: dict[str, Any]


@dataclass(frozen=True)
class TrialEnded:
    """A trial completed, was pruned or failed.

    metrics: the columns of trials.parquet that training fills. epochs: the rows of its epochs. weights, test_logits
    and val_logits (N, K): of the trained network, on the CPU; only for a completed trial.
    """

    trial_id: str
    metrics: dict[str, Any]
    epochs: list[dict[str, Any]]
    weights: dict[str, Tensor] = field(default_factory=dict)
    test_logits: Tensor | None = None
    val_logits: Tensor | None = None


Event = EpochDone | TrialEnded
