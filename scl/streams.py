"""Standard output and error as a run needs them: there, able to show any text, and no reason to lose its work."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# What a terminal without Unicode shows instead; a character that is not here appears as its number, as in \u03c3.
ASCII = {
    **dict.fromkeys("−–—‐‑─━┄┅┈┉╌╍═╴╶╸╺·", "-"),
    **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻", "|"),
    **dict.fromkeys(map(chr, [*range(0x250C, 0x254C), *range(0x2552, 0x256D)]), "+"),
    **{"×": "x", "±": "+/-", "→": "->", "←": "<-", "↑": "^", "↓": "v", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~"},
    **{"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "…": "...", "•": "*"},
    **dict.fromkeys("\xa0\u2009\u202f", " "),
}
FULL = (errno.ENOSPC, errno.EDQUOT)
ERRORS = "scl.ascii"  # the name of the rule, for Python's codecs


def _as_ascii(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return b"".join(map(_readable, text)), error.end


def _readable(c: str) -> bytes:
    if "\udc80" <= c <= "\udcff":  # a byte of a path that Python could not decode
        return c.encode("ascii", "surrogateescape")
    return ASCII.get(c, c).encode("ascii", "backslashreplace")


codecs.register_error(ERRORS, _as_ascii)


def showable(text: str) -> str:
    """A text as standard output will show it. For cells of a table, so that their widths are right."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, ERRORS).decode(encoding, "surrogateescape")


def displayed(text: str) -> int:
    """The columns of a terminal that a text takes: wide characters take two."""
    from rich.cells import cell_len

    return cell_len(showable(text))


def name_of(path: str) -> str:
    """A path as text for people and records: names of files are UTF-8 nearly everywhere, whatever the locale is."""
    try:
        return os.fsencode(path).decode()
    except UnicodeError:
        return path.encode(errors="replace").decode()


def console() -> Console:
    """A console of rich on standard output. A reader that has gone raises BrokenPipeError, where rich would exit."""
    from rich.console import Console  # it draws random numbers when it is imported

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Plain()


class LastingStream:
    """A text stream that drops what can no longer be written: to a pipe whose reader has ended, a closed terminal, a
    full disk. Once a disk has room again, it is written to again; the others are gone for good."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    def end(self) -> None:
        """Write what is left, or drop it."""
        try:
            self._stream.flush()
        except OSError:
            silence(self._stream)

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                silence(self._stream)


def silence(stream: Any) -> None:
    """Send what a stream still holds, and all that follows, to nowhere: Python's flush at the end would fail again."""
    with suppress(OSError, ValueError, AttributeError):  # a stream in memory has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    with suppress(OSError, ValueError):
        stream.flush()


@contextmanager
def lasting_output() -> Iterator[None]:
    """stdout and stderr as LastingStreams; put back afterwards. A stream that is closed from the start stays None."""
    before = sys.stdout, sys.stderr
    lasting = [None if stream is None else LastingStream(stream) for stream in before]
    sys.stdout, sys.stderr = lasting
    try:
        yield
    finally:
        for stream in lasting:
            if stream is not None:
                stream.end()
        sys.stdout, sys.stderr = before


@contextmanager
def standard_streams() -> Iterator[None]:
    """Inside, anything can be printed: a text that a stream cannot encode appears in ASCII. Standard error lasts: a run
    goes on if its reader or terminal has gone, or its log's disk is full. A reader of standard output that has gone
    raises BrokenPipeError, as ever. At the end the streams are as they were."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed, as by `>&-`: the next file to be opened would get its number, and what is printed
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        for stream in before:
            stack.enter_context(_any_text(stream))
        messages = LastingStream(sys.stderr or nowhere)
        sys.stdout, sys.stderr = sys.stdout or nowhere, messages
        try:
            yield
        finally:
            if sys.stdout is nowhere:
                sys.stdout = before[0]
            messages.end()
            if sys.stderr is messages:
                sys.stderr = before[1]


@contextmanager
def _any_text(stream: Any) -> Iterator[None]:
    """Let a stream show what it cannot encode. Streams of a notebook or a test may have no such setting."""
    rule = getattr(stream, "errors", None)
    if rule is None or not hasattr(stream, "reconfigure"):
        yield
        return
    stream.reconfigure(errors=ERRORS)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # its reader has gone, or it was closed
            stream.reconfigure(errors=rule)
