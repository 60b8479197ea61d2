"""Options written back as the flags that ask for them, so that a record can hold a command that runs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scl.masking import masked_value
from scl.study.options import PLACE, RESULTS, Options

# Where a run happens and what it keeps, which no number depends on; but numbers depend on the threads of a trial.
ELSEWHERE = {
    f.name
    for f in dataclasses.fields(Options)
    if not f.metadata or f.metadata["flag"].group in (PLACE, RESULTS) or f.name == "storage"
} - {"cpus_per_trial"}


class Unspelled(Exception):
    """A value that a command line cannot give, such as a class that was made in a notebook."""


def spelled(options: Options) -> tuple[dict[str, list[str]], list[str]]:
    """The options that differ from their defaults and decide what a run finds, by name: the texts that follow the flag,
    once for each time that it is given, none for a switch. And the names of those that no flag can give.

    Credentials are hidden, as in the stored command.
    """
    found: dict[str, list[str]] = {}
    lacking = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in ELSEWHERE or value is None or value is False or value == field.default:
            continue
        try:
            found[field.name] = [masked_value(text) for text in _texts(field.name, value)]
        except Unspelled:
            lacking.append(field.name)
    return found, lacking


def in_ranges(seeds: Sequence[int]) -> str:
    """Seeds as `--seed-list` takes them: 0-2,7."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def flags(options: Mapping[str, Sequence[str]]) -> list[str]:
    """The words of a command line: `--batch-size 64`, and `--label=-x` where a value looks like a flag."""
    words: list[str] = []
    for name, texts in options.items():
        flag = f"--{name.replace('_', '-')}"
        if not texts:
            words.append(flag)
        for text in texts:
            words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return words


def _texts(name: str, value: Any) -> list[str]:
    if value is True:
        return []
    if name == "seed_list":
        return [in_ranges(value)]
    if isinstance(value, Mapping):
        return [f"{key}={_text(given)}" for key, given in value.items()]
    if isinstance(value, tuple):
        if any("," in part or part != part.strip() for part in value if isinstance(part, str)):
            raise Unspelled
        return [",".join(map(_text, value))]
    return [_text(value)]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)) and all(isinstance(part, (int, float, str)) for part in value):
        return ",".join(map(_text, value))
    if callable(value):
        return _place_of(value)
    raise Unspelled


def _place_of(network: Any) -> str:
    """FILE.py:CLASS of a network of the user's; raises Unspelled if it has no file."""
    try:
        file = inspect.getsourcefile(network) or ""
    except TypeError:
        file = ""
    if not file.endswith(".py") or "." in network.__qualname__:
        raise Unspelled
    return f"{Path(file).name}:{network.__qualname__}"
