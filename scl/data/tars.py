"""WebDataset tars: images and their labels side by side in uncompressed archives, read in place.

Nothing is extracted to disk, links and devices are not followed, and pickles are not read.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa

from scl.data.columns import LABEL_COLUMNS, Labels, in_one_list, labels_of
from scl.data.encoded import IMAGE_SUFFIXES, DatasetFiles, Source
from scl.data.parts import NAMES, Choices, Found, FoundPart, encoded_folder, listed
from scl.data.shards import inside, shards
from scl.errors import UserError, first_line

LABEL_FILES = ("cls", "class", "label", "json", "txt")  # by precedence, if samples have several
PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz")
LARGEST_LABEL = 1_000_000  # bytes of a label's file
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class _Member:
    """A file in a tar: its name, and where its content lies."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class _Tar:
    """A tar's samples: their images, and the values of their labels."""

    path: Path
    images: list[_Member]
    values: list[Any]


@dataclass(frozen=True)
class _Images:
    """The encoded images of some tars, read one by one; each iteration opens the tars anew."""

    tars: Sequence[_Tar]

    def __iter__(self) -> Iterator[Source]:
        for tar in self.tars:
            with tar.path.open("rb") as file:
                for member in tar.images:
                    file.seek(member.offset)
                    yield f"{tar.path}, {member.name}", file.read(member.size)


def tar_files(folder: Path, choices: Choices) -> DatasetFiles | None:
    """The data set in the tars of a folder, or of its one subfolder that has some; None if there are none."""
    skipped: Counter[str] = Counter()
    files = shards(folder, ".tar", skipped)
    if not files:
        places = inside(folder, ".tar")
        if len(places) > 1:
            names = ", ".join(map(str, places))
            raise UserError(f"--data {folder}: this folder holds several data sets; give one of them: {names}")
        files = shards(places[0], ".tar", skipped) if places else {}
    return some_tars(folder, files, choices, skipped) if files else None


def with_braces(name: str) -> list[Path]:
    """The paths of a pattern as WebDataset writes it: photos-{000..013}.tar."""
    pieces = BRACES.split(name)
    numbers = []
    for low, high in zip(pieces[1::3], pieces[2::3], strict=True):
        if int(high) < int(low) or int(high) - int(low) > 100_000:
            raise UserError(f"--data {name}: {{{low}..{high}}} must rise, by 100,000 at most")
        numbers.append([f"{number:0{len(low)}}" for number in range(int(low), int(high) + 1)])
    return [
        Path("".join(text + number for text, number in zip(pieces[::3], [*chosen, ""], strict=True)))
        for chosen in product(*numbers)
    ]


def some_tars(
    place: Path, files: Mapping[str, Sequence[Path]], choices: Choices, skipped: Mapping[str, int] | None = None
) -> DatasetFiles:
    """A data set in tars. files: of each part."""
    ordered = {part: files[part] for part in NAMES if part in files}

    def read() -> Any:
        return encoded_folder(place, _found(ordered, choices, Counter(skipped or {})), choices)

    return DatasetFiles([path for paths in ordered.values() for path in paths], choices.key, read)


def _found(files: Mapping[str, Sequence[Path]], choices: Choices, skipped: Counter[str]) -> Found:
    members = {path: _members(path, skipped) for paths in files.values() for path in paths}
    kind = _label_file(members, choices)
    tars = {path: _tar(path, samples, kind, choices.label) for path, samples in members.items()}
    for samples in members.values():
        for of_sample in samples.values():
            for extension in of_sample:
                if extension != kind and not f".{extension}".endswith(IMAGE_SUFFIXES):
                    skipped[f".{extension} file"] += 1
    labels: list[Labels] = []
    for paths in files.values():
        part = [tars[path] for path in paths]
        where = [f"{tar.path}, {image.name}" for tar in part for image in tar.images]
        values = [value for tar in part for value in tar.values]
        try:
            column = pa.array(values) if values else pa.array([], pa.string())
        except (pa.ArrowException, OverflowError):
            raise UserError(
                f"{paths[0]}: its labels (.{kind}) have several types; write all as text or as numbers"
            ) from None
        labels.append(labels_of(column, kind, paths[0], where.__getitem__, pa.schema([])))
    classes, codes, _ = in_one_list(labels)
    parts = {
        part: FoundPart(numbers, _Images([tars[path] for path in files[part]]), files[part][0].name)
        for part, numbers in zip(files, codes, strict=True)
    }
    return Found(parts, classes, f"WebDataset tars, labels from .{kind} files", (), skipped)


