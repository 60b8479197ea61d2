"""The moving average of a student's weights, which is evaluated and kept in its place."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def share_of_new(decay: float, updates: int) -> float:
    """The share of the present weights in the average at this update, counted from 1.

    1 − decay, and more in the first updates, so that the random initial weights are forgotten: the decay is at most
    (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage.
    """
    return 1.0 - min(decay, (1 + updates) / (10 + updates))


class Average:
    """The moving average of a network, in a second network of the same kind.

    Parameters and buffers of real numbers are averaged; other buffers, such as counts of batches, are copied.
    """

    def __init__(self, network: nn.Module, model: nn.Module) -> None:
        """network: holds the average, which begins at the weights of `model`."""
        network.load_state_dict(model.state_dict())
        self.network = network.requires_grad_(False)
        pairs = list(zip(_tensors(network), _tensors(model), strict=True))
        self.real = [(a, b) for a, b in pairs if a.is_floating_point()]
        self.other = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @torch.no_grad()
    def update(self, share: float | Tensor) -> None:
        """Move the average towards the model. share: that of the model; a tensor if a CUDA graph captures the step."""
        averages = [a for a, _ in self.real]
        steps = torch._foreach_sub([b for _, b in self.real], averages)
        torch._foreach_mul_(steps, share)
        torch._foreach_add_(averages, steps)
        for mine, theirs in self.other:
            mine.copy_(theirs)

    def changing(self) -> list[list[Tensor]]:
        """The tensors that an update changes, by kind."""
        return [[a for a, _ in self.real], [a for a, _ in self.other]]


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
