"""Reading data sets: by name, from Parquet, from image files, and from the cache."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

from scl import folders
from scl.config import UserError
from scl.datasets import NAMES, Dataset, load

CIFAR100 = Path(__file__).parents[2] / "shared" / "data" / "cifar100"
needs_cifar100 = pytest.mark.skipif(not CIFAR100.is_dir(), reason=f"CIFAR-100 is not at {CIFAR100}")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Reading data prints nothing and warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module="sklearn|torchvision|torch")
        yield
    assert capfd.readouterr() == ("", "")


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(
    path: Path, images: list[Any], column: str = "img", names: dict[str, Any] | None = None, **labels: list[Any]
) -> None:
    """A file as Hugging Face writes it; an image is (H, W[, 3]) pixels, encoded bytes, or None."""
    content = [encoded(image) if isinstance(image, np.ndarray) else image for image in images]
    structs = [None if c is None else {"bytes": c, "path": f"{i}.png"} for i, c in enumerate(content)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(structs, kind), **{k: pa.array(v) for k, v in labels.items()}})
    if names is not None:
        features = {k: {"names": v, "_type": "ClassLabel"} for k, v in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


PIXELS = noise((6, 8, 8, 3))


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


def channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(0, 3, 1, 2)


def refuses(message: str, folder: Path | str, cache: Path, label: str | None = None) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(str(folder), cache, label)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------- by name


def test_digits_are_all_there_scaled_and_split(cache: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load("digits", cache)
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
    assert load("digits", cache).fingerprint == "fb59a8da8f80da9855343f532e1f145b4f9a443c578aeb737043b76bfb3e4c2d"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch executed",))


def test_cifar_s_pickles_hold_arrays_and_nothing_that_runs(
    monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path
) -> None:
    """Files of the real layout; torchvision's own checks are off, as if the file had changed after them."""
    monkeypatch.chdir(tmp_path)
    for name in ("download", "_check_integrity"):
        monkeypatch.setattr(torchvision.datasets.CIFAR100, name, lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: True)
    place = cache / "torchvision" / "cifar-100-python"
    place.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 3072), dtype=np.uint8)
    part = {"data": pixels, "fine_labels": [i % 100 for i in range(200)], "filenames": ["a.png"] * 200}
    for name, content in (
        ("train", part),
        ("test", part),
        ("meta", {"fine_label_names": [f"c{i}" for i in range(100)]}),
    ):
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    assert (load("cifar100", cache).train_images.reshape(200, -1) == pixels).all()
    (place / "test").write_bytes(pickle.dumps({**part, "more": Evil()}, protocol=2))
    refuses("it wants to call .*system", "cifar100", cache)
    assert not (tmp_path / "executed").exists()


