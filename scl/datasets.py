"""Data sets, read once into uint8 arrays: by name, from Hugging Face image Parquet, from folders of images.

Decoding happens once: the arrays are kept as safetensors in a cache folder and checked by content when read back.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from scl.config import UserError, unknown
from scl.data import apportion, hash_order

NAMES = ("digits", "cifar10", "cifar100", "fashion_mnist")
DECODER_VERSION = 1  # raised when decoding changes: old caches are then passed over
DIGITS_TEST = 797
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

Split = tuple[np.ndarray, list[Any]]  # images uint8 (N, C, H, W) and raw labels


@dataclass(frozen=True)
class Dataset:
    """Images as uint8 (N, C, H, W), labels as int64 (N,) in 0 … K−1.

    flip: a mirrored image keeps its class. note: what the data set is and can show, for the page.
    fingerprint: SHA-256 of shapes, pixels and labels.
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
    """The data set `name`: one of NAMES, or a folder of Parquet shards or of class folders of images.

    Args:
        cache: a local folder for downloads and decoded arrays.
        label: the label column of a Parquet folder that has several.

    Raises:
        UserError: unknown name or label, or a data set that is incomplete, inconsistent or damaged.
    """
    folder = Path(name)
    if name not in NAMES and not folder.is_dir():
        raise UserError(unknown("data set", name, [*NAMES, "or a folder"]))
    parquet = name not in NAMES and any(folder.glob("*.parquet"))
    if label is not None and not parquet:
        raise UserError(f"--label {label!r}: only a folder of Parquet files has label columns; leave it out for {name!r}")
    if name == "digits":
        return _digits()
    if name in NAMES:
        return _torchvision(name, cache)
    if parquet:
        shards = _shards(folder)
        files = [file for part in shards.values() for file in part]
        column = _label_column(shards, label)
        return _cached(cache, folder, files, column, lambda: _from_parquet(folder, shards, column))
    if (folder / "train").is_dir():
        files = [*_image_files(folder, "train"), *_image_files(folder, "test")]
        return _cached(cache, folder, files, "", lambda: _from_image_folder(folder))
    raise UserError(
        f"--data {name!r} holds neither train-*.parquet and test-*.parquet nor train/CLASS/*.png and test/CLASS/*.png"
    )


def _make(name: str, train: Split, test: Split, classes: Callable[[Any], str], flip: bool, note: str) -> Dataset:
    """Number the labels and check that both parts fit each other."""
    values = sorted(set(train[1]))
    only_train, only_test = sorted(set(values) - set(test[1])), sorted(set(test[1]) - set(values))
    if only_train or only_test:
        which, here, there = (only_train, "training", "test") if only_train else (only_test, "test", "training")
        raise UserError(
            f"--data {name!r}: labels {', '.join(map(repr, which[:5]))}{' …' if len(which) > 5 else ''} occur in the "
            f"{here} part and not in the {there} part; both parts need the same classes"
        )
    if len(values) < 2:
        raise UserError(f"--data {name!r}: a classification needs 2 classes or more, got {len(values)}")
    shape = train[0].shape[1:]
    if test[0].shape[1:] != shape:
        raise UserError(f"--data {name!r}: training images are {shape} (C, H, W), test images {test[0].shape[1:]}")
    if min(shape[1:]) < 4:
        raise UserError(f"--data {name!r}: images must be 4×4 or larger, got {shape[1]}×{shape[2]}")
    number = {value: i for i, value in enumerate(values)}
    train_labels, test_labels = (np.array([number[v] for v in part[1]], dtype=np.int64) for part in (train, test))
    note = note or (
        f"{len(train_labels):,} training and {len(test_labels):,} test images of {shape[1]}×{shape[2]}, "
        f"{shape[0]} channel{'s' if shape[0] > 1 else ''}, {len(values)} classes."
    )
    names = tuple(classes(v) for v in values)
    fingerprint = _fingerprint(train[0], train_labels, test[0], test_labels)
    return Dataset(name, train[0], train_labels, test[0], test_labels, names, flip, note, fingerprint)


def _fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    test = np.sort(_stratified(labels, DIGITS_TEST))
    train = np.setdiff1d(np.arange(len(labels)), test)
    note = (
        f"scikit-learn's 1,797 hand-written digits, 8×8 grey. It has no official test set: {len(test)} images, drawn "
        f"once and stratified, are the test part, {len(train):,} remain for training. One test image is 0.13 points. "
        "It shows that a study works and which effects are large; it cannot tell losses apart that differ by less "
        "than about a point, and says nothing of natural images."
    )
    return _make("digits", (images[train], labels[train].tolist()), (images[test], labels[test].tolist()), str, False, note)


