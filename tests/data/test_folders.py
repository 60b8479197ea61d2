"""Folders of image files, and what is no data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from scl.data.named import load_dataset
from tests.support.images import PIXELS, assert_error, assert_form, channels_first, encoded, write_parquet

pytestmark = pytest.mark.usefixtures("silent")


def test_image_files_are_read(files: Path, cache: Path) -> None:
    (files / "train/dog/notes.txt").write_text("not an image")
    (files / "train/.hidden").mkdir()
    (files / "train/README").write_text("not a class")
    dataset = load_dataset(str(files), cache)
    np.testing.assert_array_equal(dataset.train_images, channels_first(PIXELS[:4]))
    np.testing.assert_array_equal(dataset.test_images, channels_first(PIXELS[4:]))
    assert dataset.train_labels.tolist() == [0, 0, 1, 1]
    assert dataset.classes == ("cat", "dog")
    assert dataset.flip
    assert_form(dataset)


def test_the_same_images_have_one_fingerprint_in_either_layout(files: Path, tmp_path: Path, cache: Path) -> None:
    write_parquet(tmp_path / "p/train.parquet", list(PIXELS[:4]), label=[0, 0, 1, 1])
    write_parquet(tmp_path / "p/test.parquet", list(PIXELS[4:]), label=[0, 1])
    assert load_dataset(str(files), cache).fingerprint == load_dataset(str(tmp_path / "p"), cache).fingerprint


def test_links_that_lead_out_of_the_folder_are_refused(files: Path, tmp_path: Path, cache: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(PIXELS[0]))
    link = files / "train/cat/2.png"
    link.symlink_to(secret)
    assert_error("train/cat/2.png: this link leads out of", files, cache)
    link.unlink()
    shutil.move(files / "train/cat", tmp_path / "elsewhere")
    (files / "train/cat").symlink_to(tmp_path / "elsewhere")
    assert_error("train/cat: this link leads out of", files, cache)


def test_links_within_the_folder_and_to_the_folder_are_followed(files: Path, tmp_path: Path, cache: Path) -> None:
    (files / "train/cat/2.png").symlink_to(files / "train/cat/0.png")
    (tmp_path / "link").symlink_to(files)
    dataset = load_dataset(str(tmp_path / "link"), cache)
    np.testing.assert_array_equal(dataset.train_images[2], dataset.train_images[0])


def test_a_dead_link_is_named(files: Path, cache: Path) -> None:
    (files / "train/cat/2.png").symlink_to("gone.png")
    assert_error("train/cat/2.png cannot be read: No such file", files, cache)


def test_an_empty_class_is_named(files: Path, cache: Path) -> None:
    (files / "train/dog/0.png").rename(files / "train/dog/0.txt")
    (files / "train/dog/1.png").unlink()
    assert_error("train/dog: no image in this class folder", files, cache)


@pytest.mark.parametrize(("part", "other"), [("train", "test"), ("test", "train")])
def test_classes_must_agree(files: Path, cache: Path, part: str, other: str) -> None:
    (files / part / "elk").mkdir()
    (files / part / "elk/0.png").write_bytes(encoded(PIXELS[0]))
    assert_error(f"{other} lacks labels that {part} has: elk;", files, cache)


def test_one_class_is_refused(files: Path, cache: Path) -> None:
    for part in ("train", "test"):
        shutil.rmtree(files / part / "dog")
    assert_error("the number of classes is 1", files, cache)


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_image_folder_needs_both_parts(files: Path, cache: Path, part: str) -> None:
    shutil.rmtree(files / part)
    assert_error(f"but no {part}/; a data set needs both", files, cache)


def test_an_image_folder_takes_no_label(files: Path, cache: Path) -> None:
    assert_error("--label 'fine_label': .*their class folders; drop --label", files, cache, "fine_label")


def test_a_folder_with_neither_layout_is_refused(tmp_path: Path, cache: Path) -> None:
    assert_error("no data set found in this folder; it must hold Parquet files train-", tmp_path, cache)
