"""Python's and numpy's global random streams: libraries, own networks and custom losses draw from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def random_streams_kept() -> Iterator[None]:
    """Restore Python's and numpy's global random streams at the end: libraries and custom losses draw from them."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


@contextmanager
def seeded_streams(seed: int) -> Iterator[None]:
    """Seed Python's and numpy's global random streams, and restore them at the end."""
    with random_streams_kept():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield
