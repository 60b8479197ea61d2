"""Losses of logits (B, K)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scl.losses.arithmetic import Pair, centred_rows, full_precision
from scl.losses.checks import require, require_logits, require_temperature
from scl.losses.grams import gram_distance
from scl.study.loss_table import LOGIT_NORMS

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)  # of mlld


def _softened(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities at a temperature."""
    require_temperature(temperature)
    return F.log_softmax(logits / temperature, dim=1)


def normed(logits: Tensor, norm: str) -> Tensor:
    """Logits as they are (`none`), or each image's standardised (`zscore`): minus its mean over the classes, divided by
    its standard deviation.

    Logit standardisation (Sun et al., CVPR 2024, Eq. 9 and Algorithm 1): the student need not match the range of the
    teacher's logits. As in the authors' code, the standard deviation divides by K − 1, and 1e-7 is added to it.
    Constant logits become zeros with zero gradient.
    """
    require(norm in LOGIT_NORMS, f"norm is {' or '.join(LOGIT_NORMS)}, got {norm!r}")
    if norm == "none":
        return logits
    classes = logits.shape[1]
    require(classes > 1, "zscore needs at least two classes, got 1")
    rows = centred_rows(logits)
    dead = (rows == 0).all(1, keepdim=True)
    length = torch.linalg.vector_norm(torch.where(dead, 1.0, rows), dim=1, keepdim=True)
    return torch.where(dead, 0.0, rows / (length / math.sqrt(classes - 1) + 1e-7))


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher ‖ student) of log-probabilities (B, K), mean over the batch."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


@full_precision
def kd(student: Tensor, teacher: Tensor, temperature: float = 4.0, norm: str = "none") -> Tensor:
    """Soft targets (Hinton et al., 2015, Eq. 1 and section 2): T² · KL(p_t ‖ p_s), p = softmax(z / T).

    Sum over classes, mean over the batch, as in RepDistiller. Code that calls `kl_div` with `reduction="mean"` also
    divides by K. The paper minimises the cross-entropy, which has the same gradient.

    Args:
        student, teacher: logits (B, K).
        temperature: T, above 0; higher is softer.
        norm: `none`, or `zscore`: each image's logits are standardised first (Sun et al., CVPR 2024).

    Raises:
        ValueError: unequal shapes, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import kd

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = kd(student, teacher, temperature=2.0)
    """
    require_logits(student, teacher)
    student, teacher = normed(student, norm), normed(teacher, norm)
    return temperature**2 * _kl(_softened(student, temperature), _softened(teacher, temperature))


@full_precision
def dkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    norm: str = "none",
) -> Tensor:
    """Decoupled distillation (Zhao et al., CVPR 2022, Eq. 7): T² · (α · TCKD + β · NCKD).

    Mean over the batch. TCKD is the KL of (target class, all others), NCKD the KL among the other classes,
    renormalised. Plain KD weights NCKD by 1 − p_t(target) instead of β.

    This follows mdistiller, which removes the target by subtracting 1000 from its logit and takes the logarithm of
    probabilities that may underflow to 0; here everything stays in logarithms. The caller applies the warm-up.

    Args:
        student, teacher: logits (B, K).
        target: class numbers (B,), int64.
        alpha: weight of the target class against all others.
        beta: weight of the other classes among themselves.
        temperature: T, above 0.
        norm: `none`, or `zscore`, as in `kd`.

    Raises:
        ValueError: unequal shapes, a target that is not (B,), one class, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import dkd

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = dkd(student, teacher, torch.randint(10, (8,)), beta=6.0)
    """
    _require_labels(student, teacher, target, "DKD")

    def decoupled(logits: Tensor) -> Pair:
        log_target, log_rest, log_others = _apart(_softened(normed(logits, norm), temperature), target)
        return torch.cat([log_target, log_rest], 1), log_others

    (s_target, s_others), (t_target, t_others) = decoupled(student), decoupled(teacher)
    return temperature**2 * (alpha * _kl(s_target, t_target) + beta * _kl(s_others, t_others))


def _require_labels(student: Tensor, teacher: Tensor, target: Tensor, loss: str) -> None:
    require_logits(student, teacher)
    require(target.shape == student.shape[:1], f"target must be (B,), got {tuple(target.shape)}")
    require(student.shape[1] > 1, f"{loss} needs at least two classes, got 1")


