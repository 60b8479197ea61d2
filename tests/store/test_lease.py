"""Leases."""

from __future__ import annotations

import json
import os
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
    code = "import json\nfrom scl.store.holder import this_process\nprint(json.dumps(this_process()))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    other = {**json.loads(ended.stdout), "token": "other"}
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


@pytest.mark.parametrize(
    ("meanwhile", "says"),
    [
        ('{"host": "elsewhere", "pid": 7, "since": "now", "token": "other"}', "in use by process 7 on elsewhere"),
        ('{"token": "other"}', "in use by another run"),
        (None, "was in use by another run"),  # which has ended, and removed its lease
        ("mine", ""),
    ],
)
def test_a_holder_that_slept_learns_that_another_had_the_store(
    meanwhile: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    slept, elapsed = [0.0], lease._elapsed
    monkeypatch.setattr(lease, "_elapsed", lambda: elapsed() + slept[0])
    folder = open_folder(str(tmp_path))
    with lease.lease(folder, {"token": "mine"}) as held:
        lease.check_held(folder)
        slept[0] = 2 * lease.LEASE_SECONDS
        if meanwhile is None:
            folder.remove(".holder")
        elif meanwhile != "mine":
            folder.write(".holder", meanwhile.encode())
        if not says:
            assert held()
            lease.check_held(folder)
        else:
            with pytest.raises(lease.LostLease, match=says):
                lease.check_held(folder)
            assert not held()
    assert folder.exists(".holder") == bool(meanwhile and meanwhile != "mine")


@pytest.mark.parametrize(("seconds", "lost"), [(10.0, False), (50.0, False), (70.0, True)])
def test_a_holder_that_slept_while_it_renewed_stops_if_its_lease_had_run_out(
    seconds: float, lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen that the lease is its own, and overwrites the claim of a run that came meanwhile."""
    slept, elapsed, write = [0.0], lease._elapsed, Folder.write
    monkeypatch.setattr(lease, "_elapsed", lambda: elapsed() + slept[0])
    mine = lease.Lease(open_folder(str(tmp_path)), {"token": "mine"})
    mine.claim()

    def slow(*arguments: object, **more: object) -> None:
        slept[0] += seconds
        write(*arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write", slow)
        mine.renew()
    assert mine.held() != lost
    if lost:
        with pytest.raises(lease.LostLease, match="may have been in use by another run"):
            mine.check()


@pytest.mark.parametrize(("back", "free"), [(30.0, False), (3600.0, True)])
def test_a_clock_of_the_store_that_was_set_back_frees_what_nobody_renews(
    back: float, free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    folder = open_folder(str(tmp_path))
    folder.write(".holder", b'{"host": "elsewhere", "pid": 1, "token": "other"}')
    os.utime(tmp_path / ".holder", (time.time() + back,) * 2)
    try:
        with lease.lease(folder, {"token": "mine"}) as held:
            assert held()
            assert free
    except lease.HeldByAnother:
        assert not free
