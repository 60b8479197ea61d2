"""Image files and encoded images to uint8 arrays, with the types that readers of folders share."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from scl.data.encoded import EncodedPart, Source
from scl.errors import UserError, first_line
from scl.machine import cores

IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SMALLEST_SIDE = 4
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
DECODER_VERSION = 5


def decode_parts(parts: Mapping[str, EncodedPart]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images, uint8 (N, C, H, W), and labels of each part. C is 1 if all images are grey, else 3.

    Raises:
        UserError: an image that cannot be decoded, is too small, or differs in size from the first; names the image.
    """
    decoded: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        decoded[name] = _decode(part, decoded["train"].shape[2:] if decoded else None)
    channels = max(images.shape[1] for images in decoded.values())
    return {
        name: (images if images.shape[1] == channels else np.repeat(images, channels, axis=1), parts[name].labels)
        for name, images in decoded.items()
    }


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
