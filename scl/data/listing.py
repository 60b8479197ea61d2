"""Image files with a list of their labels: metadata.csv or metadata.jsonl beside them, or a CSV of the user's."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scl.data.columns import LABEL_COLUMNS, Labels, in_one_list, label_column, labels_of
from scl.data.encoded import IMAGE_SUFFIXES, DatasetFiles, EncodedFolder, visible_entries
from scl.data.parts import (
    NAMES,
    PART_COLUMNS,
    Choices,
    Found,
    FoundPart,
    encoded_folder,
    part_of_folder,
    parts_in_column,
)
from scl.errors import UserError, first_line

METADATA = ("metadata.csv", "metadata.jsonl")
SUFFIXES = (".csv", ".tsv", ".jsonl")
FILE_COLUMNS = ("file_name", "filename", "file", "path", "filepath", "file_path", "image_path", "image", "img")


@dataclass(frozen=True)
class _List:
    """Rows of a listing. files: below its folder. columns: of the other columns. lines: of the rows, for messages."""

    path: Path
    files: list[str]
    columns: Mapping[str, list[Any]]
    lines: list[int]

    def row(self, index: int) -> str:
        return f"{self.path}, line {self.lines[index]}"


def listing_files(folder: Path, choices: Choices) -> DatasetFiles | None:
    """The images that a metadata.csv or metadata.jsonl lists, in the folder or in each part's folder; None if none.

    Raises:
        UserError: as `one_listing`; or a part has no list, or two.
    """
    if (own := _metadata(folder)) is not None:
        return _files(folder, {"": own}, choices)
    places = {entry.name: Path(entry.path) for entry in visible_entries(folder) if entry.is_dir()}
    parts = {name: part for name in places if (part := part_of_folder(name))}
    lists = {name: _metadata(places[name]) for name in parts}
    if not any(lists.values()):
        return None
    found: dict[str, Path] = {}
    for name, part in parts.items():
        own = lists[name]
        if own is None:
            raise UserError(
                f"--data {folder}: {name}/ has no metadata.csv or metadata.jsonl, and another part has; add it "
                "(file_name, label), or remove the folder"
            )
        if part in found:
            raise UserError(f"--data {folder}: two folders could both be the {NAMES[part]} part; remove one of them")
        found[part] = own
    return _files(folder, found, choices)


def one_listing(path: Path, choices: Choices) -> DatasetFiles:
    """The images that a CSV, TSV or JSON Lines file lists, with their labels, and their parts if it has such a column.

    Raises:
        UserError: the file is damaged, lacks a column of file names or labels, or names a file that is not there, lies
            outside of its folder, or is listed twice.
    """
    return _files(path.parent, {"": path}, choices, whole=False)


def _metadata(folder: Path) -> Path | None:
    there = [folder / name for name in METADATA if (folder / name).exists()]
    if len(there) > 1:
        raise UserError(f"--data {folder}: it has both {METADATA[0]} and {METADATA[1]}; remove one of them")
    return there[0] if there else None


def _files(folder: Path, lists: Mapping[str, Path], choices: Choices, whole: bool = True) -> DatasetFiles:
    """lists: part → file; '' if one file lists all parts. whole: every image of the folder should be listed."""
    rows = {part: _rows(path) for part, path in lists.items()}
    images = [path.parent / file for part, path in lists.items() for file in rows[part].files]
    skipped: Counter[str] = Counter()
    if whole:
        known = {os.path.normpath(image) for image in images}
        there = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
        unlisted = [path for path in there if path.lower().endswith(IMAGE_SUFFIXES) and path not in known]
        skipped.update({"image that is not listed": len(unlisted)} if unlisted else {})
    return DatasetFiles(
        [*lists.values(), *images],
        choices.key,
        lambda: _encoded(folder, list(rows.values()), list(rows), choices),
        skipped,
    )


def _encoded(folder: Path, lists: list[_List], of_part: list[str], choices: Choices) -> EncodedFolder:
    label = _label(lists[0], choices)
    found = [_labels(each, label) for each in lists]
    classes, codes, _ = in_one_list(found)
    parts = {}
    for each, part, numbers in zip(lists, of_part, codes, strict=True):
        names = [part] * len(each.files) if part else _parts(each)
        for name in NAMES:
            at = [index for index, this in enumerate(names) if this == name]
            if at or name == part:
                sources = [(str(path := each.path.parent / each.files[i]), path) for i in at]
                parts[name] = FoundPart(numbers[at].astype(np.int64), sources, f"{name} in {each.path.name}")
    return encoded_folder(folder, Found(parts, classes, f"A list of images, label column {label}"), choices)


def _rows(path: Path) -> _List:
    """The rows of a listing, whose files are all there, below its folder, and listed once."""
    records, lines = _jsonl(path) if path.suffix.lower() == ".jsonl" else _csv(path)
    if not records:
        raise UserError(f"{path}: it lists no images")
    names = list(records[0])
    by_fold = {name.casefold(): name for name in reversed(names)}
    column = next((by_fold[name] for name in FILE_COLUMNS if name in by_fold), None)
    if column is None:
        raise UserError(
            f"{path}: no column of file names, such as file_name; the columns are: {', '.join(map(str, names))}"
        )
    result = _List(path, [], {name: [r.get(name) for r in records] for name in names if name != column}, lines)
    within = os.path.realpath(path.parent)
    seen: dict[str, int] = {}
    for index, record in enumerate(records):
        name = record.get(column)
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise UserError(f"{result.row(index)}: the file name ({column}) is missing; fill or remove the row")
        full = os.path.normpath(path.parent / name.strip())
        real = os.path.realpath(full)
        if os.path.commonpath([within, real]) != within:
            raise UserError(f"{result.row(index)}: {name} lies outside of {path.parent}; put the list above its images")
        if not os.path.isfile(full) and not os.path.exists(full):
            raise UserError(f"{result.row(index)}: there is no file {full}; correct or remove the row")
        if full in seen:
            raise UserError(
                f"{result.row(index)}: {name} is listed before, in line {lines[seen[full]]}; an image has one label, "
                "so list it once"
            )
        seen[full] = index
        result.files.append(os.path.relpath(full, path.parent))
    return result


def _csv(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    text = _text(path)
    header = text.partition("\n")[0]
    mark = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    records, lines = [], []
    try:
        for record in reader:
            if None in record or None in record.values():
                raise UserError(f"{path}, line {reader.line_num}: it has another number of columns than the first line")
            records.append({name.strip(): value.strip() for name, value in record.items()})
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: cannot be read as CSV ({first_line(error)})") from error
    if reader.fieldnames and len(set(reader.fieldnames)) < len(reader.fieldnames):
        raise UserError(f"{path}: two columns have one name: {', '.join(reader.fieldnames)}")
    return records, lines


def _jsonl(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    records, lines = [], []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: cannot be read as JSON ({first_line(error)})") from error
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: it is no object with a file_name and a label")
        records.append(record)
        lines.append(number)
    return records, lines


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeError as error:
        raise UserError(f"{path}: it is not UTF-8 ({first_line(error)}); save it as UTF-8") from error


def _label(rows: _List, choices: Choices) -> str:
    kinds = {}
    for name in rows.columns:
        wanted = name == choices.label or name.casefold() in LABEL_COLUMNS
        with nullcontext() if wanted else suppress(UserError):  # what another column holds does not matter
            kinds[name] = _array(rows, name).type
    return label_column(rows.path, pa.schema(list(kinds.items())), choices.label)


def _labels(rows: _List, label: str) -> Labels:
    if label not in rows.columns:
        raise UserError(f"{rows.path}: no column {label!r}, but the first list has it")
    return labels_of(_array(rows, label), label, rows.path, rows.row, pa.schema([]))


def _array(rows: _List, name: str) -> pa.Array:
    """A column. What a CSV holds is text; an empty cell is null."""
    try:
        return pa.array([None if value == "" else value for value in rows.columns[name]])
    except (pa.ArrowException, OverflowError):
        kinds = sorted({type(value).__name__ for value in rows.columns[name]})
        raise UserError(f"{rows.path}: column {name!r} holds values of several types: {', '.join(kinds)}") from None


def _parts(rows: _List) -> list[str]:
    """The part of each row: by a column for it, else by the first folder of its file, else train."""
    for column in rows.columns:
        if column.casefold() in PART_COLUMNS and (named := parts_in_column(column, rows.columns[column], rows.row)):
            return named
    parts = [part_of_folder(Path(file).parts[0]) if len(Path(file).parts) > 1 else None for file in rows.files]
    if all(part is None for part in parts):
        return ["train"] * len(parts)
    if None in parts:
        at = parts.index(None)
        raise UserError(
            f"{rows.row(at)}: {rows.files[at]} lies in no folder for a part, and other files do; add a column split "
            "(train, val, test)"
        )
    return [str(part) for part in parts]
