"""What all cohorts of a run share, and what each trains: the context and its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from scl.data.batches import SplitData
from scl.data.images import Images
from scl.data.preprocessing import Preprocessing
from scl.data.stored import Pixels, StoredImages
from scl.store.files import Folder
from scl.study.config import Config
from scl.train.inputs import Inputs


@dataclass(frozen=True)
class Job:
    """A network to train: a trial's student, or a teacher, which may have a teacher itself.

    columns: those of the trial's row that are known before training; None for a teacher. weights: initial weights;
    those of tensors that they lack are drawn from the seed (None: all). stored: the row that the store has, if only
    the trial's network is lost. members: ids of the teachers whose logits this one averages; it does not train.
    """

    config: Config
    seed: int
    teacher_id: str | None = None
    columns: Mapping[str, Any] | None = None
    weights: Mapping[str, torch.Tensor] | None = None
    stored: Mapping[str, Any] | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunContext:
    """What all cohorts of a run share. Numpy arrays, so that Ray's workers map one copy a node, and references to the
    files of large sets.

    images: train, val, test → uint8 (N, C, H, W); labels: the same → int64 (N,). preprocessing: how images became
    pixels. logits: store those of each trial. teacher_inputs: what a user's teacher takes and gives; None if that is
    what the data give. teacher_features: its last layer is not used. checkpoint_every: seconds, see `train_cohort`.
    teacher_hashes: of files of teachers, by `ID/NAME`, if a node reads each from an object store once: the SHA-256.
    sharing: the token under which cohorts keep what a teacher gives, for later ones that see the same batches; empty if
    there are none.
    """

    images: Mapping[str, Pixels]
    labels: Mapping[str, np.ndarray]
    mean: np.ndarray
    std: np.ndarray
    classes: int
    class_names: tuple[str, ...]
    flip: bool
    fingerprint: str
    jobs: Mapping[str, Job]
    out: Folder
    study: str
    device: str
    threads: int
    deterministic: bool
    preprocessing: Preprocessing | None = None
    logits: bool = False
    teacher_inputs: Inputs | None = None
    teacher_features: bool = False
    checkpoint_every: float = 0.0
    teacher_hashes: Mapping[str, str] = field(default_factory=dict)
    sharing: str = ""

    @property
    def store(self) -> Folder:
        return self.out / self.study

    @property
    def class_counts(self) -> dict[str, list[int]]:
        """The images of each class in each part."""
        return {part: np.bincount(of, minlength=self.classes).tolist() for part, of in self.labels.items()}

    def files(self, job_id: str) -> Folder:
        """The folder of a job's checkpoints and results; its damaged files go to the study's folder `damaged`."""
        teacher = self.jobs[job_id].columns is None
        return self.teacher_files(job_id) if teacher else self._with_damaged(self.store / "checkpoints" / job_id)

    def teacher_files(self, teacher_id: str) -> Folder:
        return self._with_damaged(self.out / "teachers" / teacher_id)

    def _with_damaged(self, folder: Folder) -> Folder:
        return replace(folder, aside=f"{self.store.path}/damaged")


_tensors: dict[str, SplitData] = {}  # of the last data set, by its fingerprint


def data_of(context: RunContext) -> SplitData:
    """The context's data as tensors, made once a process."""
    if context.fingerprint not in _tensors:
        _tensors.clear()
        _tensors[context.fingerprint] = _as_tensors(context)
    return _tensors[context.fingerprint]


def _as_tensors(context: RunContext) -> SplitData:
    def part(name: str) -> Images:
        # Arrays from Ray's object store are read-only, and torch warns about those; nothing here writes to them.
        images, labels = context.images[name], torch.from_numpy(_writable(context.labels[name]))
        if isinstance(images, np.ndarray):
            return Images(torch.from_numpy(_writable(images)), labels)
        return Images(images.here() if isinstance(images, StoredImages) else images, labels)

    mean, std = (torch.from_numpy(array.copy()) for array in (context.mean, context.std))
    return SplitData(part("train"), part("val"), part("test"), mean, std, context.classes, context.flip)


def _writable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable else array.copy()
