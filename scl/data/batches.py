"""Batches: normalised and augmented on the device that holds the images.

Random choices depend on the seed and the epoch alone, so all trials of a seed see the same batches in any cohort.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scl.data.augment import Mixing, colour_steps, erasing_steps, geometry_steps, stream
from scl.data.dataset import Dataset
from scl.data.decode import values_of
from scl.data.images import Images
from scl.data.stored import pieces
from scl.errors import UserError
from scl.study.augment import mixes, words_of
from scl.study.identity import canonical_json

SHARE = 0.25  # of a GPU's free memory that images may take


@dataclass(frozen=True)
class SplitData:
    """The three parts of a data set as tensors on one device.

    mean, std: float32 (C,), of pixels in [0, 1]: training and evaluation batches are normalised by them.
    flip: True if a mirrored image keeps its class.
    """

    train: Images
    val: Images
    test: Images
    mean: Tensor
    std: Tensor
    classes: int
    flip: bool

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.image_shape

    def to(self, device: torch.device) -> SplitData:
        """The data for a device. A set that is too large for memory moves to a GPU if that has room for it, and is else
        read ahead of each step."""
        parts = {name: getattr(self, name) for name in ("train", "val", "test")}
        room = SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
        whole = sum(part.nbytes for part in parts.values()) < room
        moved = {name: part.to(device, whole) for name, part in parts.items()}
        return replace(self, **moved, mean=self.mean.to(device), std=self.std.to(device))


def normalisation(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all training images, of pixels in [0, 1]: float32 (C,) each.

    Computed from integer histograms, so exact and the same on any machine. A constant channel gets standard
    deviation 1.
    """
    histograms = dataset.histogram
    if histograms is None:
        histograms = np.zeros((dataset.train_images.shape[1], 256), dtype=np.int64)
        for piece in pieces(dataset.train_images):
            histograms += values_of(piece)
    values = range(256)
    mean, std = [], []
    for histogram in histograms.tolist():  # Python's integers do not overflow
        n = sum(histogram)
        total = sum(v * count for v, count in zip(values, histogram, strict=True))
        squares = sum(v * v * count for v, count in zip(values, histogram, strict=True))
        mean.append(total / (255 * n))
        std.append(math.sqrt((n * squares - total * total) / (n * n)) / 255 or 1.0)
    return np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)


def image_order(images: Images, *, batch_size: int, seed: int, epoch: int, sampling: str = "shuffled") -> Tensor:
    """The numbers of the images in the order in which `training_batches` yields them, int64 (N,), on the CPU."""
    return _order(images, batch_size, seed, epoch, sampling, _generator(seed, epoch))


