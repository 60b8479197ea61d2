"""Reading data sets: by name, or from a folder of Parquet files or images, as uint8 arrays with class numbers.

Every mistake in the user's data is a UserError that names the file. Decoded folders are cached in safetensors
files, which are checked against their own fingerprint when read: a damaged one is rebuilt, never believed.
Neither torch nor scikit-learn is imported here until a data set needs it, so a plan is made quickly.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import pickle
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scl.config import UserError, canonical_json, sha256, unknown
from scl.folders import DECODER_VERSION, LAYOUTS, Found, find, reason

NAMES = ("digits", "cifar10", "cifar100", "fashion_mnist")

DIGITS_TEST = 797


@dataclass(frozen=True, eq=False)
class Dataset:
    """Decoded images and their classes.

    train_images, test_images: uint8 (N, C, H, W), C is 1 or 3. train_labels, test_labels: int64 (N,), 0 … K−1.
    classes: K names. flip: whether a mirrored image keeps its class. note: what it is and what it can show, for
    the report. fingerprint: SHA-256 of shapes, pixels, labels and K, of train and test.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    flip: bool
    note: str
    fingerprint: str


def load(name: str, cache: Path, label: str | None = None) -> Dataset:
    """The data set of that name (one of NAMES), or that folder, with `~` expanded.

    A name goes before a folder of that name; `./digits` is the folder. Downloads go to `cache`/torchvision,
    decoded folders to `cache`. `label`: the label column, where a folder of Parquet files has several.

    Raises:
        UserError: no such data set or folder, a download that failed, or whatever is wrong in the folder.
    """
    if name in NAMES:
        if label is not None:
            raise UserError(
                f"--label {label!r}: {name} has one kind of label; only Parquet folders have several, drop --label"
            )
        return _digits() if name == "digits" else _from_torchvision(name, cache)
    folder = Path(os.path.expanduser(name)) if name else None
    if folder is None or not os.path.isdir(folder):
        what = " (a file, not a folder)" if folder is not None and os.path.isfile(folder) else ""
        raise UserError(f"{unknown('data', name, NAMES)}, or a folder; there is no folder {name!r}{what}")
    try:
        return _cached(name, folder, cache, find(folder, label))
    except OSError as error:
        where = error.filename or folder
        raise UserError(f"--data {name}: {where} cannot be read: {error.strerror or error}") from error


def stratified(
    labels: np.ndarray, count: int, *, seed: object, among: np.ndarray | None = None, least: int = 0
) -> np.ndarray:
    """`count` indices into `labels` (N,), sorted, that hold each class by its share.

    Each class gives `least` images, and of the rest as many as its share says (largest remainder, ties to the
    lower class). Which ones is decided by the SHA-256 of "seed|index": the same with any library version.
    `among`: the indices to choose from (all). `count` must lie between least × classes and the indices there are.
    """
    among = np.arange(len(labels)) if among is None else among
    present, position, sizes = np.unique(labels[among], return_inverse=True, return_counts=True)
    rest = count - least * len(present)
    spare = sizes - least
    total = max(int(spare.sum()), 1)
    shares, remainders = np.divmod(rest * spare, total)  # whole numbers: exact
    by_remainder = np.argsort(-remainders, kind="stable")
    shares[by_remainder[: rest - int(shares.sum())]] += 1
    ranks = np.array([hashlib.sha256(f"{seed}|{index}".encode()).digest() for index in among], dtype="S32")
    order = np.argsort(ranks, kind="stable")
    chosen = [order[position[order] == c][: least + share] for c, share in enumerate(shares)]
    return np.sort(among[np.concatenate(chosen)]) if chosen else among[:0]


def content_fingerprint(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    classes: int,
) -> str:
    """SHA-256 of shapes, pixels, labels and the number of classes."""
    arrays = (train_images, train_labels, test_images, test_labels)
    digest = hashlib.sha256(canonical_json([classes, *(array.shape for array in arrays)]).encode())
    for array in arrays:
        little_endian = array.dtype.newbyteorder("<")
        digest.update(np.ascontiguousarray(array, dtype=little_endian).ravel().data)
    return digest.hexdigest()


def _dataset(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: Iterable[str],
    flip: bool,
    what: str,
    caveat: str,
) -> Dataset:
    """A data set from its images and labels; its note is `what`, the sizes, then `caveat`."""
    classes = tuple(classes)
    arrays = (*train, *test)
    images, labels = len(train[1]), len(test[1])
    channels, height, width = train[0].shape[1:]
    note = (
        f"{what}: {images:,} training and {labels:,} test images of {height}×{width} pixels, "
        f"{'grey' if channels == 1 else 'colour'}, in {len(classes)} classes. {caveat}"
    )
    return Dataset(name, *arrays, classes, flip, note, content_fingerprint(*arrays, len(classes)))


