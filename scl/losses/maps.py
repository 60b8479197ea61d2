"""Losses of one feature map (B, C, H, W), location by location or channel by channel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.losses.arithmetic import Pair, average_pool, full_precision, pool_to_smaller, unit_rows
from scl.losses.checks import require, require_maps, require_same_channels, require_same_shape
from scl.losses.grams import gram_distance
from scl.models.layout import is_channels_last, mean_over_channels


@full_precision
def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """FitNets hints (Romero et al., ICLR 2015, Eq. 3): mean squared difference.

    The mean runs over all entries, as in RepDistiller; the paper halves and sums. The caller
    applies the regressor on the student (a 1×1 convolution with batch norm if the channels differ).

    Args:
        student, teacher: tensors of one shape.

    Raises:
        ValueError: unequal shapes.

    Example:
        import torch
        from scl.losses import hint

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 16, 4, 4)
        loss = hint(student, teacher)
    """
    require_same_shape(student, teacher)
    if is_channels_last(student):
        student, teacher = (x.movedim(1, -1) for x in (student, teacher))
    return F.mse_loss(student, teacher)


@full_precision
def simkd(student: Tensor, teacher: Tensor) -> Tensor:
    """SimKD (Chen et al., CVPR 2022): mean squared difference of the maps that the teacher's classifier reads.

    The student predicts with a projector (see `Config.projector`) and with the teacher's classifier, which stays as it
    is. This loss alone trains it, without cross-entropy. The mean runs over all entries, as in the authors' code; the
    paper writes a squared norm. The projector is that of the code: batch norm and ReLU behind each of its three
    convolutions, and half the teacher's channels between them (the code's factor 2; with 4 or 8 it is smaller and the
    student less accurate). If the student's map is the larger one, the code pools it before the projector, also in
    inference; here its projection is pooled, in the loss alone.

    Args:
        student: the projected map (B, C, H, W).
        teacher: its deepest map after the ReLU, with as many channels; the larger map is average-pooled.

    Raises:
        ValueError: not maps, unequal B or C.

    Example:
        import torch
        from scl.losses import simkd

        student, teacher = torch.randn(8, 32, 4, 4), torch.randn(8, 32, 8, 8)
        loss = simkd(student, teacher)
    """
    require_maps(student, teacher)
    require(
        student.shape[1] == teacher.shape[1],
        f"student has {student.shape[1]} channels and teacher "
        f"{teacher.shape[1]}: the student needs a projector to {teacher.shape[1]}",
    )
    return hint(*pool_to_smaller(student, teacher))


@full_precision
def norm(student: Tensor, teacher: Tensor, segments: int = 8) -> Tensor:
    """NORM (Liu et al., ICLR 2023): N segments of an expanded student map, each matched with the teacher's whole map.

    The sum over N segments of the mean squared difference, as in the authors' code, with its N = 8. The expanded map is
    that of a linear transform behind the student's deepest map: a 1×1 convolution to N·C_t channels, one back to C_s,
    batch norm behind each, and a residual connection around both. The classifier reads its output in training, and
    after training it is folded into the classifier, exactly but for rounding, so the student has nothing more than
    any other. The public figures belong to this form, there the default; its form without the residual is not here.

    The authors' code differs in these points. (1) It normalises the logits of student and teacher (a layer norm × 2.5)
    before cross-entropy and KD; here cross-entropy is plain, and `kd` with `norm="zscore"` at temperature 1.6 is nearly
    that KD, divided by 6.25 (it divides by K − 1 where a layer norm divides by K). (2) In its wide residual networks
    the transform stands before the last batch norm and ReLU, where it cannot be folded into what follows; here it
    stands behind them in each network. The teacher's map is taken at `tap`; the code's is that of `block`. (3) With
    N = 1 it has no transform; here there is one. (4) Of maps of unequal size it max-pools the larger one, here it is
    average-pooled.

    Args:
        student: the expanded map (B, N·C_t, H, W). See `Config.expansion`.
        teacher: its deepest map (B, C_t, H, W); the larger map is average-pooled.
        segments: N, 1 or more.

    Raises:
        ValueError: not maps, unequal B, or the student has other than N·C_t channels.

    Example:
        import torch
        from scl.losses import norm

        student, teacher = torch.randn(8, 2 * 32, 4, 4), torch.randn(8, 32, 4, 4)
        loss = norm(student, teacher, segments=2)
    """
    require_maps(student, teacher)
    s, t, count = student.shape[1], teacher.shape[1], int(segments)
    require(s == count * t, f"student has {s} channels, and {count} segments of the teacher's {t} are {count * t}")
    student, teacher = pool_to_smaller(student, teacher)
    axis = 1
    if is_channels_last(student):
        student, teacher, axis = student.movedim(1, -1), teacher.movedim(1, -1), 3
    split = torch.unflatten(student, axis, (count, t))
    return count * F.mse_loss(split, teacher.unsqueeze(axis).expand_as(split))


@full_precision
def at(student: Tensor, teacher: Tensor) -> Tensor:
    """Attention transfer (Zagoruyko & Komodakis, ICLR 2017, Eq. 2) on squared activations.

    Attention map: mean over channels of x², flattened and L2-normalised. Mean over locations and
    batch of the squared difference, as in the authors' code and RepDistiller; the paper takes the norm of the
    difference, not squared and not averaged over locations.

    Args:
        student, teacher: maps (B, C, H, W) with any channels; the larger map is average-pooled.

    Raises:
        ValueError: not maps, unequal B.

    Example:
        import torch
        from scl.losses import at

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 32, 8, 8)
        loss = at(student, teacher)
    """
    require_maps(student, teacher)
    s, t = (unit_rows(mean_over_channels(x.square()).flatten(1)) for x in pool_to_smaller(student, teacher))
    return F.mse_loss(s, t)


@full_precision
def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Neuron selectivity transfer (Huang & Wang, 2017): MMD² between channels, kernel (aᵀb)².

    Channels are L2-normalised over locations. Means of the kernel over C_s × C_s, C_t × C_t and C_s × C_t pairs, and
    over the batch, as in RepDistiller (code that leaves out the constant teacher term has a negative loss).

    Args:
        student, teacher: maps (B, C, H, W) with any channels; the larger map is average-pooled.

    Raises:
        ValueError: not maps, unequal B.
        RuntimeError: in backward, if the gradient itself must be differentiated (`create_graph`).

    Example:
        import torch
        from scl.losses import nst

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 32, 8, 8)
        loss = nst(student, teacher)
    """
    require_maps(student, teacher)
    # The three means are ‖FᵀF/C_s − GᵀG/C_t‖², a difference of Gram matrices between locations.
    s, t = (unit_rows(x.flatten(2)).mT / math.sqrt(x.shape[1]) for x in pool_to_smaller(student, teacher))
    return gram_distance(s, t) / len(s)


