"""Images sampled at given positions, against numbers worked out by hand."""

from __future__ import annotations

import torch

from scl.data.sampled import sampled
from tests.support.images import noise


def test_whole_positions_are_pixels_and_what_lies_outside_is_black() -> None:
    images = torch.from_numpy(noise((2, 3, 5, 7)))
    across, down = torch.arange(7.0)[None, None, :] - 2, torch.arange(5.0)[None, :, None] + 1
    for mode in ("nearest", "bilinear"):
        found = sampled(images, across, down.expand(2, 5, 1), mode)
        expected = torch.zeros_like(images)
        expected[:, :, :4, 2:] = images[:, :, 1:, :5]
        assert torch.equal(found, expected)


def test_each_image_has_positions_of_its_own_and_results_are_rounded() -> None:
    images = torch.tensor([[[[10, 20, 41]]], [[[0, 100, 201]]]], dtype=torch.uint8)
    across = torch.tensor([[[0.25, 1.5]], [[0.5, 1.51]]])
    found = sampled(images, across, torch.zeros(2, 1, 1), "bilinear")
    assert found.flatten(1).tolist() == [[12, 30], [50, 152]]  # 12.5 and 30.5 go to the even level
    assert found.dtype == torch.uint8