def _members(path: Path, skipped: Counter[str]) -> dict[str, dict[str, _Member]]:
    """The files of a tar by sample and extension. A sample's files share their name up to the first dot.

    Raises:
        UserError: the tar is damaged, cut off, compressed or several in one; or it has a file twice.
    """
    samples: dict[str, dict[str, _Member]] = {}
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                folder, _, name = info.name.rpartition("/")
                stem, _, extension = name.partition(".")
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    skipped["link or device in a tar"] += 1
                elif not stem or not extension:
                    skipped["hidden file" if not stem else "file without a suffix"] += 1
                else:
                    if info.offset_data + info.size > size:
                        raise tarfile.ReadError("unexpected end of data")
                    of_sample = samples.setdefault(f"{folder}/{stem}", {})
                    if extension.lower() in of_sample:
                        raise UserError(f"{path}: {info.name} is in it twice; write the tar again")
                    of_sample[extension.lower()] = _Member(info.name, info.offset_data, info.size)
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header
            end = tar.offset
        with path.open("rb") as file:
            file.seek(end)
            rest = file.read(BLOCK)
            if not rest or rest.strip(b"\0"):
                raise tarfile.ReadError("it has no end, so it is cut off or damaged")
            while more := file.read(BLOCK * 128):
                if more.strip(b"\0"):
                    raise tarfile.ReadError("another archive follows its end")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as an uncompressed tar ({first_line(error)}); download it again, or unpack "
            "what it is compressed with"
        ) from error
    return samples


def _label_file(members: Mapping[Path, Mapping[str, Mapping[str, _Member]]], choices: Choices) -> str:
    """The extension of the files that hold the labels."""
    counts = Counter(ext for samples in members.values() for of_sample in samples.values() for ext in of_sample)
    if choices.label is not None and choices.label in counts:
        return choices.label
    valid = ("json",) if choices.label is not None else LABEL_FILES
    found = next((kind for kind in valid if kind in counts), None)
    if found is None:
        pickled = [kind for kind in PICKLES if kind in counts]
        why = f"; .{pickled[0]} files are not read, because they may run code" if pickled else ""
        there = listed([f".{kind}" for kind in sorted(counts)])
        raise UserError(
            f"{next(iter(members))}: no labels; each image needs a file of the same name that ends in "
            f"{listed([f'.{kind}' for kind in valid])}; there are: {there}{why}"
        )
    return found


def _tar(path: Path, samples: Mapping[str, Mapping[str, _Member]], kind: str, label: str | None) -> _Tar:
    """The images of a tar, and the values of their labels."""
    images, values = [], []
    with path.open("rb") as file:
        for key, of_sample in samples.items():
            found = [ext for ext in of_sample if f".{ext}".endswith(IMAGE_SUFFIXES)]
            if not found:
                continue
            if len(found) > 1:
                names = listed([of_sample[ext].name for ext in found])
                raise UserError(f"{path}: a sample has several images ({names}); keep one of them")
            image = of_sample[found[0]]
            if kind not in of_sample:
                raise UserError(f"{path}, {image.name}: it has no label (a file {key.lstrip('/')}.{kind}); add it")
            images.append(image)
            values.append(_value(path, file, of_sample[kind], kind, label))
    return _Tar(path, images, values)


def _value(path: Path, file: Any, member: _Member, kind: str, label: str | None) -> Any:
    """The label in a file of a tar: text, a whole number, or a field of a JSON object."""
    where = f"{path}, {member.name}"
    if member.size > LARGEST_LABEL:
        raise UserError(f"{where}: a label of {member.size:,} bytes; it holds something else")
    file.seek(member.offset)
    try:
        text = file.read(member.size).decode("utf-8-sig").strip()
        if kind != "json":
            return text
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: cannot be read as {'JSON' if kind == 'json' else 'text'} ({first_line(error)})"
        ) from error
    if not isinstance(content, dict):
        return content
    names = [label] if label is not None else [name for name in content if name.casefold() in (*LABEL_COLUMNS, "cls")]
    if len(names) != 1 or names[0] not in content:
        what = "several fields could be" if len(names) > 1 else "no field is"
        raise UserError(f"{where}: {what} the label; choose one with --label: {listed(list(content))}")
    return content[names[0]]