@full_precision
def catkd(student: Tensor, teacher: Tensor, size: int = 2) -> Tensor:
    """Class attention transfer (Guo et al., CVPR 2023): mean squared difference of class activation maps.

    A class activation map is the classifier at each location of the last map, so that its mean is the logit of that
    class. Maps are average-pooled to `size` × `size`, and the mean runs over all entries, as in the authors' code and
    its settings; the formula of the paper divides each pooled map by its length first, which the code's settings switch
    off. There classifiers have no bias; here it is a part of the maps, so that their means are the logits.

    Args:
        student, teacher: class activation maps (B, K, H, W); their sizes may differ.
        size: of the pooled maps, 1 or more.

    Raises:
        ValueError: not maps, unequal B or K.

    Example:
        import torch
        from scl.losses import catkd

        student, teacher = torch.randn(8, 10, 4, 4), torch.randn(8, 10, 8, 8)
        loss = catkd(student, teacher)
    """
    require_maps(student, teacher)
    s, t = student.shape[1], teacher.shape[1]
    require(s == t, f"the student has maps of {s} classes, the teacher of {t}")
    side = int(size)
    return F.mse_loss(average_pool(student, (side, side)), average_pool(teacher, (side, side)))


class vid(nn.Module):
    """Variational information distillation (Ahn et al., CVPR 2019) between feature maps.

    The negative log-likelihood of the teacher's map under a Gaussian given the student's map, without its constant:
    mean over all entries of ½ ((t − μ(s))² / σ² + log σ²). μ: three 1×1 convolutions without bias and two ReLUs,
    C_s → C_t → C_t → C_t. σ²_c = softplus(α_c) + 1e-5, one per channel, initially 5. All as in RepDistiller; the paper
    sums over locations. The value may be negative.

    Called with maps (B, C_s, H, W) and (B, C_t, H, W); the larger map is average-pooled. The module trains with the
    student.

    Args:
        student_channels: C_s.
        teacher_channels: C_t.

    Raises:
        ValueError: not maps, unequal B.

    Example:
        import torch
        from scl.losses import vid

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 32, 8, 8)
        loss = vid(student_channels=16, teacher_channels=32)(student, teacher)
    """

    least = 1e-5

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        s, t = student_channels, teacher_channels
        self.regressor = nn.Sequential(
            nn.Conv2d(s, t, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(t, t, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(t, t, 1, bias=False),
        )
        # The inverse of softplus, so that the initial variance is 5.
        self.alpha = nn.Parameter(torch.full((t, 1, 1), math.log(math.expm1(5.0 - self.least))))

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_maps(student, teacher)
        student, teacher = pool_to_smaller(student, teacher)
        variance = F.softplus(self.alpha) + self.least
        error: Tensor = self.regressor(student) - teacher
        return (error.square() / variance + variance.log()).mean() / 2


@full_precision
def fsp(student: Pair, teacher: Pair) -> Tensor:
    """Flow of solution procedure (Yim et al., CVPR 2017, Eq. 1 and 2): from one map to the next.

    Gram matrix (C_bottom × C_top) over locations, divided by N. Mean over its entries and the batch of the
    squared difference, as in RepDistiller; the paper sums over the entries.

    Args:
        student, teacher: a pair of maps (bottom, top) each; the larger map of a pair is average-pooled to the size of
            the other.

    Raises:
        ValueError: not maps, unequal B or channels (a connector is needed).

    Example:
        import torch
        from scl.losses import fsp

        bottom, top = torch.randn(8, 16, 8, 8), torch.randn(8, 32, 4, 4)
        loss = fsp((bottom, top), (bottom + 1, top - 1))
    """

    def flow(bottom: Tensor, top: Tensor) -> Tensor:
        b, t = (x.flatten(2) for x in pool_to_smaller(bottom, top))
        return b @ t.mT / b.shape[2]

    for s, t in zip(student, teacher, strict=True):
        require_maps(s, t)
        require_same_channels(s, t)
    return F.mse_loss(flow(*student), flow(*teacher))


class ickd(nn.Module):
    """Inter-channel correlation (Liu et al., ICCV 2021), ICKD-C: Gram matrices between channels.

    G = FFᵀ (C_t × C_t) per image, each row L2-normalised; sum of squared differences divided by B·C_t, as in the
    authors' code; the paper neither normalises rows nor divides by C alone. A 1×1 convolution with batch norm,
    C_s → C_t, maps the student first, even if the widths are equal.

    Called with maps (B, C_s, H, W) and (B, C_t, H, W); their sizes may differ. The module trains with the student. The
    KL term of the paper is `kd`.

    Args:
        student_channels: C_s.
        teacher_channels: C_t.

    Raises:
        ValueError: not maps, unequal B.

    Example:
        import torch
        from scl.losses import ickd

        student, teacher = torch.randn(8, 16, 4, 4), torch.randn(8, 32, 8, 8)
        loss = ickd(student_channels=16, teacher_channels=32)(student, teacher)
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(student_channels, teacher_channels, 1, bias=False), nn.BatchNorm2d(teacher_channels)
        )

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        require_maps(student, teacher)
        s, t = self.embed(student).flatten(2), teacher.flatten(2)
        gap = unit_rows(s @ s.mT) - unit_rows(t @ t.mT)
        return gap.square().sum() / (len(gap) * gap.shape[1])
