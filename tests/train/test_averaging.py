"""The moving average of weights and buffers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scl.train.averaging import Average, share_of_new


def network(value: float) -> nn.BatchNorm1d:
    net = nn.BatchNorm1d(2)
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.detach().fill_(value)
    return net


def test_the_share_of_new_weights_falls_to_one_minus_the_decay() -> None:
    assert [share_of_new(0.9, n) for n in (1, 10, 1000)] == pytest.approx([9 / 11, 9 / 20, 0.1])
    assert share_of_new(0.1, 1) == pytest.approx(0.9)


@pytest.mark.parametrize("share", [0.25, torch.tensor(0.25)])
def test_parameters_and_buffers_are_averaged_and_counts_copied(share: float | torch.Tensor) -> None:
    model = network(4.0)
    average = Average(network(0.0), model)
    assert torch.equal(average.network.weight, torch.full((2,), 4.0))
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().fill_(8.0)
    average.update(share)
    assert average.network.weight.tolist() == average.network.running_var.tolist() == [5.0, 5.0]
    assert average.network.num_batches_tracked.item() == 8
    assert model.weight.tolist() == [8.0, 8.0]
    assert sum(map(len, average.changing())) == 5
