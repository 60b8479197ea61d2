"""One cohort from the plan to the store: what an inline run and a Ray worker both do."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from scl import checkpoint, memory, results, trainer
from scl.config import Config, UserError, requested, sha256
from scl.data import Images
from scl.errors import first_line
from scl.storage import Folder
from scl.trial import Data, Event, Teacher, Trial, TrialEnded

NO_MEMORY = "alone it does not fit either: lower batch_size or width, or raise --gpus-per-trial: fewer share a GPU"
TEACHER_FILE = "teacher.safetensors"


@dataclass(frozen=True)
class Job:
    """A trial to train and the columns of its row that are known beforehand; a teacher has none.

    weights: what to start from, where not from random ones.
    """

    config: Config
    seed: int
    teacher_id: str | None = None
    columns: Mapping[str, Any] | None = None
    weights: Mapping[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class World:
    """What all cohorts of a run share. Numpy arrays, so that Ray's workers map one copy a node.

    images: train, val, test → uint8 (N, C, H, W); labels: the same → int64 (N,).
    """

    images: Mapping[str, np.ndarray]
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

    @property
    def store(self) -> Folder:
        return self.out / self.study

    def files(self, job_id: str) -> Folder:
        """Where a job keeps its checkpoints and what remains of it. What is damaged there goes to the study's own."""
        teacher = self.jobs[job_id].columns is None
        return self.teacher_files(job_id) if teacher else self._noting(self.store / "checkpoints" / job_id)

    def teacher_files(self, teacher_id: str) -> Folder:
        return self._noting(self.out / "teachers" / teacher_id)

    def _noting(self, folder: Folder) -> Folder:
        return replace(folder, aside=f"{self.store.path}/damaged")


def data_of(world: World) -> Data:
    """The world's data as tensors, made once a process."""
    return _data(world.fingerprint, _Hidden(world))


@dataclass(frozen=True)
class _Hidden:
    """Carries a world through a cache that is keyed by the data's fingerprint alone."""

    world: World

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)


@lru_cache(maxsize=1)
def _data(fingerprint: str, hidden: _Hidden) -> Data:
    world = hidden.world

    def part(name: str) -> Images:
        # Arrays from Ray's object store are read-only, and torch warns of that; nothing here writes to them.
        images, labels = world.images[name], world.labels[name]
        return Images(torch.from_numpy(_writable(images)), torch.from_numpy(_writable(labels)))

    return Data(
        part("train"),
        part("val"),
        part("test"),
        torch.from_numpy(world.mean.copy()),
        torch.from_numpy(world.std.copy()),
        world.classes,
        world.flip,
    )


def _writable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable else array.copy()


def load_teacher(world: World, teacher_id: str, config: Config) -> tuple[Teacher, dict[str, Any]] | None:
    """A teacher that is ready, with its record, or None where it is not there or damaged."""
    files = world.teacher_files(teacher_id)
    for name in (adopted_file(world, config), TEACHER_FILE):
        try:
            tensors, record = checkpoint.unpack(files.read(name))
        except FileNotFoundError:
            continue
        except checkpoint.Damaged as damage:
            files.set_aside(name, str(damage))
            continue
        if record.get("use") in (None, use_of(world, config)):
            return Teacher(config, tensors, tensors.pop("test_logits")), record
    return None


def use_of(world: World, config: Config) -> dict[str, Any]:
    """What a checkpoint of the user's is used for: a network and data. Its id is that of the file alone."""
    return {"config": requested(config), "data": world.fingerprint}


def adopted_file(world: World, config: Config) -> str:
    """A file for each use: studies of other data beside this one keep theirs."""
    return f"teacher-{sha256(use_of(world, config))[:16]}.safetensors"


def save_teacher(
    files: Folder,
    weights: Mapping[str, torch.Tensor],
    logits: torch.Tensor,
    record: dict[str, Any],
    name: str = TEACHER_FILE,
) -> None:
    files.write(name, checkpoint.pack({**weights, "test_logits": logits}, record))


