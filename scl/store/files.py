"""Folders on a disk or in an object store. A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeGuard

from pyarrow import fs

from scl.errors import UserError, shown
from scl.masking import masked_value, without_values
from scl.study import checks
from scl.terminal import say

PLACES = "a path, s3://BUCKET/… or gs://BUCKET/…"
SCHEMES = ("file:", "s3:", "gs:")  # a path that begins so is a URI that was mistyped
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
            except BaseException as error:
                with suppress(OSError):
                    Path(partial).unlink(missing_ok=True)
                if isinstance(error, OSError):
                    error.filename, error.filename2 = target, None  # not the partial file, which nobody knows
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
        say(f"damaged: {self}/{name} ({reason}); moved to {aside}/{moved}")
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
    try:
        place = checks.place(place)
    except ValueError as error:
        raise UserError(f"a folder of results is {PLACES}; it {error}") from None
    if "://" not in place and not place.lower().startswith(SCHEMES):
        return Folder(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(place)))
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except Exception as error:
        reason = without_values(str(error), [place])
        raise UserError(
            f"folder of results {shown(masked_value(place))} cannot be opened: {reason}; valid: {PLACES}"
        ) from None
    if not path.strip("/"):
        raise UserError(f"folder of results {shown(masked_value(place))} names no bucket or folder; valid: {PLACES}")
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


# What fails, and what helps. Other errors are told in the system's words.
EXPLAINED = {
    errno.ENOSPC: "the disk is full, so free some space",
    errno.EDQUOT: "your quota on this disk is used up, so free some space",
    errno.EROFS: "it is mounted read-only, so make it writable",
    errno.EACCES: "you have no permission, so change its mode or ask its owner",
    errno.EPERM: "you have no permission, so change its mode or ask its owner",
    errno.ENOLCK: "its file system gives no file locks, so mount it with locks, or name an --out on another disk",
    errno.ENOTSUP: "its file system does not support this, so name an --out on another disk",
    errno.EMFILE: "this process has too many open files, so raise `ulimit -n`",
    errno.ENFILE: "this machine has too many open files, so close some programs",
    errno.EFBIG: "the file is larger than allowed, so raise `ulimit -f`",
    errno.ENAMETOOLONG: "the name is too long, so shorten the path or the name of the study",
    errno.ENOTDIR: "a part of this path is a file, so remove it or choose another path",
    errno.EISDIR: "a folder is in the place of this file, so remove it",
    errno.EIO: "the disk or the network to it fails, so check it, or name an --out on another disk",
    errno.ESTALE: "the network file system has lost it, so mount that again",
}


def explain(error: OSError) -> str:
    """The cause of an OSError, and what helps."""
    return EXPLAINED.get(error.errno or 0) or error.strerror or str(error)
