"""Folders of image files, and what is no data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from scl.data.named import load_dataset
from tests.support.images import PIXELS, assert_error, assert_form, channels_first, encoded, write_parquet
from tests.support.layouts import (
    FULL,
    TEST,
    TRAIN,
    VAL,
    Make,
    classes,
    contents,
    expected,
    folder,
    picture,
    refused,
    write,
)

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


def test_an_image_folder_takes_no_label(files: Path, cache: Path) -> None:
    assert_error("--label 'fine_label': .*their class folders; drop --label", files, cache, "fine_label")


def test_a_folder_with_neither_layout_is_refused(tmp_path: Path, cache: Path) -> None:
    assert_error("no data set found in this folder; it must hold images in class", tmp_path, cache)


def test_what_is_not_read_is_counted_by_reason_however_deep(tmp_path: Path, cache: Path) -> None:
    place = write(tmp_path / "d", f"{classes('train', TRAIN)} {classes('test', TEST)} train/cat/more/deep/cat7.png")
    write(
        place,
        {
            "train/cat/notes.txt": "words", "train/cat/more/clip.mp4": "film", "train/cat/.hidden.png": b"x",
            "train/cat/._cat0.png": b"x", "train/dog/empty.png": b"", "train/dog/page.jpg": b"<!DOCTYPE html>",
            "train/dog/more/empty.jpg": b"", "train/README": "words", "README.md": "words", "extra/x.png": "",
            "train/.ipynb_checkpoints/cat9.png": b"x", "test/__MACOSX/cat9.png": b"x", "train/dog/Thumbs.db": b"x",
        },
    )  # fmt: skip
    write(place, {"extra/x.png": b"x"})
    found = load_dataset(str(place), cache)
    assert contents(found) == {"train": sorted([*expected(TRAIN), "cat: cat7"]), "test": expected(TEST)}
    assert found.skipped == {
        ".txt file": 1, ".mp4 file": 1, "hidden file": 2, "empty file": 2, "no image by its content": 1,
        "file beside the class folders of train": 1, "hidden folder": 2, ".db file": 1,
        "folder beside the parts": 1, "file beside the parts": 1,
    }  # fmt: skip
    assert found.remarks == ("Images in folders inside their class folder, which count for it: 1.",)
    assert load_dataset(str(place), cache).skipped == found.skipped  # from the cache


def test_upper_and_lower_case_are_classes_of_their_own(tmp_path: Path, cache: Path) -> None:
    places = [f"{part}/{name}/0.png" for part in ("train", "test") for name in ("cat", "Cat")]
    files = dict.fromkeys(places, picture("cat0"))
    assert load_dataset(str(write(tmp_path / "d", files)), cache).classes == ("Cat", "cat")


def test_a_class_may_be_called_train(tmp_path: Path, cache: Path) -> None:
    names = {"train": "cat", "bus": "dog", "test": "elk"}
    files = {f"{name}/{i}.png": picture(f"{code}{i}") for name, code in names.items() for i in range(5)}
    found = load_dataset(str(write(tmp_path / "d", files)), cache)
    assert found.classes == ("bus", "test", "train")
    pairs = {(names[each.partition(":")[0]], each[-4:-1]) for part in contents(found).values() for each in part}
    assert pairs == {("cat", "cat"), ("dog", "dog"), ("elk", "elk")}


REFUSED: dict[str, tuple[Make, str]] = {
    "a folder of images and a list beside it": (
        folder({"labels.csv": "id,breed", "images/cat0.png": "", "images/dog0.png": ""}),
        "the number of classes is 1 .images/.; .* give the list itself",
    ),
    "no train": (
        folder(f"{classes('val', VAL)} {classes('test', TEST)}"),
        "but no train; a data set needs a training part",
    ),
    "two validation parts": (
        folder(f"{FULL} {classes('val', VAL)} {classes('dev', VAL)}"),
        "dev/ and val/ could both be the validation part",
    ),
    "Train and train": (
        folder(f"{FULL} {classes('Train', TRAIN)}"),
        "Train/ and train/ could both be the training part",
    ),
    "a part without labels": (folder(f"{classes('train', TRAIN)} test/0.png"), "test/ has no class folders"),
    "parts without labels": (
        folder("train/cat0.png test/cat1.png"),
        "has no class folders, so its images have no labels",
    ),
    "parts inside classes": (
        folder("cat/train/cat0.png cat/test/cat1.png dog/train/dog0.png dog/test/dog1.png"),
        "lie inside the class folders; put the classes inside the parts",
    ),
    "classes of classes": (
        folder("train/pets/cat/cat0.png train/pets/dog/dog0.png train/wild/elk/elk0.png train/wild/fox/fox0.png"),
        "images lie two folders deep, as in pets/cat; is pets the class, or cat",
    ),
    "train or class": (
        folder("train/cat/cat0.png train/dog/dog0.png elk/elk0.png"),
        "is train/ the training part, or a class",
    ),
    "one class": (folder("train/cat/cat0.png test/cat/cat1.png"), "the number of classes is 1"),
    "one flat class": (folder("cat/cat0.png cat/cat1.png"), "the number of classes is 1"),
    "other case": (
        folder("train/Cat/cat0.png train/dog/dog0.png test/cat/cat1.png test/dog/dog1.png"),
        "differ in case alone",
    ),
    "one image of a class": (
        folder("cat/cat0.png dog/dog0.png dog/dog1.png"),
        "a class of one image cannot be split: cat",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
