"""Data sets in folders: Hugging Face image Parquet, or image files in a folder per class.

Every mistake in the user's data is a UserError that names the file, and the row of a Parquet file, from 0.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scl.data.encoded import (
    IMAGE_SUFFIXES,
    PARTS,
    DatasetFiles,
    EncodedFolder,
    EncodedPart,
    Source,
    require_same_labels,
    visible_entries,
)
from scl.data.parquet import parquet_parts, read_parquet
from scl.errors import UserError
from scl.streams import name_of

LAYOUTS = (
    "Parquet files train-*.parquet and test-*.parquet (an image column 'img' or 'image' with a field 'bytes', "
    "and an integer label column), or images train/CLASS/*.png and test/CLASS/*.png (also jpg, bmp, webp, "
    "gif, tiff, ppm)"
)


def find_dataset(folder: Path, label: str | None) -> DatasetFiles:
    """Find the data set in an existing folder, without decoding it.

    Raises:
        UserError: the folder has neither layout, one part only, an empty class folder or a link that leads out of
            it; or a label column is given for image files. `read` of the result raises for mistakes in the files.
        OSError: the folder cannot be read.
    """
    shards = parquet_parts(folder)
    if any(shards.values()):
        _require_both_parts(folder, shards, "{}-*.parquet")
        paths = [path for part in PARTS for path in shards[part]]
        return DatasetFiles(paths, (label,), lambda: read_parquet(folder, shards, label))
    present = {part: (folder / part).is_dir() for part in PARTS}
    if not any(present.values()):
        raise UserError(f"--data {folder}: no data set found in this folder; it must hold {LAYOUTS}")
    if label is not None:
        raise UserError(
            f"--label {label!r}: {folder} holds images, and their labels are their class folders; drop --label"
        )
    _require_both_parts(folder, present, "{}/")
    skipped: Counter[str] = Counter()
    images = {part: _class_folders(folder, part, skipped) for part in PARTS}
    paths = [path for part in PARTS for in_class in images[part].values() for path in in_class]
    return DatasetFiles(paths, (None,), lambda: _read_images(folder, images), skipped)


def _require_both_parts(folder: Path, found: Mapping[str, object], pattern: str) -> None:
    for part, other in (PARTS, PARTS[::-1]):
        if not found[part]:
            raise UserError(
                f"--data {folder}: it has {pattern.format(other)} but no {pattern.format(part)}; "
                "a data set needs both a training and a test part"
            )


def _class_folders(folder: Path, part: str, skipped: Counter[str]) -> dict[str, list[Path]]:
    """The classes of train or test and their image files, both sorted by name. What is not read is counted in
    `skipped`, by reason; hidden files are not."""
    root = os.path.realpath(folder)

    def refuse_outside(entry: os.DirEntry[str]) -> None:
        if os.path.commonpath([root, os.path.realpath(entry.path)]) != root:
            raise UserError(f"{entry.path}: this link leads out of {folder}; replace it by the file itself")

    classes: dict[str, list[Path]] = {}
    for class_entry in visible_entries(folder / part):
        if not class_entry.is_dir():
            skipped[f"file beside the class folders of {part}"] += 1
            continue
        refuse_outside(class_entry)
        paths = []
        for entry in visible_entries(class_entry.path):
            if entry.is_dir():
                skipped["folder inside a class folder"] += 1
                continue
            if not entry.name.lower().endswith(IMAGE_SUFFIXES):
                skipped[f"{Path(entry.name).suffix.lower()} file".strip()] += 1
                continue
            if entry.is_symlink():
                refuse_outside(entry)
            if entry.is_symlink() or not entry.is_dir():  # a dead link or a pipe is listed, so that reading it names it
                paths.append(Path(entry.path))
        if not paths:
            raise UserError(
                f"{class_entry.path}: no image in this class folder ({', '.join(IMAGE_SUFFIXES)}); fill or remove it"
            )
        classes[class_entry.name] = paths
    return classes


def _read_images(folder: Path, images: Mapping[str, Mapping[str, list[Path]]]) -> EncodedFolder:
    require_same_labels(folder, set(images["train"]), set(images["test"]))
    classes = sorted(images["train"])
    parts = {}
    for part in PARTS:
        numbered = [(number, path) for number, name in enumerate(classes) for path in images[part][name]]
        sources: list[Source] = [(str(path), path) for _, path in numbered]
        parts[part] = EncodedPart(np.array([number for number, _ in numbered], dtype=np.int64), sources)
    names = [name_of(c) for c in classes]
    return EncodedFolder(parts, names, "A folder of images", "It comes with its own test part.")
