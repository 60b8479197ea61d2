"""A store on a disk that is moved or removed while a run writes to it: the run ends, and says where its trials are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from scl.errors import RunFailed, UserError
from scl.store.files import Folder, Guard
from scl.store.holder import HOLDER, read_holder


@contextmanager
def pinned(out: Folder, store: Folder) -> Iterator[tuple[Folder, Callable[[], str]]]:
    """The folder of results as one that refuses writes once the store is not in its place any more, here and in
    workers; and a function that says where the store has gone, or '' while it is there.

    Only for the holder of the store's lock. An error after such a move is replaced by one that names the new place.

    Args:
        out: the folder of results, which holds `store`.

    Raises:
        RunFailed: something failed because the store was moved or removed.
    """
    if not store.is_local:
        yield out, lambda: ""
        return
    handle = os.open(store.path, os.O_RDONLY)  # it stays with the folder, wherever that goes
    try:
        guard = Guard(store.path, os.fstat(handle).st_ino, HOLDER, read_holder(store).get("token"))
        gone = partial(_gone, guard, handle)
        try:
            yield replace(out, guard=guard), gone
        except (OSError, UserError, RunFailed) as error:
            if reason := gone():
                raise RunFailed(f"{store}: {reason}") from error
            raise
    finally:
        os.close(handle)


def _gone(guard: Guard, handle: int) -> str:
    if guard.in_place():
        return ""
    now = ""
    with suppress(OSError):  # elsewhere than on Linux
        now = os.readlink(f"/proc/self/fd/{handle}")
    if now.endswith(" (deleted)"):
        return "this folder was removed during the run, with what was in it"
    if not now.startswith("/") or now == guard.path:
        return f"this folder was moved or removed during the run; if it was moved, move it back to {guard.path}"
    same = os.path.basename(now) == os.path.basename(guard.path)
    way_out = f"--out {os.path.dirname(now)} continues" if same else f"move it back to {guard.path} to continue"
    return f"this folder was moved to {now} during the run; finished trials are safe there, and {way_out}"
