"""Folders on a disk or in an object store. A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeGuard

from pyarrow import fs

from scl.errors import UserError

PARTIAL = ".partial"  # suffix of files that are being written
WRITE_TEST = "write-test-"  # prefix of files that test whether a folder can be written to


@dataclass(frozen=True)
class Folder:
    """A folder: a file system and a path. Picklable, so workers write to the driver's folder.

    aside: the path to which damaged files are moved; by default `damaged` in this folder.
    reading: nothing is written, moved or removed in this folder and below.

    Python's own functions serve a disk, because Arrow's take UTF-8 paths only, whatever the system's encoding is.
    """

    filesystem: fs.FileSystem
    path: str
    aside: str | None = None
    reading: bool = field(default=False, kw_only=True)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def __truediv__(self, name: str) -> Folder:
        return replace(self, path=f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.path if self.is_local else f"{self.filesystem.type_name}://{self.path}"

    def names(self) -> list[str]:
        """Names of the files in this folder, sorted, without hidden ones (partial files, locks)."""
        return sorted(name for name, is_folder in self._entries() if not is_folder and not name.startswith("."))

    def folders(self) -> list[str]:
        """Names of the folders in this folder, sorted."""
        return sorted(name for name, is_folder in self._entries() if is_folder)

    def _entries(self) -> Iterator[tuple[str, bool]]:
        """The name of each file and folder in this folder, and whether it is a folder."""
        if self.is_local:
            with suppress(FileNotFoundError), os.scandir(self.path) as entries:
                yield from ((e.name, e.is_dir()) for e in entries if e.is_dir() or e.is_file())
        else:
            infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
            yield from ((i.base_name, i.type == fs.FileType.Directory) for i in infos if i.base_name)

    def files_below(self, deep: bool = True) -> dict[str, float]:
        """The files in this folder and, if `deep`, below: path from here → seconds since 1970 when written. Hidden
        files are among them; links are not followed."""
        if not self.is_local:
            infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=deep))
            files = (i for i in infos if i.type == fs.FileType.File)
            return {i.path[len(self.path) + 1 :]: (i.mtime_ns or 0) / 1e9 for i in files}
        found = {}
        for folder, inside, names in os.walk(self.path):
            if not deep:
                inside.clear()
            for name in names:
                path = os.path.join(folder, name)
                with suppress(FileNotFoundError):
                    found[os.path.relpath(path, self.path).replace(os.sep, "/")] = os.lstat(path).st_mtime
        return found

    def exists(self, name: str) -> bool:
        if self.is_local:
            return os.path.isfile(f"{self.path}/{name}")
        return bool(self.filesystem.get_file_info(f"{self.path}/{name}").type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        if self.is_local:
            return Path(f"{self.path}/{name}").read_bytes()
        with self.filesystem.open_input_file(f"{self.path}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes, durable: bool = False) -> None:
        """Write a file atomically: a rename on a disk, one PUT in an object store.

        durable: flush to the disk before the rename. Needed if other files are removed afterwards.
        """
        self._check_not_reading(name)
        target = f"{self.path}/{name}"
        if self.is_local:
            os.makedirs(self.path, exist_ok=True)
            partial = f"{self.path}/.{name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}"
            try:
                Path(partial).write_bytes(content)
                if durable:
                    with open(partial, "rb+") as written:
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
        self._check_not_reading(name)
        with suppress(FileNotFoundError):
            if self.is_local:
                os.unlink(f"{self.path}/{name}")
            else:
                self.filesystem.delete_file(f"{self.path}/{name}")

    def set_aside(self, name: str, reason: str) -> None:
        """Move a damaged file to `aside` and print a message. If it cannot be moved, it stays where it is."""
        if self.reading:
            print(f"damaged: {self}/{name} ({reason}); it is not read", file=sys.stderr)
            return
        aside = self.aside or f"{self.path}/damaged"
        moved = f"{self.path.rpartition('/')[2]}-{secrets.token_hex(2)}-{name}"
        print(f"damaged: {self}/{name} ({reason}); moved to {aside}/{moved}", file=sys.stderr)
        with suppress(OSError):
            if self.is_local:
                os.makedirs(aside, exist_ok=True)
                os.replace(f"{self.path}/{name}", f"{aside}/{moved}")
            else:
                self.filesystem.create_dir(aside)
                self.filesystem.move(f"{self.path}/{name}", f"{aside}/{moved}")

    def _check_not_reading(self, name: str) -> None:
        if self.reading:
            raise OSError(errno.EROFS, "this folder is only read", f"{self}/{name}")


def open_folder(place: str | os.PathLike[str], reading: bool = False) -> Folder:
    """The folder at a path, or at an `s3://` or `gs://` URI; it need not exist.

    reading: only read it, so that another run's folder, an archive or a read-only disk serves as well.

    Raises:
        UserError: `place` is no path, or pyarrow.fs does not support the URI.
    """
    place = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(place, str) or not place:
        raise UserError(f"a folder of results is a path, or s3://… or gs://…, got {place!r}")
    if "://" not in place:
        path = os.path.abspath(os.path.expanduser(place)).replace(os.sep, "/")
        return Folder(fs.LocalFileSystem(), path, reading=reading)
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except Exception as error:
        raise UserError(f"--out {place!r} cannot be opened: {error}; valid: a path, s3://… or gs://…") from error
    return Folder(filesystem, path.rstrip("/"), reading=reading)


def check_writable(folder: Folder) -> None:
    """Raise OSError if the folder cannot be written to, as on a full disk. Only for the lock's holder."""
    name = f"{WRITE_TEST}{secrets.token_hex(4)}"
    folder.write(name, bytes(65536))
    folder.remove(name)


NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)
NOT_WRITABLE = (*NO_ROOM, *NOT_ALLOWED)


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
