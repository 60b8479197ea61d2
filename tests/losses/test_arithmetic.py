"""Shared arithmetic: precision, pooling, unit rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scl.losses.arithmetic import average_pool, full_precision, pool_to_smaller, pooling_matrix, tensors_in, unit_rows


@pytest.mark.parametrize(("length", "count"), [(8, 4), (8, 8), (7, 3), (5, 4), (32, 7), (6, 1)])
def test_pooling_matrices_are_adaptive_pooling(length: int, count: int) -> None:
    x = torch.randn(2, 3, length, length + 1)
    rows, columns = pooling_matrix(length, count, x.device), pooling_matrix(length + 1, count, x.device)
    expected = nn.functional.adaptive_avg_pool2d(x, count)
    torch.testing.assert_close(rows @ x @ columns.mT, expected)
    assert torch.equal(average_pool(x, (count, count)), expected)


def test_both_maps_get_the_smaller_height_and_width() -> None:
    a, b = torch.randn(2, 3, 4, 8), torch.randn(2, 5, 6, 2)
    assert [tuple(x.shape) for x in pool_to_smaller(a, b)] == [(2, 3, 4, 2), (2, 5, 4, 2)]
    assert pool_to_smaller(a, a) == (a, a)


def test_unit_rows_have_length_one_or_zero() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-13, 0.0]], requires_grad=True)
    rows = unit_rows(x)
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [0, 0]]
    rows.sum().backward()
    assert x.grad is not None
    assert x.grad[1:].abs().max() == 0


def test_full_precision_raises_half_alone_and_switches_autocast_off() -> None:
    seen = []

    @full_precision
    def loss(pair: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        seen.append([x.dtype for x in tensors_in([pair, labels])] + [(pair[0] @ pair[0].mT).dtype])
        return pair[0].sum()

    labels = torch.zeros(2, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        loss((torch.ones(2, 2).bfloat16(), torch.ones(2, 2).double()), labels)
    assert seen == [[torch.float32, torch.float64, torch.int64, torch.float32]]
