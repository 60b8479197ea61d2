"""One live run in a folder: the next waits or is refused. A file lock on a disk, a lease in an object store."""

from __future__ import annotations

import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import filelock

from scl.errors import UserError
from scl.store.files import Folder
from scl.store.holder import HOLDER, HeldByAnother, held_by, read_holder, this_process
from scl.store.lease import lease
from scl.terminal import say


@contextmanager
def locked(
    folder: Folder,
    stop: Callable[[], bool] | None = None,
    command: str = "",
    way_out: str = "wait for it, stop it, or name another --out",
) -> Iterator[Callable[[], bool]]:
    """Lock the folder. Yields a function that returns True while this run still holds it.

    The system releases a file lock when its process ends. A thread renews a lease, which serves where there are no
    locks; a minute after its holder died, the lease runs out.

    Args:
        stop: wait while another run holds the folder, until this returns true; None does not wait.
        command: how this run was started, for the message that another run prints.
        way_out: what to do while another run holds the folder.

    Raises:
        OSError: the folder cannot be written to.
        UserError: another live run holds the folder. The message names it.
    """
    holder = {**this_process(), "command": command[:300], "token": secrets.token_hex(8)}
    lock = _file_lock if folder.is_local else lease
    waiting = False
    while True:
        try:
            with lock(folder, holder) as held:
                yield held
            return
        except HeldByAnother as error:
            if stop is None or stop():
                raise UserError(f"{error}; {way_out}") from None
            if not waiting:
                say(f"waiting: {error}")
            waiting = True
            time.sleep(0.5)


@contextmanager
def _file_lock(folder: Folder, holder: dict[str, object]) -> Iterator[Callable[[], bool]]:
    os.makedirs(folder.path, exist_ok=True)
    lock = filelock.FileLock(f"{folder.path}/.lock")
    try:
        with warnings.catch_warnings(action="ignore"):  # filelock's own, of a file system without locks
            lock.acquire(timeout=0)
    except filelock.Timeout:
        raise HeldByAnother(held_by(folder, read_holder(folder))) from None
    except NotImplementedError:
        without_locks = True
    except OSError as error:
        error.filename = lock.lock_file  # the system's call knows only a descriptor
        raise
    else:
        without_locks = isinstance(lock, filelock.SoftFileLock)
    if without_locks:
        # filelock takes a file in place of a lock then, and trusts that host and process id tell who lives.
        lock.release(force=True)
        with lease(folder, holder) as held:
            yield held
        return
    try:
        folder.write(HOLDER, json.dumps(holder).encode())
        yield lambda: True
    finally:
        with suppress(OSError):
            if read_holder(folder).get("token") == holder["token"]:  # else the folder was moved, and another is here
                folder.remove(HOLDER)
        lock.release()
