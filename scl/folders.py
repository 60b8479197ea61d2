"""A folder of Hugging Face image Parquet, or of image files, read and decoded.

Every mistake in the user's data is a UserError that names the file, and the row of a Parquet file, from 0.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scl.config import UserError, unknown

IMAGE_COLUMNS = ("img", "image")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SMALLEST_SIDE = 4
PARTS = ("train", "test")
VALIDATION = ("validation", "valid", "val")  # how the hub calls what some data sets have in place of a test part

# Raised by hand when decoding changes pixels, labels or descriptions: caches of older versions are not read.
DECODER_VERSION = 1

LAYOUTS = (
    "Parquet files train-*.parquet and test-*.parquet (an image column 'img' or 'image' with a field 'bytes', "
    "and an integer label column), or images train/CLASS/*.png and test/CLASS/*.png (also jpg, jpeg, bmp, webp)"
)


@dataclass(frozen=True)
class Decoded:
    """What a folder holds: images uint8 (N, C, H, W) and class numbers int64 (N,) of both parts, class names."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: list[str]
    what: str
    caveat: str


@dataclass(frozen=True)
class Found:
    """A data set found in a folder, not yet read: its files, what else decides its content, and how to read it."""

    files: list[Path]
    label: str | None
    read: Callable[[], Decoded]


Source = tuple[str, Path | bytes]
"""An image still encoded: how messages call it, and its file or content."""


@dataclass(frozen=True)
class _Part:
    """The images of train or test, still encoded, with their class numbers (N,)."""

    labels: np.ndarray
    sources: Iterable[Source]


def find(folder: Path, label: str | None) -> Found:
    """The data set in an existing folder.

    Raises:
        UserError: neither layout, one part only, an empty class folder, a link that leads out of the folder, or a
            label column given for image files. What is wrong inside the files, `read` raises.
        OSError: the folder cannot be read.
    """
    shards = _parquet_parts(folder)
    if any(shards.values()):
        _both_parts(folder, shards, "{}-*.parquet")
        files = [file for part in PARTS for file in shards[part]]
        return Found(files, label, lambda: _from_parquet(folder, shards, label))
    present = {part: (folder / part).is_dir() for part in PARTS}
    if not any(present.values()):
        raise UserError(f"--data {folder}: no data set found in this folder; it must hold {LAYOUTS}")
    if label is not None:
        raise UserError(f"--label {label!r}: {folder} holds images, whose labels are their class folders; drop --label")
    _both_parts(folder, present, "{}/")
    images = {part: _class_folders(folder, part) for part in PARTS}
    files = [file for part in PARTS for in_class in images[part].values() for file in in_class]
    return Found(files, None, lambda: _from_images(folder, images))


def reason(error: BaseException) -> str:
    """An error in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _both_parts(folder: Path, found: Mapping[str, object], pattern: str) -> None:
    for part, other in (PARTS, PARTS[::-1]):
        if not found[part]:
            raise UserError(
                f"--data {folder}: {pattern.format(other)} is there, {pattern.format(part)} is not; "
                "a data set needs both a training and a test part"
            )


def _same_labels(folder: Path, train: set[Any], test: set[Any]) -> None:
    """Raises UserError unless both parts hold the same labels, at least two."""
    for here, there, part, other in ((train, test, "train", "test"), (test, train, "test", "train")):
        if lacking := sorted(here - there):
            more = f" and {len(lacking) - 10} more" if len(lacking) > 10 else ""
            raise UserError(
                f"--data {folder}: {other} lacks labels that {part} has: {', '.join(map(str, lacking[:10]))}{more}; "
                "both parts need the same classes"
            )
    if len(train) < 2:
        raise UserError(f"--data {folder}: number of classes: {len(train)}; a classifier needs at least 2")


# ------------------------------------------------------------------------------------------- a folder of Parquet


def _parquet_parts(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of both parts: in the folder, or in the one folder in it that has some.

    Data sets on Hugging Face's hub lie in `data/`, or in a folder for each of their configurations. Some have no
    test part but a validation part, which then is the test part.
    """
    places = [folder]
    if not _shards(folder, "train") and not (folder / "train").is_dir():
        inside = [Path(entry.path) for entry in _entries(folder) if entry.is_dir() and not entry.is_symlink()]
        places = [place for place in inside if _shards(place, "train")] or [folder]
    if len(places) > 1:
        names = ", ".join(str(place) for place in places)
        raise UserError(f"--data {folder}: several data sets are in this folder; give one of them: {names}")
    parts = {part: _shards(places[0], part) for part in PARTS}
    if parts["train"] and not parts["test"]:
        parts["test"] = next((found for name in VALIDATION if (found := _shards(places[0], name))), [])
    return parts


