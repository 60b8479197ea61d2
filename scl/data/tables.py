"""Tables in files: Parquet, and Arrow's stream and file formats. Nothing else than Arrow reads them.

A damaged file is a UserError with its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scl.data.columns import Labels, image_column, in_one_list, is_text, label_column, labels_of
from scl.data.encoded import Source
from scl.data.parts import NAMES, PART_COLUMNS, Choices, Found, FoundPart, parts_in_column, subset
from scl.errors import UserError, first_line

ROWS = 128  # that are read at once: photos may have some MB each
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(frozen=True)
class _Images:
    """The encoded images of some files, read row by row; each iteration opens the files anew."""

    files: Sequence[Path]
    column: str

    def __iter__(self) -> Iterator[Source]:
        for path in self.files:
            row = 0
            with _opened(path) as file:
                for batch in _batches(file, self.column):
                    for content in batch:
                        if content is None:
                            why = "the image is null (a path alone is not followed); remove or fill the row"
                            raise UserError(f"{path}, row {row}: {why}")
                        yield f"{path}, row {row}", content
                        row += 1


def read_tables(files: Mapping[str, Sequence[Path]], choices: Choices, what: str) -> Found:
    """The images and labels of a data set in tables. files: of each part, in order. what: for the note.

    Raises:
        UserError: a damaged file, a missing or ambiguous column, or labels without one meaning.
    """
    first = next(iter(files.values()))[0]
    with _opened(first) as file:
        schema = _schema(file)
    image = image_column(first, schema)
    label = label_column(first, schema.remove(schema.get_field_index(image)), choices.label)
    labels = {part: [_labels(path, image, label) for path in paths] for part, paths in files.items()}
    classes, codes, differ = in_one_list([each for of_part in labels.values() for each in of_part])
    remaining = iter(codes)
    parts = {
        part: FoundPart(np.concatenate([next(remaining) for _ in paths]), _Images(paths, image), paths[0].name)
        for part, paths in files.items()
    }
    if list(parts) == ["train"]:
        parts = _by_column(parts["train"], files["train"])
    remarks = ("The files number their classes differently; classes were matched by name.",) if differ else ()
    return Found(parts, classes, f"{what}, label column {label}", remarks)


def _by_column(images: FoundPart, files: Sequence[Path]) -> dict[str, FoundPart]:
    """The parts of a table that names them in a column `split`; else train alone."""
    words: list[str] = []
    for path in files:
        with _opened(path) as file:
            texts = [field.name for field in _schema(file) if is_text(getattr(field.type, "value_type", field.type))]
            columns = {name: _column(file, name).to_pylist() for name in texts if name.casefold() in PART_COLUMNS}
        named = (parts_in_column(*column, partial("{}, row {}".format, path)) for column in columns.items())
        found = next((parts for parts in named if parts is not None), None)
        if found is None and any(columns.values() or [True]):
            return {"train": images}
        words += found or []
    return {part: subset(images, np.array([word == part for word in words])) for part in NAMES if part in words}


def _labels(path: Path, image: str, label: str) -> Labels:
    """The label column of a file."""
    with _opened(path) as file:
        schema = _schema(file)
        if label not in schema.names:
            raise UserError(f"{path}: no column {label!r}, but the first training file has it")
        if image_column(path, schema) != image:
            raise UserError(f"{path}: no image column {image!r}, but the first training file has it")
        return labels_of(_column(file, label), label, path, partial("{}, row {}".format, path), schema)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open file. Raises UserError with the file's name if it is damaged."""
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path, pre_buffer=False) as file:
                yield file
        else:
            with pa.memory_map(str(path)) as mapped, _arrow(path, mapped) as reader:
                yield reader
    except (pa.ArrowException, OSError) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise UserError(
            f"{path}: cannot be read as {kind} ({first_line(error)}); it is damaged or cut off, so download it again"
        ) from error


def _arrow(path: Path, mapped: Any) -> Any:
    """A reader of Arrow's stream format, as `datasets` writes it, or of its file format."""
    if mapped.read(6) == b"ARROW1":
        return pa.ipc.open_file(mapped)
    mapped.seek(max(0, mapped.size() - len(END_OF_STREAM)))
    if mapped.read() != END_OF_STREAM:
        raise pa.ArrowInvalid("it has no end")
    mapped.seek(0)
    return pa.ipc.open_stream(mapped)


def _schema(file: Any) -> pa.Schema:
    return file.schema_arrow if isinstance(file, pq.ParquetFile) else file.schema


def _tables(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def _column(file: Any, name: str) -> pa.ChunkedArray:
    if isinstance(file, pq.ParquetFile):
        return file.read(columns=[name]).column(name)
    position = file.schema.get_field_index(name)
    return pa.chunked_array([batch.column(position) for batch in _tables(file)], file.schema.field(position).type)


def _batches(file: Any, column: str) -> Iterator[list[bytes | None]]:
    """The column of images in pieces of some rows."""
    if isinstance(file, pq.ParquetFile):
        struct = isinstance(file.schema_arrow.field(column).type, pa.StructType)
        names = [f"{column}.bytes" if struct else column]
        found: Iterator[Any] = (batch.column(0) for batch in file.iter_batches(batch_size=ROWS, columns=names))
    else:
        position = file.schema.get_field_index(column)
        whole = (batch.column(position) for batch in _tables(file))
        found = (array.slice(start, ROWS) for array in whole for start in range(0, len(array), ROWS))
    for array in found:
        yield (pc.struct_field(array, "bytes") if isinstance(array.type, pa.StructType) else array).to_pylist()
