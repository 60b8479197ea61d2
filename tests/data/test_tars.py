"""WebDataset tars."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scl.data.named import load_dataset
from tests.support.layouts import (
    MANY,
    TEST,
    TRAIN,
    Make,
    by_number,
    change,
    contents,
    cut,
    expected,
    refused,
    samples,
    tar,
)

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("kind", ["cls", "json"])
def test_numbers_in_tars_are_classes(tmp_path: Path, cache: Path, kind: str) -> None:
    for part, names in (("train", TRAIN), ("test", TEST)):
        tar(tmp_path / "d" / f"{part}-000.tar", samples(names, kind))
    found = load_dataset(str(tmp_path / "d"), cache)
    assert found.classes == ("0", "1")
    assert by_number(contents(found)["train"]) == expected(TRAIN)
    assert "labels from" in found.note


def test_what_a_tar_holds_beside_images_is_counted(tmp_path: Path, cache: Path) -> None:
    link, device = tarfile.TarInfo("elk0.png"), tarfile.TarInfo("elk1.png")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE
    more: dict[str, Any] = {
        "cat0.pyd": b"\x80",
        "elk0.png": link,
        "elk1.png": device,
        "._cat0.png": b"x",
        "README": "x",
    }
    tar(tmp_path / "d/train-0.tar", samples(TRAIN, "txt") | more)
    tar(tmp_path / "d/test-0.tar", samples(TEST, "txt"))
    tar(tmp_path / "d/other.tar", samples(TEST, "txt"))
    found = load_dataset(str(tmp_path / "d"), cache)
    assert contents(found) == {"train": expected(TRAIN), "test": expected(TEST)}
    skipped = {"link or device in a tar": 2, ".pyd file": 1, "hidden file": 1, "file without a suffix": 1}
    assert found.skipped == {**skipped, ".tar file of no part": 1}
    assert load_dataset(str(tmp_path / "d"), cache).skipped == found.skipped


REFUSED: dict[str, tuple[Make, str]] = {
    "a cut tar": (
        change(lambda p: tar(p / "x.tar", samples(MANY)), cut("x.tar", 0.4)),
        "cannot be read as an uncompressed tar",
    ),
    "a tar without its end": (
        change(
            lambda p: tar(p / "x.tar", samples(MANY)),
            lambda p: (p / "x.tar").write_bytes(
                (p / "x.tar").read_bytes().rstrip(b"\0").ljust(512 * 80, b"\0")[: 512 * 80]
            ),
        ),
        "cannot be read as an uncompressed tar .*no end",
    ),
    "two tars in one": (
        change(
            lambda p: tar(p / "x.tar", samples(TRAIN)),
            lambda p: (p / "x.tar").write_bytes((p / "x.tar").read_bytes() * 2),
        ),
        "another archive follows its end",
    ),
    "a compressed tar": (
        change(
            lambda p: tar(p / "x.tar", samples(TRAIN)),
            lambda p: (p / "x.tar").write_bytes(gzip.compress((p / "x.tar").read_bytes())),
        ),
        "as an uncompressed tar",
    ),
    "an image without a label": (
        lambda p: tar(p / "x.tar", {**samples(TRAIN), "elk0.png": ""}),
        "elk0.png: it has no label",
    ),
    "a sample of two images": (
        lambda p: tar(p / "x.tar", {**samples(TRAIN), "cat0.jpg": b"x"}),
        "a sample has several images",
    ),
    "pickled labels": (
        lambda p: tar(p / "x.tar", {"cat0.png": "", "cat0.pyd": b"x"}),
        ".pyd files are not read, because they may run",
    ),
    "several types in tars": (
        lambda p: tar(
            p / "x.tar", {"cat0.png": "", "cat0.json": '{"label": 1}', "dog0.png": "", "dog0.json": '{"label": "x"}'}
        ),
        "have several types",
    ),
    "JSON without a label": (
        lambda p: tar(p / "x.tar", {"cat0.png": "", "cat0.json": '{"a": 1, "b": 2}'}),
        "no field is the label; .*: a, b",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)
