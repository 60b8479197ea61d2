"""A loss of all levels of a network at once: the guided maps, from shallow to deep, and the embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.losses.arithmetic import Pair, average_pool, full_precision
from scl.losses.checks import require, require_maps, require_same_batch

Size = tuple[int, int]


class reviewkd(nn.Module):
    """Knowledge review (Chen et al., CVPR 2021): each level of the teacher is compared with all deeper of the student.

    From the deepest level up, a module fuses the student's map with what came from the level below (ABF, Fig. 3a): a
    1×1 convolution with batch norm to M = min(512, D_s) channels; a weight for each location of both, from a 1×1
    convolution of both and a sigmoid; their weighted sum goes to the next level. A 3×3 convolution with batch norm maps
    it to the teacher's channels. Both are compared by the hierarchical loss (HCL, Fig. 3b): the mean squared difference
    of the maps, and of the maps average-pooled to 4×4, 2×2 and 1×1, so far as these are smaller, with the weights 1, ½,
    ¼, ⅛ divided by their sum. Levels are summed. The 1×1 level is the embedding.

    As in the authors' code: D_s in M is the width of the embedding, maps change their size to the nearest neighbour,
    and the weights of HCL, which the paper does not state. There the teacher's maps are before their ReLU and the
    student's after it; here `tap` holds for both, and `bn` takes both before it. Maps that are not square are pooled as
    far as their shorter side allows.

    Called with tuples of maps, from shallow to deep, the last two with 1×1 locations. The module trains with the
    student.

    Args:
        student_channels: of each level; the last is D_s.
        teacher_channels: likewise, as many.

    Raises:
        ValueError: not maps, unequal B, another number of levels than channels, a batch of one, which has no batch
            statistics.

    Example:
        import torch
        from scl.losses import reviewkd

        student = torch.randn(8, 16, 8, 8), torch.randn(8, 32, 4, 4), torch.randn(8, 32, 1, 1)
        teacher = torch.randn(8, 32, 8, 8), torch.randn(8, 64, 4, 4), torch.randn(8, 64, 1, 1)
        loss = reviewkd(student_channels=(16, 32, 32), teacher_channels=(32, 64, 64))(student, teacher)
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        s, t = len(student_channels), len(teacher_channels)
        require(s == t, f"student and teacher need as many levels, got {s} and {t}")
        width = min(512, student_channels[-1])
        self.fusions = nn.ModuleList(
            _Fusion(channels, width, out, deepest=i == s - 1)
            for i, (channels, out) in enumerate(zip(student_channels, teacher_channels, strict=True))
        )

    @full_precision
    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        levels = len(self.fusions)
        require(
            len(student) == levels == len(teacher), f"built for {levels} levels, got {len(student)}, {len(teacher)}"
        )
        below: Tensor | None = None
        values = []
        for fusion, s, t in zip(reversed(self.fusions), reversed(student), reversed(teacher), strict=True):
            require_maps(s, t)
            require_same_batch(s, t, least=2)
            out, below = fusion(s, below, (t.shape[2], t.shape[3]))
            values.append(_hierarchical(out, t))
        return torch.stack(values).sum()


class _Fusion(nn.Module):
    """Fuses a map (B, C, H, W) with that of the level below, to the channels and the size of the teacher's."""

    def __init__(self, channels: int, width: int, out: int, deepest: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.attend = None if deepest else nn.Conv2d(2 * width, 2, 1)
        self.expand = nn.Sequential(nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))
        for part in (self.reduce, self.expand):
            nn.init.kaiming_uniform_(part.get_parameter("0.weight"), a=1)

    def forward(self, x: Tensor, below: Tensor | None, size: Size) -> Pair:
        """The map to compare, and what goes to the level above."""
        x = self.reduce(x)
        if self.attend is not None and below is not None:
            below = _resized(below, (x.shape[2], x.shape[3]))
            weights = self.attend(torch.cat([x, below], 1)).sigmoid()
            x = x * weights[:, :1] + below * weights[:, 1:]
        x = _resized(x, size)
        return self.expand(x), x


def _resized(x: Tensor, size: Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="nearest")


def _hierarchical(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of maps of one shape, at several resolutions."""
    value, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for side in (4, 2, 1):
        if side < min(student.shape[2:]):
            weight /= 2
            total += weight
            s, t = (average_pool(x, (side, side)) for x in (student, teacher))
            value = value + weight * F.mse_loss(s, t)
    return value / total
