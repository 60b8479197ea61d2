"""Columns of images and of labels."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from scl.data.named import load_dataset
from tests.support.layouts import (
    NUMBERS,
    TEST,
    TRAIN,
    TWO,
    Make,
    both,
    contents,
    expected,
    labelled,
    parquet,
    refused,
    table,
)

pytestmark = pytest.mark.usefixtures("silent")


def floats(numbers: list[int]) -> pa.Array:
    return pa.array([float(n) for n in numbers], pa.float32())


def words(numbers: list[int]) -> list[str]:
    return [TWO.split()[n] for n in numbers]


READ = {
    "numbers": (labelled(list), ("0", "1")),
    "whole floats": (labelled(floats), ("0", "1")),
    "half floats": (labelled(lambda n: floats(n).cast(pa.float16())), ("0", "1")),
    "bytes": (labelled(lambda n: pa.array(n, pa.uint8())), ("0", "1")),
    "truth": (labelled(lambda n: [bool(i) for i in n]), ("False", "True")),
    "dictionary": (labelled(lambda n: pa.array(words(n)).dictionary_encode()), ("cat", "dog")),
    "dictionary of numbers": (labelled(lambda n: pa.array([7 + i for i in n]).dictionary_encode()), ("7", "8")),
    "large strings": (labelled(lambda n: pa.array(words(n), pa.large_string())), ("cat", "dog")),
    "ClassLabel": (labelled(list, features=["cat", "dog"]), ("cat", "dog")),
    "ClassLabel with more names": (labelled(list, features=["cat", "dog", "elk"]), ("cat", "dog")),
    "numbers in words": (labelled(lambda n: ["10" if i else "9" for i in n]), ("9", "10")),
    "labels": (labelled(list, column="labels"), ("0", "1")),
    "fine_label alone": (labelled(list, column="fine_label"), ("0", "1")),
    "Label among names": (
        both(
            table(TRAIN, column="Label", text=[*"abcd"], id=[5, 6, 7, 8]),
            table(TEST, column="Label", text=[*"ef"], id=[1, 2]),
        ),
        ("cat", "dog"),
    ),
    "plain binary": (labelled(words, kind="binary"), ("cat", "dog")),
    "a column img": (labelled(words, image="img"), ("cat", "dog")),
    "a column photo": (labelled(words, image="photo", kind="binary"), ("cat", "dog")),
    "another order of names": (
        both(
            table(TRAIN, labels=NUMBERS, features=["cat", "dog"]),
            table(TEST, labels=[1, 0], features=["dog", "cat"]),
        ),
        ("cat", "dog"),
    ),
    "another order in a shard": (
        lambda place: parquet(
            place,
            {
                "train-00000-of-00002.parquet": table("cat0 dog0", labels=[0, 2], features=["cat", "elk", "dog"]),
                "train-00001-of-00002.parquet": table("cat1 dog1", labels=[1, 0], features=["dog", "cat"]),
                "test-00000-of-00001.parquet": table(TEST),
            },
        ),
        ("cat", "dog"),
    ),
    "extra part": (
        lambda place: parquet(place, {f"{part}-00000-of-00001.parquet": table(names) for part, names in
                              {"train": TRAIN, "test": TEST, "unsupervised": "elk0"}.items()}),
        ("cat", "dog"),
    ),
    "train and test files beside those of other words": (
        lambda place: parquet(place, {"cifar-train.parquet": table(TRAIN), "cifar-test.parquet": table(TEST)}),
        ("cat", "dog"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_tables_are_read(tmp_path: Path, cache: Path, name: str) -> None:
    make, names = READ[name]
    make(tmp_path / "data")
    found = load_dataset(str(tmp_path / "data"), cache)
    assert found.classes == names
    parts = {
        part: sorted(each.replace(f"{names[0]}: ", "cat: ").replace(f"{names[1]}: ", "dog: ") for each in images)
        for part, images in contents(found).items()
    }
    assert parts == {"train": expected(TRAIN), "test": expected(TEST)}
    assert any("matched by name" in remark for remark in found.remarks) == name.startswith("another order")


REFUSED: dict[str, tuple[Make, str]] = {
    "numbers and names": (both(table(TRAIN, labels=NUMBERS), table(TEST)), "which class a number means is unknown"),
    "names of one part alone": (
        both(table(TRAIN, labels=NUMBERS, features=["cat", "dog"]), table(TEST, labels=[0, 1])),
        "which class a number means is unknown",
    ),
    "a number without a name": (
        labelled(lambda n: [i + 1 for i in n], features=["cat", "dog"]),
        "label 2 has no name among its 2",
    ),
    "unlabelled test": (
        both(
            table(TRAIN, labels=NUMBERS, features=["cat", "dog"]), table(TEST, labels=[-1, -1], features=["cat", "dog"])
        ),
        "label -1 has no name .*a part of labels -1 is unlabelled",
    ),
    "two numbers of one name": (labelled(list, features=["cat", "cat"]), "two numbers have the same class name: 'cat'"),
    "regression": (labelled(lambda n: [i + 0.5 for i in n]), "row 0: the label .label. is 0.5; .*fits no regression"),
    "regression in words": (labelled(lambda n: [f"{i}.5" for i in n]), "is 0.5; labels are classes"),
    "not a number": (labelled(lambda n: [float("nan") if i else 0.0 for i in n]), "row 2: the label .label. is null"),
    "infinite": (labelled(lambda n: [float("inf") if i else 0.0 for i in n]), "row 2: the label .label. is inf"),
    "a null name": (labelled(lambda n: [None if i else "cat" for i in n]), "row 2: the label .label. is null"),
    "an empty name": (labelled(lambda n: [" " if i else "cat" for i in n]), "row 2: the label .label. is empty"),
    "a null in a dictionary": (
        labelled(lambda n: pa.array([None if i else "cat" for i in n]).dictionary_encode()),
        "row 2: the label .label. is null",
    ),
    "multi-label": (labelled(lambda n: [[i, i + 1] for i in n]), "label holds several values for an image"),
    "several names": (
        both(table(TRAIN, column="a", b=[*"wxyz"]), table(TEST, column="a", b=[*"wx"])),
        "several label columns; .*: a, b",
    ),
    "huge numbers": (labelled(lambda n: pa.array([2**63 + i for i in n], pa.uint64())), "too large for labels"),
    "dates": (labelled(lambda n: pa.array(n, pa.date32())), "label holds date32"),
    "no image column": (
        lambda p: parquet(p, {"train.parquet": pa.table({"text": ["a", "b"], "label": [0, 1]})}),
        "no image column",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
