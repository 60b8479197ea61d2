"""The words of `Config.augment` on batches: what is drawn for each image of an epoch, and what it does to a batch.

The draws of a word are a pure function of the seed, the epoch and an image's place in the order, from a random stream
of its own: they are the same on any device, in any cohort and after any stop, and one word does not move another's.
They are drawn on the CPU for a whole epoch and sent to the device once, so that no batch waits for the device.

On a CPU a batch is bitwise the same on any number of threads. On a GPU pixels may differ from the CPU's by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.data import colour
from scl.data.policy import drawn, policy
from scl.data.sampled import sampled
from scl.study.augment import Words
from scl.study.identity import stream_seed

Step = Callable[[Tensor, slice], Tensor]  # a batch (B, C, H, W) and the slice of its places in the order → a batch

TRIES = 10  # to draw a box that fits into the image, as in torchvision
SEEN_RATIOS = (3 / 4, 4 / 3)  # width to height of what `rrc` sees
ERASED, ERASED_RATIOS = (0.02, 0.33), (1 / 3.3, 1 / 0.3)  # the share of the area that `erasing` erases


def stream(seed: int, epoch: int, name: str) -> np.random.Generator:
    """A random stream of its own for each seed, epoch and use."""
    return np.random.Generator(np.random.PCG64(stream_seed("augment", seed, epoch, name)))


def random_boxes(
    draw: np.random.Generator,
    n: int,
    shape: tuple[int, int],
    areas: tuple[float, float],
    ratios: tuple[float, float],
) -> np.ndarray:
    """Boxes in an image: top, left, height, width, int64 (n, 4); all 0 if none of TRIES fits.

    Args:
        shape: of the image, (H, W). areas: shares of its area, drawn uniformly. ratios: of width to height, drawn
            uniformly in the logarithm. The place is uniform.
    """
    height, width = shape
    size = np.zeros((n, 2), dtype=np.int64)
    for _ in range(TRIES):
        area = draw.uniform(*areas, n) * height * width
        ratio = np.exp(draw.uniform(math.log(ratios[0]), math.log(ratios[1]), n))
        tried = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=1))).astype(np.int64)
        fits = (size[:, 0] == 0) & ((tried > 0) & (tried <= shape)).all(1)
        size[fits] = tried[fits]
    corner = np.floor(draw.random((n, 2)) * (np.array(shape) - size + 1)).astype(np.int64)
    return np.concatenate([np.where(size > 0, corner, 0), size], axis=1)


def geometry_steps(
    words: Words, seed: int, epoch: int, shape: tuple[int, int], crops: tuple[Tensor, Tensor, Tensor, tuple[int, int]]
) -> list[Step]:
    """The steps of `rrc`, `crop` and `flip`: uint8 to uint8.

    Args:
        shape: of the images, (H, W).
        crops: the first row and column of each padded crop and whether to mirror it, (N,) each on the device of the
            batches, and the black rows and columns that are added on each side.
    """
    top, left, mirrored, padding = crops
    n, device = len(top), top.device
    steps: list[Step] = []
    if "rrc" in words:
        boxes = seen_boxes(stream(seed, epoch, "rrc"), n, shape, words["rrc"][0])
        steps.append(_on(boxes.astype(np.float32), device, _resized))
    if "crop" in words:
        steps.append(lambda images, part: _padded_crop(images, top[part], left[part], padding))
    if "flip" in words:
        steps.append(lambda images, part: torch.where(mirrored[part, None, None, None], images.flip(3), images))
    return steps


def colour_steps(
    words: Words, seed: int, epoch: int, shape: tuple[int, int], n: int, batch_size: int, device: torch.device
) -> list[Step]:
    """The steps of `randaugment`, `trivialaugment` and `jitter`, in this order: uint8 to uint8, or float32 from 0 to
    255 after `jitter`."""
    steps: list[Step] = []
    if "randaugment" in words:
        count, magnitude = map(int, words["randaugment"])
        draw = stream(seed, epoch, "randaugment")
        steps += [policy(*drawn(draw, n, shape, magnitude), batch_size, device) for _ in range(count)]
    if "trivialaugment" in words:
        steps.append(policy(*drawn(stream(seed, epoch, "trivialaugment"), n, shape, None), batch_size, device))
    if "jitter" in words:
        factors = jitter_factors(stream(seed, epoch, "jitter"), n, words["jitter"][0])
        steps.append(_on(factors, device, _jittered))
    return steps


def erasing_steps(
    words: Words, seed: int, epoch: int, shape: tuple[int, int], n: int, device: torch.device
) -> list[Step]:
    """The step of `erasing`, of normalised images: the box is 0, the mean colour of the training images."""
    if "erasing" not in words:
        return []
    draw = stream(seed, epoch, "erasing")
    boxes = random_boxes(draw, n, shape, ERASED, ERASED_RATIOS)
    boxes[draw.random(n) >= words["erasing"][0]] = 0
    return [_on(boxes, device, lambda images, boxes: images.masked_fill_(_inside(boxes, images), 0))]


class Mixing:
    """`mixup` (Zhang et al., ICLR 2018) and `cutmix` (Yun et al., ICCV 2019): an image and the one before it in its
    batch, the last for the first, in shares of each image's own. With both words each image takes one, at even odds.
    """

    def __init__(
        self, words: Words, seed: int, epoch: int, shape: tuple[int, int], n: int, device: torch.device
    ) -> None:
        draw = stream(seed, epoch, "mixing")
        cuts = draw.random(n) < ((1 if "mixup" not in words else 0.5) if "cutmix" in words else 0)
        alpha_mix, alpha_cut = (words.get(word, (1.0,))[0] for word in ("mixup", "cutmix"))
        mixed = np.where(cuts, 1.0, stream(seed, epoch, "mixup").beta(alpha_mix, alpha_mix, n))
        boxes = cut_boxes(stream(seed, epoch, "cutmix"), n, shape, alpha_cut)
        boxes[~cuts] = 0
        kept = np.where(cuts, 1 - boxes[:, 2] * boxes[:, 3] / (shape[0] * shape[1]), mixed)
        self.mixed, self.kept = (torch.from_numpy(s.astype(np.float32)).to(device) for s in (mixed, kept))
        self.boxes = torch.from_numpy(boxes).to(device)

    def __call__(self, images: Tensor, labels: Tensor, part: slice, classes: int) -> tuple[Tensor, Tensor]:
        """Mixed images (B, C, H, W), and the probability of each class, float32 (B, K), from labels (B,)."""
        others, share = images.roll(1, 0), self.mixed[part, None, None, None]
        images = torch.where(_inside(self.boxes[part], images), others, torch.lerp(others, images, share))
        target = (labels[:, None] == torch.arange(classes, device=labels.device)).float()
        return images, torch.lerp(target.roll(1, 0), target, self.kept[part, None])


def seen_boxes(draw: np.random.Generator, n: int, shape: tuple[int, int], least: float) -> np.ndarray:
    """What `rrc` sees of each image: boxes as `random_boxes` returns them; where none fits, the largest box in the
    middle whose ratio is allowed, as in torchvision."""
    boxes = random_boxes(draw, n, shape, (least, 1.0), SEEN_RATIOS)
    height, width = shape
    ratio = min(max(width / height, SEEN_RATIOS[0]), SEEN_RATIOS[1])
    tall, wide = min(height, round(width / ratio)), min(width, round(height * ratio))
    boxes[boxes[:, 2] == 0] = ((height - tall) // 2, (width - wide) // 2, tall, wide)
    return boxes


def jitter_factors(draw: np.random.Generator, n: int, strength: float) -> np.ndarray:
    """Factors of brightness, contrast and saturation, from 1 − strength to 1 + strength, and a turn of the hue of at
    most a quarter of the strength: float32 (n, 4)."""
    return (np.array([1, 1, 1, 0]) + draw.uniform(-1, 1, (n, 4)) * strength * [1, 1, 1, 0.25]).astype(np.float32)


def cut_boxes(draw: np.random.Generator, n: int, shape: tuple[int, int], alpha: float) -> np.ndarray:
    """The box of `cutmix` in each image: top, left, height, width, int64 (n, 4). Its area is 1 − λ of the image's, λ
    from Beta(alpha, alpha), its middle is uniform, and what lies outside of the image is cut off."""
    half = 0.5 * np.sqrt(1 - draw.beta(alpha, alpha, n))[:, None] * shape
    middle = draw.integers(0, shape, (n, 2))
    first = np.clip(np.trunc(middle - half), 0, shape)
    last = np.clip(np.trunc(middle + half), 0, shape)
    return np.concatenate([first, last - first], axis=1).astype(np.int64)


def _on(drawn: np.ndarray, device: torch.device, change: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """A step that changes a batch by the rows of its places, which are sent to the device now."""
    rows = torch.from_numpy(drawn).to(device)
    return lambda images, part: change(images, rows[part])


def _resized(images: Tensor, boxes: Tensor) -> Tensor:
    """The boxes (B, 4) of images, enlarged to the size of the image, bilinear. A box is never larger than the image,
    so nothing is shrunk and no filter against aliasing is needed."""
    height, width = images.shape[2:]
    top, left, tall, wide = boxes.unbind(1)
    down = _centres(top, tall, height)
    across = _centres(left, wide, width)
    return sampled(images, across[:, None, :], down[:, :, None], "bilinear")


def _centres(first: Tensor, length: Tensor, count: int) -> Tensor:
    """Positions of `count` pixels that cover `length` pixels from `first`: (B, count). None is outside of these."""
    steps = (torch.arange(count, device=first.device) + 0.5) / count
    inside = torch.minimum((steps * length[:, None] - 0.5).clamp_(min=0), length[:, None] - 1)
    return first[:, None] + inside


def _padded_crop(images: Tensor, top: Tensor, left: Tensor, padding: tuple[int, int]) -> Tensor:
    """A crop of the size of the image from the image with black around it."""
    rows, columns = padding
    height, width = images.shape[2:]
    padded = F.pad(images, (columns, columns, rows, rows))
    down = (top[:, None] + torch.arange(height, device=top.device))[:, :, None]
    across = (left[:, None] + torch.arange(width, device=top.device))[:, None, :]
    which = torch.arange(len(images), device=top.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[which, down, across].permute(0, 3, 1, 2)


def _jittered(images: Tensor, factors: Tensor) -> Tensor:
    images = images.float()
    for change, factor in zip(
        (colour.brightness, colour.contrast, colour.saturation, colour.hue), factors.unbind(1), strict=True
    ):
        images = change(images, factor[:, None, None, None])
    return images


def _inside(boxes: Tensor, images: Tensor) -> Tensor:
    """True inside the box of each image: bool (B, 1, H, W)."""
    top, left, tall, wide = boxes[:, :, None].unbind(1)
    down = torch.arange(images.shape[2], device=images.device)
    across = torch.arange(images.shape[3], device=images.device)
    rows, columns = (down >= top) & (down < top + tall), (across >= left) & (across < left + wide)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
