"""The cache of decoded folders."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scl.data import decode
from scl.data.named import load_dataset
from scl.errors import UserError
from tests.support.images import PIXELS, assert_same, encoded

pytestmark = pytest.mark.usefixtures("silent")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images decoded so far."""
    seen: list[str] = []
    pixels = decode._pixels
    monkeypatch.setattr(decode, "_pixels", lambda source, size: (seen.append(source[0]), pixels(source, size))[1])
    return seen


@pytest.mark.parametrize("layout", ["parquet", "files"])
def test_images_are_decoded_once(request: pytest.FixtureRequest, cache: Path, decoded: list[str], layout: str) -> None:
    folder = request.getfixturevalue(layout)
    first = load_dataset(str(folder), cache)
    assert decoded
    decoded.clear()
    assert_same(load_dataset(str(folder), cache), first)
    assert not decoded
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_a_moved_folder_is_not_decoded_again(files: Path, cache: Path, decoded: list[str]) -> None:
    load_dataset(str(files), cache)
    decoded.clear()
    moved = files.rename(files.with_name("moved"))
    assert load_dataset(str(moved), cache).name == str(moved)
    assert not decoded


def test_a_changed_file_is_decoded_again(files: Path, cache: Path) -> None:
    before = load_dataset(str(files), cache)
    path = files / "train/cat/0.png"
    path.write_bytes(encoded(PIXELS[5]))
    os.utime(path, ns=(1, 1))
    after = load_dataset(str(files), cache)
    assert before.fingerprint != after.fingerprint
    np.testing.assert_array_equal(after.train_images[0], PIXELS[5].transpose(2, 0, 1))


def test_folders_whose_files_agree_in_names_sizes_and_times_are_two(tmp_path: Path, cache: Path) -> None:
    """As copies that keep times do, or an archive unpacked over another."""
    folders = []
    for name, shift in (("one", 0), ("two", 1)):
        folder = tmp_path / name
        for part in ("train", "test"):
            for number, kind in enumerate(("cat", "dog")):
                path = folder / part / kind / "0.bmp"
                path.parent.mkdir(parents=True)
                path.write_bytes(encoded(PIXELS[number + shift], "BMP"))
                os.utime(path, ns=(1, 1))
        folders.append(folder)
    sizes = [sorted(p.stat().st_size for p in folder.rglob("*.bmp")) for folder in folders]
    assert sizes[0] == sizes[1]
    one, two = (load_dataset(str(folder), cache) for folder in folders)
    assert one.fingerprint != two.fingerprint
    swapped = folders[0].rename(tmp_path / "three")
    folders[1].rename(folders[0])
    assert load_dataset(str(folders[0]), cache).fingerprint == two.fingerprint
    assert load_dataset(str(swapped), cache).fingerprint == one.fingerprint


def test_a_file_that_was_changed_in_place_and_back_in_time_is_decoded_again(files: Path, cache: Path) -> None:
    path = files / "train/cat/0.png"
    content, before = path.read_bytes(), path.stat()
    load_dataset(str(files), cache)
    with open(path, "r+b") as file:  # the same inode
        file.write(encoded(PIXELS[5])[: len(content)].ljust(len(content), b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    np.testing.assert_array_equal(load_dataset(str(files), cache).train_images[0], PIXELS[5].transpose(2, 0, 1))


@pytest.mark.parametrize("place", ["train/cat/9.png", "test/dog/9.png"])
@pytest.mark.parametrize("link", [False, True])
def test_a_named_pipe_among_images_is_refused(files: Path, cache: Path, tmp_path: Path, place: str, link: bool) -> None:
    """It would be waited for without end."""
    pipe = files / "pipe" if link else files / place
    os.mkfifo(pipe)
    if link:
        (files / place).symlink_to(pipe)
    with pytest.raises(UserError, match=r"9\.png: no regular file, so it cannot be read as data"):
        load_dataset(str(files), cache)


@pytest.mark.parametrize("name", ["train.parquet", "train-00000-of-00001.parquet"])
def test_a_named_pipe_as_parquet_is_refused(tmp_path: Path, cache: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    os.mkfifo(tmp_path / name.replace("train", "test"))
    with pytest.raises(UserError, match=r"parquet: no regular file"):
        load_dataset(str(tmp_path), cache)


def flip_last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [
        flip_last_byte,
        lambda content: content[:-10],
        lambda content: b"",
        lambda content: b"\x80\x04 no safetensors file",
        lambda content: content.replace(b'"fingerprint"', b'"fingerprimt"'),
        lambda content: content.replace(b"train_labels", b"train_labelz"),
        lambda content: content.replace(rb"[\"cat\", \"dog\"]", rb'[\"cat\", \"dog" ]'),
    ],
)
def test_a_damaged_cache_is_rebuilt(
    files: Path, cache: Path, decoded: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = load_dataset(str(files), cache)
    [path] = cache.iterdir()
    good = path.read_bytes()
    bad = damage(good)
    assert bad != good
    path.write_bytes(bad)
    decoded.clear()
    assert_same(load_dataset(str(files), cache), first)
    assert decoded
    decoded.clear()
    assert_same(load_dataset(str(files), cache), first)
    assert not decoded


def test_a_cache_that_cannot_be_made_is_done_without(files: Path, tmp_path: Path, cache: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    assert_same(load_dataset(str(files), occupied), load_dataset(str(files), cache))


def test_a_full_disk_leaves_no_half_file(files: Path, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # the system assert_error to write more, as on a full disk
    try:
        dataset = load_dataset(str(files), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.iterdir()) == []
    assert_same(dataset, load_dataset(str(files), cache))
