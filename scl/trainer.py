"""The whole step loop: one teacher, one stream of batches, many students side by side.

A trial's numbers do not depend on its cohort: data order and augmentation are functions of (seed, epoch),
initialisation of the seed, and a student's step reads nothing of its neighbours. So a trial may be stopped
after any epoch, moved to another cohort, or run alone. Needs torch and safetensors, and neither Ray nor Plotly.
"""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, reduce
from operator import or_
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.sgd import sgd

from scl import checkpoint
from scl.config import SHARED_IN_COHORT, Config
from scl.data import training_batches
from scl.evaluation import evaluate, final_metrics
from scl.graphs import InPlace, Lane, Replayed, can_replay, generators, lanes, one_ahead
from scl.models import Features, Staged, Wanted
from scl.networks import (
    Guide,
    absorb_biases,
    build_student,
    build_teacher,
    example_features,
    in_bf16,
    in_float32,
    laid_out,
)
from scl.objective import Objective, TrialFailure
from scl.trial import Data, EpochDone, Event, Teacher, Trial, TrialEnded, stream_seed


def learning_rate(config: Config, epochs: float) -> float:
    """The rate after so many epochs, fractions included: pre-training at a constant rate, then linear warm-up,
    then cosine to 0 or multi-step decay."""
    epochs -= config.pretrain_epochs
    if epochs <= 0 < config.pretrain_epochs:
        return config.lr
    if epochs < config.warmup_epochs:
        return config.lr * epochs / config.warmup_epochs
    if config.schedule == "multistep":
        # An epoch's last step is at a whole number: it still belongs to the epoch before the milestone.
        return config.lr * config.lr_decay ** sum(epochs > m for m in config.milestones)
    length = max(config.epochs - config.warmup_epochs, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, (epochs - config.warmup_epochs) / length)))


