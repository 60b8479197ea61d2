"""Images that stand in two parts of a data set, and files that were not read."""

from __future__ import annotations

import numpy as np
import pytest

from scl.data.caveats import caveats, overlaps


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


def test_the_sentences_bound_the_error_and_count_what_was_not_read() -> None:
    assert caveats(parts(), {}) == []
    images = parts(test=[("train", 3)], val=[("train", 1), ("train", 2)])
    assert caveats(images, {".txt file": 2, "folder inside a class folder": 1}) == [
        "1 of 10 test images is also a training image (equal in every pixel), so test accuracy may be up to 10 points "
        "too high.",
        "2 of 5 validation images are also training images (equal in every pixel), so validation accuracy may be up to "
        "40 points too high.",
        "Not read as images: 3 (.txt file: 2, folder inside a class folder: 1).",
    ]


def of_size(part: str, size: int, shared: int) -> dict[str, np.ndarray]:
    """A part of this size, of which some images are also training images."""
    pixels = np.zeros((2 * size, 1, 4, 4), np.uint8)
    pixels[:, 0, 0] = np.arange(2 * size)[:, None] // 256 ** np.arange(4) % 256
    images = {"train": pixels[:size], "val": pixels[:0], "test": pixels[:0]}
    images[part] = np.concatenate([pixels[:shared], pixels[size : 2 * size - shared]])
    return images


@pytest.mark.parametrize(
    ("part", "size", "shared", "sentence"),
    [
        (
            "val",
            1,
            1,
            "The only validation image is also a training image (equal in every pixel), so valid",
        ),
        (
            "test",
            10,
            10,
            "All 10 test images are also training images (equal in every pixel), so test accuracy says",
        ),
        ("test", 1000, 997, "up to 100 points too high."),
        ("test", 1000, 994, "up to 99 points too high."),
        ("test", 1000, 1, "up to 0.1 points too high."),
        (
            "test",
            30_000,
            1,
            "1 of 30,000 test images is also a training image (equal in every pixel), so test acc",
        ),
        ("test", 30_000, 1, "up to 0.0033 points too high."),
        ("test", 8, 1, "up to 12 points too high."),
    ],
)
def test_the_share_is_in_plain_numbers(part: str, size: int, shared: int, sentence: str) -> None:
    (found,) = caveats(of_size(part, size, shared), {})
    assert sentence in found