def _shards(folder: Path, part: str) -> list[Path]:
    """Files of a part: `train-*.parquet`, `train.parquet`, or `train/*.parquet`."""
    shards, single = sorted(folder.glob(f"{part}-*.parquet")), folder / f"{part}.parquet"
    if shards and single.exists():
        raise UserError(f"--data {folder}: both {single.name} and {shards[0].name} are there; keep one of the two")
    return [single] if single.exists() else shards or sorted((folder / part).glob("*.parquet"))


def _missing_shards(shards: list[Path]) -> str:
    """A sentence when fewer shards are there than the file names announce (…-00000-of-00004.parquet), else ''."""
    announced = [int(m[1]) for file in shards if (m := re.search(r"-of-(\d+)\.parquet$", file.name))]
    if not announced or max(announced) == len(shards):
        return ""
    return f" Only {len(shards)} of the {max(announced)} {shards[0].name.split('-')[0]} files are there."


def _from_parquet(folder: Path, shards: Mapping[str, list[Path]], label: str | None) -> Decoded:
    schema = _with_parquet(shards["train"][0], lambda file: file.schema_arrow)
    image = _image_column(shards["train"][0], schema)
    label = _label_column(shards["train"][0], schema, label)
    raw = {part: np.concatenate([_labels(file, label) for file in shards[part]]) for part in PARTS}
    for part in PARTS:
        if not len(raw[part]):
            raise UserError(f"--data {folder}: the {part} part has no rows")
    _same_labels(folder, set(raw["train"].tolist()), set(raw["test"].tolist()))
    values = np.unique(raw["train"])
    parts = {
        part: _Part(np.searchsorted(values, raw[part]).astype(np.int64), _parquet_sources(shards[part], image))
        for part in PARTS
    }
    train, test = _decoded(parts["train"], parts["test"])
    return Decoded(
        train,
        test,
        _class_names(schema, label, values),
        what=f"A folder of Parquet files, label column {label}",
        caveat=_test_is(shards["test"][0]) + "".join(_missing_shards(shards[part]) for part in PARTS),
    )


def _test_is(shard: Path) -> str:
    if shard.name.startswith("test") or shard.parent.name == "test":
        return "The test part is the folder's own."
    return f"The folder has no test part: its validation part ({shard.name}) is used as one, for testing alone."


def _with_parquet(path: Path, use: Callable[[Any], Any]) -> Any:
    """What `use` makes of the open Parquet file; raises UserError, with the file's name, when it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return use(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read as Parquet ({reason(error)}); it is damaged or cut off, fetch it again")


def _image_column(path: Path, schema: Any) -> str:
    import pyarrow as pa

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
    import pyarrow as pa

    columns = [field.name for field in schema if pa.types.is_integer(field.type)]
    if not columns:
        raise UserError(f"{path}: no label column, which holds integers; the columns are: {', '.join(schema.names)}")
    if label is None and len(columns) > 1:
        raise UserError(f"{path}: several label columns; choose one with --label: {', '.join(columns)}")
    if label is not None and label not in columns:
        raise UserError(f"--label: {unknown('label column', label, columns)}")
    return label or columns[0]


def _labels(path: Path, label: str) -> np.ndarray:
    """The label column of a shard, int64 (rows,)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def read(file: Any) -> np.ndarray:
        if label not in file.schema_arrow.names:
            raise UserError(f"{path}: no column {label!r}, which the first training file has")
        column = file.read(columns=[label]).column(label)
        if not pa.types.is_integer(column.type):
            raise UserError(f"{path}: column {label!r} holds {column.type}, not integers")
        if column.null_count:
            raise UserError(f"{path}, row {pc.index(column.is_null(), True).as_py()}: the label ({label}) is null")
        return np.asarray(column.cast(pa.int64()).to_numpy())

    return np.asarray(_with_parquet(path, read))


def _parquet_sources(shards: list[Path], image: str) -> Iterator[Source]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in shards:
        row = 0
        try:
            with pq.ParquetFile(path) as file:
                if _image_column(path, file.schema_arrow) != image:
                    raise UserError(f"{path}: no image column {image!r}, which the first training file has")
                for batch in file.iter_batches(batch_size=1024, columns=[f"{image}.bytes"]):
                    for content in pc.struct_field(batch.column(0), "bytes").to_pylist():
                        if content is None:
                            raise UserError(f"{path}, row {row}: the image is null; remove the row or fill it")
                        yield f"{path}, row {row}", content
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error