class Student:
    """One trial in training: network, objective, optimiser, and what it has recorded so far."""

    def __init__(self, trial: Trial, data: Data, teacher: Features | None, device: torch.device, lane: Lane) -> None:
        """`teacher`: features of an example batch."""
        self.trial = trial
        self.config = config = trial.config
        model = build_student(config, data, trial.seed)
        if trial.weights is not None:
            model.load_state_dict(trial.weights)
        absorb_biases(model)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stream_seed("objective", trial.seed))
            objective = Objective(config, example_features(model, data, config.tap), teacher)
        self.model = laid_out(model, data, device)
        self.objective = objective.to(device).to(memory_format=torch.channels_last)
        self.parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.momentum: list[Tensor | None] = [None] * len(self.parameters)
        self.draws = stream_seed("draws", trial.seed) >> 1  # room for a step's number
        self.bf16 = in_bf16(config, device)
        # Code of other libraries and of the user's own may do more on the host than a replay does again.
        ours = isinstance(model, Staged) and not any(callable(term.loss) for term in config.losses.values())
        self.lane, self.replayed = lane, Replayed(lane, ours)
        # For a replay the rate stands on the device, where each reads it anew.
        self.rate: float | Tensor = torch.tensor(config.lr, device=device) if lane.graphs else config.lr
        self.weights: dict[str, float] = {}
        self.epoch = 0  # epochs done
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.restarts = 0
        self.started = datetime.now(UTC).isoformat()
        self.failure: str | None = None
        self.pruned = False

    @property
    def to_evaluate(self) -> bool:
        """At the end of an epoch, before it is counted: whether its row wants accuracies."""
        return self.trial.every_epoch or self.epoch + 1 == self.config.total_epochs

    @property
    def finished(self) -> bool:
        return self.failure is not None or self.pruned or self.epoch >= self.config.total_epochs

    def guarded(self, work: Callable[[], None], where: str) -> None:
        """Run a part of this student's work; what it raises ends this trial alone."""
        try:
            work()
        except TrialFailure as failure:
            self.failure = str(failure)
        except torch.OutOfMemoryError:
            raise  # the cohort's affair: the memory is shared
        except Exception:
            self.failure = f"{where}: {traceback.format_exc(limit=-4)}"

    # --- an epoch ---------------------------------------------------------------------------------------------

    def start_epoch(self, steps: int, device: torch.device) -> None:
        self.model.train()
        self.objective.train()
        epoch = self.epoch + 1
        self.wanted, self.wants = self.objective.wanted(epoch)  # of its own features, of the teacher's
        before, names = self.weights, self.objective.term_names
        self.weights = {name: w for name in names if (w := self.objective.weight(name, epoch)) > 0}
        if self.epoch == self.config.pretrain_epochs:
            self.momentum = [None] * len(self.parameters)  # pre-training leaves weights behind, and no momentum
        if self.epoch == self.config.pretrain_epochs or self.weights != before:
            self.replayed.forget()
        # Every term of every step, kept on the device: read once an epoch, so that no step waits for the host.
        self.values = torch.full((steps, len(self.weights)), math.nan, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)

    def step(self, images: Tensor, target: Tensor, teacher: Features | None, step: int, steps: int) -> None:
        began = time.perf_counter()
        with self.lane.entered():
            rate = learning_rate(self.config, self.epoch + (step + 1) / steps)
            self.rate = self.rate.fill_(rate) if isinstance(self.rate, Tensor) else rate
            # Dropout, or a user's loss that draws: a function of seed, epoch and step, and of no neighbour.
            for generator in generators(images.device):
                generator.manual_seed(self.draws + self.epoch * steps + step)
            values, correct = self.replayed(self.learned, images, target, teacher, state=self.learnt)
            self.values[step] = values
            self.correct += correct
        self.seconds += time.perf_counter() - began

    def learned(self, images: Tensor, target: Tensor, teacher: Features | None) -> tuple[Tensor, Tensor]:
        """Learn from a batch; the value of each term that has a weight, and how many predictions were right. The
        device's part of a step: it waits for nothing, and reads nothing of the host but what an epoch keeps."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.model.features(images, self.config.tap, self.wanted)  # type: ignore[operator]
        features = in_float32(features)
        terms = self.objective(features, teacher, target, self.epoch + 1)
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        for parameter in self.parameters:
            parameter.grad = None
        total.backward()  # type: ignore[no-untyped-call]
        self._descend()
        values = torch.stack([terms[name].detach() for name in self.weights])
        return values, (features.logits.detach().argmax(1) == target).sum()

    def learnt(self) -> list[Sequence[Tensor]]:
        """What a step changes, each kind for itself: a count of batches outweighs the statistics beside it."""
        buffers: dict[str, list[Tensor]] = {}
        for name, buffer in [*self.model.named_buffers(), *self.objective.named_buffers()]:
            buffers.setdefault(name.rpartition(".")[-1], []).append(buffer)
        momentum = [buffer for buffer in self.momentum if buffer is not None]
        return [[*self.model.parameters()], [*self.objective.parameters()], momentum, *buffers.values()]

    @torch.no_grad()
    def _descend(self) -> None:
        """A step of SGD by the function under torch's optimizer: the class would import torch's compiler, which takes
        each process 4 s."""
        # Connectors of a term that is not of this stage have no gradient.
        learning = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        momentum = [self.momentum[i] for i in learning]
        sgd(
            [self.parameters[i] for i in learning],
            [self.parameters[i].grad for i in learning],  # type: ignore[misc]
            momentum,
            fused=True,
            lr=self.rate,
            weight_decay=self.config.weight_decay,
            momentum=self.config.momentum,
            nesterov=self.config.nesterov,
            dampening=0.0,
            maximize=False,
        )
        for i, buffer in zip(learning, momentum, strict=True):
            self.momentum[i] = buffer

    def end_epoch(self, sizes: Sequence[int], evaluated: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Fold the epoch into a row of the history.

        Args:
            sizes: images of each step.
            evaluated: `val` and `test` → logits and labels; a part that was not evaluated is left out.

        Raises:
            TrialFailure: a term or an evaluation is not finite.
        """
        epoch = self.epoch + 1
        values = self.values.double().cpu()
        names = list(self.weights)
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            step, column = bad[0].tolist()
            name, value = names[column], values[step, column].item()
            raise TrialFailure(
                f"loss term {name!r} became {value} at epoch {epoch}, step {step + 1} of {len(sizes)}; "
                f"lower lr ({self.config.lr:g}) or the term's weight ({self.weights[name]:g}), or warm it up"
            )
        share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
        means = {name: float((values[:, i] * share).sum()) for i, name in enumerate(names)}
        weighted = {name: self.weights[name] * mean for name, mean in means.items()}
        row: dict[str, Any] = {
            "trial_id": self.trial.id,
            "epoch": epoch,
            "lr": learning_rate(self.config, self.epoch + 0.5 / len(sizes)),
            "train_loss": sum(weighted.values()),
            "train_acc": self.correct.item() / sum(sizes),
            **{f"term.{name}": mean for name, mean in means.items()},
            **{f"weighted.{name}": value for name, value in weighted.items()},
        }
        for part, (logits, labels) in evaluated.items():
            if not torch.isfinite(logits).all():
                raise TrialFailure(f"{part} logits are not finite after epoch {epoch}, step {len(sizes)}; lower lr")
            if len(labels):
                row[f"{part}_acc"] = (logits.argmax(1) == labels).double().mean().item()
        if "val_acc" in row:
            row["val_loss"] = F.cross_entropy(*evaluated["val"]).item()
        self.epoch = epoch
        self.history.append(row)

    # --- stopping and going on --------------------------------------------------------------------------------

    def save(self) -> None:
        if self.trial.files is None:
            return
        momentum = {f"momentum.{i}": buffer for i, buffer in enumerate(self.momentum) if buffer is not None}
        tensors = {
            **{f"model.{k}": v for k, v in self.model.state_dict().items()},
            **{f"objective.{k}": v for k, v in self.objective.state_dict().items()},
            **momentum,
        }
        record = {
            "epoch": self.epoch,
            "history": self.history,
            "seconds": self.seconds,
            "restarts": self.restarts,
            "started": self.started,
        }
        checkpoint.save_epoch(self.trial.files, self.epoch, tensors, record)

    def resume(self) -> None:
        """Go on from the last whole checkpoint, if there is one."""
        found = checkpoint.load_last_epoch(self.trial.files) if self.trial.files is not None else None
        if found is None:
            return
        tensors, record = found

        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        self.objective.load_state_dict(under("objective."))
        for i, buffer in under("momentum.").items():
            # Into the parameter's own memory layout: the step's arithmetic must not notice the stop.
            self.momentum[int(i)] = torch.empty_like(self.parameters[int(i)]).copy_(buffer)
        self.epoch, self.history = record["epoch"], record["history"]
        self.seconds, self.started = record["seconds"], record["started"]
        self.restarts = record["restarts"] + 1

    def ended(self, data: Data, logits: Tensor | None, teacher: Teacher | None, cohort: int) -> TrialEnded:
        """How it ended. `logits`: of the test images after the last epoch; None for a trial that failed."""
        device = next(self.model.parameters()).device
        last = self.history[-1] if self.history else {}
        images = self.epoch * len(data.train.labels)
        metrics: dict[str, Any] = {
            "state": "failed" if self.failure is not None else "pruned" if self.pruned else "completed",
            "error": self.failure,
            "val_acc": last.get("val_acc"),
            "test_acc": last.get("test_acc"),
            "epochs": self.epoch,
            "train_seconds": self.seconds,
            "images_per_second": images / self.seconds if self.seconds > 0 else None,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cohort_size": cohort,
            "restarts": self.restarts,
            "started": datetime.fromisoformat(self.started),
            "ended": datetime.now(UTC),
        }
        judged = [row for row in self.history if "test_acc" in row]
        if judged:
            metrics["test_acc_best"] = max(row["test_acc"] for row in judged)
        if judged and "val_acc" in last:
            best = max(judged, key=lambda row: row["val_acc"])  # the earliest of equals
            metrics |= {"best_epoch": best["epoch"], "test_acc_at_best_val": best["test_acc"]}
        if self.failure is not None or logits is None:
            return TrialEnded(self.trial.id, metrics, self.history)
        metrics |= final_metrics(logits, data.test.labels, teacher.test_logits if teacher else None)
        if self.pruned:
            return TrialEnded(self.trial.id, metrics, self.history)
        if self.config.has_self_taught:
            metrics["test_acc_muted"] = self.muted_accuracy(data)
        weights = {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}
        return TrialEnded(self.trial.id, metrics, self.history, weights, logits.cpu())

    def muted_accuracy(self, data: Data) -> float:
        """Test accuracy with the self-taught channels at zero: what the network makes of the guided ones alone."""
        self.model.muted = True  # type: ignore[assignment]
        (logits,) = evaluate([self.model], data.test, data)
        self.model.muted = False  # type: ignore[assignment]
        return (logits.argmax(1) == data.test.labels).double().mean().item()


