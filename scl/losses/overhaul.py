"""A loss of maps before their ReLU: what the teacher's neurons answer, and that they do not answer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scl.losses.arithmetic import full_precision, pool_to_smaller
from scl.losses.checks import require, require_maps


class ofd(nn.Module):
    """Overhaul of feature distillation (Heo et al., ICCV 2019): margin ReLU and partial L2.

    A 1×1 convolution with batch norm maps the student's map to the teacher's channels (s); the teacher's map is raised
    to its margin, t = max(t, m), m < 0 for each channel. The loss is the sum of (s − t)² over all entries but those
    with s ≤ t ≤ 0: where the teacher's neuron is silent, the student's may be as silent or more. It is the mean over
    the batch, and halved for each layer that is deeper, as in the authors' code, whose weight is 0.001.

    The maps are those before their ReLU: set `tap="bn"`. After it no entry is negative, and the margins are 0. m is the
    mean of the teacher's negative entries of a channel (Eq. 2), here of the batch; the authors' code has it from the
    normal distribution whose mean and deviation are the shift and the scale of the batch norm. Their teacher normalises
    by the batch; here it is in evaluation mode. In wide ResNets their maps are behind the batch norm of the next stage;
    here they are where `bn` takes them.

    Called with tuples of maps, from shallow to deep, and the embedding as the last, which is not compared; the larger
    map is average-pooled. The module trains with the student.

    Args:
        student_channels: of each map.
        teacher_channels: likewise, as many.

    Raises:
        ValueError: not maps, unequal B, another number of maps than channels, no map beside the embedding.

    Example:
        import torch
        from scl.losses import ofd

        student = torch.randn(8, 16, 8, 8), torch.randn(8, 32, 4, 4), torch.randn(8, 32, 1, 1)
        teacher = torch.randn(8, 32, 8, 8), torch.randn(8, 64, 4, 4), torch.randn(8, 64, 1, 1)
        loss = ofd(student_channels=(16, 32, 32), teacher_channels=(32, 64, 64))(student, teacher)
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        super().__init__()
        s, t = len(student_channels), len(teacher_channels)
        require(s == t, f"student and teacher need as many maps, got {s} and {t}")
        require(s > 1, "ofd compares maps, and there is the embedding alone")
        self.connectors = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, d, 1, bias=False), nn.BatchNorm2d(d))
            for c, d in zip(student_channels[:-1], teacher_channels[:-1], strict=True)
        )
        for connector in self.connectors:
            nn.init.kaiming_normal_(connector.get_parameter("0.weight"), mode="fan_out", nonlinearity="relu")

    @full_precision
    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        count = len(self.connectors) + 1
        require(len(student) == count == len(teacher), f"built for {count} maps, got {len(student)}, {len(teacher)}")
        values: list[Tensor] = []
        for connector, s, t in zip(self.connectors, student[:-1], teacher[:-1], strict=True):
            require_maps(s, t)
            values = [value / 2 for value in values] + [_partial(*pool_to_smaller(connector(s), t))]
        return torch.stack(values).sum()


def _partial(student: Tensor, teacher: Tensor) -> Tensor:
    """The partial squared distance of maps of one shape, summed over an image."""
    negative = teacher.clamp(max=0)
    silent = (teacher < 0).sum((0, 2, 3), keepdim=True).clamp(min=1)
    target = torch.maximum(teacher, negative.sum((0, 2, 3), keepdim=True) / silent)
    counts = (student > target) | (target > 0)
    return torch.where(counts, student - target, 0).square().sum() / len(student)
