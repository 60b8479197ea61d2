"""A loss of the classes that the student ranks first: in pairs, among themselves, and apart from all others."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.losses.arithmetic import full_precision
from scl.losses.checks import require, require_logits, require_temperature
from scl.losses.logits import normed


@full_precision
def ldrld(
    student: Tensor,
    teacher: Tensor,
    alpha: float = 10.5,
    beta: float = 7.0,
    top: int = 7,
    temperature: float = 4.0,
    norm: str = "none",
) -> Tensor:
    """Local dense relational logit distillation (Xu et al., ICCV 2025): T² · (α · local + β · rest), batch mean.

    Of each image, the `top` classes with the largest logits of the student are compared. local: for each pair of them,
    the KL of softmax(z / T) of the two alone, times 2 / (1.5 + |i − j|) · e^(−0.05 (i + j)), i and j their ranks from
    1; plus the KL among all of them; divided by the number of these divergences, top (top − 1) / 2 + 1. rest: the KL
    among all other classes.

    After the authors' code, since the text of the paper was not at hand. That code removes classes by subtracting 1000
    from their logits; here they are left out. With `top` classes or fewer, all are compared, and rest is 0; there it is
    then the KL of all classes.

    Args:
        student, teacher: logits (B, K).
        alpha: weight of the first classes.
        beta: weight of the others.
        top: how many classes come first, a whole number from 2.
        temperature: T, above 0.
        norm: `none`, or `zscore`, as in `kd`.

    Raises:
        ValueError: unequal shapes, one class, an option out of range.

    Example:
        import torch
        from scl.losses import ldrld

        student, teacher = torch.randn(8, 100), torch.randn(8, 100)
        loss = ldrld(student, teacher)
    """
    require_logits(student, teacher)
    require_temperature(temperature)
    require(top >= 2 and int(top) == top, f"top is a whole number from 2, got {top}")
    classes = student.shape[1]
    require(classes > 1, "LDRLD needs at least two classes, got 1")
    count = min(int(top), classes)
    s, t = (normed(z, norm) / temperature for z in (student, teacher))
    first = s.detach().topk(count, 1).indices
    s_first, t_first = (z.gather(1, first) for z in (s, t))

    ranks = torch.arange(1, count + 1, device=s.device, dtype=s.dtype)
    weights = 2 / (1.5 + (ranks[:, None] - ranks).abs()) * (-0.05 * (ranks[:, None] + ranks)).exp()
    pairs = _divergence(_against(s_first), _against(t_first)) * weights.triu(1)
    among = _divergence(F.log_softmax(s_first, 1), F.log_softmax(t_first, 1))
    value = alpha * (pairs.sum((1, 2)) + among) / (count * (count - 1) / 2 + 1)
    if count < classes:
        taken = torch.zeros_like(s, dtype=torch.bool).scatter(1, first, True)
        # A 0 for the classes that are taken, in both networks, adds exp(0) · (0 − 0).
        s_rest, t_rest = (F.log_softmax(z.masked_fill(taken, -math.inf), 1).masked_fill(taken, 0) for z in (s, t))
        value = value + beta * _divergence(s_rest, t_rest)
    return temperature**2 * value.mean()


def _against(logits: Tensor) -> Tensor:
    """Log-probabilities (B, n, n, 2) of each class, and of the other, in a pair of two of n classes."""
    gap = logits[:, :, None] - logits[:, None]
    return torch.stack([F.logsigmoid(gap), F.logsigmoid(-gap)], -1)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher ‖ student) of log-probabilities, over the last dimension."""
    return (teacher.exp() * (teacher - student)).sum(-1)
