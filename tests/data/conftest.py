"""A cache, a folder of Parquet and a folder of images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import PIXELS, encoded, write_parquet


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Loading data prints nothing and raises no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="sklearn|torchvision|torch")
        yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Two training shards of three images and a test file of two, labels 3 and 7."""
    folder = tmp_path / "data"
    write_parquet(folder / "train-00000-of-00002.parquet", list(PIXELS[:3]), label=[7, 3, 7])
    write_parquet(folder / "train-00001-of-00002.parquet", list(PIXELS[3:]), label=[3, 3, 7])
    write_parquet(folder / "test-00000-of-00001.parquet", list(PIXELS[:2]), label=[7, 3])
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """An image folder: cat and dog, two training images and one test image each."""
    folder = tmp_path / "pictures"
    for index, name in enumerate(
        ("train/cat/0", "train/cat/1", "train/dog/0", "train/dog/1", "test/cat/0", "test/dog/0")
    ):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(PIXELS[index]))
    return folder
