"""Normalisation and batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scl.data.batches import (
    Images,
    SplitData,
    balanced_order,
    evaluation_batches,
    image_order,
    normalisation,
    training_batches,
)
from scl.data.named import load_dataset
from scl.data.split import split
from scl.errors import UserError
from scl.study.augment import mixes
from tests.support.images import dataset_of, noise


def test_normalisation_is_that_of_all_pixels() -> None:
    images = noise((5000, 3, 5, 6))
    images[:, 1] //= 3
    mean, std = normalisation(dataset_of(images))
    exact = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(std, exact.std((0, 2, 3)), rtol=1e-7)
    assert mean.dtype == std.dtype == np.float32
    assert mean.shape == std.shape == (3,)


def test_normalisation_of_a_constant_channel_divides_by_one() -> None:
    mean, std = normalisation(dataset_of(np.full((4, 1, 4, 4), 51, dtype=np.uint8)))
    assert mean.tolist() == [np.float32(0.2)]
    assert std.tolist() == [1.0]


MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.2, 0.3])


def numbered(n: int, channels: int = 3, height: int = 32, width: int = 32) -> Images:
    """Images of noise whose label is their index."""
    return Images(torch.from_numpy(noise((n, channels, height, width))), torch.arange(n))


def epoch_of(
    images: Images, augment: str = "crop+flip", batch_size: int = 16, seed: int = 0, epoch: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    c = images.images.shape[1]
    batches = training_batches(
        images, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment, mean=MEAN[:c], std=STD[:c]
    )
    return list(batches)


def found_crops(images: Images, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[int, int, int, bool]]:
    """(index, top, left, mirrored) of each output, by trying every crop of its image, one by one, in numpy."""
    channels, height, width = images.images.shape[1:]
    rows, columns = max(1, round(height / 8)), max(1, round(width / 8))
    mean, std = (t[:channels, None, None].double().numpy() for t in (MEAN, STD))
    found = []
    for batch, labels in batches:
        for output, label in zip(batch.numpy(), labels.tolist(), strict=True):
            pixels = np.rint((output.astype(np.float64) * std + mean) * 255)
            # exact to float32: what came out is a normalised whole number
            np.testing.assert_allclose(output, (pixels / 255 - mean) / std, atol=3e-6)
            padded = np.pad(images.images[label].numpy(), ((0, 0), (rows, rows), (columns, columns)))
            matches = []
            for top in range(2 * rows + 1):
                for left in range(2 * columns + 1):
                    crop = padded[:, top : top + height, left : left + width]
                    matches += [(label, top, left, False)] * np.array_equal(crop, pixels)
                    matches += [(label, top, left, True)] * np.array_equal(crop[:, :, ::-1], pixels)
            assert len(matches) == 1, f"image {label} is no crop of its original"
            found += matches
    return found


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (1, 8, 8), (3, 28, 20), (1, 4, 6)])
def test_augmentation_is_a_padded_crop_and_a_mirror(channels: int, height: int, width: int) -> None:
    images = numbered(150, channels, height, width)
    crops = found_crops(images, epoch_of(images))
    rows, columns = max(1, round(height / 8)), max(1, round(width / 8))
    assert sorted(c[0] for c in crops) == list(range(150))
    assert {c[1] for c in crops} == set(range(2 * rows + 1))
    assert {c[2] for c in crops} == set(range(2 * columns + 1))
    assert 45 < sum(c[3] for c in crops) < 105  # half of 150, give or take five standard deviations


def test_padding_is_four_for_32_pixels() -> None:
    assert numbered(1).padding == (4, 4)
    assert numbered(1, 1, 4, 16).padding == (1, 2)


def test_augmentations_draw_the_same_numbers() -> None:
    images = numbered(60)
    both, crop, none = (found_crops(images, epoch_of(images, augment)) for augment in ("crop+flip", "crop", "none"))
    assert [c[:3] for c in both] == [c[:3] for c in crop]
    assert not any(c[3] for c in crop)
    assert none == [(c[0], 4, 4, False) for c in both]


def test_batches_are_a_function_of_seed_and_epoch() -> None:
    images = numbered(50)
    torch.manual_seed(0)
    first = epoch_of(images)
    torch.manual_seed(1)  # the global stream has no say, and is left alone
    before = torch.get_rng_state()
    again = epoch_of(images)
    assert torch.equal(before, torch.get_rng_state())
    for (a, la), (b, lb) in zip(first, again, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(la, lb)
    orders = {tuple(epoch_of(images, seed=s, epoch=e)[0][1].tolist()) for s, e in ((0, 1), (1, 1), (0, 2), (1, 0))}
    assert len(orders) == 4


def test_batches_do_not_depend_on_their_size() -> None:
    images = numbered(60)
    one = torch.cat([b for b, _ in epoch_of(images, batch_size=7)])
    other = torch.cat([b for b, _ in epoch_of(images, batch_size=60)])
    assert torch.equal(one, other)


def test_a_last_batch_is_kept_unless_it_is_one_image() -> None:
    assert [len(b) for b, _ in epoch_of(numbered(34))] == [16, 16, 2]
    assert [len(b) for b, _ in epoch_of(numbered(33))] == [16, 16]
    assert [len(b) for b, _ in epoch_of(numbered(32))] == [16, 16]
    assert epoch_of(numbered(1)) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_float32_and_channels_last(channels: int) -> None:
    images = numbered(20, channels)
    evaluation = evaluation_batches(images, batch_size=16, mean=MEAN[:channels], std=STD[:channels])
    for batch, labels in [*epoch_of(images), *evaluation]:
        assert batch.dtype == torch.float32
        assert batch.shape[1:] == (channels, 32, 32)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64


def test_evaluation_keeps_all_images_in_order() -> None:
    images = numbered(33)
    batches = list(evaluation_batches(images, batch_size=16, mean=MEAN, std=STD))
    assert [len(b) for b, _ in batches] == [16, 16, 1]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(33))
    expected = (images.images.double() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    torch.testing.assert_close(torch.cat([b for b, _ in batches]).double(), expected, atol=1e-6, rtol=1e-6)
    assert list(evaluation_batches(numbered(0), batch_size=16, mean=MEAN, std=STD)) == []


def test_training_and_evaluation_normalise_alike() -> None:
    images = numbered(32)
    batch, labels = epoch_of(images, "none", batch_size=32)[0]
    plain, _ = next(evaluation_batches(images, batch_size=32, mean=MEAN, std=STD))
    assert torch.equal(batch, plain[labels])


EVERY_WORD = "rrc+flip+randaugment+jitter+erasing+mixup:0.4+cutmix"


def mixed_epoch(augment: str, *, n: int = 60, batch_size: int = 16, **more: Any) -> list[tuple[Tensor, Tensor]]:
    """An epoch of images of 11 classes."""
    images = numbered(n, more.pop("channels", 3), 20, 20)
    images = Images(images.images, images.labels % 11)
    c = images.images.shape[1]
    asked: dict[str, Any] = {"seed": 0, "epoch": 1, "mean": MEAN[:c], "std": STD[:c], "classes": 11, **more}
    return list(training_batches(images, batch_size=batch_size, augment=augment, **asked))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
@pytest.mark.parametrize("augment", [EVERY_WORD, "crop+trivialaugment+cutmix", "flip", "rrc:1", "jitter", "mixup"])
def test_batches_of_every_word(augment: str, sampling: str, channels: int) -> None:
    batches = mixed_epoch(augment, sampling=sampling, channels=channels)
    again = mixed_epoch(augment, sampling=sampling, channels=channels)
    other = mixed_epoch(augment, sampling=sampling, channels=channels, epoch=2)
    low, high = -MEAN[:channels] / STD[:channels], (1 - MEAN[:channels]) / STD[:channels]
    assert [len(batch) for batch, _ in batches] == [16, 16, 16, 12]
    for (batch, target), (same, same_target) in zip(batches, again, strict=True):
        assert torch.equal(batch, same)
        assert torch.equal(target, same_target)
        assert batch.dtype == torch.float32
        assert batch.shape[1:] == (channels, 20, 20)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert (batch.amin((0, 2, 3)) > low - 1e-5).all()
        assert (batch.amax((0, 2, 3)) < high + 1e-5).all()
        if mixes(augment):
            assert (target.dtype, target.shape) == (torch.float32, (len(batch), 11))
        else:
            assert (target.dtype, target.shape) == (torch.int64, (len(batch),))
    assert not torch.equal(batches[0][0], other[0][0])


@pytest.mark.parametrize("augment", ["crop+flip", "crop", "flip", "none"])
@pytest.mark.parametrize("shape", [(32, 32), (28, 20)])
def test_crops_of_a_batch_are_those_of_the_padded_set(
    augment: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small images are cropped in one gather, larger ones batch by batch: bitwise the same."""
    images = numbered(50, 3, *shape)
    small = epoch_of(images, augment)
    monkeypatch.setattr(Images, "padded", None)
    large = epoch_of(images, augment)
    assert len(small) == len(large) == 4
    for (a, la), (b, lb) in zip(small, large, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(la, lb)


def test_a_word_leaves_the_draws_of_the_others_as_they_are() -> None:
    plain, erased = mixed_epoch("crop+flip"), mixed_epoch("crop+flip+erasing")
    for (a, la), (b, lb) in zip(plain, erased, strict=True):
        assert torch.equal(la, lb)
        assert torch.equal(torch.where(b == 0, a, b), a)
    only, more = mixed_epoch("rrc+jitter"), mixed_epoch("rrc+jitter+mixup")
    for (a, labels), (b, target) in zip(only, more, strict=True):
        share = target.gather(1, labels[:, None])[:, :, None, None]
        apart = labels != labels.roll(1)
        torch.testing.assert_close(b[apart], (share * a + (1 - share) * a.roll(1, 0))[apart], atol=1e-5, rtol=1e-5)


def test_batches_do_not_depend_on_their_size_or_on_threads() -> None:
    words = "rrc+flip+randaugment+jitter+erasing"
    before = torch.get_num_threads()
    try:
        found = []
        for count, size in ((1, 7), (2, 7), (2, 60)):
            torch.set_num_threads(count)
            found.append(torch.cat([batch for batch, _ in mixed_epoch(words, batch_size=size)]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_balanced_sampling_gives_each_class_equally_often() -> None:
    labels = np.repeat([0, 1, 2, 5], [400, 30, 7, 1])
    order = balanced_order(labels, np.random.default_rng(0))
    assert len(order) == len(labels) == 438
    assert sorted(np.bincount(labels[order], minlength=6).tolist()) == [0, 0, 109, 109, 110, 110]
    times = np.bincount(order, minlength=438)
    assert times[:400].max() == 1  # a random part of a frequent class
    for label in (1, 2, 5):
        of_class = times[labels == label]
        assert of_class.max() - of_class.min() <= 1
    assert labels[order[:20]].tolist() != sorted(labels[order[:20]].tolist())


def test_balanced_sampling_of_nothing() -> None:
    assert balanced_order(np.empty(0, dtype=np.int64), np.random.default_rng(0)).tolist() == []


def test_balanced_batches_are_a_function_of_seed_and_epoch() -> None:
    images = Images(numbered(60).images, torch.arange(60) // 50)  # fifty of one class, ten of the other
    asked = {"batch_size": 60, "augment": "none", "mean": MEAN, "std": STD, "sampling": "balanced"}

    def labels(seed: int, epoch: int) -> list[int]:
        ((batch, target),) = training_batches(images, seed=seed, epoch=epoch, **asked)  # type: ignore[arg-type]
        plain, _ = next(evaluation_batches(images, batch_size=60, mean=MEAN, std=STD))
        index = [int((plain == image).flatten(1).all(1).nonzero()[0]) for image in batch]
        assert torch.equal(target, images.labels[index])
        assert target.sum() == 30
        return index

    assert labels(0, 1) == labels(0, 1)
    assert len({tuple(labels(*of)) for of in ((0, 1), (0, 2), (1, 1))}) == 3


def test_auto_is_resolved_before() -> None:
    with pytest.raises(ValueError, match="auto depends on the data"):
        training_batches(numbered(4), batch_size=2, seed=0, epoch=1, augment="auto", mean=MEAN, std=STD)


def test_batches_refuse_an_unknown_augmentation() -> None:
    with pytest.raises(UserError, match=r"augment: unknown word 'flop' \(did you mean 'flip'\?\)"):
        training_batches(numbered(4), batch_size=2, seed=0, epoch=1, augment="flop", mean=MEAN, std=STD)


def test_padded_images_are_made_once() -> None:
    images = numbered(4)
    epoch_of(images)
    padded = images.padded
    epoch_of(images)
    assert images.padded is padded
    assert padded.dtype == torch.uint8


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_of_the_cpu_and_wait_for_nothing() -> None:
    images = numbered(50)
    expected = epoch_of(images)
    on_gpu = images.to("cuda")
    batches = training_batches(
        on_gpu, batch_size=16, seed=0, epoch=1, augment="crop+flip", mean=MEAN.cuda(), std=STD.cuda()
    )
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (a, la), (b, lb) in zip(expected, got, strict=True):
        assert b.is_cuda
        torch.testing.assert_close(a, b.cpu(), atol=1e-6, rtol=1e-6)
        assert torch.equal(la, lb.cpu())


@pytest.mark.gpu
@pytest.mark.parametrize("augment", [EVERY_WORD, "crop+flip+trivialaugment+jitter", "rrc+flip+randaugment:4:20"])
def test_augmentation_on_a_gpu_is_that_of_the_cpu_but_for_rounding_and_waits_for_nothing(augment: str) -> None:
    images = Images(numbered(200, 3, 40, 40).images, torch.arange(200) % 11)
    asked: dict[str, Any] = {"batch_size": 64, "seed": 0, "epoch": 1, "augment": augment, "classes": 11}
    expected = list(training_batches(images, mean=MEAN, std=STD, **asked))
    batches = training_batches(images.to("cuda"), mean=MEAN.cuda(), std=STD.cuda(), **asked)
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = list(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (a, target), (b, on_gpu) in zip(expected, got, strict=True):
        assert (a - b.cpu()).abs().mean() < 0.02  # a level is 0.016, and geometry may take the other of two pixels
        torch.testing.assert_close(target, on_gpu.cpu(), atol=1e-6, rtol=1e-6)


def test_digits_from_load_to_batches(tmp_path: Path) -> None:
    digits = load_dataset("digits", tmp_path)
    train, val = split(digits.train_labels, val=0.1, seed=0, limit=None, classes=10)
    assert (len(train), len(val)) == (900, 100)
    mean, std = map(torch.from_numpy, normalisation(digits))
    images = Images(torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels))
    pixels = torch.cat([b for b, _ in evaluation_batches(images, batch_size=128, mean=mean, std=std)])
    assert abs(pixels.mean().item()) < 1e-5
    assert abs(pixels.std(correction=0).item() - 1) < 1e-5


def test_split_data_move_together() -> None:
    part = numbered(4, 1, 6, 5)
    data = SplitData(part, part, part, MEAN[:1], STD[:1], classes=4, flip=False)
    moved = data.to(torch.device("meta"))
    assert data.image_shape == moved.image_shape == (1, 6, 5)
    tensors = [moved.mean, moved.std, *(t for p in (moved.train, moved.val, moved.test) for t in (p.images, p.labels))]
    assert {t.device.type for t in tensors} == {"meta"}


@pytest.mark.parametrize("sampling", ["shuffled", "balanced"])
@pytest.mark.parametrize(("n", "size"), [(40, 16), (33, 16), (5, 8)])
@pytest.mark.parametrize("augment", ["none", "crop+flip", "randaugment"])
def test_the_order_of_images_is_that_of_the_batches(sampling: str, n: int, size: int, augment: str) -> None:
    images, how = numbered(n), {"batch_size": size, "seed": 3, "epoch": 2, "sampling": sampling}
    batches = training_batches(images, augment=augment, mean=MEAN, std=STD, **how)  # type: ignore[arg-type]
    order = image_order(images, **how)  # type: ignore[arg-type]
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels[order])
