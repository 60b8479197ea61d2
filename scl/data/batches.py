"""Batches: normalised and augmented on the device that holds the images.

Random choices depend on the seed and the epoch alone, so all trials of a seed see the same batches in any cohort.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scl.data.dataset import Dataset
from scl.data.decode import values_of
from scl.data.images import Images
from scl.data.stored import pieces
from scl.errors import UserError, unknown
from scl.study.config import WORDS
from scl.study.identity import canonical_json

SHARE = 0.25  # of a GPU's free memory that images may take
RESOLVED_AUGMENTATIONS = tuple(name for name in WORDS["augment"] if name != "auto")  # the trainer resolves `auto`


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
    (channels, height, width), n = images.image_shape, len(images)
    (rows, columns), device = images.padding, images.device
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
    # Of a large set, each batch is padded by itself, and its images have the numbers of their places in it.
    places = order if images.small else torch.arange(n) % batch_size
    corners = ((places * (height + 2 * rows) + top) * stride + left).to(device)
    labels = images.labels[order.to(device)]
    mirrored = mirrored.to(device)
    across, down = torch.arange(width, device=device), torch.arange(height, device=device) * stride
    windows = torch.stack([down[:, None] + across, down[:, None] + across.flip(0)])
    scale, shift = _multiply_add(mean, std, device)
    used = n - (n % batch_size == 1)
    starts = range(0, used, batch_size)
    if images.small:
        every: Iterator[Tensor] = itertools.repeat(images.padded, len(starts))
    else:
        every = map(images.with_border, images.batches(order[:used], batch_size))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for start, padded in zip(starts, every, strict=True):
            part, pixels = slice(start, start + batch_size), padded.view(-1, channels)
            index = corners[part, None, None] + windows[mirrored[part].long()]
            batch = pixels.index_select(0, index.view(-1)).view(-1, height, width, channels)
            yield batch.float().mul_(scale).add_(shift).permute(0, 3, 1, 2), labels[part]

    return batches()


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
