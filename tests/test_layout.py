"""Maps in the order of memory: the same numbers, and gradients that lie as their maps do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scl.layout import as_it_lies, channels_last, first_channels, over_channels, over_locations
from scl.losses.shared import windows
from scl.objective import FEEDS, FUNCTIONS, LEARNED

MEMORY = [torch.channels_last, torch.contiguous_format]
SHAPE = (4, 6, 5, 3)
OPERATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "first channels": (lambda x: first_channels(x, 4), lambda x: x[:, :4]),
    "over channels": (over_channels, lambda x: x.mean(1)),
    "over locations": (over_locations, lambda x: x.mean((2, 3))),
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
    assert channels_last(x[:, :4])
    assert channels_last(first_channels(x, 4))
    assert not channels_last(x.contiguous())
    assert not channels_last(x.flatten(2))
    assert as_it_lies(x).is_contiguous()
    assert first_channels(x, 6) is x


ON_MAPS = [name for name, feed in FEEDS.items() if feed in ("maps", "pairs")]


@pytest.mark.parametrize(
    ("name", "memory"),
    [(name, memory) for name in ON_MAPS for memory in MEMORY if (name, memory) != ("fsp", MEMORY[1])],
)
def test_gradients_of_losses_lie_as_their_maps(name: str, memory: torch.memory_format) -> None:
    """A ReLU before the map would take ten times as long. fsp's comes with channels last always, as most maps do."""
    student, teacher = (torch.randn(4, 6, 6, 6).contiguous(memory_format=memory) for _ in range(2))
    student.requires_grad_()
    if name in LEARNED:
        loss: nn.Module = FUNCTIONS[name](6, 6).to(memory_format=torch.channels_last)
        value = loss(student, teacher)
    else:
        value = FUNCTIONS[name](*(((x, x) if FEEDS[name] == "pairs" else x) for x in (student, teacher)))
    (found,) = torch.autograd.grad(value, student)
    learned_in = torch.channels_last if name in LEARNED else memory  # as its convolutions have it
    assert found.is_contiguous(memory_format=learned_in)


@pytest.mark.parametrize(("length", "count"), [(8, 4), (8, 8), (7, 3), (5, 4), (32, 7), (6, 1)])
def test_windows_are_those_of_adaptive_pooling(length: int, count: int) -> None:
    x = torch.randn(2, 3, length, length + 1)
    rows, columns = windows(length, count, x.device), windows(length + 1, count, x.device)
    torch.testing.assert_close(rows @ x @ columns.mT, nn.functional.adaptive_avg_pool2d(x, count))
