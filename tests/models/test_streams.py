"""Python's and numpy's random streams are seeded for a while, and put back."""

from __future__ import annotations

import random

import numpy as np

from scl.models.streams import random_streams_kept, seeded_streams


def test_streams_are_seeded_and_put_back() -> None:
    with random_streams_kept():
        random.seed(3)
        np.random.seed(3)
        after = random.random(), np.random.rand()
        random.seed(3)
        np.random.seed(3)
        with seeded_streams(2**40 + 1):
            one = random.random(), np.random.rand()
        with seeded_streams(2**40 + 1):
            assert (random.random(), np.random.rand()) == one
        assert (random.random(), np.random.rand()) == after
