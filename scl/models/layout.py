"""Operations on feature maps (B, C, H, W) that follow their layout in memory.

Autograd gives a gradient the layout in which an operation received its input. If that differs from the layout of the
map, the operations that use the gradient next, such as the ReLU before it, take up to ten times as long.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def is_channels_last(x: Tensor) -> bool:
    """True if the channels of maps, or a slice of them, are adjacent in memory."""
    return x.ndim == 4 and x.stride(1) == 1 and x.stride(3) >= x.shape[1]


def channels_to_memory_order(x: Tensor) -> Tensor:
    """Channels-last maps as (B, H, W, C); all other tensors unchanged."""
    return x.movedim(1, -1) if is_channels_last(x) else x


def first_channels(x: Tensor, count: int) -> Tensor:
    """The first `count` channels of maps."""
    if count == x.shape[1]:
        return x
    return x.movedim(1, -1)[..., :count].movedim(-1, 1) if is_channels_last(x) else x[:, :count]


def mean_over_channels(x: Tensor) -> Tensor:
    """Means (B, H, W) of maps."""
    return x.movedim(1, -1).mean(-1) if is_channels_last(x) else x.mean(1)


def mean_over_locations(x: Tensor) -> Tensor:
    """Means (B, C) of maps."""
    return x.movedim(1, -1).flatten(1, 2).mean(1) if is_channels_last(x) else x.mean((2, 3))


def class_activation_maps(x: Tensor, classifier: nn.Linear) -> Tensor:
    """The classifier at each location of maps (B, C, H, W): maps (B, K, H, W), whose means are the logits of the mean
    of `x`."""
    return F.conv2d(x, classifier.weight[:, :, None, None], classifier.bias)
