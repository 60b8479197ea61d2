"""Locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store import lease
from scl.store.files import explain, open_folder
from scl.store.locks import locked


def test_a_second_process_gets_an_error_that_names_the_holder(tmp_path: Path) -> None:
    code = (
        "from scl.store.files import open_folder\nfrom scl.store.locks import locked\n"
        f"with locked(open_folder({str(tmp_path)!r})): pass"
    )
    with locked(open_folder(str(tmp_path))):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "UserError" in other.stderr
        assert "in use by process" in other.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_run_that_may_wait_gets_the_folder_when_it_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_folder(str(tmp_path))
    got = threading.Event()

    def wait() -> None:
        with locked(folder, stop=lambda: False) as held:
            assert held()
            got.set()

    thread = threading.Thread(target=wait)
    with locked(folder, command="first run"):
        thread.start()
        assert not got.wait(1.2)
    thread.join(10)
    assert got.is_set()
    assert capsys.readouterr().err.count("waiting: ") == 1


def test_a_run_that_may_no_longer_wait_names_the_holder(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    with (
        locked(folder, command="first run"),
        pytest.raises(UserError, match=r"in use by process \d+ on .* \(first run\); wait for it, stop it"),
        locked(folder, stop=lambda: True),
    ):
        pass


def test_a_lease_serves_where_the_system_has_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """filelock's own substitute takes host and process id for a process, which another container may share."""
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)

    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", no_lock)
    folder = open_folder(str(tmp_path))
    with locked(folder, command="first run") as held:
        assert held()
        with pytest.raises(UserError, match=r"in use by process \d+ on .* \(first run\)"), locked(folder):
            pass
        folder.write(".holder", b'{"pid": 7, "host": "h", "token": "other"}')
        slept = lease._elapsed() + 1000
        monkeypatch.setattr(lease, "_elapsed", lambda: slept)
        assert not held()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_a_file_system_without_locks_is_named(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", no_lock)
    with pytest.raises(OSError, match=os.strerror(number)) as failed, locked(open_folder(str(tmp_path))):
        pass
    assert failed.value.filename == f"{tmp_path}/.lock"
    assert "name an --out on another disk" in explain(failed.value)
