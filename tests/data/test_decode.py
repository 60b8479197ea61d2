"""Decoding images, and the labels of both parts."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scl.data.named import load_dataset
from scl.data.preprocessing import Preprocessing, prepare
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
    "content", [b"", b"no image", encoded(PIXELS[4])[:60], encoded(PIXELS[4])[:-60], b"%PDF-1.4", b"<svg></svg>"]
)
def test_a_corrupt_image_is_named(parquet: Path, cache: Path, content: bytes) -> None:
    put_into_second(parquet, content)
    assert_error(f"{SECOND}, row 1: cannot be decoded as a PNG, JPEG, BMP, WebP, GIF, TIFF or PPM", parquet, cache)


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


def test_sixteen_bits_that_hold_twelve_are_refused(files: Path, cache: Path) -> None:
    """As microscopes and scanners write them: their upper 8 bits would be 16 levels of grey."""
    for path in files.rglob("*.png"):
        path.write_bytes(encoded(noise((8, 8)).astype(np.uint16) * 16))
    assert_error("the images of 16 bits use at most 12 of them", files, cache)
    (files / "train/dog/1.png").write_bytes(encoded(noise((8, 8)).astype(np.uint16) * 256))
    dataset = load_dataset(str(files), cache)
    np.testing.assert_array_equal(dataset.train_images[3, 0], noise((8, 8)))
    assert dataset.remarks == ("6 images are of 16 bits a channel, of which the upper 8 are used.",)


def test_a_corrupt_file_is_named(files: Path, cache: Path) -> None:
    cut = (files / "test/dog/0.png").read_bytes()[:60]
    (files / "test/dog/0.png").write_bytes(cut)
    assert_error("test/dog/0.png: cannot be decoded", files, cache)


@pytest.mark.parametrize("size", [(9500, 9500), (14000, 14000)])  # Pillow warns of the first, and refuses the second
def test_images_that_unpack_into_all_of_memory_are_refused(files: Path, cache: Path, size: tuple[int, int]) -> None:
    (files / "train/dog/0.png").write_bytes(encoded(Image.new("1", size)))
    assert_error("train/dog/0.png: an image of .* pixels; the most that is decoded is 89,478,485 pixels", files, cache)


@pytest.mark.parametrize("layout", ["files", "parquet"])
def test_images_of_several_sizes_are_brought_to_one(request: pytest.FixtureRequest, cache: Path, layout: str) -> None:
    folder = request.getfixturevalue(layout)
    if layout == "files":
        for i, path in enumerate(sorted(folder.rglob("*.png"))):
            path.write_bytes(encoded(noise((60 + i, 100 - i, 3))))
    else:
        put_into_second(folder, noise((100, 70, 3)))
    dataset = load_dataset(str(folder), cache)
    side = 64 if layout == "files" else 32
    assert dataset.train_images.shape[1:] == dataset.test_images.shape[1:] == (3, side, side)
    assert f"each was brought to {side}×{side} (crop)" in dataset.remarks[0]
    assert dataset.preprocessing == Preprocessing(side, side, 3, "crop")
    other = load_dataset(str(folder), cache, size=16, fit="pad")
    assert other.train_images.shape[2:] == (16, 16)
    assert other.fingerprint != dataset.fingerprint
    content = sorted((folder / "train/cat").iterdir())[0] if layout == "files" else encoded(PIXELS[0])
    np.testing.assert_array_equal(other.train_images[0], prepare(content, Preprocessing(16, 16, 3, "pad")))


def test_images_of_one_size_are_pixels_as_before_unless_a_size_is_asked_for(files: Path, cache: Path) -> None:
    plain = load_dataset(str(files), cache)
    assert plain.how == Preprocessing(8, 8, 3, "exact")
    assert plain.remarks == ()
    same = load_dataset(str(files), cache, size=8)
    np.testing.assert_array_equal(same.train_images, plain.train_images)
    assert same.fingerprint == plain.fingerprint
    assert load_dataset(str(files), cache, size=12).train_images.shape == (4, 3, 12, 12)
    assert (
        "have 8×8 pixels; each was brought to 32×32 (stretch)"
        in load_dataset(str(files), cache, fit="stretch").remarks[0]
    )
