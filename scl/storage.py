"""Folders on this machine or in an object store, with writes that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
from pyarrow import fs

from scl.config import UserError


@dataclass(frozen=True)
class Folder:
    """A folder by file system and path. Picklable, so workers write to the place the driver names."""

    filesystem: fs.FileSystem
    path: str

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.filesystem, f"{self.path}/{name}")

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

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is either wholly there or not there: rename on a disk, one PUT in a store."""
        target = f"{self.path}/{name}"
        if self.is_local:
            os.makedirs(self.path, exist_ok=True)
            partial = f"{self.path}/.{name}.{os.getpid()}-{secrets.token_hex(4)}"
            try:
                Path(partial).write_bytes(content)
                os.replace(partial, target)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        else:
            with self.filesystem.open_output_stream(target) as stream:
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
    try:
        folder.write("write-test", b"")
        folder.remove("write-test")
    except OSError as error:
        raise UserError(
            f"--out {folder} cannot be written: {explain(error)}; name a folder you can write to"
        ) from error


def explain(error: OSError) -> str:
    """What an OSError means to the person whose run it stopped."""
    if error.errno == errno.ENOSPC:
        return "the disk is full; make space and run the same command again, finished trials are kept"
    return error.strerror or str(error)


LEASE_SECONDS = 60.0


@contextmanager
def locked(folder: Folder) -> Iterator[None]:
    """Hold the folder for one live run.

    On a disk a file lock, which the system drops with its process. An object store has no locks: there a lease,
    renewed by a thread, that runs out by itself within a minute when its holder dies.

    Raises:
        UserError: another live run holds it; names the holder.
    """
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with _file_lock(folder) if folder.is_local else _lease(folder, holder):
        folder.write(".holder", json.dumps({**holder, "renewed": time.time()}).encode())
        try:
            yield
        finally:
            folder.remove(".holder")


@contextmanager
def _file_lock(folder: Folder) -> Iterator[None]:
    os.makedirs(folder.path, exist_ok=True)
    lock = filelock.FileLock(f"{folder.path}/.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(_held(folder, _holder(folder))) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _lease(folder: Folder, holder: dict[str, object]) -> Iterator[None]:
    other = _holder(folder)
    renewed = other.get("renewed")
    if isinstance(renewed, float) and time.time() - renewed < LEASE_SECONDS:
        raise UserError(_held(folder, other))
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 4):
            folder.write(".holder", json.dumps({**holder, "renewed": time.time()}).encode())

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _holder(folder: Folder) -> dict[str, object]:
    try:
        return dict(json.loads(folder.read(".holder")))
    except (OSError, ValueError):
        return {}


def _held(folder: Folder, other: dict[str, object]) -> str:
    who = f"process {other['pid']} on {other['host']} since {other['since']}" if "pid" in other else "another run"
    return f"{folder} is in use by {who}; wait for it, stop it, or name another --out"
