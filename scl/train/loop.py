"""The training loop: one teacher, one stream of batches, many students side by side.

The numbers of a trial do not depend on its cohort. Data order and augmentation are functions of seed and epoch (of the
epoch alone with `shared_batches`, so that a cohort may span seeds), the initial weights are a function of the seed, and
the step of a student reads nothing of other students. So a trial can stop after any epoch, move to another cohort, or
run alone. The loop needs torch and safetensors, but neither Ray nor Plotly.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor

from scl.data.batches import SplitData, image_order, training_batches
from scl.energy import meter_of
from scl.errors import UserError
from scl.models.networks import example_features, in_bf16
from scl.models.staged import HEAD, Features, Staged, Wanted
from scl.study.augment import without_auto
from scl.study.fields import SHARED_IN_COHORT
from scl.train.checkpoint import Writer
from scl.train.cuda_graphs import GraphRunner, StaticBuffers, StreamSlot, prefetch, stream_slots, supports_graphs
from scl.train.device_errors import concerns_cohort
from scl.train.evaluation import evaluate
from scl.train.kept_features import KeptEpoch, KeptFiles
from scl.train.process import TrainingSettings
from scl.train.reused import with_classifier
from scl.train.student import StudentTrainer
from scl.train.teacher import Teacher, TeacherForward, build_teacher
from scl.train.types import EpochDone, Event, TrialEnded, TrialFailure, TrialSpec

GLANCES_SHARE = 0.02  # of the time of training that glances may take


def train_cohort(
    trials: Sequence[TrialSpec],
    data: SplitData,
    teacher: Teacher | None,
    device: torch.device,
    deterministic: bool = False,
    stop: Callable[[], bool] = lambda: False,
    prune: Callable[[str, int, Mapping[str, Any]], bool] = lambda trial_id, epoch, row: False,
    checkpoint_every: float = 0.0,
    kept: KeptFiles | None = None,
) -> Iterator[Event]:
    """Train trials of one stream of batches side by side; yield events as they happen.

    Trials with checkpoints resume from them, each at its own epoch. A trial that fails, or whose network or objective
    cannot be built, ends without the others.
    Whenever the caller's code runs (between events, and in `stop` and `prune`), torch's random state and deterministic
    mode are those of the caller.

    Args:
        data: on the CPU or on the device.
        teacher: may be None if no trial has a transfer loss; then there is no agreement with the teacher.
        deterministic: use only deterministic algorithms of torch, which are slower on a GPU.
        stop: asked before each step; if true, the generator returns, and the checkpoints stay.
        prune: asked with trial id, epoch and row after each epoch but the last; if true, this trial ends.
        checkpoint_every: seconds. Checkpoints are written after the first epoch that ends so long after those before,
            since on a fast GPU writing one may take as long as an epoch. A thread writes them during the next epoch;
            all are written before an event says that a trial ended, and when this generator ends.
        kept: where the teacher's embeddings and logits of an epoch are read, if an earlier cohort of the same teacher
            and batches left them there, and left; see `KeptEpoch`. None: they are computed.

    Raises:
        ValueError: the trials differ in the seed of their batches or in a field of SHARED_IN_COHORT.
        UserError: the teacher cannot be built.
        OSError: a checkpoint cannot be written; raised when the next one is due, or when a trial ends.
        RuntimeError: the cohort does not fit into the memory of the device (`is_out_of_memory`), or the device can
            compute no more in this process (`is_broken`).
    """
    if len({t.config.stream(t.seed) for t in trials}) != 1:
        raise ValueError(f"trials of a cohort share the seed of their batches and {', '.join(SHARED_IN_COHORT)}")
    recipe = trials[0].config
    seed = recipe.batch_seed(trials[0].seed)
    with TrainingSettings(device, deterministic, recipe.precision == "fp32") as settings, Writer() as writer:
        data = data.to(device)
        network = build_teacher(teacher, data, device, recipe.teacher_layers) if teacher is not None else None
        example = example_features(network, data, recipe.tap) if network is not None else None
        graphs = supports_graphs(device) and (network is None or isinstance(network, Staged))
        meter = meter_of(device)
        teacher_slot = StreamSlot(device, graphs)
        teacher_forward: Callable[..., Features] | None = None
        if network is not None:
            forward = TeacherForward(network, recipe.tap, in_bf16(recipe, device))
            teacher_forward = partial(GraphRunner(teacher_slot), forward)
        teacher_buffers, student_buffers = (StaticBuffers(recipe.batch_size if graphs else None) for _ in range(2))
        wanted: Wanted | None = None  # the teacher's features that any student needs
        students: list[StudentTrainer] = []
        for trial, slot in zip(trials, stream_slots(device, len(trials), graphs), strict=True):
            try:
                student = StudentTrainer(with_classifier(trial, teacher), data, example, device, slot)
            except MemoryError:
                raise
            except Exception as error:  # a worker may lack a library, and user code can raise anything
                if concerns_cohort(error, device):
                    raise
                known = isinstance(error, UserError | TrialFailure)
                reason = str(error) if known else traceback.format_exc(limit=-4)
                with settings.suspended():
                    yield TrialEnded(trial.id, {"state": "failed", "error": reason}, [])
                continue
            student.resume()
            if not student.finished:
                student.save(writer)  # so that every stop counts as a restart, even two within one epoch
            students.append(student)
        writer.settle()

        saved = time.monotonic()
        glances = Glances(data)
        augment = without_auto(recipe.augment, data.flip, max(data.image_shape[1:]))
        for epoch in range(1, max(t.config.total_epochs for t in trials) + 1):
            active = [s for s in students if not s.finished and s.epoch == epoch - 1]
            if not active:
                continue
            size = recipe.batch_size
            count = len(data.train.labels) - (len(data.train.labels) % size == 1)  # images of the epoch's batches
            steps = math.ceil(count / size)
            for student in active:
                student.start_epoch(steps, device)
            guided = [s for s in active if s.teacher_wanted is not None]
            together = reduce(or_, (s.teacher_wanted for s in guided)) if guided else None
            wanted = wanted if wanted == together else together  # graphs are replayed for the same object
            sizes: list[int] = []
            began, before = time.perf_counter(), [s.seconds for s in active]
            joules = meter.read() if meter else math.nan
            batches = training_batches(
                data.train,
                batch_size=size,
                seed=seed,
                epoch=epoch,
                augment=augment,
                mean=data.mean,
                std=data.std,
                sampling=recipe.sampling,
                classes=data.classes,
            )
            order = None
            if any(s.objective.remembers for s in active):
                order = image_order(data.train, batch_size=size, seed=seed, epoch=epoch, sampling=recipe.sampling)
                order = order.to(device)
            of_epoch = teacher_forward
            if teacher_forward is not None and kept is not None and wanted == HEAD:
                of_epoch = KeptEpoch(teacher_forward, kept, epoch, count, device)
            guiding = with_teacher(numbered(batches, order), of_epoch, wanted, guided, teacher_slot, teacher_buffers)
            guiding = prefetch(guiding, teacher_slot, student_buffers) if graphs else guiding
            for step, (images, target, index, teacher_features) in enumerate(guiding):
                with settings.suspended():
                    stopped = stop()
                if stopped:
                    teacher_slot.join()  # it still uses memory that is freed now
                    return
                for student in active:
                    if student.failure is None:
                        features = teacher_features if student.teacher_wanted is not None else None
                        with student.isolate(f"epoch {epoch}, step {step + 1}"):
                            student.step(images, target, features, step, steps, index)
                for student in active:
                    student.slot.join()
                sizes.append(len(target))
                if meter:
                    meter.keep_up()
            if device.type == "cuda":
                # Steps were only queued, so their own times mean little: divide the epoch's time evenly.
                torch.cuda.synchronize(device)
                for student, seconds in zip(active, before, strict=True):
                    student.seconds = seconds + (time.perf_counter() - began) / len(active)

            alive = [s for s in active if s.failure is None]
            glanced = glances.after([s for s in alive if not s.needs_evaluation], time.perf_counter() - began)
            evaluated = [s for s in alive if s.needs_evaluation]
            models = [s.kept for s in evaluated]
            logits = {
                part: dict(zip(evaluated, evaluate(models, getattr(data, part), data), strict=True))
                for part in ("val", "test")
            }
            if due := time.monotonic() - saved >= checkpoint_every:
                saved = time.monotonic()
                writer.settle()
            share_energy(active, before, meter.read() - joules if meter else math.nan, meter.source if meter else "")
            for student in alive:
                parts = {p: (of[student], getattr(data, p).labels) for p, of in logits.items() if student in of}
                with student.isolate(f"epoch {epoch}"):
                    student.end_epoch(sizes, parts)
                if student.epoch == epoch:
                    with settings.suspended():
                        yield EpochDone(student.trial.id, {**student.history[-1], **glanced.get(student, {})})
                        if not student.finished:
                            student.pruned = prune(student.trial.id, epoch, student.history[-1])
                    if student.finished:
                        ended = student.result(data, {p: of[student] for p, of in logits.items()}, teacher, len(trials))
                        writer.settle()  # a checkpoint must not appear after the trial's end has removed them
                        with settings.suspended():
                            yield ended
                    elif due:
                        student.save(writer)
            for student in active:
                if student.failure is not None:
                    ended = student.result(data, {}, teacher, len(trials))
                    writer.settle()
                    with settings.suspended():
                        yield ended


def share_energy(students: Sequence[StudentTrainer], before: Sequence[float], joules: float, source: str) -> None:
    """Charge students with an epoch's energy, by their shares of its time. before: their seconds when it began."""
    spent = [student.seconds - seconds for student, seconds in zip(students, before, strict=True)]
    total = sum(spent)
    for student, seconds in zip(students, spent, strict=True):
        student.charge(joules * (seconds / total if total > 0 else 1 / len(students)), source)


