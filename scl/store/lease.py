"""A lease on a folder of an object store, which has no locks. The store's clock measures its age: hosts' clocks differ.

A holder renews its lease. The lease of a holder that died runs out after a minute.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from scl.store.files import Folder

HOLDER, CLOCK = ".holder", ".clock-"  # who holds a folder; the beginning of a file that shows the store's time
LEASE_SECONDS = 60.0
SETTLE_SECONDS = 1.0  # if two runs claim a free lease at once, both see by then whose claim came last


class HeldByAnother(Exception):
    """Another live run holds the folder. The message names it."""


@contextmanager
def lease(folder: Folder, holder: dict[str, object]) -> Iterator[Callable[[], bool]]:
    """Hold the lease on a folder. Yields a function that returns False once another run has taken the lease over.

    Args:
        holder: what `.holder` says about this run: `token`, which is unique, and `host`, `pid`, `since`, `command`.

    Raises:
        HeldByAnother: another live run holds the lease.
    """

    def claim() -> None:
        folder.write(HOLDER, json.dumps(holder).encode())

    other = read_holder(folder)
    if other and not _dead_here(other) and _age(folder) < LEASE_SECONDS:
        raise HeldByAnother(held_by(folder, other))
    claim()
    time.sleep(SETTLE_SECONDS)
    other = read_holder(folder)
    if other.get("token") != holder["token"]:
        raise HeldByAnother(held_by(folder, other))
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 4):
            with suppress(OSError):  # the store does not answer: try again next time
                if read_holder(folder).get("token", holder["token"]) != holder["token"]:
                    lost.set()
                    return
                claim()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield lambda: not lost.is_set()
    finally:
        done.set()
        thread.join()
        with suppress(OSError):
            if not lost.is_set():
                folder.remove(HOLDER)


def _dead_here(other: dict[str, object]) -> bool:
    """True if the holder was a process of this host that has ended, so that its lease need not run out."""
    if other.get("host") != socket.gethostname() or sys.platform == "win32":  # there, os.kill ends a process
        return False
    try:
        os.kill(int(str(other["pid"])), 0)
    except (ProcessLookupError, ValueError, KeyError):
        return True
    except OSError:
        return False
    return False


def _age(folder: Folder) -> float:
    """Seconds since `.holder` was written, by the store's clock."""
    probe = f"{CLOCK}{secrets.token_hex(4)}"
    folder.write(probe, b"")
    paths = [f"{folder.path}/{probe}", f"{folder.path}/{HOLDER}"]
    now, written = (info.mtime for info in folder.filesystem.get_file_info(paths))
    folder.remove(probe)
    return (now - written).total_seconds() if now and written else LEASE_SECONDS


def read_holder(folder: Folder) -> dict[str, object]:
    """What the holder of a folder wrote into `.holder`; empty if nobody holds it."""
    try:
        return dict(json.loads(folder.read(HOLDER)))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def held_by(folder: Folder, other: dict[str, object]) -> str:
    """The sentence that names the holder."""
    if "pid" not in other:
        return f"{folder} is in use by another run"
    command = f" ({other['command']})" if other.get("command") else ""
    return f"{folder} is in use by process {other['pid']} on {other.get('host')} since {other.get('since')}{command}"
