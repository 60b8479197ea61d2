"""Arithmetic that the losses share: full precision, average pooling, rows of unit length."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")
Pair = tuple[Tensor, Tensor]


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested tuples and lists, in order."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, tuple | list) else []


def to_float32(value: Any) -> Any:
    """Half-precision tensors as float32, also inside tuples; float64 tensors and all other values unchanged."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() and value.dtype != torch.float64 else value
    return tuple(map(to_float32, value)) if isinstance(value, tuple | list) else value


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Decorator: compute the loss in float32 (float64 for float64 inputs) with autocast off."""

    @functools.wraps(loss)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = tensors_in([*args, *kwargs.values()])[0].device.type
        with torch.autocast(device, enabled=False):
            return loss(*to_float32(args), **{name: to_float32(value) for name, value in kwargs.items()})

    return run


def pool_to_smaller(a: Tensor, b: Tensor) -> Pair:
    """Both maps (B, C, H, W) average-pooled to the smaller height and the smaller width of the two."""
    if a.shape[2:] == b.shape[2:]:
        return a, b
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return average_pool(a, size), average_pool(b, size)


def average_pool(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, H, W) average-pooled to a size (height, width)."""
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        # The gradient of torch's own pooling sums in random order on CUDA.
        rows, columns = (
            pooling_matrix(length, count, x.device).to(x.dtype) for length, count in zip(x.shape[2:], size, strict=True)
        )
        return rows @ x @ columns.mT
    return F.adaptive_avg_pool2d(x, size)


def pooling_matrix(length: int, count: int, device: torch.device) -> Tensor:
    """Adaptive average pooling of `length` positions to `count` windows, as a matrix (count, length).

    The windows overlap if `count` does not divide `length`, as in torch.
    """
    i, positions = torch.arange(count, device=device)[:, None], torch.arange(length, device=device)
    inside = (positions >= i * length // count) & (positions < ((i + 1) * length + count - 1) // count)
    return inside.float() / inside.sum(1, keepdim=True)


def unit_rows(x: Tensor) -> Tensor:
    """Rows (last dimension) at unit length; rows of length 1e-12 or less become zero and pass no gradient."""
    energy = x.square().sum(-1, keepdim=True)
    alive = energy > 1e-24
    return torch.where(alive, x * torch.where(alive, energy, 1).rsqrt(), 0)


def centred_rows(x: Tensor) -> Tensor:
    """Rows (last dimension) minus their means. A row that is only rounding error becomes zero and passes no gradient;
    the tiny probabilities of a class that no image is assigned to still correlate."""
    rows = x - x.mean(-1, keepdim=True)
    alive = rows.square().sum(-1, keepdim=True) > 1e-10 * x.square().sum(-1, keepdim=True)
    return torch.where(alive, rows, 0)
