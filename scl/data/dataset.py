"""A data set, in memory or as references to files of a cache, and the fingerprint of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from scl.data.preprocessing import Preprocessing
from scl.data.stored import Pixels, SampledImages, pieces
from scl.study.identity import canonical_json


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded images and their classes.

    train_images, test_images: uint8 (N, C, H, W), C is 1 or 3; large sets are references, see `StoredImages`.
    train_labels, test_labels: int64 (N,), 0 … K−1.
    val_images, val_labels: the same, if the data come with a validation part; else a share of train is held out.
    classes: K names.
    flip: True if a mirrored image keeps its class.
    note: a description for the report.
    fingerprint: `content_fingerprint` of the arrays and K; '' if the images were not decoded, for a plan.
    skipped: what lay among the images and was not read, by reason.
    preprocessing: how each image became pixels; None: 'exact', see `how`.
    histogram: int64 (C, 256), how often each value occurs in the training images; None if nobody has counted.
    remarks: what a reader must know of how the images were read, in sentences.
    decoding: seconds that decoding would take, if the images were not decoded.
    """

    name: str
    train_images: Pixels
    train_labels: np.ndarray
    test_images: Pixels
    test_labels: np.ndarray
    classes: tuple[str, ...]
    flip: bool
    note: str
    fingerprint: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    val_images: Pixels | None = None
    val_labels: np.ndarray | None = None
    preprocessing: Preprocessing | None = None
    histogram: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    decoding: float | None = None

    @property
    def how(self) -> Preprocessing:
        channels, height, width = self.train_images.shape[1:]
        return self.preprocessing or Preprocessing(height, width, channels)


def content_fingerprint(
    train_images: Pixels,
    train_labels: np.ndarray,
    test_images: Pixels,
    test_labels: np.ndarray,
    classes: int,
    val_images: Pixels | None = None,
    val_labels: np.ndarray | None = None,
) -> str:
    """SHA-256 of shapes, pixels, labels and the number of classes: the same on machines of any byte order."""
    every = (train_images, train_labels, test_images, test_labels, val_images, val_labels)
    arrays = [array for array in every if array is not None]
    digest = hashlib.sha256(canonical_json([classes, *(array.shape for array in arrays)]).encode())
    for array in arrays:
        for part in [array] if isinstance(array, np.ndarray) else pieces(array):
            little_endian = part.dtype.newbyteorder("<")
            digest.update(np.ascontiguousarray(part, dtype=little_endian).ravel().data)
    return digest.hexdigest()


def make_dataset(
    name: str,
    train: tuple[Pixels, np.ndarray],
    test: tuple[Pixels, np.ndarray],
    classes: Iterable[str],
    flip: bool,
    what: str,
    caveat: str,
    val: tuple[Pixels, np.ndarray] | None = None,
    skipped: Mapping[str, int] | None = None,
) -> Dataset:
    """A data set from the images and labels of its parts. Its note is `what`, then the sizes, then `caveat`."""
    classes = tuple(classes)
    channels, height, width = train[0].shape[1:]
    given = ((train, "training"), (val, "validation"), (test, "test"))
    *first, last = [f"{len(part[1]):,} {kind}" for part, kind in given if part is not None]
    note = (
        f"{what}: {', '.join(first)} and {last} images of {height}×{width} pixels, "
        f"{'grey' if channels == 1 else 'colour'}, in {len(classes)} classes. {caveat}"
    )
    sampled = isinstance(train[0], SampledImages)
    fingerprint = "" if sampled else content_fingerprint(*train, *test, len(classes), *(val or ()))
    return Dataset(name, *train, *test, classes, flip, note, fingerprint, skipped or {}, *(val or ()))
