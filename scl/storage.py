"""Folders on this machine or in an object store, with writes that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

import filelock
from pyarrow import fs

from scl.config import UserError
from scl.optuna_storage import masked

PARTIAL = ".partial"  # the end of a name that is being written


@dataclass(frozen=True)
class Folder:
    """A folder by file system and path. Picklable, so workers write to the place the driver names.

    aside: where files go that turn out to be damaged; `damaged` in this folder, unless said.
    """

    filesystem: fs.FileSystem
    path: str
    aside: str | None = None

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def __truediv__(self, name: str) -> Folder:
        return replace(self, path=f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.path if self.is_local else f"{self.filesystem.type_name}://{self.path}"

    def names(self) -> list[str]:
        """Names of the files in this folder, sorted; hidden ones (half-written, locks) left out."""
        infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == fs.FileType.File and not i.base_name.startswith("."))

    def exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(f"{self.path}/{name}").type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        with self.filesystem.open_input_file(f"{self.path}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes, durable: bool = False) -> None:
        """Write a file that is either wholly there or not there: rename on a disk, one PUT in a store.

        durable: on the disk itself when this returns, for what replaces files that are then removed.
        """
        target = f"{self.path}/{name}"
        if self.is_local:
            os.makedirs(self.path, exist_ok=True)
            partial = f"{self.path}/.{name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"
            try:
                Path(partial).write_bytes(content)
                if durable:
                    with open(partial, "rb") as written:
                        os.fsync(written.fileno())
                os.replace(partial, target)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        else:
            with self.filesystem.open_output_stream(target, compression=None) as stream:  # or it goes by the name
                stream.write(content)

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is fine."""
        try:
            self.filesystem.delete_file(f"{self.path}/{name}")
        except FileNotFoundError:
            return

    def remove_all(self) -> None:
        """Remove this folder and what is in it; one that is gone already is fine."""
        try:
            self.filesystem.delete_dir(self.path)
        except FileNotFoundError:
            return

    def set_aside(self, name: str, reason: str) -> None:
        """Move a damaged file out of the way, and say so; where nothing can be moved it stays, and is passed over."""
        aside = self.aside or f"{self.path}/damaged"
        kept = f"{self.path.rpartition('/')[2]}-{secrets.token_hex(2)}-{name}"
        print(f"damaged: {self}/{name} ({reason}); it is set aside as {aside}/{kept}", file=sys.stderr)
        with suppress(OSError):
            self.filesystem.create_dir(aside)
            self.filesystem.move(f"{self.path}/{name}", f"{aside}/{kept}")

    def sweep(self, older_than: float = 0.0) -> None:
        """Remove what writers that were killed left half-written, here and below. For who holds the folder.

        older_than: seconds; younger ones may be another's, and stay.
        """
        if self.is_local:
            for partial in Path(self.path).rglob(f".*{PARTIAL}"):
                with suppress(OSError):
                    if time.time() - partial.stat().st_mtime >= older_than:
                        partial.unlink()


def open_folder(place: str) -> Folder:
    """The folder at a path or an `s3://`, `gs://` URI.

    Raises:
        UserError: the scheme is not known to pyarrow.fs.
    """
    if "://" not in place:
        return Folder(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(place)))
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except Exception as error:
        raise UserError(f"--out {place!r} cannot be opened: {error}; valid: a path, s3://… or gs://…") from error
    return Folder(filesystem, path.rstrip("/"))


def check_writable(folder: Folder) -> None:
    """Raises UserError when nothing can be written to the folder."""
    name = f"write-test-{secrets.token_hex(4)}"  # of this run alone: others may share the folder
    try:
        folder.write(name, bytes(65536))
        folder.remove(name)
    except OSError as error:
        raise UserError(
            f"--out {folder} cannot be written: {explain(error)}, or name a folder you can write to"
        ) from error


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (*NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM)


