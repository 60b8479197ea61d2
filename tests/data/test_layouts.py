"""Layouts of the field: each gives the right images with the right labels, or one clear refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from scl.data.named import load_dataset
from scl.errors import UserError
from tests.support.layouts import (
    MANY,
    TEST,
    TRAIN,
    VAL,
    Make,
    classes,
    contents,
    expected,
    folder,
    listing,
    parquet,
    picture,
    pictures,
    refused,
    samples,
    saved,
    table,
    tar,
    write,
)

pytestmark = pytest.mark.usefixtures("silent")


NAMED = [
    ("train val test", "train val test"),
    ("train valid test", "train val test"),
    ("training validation testing", "train val test"),
    ("Train Val Test", "train val test"),
    ("TRAIN VALID EVAL", "train val test"),
    ("train dev evaluation", "train val test"),
    ("train_images val_images test_images", "train val test"),
    ("trainset validset testset", "train val test"),
    ("train test", "train test"),
    ("Training Test", "train test"),
    ("train eval", "train test"),
    ("train val", "train test"),
    ("train dev", "train test"),
    ("train validation", "train test"),
]
OTHERS = ("parquet", "arrow", "tars", "metadata", "saved")


@pytest.mark.parametrize(
    ("kind", "parts", "roles"),
    [
        *(("folders", *named) for named in NAMED),
        *((kind, *named) for kind in OTHERS for named in (NAMED[2], NAMED[4], NAMED[7], NAMED[12])),
    ],
)
def test_parts_are_found_by_the_usual_names(tmp_path: Path, cache: Path, parts: str, roles: str, kind: str) -> None:
    images = dict(zip(parts.split(), (TRAIN, VAL, TEST), strict=False))
    place = tmp_path / "data"
    for part, names in images.items():
        if kind == "folders":
            write(place, classes(part, names))
        elif kind == "parquet":
            parquet(place, {f"{part}-00000-of-00001.parquet": table(names)})
        elif kind == "tars":
            tar(place / part / "000000.tar", samples(names, "txt"))
        elif kind == "metadata":
            rows = "".join(f"{name}.png,{name[:3]}\n" for name in names.split())
            write(place / part, {"metadata.csv": "file_name,label\n" + rows})
            write(place / part, " ".join(f"{name}.png" for name in names.split()))
    if kind == "arrow":
        saved(tmp_path / "made", {part: [table(names)] for part, names in images.items()})
        for part in images:
            place.mkdir(exist_ok=True)
            (tmp_path / "made" / part / "data-00000-of-00001.arrow").rename(place / f"photos-{part}.arrow")
    if kind == "saved":
        saved(place, {part: [table(names)] for part, names in images.items()})
    found = load_dataset(str(place), cache)
    given = zip(roles.split(), images.values(), strict=True)
    assert contents(found) == {role: expected(names) for role, names in given}
    assert ("validation" in found.note) == (parts.split()[1].lower() not in ("test", "eval"))


def test_the_fingerprint_sees_the_validation_part(tmp_path: Path, cache: Path) -> None:
    place = write(tmp_path / "data", f"{classes('train', TRAIN)} {classes('test', TEST)}")
    without = load_dataset(str(place), cache)
    write(place, classes("val", VAL))
    first = load_dataset(str(place), cache)
    (place / "val/cat/cat2.png").write_bytes(picture("cat9"))
    other = load_dataset(str(place), cache)
    assert len({without.fingerprint, first.fingerprint, other.fingerprint}) == 3
    assert load_dataset(str(place), cache).fingerprint == other.fingerprint  # from the cache


ONE: dict[str, tuple[Make, str]] = {
    "Parquet": (lambda p: parquet(p, {"photos.parquet": table(MANY)}), "photos.parquet"),
    "Arrow": (lambda p: saved(p, {"": [table(MANY)]}), "data-00000-of-00001.arrow"),
    "CSV": (folder({"list.csv": listing(MANY)} | pictures(MANY)), "list.csv"),
    "CSV of Windows": (folder({"list.csv": "\ufeff" + listing(MANY, end="\r\n")} | pictures(MANY)), "list.csv"),
    "CSV with semicolons": (
        folder({"l.csv": listing(MANY, "path;label", "a/{n}.png;{c}")} | pictures(MANY, "a/")), "l.csv"),
    "TSV": (folder({"l.tsv": listing(MANY, "filename\tbreed", "./{n}.png\t{c}")} | pictures(MANY)), "l.tsv"),
    "quoted CSV": (folder({"l.csv": listing(MANY, "label,file_name", '"{c}","{n}.png"')} | pictures(MANY)), "l.csv"),
    "JSON lines": (
        folder({"l.jsonl": listing(MANY, "", '{{"path": "{n}.png", "label": "{c}"}}')} | pictures(MANY)), "l.jsonl"),
    "tar": (lambda p: tar(p / "x.tar", samples(MANY, "txt")), "x.tar"),
    "tar with folders": (lambda p: tar(p / "x.tar", {f"a/b/{k}": v for k, v in samples(MANY, "txt").items()}), "x.tar"),
    "braces": (
        lambda p: [tar(p / f"x-{i:03}.tar", samples(half, "txt")) for i, half in enumerate((MANY[:35], MANY[35:]), 9)],
        "x-{009..010}.tar",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_one_file_is_a_data_set(tmp_path: Path, cache: Path, name: str) -> None:
    make, file = ONE[name]
    make(tmp_path / "data")
    found = load_dataset(str(tmp_path / "data" / file), cache)
    parts = contents(found)
    assert sorted(parts["train"] + parts["test"]) == expected(MANY)
    assert found.classes == ("cat", "dog")


def test_every_layout_sets_the_same_images_aside(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "a", classes("", MANY))
    parquet(tmp_path / "b", {"train.parquet": table(MANY)})
    assert load_dataset(str(tmp_path / "a"), cache).fingerprint == load_dataset(str(tmp_path / "b"), cache).fingerprint


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "photos.zip",
            "a file of this kind is not read as a data set; unpack it and give its folder; valid: a folder, or",
        ),
        ("photos.h5", "a file of this kind is not read as a data set; valid: a folder, or .parquet"),
        ("x-{000..003}.tar", "4 of 4 files are missing, the first is .*x-000.tar"),
        ("x-{5..3}.tar", "must rise"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, cache: Path, file: str, message: str) -> None:
    if "{" not in file:
        write(tmp_path, {file: "x"})
    with pytest.raises(UserError, match=message):
        load_dataset(str(tmp_path / file), cache)


REFUSED: dict[str, tuple[Make, str]] = {
    "no labels": (folder("cat0.png dog0.png"), "its images lie in no class folders, so they have no labels"),
    "an empty folder": (
        folder({"README.md": "x"}),
        "no data set found in this folder; it must hold images in class folders",
    ),
    "an archive": (folder({"photos.zip": "PK"}), "unpack its archives first"),
    "only what is no image": (folder({"cat/a.txt": "x", "dog/b.txt": "x"}), "no data set found"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unclear_is_refused_in_one_sentence(tmp_path: Path, cache: Path, name: str) -> None:
    refused(*REFUSED[name], tmp_path, cache)


@pytest.mark.parametrize(
    ("beside", "counted"),
    [
        ("", {}),
        ("README.md LICENSE", {"file beside the folder of the data": 2}),
        ("__MACOSX/x", {}),
    ],
)
def test_a_readme_may_lie_beside_the_folder_of_the_data(
    tmp_path: Path, cache: Path, beside: str, counted: dict[str, int]
) -> None:
    write(tmp_path / "d" / "photos", f"{classes('train', TRAIN)} {classes('test', TEST)}")
    write(tmp_path / "d", beside)
    found = load_dataset(str(tmp_path / "d"), cache)
    assert contents(found) == {"train": expected(TRAIN), "test": expected(TEST)}
    assert found.skipped == counted
