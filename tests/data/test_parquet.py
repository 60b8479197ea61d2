"""Parquet folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision

from scl.data.named import load_dataset
from tests.support.images import (
    PIXELS,
    SECOND,
    assert_error,
    assert_form,
    channels_first,
    encoded,
    put_into_second,
    write_parquet,
)
from tests.support.layouts import Make, change, refused, two_saved

CIFAR100 = Path(__file__).parents[3] / "shared" / "data" / "cifar100"
needs_cifar100 = pytest.mark.skipif(not CIFAR100.is_dir(), reason=f"CIFAR-100 is not at {CIFAR100}")

pytestmark = pytest.mark.usefixtures("silent")


def test_parquet_is_read(parquet: Path, cache: Path) -> None:
    dataset = load_dataset(str(parquet), cache)
    np.testing.assert_array_equal(dataset.train_images, channels_first(PIXELS))
    np.testing.assert_array_equal(dataset.test_images, channels_first(PIXELS[:2]))
    assert dataset.train_labels.tolist() == [1, 0, 1, 0, 0, 1]
    assert dataset.test_labels.tolist() == [1, 0]
    assert dataset.classes == ("3", "7")
    assert dataset.flip
    assert "6 training and 2 test images of 8×8 pixels" in dataset.note
    assert "Only" not in dataset.note
    assert_form(dataset)


def test_single_files_and_a_column_called_image(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "data"
    for part in ("train", "test"):
        write_parquet(folder / f"{part}.parquet", list(PIXELS[:2]), "image", label=[0, 1])
    np.testing.assert_array_equal(load_dataset(str(folder), cache).test_images, channels_first(PIXELS[:2]))


@pytest.mark.parametrize("names", [["ant", "bee", "cow"], {"0": "ant", "1": "bee", "2": "cow"}])
def test_class_names_come_from_the_metadata(tmp_path: Path, cache: Path, names: Any) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"d/{part}.parquet", list(PIXELS[:2]), names={"label": names}, label=[2, 0])
    assert load_dataset(str(tmp_path / "d"), cache).classes == ("ant", "cow")


@pytest.mark.parametrize(
    "metadata", ["{", "[]", '{"info": {"features": {"label": {"dtype": "int64"}}}}', '{"info": 3}']
)
def test_metadata_without_names_gives_the_values(tmp_path: Path, cache: Path, metadata: str) -> None:
    for part in ("train", "test"):
        path = tmp_path / f"d/{part}.parquet"
        write_parquet(path, list(PIXELS[:2]), label=[2, 0])
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert load_dataset(str(tmp_path / "d"), cache).classes == ("0", "2")


def test_one_of_several_label_columns_is_chosen(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "data"
    for part in ("train", "test"):
        write_parquet(folder / f"{part}.parquet", list(PIXELS[:3]), fine_label=[0, 1, 2], coarse_label=[1, 0, 1])
    assert_error("several label columns; choose one with --label: fine_label, coarse_label", folder, cache)
    assert_error(
        r"--label: unknown label column 'fine_labels' \(did you mean 'fine_label'", folder, cache, "fine_labels"
    )
    assert_error("--label: unknown label column 'img'", folder, cache, "img")
    fine, coarse = load_dataset(str(folder), cache, "fine_label"), load_dataset(str(folder), cache, "coarse_label")
    assert len(fine.classes) == 3
    assert coarse.train_labels.tolist() == [1, 0, 1]
    assert fine.fingerprint != coarse.fingerprint
    assert "coarse_label" in coarse.note


def test_a_parquet_folder_needs_a_training_part(parquet: Path, cache: Path) -> None:
    for path in parquet.glob("train-*"):
        path.unlink()
    assert_error("a part test .* but no train; a data set needs a training part", parquet, cache)


def test_two_ways_of_naming_the_shards_at_once_are_refused(parquet: Path, cache: Path) -> None:
    shutil.copy(parquet / "test-00000-of-00001.parquet", parquet / "test.parquet")
    assert_error("has both test-00000-of-00001.parquet and test.parquet", parquet, cache)


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
    found = load_dataset(str(folder), cache)
    assert (len(found.train_images), len(found.test_images)) == (4, 2)
    assert ("validation part" in found.note) == ("val" in Path(layout["test"]).name)


def test_two_data_sets_in_a_folder_are_refused(tmp_path: Path, cache: Path) -> None:
    for name in ("fine", "coarse"):
        for part in ("train", "test"):
            write_parquet(tmp_path / "hub" / name / f"{part}.parquet", list(PIXELS[:2]), label=[0, 1])
    assert_error(r"holds several data sets.*give one of them: .*/coarse, .*/fine", tmp_path / "hub", cache)


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
    assert_error(rf"{shard}\.parquet: cannot be read as Parquet .*download it again", parquet, cache)


def test_a_null_label_is_named(parquet: Path, cache: Path) -> None:
    put_into_second(parquet, PIXELS[4], None)
    assert_error(rf"{SECOND}, row 1: the label \(label\) is null", parquet, cache)


def test_a_null_image_is_named(parquet: Path, cache: Path) -> None:
    put_into_second(parquet, None)
    assert_error(f"{SECOND}, row 1: the image is null", parquet, cache)


def test_an_image_with_null_bytes_is_named(parquet: Path, cache: Path) -> None:
    path = parquet / SECOND
    put_into_second(parquet, b"x")
    table = pq.read_table(path)
    images = [{**image, "bytes": None} if i == 1 else image for i, image in enumerate(table["img"].to_pylist())]
    pq.write_table(table.set_column(0, "img", pa.array(images, table["img"].type)), path)
    assert_error(f"{SECOND}, row 1: the image is null", parquet, cache)


def test_a_part_without_rows_is_refused(parquet: Path, cache: Path) -> None:
    path = parquet / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert_error(r"the test part \(test-00000-of-00001.parquet\) has no images", parquet, cache)


def test_the_columns_are_checked(tmp_path: Path, cache: Path) -> None:
    def made(**columns: Any) -> Path:
        folder = tmp_path / "-".join(columns)
        folder.mkdir()
        for part in ("train", "test"):
            pq.write_table(pa.table(columns), folder / f"{part}.parquet")
        return folder

    image = pa.array([{"bytes": encoded(PIXELS[0])}] * 2)
    text = pa.array([{"path": "x"}] * 2)
    only = made(photo=image, label=[0, 1])  # a single image column may have any name
    assert len(load_dataset(str(only), cache).test_images) == 2
    assert_error("several image columns; .*: left, right, label", made(left=image, right=image, label=[0, 1]), cache)
    assert_error("no image column; .*the columns are: img, label", made(img=text, label=[0, 1]), cache)
    assert_error("several image columns; there must be exactly one", made(img=image, image=image, label=[0, 1]), cache)
    assert load_dataset(str(made(img=image, kind=["a", "b"])), cache).classes == ("a", "b")
    assert_error("no label column .*: day", made(img=image, day=pa.array([1, 2], pa.date32())), cache)


def test_every_shard_needs_the_columns(parquet: Path, cache: Path) -> None:
    write_parquet(parquet / SECOND, list(PIXELS[:2]), labels=[3, 7])
    assert_error(f"{SECOND}: no column 'label'", parquet, cache)
    write_parquet(parquet / SECOND, list(PIXELS[:2]), label=["3", "7"])
    assert_error(f"{SECOND}: its labels have names, and those of .* are numbers", parquet, cache)
    write_parquet(parquet / SECOND, list(PIXELS[:2]), "picture", label=[3, 7])
    assert_error(f"{SECOND}: no image column", parquet, cache)


@needs_cifar100
def test_a_slice_of_cifar100(tmp_path: Path, cache: Path) -> None:
    tables = {}
    for part in ("train", "test"):
        [source, *_] = sorted(CIFAR100.glob(f"{part}-*"))
        with pq.ParquetFile(source) as file:
            tables[part] = pa.Table.from_batches([next(file.iter_batches(300))], file.schema_arrow)
        (tmp_path / "c").mkdir(exist_ok=True)
        pq.write_table(tables[part], tmp_path / "c" / f"{part}.parquet")
    dataset = load_dataset(str(tmp_path / "c"), cache, "coarse_label")
    assert dataset.train_images.shape == (300, 3, 32, 32)
    assert len(dataset.classes) == 20
    assert dataset.classes[0] == "aquatic_mammals"
    assert dataset.test_labels.tolist() == tables["test"]["coarse_label"].to_pylist()
    for index in (0, 7, 299):
        content = tables["train"]["img"][index]["bytes"].as_py()
        expected = torchvision.io.decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        np.testing.assert_array_equal(dataset.train_images[index], expected.numpy())


@pytest.mark.slow
@needs_cifar100
def test_the_whole_of_cifar100(cache: Path) -> None:
    dataset = load_dataset(str(CIFAR100), cache, "fine_label")
    assert dataset.train_images.shape == (50_000, 3, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [500] * 100
    assert np.bincount(dataset.test_labels).tolist() == [100] * 100
    assert dataset.classes[:2] == ("apple", "aquarium_fish")
    mean = dataset.train_images.mean((0, 2, 3)) / 255
    np.testing.assert_allclose(mean, [0.5071, 0.4867, 0.4408], atol=2e-4)  # as published
    assert_form(dataset)


REFUSED: dict[str, tuple[Make, str]] = {
    "a missing saved file": (
        change(two_saved, lambda p: (p / "train/data-00001-of-00002.arrow").unlink()),
        "1 of its 2 files are missing",
    ),
    "a damaged state": (
        change(two_saved, lambda p: (p / "train/state.json").write_text("{")),
        "cannot be read as JSON",
    ),
    "a state that leads elsewhere": (
        change(
            two_saved, lambda p: (p / "train/state.json").write_text('{"_data_files": [{"filename": "../../x.arrow"}]}')
        ),
        "names no Arrow files of this folder",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
