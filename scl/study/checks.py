"""Checks of option values: each takes the text of a flag or the value of a keyword, and returns the checked value.

All raise ValueError with the rule and the value that was given.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from typing import Any

from scl.errors import shown, unknown
from scl.masking import masked_value
from scl.study.fields import HUBS, MODEL_NAMES, MODELS
from scl.study.metrics import COSTS
from scl.study.network import Model, model_from_file
from scl.study.numerals import real_from, whole_from

Check = Callable[[Any], Any]

LARGEST_WHOLE = 2**63 - 1  # that a column of the store holds
MOST_SEEDS = 100_000
MOST_LOOKS = 100
LARGEST_MARGIN = 0.2  # 0.5 is meant as half a point, and would be 50 points
LONGEST_TEXT = 4096  # characters
LONGEST_PATH, LONGEST_NAME = 2048, 255  # bytes that file systems take; what is below the path needs room too
SMALLEST_SHARE = 0.0001  # of a GPU: Ray counts in these
MOST_GPUS = 1024
RAY_CLIENT = "ray://"  # before the address of a cluster that is reached from outside
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


def whole(low: int, high: int = LARGEST_WHOLE) -> Check:
    """A whole number from low to high, both included."""

    def check(value: Any) -> int:
        with suppress(ValueError):
            if low <= (number := whole_from(value)) <= high:
                return number
        beyond = isinstance(value, int) and value > LARGEST_WHOLE
        rule = f"{low} or more" if high == LARGEST_WHOLE and not beyond else f"{low} to {high:,}"
        raise ValueError(f"must be a whole number of {rule}, got {shown(value)}")

    return check


def number(low: float, high: float = math.inf, including: str = "") -> Check:
    """A finite number between low and high. including: the ends that belong to it: `low`, `high` or `low and high`."""
    rule = f"{low:g} or more" if "low" in including else f"above {low:g}"
    if not math.isinf(high):
        rule += f" and at most {high:g}" if "high" in including else f" and below {high:g}"

    def check(value: Any) -> float:
        with suppress(ValueError):
            real = real_from(value)
            if low <= real <= high and (real > low or "low" in including) and (real < high or "high" in including):
                return real
        raise ValueError(f"must be a finite number, {rule}, got {shown(value)}")

    return check


def numbers(low: float, high: float, including: str = "") -> Check:
    """One number or three, each as `number` takes it; a text has them between commas."""
    one = number(low, high, including)

    def check(value: Any) -> tuple[float, ...]:
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
        if len(parts) not in (1, 3):
            raise ValueError(f"must be one number or three, as in 0.485,0.456,0.406, got {shown(value)}")
        return tuple(one(part.strip() if isinstance(part, str) else part) for part in parts)

    return check


def text(value: Any) -> str:
    """Text that can be printed and stored: not empty, no control characters, no bytes that are not UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, got {shown(value)}")
    if not value.strip():
        raise ValueError(f"must not be empty, got {shown(value)}")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"must have at most {LONGEST_TEXT:,} characters, got {shown(value)}")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        raise ValueError(f"must be UTF-8 without control characters such as line ends, got {shown(value)}")
    return value


