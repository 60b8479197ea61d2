"""Environment variables and random streams of the process, put back at the end of a run."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np


@contextmanager
def environment(values: Mapping[str, str] | None = None, defaults: Mapping[str, str] | None = None) -> Iterator[None]:
    """Set environment variables; at the end every variable is as it was before, also those that a library changed.

    Args:
        values: variables to set.
        defaults: variables to set if they are not set yet.
    """
    before = dict(os.environ)
    os.environ.update({**(defaults or {}), **before, **(values or {})})
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def random_streams_kept() -> Iterator[None]:
    """Restore Python's and numpy's global random streams at the end: libraries and custom losses draw from them."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
