"""Parts of a data set: classes that they share, and a test part where there is none."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scl.data.encoded import Source
from scl.data.named import load_dataset
from scl.data.parts import Choices, Found, FoundPart, encoded_folder, part_of_file, part_of_folder
from scl.errors import UserError
from tests.support.layouts import (
    FULL,
    MANY,
    TEST,
    TRAIN,
    VAL,
    Make,
    both,
    classes,
    contents,
    expected,
    folder,
    labelled,
    listing,
    parquet,
    picture,
    pictures,
    samples,
    saved,
    table,
    tar,
    write,
)

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize(
    "make",
    [
        folder(classes("train", MANY)),
        folder(classes("", MANY)),
        folder(classes("photos", MANY)),
        lambda place: parquet(place, {"train.parquet": table(MANY)}),
        lambda place: parquet(place, {"data/0000.parquet": table(MANY)}),
        lambda place: saved(place, {"": [table(MANY)]}),
        lambda place: tar(place / "photos-000.tar", samples(MANY, "txt")),
        folder({"metadata.csv": listing(MANY, row="i/{n}.png,{c}")} | pictures(MANY, "i/")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("share", [None, 0.5])
def test_a_test_part_is_made_stratified_stated_and_fixed(
    tmp_path: Path, cache: Path, make: Make, share: float | None
) -> None:
    place = tmp_path / "data"
    make(place)
    found = load_dataset(str(place), cache, test=share)
    parts = contents(found)
    assert sorted(parts["train"] + parts["test"]) == expected(MANY)
    each = 2 if share is None else 5
    assert np.bincount(found.test_labels).tolist() == [each, each]
    assert found.remarks[0].startswith(f"The data have no test part: {2 * each} of 20 images were set aside for it")
    assert "Its test part was set aside from the training images" in found.note
    again = load_dataset(str(place), tmp_path / "another cache", test=share)
    assert again.fingerprint == found.fingerprint


def test_with_test_a_validation_part_validates(tmp_path: Path, cache: Path) -> None:
    place = write(tmp_path / "d", f"{classes('train', MANY)} {classes('val', VAL.replace('2', '30'))}")
    parts = contents(load_dataset(str(place), cache, test=0.2))
    assert (len(parts["train"]), len(parts["test"]), parts["val"]) == (16, 4, expected("cat30 dog30"))


@pytest.mark.parametrize(
    "make",
    [
        folder(f"{FULL} train/elk/elk0.png"),
        folder(f"{FULL} test/elk/elk0.png"),
        folder(dict.fromkeys(FULL.split(), "") | {"train/elk/notes.txt": "x"}),
        folder(dict.fromkeys(FULL.split(), "") | {"train/elk/a.txt": "x", "test/elk/a.txt": "x"}),
        both(table(f"{TRAIN} elk0"), table(TEST)),
        lambda p: saved(p, {"train": [table(TRAIN)], "test": [table(TEST), table("elk1")]}),
    ],
)
def test_a_class_without_images_is_named_and_can_be_left_out(tmp_path: Path, cache: Path, make: Make) -> None:
    place = tmp_path / "d"
    make(place)
    with pytest.raises(UserError, match=r"elk.*--drop-class elk"):
        load_dataset(str(place), cache)
    found = load_dataset(str(place), cache, drop=("elk",))
    assert contents(found) == {"train": expected(TRAIN), "test": expected(TEST)}
    (remark,) = found.remarks
    assert remark.startswith("Classes left out by --drop-class: elk (")


def test_names_are_one_in_either_unicode_form(tmp_path: Path, cache: Path) -> None:
    composed, apart = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")
    place = write(tmp_path / "d", "train/dog/dog0.png test/dog/dog1.png")
    write(place, {f"train/{composed}/cat0.png": picture("cat0"), f"test/{apart}/cat1.png": picture("cat1")})
    found = load_dataset(str(place), cache)
    assert contents(found) == {"train": [f"{composed}: cat0", "dog: dog0"], "test": [f"{composed}: cat1", "dog: dog1"]}
    assert len(load_dataset(str(write(place, "train/elk/elk0.png")), cache, drop=(("elk"),)).classes) == 2
    write(place, {f"train/{apart}/cat2.png": picture("cat2")})
    with pytest.raises(UserError, match="two class folders have the name"):
        load_dataset(str(place), cache, drop=("elk",))


def test_ten_thousand_classes() -> None:
    labels = np.repeat(np.arange(10_000), 2)
    sources: list[Source] = [(str(number), b"") for number in labels.tolist()]
    found = Found({"train": FoundPart(labels, sources, "train")}, [str(number) for number in range(10_000)], "Made")
    folder = encoded_folder(Path("made"), found, Choices())
    assert len(folder.classes) == 10_000
    for part in folder.parts.values():
        assert np.array_equal(part.labels, np.arange(10_000))
        assert [int(name) for name, _ in part.sources] == list(range(10_000))


@pytest.mark.parametrize(
    ("make", "choices", "message"),
    [
        (folder(FULL), {"test": 0.2}, "--test 0.2: .* has its own test part"),
        (folder(FULL), {"label": "x"}, "their labels are their class folders; drop --label"),
        (folder(classes("", MANY)), {"test": 0.99}, "--test 0.99: class cat would have no training image left"),
        (both(table(TRAIN), table(TEST)), {"label": "nosuch"}, "--label: unknown label column 'nosuch'"),
        (labelled(lambda n: [[i] for i in n]), {"label": "label"}, "column 'label' holds several values for an image"),
        (folder(FULL), {"drop": ("cats",)}, "--drop-class: unknown class 'cats' .did you mean 'cat'"),
        (folder(FULL), {"drop": ("cat",)}, "the number of classes is 1"),
        (folder(FULL), {"drop": ("cat", "dog")}, "the train part .* has no images"),
    ],
)
def test_choices_that_do_not_fit_are_refused(
    tmp_path: Path, cache: Path, make: Make, choices: dict[str, Any], message: str
) -> None:
    make(tmp_path / "d")
    with pytest.raises(UserError, match=message):
        load_dataset(str(tmp_path / "d"), cache, **choices)


def test_duplicates_are_images(tmp_path: Path, cache: Path) -> None:
    found = load_dataset(str(parquet(tmp_path, {"train.parquet": table("cat0 cat0 cat0 dog0 dog0 dog0")})), cache)
    assert len(found.train_labels) + len(found.test_labels) == 6


def test_names_are_one_with_and_without_spaces_and_cases_are_named(tmp_path: Path, cache: Path) -> None:
    spaced = [f"{name[:3]}{' ' * (i % 2)}" for i, name in enumerate(MANY.split())]
    parquet(tmp_path / "a", {"train.parquet": table(MANY, labels=spaced)})
    assert load_dataset(str(tmp_path / "a"), cache).classes == ("cat", "dog")
    cased = [name[:3].title() if i % 2 else name[:3] for i, name in enumerate(MANY.split())]
    parquet(tmp_path / "b", {"train.parquet": table(MANY, labels=cased)})
    found = load_dataset(str(tmp_path / "b"), cache)
    assert found.classes == ("Cat", "Dog", "cat", "dog")
    assert found.remarks[1] == "Classes that differ in case alone: Cat, Dog, cat, dog."


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train-00000-of-00002.parquet", "train"), ("cifar10-test.arrow", "test"), ("imagenet_val_01.tar", "val"),
        ("validation.parquet", "val"), ("TrainSet.parquet", "train"), ("test-images-train.parquet", "test"),
        ("photos-train-test.parquet", None), ("0000.parquet", None), ("pretrained.parquet", None), ("latest.tar", None),
    ],
)  # fmt: skip
def test_the_part_of_a_file(name: str, part: str | None) -> None:
    assert part_of_file(name) == part


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"), ("Training", "train"), ("VAL", "val"), ("dev", "val"), ("eval", "test"),
        ("test_images", "test"), ("train-set", "train"), ("train station", None), ("test tube", None), ("train2", None),
        ("evaluate", None),
    ],
)  # fmt: skip
def test_the_part_of_a_folder(name: str, part: str | None) -> None:
    assert part_of_folder(name) == part
