"""The cache of decoded folders: an entry for each content of a folder, size and fit.

An entry is a folder with a .npy file for each part, uint8 (N, C, H, W), and `entry.safetensors`: labels, checksums of
images, and a record. It is written under another name and renamed at its end, so that a run that is killed leaves no
entry, and two runs that decode at once leave one. Every image has a CRC-32, which is compared whenever it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scl.data.dataset import Dataset, make_dataset
from scl.data.decode import DECODER_VERSION, About, decode, decoded_sample, values_of
from scl.data.encoded import DatasetFiles, EncodedFolder
from scl.data.preprocessing import Preprocessing
from scl.data.stored import ENTRY, Pixels, SampledImages, StoredImages
from scl.data.survey import Survey, chosen, survey
from scl.errors import UserError
from scl.store.files import PARTIAL, explain
from scl.study.identity import canonical_json, sha256

SAMPLE = 4096  # bytes at the beginning, in the middle and at the end of a file
IN_MEMORY = 256 * 2**20  # bytes of decoded images that a run holds; larger sets stay in their files
CHECKED = 64  # images of a larger set that are compared with their checksums at once; the others, when they are read
PLAN_READS = 8.0  # seconds that a plan spends on headers
PLAN_DECODES = 5.0  # seconds that decoding may take so that a plan does it
RECORDED = ("classes", "flip", "note", "fingerprint", "skipped", "remarks")
ABANDONED = 3600.0  # seconds after which nobody writes to a partial entry any more


def cached_dataset(
    name: str,
    folder: Path,
    cache: Path,
    files: DatasetFiles,
    keep: bool = True,
    size: int | None = None,
    fit: str | None = None,
    plan: bool = False,
) -> Dataset:
    """The data set in `folder`, from the cache or else decoded and then cached.

    A damaged entry is rebuilt. If the cache cannot be written, or `keep` is false, a small data set is decoded each
    time.

    Args:
        size, fit: as `scl.data.survey.chosen` takes them.
        plan: decode only what takes a moment. A larger set is then a sample, whose fingerprint is not known.

    Raises:
        UserError: a file is none, such as a named pipe, which would be waited for without end; an image cannot be
            decoded; or the cache has no room for a large data set.
    """
    described = [_described(os.fspath(folder), path) for path in files.paths]
    entry = cache / sha256([DECODER_VERSION, *files.choices, described, size, fit])
    dataset = _read(entry, name)
    if dataset is not None:
        return dataset
    content = files.read()
    found = survey(content, PLAN_READS if plan else None)
    how, remarks = chosen(found, size, fit)
    needed = found.count * prod(how.shape)
    if plan:
        sample, seconds = decoded_sample(found, how)
        if seconds > PLAN_DECODES or needed > IN_MEMORY or len(found.headers) < found.count:
            return _sampled(name, content, found, how, remarks, sample, seconds)
    if needed > IN_MEMORY:
        return _decoded_to_disk(name, content, found, how, remarks, entry, needed)
    arrays = {part: np.empty((len(e.labels), *how.shape), dtype=np.uint8) for part, e in content.parts.items()}

    def write(part: str, start: int, pixels: np.ndarray) -> None:
        arrays[part][start : start + len(pixels)] = pixels

    about = decode(content, found, how, write)
    dataset = _made(name, content, arrays, how, remarks, about.histogram)
    if keep:
        with contextlib.suppress(OSError, UserError), _new_entry(entry) as place:
            for part, pixels in arrays.items():
                with _npy(place / f"{part}.npy", pixels.shape) as file:
                    file.write(pixels.data)
            (place / ENTRY).write_bytes(_to_bytes(dataset, content, about))
    return dataset


def _decoded_to_disk(
    name: str,
    content: EncodedFolder,
    found: Survey,
    how: Preprocessing,
    remarks: list[str],
    entry: Path,
    needed: int,
) -> Dataset:
    """A data set that is too large for memory: its images go to the disk as they are decoded."""
    way_out = "free some, give a smaller --image-size, or an --out on another disk"
    need = f"the decoded images ({how.height}×{how.width}) need {needed / 1e9:,.2f} GB in {entry.parent}"
    try:
        with _new_entry(entry) as place:
            free = shutil.disk_usage(place).free
            if free < needed:
                raise UserError(f"--data {name}: {need}, which has {free / 1e9:,.2f} GB left; {way_out}")
            shapes = {part: (len(encoded.labels), *how.shape) for part, encoded in content.parts.items()}
            with contextlib.ExitStack() as stack:
                open_files = {p: stack.enter_context(_npy(place / f"{p}.npy", shape)) for p, shape in shapes.items()}
                about = decode(content, found, how, lambda part, start, pixels: open_files[part].write(pixels.data))
            stored: dict[str, Pixels] = {
                p: _stored(place, p, shapes[p], about.crcs[p], about.digests[p]) for p in shapes
            }
            dataset = _made(name, content, stored, how, remarks, about.histogram)
            (place / ENTRY).write_bytes(_to_bytes(dataset, content, about))
    except OSError as error:
        raise UserError(f"--data {name}: {need}, and they cannot be written ({explain(error)}); {way_out}") from error
    published = _read(entry, name)
    if published is None:
        raise UserError(f"--data {name}: what was just written to {entry} is damaged; is the disk in order?")
    return published


def _made(
    name: str,
    content: EncodedFolder,
    images: dict[str, Any],
    how: Preprocessing,
    remarks: list[str],
    histogram: np.ndarray,
) -> Dataset:
    parts = {part: (images[part], encoded.labels) for part, encoded in content.parts.items()}
    about = content.classes, True, content.what, content.caveat
    made = make_dataset(name, parts["train"], parts["test"], *about, parts.get("val"), content.skipped)
    return dataclasses.replace(made, preprocessing=how, remarks=(*content.remarks, *remarks), histogram=histogram)


def _sampled(
    name: str,
    content: EncodedFolder,
    found: Survey,
    how: Preprocessing,
    remarks: list[str],
    sample: np.ndarray,
    seconds: float,
) -> Dataset:
    """A data set for a plan: its labels, and a few images that stand for all."""
    images = {part: SampledImages(sample, len(encoded.labels)) for part, encoded in content.parts.items()}
    if len(found.headers) < found.count:
        remarks = [*remarks, f"Size and colour were judged by {len(found.headers):,} of {found.count:,} images."]
    made = _made(name, content, images, how, remarks, values_of(sample))
    return dataclasses.replace(made, decoding=seconds)


def _described(folder: str, path: Path) -> list[object]:
    """What tells a file from every other: its name in the folder, what the system numbers anew for each file and each
    change, which a user cannot set, and a hash of three samples. Names, sizes and times of two files can agree."""
    # Not by Python's files, which take twice as long: there may be a million.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # a pipe would wait
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode):
            raise UserError(f"{path}: no regular file, so it cannot be read as data; replace or remove it")
        digest = hashlib.sha256()
        for start in sorted({0, max(0, info.st_size // 2 - SAMPLE // 2), max(0, info.st_size - SAMPLE)}):
            os.lseek(file, start, os.SEEK_SET)
            digest.update(os.read(file, SAMPLE))
    finally:
        os.close(file)
    name = os.fspath(path).removeprefix(folder).replace(os.sep, "/").lstrip("/")
    return [name, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, digest.hexdigest()]


@contextlib.contextmanager
def _new_entry(entry: Path) -> Iterator[Path]:
    """A folder to write an entry to, which becomes the entry at the end of the block, or goes if the block fails."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent)
    place = entry.with_name(f".{entry.name}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL}")
    place.mkdir()
    try:
        yield place
        with contextlib.suppress(OSError):
            if _read(entry, "") is None:  # it is damaged; else another run has just made it
                shutil.rmtree(entry)
        with contextlib.suppress(OSError):
            place.rename(entry)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Remove what killed runs have left: partial entries to which nobody has written for an hour."""
    for place in cache.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            written = max((file.stat().st_mtime for file in place.iterdir()), default=place.stat().st_mtime)
            if place.is_dir() and written < time.time() - ABANDONED:
                shutil.rmtree(place)


@contextlib.contextmanager
def _npy(path: Path, shape: tuple[int, ...]) -> Iterator[Any]:
    """A new .npy file of uint8, to which the pixels are written after the header; on the disk at the end."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        yield file
        file.flush()
        os.fsync(file.fileno())