@dataclass
class Glances:
    """Validation accuracy between the evaluations that a trial needs, for those who watch: a teacher has only one,
    after its last epoch. Nothing depends on it, and it takes a small share of the time.

    trained, spent: seconds of training, and of these evaluations.
    """

    data: SplitData
    trained: float = 0.0
    spent: float = 0.0

    def after(self, students: Sequence[StudentTrainer], seconds: float) -> dict[StudentTrainer, dict[str, float]]:
        """`val_acc` of students after an epoch of so many seconds; of none if that would take too long."""
        self.trained += seconds
        val, images = self.data.val, len(self.data.train.labels)
        expected = seconds * len(val.labels) / images / 3  # a forward without a backward
        if not students or not len(val.labels) or self.spent + expected > GLANCES_SHARE * self.trained:
            return {}
        began = time.perf_counter()
        logits = evaluate([student.kept for student in students], val, self.data)
        found = [{"val_acc": (of.argmax(1) == val.labels).double().mean().item()} for of in logits]
        self.spent += time.perf_counter() - began
        return dict(zip(students, found, strict=True))


def numbered(
    batches: Iterator[tuple[Tensor, Tensor]], order: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Batches with the numbers of their images, from the order of all images; None without it."""
    start = 0
    for images, target in batches:
        yield images, target, None if order is None else order[start : start + len(images)]
        start += len(images)


def with_teacher(
    batches: Iterator[tuple[Tensor, Tensor, Tensor | None]],
    teacher_forward: Callable[..., Features] | None,
    wanted: Wanted | None,
    students: Sequence[StudentTrainer],
    slot: StreamSlot,
    buffers: StaticBuffers,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Features | None]]:
    """Batches with the teacher's features, computed on the stream of `slot`; `students` share the time it takes."""
    while True:
        with slot.active():
            batch = next(batches, None)
            if batch is None:
                return
            images, target, index = buffers(batch)
            began = time.perf_counter()
            features = teacher_forward(images, wanted) if teacher_forward is not None and wanted else None
            for student in students:
                student.seconds += (time.perf_counter() - began) / len(students)
        yield images, target, index, features
