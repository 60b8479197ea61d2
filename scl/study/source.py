"""The identity of a custom loss or network: a hash of all user code that it can reach.

A trial's id must change if its numbers may change. So the hash covers its source, the values of its defaults, and, at
any depth, every function, class, object and constant that it names and that the user wrote. Installed packages (torch,
scl, …) do not enter the hash. What cannot be followed is refused, unless its author states a version.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from scl.errors import UserError
from scl.study.reach import Reached
from scl.study.users import is_users_class, is_users_file

WAY_OUT = "pass what it reads as options={…}, or state version='…' in its Term and change it with what it reads"


def source_identity(name: str, loss: Callable[..., Any], version: str | None = None) -> dict[str, str]:
    """The qualified name of a custom loss and the SHA-256 of its code and of the values that this reads.

    Args:
        name: of its term, for messages.
        version: stated by its author; then what cannot be followed is accepted.

    Raises:
        UserError: the loss is neither a function nor a class, or reaches what cannot be followed.
    """
    if not inspect.isfunction(loss) and not inspect.isclass(loss):
        raise UserError(
            f"loss {name!r}: a custom loss is a function or a class, got {type(loss).__name__} {loss!r}; "
            "pass its parameters as options={…}"
        )
    return {"function": loss.__qualname__, "sha256": source_of(f"loss {name!r}", loss, f"Either {WAY_OUT}", version)}


def source_of(what: str, thing: Callable[..., Any], way_out: str, version: str | None = None) -> str:
    """The SHA-256 of the code of a function or class and of the values that this reads.

    Args:
        what: the thing in messages. way_out: what to do about what cannot be followed.
        version: stated by its author; then what cannot be followed is accepted.

    Raises:
        UserError: it reaches what cannot be followed.
    """
    reached = _reached(thing)
    if reached.edited:
        where, file = next(iter(reached.edited.items()))
        raise UserError(
            f"{what} reaches {where}, whose file was edited after its import: the old code would run under the "
            f"new code's id ({file}); start Python again"
        )
    if version is None and reached.opaque:
        where, reason = next(iter(reached.opaque.items()))
        raise UserError(f"{what} reaches {where}, which cannot be part of the trial's id: it {reason}. {way_out}")
    return _digest(reached)


def library_name(thing: Callable[..., Any]) -> str:
    """The full name of a function or class of an installed package, whose code is in no hash; "" for the user's."""
    users = is_users_class(thing) if isinstance(thing, type) else is_users_file(thing.__code__.co_filename)
    return "" if users else f"{thing.__module__}.{thing.__qualname__}"


def state_of(loss: Callable[..., Any]) -> dict[str, str]:
    """The variables that a custom loss or network reaches → their values as text. Code that changes one has a state
    that is neither in checkpoints nor its own."""
    return {key[0]: text for key, text in _reached(loss).texts.items() if isinstance(key, tuple)}


def _reached(loss: Callable[..., Any]) -> Reached:
    reached = Reached()
    reached.walk(loss.__qualname__, loss)
    return reached


def _digest(reached: Reached) -> str:
    return hashlib.sha256("\n".join(reached.texts.values()).encode()).hexdigest()
