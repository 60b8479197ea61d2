"""What the headers of images say, and the preprocessing that is chosen from them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scl.data.encoded import EncodedFolder, EncodedPart
from scl.data.preprocessing import Preprocessing
from scl.data.survey import SAMPLE, chosen, survey
from scl.errors import UserError
from tests.support.images import encoded, noise


def folder(*sizes: tuple[int, int], grey: bool = True) -> EncodedFolder:
    """Images of these heights and widths; the last one is the test part."""
    sources = [
        (f"{i}.png", encoded(Image.new("L" if grey else "RGB", (width, height))))
        for i, (height, width) in enumerate(sizes)
    ]
    parts = {
        "train": EncodedPart(np.zeros(len(sizes) - 1, np.int64), sources[:-1]),
        "test": EncodedPart(np.zeros(1, np.int64), sources[-1:]),
    }
    return EncodedFolder(parts, ["a", "b"], "Made", "")


@pytest.mark.parametrize(
    ("sizes", "size", "fit", "expected"),
    [
        ([(8, 9), (8, 9)], None, None, (8, 9, "exact")),
        ([(8, 8), (8, 8)], 8, None, (8, 8, "crop")),
        ([(8, 8), (8, 8)], 96, "pad", (96, 96, "pad")),
        ([(200, 300), (200, 300)], None, "stretch", (192, 192, "stretch")),
        ([(8, 8), (9, 8)], None, None, (32, 32, "crop")),
        ([(100, 90), (90, 110), (95, 300)], None, None, (96, 96, "crop")),
        ([(500, 375), (3000, 4000), (375, 500)], None, None, (224, 224, "crop")),
        ([(1, 5000), (64, 64), (64, 65)], None, None, (64, 64, "crop")),
        ([(500, 375), (375, 500)], 100, None, (100, 100, "crop")),
    ],
)
def test_the_choice_of_a_size(
    sizes: list[tuple[int, int]], size: int | None, fit: str | None, expected: tuple[int, int, str]
) -> None:
    how, _ = chosen(survey(folder(*sizes)), size, fit)
    assert how == Preprocessing(expected[0], expected[1], 1, expected[2])


def test_the_choice_is_told_with_its_reason_and_the_way_to_another() -> None:
    _, remarks = chosen(survey(folder((100, 90), (90, 110), (95, 300), (96, 96))), None, None)
    assert remarks == [
        "The images have sizes from 100×90 to 95×300 pixels (height×width); each was brought to 96×96 (crop). That is "
        "the multiple of 32, up to 224, nearest to the median of their shorter sides, 92.5. --image-size N and "
        "--image-fit crop|stretch|pad choose otherwise.",
        "1 image is more than twice as long as wide: less than half of each is kept (--image-fit crop).",
        "3 images are smaller than 96 pixels and enlarged.",
    ]
    assert chosen(survey(folder((100, 90), (90, 110))), 80, None)[1] == []


def test_images_too_small_for_a_network_are_refused_with_a_way_out() -> None:
    with pytest.raises(
        UserError, match=r"0\.png: an image of 3×8 pixels; the networks need at least 4×4; --image-size N"
    ):
        chosen(survey(folder((3, 8), (3, 8))), None, None)
    assert chosen(survey(folder((3, 8), (3, 8))), 32, None)[0].shape == (1, 32, 32)


def test_one_image_in_colour_makes_three_channels() -> None:
    assert survey(folder((8, 8), (8, 8))).channels == 1
    assert survey(folder((8, 8), (8, 8), grey=False)).channels == 3


def test_the_sample_is_spread_and_time_may_run_out() -> None:
    content = encoded(noise((4, 4)))
    sources = [(str(i), content) for i in range(1000)]
    many = EncodedFolder({"train": EncodedPart(np.zeros(1000, np.int64), sources)}, [], "", "")
    found = survey(many)
    assert len(found.headers) == found.count == 1000
    assert SAMPLE <= len(found.sample) <= 2 * SAMPLE
    assert int(found.sample[-1][0]) > 980
    some = survey(many, seconds=0.0)
    assert len(some.headers) < some.count == 1000
