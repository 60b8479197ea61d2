"""Who holds a folder: what a run writes about itself, and whether that process has ended."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from scl.store.files import Folder

HOLDER = ".holder"
PROC = Path("/proc")


class HeldByAnother(Exception):
    """Another live run holds the folder. The message names it."""


def this_process() -> dict[str, object]:
    """What identifies this process. A host's name and a process id do not: containers on one machine, and machines that
    are made from one image, share them. Where Linux tells, also the boot, the PID namespace and the process's start."""
    about: dict[str, object] = {"host": socket.gethostname(), "pid": os.getpid()}
    with suppress(OSError):
        about["boot"] = PROC.joinpath("sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        about["namespace"] = PROC.joinpath("self/ns/pid").stat().st_ino
        about["process_started"] = _state_and_start(os.getpid())[1]
    return about | {"since": time.strftime("%Y-%m-%d %H:%M:%S")}


def has_ended(other: dict[str, object]) -> bool:
    """True if a holder was a process that this machine knows to have ended. One of which that cannot be told counts as
    alive, until its lease runs out."""
    if sys.platform == "win32":  # there, os.kill ends a process
        return False
    here, places = this_process(), ("boot", "namespace") if sys.platform == "linux" else ("host",)
    if any(other.get(place) is None or other.get(place) != here.get(place) for place in places):
        return False
    try:
        pid = int(str(other["pid"]))
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, OverflowError):
        return False
    try:
        state, start = _state_and_start(pid)
    except OSError:
        return False
    # A zombie has ended; another start is that of a later process with the same id.
    return state in "ZX" or other.get("process_started") not in (None, start)


def _state_and_start(pid: int) -> tuple[str, int]:
    """A process's state, as a letter, and its start, in clock ticks since the boot. Raises OSError without /proc."""
    fields = PROC.joinpath(str(pid), "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[19])


def read_holder(folder: Folder) -> dict[str, object]:
    """What the holder of a folder wrote into `.holder`; empty if nobody holds it."""
    try:
        return dict(json.loads(folder.read(HOLDER)))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def name_of_holder(other: dict[str, object]) -> str:
    """A holder in words."""
    if "pid" not in other:
        return "another run"
    command = f" ({other['command']})" if other.get("command") else ""
    return f"process {other['pid']} on {other.get('host')} since {other.get('since')}{command}"


def held_by(folder: Folder, other: dict[str, object]) -> str:
    """The sentence that names the holder."""
    return f"{folder} is in use by {name_of_holder(other)}"
