"""The two correlations of student-centric learning, between channels and between spatial locations, and the same of
logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from scl.losses.arithmetic import centred_rows, full_precision, pool_to_smaller, unit_rows
from scl.losses.checks import require, require_logits, require_maps, require_same_channels
from scl.losses.grams import TALL, first_order_only, gram_distance
from scl.study.loss_table import NORMS, POOLS, RELATED


def _correlation(student: Tensor, teacher: Tensor, norm: str) -> Tensor:
    """Mean squared difference of the correlations between rows: (G, n, p) and (G, n, q)."""
    if norm == "rows":
        return _unit_gram_distance(student, teacher)
    if norm == "gram":
        s, t = (x / math.sqrt(x.shape[-1]) for x in (student, teacher))
        return gram_distance(s, t) / (len(s) * s.shape[1] ** 2)
    (s, s_alive), (t, t_alive) = (_UnitRows.apply(x, norm == "pearson") for x in (student, teacher))
    alive = (s_alive | t_alive).sum((1, 2))
    pairs = (alive * (alive - 1)).sum().clamp(min=1)
    return gram_distance(s, t, (s_alive ^ t_alive).sum()) / pairs


def _unit_gram_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean over rows of the squared distance between a row of XXᵀ and that of YYᵀ, both at unit length.

    With far more rows than columns no n × n matrix is made: the row of XXᵀ that belongs to the row x of X has the
    squared length x XᵀX xᵀ, and its product with that of YYᵀ is x XᵀY yᵀ. The distance of nearly equal rows would lose
    all digits of float32, so this uses float64.
    """
    if x.shape[1] <= TALL * max(x.shape[2], y.shape[2]):
        gap = unit_rows(x @ x.mT) - unit_rows(y @ y.mT)
        return gap.square().sum() / (len(gap) * gap.shape[1])
    u, v = x.double(), y.double()
    lengths = [((a @ (a.mT @ a)) * a).sum(-1) for a in (u, v)]
    (a, b), (p, q) = lengths, [length > 1e-24 for length in lengths]  # dead rows are zero, as in `unit_rows`
    scale = torch.where(p, a, 1).rsqrt() * torch.where(q, b, 1).rsqrt()
    cosine = torch.where(p & q, ((u @ (u.mT @ v)) * v).sum(-1) * scale, 0)
    return (p.double() + q.double() - 2 * cosine).mean().clamp(min=0).to(x.dtype)


