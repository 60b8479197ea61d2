"""Hugging Face image Parquet: finding the shards of a folder, and reading images and labels from them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scl.data.encoded import PARTS, EncodedFolder, EncodedPart, Source, require_same_labels, visible_entries
from scl.errors import UserError, first_line, unknown

IMAGE_COLUMNS = ("img", "image")
VALIDATION = ("validation", "valid", "val")  # names of the part that some data sets have in place of a test part


def parquet_parts(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of both parts, in the folder or in its one subfolder that has some; empty lists if none.

    Data sets on the Hugging Face hub lie in `data/`, or in a subfolder per configuration. If there is a validation
    part but no test part, the validation part becomes the test part.

    Raises:
        UserError: several subfolders hold a data set, or a part has both `test.parquet` and `test-*.parquet`.
    """
    places = [folder]
    if not _shards(folder, "train") and not (folder / "train").is_dir():
        inside = [Path(entry.path) for entry in visible_entries(folder) if entry.is_dir() and not entry.is_symlink()]
        places = [place for place in inside if _shards(place, "train")] or [folder]
    if len(places) > 1:
        names = ", ".join(str(place) for place in places)
        raise UserError(f"--data {folder}: this folder holds several data sets; give one of them: {names}")
    parts = {part: _shards(places[0], part) for part in PARTS}
    if parts["train"] and not parts["test"]:
        parts["test"] = next((found for name in VALIDATION if (found := _shards(places[0], name))), [])
    return parts


def _shards(folder: Path, part: str) -> list[Path]:
    """The files of a part: `train.parquet`, `train-*.parquet` or `train/*.parquet`."""
    shards, single = sorted(folder.glob(f"{part}-*.parquet")), folder / f"{part}.parquet"
    if shards and single.exists():
        raise UserError(f"--data {folder}: it has both {single.name} and {shards[0].name}; remove one of them")
    return [single] if single.exists() else shards or sorted((folder / part).glob("*.parquet"))


def _missing_shards(shards: list[Path]) -> str:
    """A sentence if there are fewer shards than the file names announce (…-00000-of-00004.parquet), else ''."""
    announced = [int(m[1]) for file in shards if (m := re.search(r"-of-(\d+)\.parquet$", file.name))]
    if not announced or max(announced) == len(shards):
        return ""
    return f" Only {len(shards)} of the {max(announced)} {shards[0].name.split('-')[0]} files are present."


def read_parquet(folder: Path, shards: Mapping[str, list[Path]], label: str | None) -> EncodedFolder:
    """Read the labels of both parts; their images are read when they are asked for.

    Args:
        label: the label column; it may be None if there is only one.

    Raises:
        UserError: a damaged shard, a missing or ambiguous column, or a null.
    """
    first = shards["train"][0]
    with _opened(first) as file:
        schema = file.schema_arrow
    image = _image_column(first, schema)
    label = _label_column(first, schema, label)
    raw = {part: np.concatenate([_labels(file, label) for file in shards[part]]) for part in PARTS}
    for part in PARTS:
        if not len(raw[part]):
            raise UserError(f"--data {folder}: the {part} part has no rows")
    require_same_labels(folder, set(raw["train"].tolist()), set(raw["test"].tolist()))
    values = np.unique(raw["train"])
    parts = {
        part: EncodedPart(np.searchsorted(values, raw[part]).astype(np.int64), _Images(shards[part], image))
        for part in PARTS
    }
    what = f"A folder of Parquet files, label column {label}"
    caveat = _test_part_note(shards["test"][0]) + "".join(_missing_shards(shards[part]) for part in PARTS)
    return EncodedFolder(parts, _class_names(schema, label, values), what, caveat)


def _test_part_note(shard: Path) -> str:
    if shard.name.startswith("test") or shard.parent.name == "test":
        return "It comes with its own test part."
    return f"It has no test part: its validation part ({shard.name}) serves as the test part, and for nothing else."


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open Parquet file. Raises UserError with the file's name if it is damaged."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as Parquet ({first_line(error)}); it is damaged or cut off, so download it again"
        ) from error


def _image_column(path: Path, schema: Any) -> str:
    def holds_images(column: str) -> bool:
        kind = schema.field(column).type if schema.names.count(column) == 1 else None
        if not (isinstance(kind, pa.StructType) and kind.get_field_index("bytes") >= 0):
            return False
        content = kind.field("bytes").type
        return bool(pa.types.is_binary(content) or pa.types.is_large_binary(content))

    found = [column for column in IMAGE_COLUMNS if holds_images(column)]
    found = found or [column for column in schema.names if holds_images(column)]
    if len(found) != 1:
        raise UserError(
            f"{path}: {'several image columns' if found else 'no image column'}; there must be exactly one, a struct "
            f"with a field 'bytes', or one of them named 'img' or 'image'; the columns are: {', '.join(schema.names)}"
        )
    return found[0]


def _label_column(path: Path, schema: Any, label: str | None) -> str:
    columns = [field.name for field in schema if pa.types.is_integer(field.type)]
    if not columns:
        raise UserError(f"{path}: no label column (a column of integers); the columns are: {', '.join(schema.names)}")
    if label is None and len(columns) > 1:
        raise UserError(f"{path}: several label columns; choose one with --label: {', '.join(columns)}")
    if label is not None and label not in columns:
        raise UserError(f"--label: {unknown('label column', label, columns)}")
    return label or columns[0]


def _labels(path: Path, label: str) -> np.ndarray:
    """The label column of a shard: int64 (rows,)."""
    with _opened(path) as file:
        if label not in file.schema_arrow.names:
            raise UserError(f"{path}: no column {label!r}, but the first training file has it")
        column = file.read(columns=[label]).column(label)
        if not pa.types.is_integer(column.type):
            raise UserError(f"{path}: column {label!r} holds {column.type}, not integers")
        if column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise UserError(f"{path}, row {row}: the label ({label}) is null; remove or fill the row")
        return np.asarray(column.cast(pa.int64()).to_numpy())


@dataclass(frozen=True)
class _Images:
    """The images of some shards, in the column `image`; read each time when they are iterated."""

    shards: list[Path]
    image: str

    def __iter__(self) -> Iterator[Source]:
        return _sources(self.shards, self.image)


def _sources(shards: list[Path], image: str) -> Iterator[Source]:
    for path in shards:
        with _opened(path) as file:
            if _image_column(path, file.schema_arrow) != image:
                raise UserError(f"{path}: no image column {image!r}, but the first training file has it")
            batches = file.iter_batches(batch_size=64, columns=[f"{image}.bytes"])
            images = (pc.struct_field(batch.column(0), "bytes").to_pylist() for batch in batches)
            for row, content in enumerate(itertools.chain.from_iterable(images)):
                if content is None:
                    raise UserError(f"{path}, row {row}: the image is null; remove or fill the row")
                yield f"{path}, row {row}", content


def _class_names(schema: Any, label: str, values: np.ndarray) -> list[str]:
    """Names of the label values from Hugging Face's metadata, or the values themselves without such metadata."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
        names = dict(enumerate(names)) if isinstance(names, list) else {int(k): v for k, v in names.items()}
    except (KeyError, TypeError, ValueError, AttributeError):  # other writers store no such metadata
        names = {}
    return [str(names.get(value, value)) for value in values.tolist()]
