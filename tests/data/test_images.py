"""Images as tensors: resident, from a file, or a sample. All serve the same batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scl.data import images as module
from scl.data.batches import evaluation_batches, training_batches
from scl.data.images import Images
from scl.data.stored import SampledImages, StoredImages
from tests.support.images import noise, stored

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.2, 0.3])


def both(tmp_path: Path, n: int = 37, height: int = 12, width: int = 10) -> tuple[Images, Images]:
    """The same images in memory and in a file, labelled by their index."""
    pixels, labels = noise((n, 3, height, width)), torch.arange(n)
    return Images(torch.from_numpy(pixels), labels), Images(stored(pixels, tmp_path), labels)


@pytest.mark.parametrize("size", [1, 5, 37, 100])
def test_batches_of_an_order(tmp_path: Path, size: int) -> None:
    memory, file = both(tmp_path)
    order = torch.randperm(37)[:30]
    for images in (memory, file):
        batches = list(images.batches(order, size))
        assert torch.equal(torch.cat(batches), memory.images[order])  # type: ignore[index]
        assert [len(b) for b in batches] == [len(o) for o in order.split(size)]
        assert list(images.batches(order[:0], size)) == []


@pytest.mark.parametrize("augment", ["none", "crop", "crop+flip"])
@pytest.mark.parametrize("large", [False, True])
def test_training_and_evaluation_are_bitwise_those_of_images_in_memory(
    tmp_path: Path, augment: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """large: in memory, as on a GPU, but too large to be padded as a whole."""
    memory, file = both(tmp_path)
    how = {"batch_size": 9, "seed": 3, "epoch": 2, "augment": augment, "mean": MEAN, "std": STD}
    expected = list(training_batches(memory, **how))  # type: ignore[arg-type]
    evaluated = list(evaluation_batches(memory, batch_size=9, mean=MEAN, std=STD))
    if large:
        monkeypatch.setattr(module, "SMALL", 0)
    other = Images(memory.images, memory.labels) if large else file
    pairs = [(expected, training_batches(other, **how))]  # type: ignore[arg-type]
    pairs += [(evaluated, evaluation_batches(other, batch_size=9, mean=MEAN, std=STD))]
    for wanted, found in pairs:
        for (pixels, labels), (same_pixels, same_labels) in zip(wanted, found, strict=True):
            assert torch.equal(pixels, same_pixels)
            assert torch.equal(labels, same_labels)
            assert same_pixels.is_contiguous(memory_format=torch.channels_last)
    assert len(expected) == 4  # the last batch would have one image


def test_a_few_batches_are_read_ahead_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, file = both(tmp_path)
    read: list[int] = []
    original = StoredImages.read

    def counted(self: StoredImages, indices: np.ndarray, out: np.ndarray) -> None:
        read.append(len(indices))
        original(self, indices, out)

    monkeypatch.setattr(StoredImages, "read", counted)
    for used, _ in enumerate(file.batches(torch.randperm(37), 4), 1):
        assert len(read) <= used + module.AHEAD - 1
    assert sum(read) == 37


def test_the_first_images_and_those_of_a_device_are_in_memory(tmp_path: Path) -> None:
    memory, file = both(tmp_path)
    sample = Images(SampledImages(noise((5, 3, 12, 10)), 37), memory.labels)
    for images in (memory, file, sample):
        first = images.first(4)
        assert isinstance(first.images, torch.Tensor)
        assert len(first) == 4
        assert images.image_shape == (3, 12, 10)
        assert images.nbytes == 37 * 3 * 12 * 10
    assert torch.equal(file.first(4).images, memory.first(4).images)  # type: ignore[arg-type]
    assert file.to("cpu").images is file.images
    whole = file.to("cpu", whole=True)
    assert torch.equal(whole.images, memory.images)  # type: ignore[arg-type]
    assert sample.to("cpu", whole=True).images is sample.images
    assert [memory.small, file.small, whole.small] == [True, False, True]
