"""Changes of colour, against torchvision's functions image by image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from scl.data import colour
from tests.support.images import noise

FACTORS = [0.0, 0.3, 1.0, 1.4, 1.9]
TURNS = [-0.5, -0.1, 0.0, 0.07, 0.5]


def batch(channels: int) -> Tensor:
    """Noise, a grey image, a black one, a white one, and one of few colours."""
    images = torch.from_numpy(noise((5, channels, 9, 12)))
    images[1:4] = torch.tensor([90, 0, 255], dtype=torch.uint8)[:, None, None, None]
    images[4] = images[4] // 128 * 255
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (colour.brightness, functional.adjust_brightness, FACTORS),
        (colour.contrast, functional.adjust_contrast, FACTORS),
        (colour.saturation, functional.adjust_saturation, FACTORS),
        (colour.sharpness, functional.adjust_sharpness, FACTORS),
        (colour.hue, functional.adjust_hue, TURNS),
    ],
)
def test_each_image_changes_by_its_own_factor(
    channels: int, ours: Callable[..., Tensor], theirs: Callable[..., Tensor], factors: list[float]
) -> None:
    images = batch(channels)
    for shift in range(5):
        mine = factors[shift:] + factors[:shift]
        found = ours(images.float(), torch.tensor(mine)[:, None, None, None])
        expected = torch.stack([theirs(image, factor) for image, factor in zip(images, mine, strict=True)])
        # theirs cuts off what is below a level, and first that of the grey image
        assert (found - expected.float()).abs().max() < 2.01
        assert found.min() >= 0
        assert found.max() <= 255


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, factor = batch(3).float(), torch.tensor(FACTORS)[:, None, None, None]
    for change in (colour.brightness, colour.contrast, colour.saturation, colour.sharpness, colour.hue):
        whole = change(images, factor)
        assert all(torch.equal(whole[i : i + 1], change(images[i : i + 1], factor[i : i + 1])) for i in range(5))


def test_the_images_that_come_in_stay_as_they_are() -> None:
    images = batch(3).float()
    before = images.clone()
    for change in (colour.brightness, colour.contrast, colour.saturation, colour.sharpness, colour.hue):
        change(images, torch.tensor(0.4))
    assert torch.equal(images, before)


def test_an_image_too_small_for_the_kernel_is_not_smoothed() -> None:
    images = torch.rand(2, 3, 2, 5) * 255
    assert torch.equal(colour.sharpness(images, torch.tensor(0.0)), images)
