"""Changes of colour of a batch, by one factor an image: what the library's functions do with one factor for all.

Images are float32 (B, C, H, W) from 0 to 255, C is 1 or 3; factors are (B, 1, 1, 1). Each result stays in the range,
and is not rounded. Grey is that of ITU-R BT.601, as in Pillow and torchvision. A grey image has no saturation and no
hue, so these leave it as it is. Every result is the same on any number of CPU threads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """0 is black, 1 the image."""
    return (images * factor).clamp_(0, 255)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """0 is the mean grey, 1 the image."""
    # A sum of whole numbers in float64 is exact in any order.
    mean = grey(images).round_().mean((1, 2, 3), keepdim=True, dtype=torch.float64).float()
    return _blend(images, mean, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """0 is the grey image, 1 the image."""
    return _blend(images, grey(images), factor) if images.shape[1] == 3 else images


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """0 is the smoothed image (a 3×3 kernel of 1s around a 5), 1 the image. Pixels of the edge keep their value."""
    if min(images.shape[2:]) < 3:
        return images
    smooth = images.clone()
    inside = smooth[:, :, 1:-1, 1:-1]
    inside.copy_((9 * F.avg_pool2d(images, 3, stride=1) + 4 * inside) / 13)
    return _blend(images, smooth, factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """The hue of HSV, moved by `turn` of its circle: −0.5 to 0.5."""
    if images.shape[1] != 3:
        return images
    red, green, blue = images.chunk(3, dim=1)
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    divisor = chroma.clamp(min=1e-6)  # where it is 0, the hue has no effect
    sixth = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixth = sixth + 6 * turn
    # Each channel falls from the value by the chroma over one of the six parts of the circle, and rises over another.
    near = [(sixth + offset).remainder_(6) for offset in (5, 3, 1)]
    return torch.cat([value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1) for k in near], dim=1)


def grey(images: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    if images.shape[1] == 1:
        return images.clone()
    red, green, blue = images.chunk(3, dim=1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (other + (images - other) * factor).clamp_(0, 255)
