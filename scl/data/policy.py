"""RandAugment (Cubuk et al., NeurIPS 2020) and TrivialAugment Wide (Müller & Hutter, ICCV 2021), image by image in a
batch.

Operations and magnitudes are those of torchvision.transforms.v2: pixels that come from outside are black, geometry
takes the nearest pixel, and results are rounded to whole levels. One difference: an image that is smaller than 32
pixels is translated by its side at most, and not by up to 32 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from scl.data import colour
from scl.data.sampled import sampled

BINS = 31  # of magnitudes


def _moved(where: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor, Tensor], Tensor]:
    """An operation of geometry. where: the position in the image of each position (x, y) of the result, from the
    centre of the image in pixels, by the value of the operation (B, 1, 1)."""

    def apply(images: Tensor, value: Tensor) -> Tensor:
        height, width = images.shape[2:]
        x = torch.arange(width, device=images.device)[None, None, :] + 0.5 - width / 2
        y = torch.arange(height, device=images.device)[None, :, None] + 0.5 - height / 2
        across, down = where(x, y, value[:, None, None])
        return sampled(images, across + (width / 2 - 0.5), down + (height / 2 - 0.5), "nearest")

    return apply


def _shear_x(images: Tensor, value: Tensor) -> Tensor:
    """About the upper left corner, as in the paper's code."""
    middle = images.shape[2] / 2
    return _moved(lambda x, y, v: (x + v * (y + middle), y))(images, value)


def _shear_y(images: Tensor, value: Tensor) -> Tensor:
    middle = images.shape[3] / 2
    return _moved(lambda x, y, v: (x, y + v * (x + middle)))(images, value)


def _rotated(x: Tensor, y: Tensor, degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Counter-clockwise on the screen, whose y points down."""
    angle = degrees * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    return x * cos - y * sin, x * sin + y * cos


def _coloured(change: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """An operation of colour. Its value is the difference of the factor to 1."""
    return lambda images, value: change(images.float(), 1 + value[:, None, None, None]).round_().to(torch.uint8)


def _posterize(images: Tensor, value: Tensor) -> Tensor:
    """Keep the highest `value` bits of 8."""
    mask = 256 - 2 ** (8 - value.int())
    return images & mask.to(torch.uint8)[:, None, None, None]


def _solarize(images: Tensor, value: Tensor) -> Tensor:
    """Invert pixels of `value` and above."""
    return torch.where(images >= value[:, None, None, None], 255 - images, images)


def _autocontrast(images: Tensor, value: Tensor) -> Tensor:
    """Each channel from 0 to 255; one of a single level stays."""
    low, high = images.amin((2, 3), keepdim=True).int(), images.amax((2, 3), keepdim=True).int()
    stretched = (images - low) * 255 // (high - low).clamp(min=1)
    return torch.where(high > low, stretched, images).to(torch.uint8)


def _equalize(images: Tensor, value: Tensor) -> Tensor:
    """Each channel's levels by how many pixels are darker, in whole steps as in Pillow; one of too few stays."""
    levels = images.flatten(2).long()
    counts = levels.new_zeros(*levels.shape[:2], 256).scatter_add_(2, levels, torch.ones_like(levels))
    of_brightest = counts.gather(2, levels.amax(2, keepdim=True))
    step = (levels.shape[2] - of_brightest) // 255
    darker = counts.cumsum(2) - counts
    table = ((darker + step // 2) // step.clamp(min=1)).clamp_(max=255)
    return torch.where(step > 0, table.gather(2, levels), levels).to(torch.uint8).view_as(images)


# Images, uint8 (B, C, H, W), and the value of each, float32 (B,) → images. None changes nothing.
OPERATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "identity": None,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _moved(lambda x, y, v: (x - v, y)),
    "translate_y": _moved(lambda x, y, v: (x, y - v)),
    "rotate": _moved(_rotated),
    "brightness": _coloured(colour.brightness),
    "color": _coloured(colour.saturation),
    "contrast": _coloured(colour.contrast),
    "sharpness": _coloured(colour.sharpness),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
SIGNED = 10  # so many from the first one on have the sign of their value at random


def magnitudes(wide: bool, height: int, width: int) -> np.ndarray:
    """The value of each operation at each magnitude, float32 (operations, BINS), before its sign.

    wide: those of TrivialAugment Wide, else those of RandAugment.
    """
    enhanced, sheared = (0.99, 0.99) if wide else (0.9, 0.3)
    across, down = (min(32, width), min(32, height)) if wide else (150 / 331 * width, 150 / 331 * height)
    ends = {
        "identity": (0, 0),
        "shear_x": (0, sheared),
        "shear_y": (0, sheared),
        "translate_x": (0, across),
        "translate_y": (0, down),
        "rotate": (0, 135 if wide else 30),
        "brightness": (0, enhanced),
        "color": (0, enhanced),
        "contrast": (0, enhanced),
        "sharpness": (0, enhanced),
        "posterize": (8, 2 if wide else 4),
        "solarize": (255, 0),
        "autocontrast": (0, 0),
        "equalize": (0, 0),
    }
    table = np.stack([low + (high - low) * np.arange(BINS) / (BINS - 1) for low, high in ends.values()])
    names = list(ends)
    for name in ("translate_x", "translate_y"):
        table[names.index(name)] = np.trunc(table[names.index(name)])
    table[names.index("posterize")] = np.rint(table[names.index("posterize")])
    return table.astype(np.float32)


def drawn(
    draw: np.random.Generator, n: int, shape: tuple[int, int], magnitude: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """An operation for each of n images, int64 (n,), and its signed value, float32 (n,).

    magnitude: of RandAugment, 0 to 30; None draws one for each image, as TrivialAugment does.
    """
    chosen = draw.integers(0, len(OPERATIONS), n)
    bins = draw.integers(0, BINS, n) if magnitude is None else np.full(n, magnitude)
    sign = np.where(draw.integers(0, 2, n) == 1, 1, -1)
    value = magnitudes(magnitude is None, *shape)[chosen, bins]
    return chosen, np.where(chosen < SIGNED, sign * value, value).astype(np.float32)


def policy(
    chosen: np.ndarray, value: np.ndarray, batch_size: int, device: torch.device
) -> Callable[[Tensor, slice], Tensor]:
    """A step that applies the operation of each place in the order, to all images of a batch that drew it at once.

    Args:
        chosen, value: what `drawn` returns.
        batch_size: batches start at its multiples.

    Returns:
        A function of a batch, uint8 (B, C, H, W), and the slice of its places.
    """
    place = np.arange(len(chosen))
    # Places by batch and, within it, by operation: then the images of one operation are neighbours.
    order = np.lexsort((chosen, place // batch_size))
    back = np.empty_like(order)
    back[order] = place
    values = torch.from_numpy(value[order]).to(device)
    there, home = (torch.from_numpy(index % batch_size).to(device) for index in (order, back))  # within the batch

    def step(images: Tensor, part: slice) -> Tensor:
        images, by, changed, start = images.index_select(0, there[part]), values[part], [], 0
        for count, apply in zip(
            np.bincount(chosen[part], minlength=len(OPERATIONS)).tolist(), OPERATIONS.values(), strict=True
        ):
            some = slice(start, start + count)
            changed.append(images[some] if apply is None or not count else apply(images[some], by[some]))
            start += count
        return torch.cat(changed).index_select(0, home[part])

    return step
