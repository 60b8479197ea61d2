"""Tables in files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pytest

from scl.data.layouts import find_dataset
from scl.data.named import load_dataset
from scl.data.parts import Choices
from tests.support.layouts import (
    MANY,
    NUMBERS,
    TEST,
    TRAIN,
    VAL,
    Make,
    change,
    contents,
    cut,
    end_cut,
    expected,
    parquet,
    refused,
    table,
    two_saved,
)

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

pytestmark = pytest.mark.usefixtures("silent")


SPLIT = ["Train"] * 4 + ["valid"] * 2 + ["test"] * 2


@pytest.mark.parametrize("kind", ["text", "dictionary"])
@pytest.mark.parametrize("files", [1, 2])
def test_a_column_split_names_the_parts(tmp_path: Path, cache: Path, kind: str, files: int) -> None:
    split = pa.array(SPLIT) if kind == "text" else pa.array(SPLIT).dictionary_encode()
    whole = table(f"{TRAIN} {VAL} {TEST}", split=split)
    parquet(tmp_path / "d", {f"{i}.parquet": whole.slice(i * 5, 5 if files == 2 else 8) for i in range(files)})
    found = load_dataset(str(tmp_path / "d"), cache)
    assert contents(found) == {"train": expected(TRAIN), "val": expected(VAL), "test": expected(TEST)}


def test_a_column_part_may_mean_something_else(tmp_path: Path, cache: Path) -> None:
    parquet(tmp_path / "d", {"cars.parquet": table(MANY, part=["front", "back"] * 10)})
    assert len(load_dataset(str(tmp_path / "d"), cache).train_labels) == 16


def test_a_column_that_means_something_else_hides_no_other(tmp_path: Path, cache: Path) -> None:
    whole = table(f"{TRAIN} {VAL} {TEST}", part=["front", "back"] * 4, split=SPLIT)
    parquet(tmp_path / "d", {"PHOTOS.PARQUET": whole})
    found = load_dataset(str(tmp_path / "d" / "PHOTOS.PARQUET"), cache)
    assert contents(found) == {"train": expected(TRAIN), "val": expected(VAL), "test": expected(TEST)}


def test_arrows_file_format_is_read(tmp_path: Path, cache: Path) -> None:
    pyarrow.feather.write_feather(table(MANY), str(tmp_path / "photos.arrow"))
    parts = contents(load_dataset(str(tmp_path / "photos.arrow"), cache))
    assert sorted(parts["train"] + parts["test"]) == expected(MANY)


def test_images_are_read_when_they_are_asked_for_and_again(tmp_path: Path) -> None:
    parquet(tmp_path / "d", {"train.parquet": table(MANY)})
    folder = find_dataset(tmp_path / "d", Choices()).read()
    for part in folder.parts.values():
        assert not isinstance(part.sources, list)
        first, second = list(part.sources), list(part.sources)
        assert first == second
        assert len(first) == len(part.labels)


REFUSED: dict[str, tuple[Make, str]] = {
    "a column split that names no part": (
        lambda p: parquet(p, {"a.parquet": table(TRAIN, split=["train", "train", "test", "extra"])}),
        "row 3: the column split is 'extra', which names no part; valid: train",
    ),
    "a path alone": (
        lambda p: parquet(
            p, {"a.parquet": pa.table({"image": pa.array([{"bytes": None, "path": "x"}] * 4, IMAGE), "label": NUMBERS})}
        ),
        "row 0: the image is null .a path alone is not followed",
    ),
    "a cut Arrow file": (
        change(two_saved, cut("train/data-00000-of-00002.arrow")),
        "cannot be read as Arrow .*cut off",
    ),
    "an Arrow file without its end": (
        change(two_saved, end_cut("train/data-00000-of-00002.arrow", 8)),
        "cannot be read as Arrow .*cut off",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
