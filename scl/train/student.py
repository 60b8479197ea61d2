"""One student in training: its step, its epochs, its checkpoints and its results."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.models.fold import absorb_biases, folded_state
from scl.models.networks import example_features, fuse, in_bf16, in_float32, move_to_device, start_from
from scl.models.staged import Features, Staged
from scl.models.streams import seeded_streams
from scl.models.tapped import TappedModel
from scl.study.fields import EMA_TEACHER
from scl.study.identity import stream_seed
from scl.study.taught import trained_names
from scl.train import checkpoint, custom, loss_state
from scl.train.averaging import Average, share_of_new
from scl.train.cuda_graphs import GraphRunner, StreamSlot
from scl.train.device_errors import concerns_cohort
from scl.train.epochs import epoch_row
from scl.train.evaluation import evaluate, final_metrics, muted_accuracy
from scl.train.expanded import expand
from scl.train.inputs import own_network
from scl.train.objective import Objective
from scl.train.optimizer import Optimizer
from scl.train.patience import best_row, out_of_patience
from scl.train.process import generators
from scl.train.schedule import learning_rate, place
from scl.train.shares import Shares
from scl.train.teacher import Teacher, teacher_network, with_average
from scl.train.types import TrialEnded, TrialFailure, TrialSpec

OF_VALIDATION = ("val_acc", "val_loss", "val_balanced_acc", "val_macro_f1", "val_acc5")


class StudentTrainer:
    """One trial in training: network, objective, optimiser state, and its record so far.

    Args:
        teacher: features of an example batch (None: no term needs a teacher).

    Raises:
        UserError: the network cannot be built, or a loss cannot compare student and teacher.
    """

    def __init__(
        self, trial: TrialSpec, data: SplitData, teacher: Features | None, device: torch.device, slot: StreamSlot
    ) -> None:
        self.trial, self.device = trial, device
        self.config = config = trial.config
        own = f"network {config.model_name}"
        self.outside = custom.Outside({own: config.model} if callable(config.model) else {})
        model = self._initial(data, teacher)
        fuse(model, config, device)
        seed = stream_seed("objective", trial.seed)
        with torch.random.fork_rng(devices=[]), seeded_streams(seed):
            torch.default_generator.manual_seed(seed)
            objective = Objective(config, example_features(model, data, config.tap), teacher, data.train.labels)
        self.model = move_to_device(model, data, device)
        self.objective = objective.to(device).to(memory_format=torch.channels_last)
        self.optimizer = Optimizer(config, self.model, list(self.objective.parameters()))
        self.average = None
        if config.ema > 0:
            self.average = Average(move_to_device(self._initial(data, teacher), data, device), self.model)
        self.trained_teachers = len(trained_names(config)) or int(EMA_TEACHER not in config.taught_by)
        self.best: dict[str, Tensor] = {}  # the network of the best epoch, if the trial has patience
        self.draw_seed = stream_seed("draws", trial.seed) >> 1  # leaves room to add the number of a step
        self.bf16 = in_bf16(config, device)
        # Other networks and custom losses may run Python code that a replay does not repeat, or draw random numbers.
        self.built_in = isinstance(model, Staged) and not objective.custom
        # A replay repeats one step, and the steps of batches that are accumulated differ.
        self.slot, self.runner = slot, GraphRunner(slot, self.built_in and config.accumulate == 1)
        self.parts = loss_state.Parts(objective.custom_modules)
        # An own network may hold state beside its parameters and buffers, as a custom loss may.
        network = own_network(model)
        self.network = network.net if isinstance(network, TappedModel) and network.own else nn.ModuleList()
        self.network_parts = loss_state.Parts(self.network, config.model_name)
        self.users_code = [f"loss {name!r}" for name in objective.custom] + [own] * bool(self.outside.code)
        # With graphs what changes each step is a tensor on the device, so that each replay reads its new value.
        self.rate: float | Tensor = torch.tensor(config.lr, device=device) if slot.graphs else config.lr
        self.share: float | Tensor = torch.tensor(0.0, device=device) if slot.graphs else 0.0
        self.shares = Shares(config, self.model)
        self.weights: dict[str, float] = {}
        self.scales: dict[str, Any] = {}  # the weights as a step reads them: like `rate`
        self.epoch = 0  # finished epochs
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.joules: float | None = 0.0  # None: no meter, or not for all of its epochs
        self.energy_source = ""
        self.restarts = 0
        self.started = datetime.now(UTC).isoformat()
        self.failure: str | None = None
        self.pruned = False

    def _initial(self, data: SplitData, teacher: Features | None) -> nn.Module:
        """The network with its initial weights, on the CPU."""
        model = teacher_network(self.config, data, self.trial.inputs, self.trial.seed)
        if self.trial.weights is not None:
            start_from(own_network(model), self.trial.weights)
        absorb_biases(own_network(model))
        if self.config.reusing:  # its weights are the teacher's: see `scl.train.reused`
            model.classifier.requires_grad_(False)
        expand(own_network(model), self.config, teacher, self.trial.seed)
        return model

    @property
    def kept(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average if there is one."""
        return self.model if self.average is None else self.average.network

    @property
    def needs_evaluation(self) -> bool:
        """True if the row of the current epoch has accuracies."""
        last = self.epoch + 1 == self.config.total_epochs
        return self.trial.every_epoch or self.config.patience > 0 or last

    @property
    def finished(self) -> bool:
        ended = self.failure is not None or self.pruned or self.epoch >= self.config.total_epochs
        return ended or out_of_patience(self.config, self.history)

    @contextmanager
    def isolate(self, where: str) -> Iterator[None]:
        """An exception in this context fails the trial, not its cohort. where: the epoch and the step."""
        try:
            yield
        except TrialFailure as failure:
            self.failure = str(failure)
        except Exception as error:
            if concerns_cohort(error, self.device):
                raise
            self.failure = f"{where}: {traceback.format_exc(limit=-4)}"

    # --- an epoch ---------------------------------------------------------------------------------------------

    def start_epoch(self, steps: int, device: torch.device) -> None:
        self.model.train()
        self.objective.train()
        epoch = self.epoch + 1
        self.objective.start_epoch(epoch)
        self.wanted, self.teacher_wanted = self.objective.wanted(epoch)
        self.average_guides = EMA_TEACHER in self.config.taught_by and self.teacher_wanted is not None
        if not self.trained_teachers:
            self.teacher_wanted = None
        plain = {name: w for name in self.objective.term_names if (w := self.objective.weight(name, epoch)) > 0}
        self._weigh(self.shares.start_epoch(epoch, plain))
        if self.epoch == self.config.pretrain_epochs:
            self.optimizer.reset()  # pre-training hands on its weights, not its momentum
            self.runner.reset()
        # The values of all steps stay on the device until the end of the epoch, so that no step waits for the host.
        self.values = torch.full((steps, len(self.weights)), math.nan, device=device)
        self.correct = torch.zeros((), dtype=torch.int64, device=device)

    def _weigh(self, weights: dict[str, float]) -> None:
        """Let steps use these weights. A graph reads them on the device, and stays while the same terms have one."""
        known, self.weights = self.weights, weights
        if not self.slot.graphs:
            self.scales = dict(weights)
        elif {name: w > 0 for name, w in weights.items()} == {name: w > 0 for name, w in known.items()}:
            for name, weight in weights.items():
                self.scales[name].fill_(weight)
        else:
            self.scales = {name: torch.tensor(w, device=self.device) for name, w in weights.items()}
            self.runner.reset()

    def charge(self, joules: float, source: str) -> None:
        """Add an epoch's energy. joules: NaN if it is not known."""
        other = self.energy_source not in ("", source)
        self.joules = None if self.joules is None or other or math.isnan(joules) else self.joules + joules
        self.energy_source = source

    def step(
        self,
        images: Tensor,
        target: Tensor,
        teacher: Features | None,
        step: int,
        steps: int,
        index: Tensor | None = None,
    ) -> None:
        """Learn from one batch: images (B, C, H, W), labels (B,) or probabilities (B, K), and, if a term needs
        them, the teacher's features and the numbers of the images (B,)."""
        began = time.perf_counter()
        with self.slot.active():
            self.place = place(self.config.accumulate, self.epoch, step, steps)
            rate = learning_rate(self.config, self.epoch + (step + 1) / steps)
            self.rate = self.rate.fill_(rate) if isinstance(self.rate, Tensor) else rate
            if self.average is not None:
                share = share_of_new(self.config.ema, self.place.number)
                self.share = self.share.fill_(share) if isinstance(self.share, Tensor) else share
            # Dropout and custom losses draw from a function of seed, epoch and step, whatever the cohort.
            seed = self.draw_seed + self.epoch * steps + step
            for generator in generators(images.device):
                generator.manual_seed(seed)
            self.objective.audit = self.epoch == 0 or step % custom.AUDIT_EVERY == 0
            with nullcontext() if self.built_in else seeded_streams(seed):
                if self.shares.due(step, steps):
                    values, correct = self.learn(images, target, teacher, index, (step, steps))
                else:
                    values, correct = self.runner(
                        self.learn, images, target, teacher, index,
                        state=self.changing_tensors, settings=self.settings(),
                    )  # fmt: skip
            self.values[step] = values
            self.correct += correct
        self.seconds += time.perf_counter() - began

    def learn(
        self,
        images: Tensor,
        target: Tensor,
        teacher: Features | None,
        index: Tensor | None = None,
        measured: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One step: forward, objective, backward, and the update of the weights and of their average.

        It never waits for the device, and the only host values that it reads are constant until the graph is dropped,
        so that a CUDA graph can replay it; unless it measures shares of the gradient.

        Args:
            measured: the step (from 0) and the steps of the epoch, if shares are measured in it.

        Returns:
            The value of each term that has a weight, and the number of correct predictions.
        """
        with (
            custom.kept_apart(*self.users_code) if self.outside.code else nullcontext(),
            torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            features = self.model.features(images, self.config.tap, self.wanted)  # type: ignore[operator]
            if self.average_guides and self.average is not None:
                teacher = with_average(self.average.network, self.config.tap, images, teacher, self.trained_teachers)
        features = in_float32(features)
        terms = self.objective(features, teacher, target, self.epoch + 1, images, index)
        if self.place.first:
            for parameter in self.optimizer.parameters:
                parameter.grad = None
        # Backward runs code of users too: autograd functions and hooks.
        with custom.kept_apart(*self.users_code) if self.users_code else nullcontext():
            if measured is not None:
                cross_entropy = self.objective.cross_entropy(features.logits, target)
                self._weigh(self.shares.measure(terms, cross_entropy, *measured))
            weighted = [self.scales[name] * value for name, value in terms.items() if self.weights[name] > 0]
            total = torch.stack(weighted or [0.0 * value for value in terms.values()]).sum()
            if self.place.together > 1:
                total = total / self.place.together
            total.backward()  # type: ignore[no-untyped-call]
        if self.place.last:
            self.optimizer.step(self.rate)
            if self.average is not None:
                self.average.update(self.share)
        values = torch.stack([terms[name].detach() for name in self.weights])
        labels = target if target.ndim == 1 else target.argmax(1)
        return values, (features.logits.detach().argmax(1) == labels).sum()

    def settings(self) -> list[Tensor]:
        """The tensors that change between steps and that a step reads, on a device with graphs."""
        return [value for value in (self.rate, self.share, *self.scales.values()) if isinstance(value, Tensor)]

    def changing_tensors(self) -> list[Sequence[Tensor]]:
        """The tensors that a step changes, by kind: a large count of batches must not hide the statistics beside it."""
        buffers: dict[str, list[Tensor]] = {}
        for name, buffer in [*self.model.named_buffers(), *self.objective.named_buffers()]:
            buffers.setdefault(name.rpartition(".")[-1], []).append(buffer)
        averages = [] if self.average is None else self.average.changing()
        parameters = [[*self.model.parameters()], [*self.objective.parameters()]]
        return [*parameters, *self.optimizer.changing(), *averages, *buffers.values()]

    def end_epoch(self, sizes: Sequence[int], evaluated: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Append the row of the epoch to the history.

        Args:
            sizes: the number of images in each step.
            evaluated: `val` and `test` → logits (N, K) and labels (N,), as far as they were evaluated.

        Raises:
            TrialFailure: a term or a logit is not finite, or a custom loss or own network changed variables outside of
                it, or replaced its parameters.
        """
        for checked in (self.objective.outside, self.outside, self.parts, self.network_parts):
            checked.check()
        values, right = self.values.double().cpu(), self.correct.item()
        row = epoch_row(self.trial, self.epoch + 1, values, right, sizes, self.weights, self.shares, evaluated)
        self.epoch += 1
        self.history.append(row)
        if self.config.patience and best_row(self.config, self.history) is row:
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.kept.state_dict().items()}

    # --- checkpoints and results ------------------------------------------------------------------------------

    def save(self, writer: checkpoint.Writer) -> None:
        """Have a checkpoint written, if the trial has a folder for it."""
        if self.trial.files is None:
            return
        held, plain = loss_state.loss_state(self.objective.custom_modules)
        state, attributes = loss_state.loss_state(self.network)
        tensors = {
            **{f"model.{k}": v for k, v in self.model.state_dict().items()},
            **{f"objective.{k}": v for k, v in self.objective.state_dict().items() if isinstance(v, Tensor)},
            **self.optimizer.tensors(),
            **({} if self.average is None else {f"ema.{k}": v for k, v in self.kept.state_dict().items()}),
            **{f"best.{k}": v for k, v in self.best.items()},
            **{f"custom.{k}": v for k, v in held.items()},
            **{f"network.{k}": v for k, v in state.items()},
        }
        kept = ("epoch", "history", "seconds", "joules", "energy_source", "restarts", "started")
        record = {name: getattr(self, name) for name in kept}
        record |= {"shares": self.shares.logarithms} if self.shares.shares else {}
        record |= {"custom": plain} if plain else {}
        record |= {"network": attributes} if attributes else {}
        writer.write(self.trial.files, checkpoint.snapshot(self.epoch, tensors, record))

    def resume(self) -> None:
        """Continue from the last intact checkpoint, if there is one."""
        found = checkpoint.load_last_epoch(self.trial.files) if self.trial.files is not None else None
        if found is None:
            return
        tensors, record = found

        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        loss_state.restore_loss_state(self.network, under("network."), record.get("network", {}))
        extra = {k: v for k, v in self.objective.state_dict().items() if not isinstance(v, Tensor)}
        loss_state.fit_buffers(self.objective.custom_modules, under("objective.learned."))
        self.objective.load_state_dict({**extra, **under("objective.")})
        loss_state.restore_loss_state(self.objective.custom_modules, under("custom."), record.get("custom", {}))
        self.optimizer.load(tensors, captured=isinstance(self.rate, Tensor))
        if self.average is not None:
            self.average.network.load_state_dict(under("ema."))
        self.best = under("best.")
        self.epoch, self.history = record["epoch"], record["history"]
        self.shares.logarithms = record.get("shares", {})
        self.seconds, self.started = record["seconds"], record["started"]
        self.joules, self.energy_source = record.get("joules"), record.get("energy_source", "")
        self.restarts = record["restarts"] + 1

    def result(self, data: SplitData, logits: Mapping[str, Tensor], teacher: Teacher | None, cohort: int) -> TrialEnded:
        """The outcome of the trial: of its network after the last epoch or, with patience, after its best epoch.

        Args:
            logits: `val` and `test` → (N, K) after the last epoch; empty if the trial failed.
            cohort: the number of trials in the cohort.
        """
        device = next(self.model.parameters()).device
        state = "failed" if self.failure is not None else "pruned" if self.pruned else "completed"
        row: Mapping[str, Any] = self.history[-1] if self.history else {}
        best = best_row(self.config, self.history)
        if state == "completed" and self.best and best is not None:
            row = best
            self.kept.load_state_dict(self.best)
            logits = {part: evaluate([self.kept], getattr(data, part), data)[0] for part in ("val", "test")}
        images = self.epoch * len(data.train.labels)
        metrics: dict[str, Any] = {
            "state": state,
            "error": self.failure,
            **{name: row.get(name) for name in OF_VALIDATION},
            "test_acc": row.get("test_acc"),
            "epochs": self.epoch,
            "train_seconds": self.seconds,
            "images_per_second": images / self.seconds if self.seconds > 0 else None,
            "energy_joules": self.joules,
            "energy_source": self.energy_source if self.joules is not None else None,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "cohort_size": cohort,
            "restarts": self.restarts,
            "started": datetime.fromisoformat(self.started),
            "ended": datetime.now(UTC),
        }
        evaluated = [row for row in self.history if "test_acc" in row]
        if evaluated:
            metrics["test_acc_best"] = max(row["test_acc"] for row in evaluated)
        if evaluated and best is not None:
            metrics |= {"best_epoch": best["epoch"], "test_acc_at_best_val": best["test_acc"]}
        if self.failure is not None or not logits:
            return TrialEnded(self.trial.id, metrics, self.history)
        metrics |= final_metrics(logits["test"], data.test.labels, teacher.test_logits if teacher else None)
        if self.pruned:
            return TrialEnded(self.trial.id, metrics, self.history)
        if self.config.has_self_taught:
            metrics["test_acc_muted"] = muted_accuracy(self.kept, data)
        weights = {name: tensor.detach().cpu() for name, tensor in folded_state(own_network(self.kept)).items()}
        test, val = (logits[part].cpu() for part in ("test", "val"))
        return TrialEnded(self.trial.id, metrics, self.history, weights, test, val)
