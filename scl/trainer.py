"""The whole step loop: one teacher, one stream of batches, many students side by side.

A trial's numbers do not depend on its cohort: data order and augmentation are functions of (seed, epoch),
initialisation of the seed, and a student's step reads nothing of its neighbours. So a trial may be stopped
after any epoch, moved to another cohort, or run alone. Needs torch and safetensors, and neither Ray nor Plotly.
"""

from __future__ import annotations

import hashlib
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl import checkpoint
from scl.checkpoint import Files
from scl.config import SHARED_IN_COHORT, Config, canonical_json
from scl.data import Images, evaluation_batches, training_batches
from scl.models import Features, build_model
from scl.objective import Objective, TrialFailure

EVALUATION_BATCH = 256


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


def build_student(config: Config, data: Data, seed: int, layers: Sequence[str] = ()) -> nn.Module:
    """A fresh network. `layers`: guided layers by module path, for a teacher of another library."""
    channels, height, _ = data.image_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("initialisation", seed))
        return build_model(
            config.student,
            data.classes,
            channels,
            config.width,
            config.self_taught,
            config.self_taught_at,
            config.self_taught_from,
            config.guided,
            image_size=height,
            layers=layers,
        )


def build_teacher(teacher: Teacher, data: Data, device: torch.device, layers: Sequence[str] = ()) -> nn.Module:
    model = build_student(teacher.config, data, 0, layers)
    model.load_state_dict(teacher.weights)
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def example_features(model: nn.Module, data: Data, tap: str) -> Features:
    """Features of two blank images: what an Objective reads shapes from."""
    training = model.training
    device = next(model.parameters()).device
    with torch.no_grad():
        features: Features = model.eval().features(torch.zeros(2, *data.image_shape, device=device), tap)  # type: ignore[operator]
    model.train(training)
    return features


def in_float32(features: Features) -> Features:
    return Features([m.float() for m in features.maps], features.embedding.float(), features.logits.float())


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


def generators(device: torch.device) -> list[torch.Generator]:
    """The random streams that layers and losses draw from."""
    cuda = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *cuda]


