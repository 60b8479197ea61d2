"""A user's mistakes: the rule, the value given, the valid alternatives."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
