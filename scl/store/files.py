"""Folders on a disk or in an object store. A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from pyarrow import fs

from scl.errors import UserError

PARTIAL = ".partial"  # suffix of files that are being written


@dataclass(frozen=True)
class Folder:
    """A folder: a file system and a path. Picklable, so workers write to the driver's folder.

    aside: the path to which damaged files are moved; by default `damaged` in this folder.
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
        """Names of the files in this folder, sorted, without hidden ones (partial files, locks)."""
        infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == fs.FileType.File and not i.base_name.startswith("."))

    def exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(f"{self.path}/{name}").type == fs.FileType.File)

    def is_no_file(self, name: str) -> bool:
        """True if a folder, a pipe or a device has this name. Reading a pipe may never end."""
        kind = self.filesystem.get_file_info(f"{self.path}/{name}").type
        return kind not in (fs.FileType.File, fs.FileType.NotFound)

    def strangers(self) -> list[str]:
        """Names of what is no file in this folder, sorted, without hidden ones."""
        infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type != fs.FileType.File and not i.base_name.startswith("."))

    def read(self, name: str) -> bytes:
        with self.filesystem.open_input_file(f"{self.path}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes, durable: bool = False) -> None:
        """Write a file atomically: a rename on a disk, one PUT in an object store.

        durable: flush to the disk before the rename. Needed if other files are removed afterwards.
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
            with self.filesystem.open_output_stream(target, compression=None) as stream:  # by default, by the suffix
                stream.write(content)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(f"{self.path}/{name}")

    def set_aside(self, name: str, reason: str) -> None:
        """Move a damaged file to `aside` and print a message. If it cannot be moved, it stays where it is."""
        aside = self.aside or f"{self.path}/damaged"
        moved = f"{self.path.rpartition('/')[2]}-{secrets.token_hex(2)}-{name}"
        print(f"damaged: {self}/{name} ({reason}); moved to {aside}/{moved}", file=sys.stderr)
        with suppress(OSError):
            self.filesystem.create_dir(aside)
            self.filesystem.move(f"{self.path}/{name}", f"{aside}/{moved}")

    def sweep(self) -> None:
        """Remove the partial files that killed writers left in this folder and below. Only for the lock's holder."""
        if self.is_local:
            for partial in Path(self.path).rglob(f".*{PARTIAL}"):
                with suppress(OSError):
                    partial.unlink()


def open_folder(place: str | os.PathLike[str]) -> Folder:
    """The folder at a path, or at an `s3://` or `gs://` URI; it need not exist.

    Raises:
        UserError: `place` is no path, or pyarrow.fs does not support the URI.
    """
    place = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(place, str) or not place:
        raise UserError(f"a folder of results is a path, or s3://… or gs://…, got {place!r}")
    if "://" not in place:
        return Folder(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(place)))
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except Exception as error:
        raise UserError(f"--out {place!r} cannot be opened: {error}; valid: a path, s3://… or gs://…") from error
    return Folder(filesystem, path.rstrip("/"))


def check_writable(folder: Folder) -> None:
    """Raise UserError if the folder cannot be written to."""
    name = f"write-test-{secrets.token_hex(4)}"  # unique: other runs may share the folder
    try:
        folder.write(name, bytes(65536))
        folder.remove(name)
    except OSError as error:
        raise UserError(f"--out {folder} cannot be written: {explain(error)}, or name another folder") from error


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (*NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM)


def not_writable(error: BaseException) -> TypeGuard[OSError]:
    """True if the disk is full, read-only or not permitted, so that a retry would fail too."""
    return isinstance(error, OSError) and error.errno in NOT_WRITABLE


def explain(error: OSError) -> str:
    """The cause of an OSError, and for a full or read-only disk what to do about it."""
    if error.errno in NO_ROOM:
        return "the disk is full, so free some space"
    if error.errno == errno.EROFS:
        return "it is mounted read-only, so make it writable"
    return error.strerror or str(error)
