"""Images as references."""

from __future__ import annotations

import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest

from scl.data.stored import SampledImages, StoredImages, digest_of, digests_of, pieces, taken
from scl.errors import RunFailed
from tests.support.images import noise, stored

PIXELS = noise((10, 3, 5, 4))


@pytest.mark.parametrize(
    "which", [slice(None), slice(2, 5), np.array([7, 0, 0, 3]), np.array([], np.int64), slice(-2, None)]
)
def test_they_are_indexed_like_an_array(tmp_path: Path, which: slice | np.ndarray) -> None:
    images = stored(PIXELS, tmp_path)
    np.testing.assert_array_equal(images[which], PIXELS[which])
    assert (len(images), images.shape, images.nbytes) == (10, PIXELS.shape, PIXELS.nbytes)


def test_some_of_some_of_them_are_those_of_the_array(tmp_path: Path) -> None:
    first, second = np.array([9, 3, 5, 1]), np.array([2, 0])
    some = taken(taken(stored(PIXELS, tmp_path), first), second)
    np.testing.assert_array_equal(some[:], PIXELS[first][second])
    assert digests_of(some) == digests_of(PIXELS[first][second]) == [digest_of(PIXELS[5]), digest_of(PIXELS[9])]
    np.testing.assert_array_equal(np.concatenate(list(pieces(some))), PIXELS[[5, 9]])


def test_a_pickled_reference_is_small(tmp_path: Path) -> None:
    images = stored(np.zeros((64, 3, 32, 32), np.uint8), tmp_path)
    content = pickle.dumps(images)
    assert len(content) < 5000 < images.nbytes
    np.testing.assert_array_equal(pickle.loads(content)[3:5], images[3:5])


@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_what_differs_from_what_was_decoded_is_not_returned(tmp_path: Path, damage: str) -> None:
    images = stored(PIXELS, tmp_path)
    path = Path(images.path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content) if damage == "bit" else bytes(content[:-3]))
    if damage == "gone":
        path.unlink()
    with pytest.raises(
        RunFailed, match=r"images\.npy: (image 9 differs|it cannot be read).*run the same command again"
    ):
        images[:]
    assert not path.exists()  # a copy on a node is fetched again


def test_a_sample_stands_for_more() -> None:
    images = SampledImages(PIXELS, 25)
    assert images.shape == (25, 3, 5, 4)
    np.testing.assert_array_equal(images[np.array([0, 10, 24])], PIXELS[[0, 0, 4]])
    assert len(images.take(np.arange(7))) == len(taken(images, np.arange(7))) == 7
    out = np.empty((2, 3, 5, 4), np.uint8)
    images.read(np.array([11, 1]), out)
    np.testing.assert_array_equal(out, PIXELS[[1, 1]])


def test_the_checksum_is_the_crc_of_the_pixels(tmp_path: Path) -> None:
    images = stored(PIXELS, tmp_path)
    assert isinstance(images, StoredImages)
    assert images.crcs.tolist() == [zlib.crc32(image.tobytes()) for image in PIXELS]
