"""RandAugment and TrivialAugment, against torchvision's operations image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, RandAugment, TrivialAugmentWide

from scl.data.policy import BINS, OPERATIONS, SIGNED, drawn, magnitudes, policy
from tests.support.images import noise

NAMES = {
    name: "".join(part.capitalize() for part in name.split("_")).replace("Autocontrast", "AutoContrast")
    for name in OPERATIONS
}
POLICIES = {False: RandAugment(), True: TrivialAugmentWide()}
SMOOTH = torch.from_numpy(np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8) * 2)


def theirs(image: Tensor, wide: bool, name: str, value: float) -> Tensor:
    return POLICIES[wide]._apply_image_or_video_transform(
        image, NAMES[name], value, interpolation=InterpolationMode.NEAREST, fill={}
    )


def applied(images: Tensor, chosen: list[int], value: list[float], batch_size: int | None = None) -> Tensor:
    step = policy(np.array(chosen), np.array(value, np.float32), batch_size or len(images), torch.device("cpu"))
    size = batch_size or len(images)
    return torch.cat([step(images[i : i + size], slice(i, i + size)) for i in range(0, len(images), size)])


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("shape", [(40, 48), (224, 224)])
def test_magnitudes_are_those_of_torchvision(wide: bool, shape: tuple[int, int]) -> None:
    space = POLICIES[wide]._AUGMENTATION_SPACE
    assert sorted(NAMES.values()) == sorted(space)
    for number, (name, row) in enumerate(zip(OPERATIONS, magnitudes(wide, *shape), strict=True)):
        magnitude, signed = space[NAMES[name]]
        expected = magnitude(BINS, *shape)
        assert signed == (0 < number < SIGNED)
        if expected is not None:
            scale = 255 if name == "solarize" else 1
            if name.startswith("translate"):  # whole pixels; at one magnitude theirs is 15.99999, and cut off
                assert (np.abs(row - np.trunc(expected.numpy() + 1e-4)) == 0).all()
            else:
                np.testing.assert_allclose(row, expected.numpy() * scale, rtol=1e-5, atol=1e-5)


def test_a_small_image_is_translated_by_its_side_at_most() -> None:
    table = dict(zip(OPERATIONS, magnitudes(True, 8, 12), strict=True))
    assert (table["translate_x"].max(), table["translate_y"].max()) == (12, 8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "identity"])
def test_operations_are_those_of_torchvision(name: str, channels: int) -> None:
    """At every magnitude of both policies, with both signs, on noise and on a smooth image, all in one batch."""
    images, expected, values = [], [], []
    flat = torch.full((channels, 40, 48), 77, dtype=torch.uint8)
    flat[:, 3, 4:7] = torch.tensor([1, 90, 255], dtype=torch.uint8)
    both = (
        torch.from_numpy(noise((channels, 40, 48))),
        SMOOTH.expand(channels, 40, 48),
        flat,
        flat[:, :1, :1].expand_as(flat),
    )
    number = list(OPERATIONS).index(name)
    for wide in (False, True):
        for value in magnitudes(wide, 40, 48)[number].tolist():
            for signed in (value, -value) if number < SIGNED else (value,):
                for image in both:
                    images.append(image)
                    values.append(signed)
                    expected.append(theirs(image, wide, name, signed / (255 if name == "solarize" else 1)))
    found = applied(torch.stack(images), [number] * len(images), values)
    gap = (found.int() - torch.stack(expected).int()).abs()
    if name in ("shear_x", "shear_y", "rotate"):
        # The nearest of two pixels that are equally near.
        assert (gap > 0).float().mean() < 0.003
    else:
        assert gap.max() <= {"brightness": 1, "color": 2, "contrast": 2, "sharpness": 1, "autocontrast": 1}.get(name, 0)


def test_images_of_a_batch_have_operations_of_their_own() -> None:
    n = 5 * len(OPERATIONS) + 3
    images = torch.from_numpy(noise((n, 3, 10, 10)))
    chosen, value = drawn(np.random.default_rng(0), n, (10, 10), 20)
    one = applied(images, chosen.tolist(), value.tolist())
    in_batches = applied(images, chosen.tolist(), value.tolist(), batch_size=16)
    alone = torch.cat([applied(images[i : i + 1], [int(chosen[i])], [float(value[i])], batch_size=1) for i in range(n)])
    assert torch.equal(one, in_batches)
    assert torch.equal(one, alone)
    assert torch.equal(one[chosen == 0], images[chosen == 0])


@pytest.mark.parametrize("magnitude", [None, 9])
def test_draws_are_uniform(magnitude: int | None) -> None:
    n = 28_000
    chosen, value = drawn(np.random.default_rng(1), n, (224, 224), magnitude)
    counts = np.bincount(chosen, minlength=14)
    assert np.abs(counts - n / 14).max() < 5 * np.sqrt(n / 14)
    table = magnitudes(magnitude is None, 224, 224)
    for operation in range(14):
        of_it = value[chosen == operation]
        if 0 < operation < SIGNED:
            moved = of_it[of_it != 0]
            assert abs((moved > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(len(moved))
        allowed = table[operation] if magnitude is None else table[operation][[magnitude]]
        assert set(np.abs(of_it)) == set(allowed)
