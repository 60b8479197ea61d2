"""What readers say about files, and where they stop."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from scl.errors import RunFailed, UserError
from scl.store.checksums import UnknownFormat
from scl.store.faults import Fault, stops, tell
from scl.store.files import Folder


def test_a_fault_is_said_once_with_its_file(store: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        tell(store, [Fault("parts/a", "it is empty"), Fault("b", "it is a folder")])
    assert capsys.readouterr().err == f"{store}/parts/a: it is empty\n{store}/b: it is a folder\n"


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (MemoryError(), RunFailed, "x: there is not enough memory"),
        (pa.lib.ArrowMemoryError("malloc of size 8 failed"), RunFailed, "x: there is not enough memory"),
        (
            PermissionError(13, "Permission denied"),
            RunFailed,
            "x cannot be read: you have no permission",
        ),
        (OSError(5, "Input/output error"), RunFailed, "x cannot be read: the disk or the network to it fails"),
        (NotADirectoryError(20, "Not a directory"), RunFailed, "x cannot be read"),
        (UnknownFormat("its schema is 2"), UserError, "a newer scl wrote x .its schema is 2.; update scl"),
        (FileNotFoundError(2, "No such file"), FileNotFoundError, "No such file"),
        (ZeroDivisionError("a mistake of ours"), ZeroDivisionError, "a mistake of ours"),
    ],
)
def test_what_says_nothing_about_content_stops_with_its_name(
    error: Exception, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says), stops("x"):
        raise error


def test_a_pipe_is_no_file_and_is_not_opened(store: Folder) -> None:
    assert not store.is_no_file("study.json")
    assert not store.is_no_file("absent")
    Path(store.path, "folder").mkdir()
    assert store.is_no_file("folder")
    assert store.strangers() == ["folder"]
