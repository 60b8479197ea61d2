"""Weights by share: how strong the gradient of a loss term is beside that of cross-entropy, measured while it trains.

A number such as 0.3 then means the same for every loss, network and data set, where published weights range from 0.02
to 30,000.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from scl.study.config import Config
from scl.train.optimizer import head_of
from scl.train.types import TrialFailure

STEPS = 64  # the first steps, in which the factors follow the ratios: in a fresh network these change quickly
WINDOW = 8  # steps whose mean ratio gives a factor


class Shares:
    """The factors on the terms with a share, and the shares that are measured.

    The *ratio* of a term in a step is the norm of the gradient of its plain value, divided by that of the gradient of
    plain cross-entropy. Both are taken at the parameters of the trunk that the term reaches: all of the network but its
    linear classifier. In the first STEPS steps of its stage, the factor of a term is its share divided by the geometric
    mean of the last WINDOW ratios, that of the step included. After these steps the factor stays.

    logarithms: name → those of the last ratios. Checkpoints hold them.
    """

    def __init__(self, config: Config, network: nn.Module) -> None:
        self.network, self.first_epoch = network, config.pretrain_epochs + 1
        self.shares = {name: t.share for name, t in config.losses.items() if t.share is not None and t.weight > 0}
        self.logarithms: dict[str, list[float]] = {name: [] for name in self.shares}
        self.plain: Mapping[str, float] = {}
        self.active: list[str] = []
        self.epoch = 0
        self.moving: list[dict[str, float]] = []  # the weights in each step of this epoch in which factors move
        self.measured: dict[str, float] = {}  # in the first step of this epoch, with weight and warm-up

    def start_epoch(self, epoch: int, plain: Mapping[str, float]) -> dict[str, float]:
        """The weights of terms at the start of an epoch (from 1); 0 while a factor is not known.

        plain: the weights without factors of the terms that train in this epoch.
        """
        self.plain, self.active = plain, [name for name in plain if name in self.shares]
        self.epoch, self.moving, self.measured = epoch, [], {}
        return self._weights()

    def due(self, step: int, steps: int) -> bool:
        """Whether a step (from 0) of the epoch's `steps` measures: the first, and those in which factors move. Such a
        step runs outside of a CUDA graph, because it reads norms on the host."""
        return bool(self.active) and (step == 0 or self._count(step, steps) < STEPS)

    def measure(self, terms: Mapping[str, Tensor], cross_entropy: Tensor, step: int, steps: int) -> dict[str, float]:
        """Measure the ratios in the graph of a step, which stays, and return the weights for this step.

        Args:
            terms: the plain values of the terms. cross_entropy: its plain value. steps: of the epoch.

        Raises:
            TrialFailure: a term had no ratio in any of its first steps.
        """
        count = self._count(step, steps)
        trunk = self._trunk()
        reference = _gradients(cross_entropy, trunk)
        ratios = {}
        for name in self.active:
            mine = _gradients(terms[name], trunk)
            reached = [i for i, gradient in enumerate(mine) if gradient is not None]
            norm, other = (_norm([gradients[i] for i in reached]) for gradients in (mine, reference))
            ratios[name] = norm / other if other > 0 else math.inf
            if count < STEPS:
                self._move(name, ratios[name])
            if not self.logarithms[name] and count >= min(WINDOW, steps) - 1:
                raise TrialFailure(
                    f"loss {name!r}: share={self.shares[name]:g} gives no weight, since in each of the first "
                    f"{count + 1} steps the norm of its gradient at the student, or of cross-entropy's, was 0 or not "
                    f"finite (last {norm:g} and {other:g}); give a weight in place of the share, as in Term(0.9), name "
                    "other layers, or start from other weights if student and teacher are equal"
                )
        weights = self._weights()
        if count < STEPS:
            self.moving.append(weights)
        if step == 0:
            shares = {name: ratio * weights[name] for name, ratio in ratios.items()}
            self.measured = {name: share for name, share in shares.items() if math.isfinite(share)}
        return weights

    def weighted(self, names: Sequence[str], values: Tensor, images: Tensor) -> dict[str, float]:
        """The mean weighted values of terms with a share in an epoch whose weights changed from step to step.

        Args:
            names: of the columns of `values` (steps, terms). images: the share of each step in the images (steps,).
        """
        found = {}
        for name in self.active if self.moving else ():
            weights = [step[name] for step in self.moving]
            weights += weights[-1:] * (len(images) - len(weights))
            product = values[:, names.index(name)] * torch.tensor(weights, dtype=values.dtype)
            found[name] = float((product * images).sum())
        return found

    def columns(self) -> dict[str, float]:
        """Columns of epochs.parquet: of each term with a share, what was measured in the first step of this epoch, if
        it is finite, and the weight at its end."""
        weights = self._weights()
        shares = {f"share.{name}": share for name, share in self.measured.items()}
        return shares | {f"weight.{name}": weights[name] for name in self.active}

    def _count(self, step: int, steps: int) -> int:
        """The steps of the stage before this one."""
        return (self.epoch - self.first_epoch) * steps + step

    def _weights(self) -> dict[str, float]:
        return {name: w * self._factor(name) if name in self.shares else w for name, w in self.plain.items()}

    def _factor(self, name: str) -> float:
        logarithms = self.logarithms[name]
        return self.shares[name] / math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else 0.0

    def _move(self, name: str, ratio: float) -> None:
        """Bring the ratio of a step into the factor, unless it gives none."""
        if 0 < ratio < math.inf and math.isfinite(self.shares[name] / ratio):
            self.logarithms[name] = [*self.logarithms[name], math.log(ratio)][-WINDOW:]

    def _trunk(self) -> list[Tensor]:
        """The parameters of the trunk that train; those of the network if it has none but its head's."""
        head = {id(p) for p in head_of(self.network)}
        training: list[Tensor] = [p for p in self.network.parameters() if p.requires_grad]
        return [p for p in training if id(p) not in head] or training


def _gradients(value: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradient at each parameter, None at those that the value does not depend on. The graph stays."""
    return torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)


def _norm(gradients: Sequence[Tensor | None]) -> float:
    """The norm of all gradients as one vector."""
    squares = [gradient.double().square().sum() for gradient in gradients if gradient is not None]
    return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0
