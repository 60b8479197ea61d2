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
from scl.train.optimizer import classifier_of
from scl.train.types import TrialFailure

STEPS = 8  # the first steps, which fix the factors


class Shares:
    """The factors on the terms with a share, and the shares that are measured.

    The *ratio* of a term in a step is the norm of the gradient of its plain value, divided by that of the gradient of
    plain cross-entropy. Both are taken at the parameters of the trunk that the term reaches: all of the network but its
    linear classifier. In the first STEPS steps of its first epoch, the factor of a term is its share divided by the
    geometric mean of the ratios so far; after these steps it stays.

    factors: name → factor, as far as they are known. Checkpoints hold them.
    """

    def __init__(self, config: Config, network: nn.Module) -> None:
        self.network, self.first_epoch = network, config.pretrain_epochs + 1
        self.shares = {name: t.share for name, t in config.losses.items() if t.share is not None and t.weight > 0}
        self.factors: dict[str, float] = {}
        self.logarithms: dict[str, list[float]] = {name: [] for name in self.shares}  # of the ratios so far
        self.plain: Mapping[str, float] = {}
        self.active: list[str] = []
        self.fixing = False
        self.fixed: list[dict[str, float]] = []  # the weights in each step of this epoch that fixes factors
        self.measured: dict[str, float | None] = {}

    def start_epoch(self, epoch: int, plain: Mapping[str, float]) -> dict[str, float]:
        """The weights of terms at the start of an epoch (from 1); 0 while a factor is not known.

        plain: the weights without factors of the terms that train in this epoch.
        """
        self.plain, self.active = plain, [name for name in plain if name in self.shares]
        self.fixing, self.fixed, self.measured = epoch == self.first_epoch, [], {}
        return self._weights()

    def due(self, step: int) -> bool:
        """Whether a step (from 0) measures: the first of an epoch, and those that fix factors. Such a step runs outside
        of a CUDA graph, because it reads norms on the host."""
        return bool(self.active) and step < (STEPS if self.fixing else 1)

    def measure(self, terms: Mapping[str, Tensor], cross_entropy: Tensor, step: int, steps: int) -> dict[str, float]:
        """Measure the ratios in the graph of a step, which stays, and return the weights for this step.

        Args:
            terms: the plain values of the terms. cross_entropy: its plain value. steps: of the epoch.

        Raises:
            TrialFailure: a term had no ratio in any of the steps that fix its factor.
        """
        trunk = self._trunk()
        reference = _gradients(cross_entropy, trunk)
        ratios = {}
        for name in self.active:
            mine = _gradients(terms[name], trunk)
            reached = [i for i, gradient in enumerate(mine) if gradient is not None]
            norm, other = (_norm([gradients[i] for i in reached]) for gradients in (mine, reference))
            ratios[name] = norm / other if other > 0 else math.inf
            if self.fixing:
                self._fix(name, ratios[name], norm, other, step == min(STEPS, steps) - 1)
        weights = self._weights()
        if self.fixing:
            self.fixed.append(weights)
        if step == 0:
            shares = {name: ratio * weights[name] for name, ratio in ratios.items()}
            self.measured = {name: share if math.isfinite(share) else None for name, share in shares.items()}
        return weights

    def weighted(self, names: Sequence[str], values: Tensor, images: Tensor) -> dict[str, float]:
        """The mean weighted values of terms with a share in an epoch whose weights changed from step to step.

        Args:
            names: of the columns of `values` (steps, terms). images: the share of each step in the images (steps,).
        """
        found = {}
        for name in self.active if self.fixed else ():
            weights = [step[name] for step in self.fixed]
            weights += weights[-1:] * (len(images) - len(weights))
            product = values[:, names.index(name)] * torch.tensor(weights, dtype=values.dtype)
            found[name] = float((product * images).sum())
        return found

    def columns(self) -> dict[str, float | None]:
        """The measured share, and the weight that it comes to, of each term with a share: columns of epochs.parquet."""
        weights = self._weights()
        shares = {f"share.{name}": self.measured[name] for name in self.active}
        return shares | {f"weight.{name}": weights[name] for name in self.active}

    def _weights(self) -> dict[str, float]:
        return {name: w * self.factors.get(name, 0.0) if name in self.shares else w for name, w in self.plain.items()}

    def _fix(self, name: str, ratio: float, norm: float, reference: float, last: bool) -> None:
        """Bring the ratio of a step into the factor. Steps whose ratio is 0 or not finite do not count."""
        logarithms, share = self.logarithms[name], self.shares[name]
        if 0 < ratio < math.inf and math.isfinite(share / ratio):
            logarithms.append(math.log(ratio))
        if logarithms:
            self.factors[name] = share / math.exp(math.fsum(logarithms) / len(logarithms))
        elif last:
            raise TrialFailure(
                f"loss {name!r}: share={share:g} gives no weight, since in each of the first {STEPS} steps the norm of "
                f"its gradient at the student, or of cross-entropy's, was 0 or not finite (last {norm:g} and "
                f"{reference:g}); give a weight in place of the share, as in Term(0.9), name other layers, or start "
                "from other weights if student and teacher are equal"
            )

    def _trunk(self) -> list[Tensor]:
        """The parameters of the trunk that train; those of the network if it has none but its classifier's."""
        classifier = classifier_of(self.network)
        head = {id(p) for p in classifier.parameters()} if classifier is not None else set()
        training = [p for p in self.network.parameters() if p.requires_grad]
        return [p for p in training if id(p) not in head] or training


def _gradients(value: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradient at each parameter, None at those that the value does not depend on. The graph stays."""
    return torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)


def _norm(gradients: Sequence[Tensor | None]) -> float:
    """The norm of all gradients as one vector."""
    squares = [gradient.double().square().sum() for gradient in gradients if gradient is not None]
    return math.sqrt(float(torch.stack(squares).sum())) if squares else 0.0
