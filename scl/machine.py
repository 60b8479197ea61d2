"""What this process may use of its machine: processor cores, memory and parts of GPUs, on Linux, macOS and Windows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")  # a line for each hierarchy: number, controllers, group; version 2 has 0::GROUP


def cores() -> int:
    """Whole CPU cores that this process may use, at least 1: those it may run on, and a container's quota of time.

    A share of a core is left idle: with a quota of 1.5 cores a second thread would be stopped half of the time.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([here, *_quotas()])))


def gpu_parts() -> int:
    """Parts of divided GPUs (MIG) that CUDA_VISIBLE_DEVICES lists; 0 if it lists anything else.

    CUDA shows a process the first of them, and Ray counts GPUs, not parts. But if Ray is told their number, each worker
    gets a part of its own.
    """
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return len(set(listed)) if all(name.startswith("MIG-") for name in listed) else 0


def _quotas() -> Iterator[float]:
    """Limits of CPU time, in cores, of this process's control group and of those above it; none outside of Linux."""
    for line in (_text(MEMBERSHIP) or "0::/\n1:cpu:/").splitlines():
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the group's own files may be at the root, whatever its name is outside.
        names = [PurePosixPath(group), *PurePosixPath(group).parents]
        for name in names:
            folder = name.as_posix().strip("/")
            if controllers:  # version 1
                for mount in dict.fromkeys(["cpu", controllers]):
                    at = CGROUPS / mount / folder
                    yield from _ratio(f"{_text(at / 'cpu.cfs_quota_us')} {_text(at / 'cpu.cfs_period_us')}")
            else:
                yield from _ratio(_text(CGROUPS / folder / "cpu.max"))


def _ratio(text: str) -> Iterator[float]:
    """The cores of `QUOTA PERIOD`; nothing if there is no limit, which is written as max or as -1."""
    with suppress(ValueError, ZeroDivisionError):
        quota, period = map(int, text.split())
        if quota > 0 and period > 0:
            yield quota / period


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def physical_memory() -> int | None:
    """Bytes of this machine's memory; None if the system does not say (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
