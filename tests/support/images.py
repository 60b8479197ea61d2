"""Small images, folders of them in both layouts, and checks of what is loaded."""

from __future__ import annotations

import dataclasses
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scl.data.dataset import Dataset, content_fingerprint
from scl.data.named import load_dataset
from scl.data.stored import StoredImages, digest_of
from scl.errors import UserError


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(
    path: Path, images: list[Any], column: str = "img", names: dict[str, Any] | None = None, **labels: list[Any]
) -> None:
    """Write a file as Hugging Face does. An image is (H, W[, 3]) pixels, encoded bytes, or None."""
    content = [encoded(image) if isinstance(image, np.ndarray) else image for image in images]
    structs = [None if c is None else {"bytes": c, "path": f"{i}.png"} for i, c in enumerate(content)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(structs, kind), **{k: pa.array(v) for k, v in labels.items()}})
    if names is not None:
        features = {k: {"names": v, "_type": "ClassLabel"} for k, v in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


PIXELS = noise((6, 8, 8, 3))
SECOND = "train-00001-of-00002.parquet"


def put_into_second(parquet: Path, image: Any, label: int | None = 3) -> None:
    """Put an image and its label into row 1 of the second training shard."""
    write_parquet(parquet / SECOND, [PIXELS[3], image, PIXELS[5]], label=[3, label, 7])


def channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(0, 3, 1, 2)


def dataset_of(images: np.ndarray, flip: bool = True) -> Dataset:
    """A data set of two classes with these images as its training and its test part."""
    labels = np.arange(len(images)) % 2
    content = content_fingerprint(images, labels, images, labels, 2)
    return Dataset("made", images, labels, images, labels, ("a", "b"), flip, "made", content)


def stored(pixels: np.ndarray, folder: Path) -> StoredImages:
    """These images, uint8 (N, C, H, W), in a file."""
    path = folder / "images.npy"
    np.save(path, pixels)
    crcs = np.array([zlib.crc32(image.tobytes()) for image in pixels], dtype=np.uint32)
    digests = np.frombuffer(b"".join(digest_of(image) for image in pixels), dtype=np.uint8).reshape(-1, 16)
    offset = path.stat().st_size - pixels.nbytes
    return StoredImages(str(path), offset, pixels.shape[1:], np.arange(len(pixels)), crcs, digests)


def assert_error(message: str, folder: Path | str, cache: Path, label: str | None = None) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(str(folder), cache, label)
    assert "\n" not in str(caught.value)


def assert_form(dataset: Dataset) -> None:
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        assert isinstance(images, np.ndarray)
        assert images.dtype == np.uint8
        assert images.flags.c_contiguous
        assert labels.dtype == np.int64
        assert images.ndim == 4
        assert len(images) == len(labels)
        assert set(labels.tolist()) == set(range(len(dataset.classes)))


def assert_same(a: Dataset, b: Dataset) -> None:
    for field in dataclasses.fields(Dataset):
        values = [getattr(dataset, field.name) for dataset in (a, b)]
        if field.name.endswith("_images"):
            values = [None if value is None else value[:] for value in values]
        assert np.array_equal(*values), field.name
