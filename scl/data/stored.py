"""Images that are not in memory: a part of a data set as a reference to a file, or as a few images that stand for it.

`StoredImages` are rows of a .npy file in the cache of decoded data. What is asked for is read from the file, through
the system's cache of files, which all processes of a machine share: so no process holds the set. Reading was measured
against mapping the file into the process: as fast, without growth of the process, and a file that was cut off is an
error that can be reported instead of the end of the process.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from scl.errors import RunFailed, first_line

ENTRY = "entry.safetensors"  # beside the .npy files of a data set; without it they are decoded again
PIECE = 16 * 2**20  # bytes that are read at once where all are wanted


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Some images of a .npy file, like an array, uint8 (N, C, H, W), whose images are read when they are indexed.

    Picklable, and small: the pixels stay in the file.

    path: of the file. offset: bytes before its first image. image_shape: (C, H, W). rows: int64 (N,), the places of the
    images in the file. crcs: uint32 (N,), the CRC-32 of each image, with which what is read is compared: it notices any
    change of up to 32 neighbouring bits, and misses another one with a probability of 1 in 4 billion. digests: uint8
    (N, 16), BLAKE2b of each image.
    """

    path: str
    offset: int
    image_shape: tuple[int, int, int]
    rows: np.ndarray
    crcs: np.ndarray
    digests: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.rows), *self.image_shape)

    @property
    def nbytes(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def here(self) -> StoredImages:
        """The images in a file that this machine sees."""
        return self

    def take(self, indices: np.ndarray) -> StoredImages:
        """Some of these images, still in the file."""
        return replace(self, rows=self.rows[indices], crcs=self.crcs[indices], digests=self.digests[indices])

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        indices = np.arange(len(self))[which]
        out = np.empty((len(indices), *self.image_shape), dtype=np.uint8)
        self.read(indices, out)
        return out

    def read(self, indices: np.ndarray, out: np.ndarray) -> None:
        """Read images into `out`, uint8 (len(indices), C, H, W), contiguous.

        Raises:
            RunFailed: the file is gone or cut off, or an image differs from what was decoded. The data are then decoded
                again by the next run.
        """
        if problem := self.damage(indices, out):
            record = Path(self.path).with_name(ENTRY)
            (record if record.exists() else Path(self.path)).unlink(missing_ok=True)  # a copy on a node has no record
            raise RunFailed(
                f"{self.path}: {problem}; run the same command again: it decodes the images anew and keeps finished "
                "trials"
            )

    def damage(self, indices: np.ndarray, out: np.ndarray) -> str:
        """As `read`; returns what is wrong with the file, '' if nothing is."""
        size, flat = prod(self.image_shape), memoryview(out.reshape(-1))  # type: ignore[arg-type]
        try:
            with open(self.path, "rb", buffering=0) as file:
                for place, (row, crc) in enumerate(zip(self.rows[indices], self.crcs[indices], strict=True)):
                    pixels = flat[place * size : (place + 1) * size]
                    file.seek(self.offset + int(row) * size)
                    read = file.readinto(pixels)
                    if read != size or zlib.crc32(pixels) != crc:
                        return f"image {row} differs from what was decoded"
        except OSError as error:
            return f"it cannot be read ({first_line(error)})"
        return ""


@dataclass(frozen=True, eq=False)
class SampledImages:
    """A few decoded images, uint8 (S, C, H, W), that stand for `count` images which nobody has decoded: a plan measures
    time with them. Image i is the image i mod S."""

    pixels: np.ndarray
    count: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        _, channels, height, width = self.pixels.shape
        return self.count, channels, height, width

    @property
    def nbytes(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return self.count

    def take(self, indices: np.ndarray) -> SampledImages:
        return replace(self, count=len(indices))

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        picked: np.ndarray = self.pixels[np.arange(self.count)[which] % len(self.pixels)]
        return picked

    def read(self, indices: np.ndarray, out: np.ndarray) -> None:
        out[:] = self[indices]


Referenced = StoredImages | SampledImages
Pixels = np.ndarray | StoredImages | SampledImages
"""The images of a part: uint8 (N, C, H, W)."""


def taken(images: Pixels, indices: np.ndarray) -> Pixels:
    """Some of the images: a copy of an array, else a reference."""
    return images[indices] if isinstance(images, np.ndarray) else images.take(indices)


def pieces(images: Pixels) -> Iterator[np.ndarray]:
    """The images in order, a few MB at once: uint8 (n, C, H, W)."""
    step = max(1, PIECE // max(1, prod(images.shape[1:])))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def digests_of(images: Pixels) -> list[bytes]:
    """The digest of each image's pixels."""
    if isinstance(images, StoredImages):
        return [digest.tobytes() for digest in images.digests]
    return [digest_of(image) for piece in pieces(images) for image in piece]


def digest_of(image: np.ndarray) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()
