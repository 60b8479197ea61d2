"""Latency of a network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scl.plan import cost
from scl.plan.cost import measure_latency_ms
from scl.train.process import threads


class Watched(nn.Module):
    """Notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[object, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mode = self.training, torch.is_inference_mode_enabled()
        self.calls.append((tuple(image.shape), torch.get_num_threads(), *mode))
        return image


def test_one_image_at_a_time_on_one_thread() -> None:
    model = Watched()
    with threads(2):
        assert measure_latency_ms(model.train(), (3, 8, 6)) > 0
        assert torch.get_num_threads() == 2
    assert model.calls == 35 * [((1, 3, 8, 6), 1, False, True)]
    assert not torch.is_inference_mode_enabled()


def test_the_median_of_all_but_the_first_five(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [9.0] * 5 + [0.5] * 2 + [float(i) for i in range(1, 29)]  # seconds
    clock = [0.0]
    for length in lengths:
        clock += [clock[-1] + length] * 2  # the end of one is the start of the next
    ticks = iter(clock)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: next(ticks))
    assert measure_latency_ms(nn.Identity(), (1, 2, 2)) == pytest.approx(1e3 * 13.5)