class FakeCifar:
    """torchvision.datasets.CIFAR100, without the download."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert download
        print("Files already downloaded and verified")
        self.root = root
        self.data = PIXELS if train else PIXELS[:2]
        self.targets = [0, 1, 0, 1, 0, 1] if train else [0, 1]
        self.classes = ["apple", "bear"]


class FakeFashion(FakeCifar):
    def __init__(self, root: str, train: bool, download: bool) -> None:
        super().__init__(root, train, download)
        self.data = torch.from_numpy(self.data[..., 0].copy())
        self.targets = torch.tensor(self.targets)


@pytest.mark.parametrize(("name", "reader"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_comes_from_torchvision(monkeypatch: pytest.MonkeyPatch, cache: Path, name: str, reader: str) -> None:
    monkeypatch.setattr(torchvision.datasets, reader, FakeCifar)
    dataset = load(name, cache)
    np.testing.assert_array_equal(dataset.train_images, channels_first(PIXELS))
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.test_labels.tolist() == [0, 1]
    assert (dataset.name, dataset.classes, dataset.flip) == (name, ("apple", "bear"), True)
    assert (cache / "torchvision").is_dir()
    check_form(dataset)


def test_fashion_mnist_comes_from_torchvision(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", FakeFashion)
    dataset = load("fashion_mnist", cache)
    np.testing.assert_array_equal(dataset.train_images, PIXELS[..., 0][:, None])
    assert dataset.flip
    check_form(dataset)


def check_form(dataset: Dataset) -> None:
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert labels.dtype == np.int64
        assert images.ndim == 4
        assert len(images) == len(labels)
        assert set(labels.tolist()) == set(range(len(dataset.classes)))


def test_a_failed_download_says_so_and_the_way_out(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def offline(**_: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", offline)
    refuses(r"--data cifar10: the download failed \(URLError: .*no route.*CIFAR10 into .*torchvision", "cifar10", cache)


@pytest.mark.parametrize("name", NAMES)
def test_a_named_data_set_takes_no_label(name: str, cache: Path) -> None:
    refuses("--label 'fine_label': .*drop --label", name, cache, "fine_label")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cifar1000",
            r"unknown data 'cifar1000' \(did you mean 'cifar100'\?\); valid: digits, .*no folder 'cifar1000'",
        ),
        ("", "unknown data ''"),
        ("~nobody-of-that-name/x", "unknown data '~nobody"),
        ("a\0b", "unknown data"),
        (__file__, r"a file, not a folder"),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str, cache: Path) -> None:
    refuses(message, name, cache)


def test_a_folder_is_found_below_home(monkeypatch: pytest.MonkeyPatch, files: Path, cache: Path) -> None:
    monkeypatch.setenv("HOME", str(files.parent))
    assert load("~/pictures", cache).classes == ("cat", "dog")


# ----------------------------------------------------------------------------------------------------- Parquet


def test_parquet_is_read(parquet: Path, cache: Path) -> None:
    dataset = load(str(parquet), cache)
    np.testing.assert_array_equal(dataset.train_images, channels_first(PIXELS))
    np.testing.assert_array_equal(dataset.test_images, channels_first(PIXELS[:2]))
    assert dataset.train_labels.tolist() == [1, 0, 1, 0, 0, 1]
    assert dataset.test_labels.tolist() == [1, 0]
    assert dataset.classes == ("3", "7")
    assert dataset.flip
    assert "6 training and 2 test images of 8×8 pixels" in dataset.note
    assert "Only" not in dataset.note
    check_form(dataset)


def test_single_files_and_a_column_called_image(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "data"
    for part in ("train", "test"):
        write_parquet(folder / f"{part}.parquet", list(PIXELS[:2]), "image", label=[0, 1])
    np.testing.assert_array_equal(load(str(folder), cache).test_images, channels_first(PIXELS[:2]))


def test_more_images_than_one_chunk_keep_their_order(tmp_path: Path, cache: Path) -> None:
    pixels = noise((1500, 4, 5))
    for part in ("train", "test"):
        write_parquet(tmp_path / "data" / f"{part}.parquet", list(pixels), label=[0, 1] * 750)
    np.testing.assert_array_equal(load(str(tmp_path / "data"), cache).train_images[:, 0], pixels)


@pytest.mark.parametrize("names", [["ant", "bee", "cow"], {"0": "ant", "1": "bee", "2": "cow"}])
def test_class_names_come_from_the_metadata(tmp_path: Path, cache: Path, names: Any) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"d/{part}.parquet", list(PIXELS[:2]), names={"label": names}, label=[2, 0])
    assert load(str(tmp_path / "d"), cache).classes == ("ant", "cow")


@pytest.mark.parametrize(
    "metadata", ["{", "[]", '{"info": {"features": {"label": {"dtype": "int64"}}}}', '{"info": 3}']
)
def test_metadata_without_names_gives_the_values(tmp_path: Path, cache: Path, metadata: str) -> None:
    for part in ("train", "test"):
        path = tmp_path / f"d/{part}.parquet"
        write_parquet(path, list(PIXELS[:2]), label=[2, 0])
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert load(str(tmp_path / "d"), cache).classes == ("0", "2")


def test_one_of_several_label_columns_is_chosen(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "data"
    for part in ("train", "test"):
        write_parquet(folder / f"{part}.parquet", list(PIXELS[:3]), fine_label=[0, 1, 2], coarse_label=[1, 0, 1])
    refuses("several label columns; choose one with --label: fine_label, coarse_label", folder, cache)
    refuses(r"--label: unknown label column 'fine_labels' \(did you mean 'fine_label'", folder, cache, "fine_labels")
    refuses("--label: unknown label column 'img'", folder, cache, "img")
    fine, coarse = load(str(folder), cache, "fine_label"), load(str(folder), cache, "coarse_label")
    assert len(fine.classes) == 3
    assert coarse.train_labels.tolist() == [1, 0, 1]
    assert fine.fingerprint != coarse.fingerprint
    assert "coarse_label" in coarse.note


def test_missing_shards_are_told_in_the_note(parquet: Path, cache: Path) -> None:
    (parquet / "train-00001-of-00002.parquet").unlink()
    assert "Only 1 of the 2 train files are there." in load(str(parquet), cache).note


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_parquet_folder_needs_both_parts(parquet: Path, cache: Path, part: str) -> None:
    for path in parquet.glob(f"{part}-*"):
        path.unlink()
    refuses(rf"{part}-\*\.parquet is not; a data set needs both", parquet, cache)


def test_two_ways_of_naming_the_shards_at_once_are_refused(parquet: Path, cache: Path) -> None:
    shutil.copy(parquet / "test-00000-of-00001.parquet", parquet / "test.parquet")
    refuses("both test.parquet and test-00000-of-00001.parquet", parquet, cache)


@pytest.mark.parametrize(
    "layout",
    [
        {"train": "data/train-00000-of-00001.parquet", "test": "data/test-00000-of-00001.parquet"},
        {"train": "cifar100/train-00000-of-00001.parquet", "test": "cifar100/test-00000-of-00001.parquet"},
        {"train": "default/train/0000.parquet", "test": "default/test/0000.parquet"},
        {"train": "train/0000.parquet", "test": "test/0000.parquet"},
        {"train": "data/train-00000-of-00001.parquet", "test": "data/valid-00000-of-00001.parquet"},
        {"train": "validation-test/train.parquet", "test": "validation-test/validation.parquet"},
    ],
)
def test_folders_of_the_hub_are_found_as_they_are_downloaded(
    tmp_path: Path, cache: Path, layout: dict[str, str]
) -> None:
    folder = tmp_path / "hub"
    write_parquet(folder / layout["train"], list(PIXELS[:4]), "image", label=[0, 1, 0, 1])
    write_parquet(folder / layout["test"], list(PIXELS[4:]), "image", label=[0, 1])
    (folder / "README.md").write_text("a card")
    (folder / ".git").mkdir()
    found = load(str(folder), cache)
    assert (len(found.train_images), len(found.test_images)) == (4, 2)
    assert ("validation part" in found.note) == ("val" in Path(layout["test"]).name)


def test_two_data_sets_in_a_folder_are_asked_about(tmp_path: Path, cache: Path) -> None:
    for name in ("fine", "coarse"):
        for part in ("train", "test"):
            write_parquet(tmp_path / "hub" / name / f"{part}.parquet", list(PIXELS[:2]), label=[0, 1])
    refuses(r"several data sets.*give one of them: .*/coarse, .*/fine", tmp_path / "hub", cache)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def overwrite_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_off, overwrite_pages, empty])
@pytest.mark.parametrize("shard", ["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"])
def test_a_damaged_shard_is_named(parquet: Path, cache: Path, shard: str, damage: Callable[[Path], None]) -> None:
    damage(parquet / f"{shard}.parquet")
    refuses(rf"{shard}\.parquet: cannot be read as Parquet .*fetch it again", parquet, cache)


SECOND = "train-00001-of-00002.parquet"


def rewrite(parquet: Path, image: Any, label: int | None = 3, name: str = SECOND) -> None:
    """Puts one image and label into row 1 of a shard of three rows."""
    write_parquet(parquet / name, [PIXELS[3], image, PIXELS[5]], label=[3, label, 7])


def test_a_null_label_is_named(parquet: Path, cache: Path) -> None:
    rewrite(parquet, PIXELS[4], None)
    refuses(rf"{SECOND}, row 1: the label \(label\) is null", parquet, cache)


def test_a_null_image_is_named(parquet: Path, cache: Path) -> None:
    rewrite(parquet, None)
    refuses(f"{SECOND}, row 1: the image is null", parquet, cache)


def test_an_image_with_null_bytes_is_named(parquet: Path, cache: Path) -> None:
    path = parquet / SECOND
    rewrite(parquet, b"x")
    table = pq.read_table(path)
    images = [{**image, "bytes": None} if i == 1 else image for i, image in enumerate(table["img"].to_pylist())]
    pq.write_table(table.set_column(0, "img", pa.array(images, table["img"].type)), path)
    refuses(f"{SECOND}, row 1: the image is null", parquet, cache)


@pytest.mark.parametrize(
    "content", [b"", b"no image", encoded(PIXELS[4])[:60], encoded(Image.fromarray(PIXELS[4]), "GIF")]
)
def test_a_corrupt_image_is_named(parquet: Path, cache: Path, content: bytes) -> None:
    rewrite(parquet, content)
    refuses(f"{SECOND}, row 1: cannot be decoded as a PNG, JPEG, BMP or WebP image", parquet, cache)


def test_a_row_is_counted_over_chunks(tmp_path: Path, cache: Path) -> None:
    images = list(noise((1300, 4, 4)))
    for part in ("train", "test"):
        write_parquet(tmp_path / f"d/{part}.parquet", [*images, b"bad"], label=[0, 1] * 650 + [0])
    refuses("train.parquet, row 1300: cannot be decoded", tmp_path / "d", cache)


def test_an_image_of_another_size_is_named(parquet: Path, cache: Path) -> None:
    rewrite(parquet, noise((8, 9, 3)))
    refuses(f"{SECOND}, row 1: an image of 8×9 pixels; the first is 8×8", parquet, cache)


def test_test_images_of_another_size_are_named(parquet: Path, cache: Path) -> None:
    write_parquet(parquet / "test-00000-of-00001.parquet", list(noise((2, 16, 16, 3))), label=[3, 7])
    refuses("test-00000-of-00001.parquet, row 0: an image of 16×16 pixels; the first is 8×8", parquet, cache)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 2], [0, 1, 1], "test lacks labels that train has: 2;"),
        ([0, 1, 1], [0, 1, -1], "train lacks labels that test has: -1;"),
        ([0, 1, 2], [5, 5, 5], "test lacks labels that train has: 0, 1, 2;"),
        ([4, 4, 4], [4, 4, 4], "number of classes: 1; a classifier needs at least 2"),
    ],
)
def test_labels_must_agree(tmp_path: Path, cache: Path, train: list[int], test: list[int], message: str) -> None:
    for part, labels in (("train", train), ("test", test)):
        write_parquet(tmp_path / f"d/{part}.parquet", list(PIXELS[:3]), label=labels)
    refuses(message, tmp_path / "d", cache)


def test_many_labels_are_shortened(tmp_path: Path, cache: Path) -> None:
    write_parquet(tmp_path / "d/train.parquet", list(noise((15, 4, 4))), label=list(range(15)))
    write_parquet(tmp_path / "d/test.parquet", list(noise((2, 4, 4))), label=[0, 1])
    refuses("train has: 2, 3, .*, 11 and 3 more;", tmp_path / "d", cache)


def test_a_part_without_rows_is_refused(parquet: Path, cache: Path) -> None:
    path = parquet / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    refuses("the test part has no rows", parquet, cache)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 1)])
def test_tiny_images_are_refused(tmp_path: Path, cache: Path, shape: tuple[int, int]) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"d/{part}.parquet", list(noise((2, *shape))), label=[0, 1])
    refuses(f"train.parquet, row 0: an image of {shape[0]}×{shape[1]} pixels; .*at least 4×4", tmp_path / "d", cache)


def test_the_columns_are_checked(tmp_path: Path, cache: Path) -> None:
    def table(**columns: Any) -> Path:
        folder = tmp_path / "-".join(columns)
        folder.mkdir()
        for part in ("train", "test"):
            pq.write_table(pa.table(columns), folder / f"{part}.parquet")
        return folder

    image = pa.array([{"bytes": encoded(PIXELS[0])}] * 2)
    text = pa.array([{"path": "x"}] * 2)
    assert len(load(str(table(photo=image, label=[0, 1])), cache).test_images) == 2  # any name, where there is one
    refuses("several image columns; .*: left, right, label", table(left=image, right=image, label=[0, 1]), cache)
    refuses("no image column; .*the columns are: img, label", table(img=text, label=[0, 1]), cache)
    refuses("several image columns; there must be exactly one", table(img=image, image=image, label=[0, 1]), cache)
    refuses("no label column, which holds integers; .*: img, kind", table(img=image, kind=["a", "b"]), cache)


def test_every_shard_needs_the_columns(parquet: Path, cache: Path) -> None:
    write_parquet(parquet / SECOND, list(PIXELS[:2]), labels=[3, 7])
    refuses(f"{SECOND}: no column 'label'", parquet, cache)
    write_parquet(parquet / SECOND, list(PIXELS[:2]), label=["3", "7"])
    refuses(f"{SECOND}: column 'label' holds string, not integers", parquet, cache)
    write_parquet(parquet / SECOND, list(PIXELS[:2]), "picture", label=[3, 7])
    refuses(f"{SECOND}: no image column", parquet, cache)


# ------------------------------------------------------------------------------------------------ image folder


def test_image_files_are_read(files: Path, cache: Path) -> None:
    (files / "train/dog/notes.txt").write_text("not an image")
    (files / "train/.hidden").mkdir()
    (files / "train/README").write_text("not a class")
    dataset = load(str(files), cache)
    np.testing.assert_array_equal(dataset.train_images, channels_first(PIXELS[:4]))
    np.testing.assert_array_equal(dataset.test_images, channels_first(PIXELS[4:]))
    assert dataset.train_labels.tolist() == [0, 0, 1, 1]
    assert dataset.classes == ("cat", "dog")
    assert dataset.flip
    check_form(dataset)


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("JPEG", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP")])
def test_other_formats(files: Path, cache: Path, suffix: str, kind: str) -> None:
    content = encoded(PIXELS[0], kind)
    for path in list(files.rglob("*.png")):
        path.unlink()
        path.with_suffix(f".{suffix}").write_bytes(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(load(str(files), cache).train_images[3], expected)


def test_the_same_images_have_one_fingerprint_in_either_layout(files: Path, tmp_path: Path, cache: Path) -> None:
    write_parquet(tmp_path / "p/train.parquet", list(PIXELS[:4]), label=[0, 0, 1, 1])
    write_parquet(tmp_path / "p/test.parquet", list(PIXELS[4:]), label=[0, 1])
    assert load(str(files), cache).fingerprint == load(str(tmp_path / "p"), cache).fingerprint


def put_everywhere(files: Path, image: Image.Image) -> None:
    for path in files.rglob("*.png"):
        path.write_bytes(encoded(image))


GREY = noise((8, 8))


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_images_have_one_channel(files: Path, cache: Path, mode: str) -> None:
    image = Image.fromarray(GREY).convert(mode)
    put_everywhere(files, image)
    dataset = load(str(files), cache)
    expected = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(dataset.train_images, np.broadcast_to(expected, (4, 1, 8, 8)))
    assert "grey" in dataset.note
    check_form(dataset)


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_palettes_and_transparency_become_rgb(files: Path, cache: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS[0]).convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes(range(256))
    put_everywhere(files, image)
    dataset = load(str(files), cache)
    expected = np.asarray(image.convert("RGBA"))[..., :3].transpose(2, 0, 1)
    np.testing.assert_array_equal(dataset.train_images, np.broadcast_to(expected, (4, 3, 8, 8)))


@pytest.mark.parametrize("place", ["train/cat/1.png", "test/dog/0.png"])
def test_a_single_colour_image_makes_all_rgb(files: Path, cache: Path, place: str) -> None:
    put_everywhere(files, Image.fromarray(GREY))
    (files / place).write_bytes(encoded(PIXELS[0]))
    dataset = load(str(files), cache)
    np.testing.assert_array_equal(dataset.train_images[0], np.stack([GREY] * 3))
    images = {"train/cat/1.png": dataset.train_images[1], "test/dog/0.png": dataset.test_images[1]}
    np.testing.assert_array_equal(images[place], PIXELS[0].transpose(2, 0, 1))
    check_form(dataset)


def test_sixteen_bits_are_refused(files: Path, cache: Path) -> None:
    (files / "train/dog/1.png").write_bytes(encoded(noise((8, 8)).astype(np.uint16) * 257))
    refuses("train/dog/1.png: pixels of more than 8 bits", files, cache)


def test_a_corrupt_file_is_named(files: Path, cache: Path) -> None:
    cut = (files / "test/dog/0.png").read_bytes()[:60]
    (files / "test/dog/0.png").write_bytes(cut)
    refuses("test/dog/0.png: cannot be decoded", files, cache)


@pytest.mark.parametrize("pixels", [100, 150])  # Pillow raises an error above 2 × the limit, and warns above it
def test_decompression_bombs_are_refused(
    monkeypatch: pytest.MonkeyPatch, files: Path, cache: Path, pixels: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    (files / "train/dog/0.png").write_bytes(encoded(noise((16, 16, 3))))
    refuses("train/dog/0.png: cannot be decoded .*DecompressionBomb", files, cache)


def test_links_that_lead_out_of_the_folder_are_refused(files: Path, tmp_path: Path, cache: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(PIXELS[0]))
    link = files / "train/cat/2.png"
    link.symlink_to(secret)
    refuses("train/cat/2.png: a link that leads out of", files, cache)
    link.unlink()
    shutil.move(files / "train/cat", tmp_path / "elsewhere")
    (files / "train/cat").symlink_to(tmp_path / "elsewhere")
    refuses("train/cat: a link that leads out of", files, cache)


def test_links_within_the_folder_and_to_the_folder_are_followed(files: Path, tmp_path: Path, cache: Path) -> None:
    (files / "train/cat/2.png").symlink_to(files / "train/cat/0.png")
    (tmp_path / "link").symlink_to(files)
    dataset = load(str(tmp_path / "link"), cache)
    np.testing.assert_array_equal(dataset.train_images[2], dataset.train_images[0])


def test_a_dead_link_is_named(files: Path, cache: Path) -> None:
    (files / "train/cat/2.png").symlink_to("gone.png")
    refuses("train/cat/2.png cannot be read: No such file", files, cache)


def test_an_empty_class_is_named(files: Path, cache: Path) -> None:
    (files / "train/dog/0.png").rename(files / "train/dog/0.txt")
    (files / "train/dog/1.png").unlink()
    refuses("train/dog: no image in this class folder", files, cache)


@pytest.mark.parametrize(("part", "other"), [("train", "test"), ("test", "train")])
def test_classes_must_agree(files: Path, cache: Path, part: str, other: str) -> None:
    (files / part / "elk").mkdir()
    (files / part / "elk/0.png").write_bytes(encoded(PIXELS[0]))
    refuses(f"{other} lacks labels that {part} has: elk;", files, cache)


def test_one_class_is_refused(files: Path, cache: Path) -> None:
    for part in ("train", "test"):
        shutil.rmtree(files / part / "dog")
    refuses("number of classes: 1", files, cache)


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_folder_needs_both_parts(files: Path, cache: Path, part: str) -> None:
    shutil.rmtree(files / part)
    refuses(f"{part}/ is not; a data set needs both", files, cache)


def test_an_image_folder_takes_no_label(files: Path, cache: Path) -> None:
    refuses("--label 'fine_label': .*class folders; drop --label", files, cache, "fine_label")


def test_a_folder_with_neither_layout_is_refused(tmp_path: Path, cache: Path) -> None:
    refuses("no data set found in this folder; it must hold Parquet files train-", tmp_path, cache)


# ------------------------------------------------------------------------------------------------------- cache


def same(a: Dataset, b: Dataset) -> bool:
    arrays = ("train_images", "train_labels", "test_images", "test_labels")
    rest = ("name", "classes", "flip", "note", "fingerprint")
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in arrays) and all(
        getattr(a, f) == getattr(b, f) for f in rest
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images decoded so far."""
    seen: list[str] = []
    pixels = folders._pixels
    monkeypatch.setattr(folders, "_pixels", lambda source, size: (seen.append(source[0]), pixels(source, size))[1])
    return seen


