"""KD whose temperature is learned, against the student."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from scl.losses.arithmetic import full_precision
from scl.losses.checks import require, require_logits
from scl.losses.logits import normed


class _Reversed(Function):
    """A parameter whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return factor * grad, None


class ctkd(nn.Module):
    """Curriculum temperature (Li et al., AAAI 2023): KD at a temperature that learns to make KD harder.

    T² · KL(p_t ‖ p_s) with p = softmax(z / T) and one temperature for all images (Global-T), T = start + span ·
    sigmoid(θ); θ is 1 at first. θ gets the gradient of the weighted loss times −λ, so it raises the loss that the
    student lowers. λ rises over the first `rise` epochs i = 1, 2, … of the stage as (1 − cos(πi / rise)) / 2 (Eq. 7)
    and then stays 1, as in the authors' code (`decay_max 0, decay_min -1, decay_loops 10`). With `rise` = 0 it is
    always 1. The temperature of each image (Instance-T) is not in that code for CIFAR-100, and not here.

    Called with logits (B, K). θ trains with the student, with its rate and weight decay, as in that code. `start_epoch`
    sets λ; until it is called, λ is that of the first epoch.

    Args:
        student_channels, teacher_channels: the number of classes K.
        start: the lowest temperature, above 0.
        span: the highest temperature minus the lowest, 0 or more.
        rise: epochs over which λ rises, 0 or more.
        norm: `none`, or `zscore`, as in `kd`.

    Raises:
        ValueError: unequal shapes, an option out of range.

    Example:
        import torch
        from scl.losses import ctkd

        loss = ctkd(student_channels=10, teacher_channels=10)(torch.randn(8, 10), torch.randn(8, 10))
    """

    factor: Tensor

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        start: float = 1.0,
        span: float = 20.0,
        rise: float = 10.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        for name, value, valid in (("start", start, start > 0), ("span", span, span >= 0), ("rise", rise, rise >= 0)):
            require(valid, f"{name} must be {'above 0' if name == 'start' else '0 or more'}, got {value}")
        self.start, self.span, self.rise, self.norm = start, span, rise, norm
        self.theta = nn.Parameter(torch.ones(1))
        self.register_buffer("factor", torch.zeros(()), persistent=False)  # on the device, where a CUDA graph reads it
        self.start_epoch(1)

    def start_epoch(self, epoch: int) -> None:
        """Set λ for an epoch of the stage (from 1)."""
        self.factor.fill_(-1.0 if epoch >= self.rise else (math.cos(math.pi * epoch / self.rise) - 1) / 2)

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_logits(student, teacher)
        theta: Tensor = _Reversed.apply(self.theta, self.factor)
        temperature = self.start + self.span * theta.double().sigmoid()
        # At a high temperature the divergence is small, and T² makes it large: float32 would lose digits.
        s, t = (F.log_softmax(normed(z.double(), self.norm) / temperature, dim=1) for z in (student, teacher))
        value: Tensor = (temperature**2 * F.kl_div(s, t, reduction="batchmean", log_target=True)).sum()
        return value.to(student.dtype)
