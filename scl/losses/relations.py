"""Losses of the relations between the images of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.losses.arithmetic import Pair, full_precision, unit_rows
from scl.losses.checks import require_same_batch
from scl.models.layout import channels_to_memory_order


@full_precision
def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity preserving (Tung & Mori, ICCV 2019): similarities between the activations of a batch's images.

    G = QQᵀ (B × B) of the flattened maps, each row L2-normalised; ‖G_s − G_t‖² / B². Paper and RepDistiller
    agree.

    Args:
        student, teacher: maps (B, C, H, W) or embeddings (B, D), of any widths and sizes.

    Raises:
        ValueError: unequal B.

    Example:
        import torch
        from scl.losses import sp

        student, teacher = torch.randn(8, 64), torch.randn(8, 128)
        loss = sp(student, teacher)
    """
    require_same_batch(student, teacher)
    flat = (channels_to_memory_order(x).flatten(1) for x in (student, teacher))
    s, t = (unit_rows(x @ x.mT) for x in flat)
    return F.mse_loss(s, t)


@full_precision
def rkd(student: Tensor, teacher: Tensor, distance_weight: float = 25.0, angle_weight: float = 50.0) -> Tensor:
    """Relational distillation (Park et al., CVPR 2019): distances of pairs and angles of triples of images.

    Distances are divided by their mean over the pairs i ≠ j; angles are cosines at each image i between the
    directions to j and k. Smooth-L1 of each, averaged over all B² and B³ entries, including those that repeat an
    image, as in the authors' code and RepDistiller; the paper sums.

    Args:
        student, teacher: embeddings (B, D) of any widths.
        distance_weight: factor of the distances.
        angle_weight: factor of the angles.

    Raises:
        ValueError: unequal B, a batch of one.

    Example:
        import torch
        from scl.losses import rkd

        student, teacher = torch.randn(8, 64), torch.randn(8, 128)
        loss = rkd(student, teacher)
    """
    require_same_batch(student, teacher, least=2)
    s_distance, s_angle = _relations(student.flatten(1))
    t_distance, t_angle = _relations(teacher.flatten(1))
    distance = F.smooth_l1_loss(s_distance, t_distance)
    return distance_weight * distance + angle_weight * F.smooth_l1_loss(s_angle, t_angle)


def _relations(x: Tensor) -> Pair:
    """Distances (B, B) in units of their mean, and cosines of the angles at each image (B, B, B)."""
    batch = len(x)
    difference = x[None] - x[:, None]
    # A least distance of 1e-6 keeps the gradient of the root and the division below finite if images coincide.
    distance = difference.square().sum(-1).clamp(min=1e-12).sqrt()
    distance = distance.masked_fill(torch.eye(batch, dtype=torch.bool, device=x.device), 0)
    direction = unit_rows(difference)
    return distance / (distance.sum() / (batch * (batch - 1))), direction @ direction.mT


@full_precision
def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Probabilistic knowledge transfer (Passalis & Tefas, ECCV 2018): probabilities of being neighbours.

    Similarity (cos + 1) / 2 of all pairs, each row divided by its sum; mean over B² of
    p_t · log((p_t + 1e-7) / (p_s + 1e-7)). The diagonal is included and the divergence is averaged, as in the authors'
    code and RepDistiller (which divide by the norm + 1e-7; that differs for embeddings shorter than about 1e-3). The
    paper leaves out the similarity of an image to itself, and sums.

    Args:
        student, teacher: embeddings (B, D) of any widths.

    Raises:
        ValueError: unequal B, a batch of one.

    Example:
        import torch
        from scl.losses import pkt

        student, teacher = torch.randn(8, 64), torch.randn(8, 128)
        loss = pkt(student, teacher)
    """
    require_same_batch(student, teacher, least=2)
    s, t = (_neighbours(x.flatten(1)) for x in (student, teacher))
    return (t * ((t + 1e-7) / (s + 1e-7)).log()).mean()


def _neighbours(x: Tensor) -> Tensor:
    """The probability that image j is the neighbour of image i, (B, B); rows sum to 1."""
    rows = unit_rows(x)
    similarity = (rows @ rows.mT + 1) / 2
    return similarity / similarity.sum(1, keepdim=True)


class cc(nn.Module):
    """Correlation congruence (Peng et al., ICCV 2019) in the form of RepDistiller, which has it from the authors.

    Two linear layers map the embeddings to 128 numbers each; with Δ_i = |s_i − t_i|, the mean of Δ_i · Δ_{i+1} over
    neighbours i, i+1 of the batch. The paper compares B × B matrices of a Gaussian kernel instead.

    Called with embeddings (B, D_s) and (B, D_t). Both linear layers train with the student.

    Args:
        student_channels: D_s.
        teacher_channels: D_t.

    Raises:
        ValueError: unequal B, a batch of one.

    Example:
        import torch
        from scl.losses import cc

        loss = cc(student_channels=64, teacher_channels=128)(torch.randn(8, 64), torch.randn(8, 128))
    """

    width = 128

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.embed_student = nn.Linear(student_channels, self.width)
        self.embed_teacher = nn.Linear(teacher_channels, self.width)

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_same_batch(student, teacher, least=2)
        s, t = self.embed_student(student.flatten(1)), self.embed_teacher(teacher.flatten(1))
        delta: Tensor = (s - t).abs()
        return (delta[:-1] * delta[1:]).sum(1).mean()
