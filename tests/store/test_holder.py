"""Who holds a folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scl.store import holder, lease
from scl.store.files import open_folder
from scl.store.holder import has_ended, held_by, this_process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc and no PID namespaces")
TELL = "import json, os\nfrom scl.store.holder import this_process\nprint(json.dumps(this_process()), flush=True)\n"


def told_by(*launcher: str) -> dict[str, object]:
    """What a process that has ended wrote about itself."""
    done = subprocess.run([*launcher, sys.executable, "-c", TELL], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{launcher[0]}: {done.stderr.strip()}")
    return dict(json.loads(done.stdout))


def test_a_process_is_alive_until_it_ends() -> None:
    assert not has_ended(this_process())
    assert has_ended(told_by())


@LINUX
@pytest.mark.parametrize(
    ("change", "ended"),
    [
        ({}, True),
        ({"boot": "another"}, False),
        ({"boot": None}, False),
        ({"namespace": 1}, False),
        ({"namespace": None}, False),
        ({"host": "renamed"}, True),  # the boot and the namespace tell
        ({"pid": os.getpid()}, True),  # this test's process started later than that one
        ({"pid": os.getpid(), "process_started": None}, False),
        ({"pid": 1}, True),
        ({"pid": "x"}, False),
        ({"pid": None}, False),
        ({"pid": 10**30}, False),
        ({"pid": -1}, False),
        ({"pid": 0}, False),
    ],
)
def test_what_cannot_be_told_counts_as_alive(change: dict[str, object], ended: bool) -> None:
    assert has_ended({**told_by(), **change}) == ended


@LINUX
def test_a_zombie_has_ended_and_a_stopped_process_has_not() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TELL + "import time; time.sleep(60)"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    about = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGSTOP)
    assert not has_ended(about)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(about)
    process.wait()
    process.stdout.close()


@LINUX
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_live_run_of_this_host_in_another_pid_namespace_is_not_evicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers on one machine that share its name: the process id of one means another process in the other."""
    other = told_by("unshare", "--pid", "--fork", "--mount-proc")
    assert (other["host"], other["boot"]) == (this_process()["host"], this_process()["boot"])
    assert not has_ended(other)
    folder = open_folder(str(tmp_path))
    folder.write(".holder", json.dumps({**other, "token": "other"}).encode())
    with pytest.raises(lease.HeldByAnother, match="in use by process"), lease.lease(folder, {"token": "mine"}):
        pass


def test_without_namespaces_host_and_process_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended = told_by()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(holder, "PROC", tmp_path)
    other = {"host": ended["host"], "pid": ended["pid"]}
    assert has_ended(other)
    assert not has_ended({**other, "host": "elsewhere"})
    assert not has_ended({**other, "pid": os.getpid()})
    monkeypatch.setattr(sys, "platform", "win32")
    assert not has_ended(other)


def test_the_holder_is_named(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    assert held_by(folder, {}) == f"{tmp_path} is in use by another run"
    about = {"pid": 7, "host": "h", "since": "noon", "command": "study.py"}
    assert held_by(folder, about) == f"{tmp_path} is in use by process 7 on h since noon (study.py)"
