"""Standard output and error: encodings, closed ones, and readers that have gone."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest
from rich.table import Table

from scl.streams import LastingStream, console, lasting_output, showable, standard_streams

TEXT = "kd × 2 − 1 ± 0.5 “arm” → naïve 教师 σ│"


class Broken(io.StringIO):
    """The reader of a pipe has gone, a terminal is gone, or a log's disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", TEXT),
        ("gb18030", TEXT),
        ("latin-1", 'kd × 2 - 1 ± 0.5 "arm" -> naïve \\u6559\\u5e08 \\u03c3|'),
        ("ascii", 'kd x 2 - 1 +/- 0.5 "arm" -> na\\xefve \\u6559\\u5e08 \\u03c3|'),
    ],
)
def test_any_text_can_be_printed(name: str, encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = io.BytesIO()
    stream = io.TextIOWrapper(there, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, name, stream)
    with standard_streams():
        print(TEXT, file=getattr(sys, name))
        if name == "stdout":
            assert showable(TEXT) == shown
    stream.flush()
    assert there.getvalue().decode(encoding) == f"{shown}\n"
    assert (stream.errors, getattr(sys, name)) == ("strict", stream)


def test_bytes_of_a_path_come_out_as_they_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    there = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(there, encoding="ascii"))
    with standard_streams():
        print(b"a-\xc3\xa9".decode("ascii", "surrogateescape"), flush=True)
    assert there.getvalue() == b"a-\xc3\xa9\n"


def test_a_table_keeps_its_widths_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    there = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(there, encoding="ascii"))
    with standard_streams():
        table = Table("arm", showable("acc ± sd"))
        table.add_row("kd", showable("1 ± 2"))
        console().print(table)
        sys.stdout.flush()
    lines = there.getvalue().decode("ascii").splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, None)
    with standard_streams():
        print(TEXT, file=getattr(sys, name))
        getattr(sys, name).flush()
        console().print(TEXT)
    assert getattr(sys, name) is None


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_no_file_gets_the_number_of_a_closed_stream(closed: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    code = "import sys\\nfrom scl.streams import standard_streams\\n" + (
        f"with standard_streams():\\n with open('{tmp_path}/x', 'w') as f:\\n  assert f.fileno() > 2\\n  print('a')\\n"
        "  sys.stderr.write('b')"
    )
    command = f"{sys.executable} -c $'{code.replace(chr(39), chr(92) + chr(39))}' {closed}"
    assert subprocess.run(["bash", "-c", command], capture_output=True, timeout=60).returncode == 0
    assert (tmp_path / "x").read_bytes() == b""


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(5, "Input/output error"), OSError(28, "No space left")])
def test_a_message_that_cannot_be_written_stops_nothing(error: OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(error))
    with standard_streams():
        print("a message", file=sys.stderr, flush=True)


def test_a_reader_of_a_table_that_has_gone_is_a_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    with standard_streams(), pytest.raises(BrokenPipeError):
        console().print("a table")


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


def test_a_disk_that_has_room_again_is_written_to_again() -> None:
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    disk = Disk()
    stream = LastingStream(disk)
    stream.write("lost")
    disk.full = False
    stream.write("kept")
    assert disk.getvalue() == "kept"


def test_a_full_disk_to_the_end_does_not_change_the_exit_code() -> None:
    code = "import sys; from scl.streams import standard_streams\nwith standard_streams(): print('a', file=sys.stderr)"
    with open("/dev/full", "wb") as full:
        assert subprocess.run([sys.executable, "-c", code], stderr=full, check=False, timeout=60).returncode == 0