# ---------------------------------------------------------------------------------------------------- by name


def _digits() -> Dataset:
    # scikit-learn's own file; importing scikit-learn to read it takes two seconds.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.int64)  # 64 pixels of 0 … 16, and the digit
    images = ((table[:, :-1] * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)  # 0 … 255, rounded
    labels = table[:, -1]
    test = stratified(labels, DIGITS_TEST, seed="digits-test")
    train = np.setdiff1d(np.arange(len(labels)), test)
    return _dataset(
        "digits",
        (images[train], labels[train]),
        (images[test], labels[test]),
        [str(digit) for digit in range(10)],
        flip=False,
        what="scikit-learn's digits, 1,797 real handwritten ones",
        caveat=(
            f"There is no official test part: these {DIGITS_TEST} images are a fixed stratified one of this project. "
            "Good for a quick look at the whole machinery; too few and too easy to rank methods by."
        ),
    )


_TORCHVISION = {
    "cifar10": ("CIFAR10", "CIFAR-10, photographs of things and animals"),
    "cifar100": ("CIFAR100", "CIFAR-100, photographs of things, plants and animals, fine labels"),
    "fashion_mnist": ("FashionMNIST", "Fashion-MNIST, pictures of clothes"),
}


class _ArraysAlone(pickle.Unpickler):
    """Reads arrays, numbers and text out of a pickle, and refuses whatever else it would call."""

    VALID = frozenset(
        [("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")]
        + [(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.VALID:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}, which no data set does")
        return super().find_class(module, name)


@contextlib.contextmanager
def _no_foreign_pickles() -> Iterator[None]:
    """While torchvision reads CIFAR, which comes as pickles: it looks at a file's checksum and then opens the file
    again, and between the two whoever may write to the cache could put another in its place."""
    from torchvision.datasets import cifar

    careful = types.SimpleNamespace(load=lambda file, encoding: _ArraysAlone(file, encoding=encoding).load())
    before, cifar.pickle = cifar.pickle, careful
    try:
        yield
    finally:
        cifar.pickle = before


def _from_torchvision(name: str, cache: Path) -> Dataset:
    import torchvision

    class_name, what = _TORCHVISION[name]
    reader = getattr(torchvision.datasets, class_name)
    place = cache / "torchvision"
    try:
        # It draws progress bars, and a failure may be of any type: network, disk, archive, checksum.
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            _no_foreign_pickles(),
        ):
            place.mkdir(parents=True, exist_ok=True)
            train, test = (reader(root=str(place), train=part, download=True) for part in (True, False))
    except Exception as error:
        raise UserError(
            f"--data {name}: the download failed ({reason(error)}); put torchvision's files of {class_name} into "
            f"{place}, or give a folder: {LAYOUTS}"
        ) from error

    def arrays(part: Any) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.asarray(part.data)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels), np.asarray(part.targets, dtype=np.int64)

    caveat = (
        "The test part is the official one. Published numbers train on the whole training part; "
        "they are comparable with --val 0."
    )
    return _dataset(name, arrays(train), arrays(test), train.classes, True, what, caveat)


# ---------------------------------------------------------------------------------------------------- a folder


def _cached(name: str, folder: Path, cache: Path, found: Found) -> Dataset:
    """The decoded folder from `cache`, or read and put there; a cache that cannot be written is done without."""
    from scl.storage import open_folder

    described = []
    for file in found.files:
        info = file.stat()
        described.append([file.relative_to(folder).as_posix(), info.st_size, info.st_mtime_ns])
    path = cache / f"{sha256([DECODER_VERSION, found.label, described])}.safetensors"
    dataset = _read_cache(path, name)
    if dataset is None:
        content = found.read()
        dataset = _dataset(name, content.train, content.test, content.classes, True, content.what, content.caveat)
        with contextlib.suppress(OSError):
            open_folder(str(cache)).write(path.name, _to_bytes(dataset))
    return dataset


_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def _to_bytes(dataset: Dataset) -> bytes:
    from safetensors.numpy import save

    metadata = {
        "classes": json.dumps(dataset.classes),
        "flip": json.dumps(dataset.flip),
        "note": dataset.note,
        "fingerprint": dataset.fingerprint,
    }
    return save({array: getattr(dataset, array) for array in _ARRAYS}, metadata)


def _read_cache(path: Path, name: str) -> Dataset | None:
    """The data set in a cache file; None when there is none, or it is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            arrays = {array: file.get_tensor(array) for array in _ARRAYS}
        classes = tuple(json.loads(metadata["classes"]))
        flip, note, fingerprint = json.loads(metadata["flip"]), metadata["note"], metadata["fingerprint"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    if content_fingerprint(**arrays, classes=len(classes)) != fingerprint:
        return None
    return Dataset(name, **arrays, classes=classes, flip=flip, note=note, fingerprint=fingerprint)
