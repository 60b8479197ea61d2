"""Image files and encoded images to uint8 arrays, with the types that readers of folders share."""

from __future__ import annotations

import io
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from scl.errors import UserError, first_line
from scl.machine import cores

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SMALLEST_SIDE = 4
PARTS = ("train", "test")
# How to turn an image by its EXIF orientation.
UPRIGHT: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Raised by hand when decoding changes pixels, labels or descriptions: caches of older versions are not read.
DECODER_VERSION = 4

Source = tuple[str, Path | bytes]
"""An encoded image: its name in messages, and its file or content."""


@dataclass(frozen=True)
class EncodedPart:
    """The encoded images of train or test, and their class numbers, int64 (N,)."""

    labels: np.ndarray
    sources: Iterable[Source]


@dataclass(frozen=True)
class DecodedFolder:
    """The content of a folder: images uint8 (N, C, H, W) and class numbers int64 (N,) of both parts, and class names.

    what, caveat: the description in the report, before and after the sizes.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: list[str]
    what: str
    caveat: str


@dataclass(frozen=True)
class DatasetFiles:
    """A data set found in a folder, not yet decoded.

    label: the label column that the user chose. Paths and label decide the content. decode: reads the files.
    skipped: what lies among the images and is not read, by reason.
    """

    paths: list[Path]
    label: str | None
    decode: Callable[[], DecodedFolder]
    skipped: Mapping[str, int] = field(default_factory=dict)


def require_same_labels(folder: Path, train: set[Any], test: set[Any]) -> None:
    """Raise UserError unless both parts hold the same labels, at least two."""
    for here, there, part, other in ((train, test, "train", "test"), (test, train, "test", "train")):
        if lacking := sorted(here - there):
            more = f" and {len(lacking) - 10} more" if len(lacking) > 10 else ""
            raise UserError(
                f"--data {folder}: {other} lacks labels that {part} has: {', '.join(map(str, lacking[:10]))}{more}; "
                "both parts need the same classes"
            )
    if len(train) < 2:
        raise UserError(f"--data {folder}: the number of classes is {len(train)}; a classifier needs at least 2")


def visible_entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder without hidden ones, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)


def decode_parts(
    train: EncodedPart, test: EncodedPart
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images, uint8 (N, C, H, W), and labels of both parts. C is 1 if all images are grey, else 3.

    Raises:
        UserError: an image that cannot be decoded, is too small, or differs in size from the first; names the image.
    """
    train_images = _decode(train, None)
    test_images = _decode(test, train_images.shape[2:])
    channels = max(train_images.shape[1], test_images.shape[1])
    train_images, test_images = (
        images if images.shape[1] == channels else np.repeat(images, channels, axis=1)
        for images in (train_images, test_images)
    )
    return (train_images, train.labels), (test_images, test.labels)


def _decode(part: EncodedPart, size: tuple[int, ...] | None) -> np.ndarray:
    """The images of a part, uint8 (N, 1 or 3, H, W). All must have `size` (H, W), or the size of the first."""
    sources = iter(part.sources)
    first = next(sources)
    with warnings.catch_warnings():
        # Pillow warns of suspiciously large images, which are refused here, and of trifles, which are ignored.
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
            raise UserError(
                f"{first[0]}: {count:,} images of this size need {needed:,.0f} GB of memory; use fewer or smaller ones"
            ) from error
        grey = np.zeros(count, dtype=bool)

        def decode(chunk: list[tuple[int, Source]]) -> None:
            for index, source in chunk:
                pixels = _pixels(source, size)
                grey[index] = len(pixels) == 1
                images[index] = pixels  # a grey image fills all three channels

        # In chunks: decoding a small image takes less time than passing it to a thread.
        numbered = enumerate(itertools.chain([first], sources))
        chunks = iter(lambda: list(itertools.islice(numbered, 256)), [])
        with ThreadPoolExecutor(min(4, cores())) as pool:
            list(pool.map(decode, chunks))
    return np.ascontiguousarray(images[:, :1]) if grey.all() else images


def _pixels(source: Source, size: tuple[int, ...] | None) -> np.ndarray:
    """One decoded image, uint8 (1 or 3, H, W)."""
    where, content = source
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=IMAGE_FORMATS) as file:
            # Pillow cuts the 16 bits of coloured PNGs to 8; only its raw mode, such as RGB;16B, tells.
            deep = [str(tile.args) for tile in file.tile if file.format == "PNG" and "16" in str(tile.args)]
            image = _upright(file)
            if size is not None and (image.height, image.width) != size:
                raise UserError(
                    f"{where}: an image of {image.height}×{image.width} pixels; the first is {size[0]}×{size[1]}, "
                    "and all must have one size (height×width)"
                )
            if deep or image.mode.startswith(("I", "F")):
                mode = [*deep, image.mode][0]
                raise UserError(f"{where}: its pixels have more than 8 bits (mode {mode}); save it with 8 bits")
            grey = image.mode in ("1", "L", "LA")
            pixels = np.asarray(_on_white(image).convert("L" if grey else "RGB"))
    except UserError:
        raise
    except Exception as error:  # Pillow raises many types of error for damaged images
        raise UserError(
            f"{where}: cannot be decoded as a PNG, JPEG, BMP or WebP image ({first_line(error)}); replace or remove it"
        ) from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """The image as the camera was held. Whatever else its EXIF data hold does not matter, however malformed."""
    image.load()
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises many types of error for malformed EXIF data
        turn = None
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image) -> Image.Image:
    """The image on a white page. Its transparent pixels still have colours, which nobody sees."""
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
