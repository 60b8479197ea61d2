"""Data sets in memory and their fingerprints."""

from __future__ import annotations

import numpy as np

from scl.data.dataset import content_fingerprint, make_dataset
from tests.support.images import noise


def test_content_fingerprint_sees_everything() -> None:
    pixels, labels = noise((8, 1, 4, 4)), np.arange(8) % 2
    changed = pixels.copy()
    changed[3, 0, 1, 1] ^= 1
    prints = {
        content_fingerprint(pixels, labels, pixels, labels, 2),
        content_fingerprint(changed, labels, pixels, labels, 2),
        content_fingerprint(pixels, labels, changed, labels, 2),
        content_fingerprint(pixels, labels[::-1], pixels, labels, 2),
        content_fingerprint(pixels, labels, pixels, labels[::-1], 2),
        content_fingerprint(pixels, labels, pixels, labels, 3),
        content_fingerprint(pixels.reshape(8, 1, 2, 8), labels, pixels, labels, 2),
    }
    validated = [content_fingerprint(pixels, labels, pixels, labels, 2, part, labels) for part in (pixels, changed)]
    assert len(prints | set(validated)) == 9
    strided = pixels.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
    assert content_fingerprint(strided, labels.astype(">i8"), pixels, labels, 2) in prints


def test_a_note_gives_what_sizes_and_caveat() -> None:
    part = noise((6, 3, 4, 5)), np.arange(6) % 2
    made = make_dataset("made", part, (part[0][:2], part[1][:2]), ["a", "b"], False, "Noise", "It shows nothing.")
    assert made.note == ("Noise: 6 training and 2 test images of 4×5 pixels, colour, in 2 classes. It shows nothing.")
    assert (made.classes, made.flip) == (("a", "b"), False)
    assert made.fingerprint == content_fingerprint(*part, made.test_images, made.test_labels, 2)