def execute(
    world: World,
    job_ids: Sequence[str],
    stop: Callable[[], bool] = lambda: False,
    prune: Callable[[str, int, Mapping[str, Any]], bool] = lambda trial_id, epoch, row: False,
) -> Iterator[Event]:
    """Train a cohort and put what ends into the store; yields the trainer's events.

    A cohort whose worker died comes here again: what had ended by then is left as it is. One that does not fit into
    the GPU's memory goes on in halves, from its checkpoints; a trial that does not fit alone has failed.
    """
    torch.set_num_threads(world.threads)
    memory.keep_freed()
    ended = results.ended_in_parts(world.store, job_ids)
    jobs = {i: world.jobs[i] for i in job_ids if i not in ended}
    if not jobs:
        return
    teacher_ids = {job.teacher_id for job in jobs.values()}
    if len(teacher_ids) != 1:
        raise ValueError("trials of a cohort share their teacher")
    (teacher_id,) = teacher_ids
    teacher = None
    if teacher_id is not None:
        found = load_teacher(world, teacher_id, world.jobs[teacher_id].config)
        if found is None:
            raise UserError(f"teacher {teacher_id[:12]} is missing from {world.out / 'teachers'}; run the study again")
        teacher = found[0]
    trials = [
        Trial(i, job.config, job.seed, world.files(i), job.columns is not None, job.weights) for i, job in jobs.items()
    ]
    waiting = [trials]
    while waiting and not stop():
        cohort = waiting.pop(0)
        over: set[str] = set()
        wanted = None
        try:
            for event in trainer.train_cohort(
                cohort, data_of(world), teacher, torch.device(world.device), world.deterministic, stop, prune
            ):
                if isinstance(event, TrialEnded):
                    _keep(world, event)
                    over.add(event.trial_id)
                yield event
        except torch.OutOfMemoryError as error:
            wanted = first_line(error)
        if wanted is None:
            continue
        # Out of the handler, so that nothing of the cohort is held any more by its traceback.
        if world.device == "cuda" and torch.cuda.is_available():
            torch.cuda.synchronize()  # streams may still be at work on what is freed now
        gc.collect()
        torch.cuda.empty_cache()
        left = [t for t in cohort if t.id not in over]
        if len(cohort) > 1:
            half = -(-len(left) // 2)
            print(f"a cohort of {len(cohort)} does not fit: {wanted}; it goes on in two", file=sys.stderr)
            waiting = [part for part in (left[:half], left[half:]) if part] + waiting
        elif left:
            failed = TrialEnded(left[0].id, {"state": "failed", "error": f"{wanted}; {NO_MEMORY}"}, [])
            _keep(world, failed)
            yield failed


def _keep(world: World, ended: TrialEnded) -> None:
    """The network first, the row next, checkpoints last: killed anywhere, a trial is either to be gone on with
    or complete."""
    job, files = world.jobs[ended.trial_id], world.files(ended.trial_id)
    completed = ended.metrics["state"] == "completed"
    plain = {k: v for k, v in ended.metrics.items() if isinstance(v, (str, int, float))}
    if job.columns is None:
        if completed:
            assert ended.test_logits is not None
            save_teacher(files, ended.weights, ended.test_logits, {"metrics": plain})
            checkpoint.drop_epochs(files)
        return
    predicted = None
    if completed:
        assert ended.test_logits is not None
        predicted = ended.test_logits.argmax(1).numpy()
        record = {
            **{name: job.columns[name] for name in ("trial_id", "study", "arm", "seed")},
            "config": json.loads(job.columns["config_json"]),
            "test_acc": plain["test_acc"],
            # All that is needed to build the network again and to give it what it was trained on.
            "classes": list(world.class_names),
            "image_shape": list(world.images["train"].shape[1:]),
            "mean": world.mean.tolist(),
            "std": world.std.tolist(),
        }
        files.write("student.safetensors", checkpoint.pack(ended.weights, record))
    results.write_part(world.store, {**job.columns, **ended.metrics}, ended.epochs, predicted)
    checkpoint.drop_epochs(files)
