"""What the losses share: their arithmetic, their checks, and rows at unit length."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

P = ParamSpec("P")
Pair = tuple[Tensor, Tensor]


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, tuple | list) else []


def raised(value: Any) -> Any:
    """Floating-point tensors below float64 as float32, also inside pairs; anything else as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() and value.dtype != torch.float64 else value
    return tuple(map(raised, value)) if isinstance(value, tuple | list) else value


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """`loss` in float32 with autocast off."""

    @functools.wraps(loss)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = leaves([*args, *kwargs.values()])[0].device.type
        with torch.autocast(device, enabled=False):
            return loss(*raised(args), **{name: raised(value) for name, value in kwargs.items()})

    return run


def need(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def need_maps(student: Tensor, teacher: Tensor) -> None:
    for who, x in (("student", student), ("teacher", teacher)):
        need(x.ndim == 4, f"feature maps are (B, C, H, W), the {who}'s is {tuple(x.shape)}")
    need_same_batch(student, teacher)


def need_same_batch(student: Tensor, teacher: Tensor, least: int = 1) -> None:
    s, t = len(student), len(teacher)
    need(s == t, f"student and teacher saw different batches: {s} and {t} images")
    need(s >= least, f"relations between images need a batch of at least {least}, got {s}")


def need_same_shape(student: Tensor, teacher: Tensor) -> None:
    s, t = tuple(student.shape), tuple(teacher.shape)
    need(s == t, f"student {s} and teacher {t} must have one shape; use a connector, or pool")


def need_same_channels(student: Tensor, teacher: Tensor) -> None:
    s, t = student.shape[1], teacher.shape[1]
    need(s == t, f"student has {s} channels and teacher {t}: a connector on the student is needed")


def to_smaller(a: Tensor, b: Tensor) -> Pair:
    """Both maps average-pooled to the smaller height and width of the two."""
    if a.shape[2:] == b.shape[2:]:
        return a, b
    size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
    return averaged(a, size), averaged(b, size)


def averaged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, H, W) average-pooled to a size (height, width)."""
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        # The gradient of torch's own adds up in any order there.
        rows, columns = (
            windows(length, count, x.device).to(x.dtype) for length, count in zip(x.shape[2:], size, strict=True)
        )
        return rows @ x @ columns.mT
    return F.adaptive_avg_pool2d(x, size)


def windows(length: int, count: int, device: torch.device) -> Tensor:
    """Averages over `count` windows of `length` places as a matrix (count, length); they overlap where they must."""
    i, places = torch.arange(count, device=device)[:, None], torch.arange(length, device=device)
    inside = (places >= i * length // count) & (places < ((i + 1) * length + count - 1) // count)
    return inside.float() / inside.sum(1, keepdim=True)


def unit(x: Tensor) -> Tensor:
    """Rows (last dimension) at unit length; rows of length 1e-12 or less are zero and pass no gradient."""
    energy = x.square().sum(-1, keepdim=True)
    alive = energy > 1e-24
    return torch.where(alive, x * torch.where(alive, energy, 1).rsqrt(), 0)