@pytest.mark.parametrize("layout", ["parquet", "files"])
def test_images_are_decoded_once(request: pytest.FixtureRequest, cache: Path, decoded: list[str], layout: str) -> None:
    folder = request.getfixturevalue(layout)
    first = load(str(folder), cache)
    assert decoded
    decoded.clear()
    assert same(load(str(folder), cache), first)
    assert not decoded
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_a_moved_folder_is_not_decoded_again(files: Path, cache: Path, decoded: list[str]) -> None:
    load(str(files), cache)
    decoded.clear()
    moved = files.rename(files.with_name("moved"))
    assert load(str(moved), cache).name == str(moved)
    assert not decoded


def test_a_changed_file_is_decoded_again(files: Path, cache: Path) -> None:
    before = load(str(files), cache)
    path = files / "train/cat/0.png"
    path.write_bytes(encoded(PIXELS[5]))
    os.utime(path, ns=(1, 1))
    after = load(str(files), cache)
    assert before.fingerprint != after.fingerprint
    np.testing.assert_array_equal(after.train_images[0], PIXELS[5].transpose(2, 0, 1))


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
    first = load(str(files), cache)
    [path] = cache.iterdir()
    good = path.read_bytes()
    bad = damage(good)
    assert bad != good
    path.write_bytes(bad)
    decoded.clear()
    assert same(load(str(files), cache), first)
    assert decoded
    decoded.clear()
    assert same(load(str(files), cache), first)
    assert not decoded


