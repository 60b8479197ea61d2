"""Leases."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.store import lease
from scl.store.files import Folder, open_folder
from scl.store.locks import locked


def test_a_lease_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "is_local", property(lambda self: False))
    tmp_path.joinpath("s").mkdir()
    folder = open_folder(str(tmp_path / "s"))
    with locked(folder):
        with pytest.raises(UserError, match="in use by process"), locked(folder):
            pass
        monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)  # a dead holder does not renew its lease
        with locked(folder):
            pass


def test_the_lease_of_a_dead_process_of_this_host_is_free_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    folder = open_folder(str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    other = {"host": socket.gethostname(), "pid": int(ended.stdout), "since": "now", "token": "other"}
    folder.write(".holder", json.dumps(other).encode())
    with lease.lease(folder, {"token": "mine"}) as held:
        assert held()
        assert lease.read_holder(folder) == {"token": "mine"}
    assert lease.read_holder(folder) == {}


def test_a_lease_of_another_host_is_respected_until_it_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    folder = open_folder(str(tmp_path))
    folder.write(".holder", b'{"host": "elsewhere", "pid": 1, "since": "now", "token": "other"}')
    with pytest.raises(lease.HeldByAnother, match="process 1 on elsewhere"), lease.lease(folder, {"token": "mine"}):
        pass
    os.utime(tmp_path / ".holder", (1, 1))
    with lease.lease(folder, {"token": "mine"}) as held:
        assert held()


def test_a_holder_notices_that_another_took_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.4)
    folder = open_folder(str(tmp_path))
    with lease.lease(folder, {"token": "mine"}) as held:
        folder.write(".holder", b'{"token": "other"}')
        deadline = time.monotonic() + 5
        while held() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not held()
    assert lease.read_holder(folder)["token"] == "other"  # it is not the loser's to remove
