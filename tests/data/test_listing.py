"""Lists of image files and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.data.named import load_dataset
from tests.support.layouts import (
    TEST,
    TRAIN,
    VAL,
    Make,
    contents,
    expected,
    folder,
    listing,
    pictures,
    refused,
    write,
)

pytestmark = pytest.mark.usefixtures("silent")


def test_a_list_may_name_the_parts(tmp_path: Path, cache: Path) -> None:
    rows = "".join(
        f"{n}.png,{n[:3]},{s}\n" for s, ns in (("Train", TRAIN), ("valid", VAL), ("test", TEST)) for n in ns.split()
    )
    write(tmp_path / "d", {"metadata.csv": "file_name,label,split\n" + rows} | pictures(f"{TRAIN} {VAL} {TEST} elk0"))
    found = load_dataset(str(tmp_path / "d"), cache)
    assert contents(found) == {"train": expected(TRAIN), "val": expected(VAL), "test": expected(TEST)}
    assert found.skipped == {"image that is not listed": 1}
    rows = "".join(f"{s}/{n}.png,{n[:3]}\n" for s, ns in (("train", TRAIN), ("test", TEST)) for n in ns.split())
    write(
        tmp_path / "e",
        {"metadata.csv": "file_name,label\n" + rows} | pictures(TRAIN, "train/") | pictures(TEST, "test/"),
    )
    assert contents(load_dataset(str(tmp_path / "e"), cache)) == {"train": expected(TRAIN), "test": expected(TEST)}


@pytest.mark.parametrize("column", ["set", "Partition", "phase", "usage", "data_split", "fold"])
def test_the_column_of_parts_has_one_of_several_names(tmp_path: Path, cache: Path, column: str) -> None:
    rows = "".join(f"{n}.png,{n[:3]},{s}\n" for s, ns in (("train", TRAIN), ("test", TEST)) for n in ns.split())
    write(tmp_path / "d", {"metadata.csv": f"file_name,kind,{column}\n" + rows} | pictures(f"{TRAIN} {TEST}"))
    assert contents(load_dataset(str(tmp_path / "d"), cache)) == {"train": expected(TRAIN), "test": expected(TEST)}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["0.0", "1.0"], ("0", "1")),
        (["10.0", "2.0"], ("2", "10")),  # by number
        (["1", "2.00"], ("1", "2")),
        (["007", "12"], ("007", "12")),  # as they are written: none has a decimal point
        (["1.0", "a"], ("1.0", "a")),
    ],
)
def test_whole_numbers_with_a_decimal_point_are_whole_numbers(
    tmp_path: Path, cache: Path, labels: list[str], classes: tuple[str, ...]
) -> None:
    names = {"cat": labels[0], "dog": labels[1]}
    every = "cat0 cat1 cat2 dog0 dog1 dog2"
    rows = "".join(f"{n}.png,{names[n[:3]]}\n" for n in every.split())
    write(tmp_path / "d", {"metadata.csv": "file_name,label\n" + rows} | pictures(every))
    assert load_dataset(str(tmp_path / "d"), cache).classes == classes


REFUSED: dict[str, tuple[Make, str]] = {
    "a list without labels": (
        folder({"metadata.csv": listing("cat0 dog0", "file_name", "{n}.png")} | pictures("cat0 dog0")),
        "no label column",
    ),
    "a list without files": (
        folder({"metadata.csv": "label,x\ncat,1\n"}),
        "no column of file names, such as file_name",
    ),
    "a list of what is gone": (
        folder({"metadata.csv": listing("cat0 dog0")} | pictures("cat0")),
        "line 3: there is no file",
    ),
    "a list of what is outside": (
        folder({"metadata.csv": listing("cat0", row="../{n}.png,{c}")}),
        "line 2: .* lies outside of",
    ),
    "listed twice": (
        folder({"metadata.csv": listing("cat0 dog0 cat0")} | pictures("cat0 dog0")),
        "listed before, in line 2",
    ),
    "an empty cell": (
        folder({"metadata.csv": listing("cat0 dog0", row="{n}.png,")} | pictures("cat0 dog0")),
        "line 2: the label .label. is|holds null",
    ),
    "a short line": (
        folder({"metadata.csv": "file_name,label\ncat0.png\n"} | pictures("cat0")),
        "line 2: it has another number of columns",
    ),
    "an empty list": (folder({"metadata.csv": "file_name,label\n"}), "it lists no images"),
    "another encoding": (folder({"metadata.csv": b"file_name,label\n\xff\xfe,cat\n"}), "it is not UTF-8"),
    "a list of lists": (
        folder(
            {"metadata.jsonl": listing("cat0 dog0", "", '{{"file_name": "{n}.png", "label": [1, 2]}}')}
            | pictures("cat0 dog0")
        ),
        "several values for an image",
    ),
    "labels of several types": (
        folder(
            {"metadata.jsonl": '{"file_name": "cat0.png", "label": 1}\n{"file_name": "dog0.png", "label": "x"}'}
            | pictures("cat0 dog0")
        ),
        "values of several types: int, str",
    ),
    "no JSON": (folder({"metadata.jsonl": "{\n"}), "line 1: cannot be read as JSON"),
    "two lists": (folder({"metadata.jsonl": "{}", "metadata.csv": "a"}), "it has both metadata.csv and metadata.jsonl"),
    "a part without a list": (
        folder({"train/metadata.csv": listing(TRAIN), "test/cat3.png": ""} | pictures(TRAIN, "train/")),
        "test/ has no metadata.csv",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
