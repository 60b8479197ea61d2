"""The two correlations of student-centric learning: between channels, and between spatial locations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scl.losses.grams import first_order, gram_gap
from scl.losses.shared import full_precision, need, need_maps, need_same_channels, to_smaller
from scl.terms import WORDS

NORMS, POOLS = WORDS["norm"], WORDS["pool"]


def _correlation(student: Tensor, teacher: Tensor, norm: str) -> Tensor:
    """Mean squared difference of the correlations between rows: (G, n, p) and (G, n, q)."""
    if norm == "gram":
        s, t = (x / math.sqrt(x.shape[-1]) for x in (student, teacher))
        return gram_gap(s, t) / (len(s) * s.shape[1] ** 2)
    (s, s_alive), (t, t_alive) = (_Directions.apply(x, norm == "pearson") for x in (student, teacher))
    alive = (s_alive | t_alive).sum((1, 2))
    pairs = (alive * (alive - 1)).sum().clamp(min=1)
    return gram_gap(s, t, (s_alive ^ t_alive).sum()) / pairs


class _Directions(Function):
    """Rows (last dimension), centred if asked for, at unit length, and which of them are alive (…, 1); dead ones are
    zeros that pass no gradient. The gradient is written out: what is left of it at right angles to the row, over the
    row's length, centred."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: bool) -> tuple[Tensor, Tensor]:
        shift = x.mean(-1, keepdim=True) if centre else x.new_zeros(())
        x = x - shift
        energy = x.square().sum(-1, keepdim=True)
        # A sum of squares is that around the mean and the mean's own.
        alive = energy > 1e-10 * (energy + x.shape[-1] * shift.square()) + 1e-12
        scale = torch.where(alive, energy, 1).rsqrt_() * alive
        rows = x.mul_(scale)
        ctx.centre = centre
        ctx.save_for_backward(rows, scale)
        ctx.mark_non_differentiable(alive)
        return rows, alive

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        rows, scale = ctx.saved_tensors
        along = (grad * rows).sum(-1, keepdim=True)
        slope = torch.addcmul(grad, rows, along, value=-1).mul_(scale)
        return slope.sub_(slope.mean(-1, keepdim=True)) if ctx.centre else slope, None


def _need_correlations(student: Tensor, teacher: Tensor, norm: str, pool: str) -> None:
    need(norm in NORMS, f"unknown norm {norm!r}; valid: {', '.join(NORMS)}")
    need(pool in POOLS, f"unknown pool {pool!r}; valid: {', '.join(POOLS)}")
    for who, x in (("student", student), ("teacher", teacher)):
        locations = x.shape[2] * x.shape[3]
        need(x.shape[1] > 1, f"the {who}'s map has one channel (C = 1), which has no correlations")
        need(locations > 1, f"the {who}'s map has one location (N = 1), which has no correlations")


@full_precision
def channel_correlation(student: Tensor, teacher: Tensor, norm: str = "pearson", pool: str = "sample") -> Tensor:
    """How channels go together over the locations of a map: mean over i ≠ j of (R_s − R_t)², R of size C × C.

    This project's definition: of the paper (Wang et al., J. Inf. Sci. Eng. 36(6), 2020) only the abstract is
    public, which names guidance by correlations between channels and gives no formula.

    Args:
        student, teacher: feature maps (B, C, H, W) of equal B and C; their sizes may differ.
        norm: `pearson` centres each channel and scales it to unit norm, R = X̂X̂ᵀ; `cosine` does not centre;
            `gram` does neither, divides by the number of positions, and averages over all i, j.
        pool: `sample` correlates over the N locations of each image and averages over the batch; `batch`
            correlates over all B·N positions at once.

    Dead channels (centred energy ≤ 1e-10 × raw energy + 1e-12): a zero row of R, with zero gradient; pairs
    with a channel dead in both networks leave the mean, which is one mean over the remaining pairs of all
    images.

    With `pearson` and `sample`, unchanged by any permutation of the locations of either map and by any
    positive rescaling and shift of a channel.

    Raises:
        ValueError: unequal C (a connector is needed) or B, one channel, one location, an unknown option.
        RuntimeError: in backward, where its gradient is to be differentiated (`create_graph`).
    """
    need_maps(student, teacher)
    _need_correlations(student, teacher, norm, pool)
    need_same_channels(student, teacher)
    s, t = student.flatten(2), teacher.flatten(2)
    if pool == "batch":
        s, t = (x.transpose(0, 1).flatten(1)[None] for x in (s, t))
    return _correlation(s, t, norm)


@full_precision
def spatial_correlation(student: Tensor, teacher: Tensor, norm: str = "pearson", pool: str = "sample") -> Tensor:
    """How locations go together over the channels of a map: mean over i ≠ j of (R_s − R_t)², R of size N × N.

    This project's definition: of the paper (Wang et al., J. Inf. Sci. Eng. 36(6), 2020) only the abstract is
    public, which names guidance by correlations between spatial locations and gives no formula.

    Args:
        student, teacher: feature maps (B, C, H, W) of equal B; their channels may differ, and the larger map
            is average-pooled to the height and width of the smaller.
        norm: `pearson` centres each location over its channels and scales it to unit norm, R = X̂X̂ᵀ;
            `cosine` does not centre; `gram` does neither, divides by the number of channels, and averages
            over all i, j.
        pool: `sample` correlates over the C channels of each image and averages over the batch; `batch`
            correlates over all B·C at once, also where B·C differs.

    Dead locations are treated as dead channels are in `channel_correlation`.

    With `pearson` and `sample` and equal sizes, unchanged by any permutation of the channels of either map
    and by any positive rescaling and shift of a location.

    Raises:
        ValueError: unequal B, one channel, one location (after pooling), an unknown option.
        RuntimeError: in backward, where its gradient is to be differentiated (`create_graph`).
    """
    need_maps(student, teacher)
    student, teacher = to_smaller(student, teacher)
    _need_correlations(student, teacher, norm, pool)
    s, t = student.flatten(2).mT, teacher.flatten(2).mT
    if pool == "batch":
        s, t = (x.transpose(0, 1).flatten(1)[None] for x in (s, t))
    return _correlation(s, t, norm)
