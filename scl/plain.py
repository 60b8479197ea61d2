"""Values as Python's own types: numbers of numpy, torch and pandas become Python's where they enter."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def plain(value: Any) -> Any:
    """The value with numpy's scalars as Python's numbers, truth values and text, and arrays and tensors as lists.

    Lists, tuples, sets and mappings are converted at any depth. Anything else is returned as it is, and so is a
    container in which nothing changes. A sweep with `np.linspace` then has the ids of the same numbers typed by hand.
    """
    kind = type(value)
    if kind in (bool, int, float, str, type(None)) or isinstance(value, type) or dataclasses.is_dataclass(value):
        return value  # scl's own dataclasses have converted their fields
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        pairs = [(plain(key), plain(item)) for key, item in value.items()]
        same = all(a is c and b is d for (a, b), (c, d) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, (list, tuple, set, frozenset)):
        inside = [plain(item) for item in value]
        same = all(a is b for a, b in zip(inside, value, strict=True))
        return value if same else next(c for c in (list, tuple, set, frozenset) if isinstance(value, c))(inside)
    if hasattr(value, "tolist") and hasattr(value, "shape"):
        with suppress(RuntimeError, TypeError, ValueError):  # without values, as on torch's meta device
            listed = value.tolist()
            return value if type(listed) is kind else plain(listed)
    return value
