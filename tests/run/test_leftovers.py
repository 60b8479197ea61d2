"""What killed runs leave: the next run removes what is its own and finished, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from pyarrow import fs

from scl.run.leftovers import sweep
from scl.store import lease
from scl.store.files import Folder, open_folder
from scl.store.locks import locked
from scl.store.parts import write_part
from scl.store.results import load
from tests.support.studies import SMALL, run_study

HOUR = 3600.0
PARTIAL = ".x.99999-0123abcd.partial"

# Path → whether it is a leftover. DONE, PRUNED, FAILED and OPEN are trials, TRAINED and UNTRAINED teachers.
FILES = {
    f"small/{PARTIAL}": True,
    "small/.study.json.99999-0123abcd.partial": True,
    "small/..holder.99999-0123abcd.partial": True,
    "small/.write-test-0123abcd.99999-0123abcd.partial": True,
    "small/write-test-0123abcd": True,
    "small/optuna.mended": True,
    f"small/parts/{PARTIAL}": True,
    f"small/copies/{PARTIAL}": True,
    "small/checkpoints/DONE/epoch-00001.safetensors": True,
    "small/checkpoints/DONE/epoch-00002.safetensors": True,
    f"small/checkpoints/DONE/{PARTIAL}": True,
    "small/checkpoints/PRUNED/epoch-00001.safetensors": True,
    "small/checkpoints/FAILED/epoch-00001.safetensors": False,
    "small/checkpoints/OPEN/epoch-00001.safetensors": False,
    f"small/checkpoints/OPEN/{PARTIAL}": True,
    "small/checkpoints/OPEN/student.safetensors": False,
    "small/checkpoints/DONE/notes.txt": False,
    "small/checkpoints/DONE/epoch-best.pt": False,
    "small/damaged/x-0123-study.json": False,
    "small/.mine.partial": False,  # not ours: no process is in its name
    "small/notes.partial": False,
    "small/.x.partial.swp": False,
    "small/write-test-mine": False,
    f"small/depth/{PARTIAL}": False,  # another study's store in this one
    "small/depth/checkpoints/DONE/epoch-00001.safetensors": False,
    f"other/{PARTIAL}": False,  # another study, which may be running
    "other/.holder": False,
    "other/checkpoints/DONE/epoch-00001.safetensors": False,
    "teachers/TRAINED/epoch-00002.safetensors": True,
    "teachers/TRAINED/.holder": True,
    f"teachers/TRAINED/{PARTIAL}": True,
    "teachers/UNTRAINED/epoch-00002.safetensors": False,
    "teachers/UNTRAINED/.holder": True,
    f"teachers/UNTRAINED/{PARTIAL}": True,
    "teachers/BROKEN/teacher.safetensors": False,
    "teachers/BROKEN/epoch-00002.safetensors": False,  # it can resume from it
    "teachers/LIVE/epoch-00002.safetensors": False,
    f"teachers/LIVE/{PARTIAL}": False,
    "teachers/notes.txt": False,
    ".write-test-0123abcd.99999-0123abcd.partial": True,
    "write-test-0123abcd": True,
    f"{PARTIAL}": False,  # it may be another study's
    ".old.99999-0123abcd.partial": True,
    f"cache/{PARTIAL}": False,
    "cache/.old.99999-0123abcd.partial": True,
    "cache/old.safetensors": False,
}


def on_disk(path: Path) -> Folder:
    return open_folder(str(path))


def in_object_store(path: Path) -> Folder:
    """The same files through a file system that has no locks, as Arrow sees an object store."""
    return Folder(fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("file", auto_mkdir=True))), str(path))


@pytest.mark.parametrize("place", [on_disk, in_object_store])
def test_what_is_removed_and_what_stays(place, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.0)
    root = tmp_path / "out"
    shutil.copytree(small.parent, root)
    out = place(root)
    ids = {"DONE": load(str(small)).trials["trial_id"][0], "TRAINED": next((root / "teachers").iterdir()).name}
    for state in ("pruned", "failed"):
        write_part(out / "small", {"trial_id": state.upper(), "state": state, "arm": "kd", "seed": 9}, [], None)
    holder = json.dumps({"host": socket.gethostname(), "pid": _ended_process(), "token": "x"})

    def real(path: str) -> Path:
        for name, value in ids.items():
            path = path.replace(name, value)
        return root / path

    before = {p for p in root.rglob("*") if p.is_file()}
    for path in FILES:
        real(path).parent.mkdir(parents=True, exist_ok=True)
        real(path).write_text(holder if path.endswith(".holder") else "x")
        if "old" in path:
            os.utime(real(path), (time.time() - 2 * HOUR,) * 2)
    with locked(out / "small") as held, locked(out / "teachers" / "LIVE"):
        sweep(out, out / "small", root / "cache")
        assert held()
    assert {path: not real(path).exists() for path in FILES} == FILES
    assert {p for p in before if not p.exists()} == set()


def _ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_stores_clock_is_not_taken_from_a_run_that_reads_it(tmp_path: Path) -> None:
    """A run that finds the store in use writes a file to see the time, and takes the lease over if it is gone."""
    store = in_object_store(tmp_path / "out" / "small")
    store.write(".holder", b"{}")
    for name in (".clock-0123abcd", ".clock-4567cdef"):
        store.write(name, b"")
    os.utime(tmp_path / "out" / "small" / ".clock-0123abcd", (time.time() - HOUR,) * 2)
    sweep(in_object_store(tmp_path / "out"), store, tmp_path / "cache")
    assert sorted(store.files_below()) == [".clock-4567cdef", ".holder"]


def test_a_run_sweeps_and_its_numbers_stay(small: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    shutil.copytree(small.parent, root)
    before = load(str(root / "small")).trials
    (teacher,) = (root / "teachers").iterdir()
    left = [
        root / "small" / "checkpoints" / before["trial_id"][0] / "epoch-00002.safetensors",
        teacher / "epoch-00002.safetensors",
        teacher / ".holder",
        root / "write-test-0123abcd",
    ]
    for path in left:
        path.write_text("x")
    assert run_study(SMALL, "--out", str(root), "--data", str(small.parent.parent / "images")) == 0
    assert [path for path in left if path.exists()] == []
    hidden = {p.name for p in root.rglob(".*")}
    assert hidden <= {".lock"}
    assert load(str(root / "small")).trials.equals(before)
