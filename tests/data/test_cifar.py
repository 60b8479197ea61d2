"""CIFAR's pickles: read, checked, and never executed."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from scl.data.named import load_dataset
from tests.support.images import assert_error, assert_form, noise

pytestmark = pytest.mark.usefixtures("silent")

PIXELS = noise((400, 3072))
LABELS = [i % 100 for i in range(400)]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch executed",))


@pytest.fixture(autouse=True)
def _nothing_is_executed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "executed").exists()


@pytest.fixture(params=["CIFAR10", "CIFAR100"])
def reader(request: pytest.FixtureRequest) -> Any:
    return getattr(torchvision.datasets, request.param)


def content_of(reader: Any) -> dict[str, Any]:
    """Files of the real layout: pixels shared out over the training files, class names in the last."""
    classes = 100 if reader is torchvision.datasets.CIFAR100 else 10
    key = "fine_labels" if classes == 100 else "labels"
    names = [name for name, _ in reader.train_list]
    labels = [label % classes for label in LABELS]
    size = len(PIXELS) // len(names)
    content: dict[str, Any] = {}
    for i, name in enumerate(names):
        part = slice(i * size, (i + 1) * size)
        content[name] = {"data": PIXELS[part], key: labels[part], "filenames": ["a.png"] * size}
    content[reader.test_list[0][0]] = {"data": PIXELS[:200], key: labels[:200]}
    content[reader.meta["filename"]] = {reader.meta["key"]: [f"c{i}" for i in range(classes)]}
    return content


def put(
    monkeypatch: pytest.MonkeyPatch, reader: Any, cache: Path, content: dict[str, Any], listed: bool = True
) -> Path:
    """Write the files; if `listed`, torchvision lists their checksums. Returns their folder."""
    folder = cache / "torchvision" / reader.base_folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in content.items():
        (folder / name).write_bytes(pickle.dumps(value, protocol=2))
    if listed:
        md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in content}
        for attribute in ("train_list", "test_list"):
            listing = [[name, md5[name]] for name, _ in getattr(reader, attribute)]
            monkeypatch.setattr(reader, attribute, listing)
        monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5[reader.meta["filename"]]})
    return folder


def download_is(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[str]:
    """Replace the download by `action`. Returns the list of addresses that it is called with."""
    called: list[str] = []

    def download(url: str, root: str, filename: str, md5: str) -> None:
        print("Downloading")
        called.append(url)
        action()

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", download)
    return called


def test_files_that_are_there_are_read_without_a_download(
    monkeypatch: pytest.MonkeyPatch, cache: Path, reader: Any
) -> None:
    put(monkeypatch, reader, cache, content_of(reader))
    called = download_is(monkeypatch, lambda: None)
    dataset = load_dataset(reader.__name__.lower(), cache)
    classes = len(dataset.classes)
    assert called == []
    np.testing.assert_array_equal(dataset.train_images.reshape(-1, 3072), PIXELS)
    np.testing.assert_array_equal(dataset.test_images.reshape(-1, 3072), PIXELS[:200])
    assert dataset.train_labels.tolist() == [label % classes for label in LABELS]
    assert dataset.classes == tuple(f"c{i}" for i in range(classes))
    assert dataset.flip
    assert_form(dataset)


def test_missing_and_damaged_files_are_downloaded(monkeypatch: pytest.MonkeyPatch, cache: Path, reader: Any) -> None:
    content = content_of(reader)
    folder = put(monkeypatch, reader, cache, content)
    called = download_is(monkeypatch, lambda: put(monkeypatch, reader, cache, content, listed=False))
    (folder / reader.test_list[0][0]).unlink()
    first = load_dataset(reader.__name__.lower(), cache)
    (folder / reader.train_list[0][0]).write_bytes(b"damaged")
    assert load_dataset(reader.__name__.lower(), cache).fingerprint == first.fingerprint
    assert called == [reader.url] * 2


def test_a_pickle_that_calls_something_is_refused_although_its_checksum_matches(
    monkeypatch: pytest.MonkeyPatch, cache: Path, reader: Any
) -> None:
    content = content_of(reader)
    content[reader.test_list[0][0]]["more"] = Evil()
    put(monkeypatch, reader, cache, content)
    assert_error("the file calls .*system", reader.__name__.lower(), cache)


def test_a_pickle_replaced_after_the_download_is_refused_by_its_checksum(
    monkeypatch: pytest.MonkeyPatch, cache: Path, reader: Any
) -> None:
    content = content_of(reader)
    put(monkeypatch, reader, cache, content)
    content[reader.train_list[0][0]]["more"] = Evil()
    download_is(monkeypatch, lambda: put(monkeypatch, reader, cache, content, listed=False))
    put(monkeypatch, reader, cache, content, listed=False)
    assert_error("the checksum of .* does not match", reader.__name__.lower(), cache)


def test_a_pickle_replaced_after_its_checksum_was_computed_is_not_read(
    monkeypatch: pytest.MonkeyPatch, cache: Path, reader: Any
) -> None:
    """The bytes that were checked are the bytes that are read."""
    folder = put(monkeypatch, reader, cache, content_of(reader))
    md5 = hashlib.md5

    def replace_then_md5(content: bytes, **options: bool) -> Any:
        for path in folder.iterdir():
            path.write_bytes(pickle.dumps(Evil(), protocol=2)) if path.read_bytes() == content else None
        return md5(content, **options)

    monkeypatch.setattr(hashlib, "md5", replace_then_md5)
    dataset = load_dataset(reader.__name__.lower(), cache)
    np.testing.assert_array_equal(dataset.train_images.reshape(-1, 3072), PIXELS)
    assert all(b"touch executed" in path.read_bytes() for path in folder.iterdir())
