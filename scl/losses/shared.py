"""What the losses share: their arithmetic, their checks, and products of rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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
    return F.adaptive_avg_pool2d(a, size), F.adaptive_avg_pool2d(b, size)


def unit(x: Tensor) -> Tensor:
    """Rows (last dimension) at unit length; rows of length 1e-12 or less are zero and pass no gradient."""
    energy = x.square().sum(-1, keepdim=True)
    alive = energy > 1e-24
    return torch.where(alive, x * torch.where(alive, energy, 1).rsqrt(), 0)


def gram_gap(x: Tensor, y: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """Σ (XXᵀ − YYᵀ)² over all matrices of a stack, X (G, n, p), Y (G, n, q).

    With far more rows than columns it is taken on the cheaper side, ‖XᵀX‖² + ‖YᵀY‖² − 2‖YᵀX‖², which never
    holds an n × n matrix. That difference loses every digit in float32 (and far more in TF32) when X is close
    to Y or to a permutation of it, so it is formed in float64: its rounding then lies below that of the rows.

    Args:
        diagonal: leaves the diagonals out, where rows are of length 1 or 0: of how many of them X and Y differ in
            that. The gradient along a row is then not that of the value; who scaled the row drops it anyway.
    """
    tall = x.shape[1] > TALL * max(x.shape[2], y.shape[2])
    value: Tensor = (_CheaperSide if tall else _RowsByRows).apply(x, y, diagonal)
    return value


# So many times as many rows as columns, and the cheaper side is cheaper: float64 takes twice as long.
TALL = 3


# The gradients are written out, 4 (XXᵀ − YYᵀ) X and −4 (XXᵀ − YYᵀ) Y: half the products and passes of what autograd
# derives, which does not know that a Gram matrix is symmetric. Transposed, since maps are channels last in memory.


class _RowsByRows(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, diagonal: Tensor | None) -> Tensor:
        gap = (x @ x.mT).sub_(y @ y.mT)
        if diagonal is not None:
            gap.diagonal(dim1=1, dim2=2).zero_()
        ctx.save_for_backward(x, y, gap)
        return gap.flatten(1).norm(dim=1).square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, gap = ctx.saved_tensors
        need_x, need_y, _ = ctx.needs_input_grad
        of_x = (x.mT @ gap).mul_(4 * grad).mT if need_x else None
        of_y = (y.mT @ gap).mul_(-4 * grad).mT if need_y else None
        return of_x, of_y, None


class _CheaperSide(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, diagonal: Tensor | None) -> Tensor:
        u, v = x.double(), y.double()
        xx, yy, yx = u.mT @ u, v.mT @ v, v.mT @ u
        total = xx.square().sum() + yy.square().sum() - 2 * yx.square().sum()
        if diagonal is not None:
            total = total - diagonal
        ctx.save_for_backward(x, y, xx.to(x), yy.to(x), yx.to(x))
        return total.clamp_(min=0).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, xx, yy, yx = ctx.saved_tensors
        need_x, need_y, _ = ctx.needs_input_grad
        of_x = (xx @ x.mT).baddbmm_(yx.mT, y.mT, alpha=-1).mul_(4 * grad).mT if need_x else None
        of_y = (yy @ y.mT).baddbmm_(yx, x.mT, alpha=-1).mul_(4 * grad).mT if need_y else None
        return of_x, of_y, None