def guided(
    batches: Iterator[tuple[Tensor, Tensor]],
    ask: Callable[..., Features] | None,
    wanted: Wanted | None,
    hearing: Sequence[Student],
    lane: Lane,
    place: InPlace,
) -> Iterator[tuple[Tensor, Tensor, Features | None]]:
    """Batches and the teacher's features of each, made on a lane; who hears them is charged for the time."""
    while True:
        with lane.entered():
            batch = next(batches, None)
            if batch is None:
                return
            images, target = place(batch)
            asked = time.perf_counter()
            guidance = ask(images, wanted) if ask is not None and wanted else None
            for student in hearing:
                student.seconds += (time.perf_counter() - asked) / len(hearing)
        yield images, target, guidance


def train_cohort(
    trials: Sequence[Trial],
    data: Data,
    teacher: Teacher | None,
    device: torch.device,
    deterministic: bool = False,
    stop: Callable[[], bool] = lambda: False,
    prune: Callable[[str, int, Mapping[str, Any]], bool] = lambda trial_id, epoch, row: False,
) -> Iterator[Event]:
    """Train trials of one seed and one batch size side by side; yields what happens, as it happens.

    Trials that have checkpoints go on from them, each at its own epoch. A trial that fails ends alone. Where
    `stop()` turns true the generator returns at the next step and what was checkpointed remains.

    Args:
        data: on the CPU or the device. teacher: None where no trial has a transfer loss (agreement with the
            teacher is then left out).
        prune: asked for each trial after each epoch but its last, once that epoch's event has been taken, with the
            trial's id, the epoch and its row; true ends this trial there, and the others go on.
    """
    if len({(t.seed, *(getattr(t.config, name) for name in SHARED_IN_COHORT)) for t in trials}) != 1:
        raise ValueError(f"trials of a cohort share their seed and {', '.join(SHARED_IN_COHORT)}")
    if deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(deterministic)  # asked for in vain it imports torch's compiler: 3 s
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without, cuBLAS has no exact products
    data = data.to(device)
    layers = trials[0].config.teacher_layers
    seed, recipe = trials[0].seed, trials[0].config
    network = build_teacher(teacher, data, device, layers) if teacher is not None else None
    example = example_features(network, data, recipe.tap) if network is not None else None
    guide = Guide(network, recipe.tap, in_bf16(recipe, device)) if network is not None else None
    wanted: Wanted | None = None  # of the teacher's features, by all students together
    graphs = can_replay(device) and (network is None or isinstance(network, Staged))
    ahead = Lane(device, graphs)
    ask = partial(Replayed(ahead), guide) if guide is not None else None
    seen, heard = (InPlace(recipe.batch_size if graphs else None) for _ in range(2))  # by the teacher, by students
    students: list[Student] = []
    for trial, lane in zip(trials, lanes(device, len(trials), graphs), strict=True):
        student = Student(trial, data, example, device, lane)
        student.resume()
        if not student.finished:
            student.save()  # so that every stop is counted, even one within the first epoch or two within one
        students.append(student)

    augment = recipe.augment if recipe.augment != "auto" else "crop+flip" if data.flip else "crop"
    for epoch in range(1, max(t.config.total_epochs for t in trials) + 1):
        active = [s for s in students if not s.finished and s.epoch == epoch - 1]
        if not active:
            continue
        size = recipe.batch_size
        steps = math.ceil(len(data.train.labels) / size) - (len(data.train.labels) % size == 1)
        for student in active:
            student.start_epoch(steps, device)
        wants = [s.wants for s in active if s.wants is not None]
        together = reduce(or_, wants) if wants else None
        wanted = wanted if wanted == together else together  # the same object while it is the same: for replays
        sizes: list[int] = []
        batches = training_batches(
            data.train, batch_size=size, seed=seed, epoch=epoch, augment=augment, mean=data.mean, std=data.std
        )
        began, before = time.perf_counter(), [s.seconds for s in active]
        made = guided(batches, ask, wanted, [s for s in active if s.wants is not None], ahead, seen)
        for step, (images, target, guidance) in enumerate(one_ahead(made, ahead, heard) if graphs else made):
            if stop():
                ahead.joined()  # it is at work on what is freed now
                return
            for student in active:
                if student.failure is None:
                    of_teacher = guidance if student.wants is not None else None
                    work = partial(student.step, images, target, of_teacher, step, steps)
                    student.guarded(work, f"epoch {epoch}, step {step + 1}")
            for student in active:
                student.lane.joined()
            sizes.append(len(target))
        if device.type == "cuda":
            # Steps were only queued, so their own clocks mean little: share the epoch's time out evenly.
            torch.cuda.synchronize(device)
            for student, seconds in zip(active, before, strict=True):
                student.seconds = seconds + (time.perf_counter() - began) / len(active)

        alive = [s for s in active if s.failure is None]
        judged = [s for s in alive if s.to_evaluate]
        logits = {
            part: dict(zip(judged, evaluate([s.model for s in judged], getattr(data, part), data), strict=True))
            for part in ("val", "test")
        }
        for student in alive:
            parts = {p: (of[student], getattr(data, p).labels) for p, of in logits.items() if student in of}
            student.guarded(partial(student.end_epoch, sizes, parts), f"epoch {epoch}")
            if student.epoch == epoch:
                yield EpochDone(student.trial.id, student.history[-1])
                if not student.finished:
                    student.pruned = prune(student.trial.id, epoch, student.history[-1])
                if student.finished:
                    yield student.ended(data, logits["test"][student], teacher, len(trials))
                else:
                    student.save()
        for student in active:
            if student.failure is not None:
                yield student.ended(data, None, teacher, len(trials))
