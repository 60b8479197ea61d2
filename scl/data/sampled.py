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
    grid = torch.broadcast_tensors((2 * across + 1) / width - 1, (2 * down + 1) / height - 1)
    found = F.grid_sample(images.float(), torch.stack(grid, -1), mode=mode, padding_mode="zeros", align_corners=False)
    return found.round_().to(torch.uint8)
