"""The squared distance between two stacks of Gram matrices, to which both correlations and NST reduce.

Its gradients, 4 (XXᵀ − YYᵀ) X and −4 (XXᵀ − YYᵀ) Y, are written by hand: autograd does not know that a Gram matrix is
symmetric, and needs twice as many products and passes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.autograd import Function

from scl.losses.arithmetic import tensors_in

P = ParamSpec("P")

# Ratio of rows to columns above which the smaller products are faster although they use float64.
TALL = 3


def gram_distance(x: Tensor, y: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """Σ (XXᵀ − YYᵀ)² over all matrices of a stack, X (G, n, p), Y (G, n, q).

    With far more rows than columns it is computed as ‖XᵀX‖² + ‖YᵀY‖² − 2‖YᵀX‖², without any n × n matrix. In float32
    (and even more in TF32) that difference loses all digits if X is close to Y or to a permutation of Y, so it and
    its gradient use float64; their rounding error is then below that of the rows.

    Args:
        diagonal: leaves the diagonals out, for rows of length 1 or 0: the number of rows whose length differs between
            X and Y. The gradient may then have any component along a row; the caller, which normalised the row,
            drops that component.
    """
    tall = x.shape[1] > TALL * max(x.shape[2], y.shape[2])
    value: Tensor = (_SmallerProducts if tall else _RowProducts).apply(x, y, diagonal)
    return value


def first_order_only(backward: Callable[P, Any]) -> Callable[P, Any]:
    """Decorator of a backward that is written by hand: it runs without autocast and has no second derivative."""

    @functools.wraps(backward)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        if torch.is_grad_enabled():  # torch's once_differentiable misses this if `grad` is a constant
            raise RuntimeError("this loss has no second derivative: its gradient cannot be differentiated")
        with torch.autocast(tensors_in(args)[0].device.type, enabled=False):
            return backward(*args, **kwargs)

    return run


def _in_layout_of(x: Tensor, product: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor]) -> Tensor:
    """A gradient with the memory layout of the rows, which are channels or locations of maps (see
    `scl.models.layout`)."""
    return product(x) if x.stride(-1) == 1 else transposed(x.mT).mT


class _RowProducts(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, diagonal: Tensor | None) -> Tensor:
        gap = (x @ x.mT).sub_(y @ y.mT)
        if diagonal is not None:
            gap.diagonal(dim1=1, dim2=2).zero_()
        need_x, need_y, _ = ctx.needs_input_grad
        ctx.save_for_backward(gap, x if need_x else None, y if need_y else None)
        return gap.norm(dim=2).square().sum()

    @staticmethod
    @first_order_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gap, *sides = ctx.saved_tensors
        return *(
            None if side is None else _in_layout_of(side, lambda x: gap @ x, lambda x: x @ gap).mul_(factor)
            for side, factor in zip(sides, (4 * grad, -4 * grad), strict=True)
        ), None


class _SmallerProducts(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, diagonal: Tensor | None) -> Tensor:
        u, v = x.double(), y.double()
        xx, yy, yx = u.mT @ u, v.mT @ v, v.mT @ u
        total = xx.square().sum() + yy.square().sum() - 2 * yx.square().sum()
        if diagonal is not None:
            total = total - diagonal
        ctx.save_for_backward(u, v, xx, yy, yx)
        ctx.dtype = x.dtype
        return total.clamp_(min=0).to(x.dtype)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, v, xx, yy, yx = ctx.saved_tensors

        def gradient(a: Tensor, aa: Tensor, b: Tensor, ba: Tensor) -> Tensor:
            slope = _in_layout_of(
                a, lambda a: (a @ aa).baddbmm_(b, ba, alpha=-1), lambda a: (aa @ a).baddbmm_(ba.mT, b.mT, alpha=-1)
            )
            return slope.mul_(4 * grad).to(ctx.dtype)

        need_x, need_y, _ = ctx.needs_input_grad
        return gradient(u, xx, v, yx) if need_x else None, gradient(v, yy, u, yx.mT) if need_y else None, None