def _apart(log_p: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities (B, K): of the target class (B, 1), of all others together (B, 1), and those of the others,
    renormalised among them (B, K)."""
    is_target = torch.arange(log_p.shape[1], device=target.device) == target[:, None]
    log_rest = log_p.masked_fill(is_target, -math.inf).logsumexp(1, keepdim=True)
    # A 0 for the target in both networks adds exp(0) · (0 − 0) to a divergence among the others.
    return log_p.gather(1, target[:, None]), log_rest, (log_p - log_rest).masked_fill(is_target, 0)


@full_precision
def nkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    gamma: float = 1.5,
    temperature: float = 1.0,
    norm: str = "none",
) -> Tensor:
    """Normalized distillation (Yang et al., ICCV 2023, Eq. 8):
    −p_t(target) · log p_s(target) − γ · T² · Σ over the other classes of q_t · log q_s.

    Mean over the batch. p = softmax(z); q = softmax(z / T) among the other classes alone, so that the others of student
    and teacher have the same sum. As in the authors' code, the temperature does not touch the first part.
    Cross-entropies, not divergences: the loss of equal logits is not 0. The defaults are those of that code for
    ImageNet; for CIFAR-100 it has γ = 3.5 and T = 3, for resnet34 → resnet18 alone.

    Args:
        student, teacher: logits (B, K).
        target: class numbers (B,), int64.
        gamma: weight of the other classes.
        temperature: T, above 0.
        norm: `none`, or `zscore`, as in `kd`.

    Raises:
        ValueError: unequal shapes, a target that is not (B,), one class, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import nkd

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = nkd(student, teacher, torch.randint(10, (8,)))
    """
    _require_labels(student, teacher, target, "NKD")
    student, teacher = normed(student, norm), normed(teacher, norm)
    s_target, t_target = (_softened(z, 1.0).gather(1, target[:, None]) for z in (student, teacher))
    s_others, t_others = (_apart(_softened(z, temperature), target)[2] for z in (student, teacher))
    # A target's 0 in the log-probabilities of the others multiplies exp(0) by 0.
    of_target, of_others = -(t_target.exp() * s_target).mean(), -(t_others.exp() * s_others).sum(1).mean()
    return of_target + gamma * temperature**2 * of_others


@full_precision
def wttm(student: Tensor, teacher: Tensor, temperature: float = 4.0, norm: str = "none") -> Tensor:
    """Weighted transformed teacher matching (Zheng & Yang, ICLR 2024, Eq. 14): mean over the batch of
    U · KL(softmax(z_t / T) ‖ softmax(z_s)), U = Σ over the classes of p_t^(1/T), p_t = softmax(z_t).

    Only the teacher has a temperature; images of which the teacher is less certain weigh more. The authors' code has
    γ = 1/T as its option, and no factor T². The paper tunes T and the weight for each pair of networks (Tables 8 to
    10): T = 10 and weight 2.25 for vgg13 → vgg8, beside CRD T = 5 and weight 4. The default of T is that of `kd`.

    Args:
        student, teacher: logits (B, K).
        temperature: T, above 0.
        norm: `none`, or `zscore`, as in `kd`.

    Raises:
        ValueError: unequal shapes, a temperature that is not positive.

    Example:
        import torch
        from scl.losses import wttm

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = wttm(student, teacher, temperature=4.0)
    """
    require_logits(student, teacher)
    require_temperature(temperature)
    student, teacher = normed(student, norm), normed(teacher, norm)
    uncertainty = (_softened(teacher, 1.0) / temperature).exp().sum(1)
    transformed = F.softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(_softened(student, 1.0), transformed, reduction="none").sum(1)
    return (uncertainty * divergence).mean()


@full_precision
def dist(
    student: Tensor,
    teacher: Tensor,
    temperature: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    norm: str = "none",
) -> Tensor:
    """DIST (Huang et al., NeurIPS 2022): T² · (β · inter + γ · intra), each 1 − mean Pearson correlation.

    inter: the correlation of the probabilities of one image over the classes; intra: of one class over the batch.

    Args:
        student, teacher: logits (B, K).
        temperature: T, above 0.
        beta: weight of inter.
        gamma: weight of intra.
        norm: `none`, or `zscore`, as in `kd`.

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
    require_logits(student, teacher)
    s, t = (_softened(normed(z, norm), temperature).exp() for z in (student, teacher))
    inter, intra = 1 - _pearson(s, t).mean(), 1 - _pearson(s.mT, t.mT).mean()
    return temperature**2 * (beta * inter + gamma * intra)


@full_precision
def mlld(
    student: Tensor,
    teacher: Tensor,
    instance: float = 1.0,
    batch: float = 1.0,
    classes: float = 1.0,
    norm: str = "none",
) -> Tensor:
    """Multi-level logit distillation (Jin et al., CVPR 2023), summed over the temperatures T = 2, 3, 4, 5, 6.

    With P = softmax(z / T), (B, K): instance · T² · KL(P_t ‖ P_s) + batch · ‖P_sP_sᵀ − P_tP_tᵀ‖² / B
    + classes · ‖P_sᵀP_s − P_tᵀP_t‖² / K, as in the authors' code.

    That code sees a weak and a strong augmentation of each image; here there is one, that of `augment`. It weighs the
    strong one by 1 in the instance level alone, and the weak one by the share of images (or classes) whose confidence
    is at most the median, in all three, which is ½ if B and K are even. So if both are the same image, it is
    instance = 1.5, batch = classes = 0.5, beside twice its cross-entropy.

    Args:
        student, teacher: logits (B, K).
        instance: weight of each image's probabilities.
        batch: weight of the relations between the images of a batch.
        classes: weight of the relations between classes.
        norm: `none`, or `zscore`, as in `kd`; of the instance level alone, as in the code of logit standardisation.

    Raises:
        ValueError: unequal shapes.
        RuntimeError: in backward, if the gradient itself must be differentiated (`create_graph`).

    Example:
        import torch
        from scl.losses import mlld

        student, teacher = torch.randn(8, 10), torch.randn(8, 10)
        loss = mlld(student, teacher, instance=1.5, batch=0.5, classes=0.5)
    """
    require_logits(student, teacher)
    images = sum(kd(student, teacher, temperature, norm) for temperature in TEMPERATURES)
    s, t = (torch.stack([F.softmax(z / temperature, 1) for temperature in TEMPERATURES]) for z in (student, teacher))
    of_batch, of_classes = gram_distance(s, t) / s.shape[1], gram_distance(s.mT, t.mT) / s.shape[2]
    return instance * images + batch * of_batch + classes * of_classes


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row of a with that row of b."""
    a, b = centred_rows(a), centred_rows(b)
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    correlation: Tensor = (a * b).sum(-1) / (lengths + 1e-8)
    return correlation