def test_a_cache_that_cannot_be_made_is_done_without(files: Path, tmp_path: Path, cache: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file")
    assert same(load(str(files), occupied), load(str(files), cache))


def test_a_full_disk_leaves_no_half_file(files: Path, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # the system refuses to write more, as on a full disk
    try:
        dataset = load(str(files), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache.iterdir()) == []
    assert same(dataset, load(str(files), cache))


# --------------------------------------------------------------------------------------------------- CIFAR-100


@needs_cifar100
def test_a_slice_of_cifar100(tmp_path: Path, cache: Path) -> None:
    tables = {}
    for part in ("train", "test"):
        [source, *_] = sorted(CIFAR100.glob(f"{part}-*"))
        with pq.ParquetFile(source) as file:
            tables[part] = pa.Table.from_batches([next(file.iter_batches(300))], file.schema_arrow)
        (tmp_path / "c").mkdir(exist_ok=True)
        pq.write_table(tables[part], tmp_path / "c" / source.name)
    dataset = load(str(tmp_path / "c"), cache, "coarse_label")
    assert dataset.train_images.shape == (300, 3, 32, 32)
    assert len(dataset.classes) == 20
    assert dataset.classes[0] == "aquatic_mammals"
    assert dataset.test_labels.tolist() == tables["test"]["coarse_label"].to_pylist()
    for index in (0, 7, 299):
        content = tables["train"]["img"][index]["bytes"].as_py()
        expected = torchvision.io.decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        np.testing.assert_array_equal(dataset.train_images[index], expected.numpy())
    assert "Only 1 of the 4 train files are there." in dataset.note


@pytest.mark.slow
@needs_cifar100
def test_the_whole_of_cifar100(cache: Path) -> None:
    dataset = load(str(CIFAR100), cache, "fine_label")
    assert dataset.train_images.shape == (50_000, 3, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [500] * 100
    assert np.bincount(dataset.test_labels).tolist() == [100] * 100
    assert dataset.classes[:2] == ("apple", "aquarium_fish")
    mean = dataset.train_images.mean((0, 2, 3)) / 255
    np.testing.assert_allclose(mean, [0.5071, 0.4867, 0.4408], atol=2e-4)  # as published
    check_form(dataset)
