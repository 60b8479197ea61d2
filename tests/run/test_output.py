"""Streams whose reader has gone."""

from __future__ import annotations

import errno
import io
import os
import sys

import pytest

from scl.run.output import LastingStream, lasting_output


def broken_pipe() -> io.TextIOWrapper:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def closed_terminal() -> io.TextIOWrapper:
    controlling, terminal = os.openpty()
    os.close(controlling)
    return os.fdopen(terminal, "w")


@pytest.mark.parametrize("made", [broken_pipe, closed_terminal])
def test_what_can_no_longer_be_written_is_dropped(made: object, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = made()  # type: ignore[operator]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with lasting_output():
            print("a table", flush=True)
            print("the verdict")
        assert sys.stdout is stream
    stream.close()  # Python's own flush at the end finds nothing left


def test_other_streams_are_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with lasting_output():
        print("shown")
        assert not sys.stderr.isatty()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "shown\n"


def test_a_stream_in_memory_may_fail_and_one_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    assert LastingStream(Full()).write("text") == 4
    monkeypatch.setattr(sys, "stdout", None)
    with lasting_output():
        assert sys.stdout is None
    assert sys.stdout is None
