"""From one image to pixels: how it is opened, turned, put on white, and brought to a size. One way for all that reads
images: decoding a data set, and predicting a single photo later."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from scl.errors import UserError, first_line

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
NAMES = "PNG, JPEG, BMP, WebP, GIF, TIFF or PPM"
LARGEST = 89_478_485  # pixels of an image: Pillow's own limit, against small files that unpack into all of memory
GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I")  # I: 16 bits of a PNG or PPM; other files with it are refused
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
ON_THEIR_SIDE = (5, 6, 7, 8)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes pixels, uint8 (channels, height, width). `dataclasses.asdict` is its form in files.

    fit: 'exact': an image must have this size. 'crop': the largest centred part of the target's shape is scaled (of a
    square target: the shorter side is scaled, and the middle of the longer one is kept). 'stretch': the whole image,
    whatever its shape. 'pad': the whole image in its shape, on black.
    interpolation: of the scaling: 'bilinear' is Pillow's, which averages all pixels that fall into one (antialiasing).
    """

    height: int
    width: int
    channels: int
    fit: str = "exact"
    interpolation: str = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width


@dataclass(frozen=True)
class Header:
    """What an image file says before its pixels are read. height, width: upright. deep: 16 bits a channel. frames: it
    has more than one, as a moving GIF."""

    height: int
    width: int
    grey: bool
    deep: bool
    frames: bool


def prepare(image: Image.Image | bytes | str | Path, how: Preprocessing, name: str | None = None) -> np.ndarray:
    """The pixels of an image: uint8, of `how.shape`.

    The first frame or page counts. EXIF orientation is applied, transparent pixels are put on white, of 16 bits a
    channel the upper 8 are taken, CMYK and palettes become RGB.

    Args:
        image: a file's path or content, or an image of Pillow.
        name: of the image in messages; by default the path.

    Raises:
        UserError: it cannot be decoded, has more than `LARGEST` pixels or more than 16 bits a channel, is not of the
            size that 'exact' wants, or is in colour where a grey image is wanted.
    """
    where = name or (str(image) if isinstance(image, str | Path) else "the image")
    with opened(image, where) as file:
        size = file.width, file.height
        if size[0] * size[1] > LARGEST:
            raise too_large(where, f"{size[1]:,}×{size[0]:,} pixels")
        deep = _deep(file, where)
        plain = _on_white(_eight_bits(_upright(file), deep))
        grey = plain.mode in GREY
        if how.channels == 1 and not grey:
            raise UserError(f"{where}: an image in colour, where grey ones are wanted; save it in shades of grey")
        pixels = np.asarray(_fitted(plain.convert("L" if grey else "RGB"), how, where))
    pixels = pixels[None] if grey else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels, how.shape))


def header_of(image: Image.Image | bytes | str | Path, where: str) -> Header:
    """What an image says of itself, without decoding its pixels. Raises UserError as `prepare`."""
    with opened(image, where) as file:
        height, width = file.height, file.width
        if height * width > LARGEST:
            raise too_large(where, f"{height:,}×{width:,} pixels")
        deep, grey = _deep(file, where), file.mode in GREY
        # A TIFF gives its size upright. A PNG without these data before its pixels would be decoded to search for them.
        if file.format != "TIFF" and (file.format != "PNG" or "exif" in file.info):
            height, width = (width, height) if _orientation(file) in ON_THEIR_SIDE else (height, width)
        return Header(height, width, grey, deep, _frames(file))


def _frames(image: Image.Image) -> bool:
    """True for a moving image and for several pages; a phone's photo with a second one for depth is one image."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def too_large(where: str, size: str) -> UserError:
    return UserError(
        f"{where}: an image of {size}; the most that is decoded is {LARGEST:,} pixels, because a small file may unpack "
        "into all of memory; scale it down or remove it"
    )


@contextmanager
def opened(image: Image.Image | bytes | str | Path, where: str) -> Iterator[Image.Image]:
    """The image, opened. Any error of Pillow in the block is a UserError that names the image."""
    try:
        if isinstance(image, Image.Image):
            yield image
        else:
            source: Any = io.BytesIO(image) if isinstance(image, bytes) else os.fspath(image)
            with Image.open(source, formats=FORMATS) as file:
                yield file
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise too_large(where, f"more than {2 * LARGEST:,} pixels") from None
    except UnidentifiedImageError:  # whose message names an object of Python
        raise UserError(
            f"{where}: cannot be decoded as a {NAMES} image (it begins as none); replace or remove it"
        ) from None
    except Exception as error:  # Pillow raises many types of error for damaged images
        raise UserError(
            f"{where}: cannot be decoded as a {NAMES} image ({first_line(error)}); replace or remove it"
        ) from error


def _deep(image: Image.Image, where: str) -> bool:
    """True for 16 bits a channel. Pillow cuts those of colours to 8 by itself; only its raw mode, such as RGB;16B,
    tells. Raises UserError for more bits, and for kinds of 12 or 16 bits whose range is not known."""
    raw = [str(tile[-1]) for tile in getattr(image, "tile", ())]
    deep = any(";16" in args and "BGR" not in args for args in raw) or image.mode.startswith("I;16")
    known = image.format in ("PNG", "PPM") if image.mode == "I" else not any(";12" in a or ";16S" in a for a in raw)
    if image.mode == "F" or not known:
        raise UserError(
            f"{where}: its pixels have more than 8 bits in a range that the file does not tell (mode {image.mode}); "
            "save it with 8 bits, or with 16 of full range"
        )
    return deep or image.mode == "I"


def _eight_bits(image: Image.Image, deep: bool) -> Image.Image:
    """The upper 8 of 16 bits, as Pillow takes them of colours."""
    if not deep or image.mode not in GREY[3:]:
        return image
    values = np.asarray(image).astype(np.int64)
    if getattr(image, "tag_v2", {}).get(262) == 0:  # a TIFF whose white is 0
        values = 65535 - values
    return Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))


def _orientation(image: Image.Image) -> Any:
    """The EXIF orientation; None without one. Whatever else the EXIF data hold does not matter, however malformed."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises many types of error for malformed EXIF data
        return None


def _upright(image: Image.Image) -> Image.Image:
    """The image as the camera was held."""
    if image.format == "TIFF":
        image.load()  # turns it by itself
        return image
    turn = UPRIGHT.get(_orientation(image))
    image.load()
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image) -> Image.Image:
    """The image on a white page. Its transparent pixels still have colours, which nobody sees."""
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return on_white.convert("L") if image.mode in GREY else on_white


def _fitted(image: Image.Image, how: Preprocessing, where: str) -> Image.Image:
    """The image, L or RGB, in the size of `how`."""
    size, filtered = (how.width, how.height), Image.Resampling[how.interpolation.upper()]
    if how.fit == "exact":
        if image.size != size:
            raise UserError(
                f"{where}: an image of {image.height}×{image.width} pixels, where {how.height}×{how.width} are wanted "
                "(height×width)"
            )
        return image
    if how.fit == "stretch":
        return image.resize(size, filtered)
    if how.fit == "crop":
        # Only the part is scaled: the whole of a long banner would not fit into memory.
        width = min(image.width, image.height * how.width / how.height)
        height = min(image.height, image.width * how.height / how.width)
        left, top = (image.width - width) / 2, (image.height - height) / 2
        return image.resize(size, filtered, box=(left, top, left + width, top + height))
    scale = min(how.width / image.width, how.height / image.height)
    inside = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    page = Image.new(image.mode, size)
    page.paste(image.resize(inside, filtered), ((size[0] - inside[0]) // 2, (size[1] - inside[1]) // 2))
    return page
