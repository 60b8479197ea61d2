"""Folders on a disk or in an object store. A file appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from pyarrow import fs

from scl.errors import Damaged, UserError, shown
from scl.masking import masked_value, without_values
from scl.study import checks
from scl.terminal import say

T = TypeVar("T")

PLACES = "a path, s3://BUCKET/… or gs://BUCKET/…"
SCHEMES = ("file:", "s3:", "gs:")  # a path that begins so is a URI that was mistyped
PARTIAL = ".partial"  # suffix of files that are being written
WRITE_TEST = "write-test-"  # prefix of files that test whether a folder can be written to


class Moved(OSError):
    """A folder of results was moved, removed or replaced while a run was writing to it."""


@dataclass(frozen=True)
class Guard:
    """What a folder must still be, so that a run writes to it: the folder that this run has locked.

    path: the folder. inode: its number on the disk. token: the run's own, in the file `holder`. The token decides where
    file systems give a folder new numbers.
    """

    path: str
    inode: int
    holder: str
    token: object

    def in_place(self) -> bool:
        """False if the folder is gone, or another one is in its place."""
        try:
            if os.stat(self.path).st_ino == self.inode:
                return True
            return bool(json.loads(Path(self.path, self.holder).read_bytes())["token"] == self.token)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError, LookupError):  # no answer; what is written next will fail if it must
            return True


@dataclass(frozen=True)
class Folder:
    """A folder: a file system and a path. Picklable, so workers write to the driver's folder.

    aside: the path to which damaged files are moved; by default `damaged` in this folder.
    reading: nothing is written, moved or removed in this folder and below.
    guard: nothing is written or removed, with the error Moved, if that folder is not in its place any more.

    Python's own functions serve a disk, because Arrow's take UTF-8 paths only, whatever the system's encoding is.
    """

    filesystem: fs.FileSystem
    path: str
    aside: str | None = None
    reading: bool = field(default=False, kw_only=True)
    guard: Guard | None = field(default=None, kw_only=True)

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

    def existing(self, names: Sequence[str]) -> list[str]:
        """Those of these files that exist. Nothing is listed, however many files the folder has."""
        if self.is_local:
            return [name for name in names if self.exists(name)]
        infos = self.filesystem.get_file_info([f"{self.path}/{name}" for name in names])
        return [name for name, info in zip(names, infos, strict=True) if info.type == fs.FileType.File]

    def is_no_file(self, name: str) -> bool:
        """True if a folder, a pipe or a device has this name. Reading a pipe may never end."""
        if self.is_local:
            place = f"{self.path}/{name}"
            return os.path.exists(place) and not os.path.isfile(place)
        kind = self.filesystem.get_file_info(f"{self.path}/{name}").type
        return kind not in (fs.FileType.File, fs.FileType.NotFound)

    def strangers(self) -> list[str]:
        """Names of what is no file in this folder, sorted, without hidden ones."""
        if self.is_local:
            with suppress(FileNotFoundError), os.scandir(self.path) as entries:
                return sorted(e.name for e in entries if not e.is_file() and not e.name.startswith("."))
            return []
        infos = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type != fs.FileType.File and not i.base_name.startswith("."))

    def read(self, name: str) -> bytes:
        if self.is_local:
            return Path(f"{self.path}/{name}").read_bytes()
        try:
            with self.filesystem.open_input_file(f"{self.path}/{name}") as stream:
                return bytes(stream.read())
        except OSError:
            if not self.exists(name):  # it was removed between a store's two requests
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self}/{name}") from None
            raise

    def read_as(self, name: str, parse: Callable[[bytes], T]) -> tuple[bytes, T]:
        """A file's bytes, and what `parse` makes of them. An object store has no consistent read: a file that is
        replaced while it is read may seem damaged, so then it is read again.

        Raises what `read` and `parse` raise: Damaged, if the file does not change.
        """
        content = self.read(name)
        while True:
            try:
                return content, parse(content)
            except Damaged:
                before = content
                if self.is_local or (content := self.read(name)) == before:
                    raise

    def write(self, name: str, content: bytes, durable: bool = False) -> None:
        """Write a file atomically: a rename on a disk, one PUT in an object store.

        durable: flush the file to the disk before its rename, and the folder after it: both outlive a power cut.
            Needed for results, and if other files are removed afterwards.
        """
        self._check_may_write(name)
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
                if durable:
                    _flush_folder(self.path)
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
        self._check_may_write(name)
        with suppress(FileNotFoundError):
            if self.is_local:
                os.unlink(f"{self.path}/{name}")
            else:
                self.filesystem.delete_file(f"{self.path}/{name}")

    def thin(self, prefix: str, keep: int = 0) -> None:
        """Remove the files whose names begin so, but for the last `keep`."""
        names = [name for name in self.names() if name.startswith(prefix)]
        for name in names[: len(names) - keep]:
            self.remove(name)

    def rotate(self, name: str, content: bytes, prefix: str, keep: int) -> None:
        """Write a file, then `thin`."""
        self.write(name, content)
        self.thin(prefix, keep)

    def apply(self, changes: Sequence[Change]) -> None:
        """Carry out changes of folders of this file system, one after the other, until one fails."""
        for folder, method, arguments in changes:
            getattr(folder, method)(*arguments)

    def set_aside(self, name: str, reason: str) -> None:
        """Move a damaged file to `aside` and print a message. If it cannot be moved, it stays where it is."""
        if self.reading:
            say(f"damaged: {self}/{name} ({reason}); it is not read")
            return
        aside = self.aside or f"{self.path}/damaged"
        moved = f"{self.path.rpartition('/')[2]}-{secrets.token_hex(2)}-{name}"
        say(f"damaged: {self}/{name} ({reason}); moved to {aside}/{moved}")
        with suppress(OSError):
            if self.is_local:
                os.makedirs(aside, exist_ok=True)
                os.replace(f"{self.path}/{name}", f"{aside}/{moved}")
            else:
                self.filesystem.create_dir(aside)
                self.filesystem.move(f"{self.path}/{name}", f"{aside}/{moved}")

    def _check_may_write(self, name: str) -> None:
        if self.reading:
            raise OSError(errno.EROFS, "this folder is only read", f"{self}/{name}")
        if self.guard and not self.guard.in_place():
            raise Moved(errno.ESTALE, "the folder of results was moved or removed during the run", f"{self}/{name}")


Change = tuple[Folder, str, tuple[Any, ...]]  # a folder, its method and the arguments: a letter, where it travels


def _flush_folder(path: str) -> None:
    """Flush a folder's names to the disk. Some file systems, and Windows, cannot; they keep names by other means."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def open_folder(place: str | os.PathLike[str], reading: bool = False) -> Folder:
    """The folder at a path, or at an `s3://` or `gs://` URI; it need not exist.

    reading: only read it, so that another run's folder, an archive or a read-only disk serves as well.

    Raises:
        UserError: `place` is no path, or pyarrow.fs does not support the URI.
    """
    try:
        place = checks.place(place)
    except ValueError as error:
        raise UserError(f"a folder of results is {PLACES}; it {error}") from None
    if "://" not in place and not place.lower().startswith(SCHEMES):
        path = os.path.abspath(os.path.expanduser(place)).replace(os.sep, "/")
        there = next(p for p in (Path(path), *Path(path).parents) if p.exists())
        if not there.is_dir():
            raise UserError(f"folder of results {shown(place)}: {there} is a file; name another folder")
        return Folder(fs.LocalFileSystem(), path, reading=reading)
    try:
        if place.lower().startswith("hf:"):  # pyarrow opens it, and fails at the first file
            raise ValueError("Hugging Face's storage holds no results")
        filesystem, path = fs.FileSystem.from_uri(place)
    except Exception as error:
        reason = without_values(str(error), [place])
        raise UserError(
            f"folder of results {shown(masked_value(place))} cannot be opened: {reason}; valid: {PLACES}"
        ) from None
    if not path.strip("/"):
        raise UserError(f"folder of results {shown(masked_value(place))} names no bucket or folder; valid: {PLACES}")
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
    """True if the disk is full, read-only or not permitted, or the folder gone, so that a retry would fail too."""
    return isinstance(error, Moved) or (isinstance(error, OSError) and error.errno in NOT_WRITABLE)


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
    known = None if isinstance(error, Moved) else EXPLAINED.get(error.errno or 0)
    return known or error.strerror or str(error)
