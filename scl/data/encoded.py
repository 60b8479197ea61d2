"""A data set as readers of folders find it: encoded images, their labels and class names. Nothing is decoded yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip

Source = tuple[str, Path | bytes]
"""An encoded image: its name in messages, and its file or content."""


@dataclass(frozen=True)
class EncodedPart:
    """The encoded images of one part, and their class numbers, int64 (N,).

    sources: N sources, which are read only when they are iterated. That happens several times: first the headers of
    images are read, then their pixels. A list if the images are files of their own, so that any of them can be had at
    once.
    """

    labels: np.ndarray
    sources: Iterable[Source]


@dataclass(frozen=True)
class EncodedFolder:
    """The content of a folder before decoding.

    parts: train, test, and val if the data have such a part. classes: their names, by number.
    what, caveat: the description in the report, before and after the sizes.
    skipped: what the files hold and what is not read of it, by reason.
    remarks: what was decided for the user, in sentences.
    """

    parts: Mapping[str, EncodedPart]
    classes: list[str]
    what: str
    caveat: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetFiles:
    """A data set found in a folder, not yet read.

    paths: all files whose content decides the data set. choices: what the user chose that decides it too.
    read: lists the images and labels in these files. skipped: what lies among the files and is not read, by reason.
    """

    paths: list[Path]
    choices: tuple[object, ...]
    read: Callable[[], EncodedFolder]
    skipped: Mapping[str, int] = field(default_factory=dict)


def visible_entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder without hidden ones, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
