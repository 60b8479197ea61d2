"""From one image to pixels: kinds of files, sizes and shapes."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scl.data.preprocessing import Preprocessing, header_of, prepare
from scl.errors import UserError
from tests.support.images import encoded, noise

RGB, GREY = noise((6, 9, 3)), noise((6, 9))
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 9), dtype=np.uint16)


def saved(image: Image.Image | np.ndarray, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **how)
    return buffer.getvalue()


def moving(kind: str) -> bytes:
    frames = [Image.fromarray(noise((6, 9, 3), seed)) for seed in (0, 1, 2)]
    frames = [frame.convert("P") for frame in frames] if kind == "GIF" else frames
    return saved(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: values (H, W, 1 to 4)."""
    height, width, channels = values.shape

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels_of(content: bytes) -> np.ndarray:
    header = header_of(content, "it")
    return prepare(content, Preprocessing(header.height, header.width, 1 if header.grey else 3))


COLOURS16 = np.random.default_rng(2).integers(0, 65536, (6, 9, 3), dtype=np.uint16)
OPAQUE16 = np.dstack([COLOURS16, np.full((6, 9), 65535, np.uint16)])
FIRST_GIF = np.asarray(Image.fromarray(RGB).convert("P").convert("RGB"))
CMYK = Image.fromarray(RGB).convert("CMYK")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *[(saved(RGB, kind), RGB) for kind in ("PNG", "BMP", "TIFF", "PPM")],
        *[(saved(GREY, kind), GREY) for kind in ("PNG", "BMP", "TIFF", "PPM", "GIF")],
        (saved(RGB, "WEBP", lossless=True), RGB),
        *[(saved(DEEP, kind), DEEP >> 8) for kind in ("PNG", "TIFF", "PPM")],
        (saved(DEEP, "TIFF", tiffinfo={262: 0}), (65535 - DEEP) >> 8),
        (deep_png(COLOURS16), COLOURS16 >> 8),
        (deep_png(OPAQUE16), COLOURS16 >> 8),
        (saved(CMYK, "TIFF"), np.asarray(CMYK.convert("RGB"))),
        (saved(Image.fromarray(GREY).convert("1"), "PNG"), np.asarray(Image.fromarray(GREY).convert("1").convert("L"))),
        (
            saved(Image.fromarray(GREY).convert("1"), "TIFF"),
            np.asarray(Image.fromarray(GREY).convert("1").convert("L")),
        ),
        (moving("GIF"), FIRST_GIF),
        (moving("TIFF"), RGB),
        (moving("WEBP"), RGB),
        (moving("PNG"), RGB),
    ],
)
def test_kinds_of_files(content: bytes, expected: np.ndarray) -> None:
    found = pixels_of(content)
    np.testing.assert_array_equal(found[0] if expected.ndim == 2 else found.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_header_tells_frames_sizes_and_bits(kind: str) -> None:
    header = header_of(moving(kind), "it")
    assert (header.height, header.width, header.frames, header.deep) == (6, 9, True, False)
    still = header_of(saved(Image.fromarray(RGB).convert("P"), kind), "it")
    assert not still.frames
    assert header_of(saved(DEEP, "PNG"), "it").deep


def test_a_photo_with_a_second_image_for_depth_is_one_image() -> None:
    photo = saved(RGB, "MPO", save_all=True, append_images=[Image.fromarray(RGB)])
    assert not header_of(photo, "it").frames


def test_inverted_colours_of_printing_in_a_jpeg_are_read_as_they_look() -> None:
    light = Image.new("RGB", (16, 16), (250, 200, 180))
    found = pixels_of(saved(light.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.mean((1, 2)) - (250, 200, 180)).max() < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_header_gives_the_size_of_the_upright_image(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(np.full((24, 40, 3), 90, np.uint8), kind, exif=exif)
    header = header_of(content, "it")
    assert (header.height, header.width) == ((40, 24) if orientation > 4 else (24, 40))
    assert pixels_of(content).shape == (3, header.height, header.width)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(DEEP.astype(np.float32), "TIFF"), r"more than 8 bits in a range that the file does not tell \(mode F\)"),
        (saved(DEEP.astype(np.int32), "TIFF"), r"does not tell \(mode I\)"),
        (b"", "cannot be decoded as a PNG"),
        (b"\xff\xd8\xff\xe0 no photo", "cannot be decoded as a PNG"),
        (saved(Image.new("1", (9500, 9500)), "PNG"), "an image of 9,500×9,500 pixels; the most that is decoded"),
        (saved(Image.new("1", (14000, 14000)), "PNG"), "more than 178,956,970 pixels; the most that is decoded"),
        *[
            (saved(noise((40, 40, 3)), kind)[:-400], "cannot be decoded")
            for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
        ],
        (saved(Image.fromarray(noise((40, 40))), "GIF")[:-400], "cannot be decoded"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_decoded_is_refused_by_name(content: bytes, message: str) -> None:
    for how in (Preprocessing(8, 8, 3, "crop"), Preprocessing(8, 8, 3)):
        with pytest.raises(UserError, match=f"photo 7: .*{message}"):
            prepare(content, how, "photo 7")


HALVES = np.concatenate([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 200, np.uint8)], axis=1)  # dark, then light


@pytest.mark.parametrize(
    ("fit", "row"),
    [
        ("crop", [0, 0, 0, 0, 200, 200, 200, 200]),
        ("stretch", [0, 0, 0, 0, 200, 200, 200, 200]),
    ],
)
def test_fits_of_a_wide_image(fit: str, row: list[int]) -> None:
    found = prepare(saved(HALVES, "PNG"), Preprocessing(8, 8, 3, fit))
    np.testing.assert_allclose(found[0, 4], row, atol=30 if fit == "stretch" else 0)


def test_pad_keeps_the_shape_on_black() -> None:
    found = prepare(saved(HALVES + 50, "PNG"), Preprocessing(16, 16, 3, "pad"))
    assert (found[:, :4] == 0).all()
    assert (found[:, -4:] == 0).all()
    np.testing.assert_array_equal(found[:, 4:12].transpose(1, 2, 0), HALVES + 50)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (4, 4), (3, 1000), (224, 224)])
