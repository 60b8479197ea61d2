"""Losses of logits (B, K)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.losses.arithmetic import Pair, full_precision
from scl.losses.checks import require, require_same_shape


def _softened(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities at a temperature."""
    require(temperature > 0, f"temperature must be above 0, got {temperature}")
    return F.log_softmax(logits / temperature, dim=1)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher ‖ student) of log-probabilities (B, K), mean over the batch."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _require_logits(student: Tensor, teacher: Tensor) -> None:
    require(student.ndim == 2, f"logits are (B, K), the student's are {tuple(student.shape)}")
    require_same_shape(student, teacher)


@full_precision
def kd(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Soft targets (Hinton et al., 2015, Eq. 1 and section 2): T² · KL(p_t ‖ p_s), p = softmax(z / T).

    Sum over classes, mean over the batch, as in RepDistiller. Code that calls `kl_div` with `reduction="mean"` also
    divides by K. The paper minimises the cross-entropy, which has the same gradient.

    Args:
        student, teacher: logits (B, K).
        temperature: T, above 0; higher is softer.

    Raises:
        ValueError: unequal shapes, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import kd

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = kd(student, teacher, temperature=2.0)
    """
    _require_logits(student, teacher)
    return temperature**2 * _kl(_softened(student, temperature), _softened(teacher, temperature))


@full_precision
def dkd(
    student: Tensor, teacher: Tensor, target: Tensor, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0
) -> Tensor:
    """Decoupled distillation (Zhao et al., CVPR 2022, Eq. 7): T² · (α · TCKD + β · NCKD).

    Mean over the batch. TCKD is the KL of (target class, all others), NCKD
    the KL among the other classes, renormalised. Plain KD weights NCKD by 1 − p_t(target) instead of β.

    This follows mdistiller, which removes the target by subtracting 1000 from its logit and takes the logarithm of
    probabilities that may underflow to 0; here everything stays in logarithms. The caller applies the warm-up.

    Args:
        student, teacher: logits (B, K).
        target: class numbers (B,), int64.
        alpha: weight of the target class against all others.
        beta: weight of the other classes among themselves.
        temperature: T, above 0.

    Raises:
        ValueError: unequal shapes, a target that is not (B,), one class, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import dkd

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = dkd(student, teacher, torch.randint(10, (8,)), beta=6.0)
    """
    _require_logits(student, teacher)
    require(target.shape == student.shape[:1], f"target must be (B,), got {tuple(target.shape)}")
    classes = student.shape[1]
    require(classes > 1, "DKD needs at least two classes, got 1")
    is_target = torch.arange(classes, device=target.device) == target[:, None]

    def decoupled(logits: Tensor) -> Pair:
        log_p = _softened(logits, temperature)
        log_others = log_p.masked_fill(is_target, -math.inf)
        log_rest = log_others.logsumexp(1, keepdim=True)
        log_target = log_p.gather(1, target[:, None])
        # A 0 for the target in both networks adds exp(0) · (0 − 0) to the divergence among the others.
        return torch.cat([log_target, log_rest], 1), (log_p - log_rest).masked_fill(is_target, 0)

    (s_target, s_others), (t_target, t_others) = decoupled(student), decoupled(teacher)
    return temperature**2 * (alpha * _kl(s_target, t_target) + beta * _kl(s_others, t_others))


@full_precision
def dist(student: Tensor, teacher: Tensor, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0) -> Tensor:
    """DIST (Huang et al., NeurIPS 2022): T² · (β · inter + γ · intra), each 1 − mean Pearson correlation.

    inter: the correlation of the probabilities of one image over the classes; intra: of one class over the batch.

    Args:
        student, teacher: logits (B, K).
        temperature: T, above 0.
        beta: weight of inter.
        gamma: weight of intra.

    As in the authors' code, the correlation is a·b / (‖a‖‖b‖ + 1e-8), which damps classes that no image is assigned
    to, and T² is a factor (1 by default). A constant row or column (at B = 1, every column) has correlation 0 and so
    adds 1: the loss of equal logits is near 0, not exactly 0.

    Raises:
        ValueError: unequal shapes, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import dist

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = dist(student, teacher)
    """
    _require_logits(student, teacher)
    s, t = _softened(student, temperature).exp(), _softened(teacher, temperature).exp()
    inter, intra = 1 - _pearson(s, t).mean(), 1 - _pearson(s.mT, t.mT).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row of a with that row of b."""
    a, b = _centred(a), _centred(b)
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    correlation: Tensor = (a * b).sum(-1) / (lengths + 1e-8)
    return correlation


def _centred(x: Tensor) -> Tensor:
    """Rows minus their means. A row that is only rounding error becomes zero and passes no gradient; the tiny
    probabilities of a class that no image is assigned to still correlate."""
    rows = x - x.mean(-1, keepdim=True)
    alive = rows.square().sum(-1, keepdim=True) > 1e-10 * x.square().sum(-1, keepdim=True)
    return torch.where(alive, rows, 0)
