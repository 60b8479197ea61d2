"""Folders and their atomic writes."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import fsspec.implementations.local
import pytest
from pyarrow import fs

from scl.errors import Damaged, UserError
from scl.store.files import Folder, check_writable, explain, not_writable, open_folder


def test_a_write_that_fails_leaves_the_old_file(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("x", b"old")

    def full(self: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        store.write("x", b"new")
    assert store.read("x") == b"old"
    assert [n for n in store.names() if n != "study.json"] == ["x"]


def test_out_that_cannot_be_opened_or_written() -> None:
    for uri in ("nonsense://x", "s3:///", "gs:///x", "file:x", "file://host/x", "s3:x", "S3:x", "http://h/x"):
        with pytest.raises(UserError, match=r"cannot be opened: .*; valid: a path, s3://BUCKET"):
            open_folder(uri)
    for uri in ("s3://", "gs://", "file:///"):
        with pytest.raises(UserError, match=r"names no bucket or folder; valid: a path, s3://BUCKET"):
            open_folder(uri)
    for place in ("", " ", "a\0b", "a\nb", "caf\udce9", "a" * 5000, 3, b"a", None):
        with pytest.raises(UserError, match=r"^a folder of results is a path, .*; it must "):
            open_folder(place)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="nowhere"):
        check_writable(open_folder("/proc/nowhere"))


def test_writes_reads_and_removals(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path)) / "a"
    assert folder.names() == []
    folder.write("x", b"1", durable=True)
    folder.write(".hidden", b"2")
    folder.write("x", b"3")
    assert (folder.names(), folder.read("x"), folder.exists("x"), folder.exists("y")) == (["x"], b"3", True, False)
    for _ in range(2):
        folder.remove("x")
    assert not folder.exists("x")


def test_what_must_outlive_a_power_cut_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    replace, fsync = os.replace, os.fsync

    def flushed(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(*paths: str) -> None:
        done.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    folder = open_folder(tmp_path)
    folder.write("x", b"1", durable=True)
    assert done == ["file", "rename", "folder"]
    folder.write("x", b"1")
    assert done[3:] == ["rename"]

    def cannot(handle: int) -> None:  # a file system that flushes no folders
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", cannot)
    folder.write("x", b"2", durable=True)
    assert folder.read("x") == b"2"


def test_a_folder_is_pickled_and_named(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert str(folder / "a") == f"{tmp_path}/a"
    assert open_folder("~/x").path == os.path.expanduser("~/x")


def test_a_damaged_file_is_moved_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = open_folder(str(tmp_path / "a"))
    folder.write("x", b"bad")
    folder.set_aside("x", "why")
    (moved,) = (folder / "damaged").names()
    assert (folder / "damaged").read(moved) == b"bad"
    assert capsys.readouterr().err == f"damaged: {folder}/x (why); moved to {folder}/damaged/{moved}\n"


@pytest.mark.parametrize(
    ("number", "refused", "said"),
    [
        (errno.ENOSPC, True, "free some space"),
        (errno.EROFS, True, "make it writable"),
        (errno.EDQUOT, True, "your quota on this disk is used up, so free"),
        (errno.EACCES, True, "you have no permission, so change its mode"),
        (errno.EPERM, True, "you have no permission, so change its mode"),
        (errno.ENOLCK, False, "no file locks, so mount it with locks"),
        (errno.EMFILE, False, "raise `ulimit -n`"),
        (errno.EFBIG, False, "raise `ulimit -f`"),
        (errno.ENAMETOOLONG, False, "so shorten the path"),
        (errno.ENOTDIR, False, "a part of this path is a file"),
        (errno.EISDIR, False, "a folder is in the place of this file"),
        (errno.EIO, False, "the disk or the network to it fails"),
        (errno.ESTALE, False, "mount that again"),
        (errno.ENOENT, False, "No such file or directory"),
    ],
)
def test_errors_of_the_disk_are_explained(number: int, refused: bool, said: str) -> None:
    error = OSError(number, os.strerror(number))
    assert not_writable(error) is refused
    assert said in explain(error)


def test_an_error_of_the_object_store_is_told_in_its_words() -> None:
    assert explain(OSError("AWS Error NO_SUCH_BUCKET")) == "AWS Error NO_SUCH_BUCKET"


@pytest.mark.parametrize("call", ["os.replace", "os.fsync", "pathlib.Path.write_bytes"])
def test_a_failed_write_names_the_file_and_leaves_nothing(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not its partial file, which nobody knows."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(call, full)
    with pytest.raises(OSError, match="No space left") as failed:
        open_folder(str(tmp_path)).write("trials.parquet", b"1", durable=True)
    assert failed.value.filename == f"{tmp_path}/trials.parquet"
    assert list(tmp_path.iterdir()) == []


class Changing(fsspec.implementations.local.LocalFileSystem):
    """An object store, in which a file may be removed or replaced between the requests of one reader."""

    def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
        if mode == "rb" and path.endswith("gone"):
            raise OSError("AWS Error NO_SUCH_KEY")
        return super().open(path, mode, **more)


def test_a_file_that_is_removed_while_it_is_read_is_missing(tmp_path: Path) -> None:
    folder = Folder(fs.PyFileSystem(fs.FSSpecHandler(Changing())), str(tmp_path))
    with pytest.raises(FileNotFoundError):
        folder.read("gone")
    (tmp_path / "gone").write_bytes(b"")
    with pytest.raises(OSError, match="NO_SUCH_KEY"):  # it is there, so this is another error
        folder.read("gone")


@pytest.mark.parametrize("local", [True, False])
def test_a_file_that_is_replaced_while_it_is_read_is_read_again(
    local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(str(tmp_path))
    monkeypatch.setattr(Folder, "is_local", property(lambda self: local))
    contents = [b"cut", b"cut again", b"whole"]
    monkeypatch.setattr(Folder, "read", lambda self, name: contents.pop(0) if len(contents) > 1 else contents[0])

    def parse(content: bytes) -> int:
        if content != b"whole":
            raise Damaged("it is cut off")
        return len(content)

    if local:
        with pytest.raises(Damaged):
            folder.read_as("x", parse)
        return
    assert folder.read_as("x", parse) == (b"whole", 5)
    contents[:] = [b"cut"]
    with pytest.raises(Damaged, match="cut off"):
        folder.read_as("x", parse)
