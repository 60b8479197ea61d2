"""A user's mistakes: the rule, the value given, the valid alternatives."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A mistake the user can mend. The message states the rule, the value given and the way out."""


def unknown(kind: str, value: object, valid: Iterable[str]) -> str:
    """The sentence for a name that does not exist: the value, the nearest valid name, all valid names."""
    names = list(valid)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {value!r}{hint}; valid: {', '.join(names)}"


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def names_checked(cls: type[T]) -> type[T]:
    """Decorator of a dataclass that users write by hand: what is misspelt or left out is a UserError that names the
    valid fields, where Python would raise a TypeError."""
    fields = [f for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    names = [f.name for f in fields]
    missing = dataclasses.MISSING
    required = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    construct = cls.__init__

    @wraps(construct)
    def checked(self: T, *args: Any, **given: Any) -> None:
        problems = [unknown("field", name, names) for name in given if name not in names]
        if len(args) > len(names):
            problems.append(f"{len(names)} fields at most, got {len(args)}; valid: {', '.join(names)}")
        absent = [name for name in required if name not in given and name not in names[: len(args)]]
        problems += [f"{', '.join(map(repr, absent))} must be given"] * bool(absent)
        if problems:
            raise UserError("; ".join(f"{cls.__name__}: {problem}" for problem in problems))
        construct(self, *args, **given)

    cls.__init__ = checked  # type: ignore[assignment, method-assign]
    return cls