def _stratified(labels: np.ndarray, count: int) -> np.ndarray:
    order = hash_order("digits test", len(labels))
    classes = np.unique(labels)
    members = [order[labels[order] == c] for c in classes]
    return np.concatenate([m[:n] for m, n in zip(members, apportion([len(m) for m in members], count), strict=True)])


def _torchvision(name: str, cache: Path) -> Dataset:
    import torchvision

    kind = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion_mnist": "FashionMNIST"}[name]
    root = cache / "torchvision"
    try:
        parts = [getattr(torchvision.datasets, kind)(str(root), train=train, download=True) for train in (True, False)]
    except Exception as error:  # torchvision raises many kinds: network, disk, checksum
        raise UserError(
            f"--data {name}: the download failed ({type(error).__name__}: {str(error)[:200]}); put torchvision's files "
            f"into {root}, or name a folder of images or Parquet files"
        ) from None

    def split(part: Any) -> Split:
        pixels = np.asarray(part.data)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels), [int(t) for t in part.targets]

    names = parts[0].classes
    return _make(name, split(parts[0]), split(parts[1]), lambda v: str(names[v]), True, "")


# --- Parquet ----------------------------------------------------------------------------------------------------


def _shards(folder: Path) -> dict[str, list[Path]]:
    shards = {part: sorted([*folder.glob(f"{part}-*.parquet"), *folder.glob(f"{part}.parquet")]) for part in ("train", "test")}
    for part, files in shards.items():
        if not files:
            raise UserError(f"--data {str(folder)!r}: no {part}-*.parquet; a study needs a training and a test part")
    return shards


def _label_column(shards: dict[str, list[Path]], label: str | None) -> str:
    import pyarrow as pa

    schema = _schema(shards["train"][0])
    valid = [field.name for field in schema if pa.types.is_integer(field.type)]
    if label is None and len(valid) == 1:
        return valid[0]
    if not valid:
        raise UserError(f"{shards['train'][0]}: no label column of whole numbers; columns: {', '.join(schema.names)}")
    if label is None:
        raise UserError(f"{shards['train'][0].parent} has several label columns; choose one with --label: {', '.join(valid)}")
    if label not in valid:
        raise UserError(f"--label: {unknown('label column', label, valid)}")
    return label


