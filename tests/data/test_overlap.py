"""Images that stand in two parts of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from scl.data.overlap import overlap_note, overlaps


def parts(**changes: list[tuple[str, int]]) -> dict[str, np.ndarray]:
    """Distinct images; `test=[("train", 0)]` makes the first test image the training image 0."""
    rng = np.random.default_rng(0)
    images = {
        part: rng.integers(0, 256, (n, 3, 4, 4), dtype=np.uint8)
        for part, n in (("train", 20), ("val", 5), ("test", 10))
    }
    for part, copies in changes.items():
        for i, (other, j) in enumerate(copies):
            images[part][i] = images[other][j]
    return images


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {}),
        ({"test": [("train", 3)]}, {"test_in_train": 1}),
        ({"test": [("train", 3), ("train", 3)]}, {"test_in_train": 2}),
        ({"test": [("val", 1), ("train", 2)]}, {"test_in_train": 1, "test_in_val": 1}),
        ({"val": [("train", 2)]}, {"val_in_train": 1}),
        ({"test": [("test", 5)]}, {}),
    ],
)
def test_equal_images_of_two_parts_are_counted(
    changes: dict[str, list[tuple[str, int]]], found: dict[str, int]
) -> None:
    assert overlaps(parts(**changes)) == found


def test_one_pixel_makes_another_image() -> None:
    images = parts(test=[("train", 3)])
    images["test"][0, 0, 0, 0] ^= 1
    assert overlaps(images) == {}


def test_a_part_without_images_shares_none() -> None:
    assert overlaps({**parts(), "val": np.zeros((0, 3, 4, 4), np.uint8)}) == {}


def test_the_note_bounds_the_error() -> None:
    assert overlap_note({}, {}) == ""
    assert overlap_note({"test_in_train": 10, "val_in_train": 5}, {"test": 10_000, "val": 5_000, "train": 45_000}) == (
        "10 of 10,000 test images are also training images (equal in every pixel), so test accuracy may be up to 0.1 "
        "points too high. 5 of 5,000 validation images are also training images (equal in every pixel), so validation "
        "accuracy may be up to 0.1 points too high."
    )
