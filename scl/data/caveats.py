"""What a reader must know about a data set: images that stand in two of its parts, and files that were not read."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scl.data.stored import Pixels, SampledImages, digests_of

PAIRS = (("test", "train"), ("test", "val"), ("val", "train"))
NAMES = {"train": "training", "val": "validation", "test": "test"}


def overlaps(images: Mapping[str, Pixels]) -> dict[str, int]:
    """How many images of one part equal an image of another in every pixel, as ``{"test_in_train": 3}``; only pairs of
    parts that share images. Of images that were not decoded, nothing is known.

    Args:
        images: train, val, test → uint8 (N, C, H, W).
    """
    digests = {part: [] if isinstance(of, SampledImages) else digests_of(of) for part, of in images.items()}
    unique = {part: set(of) for part, of in digests.items()}
    counts = {f"{part}_in_{other}": sum(digest in unique[other] for digest in digests[part]) for part, other in PAIRS}
    return {pair: count for pair, count in counts.items() if count}


def caveats(images: Mapping[str, Pixels], skipped: Mapping[str, int]) -> list[str]:
    """What a reader must know about the data, in sentences; none if there is nothing.

    Args:
        images: of each part. skipped: what lay among the image files and was not read, by reason.
    """
    sentences = []
    for pair, count in overlaps(images).items():
        part, _, other = pair.partition("_in_")
        size = len(images[part])
        sentences.append(_shared(count, size, NAMES[part], NAMES[other]))
    if skipped:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))
        sentences.append(f"Not read as images: {sum(skipped.values()):,} ({reasons}).")
    return sentences


def _shared(count: int, size: int, part: str, other: str) -> str:
    if count == size:
        images = f"The only {part} image is also a" if size == 1 else f"All {size:,} {part} images are also"
        kind = f"{other} image" if size == 1 else f"{other} images"
        return f"{images} {kind} (equal in every pixel), so {part} accuracy says nothing of new images."
    are = f"is also a {other} image" if count == 1 else f"are also {other} images"
    points = np.format_float_positional(100 * count / size, precision=2, fractional=False, trim="-")
    return (
        f"{count:,} of {size:,} {part} images {are} (equal in every pixel), "
        f"so {part} accuracy may be up to {points} points too high."
    )
