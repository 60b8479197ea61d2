"""A data set in memory, and the fingerprint of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from scl.study.identity import canonical_json


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded images and their classes.

    train_images, test_images: uint8 (N, C, H, W), C is 1 or 3.
    train_labels, test_labels: int64 (N,), 0 … K−1.
    val_images, val_labels: the same, if the data come with a validation part; else a share of train is held out.
    classes: K names.
    flip: True if a mirrored image keeps its class.
    note: a description for the report.
    fingerprint: `content_fingerprint` of the arrays and K.
    skipped: what lay among the images and was not read, by reason.
    remarks: what a reader must know of how the images were read, in sentences.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    flip: bool
    note: str
    fingerprint: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    val_images: np.ndarray | None = None
    val_labels: np.ndarray | None = None
    remarks: tuple[str, ...] = ()


def content_fingerprint(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    classes: int,
    val_images: np.ndarray | None = None,
    val_labels: np.ndarray | None = None,
) -> str:
    """SHA-256 of shapes, pixels, labels and the number of classes: the same on machines of any byte order."""
    every = (train_images, train_labels, test_images, test_labels, val_images, val_labels)
    arrays = [array for array in every if array is not None]
    digest = hashlib.sha256(canonical_json([classes, *(array.shape for array in arrays)]).encode())
    for array in arrays:
        little_endian = array.dtype.newbyteorder("<")
        digest.update(np.ascontiguousarray(array, dtype=little_endian).ravel().data)
    return digest.hexdigest()


def make_dataset(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: Iterable[str],
    flip: bool,
    what: str,
    caveat: str,
    val: tuple[np.ndarray, np.ndarray] | None = None,
    skipped: Mapping[str, int] | None = None,
    remarks: tuple[str, ...] = (),
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
    fingerprint = content_fingerprint(*train, *test, len(classes), *(val or ()))
    content = Dataset(name, *train, *test, classes, flip, note, fingerprint, skipped or {}, remarks=remarks)
    return content if val is None else replace(content, val_images=val[0], val_labels=val[1])
