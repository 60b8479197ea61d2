"""Cores and memory: Linux with and without control groups, and systems that lack what Linux has."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scl import machine
from scl.machine import cores, physical_memory


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores whose control groups are files in this folder."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("membership", "files", "wanted"),
    [
        ("", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "150000 100000"}, 1),  # a share of a core is left idle
        ("0::/", {"cpu.max": "20000 100000"}, 1),
        ("0::/", {"cpu.max": "6400000 100000"}, 8),  # more than there are
        ("", {"cpu.max": "200000 100000"}, 2),  # membership cannot be read
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "500000 100000"}, 3),
        ("0::/system.slice/docker-1.scope", {"cpu.max": "200000 100000"}, 2),  # seen from inside of the container
        ("4:cpu,x:/\n0::/", {"cpu,x/cpu.cfs_quota_us": "200000", "cpu,x/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/docker/1", {"cpu/cpu.cfs_quota_us": "350000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 8),
        ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "100000"}, 8),  # half of the files
        ("4:cpuset:/a\n5:memory:/a", {"cpuset/a/cpu.max": "100000 100000"}, 8),  # other controllers
        ("0::/", {"cpu.max": "0 0"}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
        ("nonsense", {}, 8),
    ],
)  # fmt: skip
def test_cores_respect_a_containers_quota(groups: Path, membership: str, files: dict[str, str], wanted: int) -> None:
    if membership:
        (groups / "membership").write_text(membership)
    for name, text in files.items():
        (groups / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / "fs" / name).write_text(f"{text}\n")
    assert cores() == wanted


def test_cores_are_those_of_this_process_not_of_the_machine(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    assert cores() == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


def test_memory_and_a_system_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "win32":
        assert (physical_memory() or 0) > 2**28
    monkeypatch.delattr(os, "sysconf", raising=False)  # Windows has none
    assert physical_memory() is None
