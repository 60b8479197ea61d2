"""Data sets in the layouts of the field, whose images tell their class: what is read can be compared with it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scl.data.dataset import Dataset
from scl.data.named import load_dataset
from scl.errors import UserError
from tests.support.images import encoded

CODES = {"cat": 10, "dog": 20, "elk": 30, "fox": 40}


def picture(name: str) -> bytes:
    """The image `dog3`: its class and its number are its colour."""
    return encoded(np.full((4, 4, 3), [CODES.get(name[:3], 0), int(name[3:] or 0), 7], np.uint8))


def contents(dataset: Dataset) -> dict[str, list[str]]:
    """Part → class and image, as in `dog: dog3`, sorted. Whatever is mixed up shows as `cat: dog3`."""
    names = {code: name for name, code in CODES.items()}
    parts = {
        "train": (dataset.train_images, dataset.train_labels),
        "val": (dataset.val_images, dataset.val_labels),
        "test": (dataset.test_images, dataset.test_labels),
    }
    return {
        part: sorted(
            f"{dataset.classes[label]}: {names[int(image[0, 0, 0])]}{image[1, 0, 0]}"
            for image, label in zip(images[:], labels, strict=True)
        )
        for part, (images, labels) in parts.items()
        if images is not None and labels is not None
    }


def write(folder: Path, files: Mapping[str, bytes | str] | str) -> Path:
    """Write files: path → content, or a text of paths such as `train/cat/cat0.png`, each holding its picture."""
    for name, content in (files if isinstance(files, Mapping) else dict.fromkeys(files.split(), "")).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "" and path.suffix == ".png":
            content = picture(path.stem)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def table(
    names: str, kind: Any = None, column: str = "label", labels: Sequence[Any] | None = None, **more: Any
) -> pa.Table:
    """A table of images, as in `cat0 dog0`, and labels: their classes' names by default.

    kind: of the image column: a struct as Hugging Face's, or `binary`. more: columns; `features`: names of ClassLabel.
    """
    features, image = more.pop("features", None), more.pop("image", "image")
    content = [picture(name) for name in names.split()]
    images = (
        pa.array(content, pa.binary())
        if kind == "binary"
        else pa.array(
            [{"bytes": c, "path": None} for c in content], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        )
    )
    given = [name[:3] for name in names.split()] if labels is None else labels
    made = pa.table({image: images, column: given, **more})
    if features is not None:
        about = {column: {"names": features, "_type": "ClassLabel"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": about}})})
    return made


def parquet(folder: Path, tables: Mapping[str, pa.Table]) -> Path:
    for name, content in tables.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, path)
    return folder


def saved(folder: Path, tables: Mapping[str, Sequence[pa.Table]]) -> Path:
    """As `DatasetDict.save_to_disk` writes it; `''` as part: as `Dataset.save_to_disk` does."""
    folder.mkdir(parents=True, exist_ok=True)
    if "" not in tables:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    for part, shards in tables.items():
        place = folder / part
        place.mkdir(exist_ok=True)
        names = [f"data-{i:05}-of-{len(shards):05}.arrow" for i in range(len(shards))]
        for name, content in zip(names, shards, strict=True):
            with pa.OSFile(str(place / name), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
                writer.write_table(content)
        state = {"_data_files": [{"filename": name} for name in names], "_indices_files": None, "_split": part or None}
        (place / "state.json").write_text(json.dumps(state))
        (place / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def tar(path: Path, members: Mapping[str, bytes | str | tarfile.TarInfo]) -> Path:
    """A tar of files: name → content; a picture if the content is ''; or an entry that is no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                file.addfile(content)
                continue
            if content == "":
                content = picture(Path(name).stem.partition(".")[0])
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def samples(names: str, kind: str = "cls") -> dict[str, str]:
    """A WebDataset's members: an image and its label, a number with `cls`, a name with `txt`, both in `json`."""
    made: dict[str, str] = {}
    for name in names.split():
        number = list(CODES).index(name[:3])
        label = {"cls": str(number), "txt": name[:3], "json": json.dumps({"label": number, "width": 4})}[kind]
        made |= {f"{name}.png": "", f"{name}.{kind}": label}
    return made


Make = Callable[[Path], object]
TWO = "cat dog"
TRAIN, VAL, TEST = "cat0 cat1 dog0 dog1", "cat2 dog2", "cat3 dog3"
MANY = " ".join(f"{name}{i}" for name in ("cat", "dog") for i in range(10))

NUMBERS = [0, 0, 1, 1]


def folder(files: Any) -> Make:
    return lambda place: write(place, files)


def classes(part: str, names: str) -> str:
    """Paths of pictures in class folders: `cat0 dog0` in train are train/cat/cat0.png train/dog/dog0.png."""
    return " ".join(f"{part}/{name[:3]}/{name}.png".lstrip("/") for name in names.split())


FULL = f"{classes('train', TRAIN)} {classes('test', TEST)}"


def expected(text: str) -> list[str]:
    return sorted(f"{name[:3]}: {name}" for name in text.split())


def by_number(found: list[str], names: str = TWO) -> list[str]:
    """Labels that are numbers, as the names of these classes."""
    order = names.split()
    return sorted(f"{order[int(each.partition(': ')[0])]}: {each.partition(': ')[2]}" for each in found)


def both(train: pa.Table, test: pa.Table) -> Make:
    return lambda place: parquet(place, {"train.parquet": train, "test.parquet": test})


def labelled(make: Callable[[list[int]], Any], **more: Any) -> Make:
    """Training and test part with labels that a function makes of 0 (cat) and 1 (dog)."""
    return both(table(TRAIN, labels=make(NUMBERS), **more), table(TEST, labels=make([0, 1]), **more))


def listing(names: str, head: str = "file_name,label", row: str = "{n}.png,{c}", end: str = "\n") -> str:
    return end.join([head, *(row.format(n=n, c=n[:3]) for n in names.split())]) + end


def pictures(names: str, where: str = "") -> dict[str, str]:
    return {f"{where}{name}.png": "" for name in names.split()}


def change(make: Make, then: Callable[[Path], object]) -> Make:
    def both_steps(place: Path) -> None:
        make(place)
        then(place)

    return both_steps


def cut(path: str, keep: float = 0.9) -> Callable[[Path], object]:
    def shorten(place: Path) -> None:
        content = (place / path).read_bytes()
        (place / path).write_bytes(content[: int(len(content) * keep)])

    return shorten


def end_cut(path: str, count: int) -> Callable[[Path], object]:
    return lambda place: (place / path).write_bytes((place / path).read_bytes()[:-count])


def two_saved(place: Path) -> Path:
    """A saved data set of two training files and a test file."""
    return saved(place, {"train": [table(TRAIN), table("cat5 dog5")], "test": [table(TEST)]})


def refused(make: Make, message: str, tmp_path: Path, cache: Path) -> None:
    """The data set that `make` writes is refused with this message, in one line."""
    place = tmp_path / "data"
    place.mkdir()
    make(place)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(str(place), cache)
    assert "\n" not in str(caught.value)
