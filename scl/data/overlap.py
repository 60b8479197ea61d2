"""Images of one part of a data set that also stand in another: a test on them measures memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

PAIRS = (("test", "train"), ("test", "val"), ("val", "train"))
NAMES = {"train": "training", "val": "validation", "test": "test"}


def overlaps(images: Mapping[str, np.ndarray]) -> dict[str, int]:
    """How many images of one part equal an image of another in every pixel, as ``{"test_in_train": 3}``; only pairs of
    parts that share images.

    Args:
        images: train, val, test → uint8 (N, C, H, W).
    """
    digests = {
        part: [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images[part]] for part in images
    }
    unique = {part: set(of) for part, of in digests.items()}
    counts = {f"{part}_in_{other}": sum(digest in unique[other] for digest in digests[part]) for part, other in PAIRS}
    return {pair: count for pair, count in counts.items() if count}


def overlap_note(counts: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    """What `overlaps` found, in words; empty if nothing. sizes: images of each part."""
    sentences = []
    for pair, count in counts.items():
        part, _, other = pair.partition("_in_")
        points = 100 * count / sizes[part]
        are = f"is also a {NAMES[other]} image" if count == 1 else f"are also {NAMES[other]} images"
        sentences.append(
            f"{count:,} of {sizes[part]:,} {NAMES[part]} images {are} (equal in every pixel), "
            f"so {NAMES[part]} accuracy may be up to {points:.2g} points too high."
        )
    return " ".join(sentences)
