"""Batch norm, ReLU and 2×2 max-pooling as one operation, for training on a GPU. It needs Triton."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@cache
def _kernels() -> Any:
    """The file that imports Triton, which takes a second and is not everywhere."""
    return import_module("scl.models.kernels")


class _NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, norm: nn.BatchNorm2d, pool: int, weight: Tensor, bias: Tensor) -> Tensor:
        if not maps.is_contiguous(memory_format=torch.channels_last):
            maps = maps.contiguous()
        running = norm.running_mean, norm.running_var
        out, mean, scale = _kernels().forward(maps, weight, bias, running, norm.momentum, norm.eps, pool)
        ctx.save_for_backward(maps, weight, bias, mean, scale)
        ctx.pool = pool
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, bias = _kernels().backward(gradient, *ctx.saved_tensors, ctx.pool)
        return maps, None, None, weight, bias


def norm_relu_pool(maps: Tensor, norm: nn.BatchNorm2d, pool: int = 1) -> Tensor:
    """`max_pool2d(relu(norm(maps)), pool)` of a norm in training, which updates its running statistics.

    Sums have an order of their own, so values differ from torch's by rounding; they do not depend on other work on the
    GPU.

    Args:
        maps: (B, C, H, W), float32 or bfloat16, of any strides. norm: with weight, bias and running statistics in
            float32, and a momentum. pool: 1 or 2.
    """
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    return _NormReluPool.apply(maps, norm, pool, norm.weight, norm.bias)


def unavailable(device: torch.device) -> str:
    """Why `norm_relu_pool` cannot run there; empty if it can."""
    if device.type != "cuda":
        return f"they need a GPU, and this device is {device.type}"
    return "" if find_spec("triton") else "they need the package triton, which is not installed"
