"""Each word of an augmentation, against a reference that takes one image at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from scl.data.augment import (
    ERASED,
    ERASED_RATIOS,
    SEEN_RATIOS,
    Mixing,
    colour_steps,
    cut_boxes,
    erasing_steps,
    geometry_steps,
    jitter_factors,
    random_boxes,
    seen_boxes,
    stream,
)
from scl.data.augment import _on as on
from scl.data.augment import _resized as resized
from scl.study.augment import words_of
from tests.support.images import noise

CPU = torch.device("cpu")
SHAPES = [(32, 32), (40, 28), (224, 224), (8, 8)]


def smooth(n: int, shape: tuple[int, int]) -> Tensor:
    """Images with structure at every scale: noise that was enlarged, and noise."""
    small = torch.from_numpy(noise((n, 3, 5, 5)))
    large = functional.resize(small, list(shape), antialias=False)
    return torch.where(torch.arange(n)[:, None, None, None] % 2 == 0, large, torch.from_numpy(noise((n, 3, *shape))))


# --- rrc ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32), (40, 28), (56, 56)])
def test_rrc_is_the_crop_of_torchvision_and_of_pillow(shape: tuple[int, int]) -> None:
    n = 60
    images, boxes = smooth(n, shape), seen_boxes(stream(0, 1, "rrc"), n, shape, 0.08)
    found = resized(images, torch.from_numpy(boxes.astype(np.float32)))
    assert found.dtype == torch.uint8
    for image, result, (top, left, tall, wide) in zip(images, found, boxes.tolist(), strict=True):
        expected = functional.resized_crop(image, top, left, tall, wide, list(shape), antialias=True)
        assert (result.int() - expected.int()).abs().max() <= 1
        box = (left, top, left + wide, top + tall)
        pillow = (
            Image.fromarray(image.permute(1, 2, 0).numpy()).crop(box).resize(shape[::-1], Image.Resampling.BILINEAR)
        )
        assert (result.permute(1, 2, 0).int() - torch.from_numpy(np.array(pillow)).int()).abs().max() <= 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("least", [0.08, 0.35, 1.0])
def test_what_rrc_sees_lies_in_the_image_and_has_an_allowed_area_and_ratio(
    shape: tuple[int, int], least: float
) -> None:
    boxes = seen_boxes(stream(3, 1, "rrc"), 4000, shape, least)
    top, left, tall, wide = boxes.T
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] >= 0).all()
    assert ((top + tall <= shape[0]) & (left + wide <= shape[1])).all()
    if min(shape) < 100:
        return
    area, ratio = tall * wide / (shape[0] * shape[1]), wide / tall
    whole = (tall == shape[0]) & (wide == shape[1])  # where nothing fits
    assert (area > least - 0.01)[~whole].all()
    assert ((ratio > SEEN_RATIOS[0] * 0.97) & (ratio < SEEN_RATIOS[1] * 1.03)).all()


def test_rrc_draws_as_torchvision_does() -> None:
    """Means of area, ratio and place of 4,000 draws each, within five standard errors."""
    n, shape = 4000, (224, 200)
    ours = seen_boxes(stream(0, 1, "rrc"), n, shape, 0.08).astype(float)
    torch.manual_seed(0)
    crop, image = v2.RandomResizedCrop(shape), torch.zeros(3, *shape)
    drawn = [crop.make_params([image]) for _ in range(n)]
    theirs = np.array([[d["top"], d["left"], d["height"], d["width"]] for d in drawn], float)
    for of in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        a, b = of(ours), of(theirs)
        assert abs(a.mean() - b.mean()) < 5 * np.hypot(a.std(), b.std()) / np.sqrt(n)
        assert abs(a.std() / b.std() - 1) < 0.1


# --- crop and flip -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", ["crop", "flip", "crop+flip", "none"])
def test_crop_and_flip_move_whole_pixels(augment: str, channels: int) -> None:
    n, (height, width), (rows, columns) = 30, (12, 20), (2, 3)
    images = torch.from_numpy(noise((n, channels, height, width)))
    draw = torch.Generator().manual_seed(0)
    top, left = (torch.randint(0, 2 * p + 1, (n,), generator=draw) for p in (rows, columns))
    mirrored = torch.randint(0, 2, (n,), generator=draw, dtype=torch.bool)
    found = images
    for step in geometry_steps(words_of(augment), 0, 1, (height, width), (top, left, mirrored, (rows, columns))):
        found = step(found, slice(0, n))
    assert found.dtype == torch.uint8
    for i in range(n):
        pixels = np.pad(images[i].numpy(), ((0, 0), (rows, rows), (columns, columns)))
        row, column = (int(top[i]), int(left[i])) if "crop" in augment else (rows, columns)
        pixels = pixels[:, row : row + height, column : column + width]
        expected = pixels[:, :, ::-1] if "flip" in augment and mirrored[i] else pixels
        np.testing.assert_array_equal(found[i].numpy(), expected)


# --- jitter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_is_four_functions_of_torchvision_in_turn(channels: int) -> None:
    n = 24
    images = smooth(n, (16, 20))[:, :channels]
    (step,) = colour_steps(words_of("jitter:0.6"), 5, 2, (16, 20), n, n, CPU)
    found = step(images, slice(0, n))
    factors = jitter_factors(stream(5, 2, "jitter"), n, 0.6)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 255
    for image, result, (light, contrast, colours, turn) in zip(images, found, factors.tolist(), strict=True):
        expected = image.float() / 255  # without rounding in between
        expected = functional.adjust_brightness(expected, light)
        expected = functional.adjust_contrast(expected, contrast)
        expected = functional.adjust_saturation(expected, colours)
        expected = functional.adjust_hue(expected, turn) if channels == 3 else expected
        assert (result - 255 * expected).abs().max() < 1.0


def test_jitter_draws_uniformly_within_its_strength() -> None:
    factors = jitter_factors(stream(0, 1, "jitter"), 20_000, 0.4)
    np.testing.assert_allclose(factors.mean(0), [1, 1, 1, 0], atol=0.01)
    np.testing.assert_allclose(factors.min(0), [0.6, 0.6, 0.6, -0.1], atol=0.001)
    np.testing.assert_allclose(factors.max(0), [1.4, 1.4, 1.4, 0.1], atol=0.001)
    np.testing.assert_allclose(np.corrcoef(factors.T), np.eye(4), atol=0.05)


# --- randaugment and trivialaugment: the operations are tested in test_policy ------------------------------------


def test_randaugment_applies_as_many_operations_as_asked() -> None:
    n, shape = 40, (12, 12)
    images = torch.from_numpy(noise((n, 3, *shape)))
    one, two, three = (colour_steps(words_of(f"randaugment:{count}:12"), 1, 1, shape, n, n, CPU) for count in (1, 2, 3))
    assert [len(steps) for steps in (one, two, three)] == [1, 2, 3]
    part = slice(0, n)
    assert torch.equal(one[0](images, part), three[0](images, part))  # the first draws are the same
    both = two[1](two[0](images, part), part)
    assert torch.equal(three[2](both, part), three[2](three[1](three[0](images, part), part), part))


# --- erasing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probability", [0.25, 1.0])
@pytest.mark.parametrize("shape", [(32, 32), (60, 40)])
def test_erasing_makes_one_box_the_mean_colour(shape: tuple[int, int], probability: float) -> None:
    n = 2000
    images = torch.ones(n, 3, *shape)
    (step,) = erasing_steps(words_of(f"erasing:{probability}"), 0, 1, shape, n, CPU)
    found = step(images.clone(), slice(0, n))
    erased = found[:, 0] == 0
    assert torch.equal(found, (~erased).float()[:, None].expand_as(found))
    hit = erased.any(2).any(1)
    assert abs(hit.float().mean() - probability) < 5 * (probability * (1 - probability) / n) ** 0.5 + 0.005
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    area = erased.flatten(1).sum(1)
    assert torch.equal(area, rows * columns)  # a box
    share = area[hit] / (shape[0] * shape[1])
    assert share.min() > ERASED[0] * 0.7
    assert share.max() < ERASED[1] * 1.1
    assert abs(share.mean() - 0.17) < 0.02


# --- mixup and cutmix --------------------------------------------------------------------------------------------


def mixed(augment: str, n: int, shape: tuple[int, int], batch: int, classes: int = 7) -> tuple[Tensor, ...]:
    images = torch.rand(n, 3, *shape, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(n) % classes
    mixing = Mixing(words_of(augment), 3, 2, shape, n, CPU)
    parts = [slice(start, min(start + batch, n)) for start in range(0, n, batch)]
    found = [mixing(images[part], labels[part], part, classes) for part in parts]
    others = torch.cat([torch.arange(n)[part].roll(1) for part in parts])
    return images, labels, others, torch.cat([i for i, _ in found]), torch.cat([t for _, t in found])


@pytest.mark.parametrize("augment", ["mixup", "mixup:0.2", "cutmix", "cutmix:0.3", "mixup:0.4+cutmix"])
def test_a_mixed_image_and_its_target_have_the_same_shares(augment: str) -> None:
    n, shape = 300, (16, 24)
    images, labels, others, found, target = mixed(augment, n, shape, batch=64)
    assert target.dtype == torch.float32
    assert target.shape == (n, 7)
    torch.testing.assert_close(target.sum(1), torch.ones(n))
    assert not torch.equal(labels, labels[others])
    kinds = set()
    for i in range(n):
        own, other = images[i], images[others[i]]
        share = float(target[i, labels[i]]) if labels[i] != labels[others[i]] else None
        assert set(target[i].nonzero().flatten().tolist()) <= {int(labels[i]), int(labels[others[i]])}
        from_own = (found[i] == own).all(0)
        if bool(from_own.all()):
            assert share is None or share > 1 - 1e-5
        elif bool((from_own | (found[i] == other).all(0)).all()):
            kinds.add("cutmix")
            assert share is None or abs(from_own.float().mean() - share) < 1e-5
            cut = ~from_own
            assert int(cut.sum()) == int(cut.any(1).sum() * cut.any(0).sum())  # a box
        else:
            kinds.add("mixup")
            assert share is None or torch.allclose(found[i], share * own + (1 - share) * other, atol=1e-5)
    assert kinds == {word.split(":")[0] for word in augment.split("+")}


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_those_of_a_beta_distribution(alpha: float) -> None:
    n = 20_000
    mixing = Mixing(words_of(f"mixup:{alpha}"), 0, 1, (8, 8), n, CPU)
    share = mixing.kept.double()
    assert abs(share.mean() - 0.5) < 0.02
    assert abs(share.var() - 1 / (4 * (2 * alpha + 1))) < 0.005


def test_boxes_of_cutmix_are_those_of_torchvision() -> None:
    n, shape = 4000, (64, 48)
    ours = cut_boxes(stream(0, 1, "cutmix"), n, shape, 1.0)
    torch.manual_seed(0)
    cut = v2.CutMix(num_classes=2)
    drawn = [
        cut.make_params(
            [
                torch.zeros(2, 3, *shape),
            ]
        )
        for _ in range(n)
    ]
    theirs = np.array([[d["box"][1], d["box"][0], d["box"][3], d["box"][2]] for d in drawn])
    theirs[:, 2:] -= theirs[:, :2]
    assert ((ours[:, :2] + ours[:, 2:]) <= shape).all()
    for i in range(4):
        gap = 5 * np.hypot(ours[:, i].std(), theirs[:, i].std()) / np.sqrt(n)
        assert abs(ours[:, i].mean() - theirs[:, i].mean()) < gap


def test_with_both_words_each_image_takes_one_at_even_odds() -> None:
    n = 4000
    mixing = Mixing(words_of("mixup+cutmix"), 0, 1, (32, 32), n, CPU)
    assert abs((mixing.mixed == 1).float().mean() - 0.5) < 0.04


# --- all words ---------------------------------------------------------------------------------------------------


def everything(seed: int, epoch: int, n: int = 12) -> list[Callable[[Tensor, slice], Tensor]]:
    words, shape = words_of("rrc+randaugment+jitter"), (16, 16)
    crops = (*(torch.zeros(n, dtype=torch.int64) for _ in range(3)), (2, 2))
    return [
        *geometry_steps(words, seed, epoch, shape, crops),  # type: ignore[arg-type]
        *colour_steps(words, seed, epoch, shape, n, 4, CPU),
    ]


def test_draws_are_a_function_of_seed_and_epoch_and_of_nothing_else() -> None:
    images = smooth(12, (16, 16))
    np.random.seed(0)

    def of(seed: int, epoch: int) -> Tensor:
        parts = []
        for start in range(0, 12, 4):
            batch = images[start : start + 4]
            for step in everything(seed, epoch):
                batch = step(batch, slice(start, start + 4))
            parts.append(batch)
        return torch.cat(parts)

    first, state = of(0, 1), np.random.get_state()[1].tolist()
    assert torch.equal(first, of(0, 1))
    assert not torch.equal(first, of(0, 2))
    assert not torch.equal(first, of(1, 1))
    assert np.random.get_state()[1].tolist() == state


def test_random_boxes_that_do_not_fit_are_empty() -> None:
    boxes = random_boxes(np.random.default_rng(0), 50, (3, 200), (0.9, 1.0), ERASED_RATIOS)
    assert (boxes == 0).all()


def test_rows_of_a_step_are_those_of_its_places() -> None:
    step = on(np.arange(10), CPU, lambda images, rows: images + rows)
    assert step(torch.zeros(3), slice(4, 7)).tolist() == [4, 5, 6]
