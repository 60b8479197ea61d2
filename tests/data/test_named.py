"""Loading data sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits

from scl.data.named import TORCHVISION, load_dataset
from scl.study.options import DATA
from tests.support.images import PIXELS, assert_error, assert_form

pytestmark = pytest.mark.usefixtures("silent")


def test_digits_are_all_there_scaled_and_split(cache: Path) -> None:
    digits = load_dataset("digits", cache)
    assert digits.train_images.shape == (1000, 1, 8, 8)
    assert digits.test_images.shape == (797, 1, 8, 8)
    assert digits.classes == tuple("0123456789")
    assert not digits.flip
    for size in ("1,797", "1,000", "797"):
        assert size in digits.note
    expected = {(d.astype(int).tobytes(), t) for d, t in zip(load_digits().images, load_digits().target, strict=True)}
    images = np.concatenate([digits.train_images, digits.test_images])[:, 0]
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    back = np.rint(images / 255 * 16).astype(int)
    assert {(d.tobytes(), t) for d, t in zip(back, labels, strict=True)} == expected
    assert {0, 16, 128, 255} <= set(np.unique(images))
    shares = np.bincount(digits.test_labels) / np.bincount(labels)
    assert np.abs(shares - 797 / 1797).max() < 1 / 170  # each class within one image of its share
    assert not cache.exists()


def test_digits_are_the_same_for_ever(cache: Path) -> None:
    """Pinned: another fingerprint gives every digits trial another id."""
    assert (
        load_dataset("digits", cache).fingerprint == "fb59a8da8f80da9855343f532e1f145b4f9a443c578aeb737043b76bfb3e4c2d"
    )


class FakeFashion:
    """torchvision.datasets.FashionMNIST, without the download."""

    classes = ("coat", "shoe")

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        print("Files already downloaded and verified")
        pixels = PIXELS if train else PIXELS[:2]
        self.data = torch.from_numpy(pixels[..., 0].copy())
        self.targets = torch.tensor([0, 1, 0, 1, 0, 1] if train else [0, 1])


def test_fashion_mnist_comes_from_torchvision(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", FakeFashion)
    dataset = load_dataset("fashion_mnist", cache)
    np.testing.assert_array_equal(dataset.train_images, PIXELS[..., 0][:, None])
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.test_labels.tolist() == [0, 1]
    assert (dataset.name, dataset.classes, dataset.flip) == ("fashion_mnist", ("coat", "shoe"), True)
    assert (cache / "torchvision").is_dir()
    assert_form(dataset)


@pytest.mark.parametrize(("name", "reader"), [("cifar10", "CIFAR10"), ("fashion_mnist", "FashionMNIST")])
def test_a_failed_download_says_so_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, cache: Path, name: str, reader: str
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", offline)
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "__init__", offline)
    assert_error(
        rf"--data {name}: the files cannot be downloaded or read \(.*no route.*{reader} into .*torchvision", name, cache
    )


@pytest.mark.parametrize("name", DATA)
def test_a_named_data_set_takes_no_label(name: str, cache: Path) -> None:
    assert_error("--label 'fine_label': .*drop --label", name, cache, "fine_label")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cifar1000",
            r"unknown data 'cifar1000' \(did you mean 'cifar100'\?\); valid: cifar100, .*no folder 'cifar1000'",
        ),
        ("", "unknown data ''"),
        ("~nobody-of-that-name/x", "unknown data '~nobody"),
        ("a\0b", "unknown data"),
        (__file__, "a file of this kind is not read as a data set; valid: a folder, or .parquet"),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str, cache: Path) -> None:
    assert_error(message, name, cache)


def test_a_folder_is_found_below_home(monkeypatch: pytest.MonkeyPatch, files: Path, cache: Path) -> None:
    monkeypatch.setenv("HOME", str(files.parent))
    assert load_dataset("~/pictures", cache).classes == ("cat", "dog")


def test_every_name_has_a_reader() -> None:
    assert set(DATA) == {"digits", *TORCHVISION}
