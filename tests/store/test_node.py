"""A node's copies of what its workers read."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scl.store.node import KEPT_SECONDS, node_cache, read_once_a_node

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