def _schema(shard: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(shard)
    except (pa.ArrowException, OSError) as error:
        raise UserError(_damaged(shard, error)) from None


def _damaged(shard: Path, error: Exception) -> str:
    return f"{shard} is not a whole Parquet file ({str(error).splitlines()[0][:120]}); fetch it again"


def _from_parquet(folder: Path, shards: dict[str, list[Path]], column: str) -> Dataset:
    parts = {}
    for part, files in shards.items():
        images, labels = [], []
        for file in files:
            encoded, shard_labels = _read_shard(file, column)
            images += _decode(encoded, lambda row, file=file: f"{file}, row {row}")  # type: ignore[misc]
            labels += shard_labels
        parts[part] = _stack(images, f"{folder} ({part})"), labels
    names = _class_names(shards["train"][0], column)
    return _make(
        str(folder), parts["train"], parts["test"],
        lambda v: str(names[v]) if names and 0 <= v < len(names) else str(v), True, "",
    )  # fmt: skip


def _read_shard(file: Path, column: str) -> tuple[list[bytes], list[int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(file)
    images = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if not images or column not in schema.names:
        raise UserError(f"{file}: wants an image column with `bytes` and {column!r}; columns: {', '.join(schema.names)}")
    try:
        table = pq.read_table(file, columns=[images[0], column])
    except (pa.ArrowException, OSError) as error:
        raise UserError(_damaged(file, error)) from None
    encoded = table[images[0]].combine_chunks().field("bytes").to_pylist()
    labels = table[column].to_pylist()
    for row, (content, value) in enumerate(zip(encoded, labels, strict=True)):
        if content is None or value is None:
            raise UserError(f"{file}, row {row}: {'image' if content is None else column} is empty")
    return encoded, labels


def _class_names(shard: Path, column: str) -> list[str] | None:
    """Class names as Hugging Face writes them into the schema, where they are there."""
    try:
        features = json.loads(_schema(shard).metadata[b"huggingface"])["info"]["features"]
        return list(features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


# --- folders of images ------------------------------------------------------------------------------------------


def _image_files(folder: Path, part: str) -> list[Path]:
    if not (folder / part).is_dir():
        raise UserError(f"--data {str(folder)!r}: no {part}/ folder; a study needs train/CLASS/ and test/CLASS/")
    root = folder.resolve()
    files: list[Path] = []
    for class_folder in sorted(p for p in (folder / part).iterdir() if p.is_dir()):
        inside = sorted(p for p in class_folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not inside:
            raise UserError(f"{class_folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        files += inside
    for file in files:
        if not file.resolve().is_relative_to(root):
            raise UserError(f"{file} is a link that leads out of {folder}; copy the image into the folder")
    return files


def _from_image_folder(folder: Path) -> Dataset:
    parts = {}
    for part in ("train", "test"):
        files = _image_files(folder, part)
        images = _decode([file.read_bytes() for file in files], lambda row, files=files: str(files[row]))  # type: ignore[misc]
        parts[part] = _stack(images, f"{folder} ({part})"), [file.parent.name for file in files]
    return _make(str(folder), parts["train"], parts["test"], str, True, "")


# --- decoding and caching ---------------------------------------------------------------------------------------


def _decode(encoded: Sequence[bytes], where: Callable[[int], str]) -> list[np.ndarray]:
    """Images as uint8 (H, W) or (H, W, 3); all of one size. PIL lets other threads run while it decodes."""
    from PIL import Image

    def one(job: tuple[int, bytes]) -> np.ndarray:
        row, content = job
        try:
            with Image.open(io.BytesIO(content)) as image:
                return np.asarray(image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB"))
        except Exception as error:  # PIL raises many kinds on what is no image
            raise UserError(f"{where(row)}: not an image that can be decoded ({type(error).__name__})") from None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(one, enumerate(encoded), chunksize=256))
    for row, image in enumerate(images):
        if image.shape[:2] != images[0].shape[:2]:
            raise UserError(
                f"{where(row)}: {image.shape[1]}×{image.shape[0]} pixels, where the first image has "
                f"{images[0].shape[1]}×{images[0].shape[0]}; all images must be of one size"
            )
    return images


def _stack(images: list[np.ndarray], where: str) -> np.ndarray:
    """One array (N, C, H, W): grey where all are, else all in colour."""
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1:
        raise UserError(f"{where}: images of several sizes, {sorted(sizes)[:3]}; all must be of one size")
    if all(image.ndim == 2 for image in images):
        return np.stack(images)[:, None]
    colour = [image if image.ndim == 3 else np.repeat(image[..., None], 3, 2) for image in images]
    return np.ascontiguousarray(np.stack(colour).transpose(0, 3, 1, 2))


def _cached(cache: Path, folder: Path, files: Iterable[Path], label: str, decode: Callable[[], Dataset]) -> Dataset:
    seen = [(str(f.relative_to(folder)), (s := f.stat()).st_size, s.st_mtime_ns) for f in files]
    key = hashlib.sha256(json.dumps([DECODER_VERSION, label, seen]).encode()).hexdigest()
    path = cache / f"data-{key[:32]}.safetensors"
    found = _read_cache(path, str(folder))
    if found is not None:
        return found
    dataset = decode()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        arrays = {k: getattr(dataset, k) for k in ("train_images", "train_labels", "test_images", "test_labels")}
        record = {"classes": dataset.classes, "flip": dataset.flip, "note": dataset.note, "fingerprint": dataset.fingerprint}
        save_file(arrays, partial, {"record": json.dumps(record)})
        os.replace(partial, path)
    except (OSError, SafetensorError):
        partial.unlink(missing_ok=True)  # no room for a cache: decoded again next time
    return dataset


def _read_cache(path: Path, name: str) -> Dataset | None:
    try:
        arrays = load_file(path)
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            record = json.loads(json.loads(file.read(length))["__metadata__"]["record"])
        dataset = Dataset(
            name=name, classes=tuple(record["classes"]), flip=record["flip"], note=record["note"],
            fingerprint=record["fingerprint"], **arrays,
        )  # fmt: skip
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, struct.error):
        return None
    content = (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels)
    return dataset if _fingerprint(*content) == dataset.fingerprint else None


def normalisation(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over all training images, pixels in [0, 1], float32 (C,).

    From integer histograms, hence the same to the last bit everywhere.
    """
    return _moments(list(_histograms(dataset.train_images)))


def _histograms(images: np.ndarray) -> Iterator[np.ndarray]:
    for channel in range(images.shape[1]):
        yield np.bincount(images[:, channel].reshape(-1), minlength=256)


def _moments(histograms: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(256) / 255
    means = [float((h * values).sum() / h.sum()) for h in histograms]
    deviations = [float(np.sqrt((h * (values - m) ** 2).sum() / h.sum())) for h, m in zip(histograms, means, strict=True)]
    return np.float32(means), np.maximum(np.float32(deviations), np.float32(1e-3))