def _generator(seed: int, epoch: int) -> torch.Generator:
    digest = hashlib.sha256(canonical_json(["data", seed, epoch]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _order(images: Images, batch_size: int, seed: int, epoch: int, sampling: str, generator: torch.Generator) -> Tensor:
    """The order of the images. It is what a fresh generator of the epoch draws first."""
    n = len(images)
    order = torch.randperm(n, generator=generator)
    if sampling == "balanced":
        order = torch.from_numpy(balanced_order(images.labels.cpu().numpy(), stream(seed, epoch, "balanced")))
    return order[: n - (n % batch_size == 1)]


def training_batches(
    images: Images,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: str,
    mean: Tensor,
    std: Tensor,
    sampling: str = "shuffled",
    classes: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The augmented batches of one epoch: a pure function of (seed, epoch).

    Args:
        augment: words of `scl.study.augment`, without `auto`. Whatever they are, the order of images is the same, and
            a word leaves what the others draw as it is.
        mean, std: (C,), of pixels in [0, 1].
        sampling: `shuffled`, each image once, or `balanced`, each class equally often.
        classes: K; needed by `mixup` and `cutmix` alone.

    Yields:
        Normalised images, float32 (B, C, H, W), contiguous in channels_last, and their target, on the device of
        `images`, without waiting for the device. The target is labels, int64 (B,), or, with `mixup` or `cutmix`, the
        probability of each class, float32 (B, K). The last batch may be smaller. A last batch of one image is dropped,
        because batch statistics need two.

    Raises:
        UserError: unknown augmentation.
    """
    try:
        words = words_of(augment)
    except ValueError as error:
        raise UserError(f"augment: {error}") from None
    if "auto" in words:
        raise ValueError("auto depends on the data: see `without_auto`")
    labels, device = images.labels, images.device
    n, shape, (rows, columns) = len(images), images.image_shape[1:], images.padding

    generator = _generator(seed, epoch)
    order = _order(images, batch_size, seed, epoch, sampling, generator)
    top = torch.randint(0, 2 * rows + 1, (n,), generator=generator)
    left = torch.randint(0, 2 * columns + 1, (n,), generator=generator)
    mirrored = torch.randint(0, 2, (n,), generator=generator, dtype=torch.bool)
    n = len(order)
    labels = labels[order.to(device)]
    scale, shift = _multiply_add(mean, std, device)

    if "crop" in words and images.small:
        if "flip" not in words:
            mirrored.fill_(False)
        pixels, steps = _crops(images.padded, shape, batch_size, order, top, left, mirrored), []
    else:
        pixels = images.batches(order, batch_size)
        crops = (top.to(device), left.to(device), mirrored.to(device), images.padding)
        steps = geometry_steps(words, seed, epoch, shape, crops)
    steps += colour_steps(words, seed, epoch, shape, n, batch_size, device)
    erasing = erasing_steps(words, seed, epoch, shape, n, device)
    mixing = Mixing(words, seed, epoch, shape, n, device) if mixes(augment) else None

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start, batch in zip(range(0, n, batch_size), pixels, strict=True):
            part = slice(start, min(start + batch_size, n))
            for step in steps:
                batch = step(batch, part)
            batch = batch.permute(0, 2, 3, 1).contiguous().float().mul_(scale).add_(shift).permute(0, 3, 1, 2)
            for step in erasing:
                batch = step(batch, part)
            target = labels[part]
            yield (batch, target) if mixing is None else mixing(batch, target, part, classes)

    return batches()


def _crops(
    padded: Tensor,
    shape: tuple[int, int],
    batch_size: int,
    order: Tensor,
    top: Tensor,
    left: Tensor,
    mirrored: Tensor,
) -> Iterator[Tensor]:
    """Batches of crops, uint8 (B, C, H, W): one gather each.

    Args:
        padded: all images with black around them, channels last. shape: of a crop, (H, W).
        order: indices of images (N,). top, left: the first row and column of each crop; mirrored: bool, (N,) or more.
    """
    (_, tall, stride, channels), (height, width), device, n = padded.shape, shape, padded.device, len(order)
    # Every pixel of the padded images has a number. A crop is the number of its corner plus the offsets of a window.
    corners = ((order * tall + top[:n]) * stride + left[:n]).to(device)
    mirrored = mirrored.to(device)
    pixels = padded.view(-1, channels)
    across, down = torch.arange(width, device=device), torch.arange(height, device=device) * stride
    windows = torch.stack([down[:, None] + across, down[:, None] + across.flip(0)])

    def batches() -> Iterator[Tensor]:
        for start in range(0, n, batch_size):
            part = slice(start, min(start + batch_size, n))
            index = corners[part, None, None] + windows[mirrored[part].long()]
            batch = pixels.index_select(0, index.view(-1)).view(-1, height, width, channels)
            yield batch.permute(0, 3, 1, 2)

    return batches()


def balanced_order(labels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """As many indices of labels (N,) as there are, each class equally often (give or take one), int64 (N,).

    The images of a class come in random order, and again once all of them have come: those of a rare class several
    times, and of a frequent class a random part.
    """
    n, present = len(labels), np.unique(labels)
    often = np.full(len(present), n // max(1, len(present)))
    often[draw.permutation(len(present))[: n - often.sum()]] += 1
    chosen = []
    for label, count in zip(present, often, strict=True):
        members = np.flatnonzero(labels == label)
        passes = [draw.permutation(members) for _ in range(-(-count // len(members)))]
        chosen.append(np.concatenate([*passes, members[:0]])[:count])
    return draw.permutation(np.concatenate([*chosen, np.empty(0, dtype=np.int64)]))


def evaluation_batches(
    images: Images, *, batch_size: int, mean: Tensor, std: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, without augmentation. Yields what `training_batches` yields; no image is dropped."""
    scale, shift = _multiply_add(mean, std, images.device)
    start = 0
    for pixels in images.batches(torch.arange(len(images)), batch_size):
        batch = pixels.permute(0, 2, 3, 1).contiguous().float()
        yield batch.mul_(scale).add_(shift).permute(0, 3, 1, 2), images.labels[start : start + len(pixels)]
        start += len(pixels)


def _multiply_add(mean: Tensor, std: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift, (C,) each, so that (x / 255 − mean) / std = x · scale + shift for pixels 0 … 255."""
    mean, std = mean.to(device), std.to(device)
    return 1 / (255 * std), -mean / std
