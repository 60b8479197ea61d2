"""What a node of a cluster keeps on its disk, so that its workers fetch or compute it once."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from scl.store.files import Folder, open_folder
from scl.study.identity import sha256 as sha256_of

KEPT_SECONDS = 7 * 86_400.0  # a file that no worker has read for so long is removed
RUN_SECONDS = 86_400.0  # the same, of what serves one run
SHARE_OF_DISK = 0.1  # of what is free, for what serves one run


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


@dataclass(frozen=True)
class NodeFiles:
    """Files that the workers of a machine keep for each other during a run, under its token `run` and a `key`."""

    run: str
    key: str

    def read(self, name: str) -> bytes:
        """Raises OSError if the file is not there."""
        content = self._folder.read(name)
        self._in_use()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keep a file, unless the files of all runs would take more than their share of the disk. Raises OSError if it
        cannot be written."""
        root = _of_runs()
        root.mkdir(parents=True, exist_ok=True)
        used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        if used + len(content) <= SHARE_OF_DISK * (used + shutil.disk_usage(root).free):
            self._folder.write(name, content)
            self._in_use()

    @property
    def _folder(self) -> Folder:
        return open_folder(_of_runs() / self.run / self.key)

    def _in_use(self) -> None:
        with suppress(OSError):
            os.utime(_of_runs() / self.run)


def node_files(run: str, *what: object) -> NodeFiles | None:
    """This machine's files of a run, of what is described in JSON; None if it can keep none. Files that no run has used
    for a day are removed."""
    try:
        for folder in _of_runs().glob("*"):
            if folder.stat().st_mtime < time.time() - RUN_SECONDS:
                drop_run(folder.name)
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return None
    return NodeFiles(run, sha256_of([platform.node(), *what]))  # machines may share a home folder


def drop_run(run: str) -> None:
    """Remove this machine's files of a run."""
    with suppress(RuntimeError):
        shutil.rmtree(_of_runs() / run, ignore_errors=True)


def _of_runs() -> Path:
    return node_cache() / "runs"