def place(value: Any) -> str:
    """A path or URI, no longer than systems take."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    readable = text(_decoded(path))
    if len(readable.encode()) > LONGEST_PATH or any(len(name.encode()) > LONGEST_NAME for name in readable.split("/")):
        raise ValueError(
            f"must be a path of at most {LONGEST_PATH:,} bytes, each name in it of at most {LONGEST_NAME}, "
            f"got {shown(value)}"
        )
    return str(path)


def _decoded(path: Any) -> Any:
    """A path as text: in a locale that is not UTF-8, Python keeps bytes of its name that it cannot decode."""
    try:
        return os.fsencode(path).decode() if isinstance(path, str) else path
    except UnicodeError:
        return path


def address(value: Any) -> str:
    """Where a Ray cluster is: `auto`, HOST:PORT or ray://HOST:PORT; an IPv6 address stands in brackets."""
    given = text(value)
    host, _, port = given.removeprefix(RAY_CLIENT).rpartition(":")
    if given != "auto" and not (_is_host(host) and re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        raise ValueError(
            f"must be auto, HOST:PORT or {RAY_CLIENT}HOST:PORT, the port of 1 to 65535, "
            f"got {shown(masked_value(given))}"
        )
    return given


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    return HOST.fullmatch(host) is not None


def gpus(value: Any) -> float:
    """GPUs as Ray gives them: none, a share of one, or whole ones."""
    with suppress(ValueError):
        count = real_from(value)
        if count == 0 or SMALLEST_SHARE <= count <= 1 or (count.is_integer() and 1 < count <= MOST_GPUS):
            return count
    raise ValueError(
        f"must be 0, a share of one GPU from {SMALLEST_SHARE:g}, or a whole number to {MOST_GPUS}, got {shown(value)}"
    )


def switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be True or False, got {shown(value)}")
    return value


def one_of(kind: str, valid: Sequence[str]) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in valid:
            raise ValueError(unknown(kind, value, valid))
        return value

    return check


def cohort_size(most: int) -> Check:
    def check(value: Any) -> int | None:
        if value is None or (isinstance(value, str) and value == "auto"):
            return None
        try:
            return int(whole(1, most)(value))
        except ValueError:
            raise ValueError(f"must be 'auto' or a whole number of 1 to {most:,}, got {shown(value)}") from None

    return check


def model(value: Any) -> Model:
    """The name of a network, FILE.py:CLASS, or in Python an own network itself."""
    if callable(value):
        return value
    if isinstance(value, str) and (own := re.fullmatch(r"(.+\.py):([A-Za-z_]\w*)", value)):
        return model_from_file(text(own[1]), own[2])
    # Whether torchvision or timm has a model is known when it is built: importing them would slow every start.
    if not text(value).startswith(HUBS) and value not in MODELS:
        raise ValueError(unknown("model", value, MODEL_NAMES))
    return str(value)


def own_class(value: Any) -> Callable[..., Any]:
    """FILE.py:CLASS, or in Python the class itself: the network of a student that is loaded."""
    found = model(value)
    if isinstance(found, str):
        raise ValueError(f"only a student of your own class needs it, as FILE.py:CLASS; leave out {found}")
    return found


def several(kind: str) -> Check:
    """Names: text with commas, or a sequence."""

    def check(value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, Sequence) or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"must be names, as in {kind}, got {shown(value)}")
        names = tuple(text(part.strip()) for part in parts if part.strip())
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
                raise ValueError(f"must be seeds and ranges that rise, as in 3,4 or 0-2,7; got {shown(part.strip())}")
            found += range(low, min(high + 1, low + MOST_SEEDS + 1))
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        found = [whole(0)(seed) for seed in islice(value, MOST_SEEDS + 1)]
    else:
        raise ValueError(f"must be seeds, as in [3, 4] or '0-2,7'; got {shown(value)}")
    if not found:
        raise ValueError("must give at least one seed, as in 3,4")
    if len(found) > MOST_SEEDS or max(found) > LARGEST_WHOLE:
        raise ValueError(f"must be at most {MOST_SEEDS:,} seeds of 0 to {LARGEST_WHOLE}")
    twice = [seed for seed, times in Counter(found).items() if times > 1]
    if twice:
        raise ValueError(f"seed {twice[0]} is given twice; give each seed once")
    return tuple(sorted(found))


def margin(value: Any) -> float:
    """A difference of accuracies that does not matter: a fraction, 0.005 for half a point."""
    try:
        return number(0, LARGEST_MARGIN)(value)
    except ValueError:
        raise ValueError(
            f"must be a fraction of accuracy above 0 and below {LARGEST_MARGIN:g}: 0.005 is half a point; "
            f"got {shown(value)}"
        ) from None


def looks(value: Any) -> tuple[int, ...]:
    """Numbers of seeds that rise: text with commas, as in 3,5,10, or a sequence of whole numbers."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or isinstance(parts, (str, bytes)) or not parts:
        raise ValueError(f"must be numbers of seeds that rise, as in 3,5,10; got {shown(value)}")
    found = [whole(2, MOST_SEEDS)(part) for part in islice(parts, MOST_LOOKS + 1)]
    if len(found) > MOST_LOOKS:
        raise ValueError(f"must be at most {MOST_LOOKS} numbers of seeds, got {len(parts):,}")
    for before, after in pairwise(found):
        if before >= after:
            raise ValueError(f"must be numbers of seeds that rise, as in 3,5,10; {after} follows {before}")
    return tuple(found)


def assignments(value: Any) -> dict[str, Any]:
    """NAME=VALUE: text (several with commas), a list of such texts of which the later count, or a mapping."""
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: text(given) if isinstance(given, str) and given else given for name, given in value.items()}
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(part, str) for part in texts):
        raise ValueError(f"must be NAME=VALUE, or a mapping in Python, got {shown(value)}")
    found: dict[str, Any] = {}
    for each in texts:
        found |= _assigned(each)
    return found


def at_most(value: Any) -> dict[str, float]:
    """Bounds of costs: NAME=NUMBER as `assignments` takes them, with names of COSTS and finite numbers above 0."""
    found = assignments(value) if value else {}
    if wrong := [name for name in found if name not in COSTS]:
        raise ValueError(unknown("cost", wrong[0], COSTS))
    bounds = {}
    for name, bound in found.items():
        try:
            bounds[name] = number(0)(bound)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    return bounds


def _assigned(given: str) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for part in text(given).split(",") if given.strip() else [""]:
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if sign and name in found:
            raise ValueError(f"{name} is given twice in {shown(given)}; give each name once")
        if sign and name:
            found[name], last = value, name
        elif last and not sign:  # a value with commas, as in milestones=150,180
            found[last] += f",{name}"
        else:
            raise ValueError(f"must be NAME=VALUE, got {shown(given)}")
    return found
