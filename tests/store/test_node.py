"""A node's copies of what its workers read."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scl.store import node
from scl.store.node import KEPT_SECONDS, RUN_SECONDS, NodeFiles, drop_run, node_cache, node_files, read_once_a_node

CONTENT = b"weights" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Reads:
    def __init__(self, content: bytes = CONTENT) -> None:
        self.content, self.count = content, 0

    def __call__(self) -> bytes:
        self.count += 1
        time.sleep(0.02)
        return self.content


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    return tmp_path / "home"


def copies() -> list[Path]:
    return sorted(p for p in (node_cache() / "files").iterdir() if not p.name.startswith("."))


def test_workers_that_start_at_once_read_once() -> None:
    reads = Reads()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read_once_a_node("teacher", SHA, reads), range(16)))
    assert found == [CONTENT] * 16
    assert reads.count == 1
    assert [p.name for p in copies()] == [f"teacher-{SHA}"]


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], CONTENT + b"x", b"x" + CONTENT[1:]])
def test_a_damaged_copy_is_replaced(damaged: bytes) -> None:
    reads = Reads()
    read_once_a_node("teacher", SHA, reads)
    copies()[0].write_bytes(damaged)
    assert [read_once_a_node("teacher", SHA, reads) for _ in range(2)] == [CONTENT] * 2
    assert reads.count == 2


def test_another_content_is_given_and_not_kept() -> None:
    reads = Reads(b"other")
    assert [read_once_a_node("teacher", SHA, reads) for _ in range(2)] == [b"other"] * 2
    assert reads.count == 2
    assert copies() == []


def test_an_error_of_reading_is_the_callers() -> None:
    def missing() -> bytes:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        read_once_a_node("teacher", SHA, missing)
    assert read_once_a_node("teacher", SHA, Reads()) == CONTENT  # the lock is free


def test_a_node_that_can_keep_nothing_reads_each_time(home: Path) -> None:
    home.write_text("no folder")
    reads = Reads()
    assert [read_once_a_node("teacher", SHA, reads) for _ in range(2)] == [CONTENT] * 2
    assert reads.count == 2


def test_copies_that_nobody_reads_are_removed() -> None:
    read_once_a_node("teacher", SHA, Reads())
    (old,) = copies()
    os.utime(old, (1, time.time() - KEPT_SECONDS - 60))
    assert read_once_a_node("teacher", SHA, Reads()) == CONTENT  # it is read again, and stays
    new = hashlib.sha256(b"new").hexdigest()
    read_once_a_node("teacher", new, Reads(b"new"))
    assert len(copies()) == 2
    os.utime(old, (1, time.time() - KEPT_SECONDS - 60))
    newer = hashlib.sha256(b"newer").hexdigest()
    read_once_a_node("teacher", newer, Reads(b"newer"))
    assert [p.name for p in copies()] == sorted([f"teacher-{new}", f"teacher-{newer}"])


def test_workers_of_a_run_keep_files_for_each_other() -> None:
    (one, other) = (node_files("run", "teacher", [0, 64]) for _ in range(2))
    assert one is not None
    assert other is not None
    with pytest.raises(FileNotFoundError):
        other.read("epoch")
    one.write("epoch", CONTENT)
    assert other.read("epoch") == CONTENT
    one.write("epoch", b"again")
    assert other.read("epoch") == b"again"


def are_apart(one: NodeFiles | None, other: NodeFiles | None) -> None:
    assert one is not None
    assert other is not None
    one.write("epoch", CONTENT)
    with pytest.raises(FileNotFoundError):
        other.read("epoch")


@pytest.mark.parametrize(
    ("run", "what"),
    [
        ("other", ("teacher", [0, 64])),
        ("run", ("other", [0, 64])),
        ("run", ("teacher", [1, 64])),
        ("run", ("teacher",)),
    ],
)
def test_other_runs_and_other_batches_have_other_files(run: str, what: tuple[object, ...]) -> None:
    are_apart(node_files("run", "teacher", [0, 64]), node_files(run, *what))


def test_machines_that_share_a_home_folder_have_files_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    one = node_files("run", "teacher")
    monkeypatch.setattr(node.platform, "node", lambda: "another")
    are_apart(one, node_files("run", "teacher"))


def test_files_of_runs_take_a_tenth_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(node.shutil.disk_usage("/"))
    free = 10 * 3 * len(CONTENT)  # with what is used, a tenth is 3.x contents
    monkeypatch.setattr(node.shutil, "disk_usage", lambda place: usage(10 * free, 9 * free, free))
    for run in ("one", "two", "three", "four", "five"):
        files = node_files(run, "teacher")
        assert files is not None
        files.write("epoch", CONTENT)
    assert sorted(p.name for p in (node_cache() / "runs").iterdir()) == ["one", "three", "two"]
    drop_run("two")
    files.write("epoch", CONTENT)
    assert files.read("epoch") == CONTENT


def test_files_of_a_run_go_a_day_after_their_last_use() -> None:
    old = time.time() - RUN_SECONDS - 60
    kept = {run: node_files(run, "teacher") for run in ("gone", "read", "written")}
    for run, files in kept.items():
        assert files is not None
        files.write("epoch", CONTENT)
        os.utime(node_cache() / "runs" / run, (old, old))
    assert kept["read"] is not None
    assert kept["written"] is not None
    kept["read"].read("epoch")
    kept["written"].write("epoch", CONTENT)
    node_files("new", "teacher")
    assert sorted(p.name for p in (node_cache() / "runs").iterdir()) == ["read", "written"]


def test_a_machine_that_can_keep_nothing_does_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert node_files("run", "teacher") is None
    drop_run("run")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "file")
    files = node_files("run", "teacher")
    assert files is not None
    with pytest.raises(OSError, match=r"[Nn]ot a directory|File exists"):
        files.write("epoch", CONTENT)