def _class_names(schema: Any, label: str, values: np.ndarray) -> list[str]:
    """Names of the label values, from the metadata that Hugging Face writes, or the values themselves."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
        names = dict(enumerate(names)) if isinstance(names, list) else {int(k): v for k, v in names.items()}
    except (KeyError, TypeError, ValueError, AttributeError):  # another writer's file has none, or others
        names = {}
    return [str(names.get(value, value)) for value in values.tolist()]


# -------------------------------------------------------------------------------------------- a folder of images


def _class_folders(folder: Path, part: str) -> dict[str, list[Path]]:
    """Classes of train or test with their image files, both sorted by name."""
    root = os.path.realpath(folder)

    def refuse_outside(entry: os.DirEntry[str]) -> None:
        if os.path.commonpath([root, os.path.realpath(entry.path)]) != root:
            raise UserError(f"{entry.path}: a link that leads out of {folder}; put the file itself there")

    classes: dict[str, list[Path]] = {}
    for class_entry in _entries(folder / part):
        if not class_entry.is_dir():
            continue
        refuse_outside(class_entry)
        files = []
        for entry in _entries(class_entry.path):
            if not entry.name.lower().endswith(IMAGE_SUFFIXES):
                continue
            if entry.is_symlink():
                refuse_outside(entry)
            if entry.is_symlink() or entry.is_file():  # a dead link is kept: reading it says so
                files.append(Path(entry.path))
        if not files:
            raise UserError(
                f"{class_entry.path}: no image in this class folder ({', '.join(IMAGE_SUFFIXES)}); fill or remove it"
            )
        classes[class_entry.name] = files
    return classes


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def _from_images(folder: Path, images: Mapping[str, Mapping[str, list[Path]]]) -> Decoded:
    _same_labels(folder, set(images["train"]), set(images["test"]))
    classes = sorted(images["train"])
    parts = []
    for part in PARTS:
        files = [(number, file) for number, c in enumerate(classes) for file in images[part][c]]
        labels = np.array([number for number, _ in files], dtype=np.int64)
        parts.append(_Part(labels, [(str(file), file) for _, file in files]))
    train, test = _decoded(*parts)
    return Decoded(train, test, classes, "A folder of images", "The test part is the folder's own.")


# --------------------------------------------------------------------------------------------------- decoding


def _decoded(train: _Part, test: _Part) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images (N, C, H, W) and labels of both parts: grey when all images are, else RGB."""
    train_images = _decode(train, None)
    test_images = _decode(test, train_images.shape[2:])
    channels = max(train_images.shape[1], test_images.shape[1])
    both = [
        images if images.shape[1] == channels else np.repeat(images, channels, axis=1)
        for images in (train_images, test_images)
    ]
    return (both[0], train.labels), (both[1], test.labels)


def _decode(part: _Part, size: tuple[int, ...] | None) -> np.ndarray:
    """The images of a part, uint8 (N, 1 or 3, H, W); all must have `size` (H, W), or that of the first."""
    from PIL import Image

    sources = iter(part.sources)
    first = next(sources)
    with warnings.catch_warnings():
        # Pillow warns of images that are suspiciously large, which we refuse, and of trifles, which we leave.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        size = size or _pixels(first, None).shape[1:]
        if min(size) < SMALLEST_SIDE:
            raise UserError(
                f"{first[0]}: an image of {size[0]}×{size[1]} pixels; the networks need at least "
                f"{SMALLEST_SIDE}×{SMALLEST_SIDE}"
            )
        count = len(part.labels)
        try:
            images = np.empty((count, 3, *size), dtype=np.uint8)
        except MemoryError as error:
            needed = count * 3 * size[0] * size[1] / 1e9
            raise UserError(f"{first[0]}: {count:,} images of this size need {needed:,.0f} GB of memory") from error
        grey = np.zeros(count, dtype=bool)

        def decode(chunk: list[tuple[int, Source]]) -> None:
            for index, source in chunk:
                pixels = _pixels(source, size)
                grey[index] = len(pixels) == 1
                images[index] = pixels  # a grey one fills all three channels

        # Chunks, because a small image is decoded in less time than a thread takes to be handed it.
        numbered = enumerate(itertools.chain([first], sources))
        chunks = iter(lambda: list(itertools.islice(numbered, 256)), [])
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(decode, chunks))
    return np.ascontiguousarray(images[:, :1]) if grey.all() else images


def _pixels(source: Source, size: tuple[int, ...] | None) -> np.ndarray:
    """One decoded image, uint8 (1 or 3, H, W)."""
    from PIL import Image

    where, content = source
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=IMAGE_FORMATS) as image:
            if size is not None and (image.height, image.width) != size:
                raise UserError(
                    f"{where}: an image of {image.height}×{image.width} pixels; the first is {size[0]}×{size[1]}, "
                    "and all must have one size (height×width)"
                )
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{where}: pixels of more than 8 bits (mode {image.mode}); save it with 8 bits")
            grey = image.mode in ("1", "L", "LA")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except UserError:
        raise
    except Exception as error:  # a damaged image makes Pillow raise all sorts of errors
        raise UserError(
            f"{where}: cannot be decoded as a PNG, JPEG, BMP or WebP image ({reason(error)}); replace or remove it"
        ) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)
