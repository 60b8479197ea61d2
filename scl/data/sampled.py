"""Images sampled at given positions, each at its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled(images: Tensor, across: Tensor, down: Tensor, mode: str) -> Tensor:
    """A batch at other positions, rounded to whole levels: uint8 (B, C, H, W) → uint8 (B, C, h, w).

    Args:
        across, down: positions in pixels, 0 at the centre of the first, float32; together they broadcast to (B, h, w).
        mode: `bilinear` or `nearest`. Positions outside of the image are black.
    """
    height, width = images.shape[2:]
    # The grid of torch has −1 and 1 at the image's edges.
    x, y = (2 * across + 1) / width - 1, (2 * down + 1) / height - 1
    grid = torch.stack([x.expand_as(x + y), y.expand_as(x + y)], -1)
    found = F.grid_sample(images.float(), grid, mode=mode, padding_mode="zeros", align_corners=False)
    return found.round_().to(torch.uint8)
