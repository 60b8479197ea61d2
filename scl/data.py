"""Splits and batches: what a trial sees, as a pure function of (split seed) and of (seed, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.config import UserError


@dataclass(frozen=True)
class Images:
    """One part of a data set: images uint8 (N, C, H, W) and labels int64 (N,), on one device."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> Images:
        return self if self.images.device == device else Images(self.images.to(device), self.labels.to(device))

    @property
    def pad(self) -> int:
        """Pixels of black around an image that is cropped at random: the customary 4 for 32, in proportion else."""
        return max(1, round(min(self.images.shape[2:]) / 8))

    @cached_property
    def padded(self) -> Tensor:
        return F.pad(self.images, (self.pad,) * 4)


def hash_order(name: str, count: int) -> np.ndarray:
    """0 … count−1 in an order drawn by SHA-256 of the name: the same for every version of every library."""
    keys = [hashlib.sha256(f"{name}|{i}".encode()).digest() for i in range(count)]
    return np.array(sorted(range(count), key=keys.__getitem__), dtype=np.int64)


def apportion(sizes: Sequence[int], total: int) -> list[int]:
    """`total` shared out in proportion to `sizes`, by largest remainder."""
    exact = [total * size / sum(sizes) for size in sizes]
    shares = [int(e) for e in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: total - sum(shares)]:
        shares[i] += 1
    return shares


def split(
    labels: np.ndarray, *, val: float, seed: int, limit: int | None, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the validation part, each sorted and stratified.

    The validation part is taken first, `limit` then cuts the training part, so that a limited study validates on
    the same images as a whole one.

    Raises:
        UserError: the parts cannot hold every class.
    """
    order = hash_order(f"split {seed}", len(labels))
    members = [order[labels[order] == c] for c in range(classes)]
    held = apportion([len(m) for m in members], round(val * len(labels)))
    if val > 0 and not sum(held):
        raise UserError(f"--val {val:g}: not one of {len(labels)} images would be held out; valid: 0, or a larger share")
    rest = [m[n:] for m, n in zip(members, held, strict=True)]
    if min(map(len, rest)) == 0:
        raise UserError(f"--val {val:g} leaves a class without training images; give a smaller share")
    if limit is not None and limit < classes:
        raise UserError(f"--limit {limit}: fewer training images than the {classes} classes; give {classes} or more")
    if limit is not None and limit < sum(map(len, rest)):
        # One image a class first, the others in proportion.
        more = apportion([len(m) - 1 for m in rest], limit - classes)
        rest = [m[: 1 + n] for m, n in zip(rest, more, strict=True)]
    validation = [m[:n] for m, n in zip(members, held, strict=True)]
    return np.sort(np.concatenate(rest)), np.sort(np.concatenate(validation))


def split_fingerprint(content: str, train: np.ndarray, val: np.ndarray) -> str:
    """SHA-256 of the data's fingerprint and of the split: what trial ids are made of."""
    digest = hashlib.sha256(content.encode())
    for part in (train, val):
        digest.update(f"{len(part)} ".encode())
        digest.update(part.astype("<i8").tobytes())
    return digest.hexdigest()


def training_batches(
    data: Images, *, batch_size: int, seed: int, epoch: int, augment: str, mean: Tensor, std: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an epoch: images float32 (B, C, H, W), channels_last, normalised, and labels (B,).

    Order, crops and flips are drawn for the whole epoch from a stream of (seed, epoch), on the CPU, whatever the
    device. The last batch is as small as it comes out; one image alone is dropped: batch statistics need two.
    """
    count, _, height, width = data.images.shape
    device = data.images.device
    name = hashlib.sha256(f"batches {seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(name[:8], "big") >> 1)
    order = torch.randperm(count, generator=generator)
    offsets = torch.randint(0, 2 * data.pad + 1, (2, count), generator=generator)
    flipped = torch.rand(count, generator=generator) < 0.5
    if "crop" not in augment:
        offsets = torch.full_like(offsets, data.pad)
    rows = offsets[0][:, None] + torch.arange(height)
    columns = torch.arange(width).expand(count, -1)
    if "flip" in augment:
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    columns = columns + offsets[1][:, None]
    order, rows, columns = order.to(device), rows.to(device), columns.to(device)
    scale, shift = _affine(mean, std)
    channels_last = data.padded.permute(0, 2, 3, 1)  # gathering whole pixels gives channels_last for nothing
    for start in range(0, count, batch_size):
        index = order[start : start + batch_size]
        if len(index) == 1:
            return
        r, c = rows[start : start + batch_size], columns[start : start + batch_size]
        pixels = channels_last[index[:, None, None], r[:, :, None], c[:, None, :]]
        yield _normalised(pixels, scale, shift), data.labels[index]


def evaluation_batches(data: Images, *, batch_size: int, mean: Tensor, std: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order, normalised as in training."""
    scale, shift = _affine(mean, std)
    for start in range(0, len(data.labels), batch_size):
        pixels = data.images[start : start + batch_size].permute(0, 2, 3, 1)
        yield _normalised(pixels, scale, shift), data.labels[start : start + batch_size]


def _affine(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    return 1 / (255 * std), -mean / std


def _normalised(pixels: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(B, H, W, C) uint8 → (B, C, H, W) float32 in channels_last: (x / 255 − mean) / std as one multiply-add."""
    x = torch.addcmul(shift, pixels.float(), scale)
    return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
