"""CIFAR-10 and CIFAR-100 from torchvision's files, which are pickles: nothing in them is executed.

torchvision checks a file's checksum, opens the file again and unpickles it. Anyone with write access to the cache
could replace the file in between. Here the bytes that were checked are the bytes that are read, by an unpickler that
builds arrays, numbers and text only.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from scl.errors import Damaged

Part = tuple[np.ndarray, np.ndarray]


class ArrayUnpickler(pickle.Unpickler):
    """Reads arrays, numbers and text from a pickle, and refuses to call anything else."""

    ALLOWED = frozenset(
        [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")]
        + [(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"the file calls {module}.{name}, which no data set needs")
        return super().find_class(module, name)


def load_cifar(reader: Any, root: Path) -> tuple[Part, Part, list[str]]:
    """Training part, test part and class names; downloads the files to `root` if they are missing or damaged.

    A part is images, uint8 (N, 3, 32, 32), and labels, int64 (N,).

    Args:
        reader: torchvision's class `CIFAR10` or `CIFAR100`: its file names, checksums and address are used.

    Raises:
        Damaged, OSError, RuntimeError, UnpicklingError: the download failed, or a file is not what it should be.
    """
    from torchvision.datasets.utils import download_and_extract_archive  # noqa: PLC0415

    folder = root / reader.base_folder
    try:
        return _read(reader, folder)
    except (FileNotFoundError, Damaged):
        download_and_extract_archive(reader.url, str(root), filename=reader.filename, md5=reader.tgz_md5)
        return _read(reader, folder)


def _read(reader: Any, folder: Path) -> tuple[Part, Part, list[str]]:
    def part(files: list[list[str]]) -> Part:
        entries = [_unpickle(folder / name, md5) for name, md5 in files]
        images = np.vstack([entry["data"] for entry in entries]).reshape(-1, 3, 32, 32)
        labels = [entry["labels"] if "labels" in entry else entry["fine_labels"] for entry in entries]
        return images, np.concatenate(labels).astype(np.int64)

    names = _unpickle(folder / reader.meta["filename"], reader.meta["md5"])[reader.meta["key"]]
    return part(reader.train_list), part(reader.test_list), names


def _unpickle(path: Path, md5: str) -> Any:
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise Damaged(f"the checksum of {path} does not match")
    return ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
