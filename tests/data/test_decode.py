"""Decoding images, and the labels of both parts."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scl.data.named import load_dataset
from tests.support.images import (
    PIXELS,
    SECOND,
    assert_error,
    assert_form,
    encoded,
    noise,
    put_into_second,
    write_parquet,
)

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize(
    "content", [b"", b"no image", encoded(PIXELS[4])[:60], encoded(Image.fromarray(PIXELS[4]), "GIF")]
)
def test_a_corrupt_image_is_named(parquet: Path, cache: Path, content: bytes) -> None:
    put_into_second(parquet, content)
    assert_error(f"{SECOND}, row 1: cannot be decoded as a PNG, JPEG, BMP or WebP image", parquet, cache)


def test_an_image_of_another_size_is_named(parquet: Path, cache: Path) -> None:
    put_into_second(parquet, noise((8, 9, 3)))
    assert_error(f"{SECOND}, row 1: an image of 8×9 pixels; the first is 8×8", parquet, cache)


def test_test_images_of_another_size_are_named(parquet: Path, cache: Path) -> None:
    write_parquet(parquet / "test-00000-of-00001.parquet", list(noise((2, 16, 16, 3))), label=[3, 7])
    assert_error("test-00000-of-00001.parquet, row 0: an image of 16×16 pixels; the first is 8×8", parquet, cache)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 2], [0, 1, 1], "test lacks labels that train has: 2;"),
        ([0, 1, 1], [0, 1, -1], "train lacks labels that test has: -1;"),
        ([0, 1, 2], [5, 5, 5], "test lacks labels that train has: 0, 1, 2;"),
        ([4, 4, 4], [4, 4, 4], "the number of classes is 1; a classifier needs at least 2"),
    ],
)
def test_labels_must_agree(tmp_path: Path, cache: Path, train: list[int], test: list[int], message: str) -> None:
    for part, labels in (("train", train), ("test", test)):
        write_parquet(tmp_path / f"d/{part}.parquet", list(PIXELS[:3]), label=labels)
    assert_error(message, tmp_path / "d", cache)


def test_many_labels_are_shortened(tmp_path: Path, cache: Path) -> None:
    write_parquet(tmp_path / "d/train.parquet", list(noise((15, 4, 4))), label=list(range(15)))
    write_parquet(tmp_path / "d/test.parquet", list(noise((2, 4, 4))), label=[0, 1])
    assert_error("train has: 2, 3, .*, 11 and 3 more;", tmp_path / "d", cache)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 1)])
def test_tiny_images_are_refused(tmp_path: Path, cache: Path, shape: tuple[int, int]) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"d/{part}.parquet", list(noise((2, *shape))), label=[0, 1])
    assert_error(
        f"train.parquet, row 0: an image of {shape[0]}×{shape[1]} pixels; .*at least 4×4", tmp_path / "d", cache
    )


def test_more_images_than_one_chunk_keep_their_order(tmp_path: Path, cache: Path) -> None:
    pixels = noise((1500, 4, 5))
    for part in ("train", "test"):
        write_parquet(tmp_path / "data" / f"{part}.parquet", list(pixels), label=[0, 1] * 750)
    np.testing.assert_array_equal(load_dataset(str(tmp_path / "data"), cache).train_images[:, 0], pixels)


def test_a_row_is_counted_over_chunks(tmp_path: Path, cache: Path) -> None:
    images = list(noise((1300, 4, 4)))
    for part in ("train", "test"):
        write_parquet(tmp_path / f"d/{part}.parquet", [*images, b"bad"], label=[0, 1] * 650 + [0])
    assert_error("train.parquet, row 1300: cannot be decoded", tmp_path / "d", cache)


def put_everywhere(files: Path, image: Image.Image, kind: str = "PNG") -> None:
    for path in files.rglob("*.png"):
        path.write_bytes(encoded(image, kind))


GREY = noise((8, 8))


@pytest.mark.parametrize(("suffix", "kind"), [("jpg", "JPEG"), ("JPEG", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP")])
def test_other_formats(files: Path, cache: Path, suffix: str, kind: str) -> None:
    content = encoded(PIXELS[0], kind)
    for path in list(files.rglob("*.png")):
        path.unlink()
        path.with_suffix(f".{suffix}").write_bytes(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(load_dataset(str(files), cache).train_images[3], expected)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_images_have_one_channel(files: Path, cache: Path, mode: str) -> None:
    image = Image.fromarray(GREY).convert(mode)
    put_everywhere(files, image)
    dataset = load_dataset(str(files), cache)
    expected = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(dataset.train_images, np.broadcast_to(expected, (4, 1, 8, 8)))
    assert "grey" in dataset.note
    assert_form(dataset)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "RGB"])
def test_palettes_and_opaque_colours_become_rgb(files: Path, cache: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS[0]).convert(mode)
    put_everywhere(files, image, "JPEG" if mode == "CMYK" else "PNG")
    dataset = load_dataset(str(files), cache)
    if mode != "CMYK":
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(dataset.train_images, np.broadcast_to(expected, (4, 3, 8, 8)))
    assert dataset.train_images.shape[1] == 3


def half_transparent(mode: str) -> Image.Image:
    """Colours whose upper half is invisible."""
    image = Image.fromarray(PIXELS[0]).convert("RGBA")
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:4] = 0
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":
        image = Image.fromarray((np.arange(64, dtype=np.uint8) // 32).reshape(8, 8), "P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.info["transparency"] = 0
    if mode == "RGB":
        image = image.convert("RGB")
        pixels = np.asarray(image).copy()
        pixels[:4] = (1, 2, 3)
        image = Image.fromarray(pixels)
        image.info["transparency"] = (1, 2, 3)
    return image.convert(mode) if mode == "LA" else image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparent_pixels_are_white_and_not_their_hidden_colours(files: Path, cache: Path, mode: str) -> None:
    put_everywhere(files, half_transparent(mode))
    images = load_dataset(str(files), cache).train_images
    assert (images[:, :, :4] == 255).all()
    assert not (images[:, :, 4:] == 255).all()
    assert images.shape[1] == (1 if mode == "LA" else 3)


def test_half_transparent_pixels_are_blended_with_white(files: Path, cache: Path) -> None:
    put_everywhere(files, Image.new("RGBA", (8, 8), (100, 0, 200, 51)))
    assert load_dataset(str(files), cache).train_images[0, :, 0, 0].tolist() == [224, 204, 244]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_the_camera_was_held(files: Path, cache: Path, orientation: int) -> None:
    image = Image.fromarray(PIXELS[0])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    for path in files.rglob("*.png"):
        path.write_bytes(buffer.getvalue())
    turned = [
        lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, lambda a: a.transpose(1, 0, 2),
        lambda a: np.rot90(a, -1), lambda a: np.rot90(a, 2).transpose(1, 0, 2), np.rot90,
    ][orientation - 1]  # fmt: skip
    found = load_dataset(str(files), cache).train_images[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(found, turned(PIXELS[0]))


def tag(number: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", number, kind, count) + value.ljust(4, b"\0")


TURN = tag(0x112, 3, 1, b"\x06")  # 6: a quarter clockwise


def exif(*tags: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)


@pytest.mark.parametrize(
    ("segment", "turned"),
    [
        (exif(TURN), True),
        (exif(tag(0x10F, 99, 1, b"\xff\xff"), TURN), True),
        (exif(tag(0x10F, 2, 4, b"\xff\xfe\xe9"), TURN), True),
        (exif(tag(0x100, 2, 4, b"abc"), TURN), True),
        (exif(tag(0x111, 9, 1, b"\xfb\xff\xff\xff"), TURN), True),
        (exif(tag(0x11A, 2, 4, b"abc"), TURN), True),
        (exif(TURN, tag(0x8825, 2, 4, b"abc")), True),
        (exif(TURN, tag(0x8769, 4, 1, b"\x00\x50")), True),
        (exif(tag(0x112, 2, 2, b"6")), False),
        (exif(tag(0x112, 3, 1, b"\x63")), False),
        (b"Exif\0\0", False),
        (b"Exif\0\0garbage header", False),
        (b"Exif\0\0II*\0\xff\xff\0\0", False),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_malformed_tags_do_not_hide_an_image(files: Path, cache: Path, segment: bytes, turned: bool) -> None:
    jpeg = encoded(Image.fromarray(PIXELS[0]), "JPEG")
    content = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    for path in files.rglob("*.png"):
        path.write_bytes(content)
    found = load_dataset(str(files), cache).train_images[0].transpose(1, 2, 0)
    plain = np.asarray(Image.open(io.BytesIO(jpeg)))
    np.testing.assert_array_equal(found, np.rot90(plain, -1) if turned else plain)


def test_what_is_not_read_is_counted_by_reason(files: Path, cache: Path) -> None:
    before = load_dataset(str(files), cache)
    assert before.skipped == {}
    (files / "train" / "cat" / "a.txt").write_text("words")
    (files / "train" / "cat" / "b.MOV").write_bytes(b"")
    (files / "train" / "cat" / "c").write_bytes(b"")
    (files / "train" / "cat" / ".hidden").write_bytes(b"")
    (files / "train" / "d.png").write_bytes(b"")
    (files / "test" / "dog" / "inner").mkdir()
    after = load_dataset(str(files), cache)
    assert after.fingerprint == before.fingerprint
    assert after.skipped == {
        ".txt file": 1, ".mov file": 1, "file": 1, "file beside the class folders of train": 1, "hidden file": 1,
    }  # fmt: skip


@pytest.mark.parametrize("place", ["train/cat/1.png", "test/dog/0.png"])
def test_a_single_colour_image_makes_all_rgb(files: Path, cache: Path, place: str) -> None:
    put_everywhere(files, Image.fromarray(GREY))
    (files / place).write_bytes(encoded(PIXELS[0]))
    dataset = load_dataset(str(files), cache)
    np.testing.assert_array_equal(dataset.train_images[0], np.stack([GREY] * 3))
    images = {"train/cat/1.png": dataset.train_images[1], "test/dog/0.png": dataset.test_images[1]}
    np.testing.assert_array_equal(images[place], PIXELS[0].transpose(2, 0, 1))
    assert_form(dataset)


def test_sixteen_bits_are_refused(files: Path, cache: Path) -> None:
    (files / "train/dog/1.png").write_bytes(encoded(noise((8, 8)).astype(np.uint16) * 257))
    assert_error("train/dog/1.png: its pixels have more than 8 bits", files, cache)


@pytest.mark.parametrize(
    ("kind", "channels", "mode"), [(0, 1, "I;16B"), (2, 3, "RGB;16B"), (4, 2, "LA;16B"), (6, 4, "RGBA;16B")]
)
def test_sixteen_bits_of_any_colour_are_refused(files: Path, cache: Path, kind: int, channels: int, mode: str) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(8)) * channels * 2 for _ in range(8))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (files / "train/dog/1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert_error(rf"train/dog/1.png: its pixels have more than 8 bits \(mode {mode}\)", files, cache)


def test_a_corrupt_file_is_named(files: Path, cache: Path) -> None:
    cut = (files / "test/dog/0.png").read_bytes()[:60]
    (files / "test/dog/0.png").write_bytes(cut)
    assert_error("test/dog/0.png: cannot be decoded", files, cache)


@pytest.mark.parametrize("pixels", [100, 150])  # Pillow raises an error above 2 × the limit, and warns above it
def test_decompression_bombs_are_refused(
    monkeypatch: pytest.MonkeyPatch, files: Path, cache: Path, pixels: int
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    (files / "train/dog/0.png").write_bytes(encoded(noise((16, 16, 3))))
    assert_error("train/dog/0.png: cannot be decoded .*decompression bomb", files, cache)
