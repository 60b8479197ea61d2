"""How long a step takes here: the teacher's forward and each student's own part, timed in a few steps."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from scl.config import Config, UserError
from scl.data import training_batches
from scl.errors import first_line
from scl.networks import Guide, build_student, example_features, in_bf16, in_float32, laid_out
from scl.objective import Objective
from scl.trial import Data

SECONDS = 2.0  # after so long no further step is timed, and no further kind of configuration


@dataclass
class Probe:
    """Times configurations, each kind of network and losses once; it remembers what it has timed.

    Args:
        threads: of the CPU, as a cohort has. macs: multiply-accumulates of one image in a student.
    """

    teacher: Config
    data: Data
    device: torch.device
    threads: int
    macs: Callable[[Config], int]
    steps: dict[str, float] = field(default_factory=dict)  # kind → seconds of its own step
    forwards: list[float] = field(default_factory=list)  # seconds of the teacher's forward of an image

    def own(self, configs: Mapping[str, Config]) -> dict[str, float]:
        """Seconds of one step of each configuration, the teacher's forward left out. What there was no time for is
        told by its multiply-accumulates.

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

    def forward(self, batch_size: int) -> float:
        """Seconds of the teacher's forward of a batch."""
        if not self.forwards:
            self._timed(self.teacher)
        return statistics.median(self.forwards) * batch_size

    def _kind(self, config: Config) -> str:
        return f"{self.macs(config)} {sorted(config.losses)} {config.batch_size} {config.connector} {config.tap}"

    def _timed(self, config: Config) -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            forward, own = self._some_steps(config)
        except Exception as error:  # most likely a loss of the user's own, whose trials would fail one by one
            names = ", ".join(config.losses) or "cross-entropy alone"
            raise UserError(
                f"a step with {names} cannot be taken: {type(error).__name__}: {first_line(error)}; mend it, or its "
                "trials will fail"
            ) from error
        finally:
            torch.set_num_threads(before)
        self.forwards.append(forward / config.batch_size)
        return own

    def _some_steps(self, config: Config, count: int = 3) -> tuple[float, float]:
        """Seconds of a teacher's forward, and of a configuration's own step: the medians of a few.

        The optimizer's own share is small and left out: its first use would cost more seconds than all of this.
        """
        device, bf16 = self.device, in_bf16(config, self.device)
        model = laid_out(build_student(config, self.data, 0), self.data, device)
        network = laid_out(build_student(self.teacher, self.data, 0, config.teacher_layers), self.data, device)
        examples = [example_features(m, self.data, config.tap) for m in (model, network)]
        objective = Objective(config, *examples).to(device)
        guide = Guide(network.eval().requires_grad_(False), config.tap, bf16)
        forwards, own = [], []
        batches = training_batches(
            self.data.train,
            batch_size=config.batch_size,
            seed=0,
            epoch=1,
            augment="crop",
            mean=self.data.mean,
            std=self.data.std,
        )
        epoch = config.total_epochs
        mine, _ = objective.wanted(epoch)
        model.train()
        start = time.monotonic()
        for images, target in itertools.islice(batches, count + 1):
            images, target = images.to(device), target.to(device)
            began = self._now()
            guidance = guide(images, None)
            between = self._now()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                features = model.features(images, config.tap, mine)  # type: ignore[operator]
            terms = objective(in_float32(features), guidance, target, epoch)
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
