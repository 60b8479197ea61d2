"""Checks of option values: each takes the text of a flag or the value of a keyword, and returns the checked value.

All raise ValueError with the rule and the value that was given.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from scl.errors import unknown
from scl.study.config import HUBS, MODEL_NAMES, MODELS
from scl.study.term import as_real, as_whole

Check = Callable[[Any], Any]

MOST_SEEDS = 100_000
LARGEST_SEED = 2**63 - 1  # a column of the store holds it


def whole(low: int) -> Check:
    def check(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else as_whole(value)
        except ValueError:
            number = None
        if number is None or number < low:
            raise ValueError(f"must be a whole number of {low} or more, got {value!r}")
        return number

    return check


def number(low: float, high: float = math.inf, including: bool = False) -> Check:
    def check(value: Any) -> float:
        try:
            real = float(value) if isinstance(value, str) else as_real(value)
        except ValueError:
            real = None
        if real is None or not math.isfinite(real) or real < low or (real == low and not including) or real >= high:
            rule = f"{low:g} or more" if including else f"above {low:g}"
            below = "" if math.isinf(high) else f" and below {high:g}"
            raise ValueError(f"must be a finite number, {rule}{below}, got {value!r}")
        return real

    return check


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, got {value!r}")
    return value


def place(value: Any) -> str:
    """A path or URI."""
    return text(value.__fspath__() if hasattr(value, "__fspath__") else value)


def switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be True or False, got {value!r}")
    return value


def one_of(kind: str, valid: Sequence[str]) -> Check:
    def check(value: Any) -> str:
        if value not in valid:
            raise ValueError(unknown(kind, value, valid))
        return str(value)

    return check


def cohort_size(value: Any) -> int | None:
    if value is None or value == "auto":
        return None
    try:
        return int(whole(1)(value))
    except ValueError:
        raise ValueError(f"must be 'auto' or a whole number of 1 or more, got {value!r}") from None


def model(value: Any) -> str:
    # Whether torchvision or timm has a model is known when it is built: importing them would slow every start.
    if not text(value).startswith(HUBS) and value not in MODELS:
        raise ValueError(unknown("model", value, MODEL_NAMES))
    return str(value)


def several(kind: str) -> Check:
    """Names: text with commas, or a sequence."""

    def check(value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"must be names, as in {kind}, got {value!r}")
        names = tuple(part.strip() for part in parts if part.strip())
        if not names:
            raise ValueError(f"must give at least one name, as in {kind}")
        return names

    return check


def seed_list(value: Any) -> tuple[int, ...]:
    """Seeds, sorted: text of numbers and ranges with commas, as in 0-2,7, or a sequence of whole numbers."""
    found: list[int] = []
    if isinstance(value, str):
        for part in value.split(","):
            given = re.fullmatch(r"\s*([0-9]{1,19})\s*(?:-\s*([0-9]{1,19})\s*)?", part)
            low, high = (int(given[1]), int(given[2] or given[1])) if given else (1, 0)
            if low > high:
                raise ValueError(f"must be seeds and ranges that rise, as in 3,4 or 0-2,7; got {part.strip()!r}")
            found += range(low, min(high + 1, low + MOST_SEEDS + 1))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        found = [whole(0)(seed) for seed in islice(value, MOST_SEEDS + 1)]
    else:
        raise ValueError(f"must be seeds, as in [3, 4] or '0-2,7'; got {value!r}")
    if not found:
        raise ValueError("must give at least one seed, as in 3,4")
    if len(found) > MOST_SEEDS or max(found) > LARGEST_SEED:
        raise ValueError(f"must be at most {MOST_SEEDS:,} seeds of 0 to {LARGEST_SEED}")
    twice = [seed for seed, times in Counter(found).items() if times > 1]
    if twice:
        raise ValueError(f"seed {twice[0]} is given twice; give each seed once")
    return tuple(sorted(found))


def assignments(value: Any) -> dict[str, Any]:
    """NAME=VALUE: text (several with commas), a list of such texts of which the later count, or a mapping."""
    if isinstance(value, Mapping):
        return {str(name): given for name, given in value.items()}
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(part, str) for part in texts):
        raise ValueError(f"must be NAME=VALUE, or a mapping in Python, got {value!r}")
    found: dict[str, Any] = {}
    for each in texts:
        found |= _assigned(each)
    return found


def _assigned(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for part in text.split(","):
        name, sign, given = (piece.strip() for piece in part.partition("="))
        if sign and name in found:
            raise ValueError(f"{name} is given twice in {text!r}; give each name once")
        if sign and name:
            found[name], last = given, name
        elif last and not sign:  # a value with commas, as in milestones=150,180
            found[last] += f",{name}"
        else:
            raise ValueError(f"must be NAME=VALUE, got {text!r}")
    return found
