"""What a node of a cluster keeps on its disk, so that its workers fetch it once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock

from scl.store.files import open_folder

KEPT_SECONDS = 7 * 86_400.0  # a file that no worker has read for so long is removed


def node_cache() -> Path:
    """Where a node keeps copies."""
    return Path.home() / ".cache" / "scl"


def read_once_a_node(kind: str, sha256: str, read: Callable[[], bytes]) -> bytes:
    """The content of this hash, from this node's copy or else by `read`, which one worker calls while others wait.

    A copy that is damaged is replaced. A node that can keep none reads each time. What `read` gives is returned as it
    is: if its hash is another one, it is not kept, and the caller judges it.

    Args:
        kind: the first word of the copies' names; old copies of a kind are removed.
    """
    name = f"{kind}-{sha256}"
    with ExitStack() as held:
        try:
            place = node_cache() / "files"
            place.mkdir(parents=True, exist_ok=True)
            folder = open_folder(place)
            held.enter_context(FileLock(f"{folder.path}/.{name}.lock"))
        except (OSError, RuntimeError):  # no room, no right, no home folder
            return read()
        with suppress(OSError):
            content = folder.read(name)
            if hashlib.sha256(content).hexdigest() == sha256:
                os.utime(f"{folder.path}/{name}")
                return content
        content = read()
        if hashlib.sha256(content).hexdigest() == sha256:
            with suppress(OSError):
                folder.write(name, content)
                _remove_old(Path(folder.path), kind)
        return content


def _remove_old(folder: Path, kind: str) -> None:
    """Remove copies that nobody has read for long, with their locks. A worker that reads one just now fetches it
    again."""
    for path in folder.glob(f"{kind}-*"):
        if path.stat().st_mtime < time.time() - KEPT_SECONDS:
            path.unlink()
            path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
