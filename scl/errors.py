"""Errors that users meet: mistakes in what they wrote, and damaged files."""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from scl.plain import plain
from scl.terminal import printable, say

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

SHOWN = 160  # characters of a value in a message
LONGEST_WORD = 1000  # of a message: paths that people use are shorter


class _Message(Exception):
    """An error whose message people read, wherever it is printed: without control characters and credentials, and
    without words that are too long to read."""

    def __str__(self) -> str:
        return readable(super().__str__())


class UserError(_Message):
    """A mistake that you can correct; nothing has started. The message states the rule, the value given and the way
    out.

    Example:
        import scl

        try:
            scl.Config(epochs=0)
        except scl.UserError as error:
            print(error)
    """

    of_definition = False  # raised through `definition`


class RunFailed(_Message):
    """A run that cannot go on. The message names what failed and the way out; finished trials are kept.

    Example:
        import scl

        try:
            scl.load("results/ablation").logits("scl/0")
        except scl.RunFailed as error:
            print(error)
    """


class Damaged(_Message):
    """A file whose content differs from what was written. The message says how that was found."""


def shown(value: object) -> str:
    """A value as messages show it: its `repr`, cut if it is long."""
    try:
        text = repr(value)
    except Exception:  # a whole number of more than 4,300 digits, or an object whose own repr fails
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= SHOWN else _cut(text)


def readable(message: object) -> str:
    """A message as a terminal can take it, with words of more than 1,000 characters cut: texts that were given by
    mistake, or paths that no system takes. Elsewhere `shown` cuts values."""
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: _cut(word[0]), printable(message))


def _cut(text: str) -> str:
    return f"{text[:SHOWN]}… ({len(text):,} characters)"


def unknown(kind: str, value: object, valid: Iterable[str]) -> str:
    """The message for a name that does not exist: the value, and the valid names, the nearest first."""
    names = list(valid)
    near = difflib.get_close_matches(value if isinstance(value, str) else shown(value), names)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {kind} {shown(value)}{hint}; valid: {', '.join(dict.fromkeys([*near, *names]))}"


def how_to_install(extra: str) -> str:
    """Where to get an optional part. No package index has scl, so it is installed from its clone."""
    return f"in the clone of scl: uv sync --inexact --extra {extra}, or pip install '.[{extra}]'"


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _end_without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, UserError) and error.of_definition:
        say(f"error: {error}")
        sys.exit(2)
    sys.__excepthook__(kind, error, trace)


def _in_a_script() -> bool:
    """Whether a script's top level is being run, and no call of the library or the command line is."""
    modules = [frame.f_globals for frame, _ in traceback.walk_stack(None)]
    called = any(m.get("__name__") in ("scl.api", "scl.cli.main") for m in modules)
    return not called and any(m.get("__name__") == "__main__" and "__file__" in m for m in modules)


def definition(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator of what a study file calls at its top level. Values arrive as Python's own (`plain`). `main` cannot
    catch anything yet, so an uncaught UserError ends the script with its message and code 2, without a traceback.
    Python's hook is set only after a mistake, and never by a call of the library."""

    @wraps(function)
    def defined(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*map(plain, args), **{name: plain(value) for name, value in kwargs.items()})
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
