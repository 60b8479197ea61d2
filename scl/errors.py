"""Errors that users meet: mistakes in what they wrote, and damaged files."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class UserError(Exception):
    """A mistake that the user can correct. The message states the rule, the value given and the way out."""

    of_definition = False  # raised through `definition`


class RunFailed(Exception):
    """A run that cannot go on. The message names what failed and the way out; finished trials are kept."""


class Damaged(Exception):
    """A file whose content differs from what was written. The message says how that was found."""


def unknown(kind: str, value: object, valid: Iterable[str]) -> str:
    """The message for a name that does not exist: the value, and the valid names, the nearest first."""
    names = list(valid)
    near = difflib.get_close_matches(str(value), names)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {value!r}{hint}; valid: {', '.join(dict.fromkeys([*near, *names]))}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _end_without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, UserError) and error.of_definition:
        if sys.stderr is not None:  # it is closed, and print would take standard output
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.__excepthook__(kind, error, trace)


def _in_a_script() -> bool:
    """Whether a script's top level is being run, and no call of the library or the command line is."""
    modules = [frame.f_globals for frame, _ in traceback.walk_stack(None)]
    called = any(m.get("__name__") in ("scl.api", "scl.cli.main") for m in modules)
    return not called and any(m.get("__name__") == "__main__" and "__file__" in m for m in modules)


def definition(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of what a study file calls at its top level, before `main` can catch anything: an uncaught UserError
    ends the script with its message and code 2, without a traceback. Python's hook is set only after a mistake, and
    never by a call of the library."""

    @wraps(function)
    def defined(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            error.of_definition = True
            if sys.excepthook is sys.__excepthook__ and _in_a_script():
                sys.excepthook = _end_without_traceback
            raise

    return defined


def names_checked(cls: type[T]) -> type[T]:
    """Decorator of a dataclass that users write by hand: a misspelt or missing field raises a UserError that lists the
    valid fields, where Python would raise a TypeError."""
    fields = [f for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    names = [f.name for f in fields]
    missing = dataclasses.MISSING
    required = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    construct = cls.__init__

    @definition
    @wraps(construct)
    def checked(self: T, *args: Any, **given: Any) -> None:
        problems = [unknown("field", name, names) for name in given if name not in names]
        if len(args) > len(names):
            problems.append(f"{len(names)} fields at most, got {len(args)}; valid: {', '.join(names)}")
        absent = [name for name in required if name not in given and name not in names[: len(args)]]
        if absent:
            problems.append(f"{', '.join(map(repr, absent))} must be given")
        if problems:
            raise UserError("; ".join(f"{cls.__name__}: {problem}" for problem in problems))
        construct(self, *args, **given)

    cls.__init__ = checked  # type: ignore[assignment, method-assign]
    return cls
