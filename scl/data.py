"""From a data set to batches: the seeded split, normalisation, and augmented batches made on the device.

Every random choice is a function of a seed alone, so all trials of a seed see the same batches in any cohort.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from scl import config
from scl.config import UserError, canonical_json, sha256, unknown
from scl.datasets import Dataset, stratified

AUGMENTATIONS = tuple(name for name in config.AUGMENTATIONS if name != "auto")  # `auto` is resolved by the caller


def split(
    labels: np.ndarray, *, val: float, seed: int, limit: int | None, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the validation part, each sorted, of images with `labels` (N,).

    Validation takes round(val × N) images, stratified; `val` = 0 none. `limit` then cuts the training part to
    that many images, stratified, at least one a class; validation is the same with any limit. A limit above
    what is there cuts nothing.

    Raises:
        UserError: `val` outside [0, 1), too small for one image, or so large that a class has none to train on;
            `limit` below the number of classes.
    """
    if not 0 <= val < 1:
        raise UserError(f"--val {val}: must be a share of the training images, 0 or more and below 1")
    if limit is not None and limit < classes:
        raise UserError(
            f"--limit {limit}: fewer training images than the {classes} classes; give {classes} or more, or no --limit"
        )
    held_out = round(val * len(labels))
    if val > 0 and held_out == 0:
        raise UserError(
            f"--val {val}: no image of {len(labels)} would be held out; give {1 / len(labels):.2g} or more, or 0"
        )
    validation = stratified(labels, held_out, seed=seed)
    training = np.setdiff1d(np.arange(len(labels)), validation)
    empty = np.setdiff1d(np.arange(classes), labels[training])
    if len(empty):
        raise UserError(f"--val {val}: class {empty[0]} would have no training image left; hold out a smaller share")
    if limit is not None and limit < len(training):
        training = stratified(labels, limit, seed=seed, among=training, least=1)
    return training, validation


def split_fingerprint(dataset: Dataset, train_indices: np.ndarray, val_indices: np.ndarray) -> str:
    """What a trial's id knows of its data: content, split, and the mirroring that `augment = auto` reads off it."""
    parts = [hashlib.sha256(part.astype("<i8").tobytes()).hexdigest() for part in (train_indices, val_indices)]
    return sha256([dataset.fingerprint, *parts, dataset.flip])


def normalisation(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all training images, in [0, 1], float32 (C,) each.

    From integer histograms, so exact and the same on any machine. A constant channel has standard deviation 1.
    """
    images = dataset.train_images
    values = range(256)
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(images), 4096):  # bincount makes int64 copies: small ones
            counts += np.bincount(images[start : start + 4096, channel].ravel(), minlength=256)
        histogram = counts.tolist()  # Python's integers do not overflow
        n = sum(histogram)
        total = sum(v * count for v, count in zip(values, histogram, strict=True))
        squares = sum(v * v * count for v, count in zip(values, histogram, strict=True))
        mean.append(total / (255 * n))
        std.append(math.sqrt((n * squares - total * total) / (n * n)) / 255 or 1.0)
    return np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Images:
    """Images uint8 (N, C, H, W) and their labels int64 (N,), on one device."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Images:
        return Images(self.images.to(device), self.labels.to(device))

    @property
    def padding(self) -> tuple[int, int]:
        """Black rows and columns put on each side before cropping: 4 for 32 pixels, an eighth of other sides."""
        height, width = self.images.shape[2:]
        return max(1, round(height / 8)), max(1, round(width / 8))

    @cached_property
    def padded(self) -> Tensor:
        """The images with their padding, channels last, uint8 (N, H + 2·rows, W + 2·columns, C): made once."""
        n, channels, height, width = self.images.shape
        rows, columns = self.padding
        padded = self.images.new_zeros(n, height + 2 * rows, width + 2 * columns, channels)
        padded[:, rows : rows + height, columns : columns + width] = self.images.permute(0, 2, 3, 1)
        return padded


def training_batches(
    images: Images, *, batch_size: int, seed: int, epoch: int, augment: str, mean: Tensor, std: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """The shuffled, augmented batches of one epoch: a pure function of (seed, epoch).

    `augment`: 'crop+flip' (a random crop of the padded image, mirrored half the time), 'crop' or 'none'. All
    draw the same random numbers, so the order of images does not depend on it. `mean`, `std`: (C,) in [0, 1].

    Yields float32 (B, C, H, W), normalised, contiguous in channels_last, and labels int64 (B,), on the device of
    `images`, without waiting for it. The last batch may be smaller; one of a single image is left out, because
    batch statistics need two.

    Raises:
        UserError: an augmentation that does not exist.
    """
    if augment not in AUGMENTATIONS:
        raise UserError(unknown("augment", augment, AUGMENTATIONS))
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

    # Pixels of the padded images are numbered through; a crop is its corner plus the offsets of a window.
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
    """All images in order, as they are: batches of the form that training_batches yields, none left out."""
    scale, shift = _multiply_add(mean, std, images.images.device)
    for start in range(0, len(images.labels), batch_size):
        part = slice(start, start + batch_size)
        batch = images.images[part].permute(0, 2, 3, 1).contiguous().float()
        yield batch.mul_(scale).add_(shift).permute(0, 3, 1, 2), images.labels[part]


def _multiply_add(mean: Tensor, std: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """(x / 255 − mean) / std as x · scale + shift, of pixels 0 … 255, with channels last."""
    mean, std = mean.to(device), std.to(device)
    return 1 / (255 * std), -mean / std