class _UnitRows(Function):
    """Rows (last dimension) at unit length, centred first if `centre`, and a mask (…, 1) of the rows that are alive.

    Dead rows become zeros that pass no gradient. The gradient is written by hand: its part orthogonal to the row,
    divided by the row's length, and centred.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, centre: bool) -> tuple[Tensor, Tensor]:
        shift = x.mean(-1, keepdim=True) if centre else x.new_zeros(())
        x = x - shift
        energy = x.square().sum(-1, keepdim=True)
        # The raw energy is the energy around the mean plus that of the mean.
        alive = energy > 1e-10 * (energy + x.shape[-1] * shift.square()) + 1e-12
        scale = torch.where(alive, energy, 1).rsqrt_() * alive
        rows = x.mul_(scale)
        ctx.centre = centre
        ctx.save_for_backward(rows, scale)
        ctx.mark_non_differentiable(alive)
        return rows, alive

    @staticmethod
    @first_order_only
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        rows, scale = ctx.saved_tensors
        along = (grad * rows).sum(-1, keepdim=True)
        slope = torch.addcmul(grad, rows, along, value=-1).mul_(scale)
        return slope.sub_(slope.mean(-1, keepdim=True)) if ctx.centre else slope, None


def _require_norm(norm: str) -> None:
    require(norm in NORMS, f"unknown norm {norm!r}; valid: {', '.join(NORMS)}")


def _require_correlations(student: Tensor, teacher: Tensor, norm: str, pool: str) -> None:
    _require_norm(norm)
    require(pool in POOLS, f"unknown pool {pool!r}; valid: {', '.join(POOLS)}")
    for network, x in (("student", student), ("teacher", teacher)):
        locations = x.shape[2] * x.shape[3]
        require(x.shape[1] > 1, f"the {network}'s map has one channel (C = 1), which has no correlations")
        require(locations > 1, f"the {network}'s map has one location (N = 1), which has no correlations")


@full_precision
def channel_correlation(student: Tensor, teacher: Tensor, norm: str = "pearson", pool: str = "sample") -> Tensor:
    """Channel correlation: mean over i ≠ j of (R_s − R_t)², R (C × C) the correlations of channels over locations.

    This project's own definition: only the abstract of the paper (Wang et al., J. Inf. Sci. Eng. 36(6), 2020) is
    public; it names guidance by correlations between channels and gives no formula.

    Args:
        student, teacher: feature maps (B, C, H, W) of equal B and C; their sizes may differ.
        norm: `pearson` centres each channel and scales it to unit norm, R = X̂X̂ᵀ; `cosine` does not centre;
            `gram` does neither, divides by the number of positions, and averages over all i, j; `rows` does
            neither, scales each row of R = XXᵀ, diagonal included, to unit norm, and averages the squared distance
            over rows, as ICKD does, so that stronger relatives of a channel count more.
        pool: `sample` correlates over the N locations of each image and averages over the batch; `batch`
            correlates over all B·N positions at once.

    With `pearson` and `cosine`, a dead channel (centred energy ≤ 1e-10 × raw energy + 1e-12) is a zero row of R with
    zero gradient. Pairs with a channel that is dead in both networks are left out; the mean runs over the remaining
    pairs of all images.

    With `pearson` and `sample` the loss is invariant to permutations of the locations of either map, and to positive
    rescaling and shifts of a channel.

    Raises:
        ValueError: unequal C (a connector is needed) or B, one channel, one location, an unknown option.
        RuntimeError: in backward, if the gradient itself must be differentiated (`create_graph`).

    Example:
        import torch
        from scl.losses import channel_correlation

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 16, 8, 8)
        loss = channel_correlation(student, teacher)
    """
    require_maps(student, teacher)
    _require_correlations(student, teacher, norm, pool)
    require_same_channels(student, teacher)
    s, t = student.flatten(2), teacher.flatten(2)
    if pool == "batch":
        s, t = (x.transpose(0, 1).flatten(1)[None] for x in (s, t))
    return _correlation(s, t, norm)


@full_precision
def spatial_correlation(student: Tensor, teacher: Tensor, norm: str = "pearson", pool: str = "sample") -> Tensor:
    """Spatial correlation: mean over i ≠ j of (R_s − R_t)², R (N × N) the correlations of locations over channels.

    This project's own definition: only the abstract of the paper (Wang et al., J. Inf. Sci. Eng. 36(6), 2020) is
    public; it names guidance by correlations between spatial locations and gives no formula.

    Args:
        student, teacher: feature maps (B, C, H, W) of equal B; their channels may differ, and the larger map
            is average-pooled to the height and width of the smaller.
        norm: `pearson` centres each location over its channels and scales it to unit norm, R = X̂X̂ᵀ;
            `cosine` does not centre; `gram` does neither, divides by the number of channels, and averages
            over all i, j; `rows` does neither, scales each row of R = XXᵀ, diagonal included, to unit norm, and
            averages the squared distance over rows.
        pool: `sample` correlates over the C channels of each image and averages over the batch; `batch`
            correlates over all B·C at once, even if C differs.

    Dead locations are treated like dead channels in `channel_correlation`.

    With `pearson`, `sample` and equal sizes the loss is invariant to permutations of the channels of either map, and
    to positive rescaling and shifts of a location.

    Raises:
        ValueError: unequal B, one channel, one location (after pooling), an unknown option.
        RuntimeError: in backward, if the gradient itself must be differentiated (`create_graph`).

    Example:
        import torch
        from scl.losses import spatial_correlation

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 32, 4, 4)
        loss = spatial_correlation(student, teacher)
    """
    require_maps(student, teacher)
    student, teacher = pool_to_smaller(student, teacher)
    _require_correlations(student, teacher, norm, pool)
    s, t = student.flatten(2).mT, teacher.flatten(2).mT
    if pool == "batch":
        s, t = (x.transpose(0, 1).flatten(1)[None] for x in (s, t))
    return _correlation(s, t, norm)


@full_precision
def logit_correlation(student: Tensor, teacher: Tensor, norm: str = "rows", between: str = "classes") -> Tensor:
    """Correlations of logits: mean squared difference of R_s and R_t, R (K × K) between classes over the batch, or R
    (B × B) between images over the classes.

    This project's own definition, the counterpart of `channel_correlation` at the last layer. The mean over the classes
    is subtracted from the logits of each image first, because softmax ignores it. With `rows`, `classes` is ICKD (Liu
    et al., ICCV 2021) with the logits as the channels and the batch as the locations, and `images` is SP (Tung & Mori,
    ICCV 2019) on logits, times B. `mlld` compares products of probabilities instead, and `dist` correlates the student
    with the teacher.

    Correlations between classes do not say which image belongs to which class: R stays the same if the images are
    mixed by a rotation, and the gradient is orthogonal to that of cross-entropy (cosine below 0.06 at the logits), so a
    loud term drowns the task: with share 1 on 5,000 images of CIFAR-100, plain5 × 0.25 (teacher: 38.6 %) reached
    3.5 % in 10 epochs, beside 14.0 % without it, 14.7 % with `kd` and 20.6 % with `dist` (one seed). On 2,000 images in
    8 epochs of smaller batches: 8.1, 9.5 and 10.3 % with shares 1, 0.3 and 0.1, 11.5 % between images with share 1, and
    10.3 % without it.

    Args:
        student, teacher: logits (B, K).
        norm: `rows` scales each row of R = XXᵀ, diagonal included, to unit norm, and averages the squared distance over
            rows, so that the energies of the more related classes count more; `pearson`, `cosine` and `gram` are as in
            `channel_correlation`, with the batch (or the classes) as locations.
        between: `classes` or `images`.

    A class (or an image) without energy is a zero row of R with zero gradient. With `rows`, `pearson` and `cosine` the
    loss does not change if all logits of a network are multiplied by a positive number.

    Raises:
        ValueError: unequal shapes, one class, one image where `between` or `norm` needs two, an unknown option.
        RuntimeError: in backward, if the gradient itself must be differentiated (`create_graph`); not with `rows`.

    Example:
        import torch
        from scl.losses import logit_correlation

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = logit_correlation(student, teacher, between="images")
    """
    require_logits(student, teacher)
    _require_norm(norm)
    require(between in RELATED, f"unknown between {between!r}; valid: {', '.join(RELATED)}")
    require(student.shape[1] > 1, "correlations of logits need at least two classes, got 1")
    enough = len(student) > 1 or (between == "classes" and norm != "pearson")
    require(enough, f"between={between!r} with norm={norm!r} needs a batch of at least 2, got 1")
    s, t = (centred_rows(x) for x in (student, teacher))
    if between == "classes":
        s, t = s.mT, t.mT
    return _correlation(s[None], t[None], norm)
