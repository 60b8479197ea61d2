"""How long a step takes here: the teacher's forward and each student's part, timed in a few steps."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from scl.data.batches import SplitData, image_order, training_batches
from scl.errors import UserError, first_line
from scl.models.networks import build_student, example_features, in_bf16, in_float32, move_to_device
from scl.study.config import Config
from scl.train.expanded import expand
from scl.train.inputs import Inputs
from scl.train.objective import Objective
from scl.train.process import threads
from scl.train.teacher import TeacherForward, teacher_network

SECONDS = 2.0  # after this time no further step or kind of configuration is timed


@dataclass
class Probe:
    """Times each kind of network and losses once, and keeps the times.

    Args:
        threads: of the CPU, as a cohort has. macs: multiply-accumulates of one image in a student. inputs: what the
            teacher takes and gives; None if that is what the data give.
    """

    teacher: Config
    data: SplitData
    device: torch.device
    threads: int
    macs: Callable[[Config], int]
    inputs: Inputs | None = None
    steps: dict[str, float] = field(default_factory=dict)  # kind → seconds of its step
    forwards: list[float] = field(default_factory=list)  # seconds of the teacher's forward of an image

    def step_seconds(self, configs: Mapping[str, Config]) -> dict[str, float]:
        """Seconds of one step of each configuration, without the teacher's forward. Configurations that were not timed
        are estimated from their multiply-accumulates.

        Raises:
            UserError: a step of one cannot be taken.
        """
        began = time.monotonic()
        kinds = {key: self._kind(config) for key, config in configs.items()}
        for key, kind in kinds.items():
            if kind not in self.steps and (not self.steps or time.monotonic() - began < SECONDS):
                self.steps[kind] = self._timed(configs[key])
        work = {key: self.macs(c) * c.batch_size for key, c in configs.items()}
        known = [self.steps[kinds[key]] / work[key] for key in configs if kinds[key] in self.steps]
        rate = statistics.mean(known) if known else 0.0
        return {key: self.steps.get(kind, rate * work[key]) for key, kind in kinds.items()}

    def teacher_seconds(self, batch_size: int) -> float:
        """Seconds of the teacher's forward of a batch."""
        if not self.forwards:
            self._timed(self.teacher)
        return statistics.median(self.forwards) * batch_size

    def _kind(self, config: Config) -> str:
        step = (config.batch_size, config.connector, config.tap, config.expansion)
        return f"{self.macs(config)} {sorted(config.losses)} {' '.join(map(str, step))}"

    def _timed(self, config: Config) -> float:
        try:
            with threads(self.threads):
                forward, own = self._some_steps(config)
        except Exception as error:  # most likely a custom loss, whose trials would all fail
            names = ", ".join(config.losses) or "cross-entropy alone"
            raise UserError(
                f"a step with {names} failed: {type(error).__name__}: {first_line(error)}; fix it, or all its "
                "trials fail"
            ) from error
        self.forwards.append(forward / config.batch_size)
        return own

    def _some_steps(self, config: Config, count: int = 3) -> tuple[float, float]:
        """Seconds of a teacher's forward, and of a configuration's step without it: the medians of a few.

        The optimizer's share is small and left out: its first use would take longer than all of this.
        """
        data, device, bf16 = self.data, self.device, in_bf16(config, self.device)
        network = move_to_device(
            teacher_network(self.teacher, data, self.inputs, 0, config.teacher_layers), data, device
        )
        guide = example_features(network, data, config.tap)
        model = build_student(config, data, 0)
        expand(model, config, guide, 0)
        model = move_to_device(model, data, device)
        student = example_features(model, data, config.tap)
        objective = Objective(config, student, guide, data.train.labels).to(device)
        teacher = TeacherForward(network.eval().requires_grad_(False), config.tap, bf16)
        forwards, own = [], []
        batches = training_batches(
            data.train, batch_size=config.batch_size, seed=0, epoch=1, augment="crop", mean=data.mean, std=data.std
        )
        order = image_order(data.train, batch_size=config.batch_size, seed=0, epoch=1).to(device)
        numbers = [order[i : i + config.batch_size] for i in range(0, len(order), config.batch_size)]
        epoch = config.total_epochs
        mine, _ = objective.wanted(epoch)
        model.train()
        start = time.monotonic()
        for (images, target), index in zip(itertools.islice(batches, count + 1), numbers, strict=False):
            images, target = images.to(device), target.to(device)
            began = self._now()
            teacher_features = teacher(images, None)
            between = self._now()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                features = model.features(images, config.tap, mine)  # type: ignore[operator]
            terms = objective(in_float32(features), teacher_features, target, epoch, images, index)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            forwards.append(between - began)
            own.append(self._now() - between)
            if time.monotonic() - start > SECONDS:
                break
        # The first step pays for set-up.
        return statistics.median(forwards[1:] or forwards), statistics.median(own[1:] or own)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