@pytest.mark.parametrize("size", [4, 32, 224])
def test_extreme_shapes(shape: tuple[int, int], fit: str, size: int) -> None:
    found = prepare(Image.new("RGB", shape[::-1], (10, 20, 30)), Preprocessing(size, size, 3, fit))
    assert found.shape == (3, size, size)
    assert found.flags.c_contiguous
    assert found.max((1, 2)).tolist() == [10, 20, 30]  # the rest of a padded one is black


def test_scaling_down_averages() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    found = prepare(saved(board, "PNG"), Preprocessing(16, 16, 1, "crop"))
    assert np.abs(found.astype(int) - 127).max() <= 4


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_an_image_of_the_size_keeps_its_pixels(fit: str) -> None:
    pixels = noise((32, 32, 3))
    np.testing.assert_array_equal(
        prepare(saved(pixels, "PNG"), Preprocessing(32, 32, 3, fit)).transpose(1, 2, 0), pixels
    )


def test_a_path_a_content_and_an_image_give_the_same_pixels(tmp_path: Path) -> None:
    content = saved(noise((300, 200, 3)), "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    how = Preprocessing(**dataclasses.asdict(Preprocessing(96, 96, 3, "crop")))
    first = prepare(content, how)
    for same in (path, str(path), Image.open(path)):
        np.testing.assert_array_equal(prepare(same, how), first)


@pytest.mark.parametrize(
    ("content", "how", "message"),
    [
        (encoded(RGB), Preprocessing(8, 8, 3), "an image of 6×9 pixels, where 8×8 are wanted"),
        (encoded(RGB), Preprocessing(6, 9, 1), "an image in colour, where grey ones are wanted"),
    ],
)
def test_what_was_not_asked_for_is_refused(content: bytes, how: Preprocessing, message: str) -> None:
    with pytest.raises(UserError, match=f"the image: {message}"):
        prepare(content, how)


def test_a_grey_image_fills_all_channels() -> None:
    found = prepare(encoded(GREY), Preprocessing(6, 9, 3))
    np.testing.assert_array_equal(found, np.stack([GREY] * 3))
