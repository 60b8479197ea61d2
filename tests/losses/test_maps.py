"""Losses of feature maps: initial values, and gradients in the layout of the maps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from scl import losses
from scl.study.loss_table import LOSSES
from tests.support.losses import loss_of


def test_vid_starts_with_a_variance_of_five() -> None:
    module = losses.vid(2, 3)
    zeros = torch.zeros(1, 2, 2, 2)
    assert module(zeros, torch.zeros(1, 3, 2, 2)).item() == pytest.approx(math.log(5) / 2)


MEMORY = [torch.channels_last, torch.contiguous_format]
ON_MAPS = [name for name, row in LOSSES.items() if row.compares in ("maps", "pairs")]


@pytest.mark.parametrize(
    ("name", "memory"),
    [(name, memory) for name in ON_MAPS for memory in MEMORY if (name, memory) != ("fsp", MEMORY[1])],
)
def test_gradients_have_the_layout_of_their_maps(name: str, memory: torch.memory_format) -> None:
    """A ReLU before the map would take ten times as long. That of fsp is always channels last, like most maps."""
    student, teacher = (torch.randn(4, 6, 6, 6).contiguous(memory_format=memory) for _ in range(2))
    student.requires_grad_()
    row = LOSSES[name]
    if row.learned:
        module: nn.Module = loss_of(name)(6, 6).to(memory_format=torch.channels_last)
        value = module(student, teacher)
    else:
        options = {"segments": 1} if row.expands else {}
        value = loss_of(name)(*(((x, x) if row.compares == "pairs" else x) for x in (student, teacher)), **options)
    (found,) = torch.autograd.grad(value, student)
    expected = torch.channels_last if row.learned else memory  # that of its convolutions
    assert found.is_contiguous(memory_format=expected)
