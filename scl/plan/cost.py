"""What a network costs in inference."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from scl.models.tapped import runs_own_code
from scl.train.process import threads


@dataclass(frozen=True)
class Cost:
    """Parameters, multiply-accumulates for one image, milliseconds for one image, and bytes of a file of weights."""

    params: int
    macs: int
    latency_ms: float | None
    file_bytes: int


def measure_latency_ms(model: torch.nn.Module, shape: tuple[int, int, int]) -> float:
    """The median of 30 forwards of one image (C, H, W) on one thread, in ms. The model is left in evaluation mode."""
    model.eval()
    if not runs_own_code(model):  # these run in the layout of their code
        model.to(memory_format=torch.channels_last)
    image = torch.zeros(1, *shape)
    times = []
    with torch.inference_mode(), threads(1):
        for _ in range(35):
            began = time.perf_counter()
            model(image)
            times.append(time.perf_counter() - began)
    return statistics.median(times[5:]) * 1e3
