"""The cache of decoded folders: one safetensors file per folder, checked against its own fingerprint when read."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from scl.data.dataset import Dataset, content_fingerprint, make_dataset
from scl.data.decode import DECODER_VERSION, DatasetFiles
from scl.store.files import open_folder
from scl.study.identity import sha256

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cached_dataset(name: str, folder: Path, cache: Path, files: DatasetFiles) -> Dataset:
    """The data set in `folder`, from the cache or else decoded and then cached.

    The key is the names, sizes and modification times of the files. A damaged cache file is rebuilt. If the cache
    cannot be written, the data set is decoded each time.
    """
    infos = ((path.relative_to(folder).as_posix(), path.stat()) for path in files.paths)
    described = [[name, info.st_size, info.st_mtime_ns] for name, info in infos]
    entry = cache / f"{sha256([DECODER_VERSION, files.label, described])}.safetensors"
    dataset = _read(entry, name)
    if dataset is None:
        content = files.decode()
        dataset = make_dataset(name, content.train, content.test, content.classes, True, content.what, content.caveat)
        with contextlib.suppress(OSError):
            open_folder(str(cache)).write(entry.name, _to_bytes(dataset))
    return dataset


def _to_bytes(dataset: Dataset) -> bytes:
    metadata = {name: json.dumps(getattr(dataset, name)) for name in ("classes", "flip")}
    metadata |= {"note": dataset.note, "fingerprint": dataset.fingerprint}
    return save({array: getattr(dataset, array) for array in _ARRAYS}, metadata)


def _read(entry: Path, name: str) -> Dataset | None:
    """The data set in a cache file; None if the file is missing or damaged."""
    try:
        with safe_open(entry, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {array: file.get_tensor(array) for array in _ARRAYS}
        classes = tuple(json.loads(metadata["classes"]))
        flip, note, fingerprint = json.loads(metadata["flip"]), metadata["note"], metadata["fingerprint"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    if content_fingerprint(**arrays, classes=len(classes)) != fingerprint:
        return None
    return Dataset(name, **arrays, classes=classes, flip=flip, note=note, fingerprint=fingerprint)
