"""What reaches a terminal. Names from files, and messages of other programs, may hold control characters that move its
cursor or change its title, and credentials: this is the one place that writes to it."""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scl.masking import without_values
from scl.streams import showable

if TYPE_CHECKING:
    from rich.text import Text

# Characters that change the direction of what follows. The isolates are also ours: a sentence of the page has them
# around a name that is written from right to left.
TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067"
UNDECODED = re.compile("([\udc80-\udcff]+)")
ISOLATES = "\u2068\u2069"


def printable(text: object) -> str:
    """The text without credentials, and with control characters written out (`\\x1b`), but for newlines and tabs."""
    known = [*sys.argv[1:], *(value for value in os.environ.values() if "://" in value)]
    shown = without_values(str(text), known)
    return "".join(
        part if kept else "".join(c if c.isascii() and c.isprintable() else _written_out(c) for c in part)
        for part, kept in _parts(shown)
    )


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text in parts, and whether a part is kept as it is: bytes of a path that are UTF-8, which Python could not
    decode in the present locale, reach the terminal as they are."""
    for part in UNDECODED.split(text):
        try:
            kept = bool(UNDECODED.match(part)) and part.encode("ascii", "surrogateescape").decode().isprintable()
        except UnicodeError:
            kept = False
        yield part, kept


def _written_out(character: str) -> str:
    if character in "\n\t":
        return character
    if character in ISOLATES:
        return ""
    return character.encode("unicode_escape", "surrogatepass").decode() if is_control(character) else character


def is_control(character: str) -> bool:
    """True for controls, halves of a character, separators of lines and changes of direction. Other formats, such as
    joiners, belong to a script."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TURNS


def say(text: object) -> None:
    """Print a message on stderr."""
    if sys.stderr is not None:  # it is closed, and print would take standard output
        print(printable(text), file=sys.stderr, flush=True)


def show(text: object) -> None:
    """Print a result on stdout."""
    print(printable(text))


def cell(text: object, **how: Any) -> Text:
    """The text for a table or a line of Rich, without markup. how: of `rich.text.Text`."""
    from rich.text import Text

    return Text(showable(printable(text)), **how)


def in_a_log(stream: str = "stderr") -> bool:
    """True if output goes to a file, a pipe, a notebook, a CI job or a terminal that cannot move its cursor. Some of
    these may ask for colours nevertheless."""
    to = getattr(sys, stream)
    return to is None or not to.isatty() or bool(os.environ.get("CI")) or os.environ.get("TERM") in ("dumb", "unknown")


@contextmanager
def progress(title: str, total: int, seconds: float = 60.0) -> Iterator[Callable[[int], None]]:
    """Show how far some work is: a bar on a terminal, which goes at the end; else a line every `seconds`.

    Yields a function that takes how many more of `total` are done.
    """
    if not in_a_log():
        from rich import progress as rich
        from rich.console import Console

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
        bar = rich.Progress(*columns, rich.TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        with bar:
            task = bar.add_task(title, total=total)
            yield lambda count: bar.advance(task, count)
        return
    done, began = 0, time.monotonic()
    said = began

    def advance(count: int) -> None:
        nonlocal done, said
        done, now = done + count, time.monotonic()
        if now - said >= seconds:
            said = now
            say(f"{title}: {done:,} of {total:,}, about {(now - began) / done * (total - done):,.0f} s left")

    yield advance
