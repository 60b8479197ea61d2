"""Operations on maps in both memory layouts: the same numbers, and gradients in the layout of the maps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scl.models.layout import (
    channels_to_memory_order,
    first_channels,
    is_channels_last,
    mean_over_channels,
    mean_over_locations,
)

MEMORY = [torch.channels_last, torch.contiguous_format]
SHAPE = (4, 6, 5, 3)
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "first channels": (lambda x: first_channels(x, 4), lambda x: x[:, :4]),
    "over channels": (mean_over_channels, lambda x: x.mean(1)),
    "over locations": (mean_over_locations, lambda x: x.mean((2, 3))),
}


def gradient(value: Tensor, x: Tensor) -> Tensor:
    (found,) = torch.autograd.grad((value * torch.arange(value.numel()).view(value.shape)).sum(), x)
    return found


@pytest.mark.parametrize("memory", MEMORY, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_are_those_that_they_are_named_for(operation: str, memory: torch.memory_format) -> None:
    ours, plain = OPERATIONS[operation]
    x = torch.randn(SHAPE, dtype=torch.float64).contiguous(memory_format=memory).requires_grad_()
    torch.testing.assert_close(ours(x), plain(x))
    found = gradient(ours(x), x)
    torch.testing.assert_close(found, gradient(plain(x), x))
    assert found.stride() == x.stride()


def test_some_of_the_channels_lie_as_all_of_them() -> None:
    x = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)
    assert is_channels_last(x[:, :4])
    assert is_channels_last(first_channels(x, 4))
    assert not is_channels_last(x.contiguous())
    assert not is_channels_last(x.flatten(2))
    assert channels_to_memory_order(x).is_contiguous()
    assert first_channels(x, 6) is x