def _stored(entry: Path, part: str, shape: tuple[int, ...], crcs: np.ndarray, digests: np.ndarray) -> StoredImages:
    """The images in a .npy file. Raises ValueError or OSError if the file cannot be one of this shape."""
    path = entry / f"{part}.npy"
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
        size = os.fstat(file.fileno()).st_size
    if (found, fortran, dtype) != (shape, False, np.dtype(np.uint8)) or size != offset + prod(shape):
        raise ValueError("it holds other images")
    count, channels, height, width = shape
    return StoredImages(os.path.abspath(path), offset, (channels, height, width), np.arange(count), crcs, digests)


def _to_bytes(dataset: Dataset, content: EncodedFolder, about: About) -> bytes:
    arrays = {"histogram": about.histogram}
    for part, encoded in content.parts.items():
        arrays |= {f"{part}_labels": encoded.labels}
        arrays |= {f"{part}_crcs": about.crcs[part], f"{part}_digests": about.digests[part]}
    record = canonical_json(
        {
            **{name: getattr(dataset, name) for name in RECORDED},
            "preprocessing": dataclasses.asdict(dataset.how),
            "parts": list(content.parts),
        }
    )
    return save(arrays, {"record": record, "sha256": _checksum(arrays, record)})


def _checksum(arrays: dict[str, np.ndarray], record: str) -> str:
    digest = hashlib.sha256(record.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _read(entry: Path, name: str) -> Dataset | None:
    """The data set in an entry; None if it is missing or damaged."""
    try:
        with safe_open(entry / ENTRY, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if _checksum(arrays, metadata["record"]) != metadata["sha256"]:
            return None
        record = json.loads(metadata["record"])
        how = Preprocessing(**record["preprocessing"])
        labels = {part: arrays[f"{part}_labels"] for part in record["parts"]}
        stored = {
            part: _stored(entry, part, (len(of), *how.shape), arrays[f"{part}_crcs"], arrays[f"{part}_digests"])
            for part, of in labels.items()
        }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    images: dict[str, Pixels] = {}
    in_memory = sum(part.nbytes for part in stored.values()) <= IN_MEMORY
    for part, of in stored.items():
        which = np.arange(len(of)) if in_memory else np.unique(np.linspace(0, len(of) - 1, CHECKED).astype(np.int64))
        pixels = np.empty((len(which), *how.shape), dtype=np.uint8)
        if of.damage(which, pixels):
            return None
        images[part] = pixels if in_memory else of
    return Dataset(
        name,
        **{f"{part}_images": pixels for part, pixels in images.items()},  # type: ignore[arg-type]
        **{f"{part}_labels": of for part, of in labels.items()},
        **{field: record[field] for field in ("flip", "note", "fingerprint", "skipped")},
        classes=tuple(record["classes"]),
        preprocessing=how,
        histogram=arrays["histogram"],
        remarks=tuple(record["remarks"]),
    )
