"""Classes of new images: files and folders, preprocessed as the student's training images were."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from scl.data.encoded import IMAGE_SUFFIXES
from scl.data.preprocessing import Preprocessing, prepare
from scl.errors import UserError, unknown
from scl.machine import cores
from scl.students.student import Student
from scl.study.options import FITS

BATCH = 64  # images
Prepared = tuple[Path, np.ndarray | str]
"""An image's path, and its pixels, uint8 (C, H, W), or why it has none."""


@dataclass(frozen=True)
class Predicted:
    """What a student says of an image: the probability of each class, float32 (K,); or an error, and None."""

    path: Path
    probabilities: np.ndarray | None
    error: str = ""


def preprocessing_of(student: Student, fit: str | None = None) -> Preprocessing:
    """How an image becomes this student's pixels.

    Args:
        fit: one of FITS, in place of the one of its training.

    Raises:
        UserError: no such fit.
    """
    channels, height, width = student.image_shape
    stored = student.record.get("preprocessing") or {}
    how = Preprocessing(height, width, channels, **{k: stored[k] for k in ("fit", "interpolation") if k in stored})
    if fit is None:
        return how
    if fit not in FITS:
        raise UserError(unknown("fit", fit, FITS))
    return dataclasses.replace(how, fit=fit)


def images_in(places: Sequence[str]) -> tuple[list[Path], int]:
    """The image files that are named, and those in folders and below, sorted; and how many other files lie there.

    Raises:
        UserError: a place does not exist, or there is no image at all.
    """
    found: list[Path] = []
    others = 0
    for place in places:
        path = Path(os.path.expanduser(place))
        if not path.exists():
            raise UserError(f"{place}: no such file or folder")
        if not path.is_dir():
            found.append(path)
            continue
        for folder, inside, names in os.walk(path):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            seen = sorted(name for name in names if not name.startswith("."))
            right = [name for name in seen if name.lower().endswith(IMAGE_SUFFIXES)]
            found += [Path(folder, name) for name in right]
            others += len(seen) - len(right)
    if not found:
        raise UserError(f"{', '.join(places)}: no image; images end in {', '.join(IMAGE_SUFFIXES)}")
    return found, others


def predict(student: Student, images: Iterable[Path], how: Preprocessing) -> Iterator[Predicted]:
    """The student's answer for each image, in order. An image that cannot be read has an error, and the next follows.
    A few batches are in memory at once, whatever their number."""

    def prepared(path: Path) -> Prepared:
        try:
            return path, prepare(path, how)
        except UserError as error:
            return path, str(error)

    remaining = iter(images)
    with ThreadPoolExecutor(min(4, cores())) as pool, torch.inference_mode():
        while paths := list(islice(remaining, BATCH)):
            batch = list(pool.map(prepared, paths))
            pixels = [p for _, p in batch if isinstance(p, np.ndarray)]
            answers = iter(_probabilities(student, np.stack(pixels))) if pixels else iter(())
            for path, found in batch:
                yield Predicted(path, None, found) if isinstance(found, str) else Predicted(path, next(answers))


def _probabilities(student: Student, pixels: np.ndarray) -> np.ndarray:
    """Of a batch, uint8 (B, C, H, W): float32 (B, K)."""
    images = torch.from_numpy(pixels).to(student.mean.dtype) / 255
    if not student.normalise:
        images = (images - student.mean) / student.std
    return student(images).softmax(1).float().numpy()
