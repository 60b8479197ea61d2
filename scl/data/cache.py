"""The cache of decoded folders: one safetensors file per folder, checked against its own fingerprint when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scl.data.dataset import Dataset, content_fingerprint, make_dataset
from scl.data.decode import DECODER_VERSION, decode_parts
from scl.data.encoded import DatasetFiles
from scl.errors import UserError
from scl.store.files import open_folder
from scl.study.identity import sha256

SAMPLE = 4096  # bytes at the beginning, in the middle and at the end of a file
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_VALIDATION = ("val_images", "val_labels")  # if the data have such a part


def cached_dataset(name: str, folder: Path, cache: Path, files: DatasetFiles, keep: bool = True) -> Dataset:
    """The data set in `folder`, from the cache or else decoded and then cached.

    A damaged cache file is rebuilt. If the cache cannot be written, or `keep` is false, the data set is decoded each
    time.

    Raises:
        UserError: a file is none, such as a named pipe, which would be waited for without end.
    """
    described = [_described(folder, path) for path in files.paths]
    entry = cache / f"{sha256([DECODER_VERSION, *files.choices, described])}.safetensors"
    dataset = _read(entry, name)
    if dataset is None:
        content = files.read()
        parts = decode_parts(content.parts)
        about = content.classes, True, content.what, content.caveat
        dataset = make_dataset(
            name, parts["train"], parts["test"], *about, parts.get("val"), content.skipped, content.remarks
        )
        if keep:
            with contextlib.suppress(OSError, UserError):
                open_folder(str(cache)).write(entry.name, _to_bytes(dataset))
    return dataset


def _described(folder: Path, path: Path) -> list[object]:
    """What tells a file from every other: its name in the folder, what the system numbers anew for each file and each
    change, which a user cannot set, and a hash of three samples. Names, sizes and times of two files can agree."""
    with open(path, "rb", opener=_without_waiting) as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise UserError(f"{path}: no regular file, so it cannot be read as data; replace or remove it")
        digest = hashlib.sha256()
        for start in sorted({0, max(0, info.st_size // 2 - SAMPLE // 2), max(0, info.st_size - SAMPLE)}):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    name = path.relative_to(folder).as_posix()
    return [name, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns, digest.hexdigest()]


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a named pipe waits for a writer


def _to_bytes(dataset: Dataset) -> bytes:
    metadata = {name: json.dumps(getattr(dataset, name)) for name in ("classes", "flip", "skipped", "remarks")}
    metadata |= {"note": dataset.note, "fingerprint": dataset.fingerprint}
    arrays = {name: getattr(dataset, name) for name in (*_ARRAYS, *_VALIDATION)}
    return save({name: array for name, array in arrays.items() if array is not None}, metadata)


def _read(entry: Path, name: str) -> Dataset | None:
    """The data set in a cache file; None if the file is missing or damaged."""
    try:
        with safe_open(entry, framework="numpy") as file:
            metadata = file.metadata()
            given = _VALIDATION if _VALIDATION[0] in file.keys() else ()  # noqa: SIM118 - no mapping
            arrays = {array: file.get_tensor(array) for array in (*_ARRAYS, *given)}
        classes = tuple(json.loads(metadata["classes"]))
        flip, note, fingerprint = json.loads(metadata["flip"]), metadata["note"], metadata["fingerprint"]
        skipped, remarks = dict(json.loads(metadata["skipped"])), tuple(json.loads(metadata["remarks"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    if content_fingerprint(**arrays, classes=len(classes)) != fingerprint:
        return None
    return Dataset(
        name, **arrays, classes=classes, flip=flip, note=note, fingerprint=fingerprint, skipped=skipped, remarks=remarks
    )
