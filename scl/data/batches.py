"""Batches: normalised and augmented on the device that holds the images.

Random choices depend on the seed and the epoch alone, so all trials of a seed see the same batches in any cohort.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from scl.data.dataset import Dataset
from scl.errors import UserError, unknown
from scl.study.config import WORDS
from scl.study.identity import canonical_json

RESOLVED_AUGMENTATIONS = tuple(name for name in WORDS["augment"] if name != "auto")  # the trainer resolves `auto`


@dataclass(frozen=True, eq=False)
class Images:
    """Images, uint8 (N, C, H, W), and their labels, int64 (N,), on one device."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Images:
        return Images(self.images.to(device), self.labels.to(device))

    @property
    def padding(self) -> tuple[int, int]:
        """Black rows and columns added on each side before cropping: an eighth of the side, so 4 for 32 pixels."""
        height, width = self.images.shape[2:]
        return max(1, round(height / 8)), max(1, round(width / 8))

    @cached_property
    def padded(self) -> Tensor:
        """The padded images, channels last: uint8 (N, H + 2·rows, W + 2·columns, C). Computed once."""
        n, channels, height, width = self.images.shape
        rows, columns = self.padding
        padded = self.images.new_zeros(n, height + 2 * rows, width + 2 * columns, channels)
        padded[:, rows : rows + height, columns : columns + width] = self.images.permute(0, 2, 3, 1)
        return padded


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
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def to(self, device: torch.device) -> SplitData:
        moved = {name: getattr(self, name).to(device) for name in ("train", "val", "test", "mean", "std")}
        return replace(self, **moved)


def normalisation(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all training images, of pixels in [0, 1]: float32 (C,) each.

    Computed from integer histograms, so exact and the same on any machine. A constant channel gets standard
    deviation 1.
    """
    images = dataset.train_images
    values = range(256)
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), 4096):  # in pieces: bincount copies its input to int64
            counts += np.bincount(images[start : start + 4096, channel].ravel(), minlength=256)
        histogram = counts.tolist()  # Python's integers do not overflow
        n = sum(histogram)
        total = sum(v * count for v, count in zip(values, histogram, strict=True))
        squares = sum(v * v * count for v, count in zip(values, histogram, strict=True))
        mean.append(total / (255 * n))
        std.append(math.sqrt((n * squares - total * total) / (n * n)) / 255 or 1.0)
    return np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)


def training_batches(
    images: Images, *, batch_size: int, seed: int, epoch: int, augment: str, mean: Tensor, std: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """The shuffled, augmented batches of one epoch: a pure function of (seed, epoch).

    Args:
        augment: 'crop+flip' (a random crop of the padded image, mirrored half the time), 'crop' or 'none'. All three
            draw the same random numbers, so the order of images does not depend on the augmentation.
        mean, std: (C,), of pixels in [0, 1].

    Yields:
        Normalised images, float32 (B, C, H, W), contiguous in channels_last, and labels, int64 (B,), on the device of
        `images`, without waiting for the device. The last batch may be smaller. A last batch of one image is dropped,
        because batch statistics need two.

    Raises:
        UserError: unknown augmentation.
    """
    if augment not in RESOLVED_AUGMENTATIONS:
        raise UserError(unknown("augment", augment, RESOLVED_AUGMENTATIONS))
    n, channels, height, width = images.images.shape
    (rows, columns), device = images.padding, images.images.device
    stride = width + 2 * columns

    digest = hashlib.sha256(canonical_json(["data", seed, epoch]).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    order = torch.randperm(n, generator=generator)
    top = torch.randint(0, 2 * rows + 1, (n,), generator=generator)
    left = torch.randint(0, 2 * columns + 1, (n,), generator=generator)
    mirrored = torch.randint(0, 2, (n,), generator=generator, dtype=torch.bool)
    if augment == "none":
        top.fill_(rows)
        left.fill_(columns)
    if augment != "crop+flip":
        mirrored.fill_(False)

    # Every pixel of the padded images has a number. A crop is the number of its corner plus the offsets of a window.
    corners = ((order * (height + 2 * rows) + top) * stride + left).to(device)
    labels = images.labels[order.to(device)]
    mirrored = mirrored.to(device)
    pixels = images.padded.view(-1, channels)
    across, down = torch.arange(width, device=device), torch.arange(height, device=device) * stride
    windows = torch.stack([down[:, None] + across, down[:, None] + across.flip(0)])
    scale, shift = _multiply_add(mean, std, device)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, n - (n % batch_size == 1), batch_size):
            part = slice(start, start + batch_size)
            index = corners[part, None, None] + windows[mirrored[part].long()]
            batch = pixels.index_select(0, index.view(-1)).view(-1, height, width, channels)
            yield batch.float().mul_(scale).add_(shift).permute(0, 3, 1, 2), labels[part]

    return batches()


def evaluation_batches(
    images: Images, *, batch_size: int, mean: Tensor, std: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, without augmentation. Yields what `training_batches` yields; no image is dropped."""
    scale, shift = _multiply_add(mean, std, images.images.device)
    for start in range(0, len(images.labels), batch_size):
        part = slice(start, start + batch_size)
        batch = images.images[part].permute(0, 2, 3, 1).contiguous().float()
        yield batch.mul_(scale).add_(shift).permute(0, 3, 1, 2), images.labels[part]


def _multiply_add(mean: Tensor, std: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scale and shift, (C,) each, so that (x / 255 − mean) / std = x · scale + shift for pixels 0 … 255."""
    mean, std = mean.to(device), std.to(device)
    return 1 / (255 * std), -mean / std
