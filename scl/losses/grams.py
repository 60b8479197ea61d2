"""How far the Gram matrices of two stacks lie apart, what correlations and NST come to, with the gradient written out:
4 (XXᵀ − YYᵀ) X and −4 (XXᵀ − YYᵀ) Y, half the products and passes of what autograd derives, which does not know that a
Gram matrix is symmetric."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch.autograd import Function

from scl.losses.shared import leaves

P = ParamSpec("P")

# So many times as many rows as columns, and the cheaper side is cheaper: float64 takes twice as long.
TALL = 3


def gram_gap(x: Tensor, y: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """Σ (XXᵀ − YYᵀ)² over all matrices of a stack, X (G, n, p), Y (G, n, q).

    With far more rows than columns it is taken on the cheaper side, ‖XᵀX‖² + ‖YᵀY‖² − 2‖YᵀX‖², which never
    holds an n × n matrix. That difference loses every digit in float32 (and far more in TF32) when X is close
    to Y or to a permutation of it, so it and its gradient are formed in float64: their rounding then lies below
    that of the rows.

    Args:
        diagonal: leaves the diagonals out, where rows are of length 1 or 0: of how many of them X and Y differ in
            that. The gradient may then have any part along a row, which who scaled the row drops.
    """
    tall = x.shape[1] > TALL * max(x.shape[2], y.shape[2])
    value: Tensor = (_CheaperSide if tall else _RowsByRows).apply(x, y, diagonal)
    return value


def first_order(backward: Callable[P, Any]) -> Callable[P, Any]:
    """A gradient that is written out, in the precision of its tensors: no second derivative can be had of it."""

    @functools.wraps(backward)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        if torch.is_grad_enabled():  # which torch's own once_differentiable does not see where `grad` is a constant
            raise RuntimeError("this loss has no second derivative: its gradient cannot be differentiated")
        with torch.autocast(leaves(args)[0].device.type, enabled=False):
            return backward(*args, **kwargs)

    return run


def _laid_out_like(x: Tensor, product: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor]) -> Tensor:
    """Rows of maps are channels or locations, in memory one way or the other: a gradient like the rows (see
    `scl.layout`)."""
    return product(x) if x.stride(-1) == 1 else transposed(x.mT).mT


class _RowsByRows(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, diagonal: Tensor | None) -> Tensor:
        gap = (x @ x.mT).sub_(y @ y.mT)
        if diagonal is not None:
            gap.diagonal(dim1=1, dim2=2).zero_()
        need_x, need_y, _ = ctx.needs_input_grad
        ctx.save_for_backward(gap, x if need_x else None, y if need_y else None)
        return gap.norm(dim=2).square().sum()

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gap, *sides = ctx.saved_tensors
        return *(
            None if side is None else _laid_out_like(side, lambda x: gap @ x, lambda x: x @ gap).mul_(factor)
            for side, factor in zip(sides, (4 * grad, -4 * grad), strict=True)
        ), None


class _CheaperSide(Function):
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
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, v, xx, yy, yx = ctx.saved_tensors

        def of(a: Tensor, aa: Tensor, b: Tensor, ba: Tensor) -> Tensor:
            slope = _laid_out_like(
                a,
                lambda a: (a @ aa).baddbmm_(b, ba, alpha=-1),
                lambda a: (aa @ a).baddbmm_(ba.mT, b.mT, alpha=-1),
            )
            return slope.mul_(4 * grad).to(ctx.dtype)

        need_x, need_y, _ = ctx.needs_input_grad
        return of(u, xx, v, yx) if need_x else None, of(v, yy, u, yx.mT) if need_y else None, None