def no_room(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in NO_ROOM


def not_writable(error: BaseException) -> TypeGuard[OSError]:
    """Whether the place itself refuses to be written to, so that trying again is of no use."""
    return isinstance(error, OSError) and error.errno in NOT_WRITABLE


def explain(error: OSError) -> str:
    """What an OSError means to the person whose run it stopped."""
    if no_room(error):
        return "the disk is full, so make space on it"
    if error.errno == errno.EROFS:
        return "it is mounted read-only, so make it writable"
    return error.strerror or str(error)


LEASE_SECONDS = 60.0
SETTLE_SECONDS = 1.0  # two that claim a free lease at once see by then whose claim came last


@contextmanager
def locked(folder: Folder, stop: Callable[[], bool] | None = None) -> Iterator[Callable[[], bool]]:
    """Hold the folder for one live run; yields what tells whether it is still held.

    On a disk a file lock, which the system drops with its process. An object store has no locks: there a lease,
    renewed by a thread, that runs out by itself a minute after its holder died.

    Args:
        stop: wait for the folder while another holds it, until this turns true; without, do not wait.

    Raises:
        UserError: another live run holds it; names the holder.
    """
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": masked(shlex.join(sys.argv))[:300],
        "token": secrets.token_hex(8),
    }
    lock = _file_lock if folder.is_local else _lease
    told = False
    while True:
        try:
            with lock(folder, holder) as held:
                yield held
            return
        except _HeldByAnother as error:
            if stop is None or stop():
                raise UserError(f"{error}; wait for it, stop it, or name another --out") from None
            if not told:
                print(f"waiting: {error}", file=sys.stderr)
            told = True
            time.sleep(0.5)


class _HeldByAnother(Exception):
    pass


@contextmanager
def _file_lock(folder: Folder, holder: dict[str, object]) -> Iterator[Callable[[], bool]]:
    os.makedirs(folder.path, exist_ok=True)
    lock = filelock.FileLock(f"{folder.path}/.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise _HeldByAnother(_held(folder, _holder(folder))) from None
    try:
        folder.write(".holder", json.dumps(holder).encode())
        yield lambda: True
    finally:
        with suppress(OSError):
            folder.remove(".holder")
        lock.release()


@contextmanager
def _lease(folder: Folder, holder: dict[str, object]) -> Iterator[Callable[[], bool]]:
    """A lease in the file `.holder`: its age is taken by the store's own clock, as hosts' clocks differ."""

    def claim() -> None:
        folder.write(".holder", json.dumps(holder).encode())

    other = _holder(folder)
    if other and not _dead_here(other) and _age(folder) < LEASE_SECONDS:
        raise _HeldByAnother(_held(folder, other))
    claim()
    time.sleep(SETTLE_SECONDS)
    other = _holder(folder)
    if other.get("token") != holder["token"]:
        raise _HeldByAnother(_held(folder, other))
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 4):
            with suppress(OSError):  # a store that does not answer for a while: the next time counts
                if _holder(folder).get("token", holder["token"]) != holder["token"]:
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
                folder.remove(".holder")


def _dead_here(other: dict[str, object]) -> bool:
    """Whether the holder was a process of this host that is no more: then nobody need wait for its lease to run out."""
    if other.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(str(other["pid"])), 0)
    except (ProcessLookupError, ValueError, KeyError):
        return True
    except OSError:
        return False
    return False


def _age(folder: Folder) -> float:
    """Seconds since `.holder` was written, by the clock of the store."""
    probe = f".clock-{secrets.token_hex(4)}"
    folder.write(probe, b"")
    paths = [f"{folder.path}/{probe}", f"{folder.path}/.holder"]
    now, written = (info.mtime for info in folder.filesystem.get_file_info(paths))
    folder.remove(probe)
    return (now - written).total_seconds() if now and written else LEASE_SECONDS


def _holder(folder: Folder) -> dict[str, object]:
    try:
        return dict(json.loads(folder.read(".holder")))
    except (FileNotFoundError, ValueError):
        return {}


def _held(folder: Folder, other: dict[str, object]) -> str:
    if "pid" not in other:
        return f"{folder} is in use by another run"
    command = f" ({other['command']})" if other.get("command") else ""
    return f"{folder} is in use by process {other['pid']} on {other['host']} since {other['since']}{command}"
