"""Feature maps (B, C, H, W) in the order in which they lie in memory.

Autograd lays a gradient out in the order of the dimensions that an operation was given. Where that is not the map's own
order, all that meets the gradient next, such as the ReLU before it, takes up to ten times as long.
"""

from __future__ import annotations

from torch import Tensor


def channels_last(x: Tensor) -> bool:
    """Whether the channels of maps lie side by side in memory; also of some of their channels."""
    return x.ndim == 4 and x.stride(1) == 1 and x.stride(3) >= x.shape[1]


def as_it_lies(x: Tensor) -> Tensor:
    """Maps as (B, H, W, C) where they lie so; anything else as it is."""
    return x.movedim(1, -1) if channels_last(x) else x


def first_channels(x: Tensor, count: int) -> Tensor:
    """So many channels of maps."""
    if count == x.shape[1]:
        return x
    return x.movedim(1, -1)[..., :count].movedim(-1, 1) if channels_last(x) else x[:, :count]


def over_channels(x: Tensor) -> Tensor:
    """Means (B, H, W) of maps."""
    return x.movedim(1, -1).mean(-1) if channels_last(x) else x.mean(1)


def over_locations(x: Tensor) -> Tensor:
    """Means (B, C) of maps."""
    return x.movedim(1, -1).flatten(1, 2).mean(1) if channels_last(x) else x.mean((2, 3))
