"""What a run prints, which must not end it: a reader or a terminal may be gone before the run is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class LastingStream:
    """A text stream that drops what can no longer be written: to a pipe whose reader has ended, a closed terminal."""

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

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
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
    lasting = [stream and LastingStream(stream) for stream in before]
    sys.stdout, sys.stderr = lasting
    try:
        yield
    finally:
        for stream in lasting:
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
