"""A data set as readers of folders find it: encoded images, their labels and class names. Nothing is decoded yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scl.errors import UserError

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
PARTS = ("train", "test")

Source = tuple[str, Path | bytes]
"""An encoded image: its name in messages, and its file or content."""


@dataclass(frozen=True)
class EncodedPart:
    """The encoded images of a part, and their class numbers, int64 (N,).

    sources: called for each pass over the images (first their headers are read, then their pixels); in the order of
    labels.
    """

    labels: np.ndarray
    sources: Callable[[], Iterable[Source]]


@dataclass(frozen=True)
class EncodedFolder:
    """The content of a folder, not yet decoded: its parts, by name, and class names.

    what, caveat: the description in the report, before and after the sizes.
    """

    parts: Mapping[str, EncodedPart]
    classes: list[str]
    what: str
    caveat: str


@dataclass(frozen=True)
class DatasetFiles:
    """A data set found in a folder.

    label: the label column that the user chose. Paths and label decide the content. open: reads all but the images.
    skipped: what lies among the images and is not read, by reason.
    """

    paths: list[Path]
    label: str | None
    open: Callable[[], EncodedFolder]
    skipped: Mapping[str, int] = field(default_factory=dict)


def require_same_labels(folder: Path, train: set[Any], test: set[Any]) -> None:
    """Raise UserError unless both parts hold the same labels, at least two."""
    for here, there, part, other in ((train, test, "train", "test"), (test, train, "test", "train")):
        if lacking := sorted(here - there):
            more = f" and {len(lacking) - 10} more" if len(lacking) > 10 else ""
            raise UserError(
                f"--data {folder}: {other} lacks labels that {part} has: {', '.join(map(str, lacking[:10]))}{more}; "
                "both parts need the same classes"
            )
    if len(train) < 2:
        raise UserError(f"--data {folder}: the number of classes is {len(train)}; a classifier needs at least 2")


def visible_entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder without hidden ones, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
