"""The images of a part of a data set as tensors: on one device, or read from a file ahead of their use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from torch import Tensor

from scl.data.ahead import ahead
from scl.data.stored import PIECE, Referenced, SampledImages
from scl.machine import cores

AHEAD = 2  # batches that are read before they are used
SMALL = 256 * 2**20  # bytes of images that are padded once and as a whole


@dataclass(frozen=True, eq=False)
class Images:
    """Images, uint8 (N, C, H, W), and their labels, int64 (N,), on one device.

    The images of a large set are a reference; `batches` serves them as it serves a tensor.
    """

    images: Tensor | Referenced
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        _, _, height, width = self.images.shape
        return height, width

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def nbytes(self) -> int:
        return len(self) * prod(self.image_shape)

    def to(self, device: torch.device | str, whole: bool = False) -> Images:
        """These images for a device. A reference stays one, except with `whole`: then its images are read to it."""
        images, labels = self.images, self.labels.to(device)
        if isinstance(images, Tensor):
            return Images(images.to(device), labels)
        moved = Images(images, labels)
        if not whole or isinstance(images, SampledImages):
            return moved
        there, at = torch.empty(images.shape, dtype=torch.uint8, device=device), 0
        for batch in moved.batches(torch.arange(len(self)), max(1, PIECE // prod(self.image_shape))):
            there[at : at + len(batch)] = batch
            at += len(batch)
        if there.is_cuda:
            torch.cuda.synchronize(there.device)  # other streams will read it
        return Images(there, labels)

    def first(self, count: int) -> Images:
        """The first images, in memory."""
        images = self.images[:count]
        return Images(images if isinstance(images, Tensor) else torch.from_numpy(images), self.labels[:count])

    def batches(self, order: Tensor, batch_size: int) -> Iterator[Tensor]:
        """The images in an order: uint8 (B, C, H, W), on the device.

        Those of a reference are read by a thread, AHEAD batches before they are used, and copied to a GPU from pinned
        memory without waiting. No more than these batches are in memory.

        Args:
            order: int64, the index of each image to come, on any device. batch_size: the last batch may be smaller.
        """
        images = self.images
        if not len(order):
            return
        if isinstance(images, Tensor):
            for part in order.to(self.device).split(batch_size):  # type: ignore[no-untyped-call]
                yield images.index_select(0, part)
            return
        on_gpu = self.device.type == "cuda"

        def empty() -> Iterator[tuple[np.ndarray, Tensor]]:
            # Made by the thread that frees them: memory that other threads' arenas keep would add up over the epochs.
            for part in order.cpu().split(batch_size):  # type: ignore[no-untyped-call]
                yield part.numpy(), torch.empty(len(part), *self.image_shape, dtype=torch.uint8, pin_memory=on_gpu)

        def filled(job: tuple[np.ndarray, Tensor]) -> Tensor:
            part, batch = job
            pixels = batch.numpy()
            # On a GPU several threads share a batch: a step there takes less time than one of them.
            count = min(4, cores()) if on_gpu else 1
            pieces = [piece for piece in np.array_split(np.arange(len(part)), count) if len(piece)]
            for _ in ahead(lambda at: images.read(part[at], pixels[at[0] : at[-1] + 1]), pieces, count, count):
                pass
            return batch

        for batch in ahead(filled, empty(), 1, AHEAD):
            yield batch.to(self.device, non_blocking=True)

    @property
    def padding(self) -> tuple[int, int]:
        """Black rows and columns added on each side before cropping: an eighth of the side, so 4 for 32 pixels."""
        height, width = self.shape
        return max(1, round(height / 8)), max(1, round(width / 8))

    @property
    def small(self) -> bool:
        """True if the images are in memory and so few that they can be padded as a whole."""
        return isinstance(self.images, Tensor) and self.nbytes <= SMALL

    @cached_property
    def padded(self) -> Tensor:
        """All images of a small set `with_border`. Made once."""
        assert isinstance(self.images, Tensor)
        return self.with_border(self.images)

    def with_border(self, images: Tensor) -> Tensor:
        """Padded images, channels last: uint8 (N, H + 2·rows, W + 2·columns, C), from uint8 (N, C, H, W)."""
        n, channels, height, width = images.shape
        rows, columns = self.padding
        padded = images.new_zeros(n, height + 2 * rows, width + 2 * columns, channels)
        padded[:, rows : rows + height, columns : columns + width] = images.permute(0, 2, 3, 1)
        return padded