class Student:
    """One trial in training: network, objective, optimiser, and what it has recorded so far."""

    def __init__(self, trial: Trial, data: Data, teacher: nn.Module | None, device: torch.device) -> None:
        self.trial = trial
        self.config = config = trial.config
        model = build_student(config, data, trial.seed)
        if trial.weights is not None:
            model.load_state_dict(trial.weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("objective", trial.seed))
            features = example_features(teacher, data, config.tap) if teacher is not None else None
            objective = Objective(config, example_features(model, data, config.tap), features)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.objective = objective.to(device).to(memory_format=torch.channels_last)
        self.parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.draws = stream_seed("draws", trial.seed) >> 1  # room for a step's number
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
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
        if self.epoch == self.config.pretrain_epochs:
            self.optimizer.state.clear()  # pre-training leaves weights behind, and no momentum
        # Every term of every step, kept on the device: read once an epoch, so that no step waits for the host.
        self.values = torch.full((steps, len(self.objective.term_names)), math.nan, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)

    def step(self, images: Tensor, target: Tensor, teacher: Features | None, step: int, steps: int) -> None:
        began = time.perf_counter()
        epoch = self.epoch + 1
        rate = learning_rate(self.config, self.epoch + (step + 1) / steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Dropout, or a user's loss that draws: a function of seed, epoch and step, and of no neighbour.
        for generator in generators(images.device):
            generator.manual_seed(self.draws + self.epoch * steps + step)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.model.features(images, self.config.tap)  # type: ignore[operator]
        features = in_float32(features)
        terms = self.objective(features, teacher, target, epoch)
        total = torch.stack([self.objective.weight(name, epoch) * value for name, value in terms.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        for column, name in enumerate(self.objective.term_names):
            if name in terms:
                self.values[step, column] = terms[name].detach()
        self.correct += (features.logits.detach().argmax(1) == target).sum()
        self.seconds += time.perf_counter() - began

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
        names = self.objective.term_names
        weights = {name: self.objective.weight(name, epoch) for name in names}
        active = [i for i, name in enumerate(names) if weights[name] > 0]
        bad = (~torch.isfinite(values[:, active])).nonzero()
        if len(bad):
            step, column = bad[0].tolist()
            name = names[active[column]]
            value = values[step, active[column]].item()
            raise TrialFailure(
                f"loss term {name!r} became {value} at epoch {epoch}, step {step + 1} of {len(sizes)}; "
                f"lower lr ({self.config.lr:g}) or the term's weight ({weights[name]:g}), or warm it up"
            )
        share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
        means = {names[i]: float((values[:, i] * share).sum()) for i in active}
        weighted = {name: weights[name] * mean for name, mean in means.items()}
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
        momentum = {
            f"momentum.{i}": self.optimizer.state[p]["momentum_buffer"]
            for i, p in enumerate(self.parameters)
            if self.optimizer.state[p].get("momentum_buffer") is not None
        }
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
            parameter = self.parameters[int(i)]
            # Into the parameter's own memory layout: the step's arithmetic must not notice the stop.
            self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)
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


def final_metrics(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None) -> dict[str, float]:
    """Test metrics of the last epoch from logits (N, K): top-5, loss, calibration, likeness to the teacher.

    ece: Guo et al., ICML 2017, eq. 3, with 15 equal-width bins of the top probability.
    """
    logits = logits.double()
    probability, predicted = logits.softmax(1).max(1)
    bins = (probability * 15).long().clamp(max=14)
    gap = (predicted == labels).double() - probability
    ece = torch.zeros(15, dtype=torch.float64, device=logits.device).index_add(0, bins, gap).abs().sum() / len(labels)
    top5 = logits.topk(min(5, logits.shape[1])).indices
    metrics = {
        "test_acc5": (top5 == labels[:, None]).any(1).double().mean().item(),
        "test_loss": F.cross_entropy(logits, labels).item(),
        "ece": ece.item(),
    }
    if teacher_logits is not None:
        guide = teacher_logits.to(logits).log_softmax(1)
        metrics["agreement"] = (predicted == guide.argmax(1)).double().mean().item()
        metrics["teacher_kl"] = F.kl_div(logits.log_softmax(1), guide, log_target=True, reduction="batchmean").item()
    return metrics


@torch.inference_mode()
def evaluate(models: Sequence[nn.Module], images: Images, data: Data) -> list[Tensor]:
    """Logits (N, K), float32, of each model in eval mode; the models share the batches."""
    for model in models:
        model.eval()
    outputs: list[list[Tensor]] = [[] for _ in models]
    for batch, _ in evaluation_batches(images, batch_size=EVALUATION_BATCH, mean=data.mean, std=data.std):
        for model, output in zip(models, outputs, strict=True):
            output.append(model(batch).float())
    empty = torch.empty(0, data.classes, device=images.labels.device)
    return [torch.cat(output) if output else empty for output in outputs]


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
    torch.use_deterministic_algorithms(deterministic)
    data = data.to(device)
    layers = trials[0].config.teacher_layers
    guide = build_teacher(teacher, data, device, layers) if teacher is not None else None
    students: list[Student] = []
    for trial in trials:
        student = Student(trial, data, guide, device)
        student.resume()
        if not student.finished:
            student.save()  # so that every stop is counted, even one within the first epoch or two within one
        students.append(student)

    seed, recipe = trials[0].seed, trials[0].config
    augment = recipe.augment if recipe.augment != "auto" else "crop+flip" if data.flip else "crop"
    for epoch in range(1, max(t.config.total_epochs for t in trials) + 1):
        active = [s for s in students if not s.finished and s.epoch == epoch - 1]
        if not active:
            continue
        size = recipe.batch_size
        steps = math.ceil(len(data.train.labels) / size) - (len(data.train.labels) % size == 1)
        for student in active:
            student.start_epoch(steps, device)
        guided = [s for s in active if any(s.objective.weight(n, epoch) for n in s.objective.terms)]
        sizes: list[int] = []
        batches = training_batches(
            data.train, batch_size=size, seed=seed, epoch=epoch, augment=augment, mean=data.mean, std=data.std
        )
        began, before = time.perf_counter(), [s.seconds for s in active]
        for step, (images, target) in enumerate(batches):
            if stop():
                return
            guidance, teacher_seconds = _guidance(guide if guided else None, images, recipe.tap, active[0].bf16)
            for student in active:
                if student in guided:
                    student.seconds += teacher_seconds / len(guided)
                if student.failure is None:
                    work = partial(student.step, images, target, guidance, step, steps)
                    student.guarded(work, f"epoch {epoch}, step {step + 1}")
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


def _guidance(teacher: nn.Module | None, images: Tensor, tap: str, bf16: bool) -> tuple[Features | None, float]:
    """The teacher's features of a batch, and the seconds they took."""
    if teacher is None:
        return None, 0.0
    began = time.perf_counter()
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        features = teacher.features(images, tap)  # type: ignore[operator]
    return in_float32(features), time.perf_counter() - began
