"""The cache of decoded folders."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.data import cache as cache_module
from scl.data import decode
from scl.data.named import load_dataset
from scl.data.preprocessing import Preprocessing
from scl.data.stored import StoredImages
from scl.errors import RunFailed, UserError
from tests.support.images import PIXELS, assert_same, encoded

pytestmark = pytest.mark.usefixtures("silent")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images decoded so far."""
    seen: list[str] = []
    prepare = decode.prepare

    def counted(content: Any, how: Preprocessing, where: str) -> np.ndarray:
        seen.append(where)
        return prepare(content, how, where)

    monkeypatch.setattr(decode, "prepare", counted)
    return seen


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets stay in their files, however small they are."""
    monkeypatch.setattr(cache_module, "IN_MEMORY", 0)


@pytest.mark.parametrize("layout", ["parquet", "files"])
def test_images_are_decoded_once(request: pytest.FixtureRequest, cache: Path, decoded: list[str], layout: str) -> None:
    folder = request.getfixturevalue(layout)
    first = load_dataset(str(folder), cache)
    assert decoded
    decoded.clear()
    assert_same(load_dataset(str(folder), cache), first)
    assert not decoded
    (entry,) = cache.iterdir()
    assert sorted(os.listdir(entry)) == ["entry.safetensors", "test.npy", "train.npy"]
    assert np.array_equal(np.load(entry / "train.npy", mmap_mode="r"), first.train_images)


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


@pytest.mark.parametrize("form", ["small", "large"])
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train.npy", flip_last_byte),
        ("test.npy", lambda content: content[:-10]),
        ("test.npy", lambda content: content + b"more"),
        ("train.npy", lambda content: b""),
        ("train.npy", lambda content: content.replace(b"|u1", b"|i1")),
        ("train.npy", lambda content: content.replace(b"(4, 3, 8, 8)", b"(4, 8, 3, 8)")),
        ("train.npy", None),
        ("entry.safetensors", None),
        ("entry.safetensors", lambda content: content[:-10]),
        ("entry.safetensors", lambda content: b""),
        ("entry.safetensors", lambda content: b"\x80\x04 no safetensors file"),
        ("entry.safetensors", flip_last_byte),
        ("entry.safetensors", lambda content: content.replace(b'"sha256"', b'"sha255"')),
        ("entry.safetensors", lambda content: content.replace(b"train_labels", b"train_labelz")),
        ("entry.safetensors", lambda content: content.replace(b"dog", b"cow")),
    ],
)
def test_a_damaged_entry_is_rebuilt(
    request: pytest.FixtureRequest,
    files: Path,
    cache: Path,
    decoded: list[str],
    name: str,
    damage: Callable[[bytes], bytes] | None,
    form: str,
) -> None:
    if form == "large":
        request.getfixturevalue("large")
    first = load_dataset(str(files), cache)
    [entry] = cache.iterdir()
    path = entry / name
    if damage is None:
        path.unlink()
    else:
        good = path.read_bytes()
        path.write_bytes(damage(good))
        assert path.read_bytes() != good
    decoded.clear()
    assert_same(load_dataset(str(files), cache), first)
    assert decoded
    decoded.clear()
    assert_same(load_dataset(str(files), cache), first)
    assert not decoded
    assert list(cache.iterdir()) == [entry]


def test_a_large_set_has_the_fingerprint_and_the_pixels_of_a_small_one(
    files: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_dataset(str(files), cache)
    monkeypatch.setattr(cache_module, "IN_MEMORY", 0)
    for _ in range(2):  # from the entry of the small one, and its own
        large = load_dataset(str(files), cache)
        assert isinstance(large.train_images, StoredImages)
        assert large.fingerprint == small.fingerprint
        assert_same(large, small)
        shutil.rmtree(cache)


@pytest.mark.usefixtures("large")
def test_an_image_that_was_damaged_later_ends_the_run_and_is_decoded_again(files: Path, cache: Path) -> None:
    dataset = load_dataset(str(files), cache)
    assert isinstance(dataset.train_images, StoredImages)
    path = Path(dataset.train_images.path)
    path.write_bytes(flip_last_byte(path.read_bytes()))
    assert len(dataset.train_images[:3]) == 3
    with pytest.raises(
        RunFailed, match=r"train\.npy: image 3 differs from what was decoded; run the same command again"
    ):
        dataset.train_images[2:]
    again = load_dataset(str(files), cache)
    np.testing.assert_array_equal(again.train_images[3:], PIXELS[3:4].transpose(0, 3, 1, 2))


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("reason", ["no room", "no folder", "full"])
def test_a_large_set_without_room_is_refused_with_the_bytes_it_needs(
    files: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "no room":
        monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 100}))
    if reason == "no folder":
        cache.write_text("a file")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if reason == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        with pytest.raises(
            UserError, match=r"the decoded images \(8×8\) need 0.00 GB in .*; free some, give a smaller"
        ):
            load_dataset(str(files), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert reason == "no folder" or list(cache.iterdir()) == []


@pytest.mark.usefixtures("large")
def test_two_that_decode_at_once_leave_one_entry(files: Path, cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_dataset(str(files), cache), range(4)))
    for dataset in found:
        assert_same(dataset, found[0])
    assert len(list(cache.iterdir())) == 1


def test_what_a_killed_run_has_left_goes_after_an_hour(files: Path, cache: Path) -> None:
    for name, age in (("old", 4000), ("young", 100)):
        place = cache / f".{name}.1-aa.partial"
        place.mkdir(parents=True)
        (place / "train.npy").write_bytes(b"half")
        os.utime(place / "train.npy", (time.time() - age,) * 2)
    load_dataset(str(files), cache)
    assert sorted(path.name for path in cache.iterdir() if path.name.startswith(".")) == [".young.1-aa.partial"]


@pytest.mark.usefixtures("large")
def test_a_plan_decodes_a_sample_of_a_large_set(files: Path, cache: Path, decoded: list[str]) -> None:
    planned = load_dataset(str(files), cache, plan=True)
    assert planned.fingerprint == ""
    assert planned.decoding is not None
    assert not cache.exists()
    whole = load_dataset(str(files), cache)
    np.testing.assert_array_equal(planned.train_labels, whole.train_labels)
    assert planned.train_images.shape == whole.train_images.shape
    assert planned.classes == whole.classes
    decoded.clear()
    known = load_dataset(str(files), cache, plan=True)
    assert (known.fingerprint, known.decoding, decoded) == (whole.fingerprint, None, [])


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
