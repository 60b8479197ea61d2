"""A lease on a folder of an object store, which has no locks. The store's clock measures its age: hosts' clocks differ.

A holder renews its lease. The lease of a holder that died runs out after a minute. A holder that was suspended for so
long, or cut off from the store, may wake after another run has taken the folder over. It asks before it changes what
runs share (`check_held`). No store lets a write depend on a lease, so a write may still come too late: tables in object
stores are written so that this loses nothing (`editions`).
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from scl.errors import RunFailed
from scl.store.files import Folder
from scl.store.holder import HOLDER, HeldByAnother, has_ended, held_by, name_of_holder, read_holder

CLOCK = ".clock-"  # the beginning of a file that shows the store's time
LEASE_SECONDS = 60.0
SETTLE_SECONDS = 1.0  # if two runs claim a free lease at once, both see by then whose claim came last

_leases: dict[str, Lease] = {}  # those of this process, by folder


class LostLease(RunFailed):
    """Another run has taken over a folder that this process held."""


def check_held(folder: Folder) -> None:
    """To be called before this process changes a file that runs share. Does nothing for a folder without a lease.

    Raises:
        LostLease: another run has taken over the lease. The message names it.
        OSError: the store does not answer, so this cannot be told.
    """
    lease = _leases.get(str(folder))
    if lease is not None:
        lease.check()


@dataclass
class Lease:
    """A lease that this process holds, or has lost.

    holder: what `.holder` says about this run. renewed: when it was last claimed; asked: when the store was last asked.
    Both by a clock that no one sets and that runs while the machine or the process is suspended. in_doubt: nothing
    tells whether another run had it.
    """

    folder: Folder
    holder: dict[str, object]
    renewed: float = 0.0
    asked: float = 0.0
    taken_by: dict[str, object] | None = None
    in_doubt: bool = False
    mutex: threading.RLock = field(default_factory=threading.RLock)

    def claim(self) -> None:
        began = _elapsed()
        self.folder.write(HOLDER, json.dumps(self.holder).encode())
        # A process may be stopped in this very request, after it has seen that the lease is its own. If the lease ran
        # out before the write came, another run may have claimed it, and this write has removed the trace of that.
        ended = _elapsed()
        if self.renewed and ended - self.renewed > LEASE_SECONDS and ended - self.asked > LEASE_SECONDS / 4:
            self.taken_by, self.in_doubt = {}, True
        self.renewed = self.asked = began

    def confirm(self) -> bool:
        """Claim it, wait until a rival's claim would be seen, and return whether this one came last."""
        self.claim()
        time.sleep(SETTLE_SECONDS)
        other = read_holder(self.folder)
        if other.get("token") != self.holder["token"]:
            self.taken_by = other
        return self.taken_by is None

    def renew(self) -> None:
        """Renew it, or note that another run has it. Raises OSError if the store does not answer."""
        with self.mutex:
            if self.taken_by is not None:
                return
            self.asked = _elapsed()
            # By now another run may have found it old: that one has it, or had it and gave it back.
            old = self.asked - self.renewed > LEASE_SECONDS / 2
            other = read_holder(self.folder)
            if other.get("token") != self.holder["token"] and (other or old):
                self.taken_by = other
            elif old:
                self.confirm()
            else:
                self.claim()

    def held(self) -> bool:
        """False once another run has taken it over. Asks the store if it was not renewed for long."""
        if _elapsed() - self.asked > LEASE_SECONDS / 2:
            with suppress(OSError):  # it does not answer: the next question comes later
                self.renew()
        return self.taken_by is None

    def check(self) -> None:
        """Raises as `check_held` does."""
        if _elapsed() - self.renewed > LEASE_SECONDS / 2:
            self.renew()
        if self.taken_by is not None:
            raise LostLease(self.loss())

    def loss(self) -> str:
        """What to say when it is lost."""
        unnamed = "may have been" if self.in_doubt else "was"
        what = f"is in use by {name_of_holder(self.taken_by)}" if self.taken_by else f"{unnamed} in use by another run"
        return (
            f"{self.folder} {what}, which took it over because this run was suspended, or cut off from the store, "
            "for too long; this run stops and removes nothing. Trials that had ended are in the store; when no other "
            "run uses it, the same command continues"
        )


@contextmanager
def lease(folder: Folder, holder: dict[str, object]) -> Iterator[Callable[[], bool]]:
    """Hold the lease on a folder. Yields a function that returns False once another run has taken the lease over.

    Args:
        holder: what `.holder` says about this run: `token`, which is unique, and what `this_process` tells.

    Raises:
        HeldByAnother: another live run holds the lease.
    """
    other = read_holder(folder)
    if other and not has_ended(other) and not _is_old(folder):
        raise HeldByAnother(held_by(folder, other))
    mine = Lease(folder, holder)
    if not mine.confirm():
        raise HeldByAnother(held_by(folder, mine.taken_by or {}))
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 4) and mine.taken_by is None:
            with suppress(OSError):  # the store does not answer: try again next time
                mine.renew()

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    _leases[str(folder)] = mine
    try:
        yield mine.held
    finally:
        _leases.pop(str(folder), None)
        done.set()
        thread.join()
        with suppress(OSError):
            if read_holder(folder).get("token") == holder["token"]:
                folder.remove(HOLDER)


def _elapsed() -> float:
    """Seconds by a clock that no one sets, and that runs while this machine is suspended, if there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _is_old(folder: Folder) -> bool:
    """Whether the lease has run out, by the store's clock. If that was set back, whether nobody renews it now."""
    age = _age(folder)
    if age >= -LEASE_SECONDS:
        return age >= LEASE_SECONDS
    time.sleep(LEASE_SECONDS / 2)
    return _age(folder) < -LEASE_SECONDS


def _age(folder: Folder) -> float:
    """Seconds since `.holder` was written, by the store's clock."""
    probe = f"{CLOCK}{secrets.token_hex(4)}"
    folder.write(probe, b"")
    paths = [f"{folder.path}/{probe}", f"{folder.path}/{HOLDER}"]
    now, written = (info.mtime for info in folder.filesystem.get_file_info(paths))
    folder.remove(probe)
    return (now - written).total_seconds() if now and written else LEASE_SECONDS
