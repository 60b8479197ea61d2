"""A loss that compares each map of the student with all maps of the teacher, and learns which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.losses.arithmetic import full_precision, pool_to_smaller, unit_rows
from scl.losses.checks import require, require_maps
from scl.models.layout import channels_to_memory_order


class semckd(nn.Module):
    """Semantic calibration (Chen et al., AAAI 2021): each map of the student learns from all of the teacher, by weights
    that an attention finds for each image.

    The similarities of an image to all images of the batch, at one layer, are inner products of whole maps. Two linear
    layers with a ReLU between them (to B/2 and to B/4 numbers, then to unit length) make them the query of a layer of
    the student, or the key of one of the teacher; a softmax over the teacher's layers of their products gives the
    weights. What they weigh is the mean squared difference between the teacher's map and the student's, which three
    convolutions (1×1, 3×3, 1×1; 2·C_t channels within, batch norm and ReLU after the first two) map to its channels.
    Sum over the teacher's layers, mean over the student's and over images.

    As in the authors' code. There a batch smaller than B, the last of an epoch, is left out of training; here the
    images that it lacks have similarity 0. The KL term of the paper is `kd`, with weight 1 beside 400 of this one.

    Called with tuples of maps, from shallow to deep; where sizes differ, the larger map is average-pooled. The module
    trains with the student.

    Args:
        student_channels: of each of the student's layers.
        teacher_channels: of each of the teacher's, of which there may be another number.
        batch_size: B, the largest number of images in a call.

    Raises:
        ValueError: not maps, another number of layers than channels, more images than B, unequal batches.

    Example:
        import torch
        from scl.losses import semckd

        student = torch.randn(8, 16, 8, 8), torch.randn(8, 32, 4, 4)
        teacher = torch.randn(8, 32, 8, 8), torch.randn(8, 64, 4, 4), torch.randn(8, 64, 4, 4)
        loss = semckd((16, 32), (32, 64, 64), batch_size=8)(student, teacher)
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int], batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.queries = nn.ModuleList(_embedding(batch_size) for _ in student_channels)
        self.keys = nn.ModuleList(_embedding(batch_size) for _ in teacher_channels)
        self.regressors = nn.ModuleList(_regressor(s, t) for s, t in product(student_channels, teacher_channels))

    @full_precision
    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        built, got = (len(self.queries), len(self.keys)), (len(student), len(teacher))
        require(built == got, f"built for {built[0]} and {built[1]} layers, got {got[0]} and {got[1]}")
        images = len(student[0])
        require(images <= self.batch_size, f"built for batches of up to {self.batch_size} images, got {images}")
        pairs = list(product(student, teacher))
        for s, t in pairs:
            require_maps(s, t)
        queries = self._embedded(self.queries, student)
        weights = (queries @ self._embedded(self.keys, teacher).mT).softmax(-1)
        gaps = [_gap(regressor, s, t) for regressor, (s, t) in zip(self.regressors, pairs, strict=True)]
        return (weights * torch.stack(gaps, 1).view_as(weights)).sum(-1).mean()

    def _embedded(self, embeddings: nn.ModuleList, maps: Sequence[Tensor]) -> Tensor:
        """Unit vectors (B, layers, B/4) of the similarities of images at each layer."""
        rows = [channels_to_memory_order(x).flatten(1) for x in maps]
        similar = [F.pad(x @ x.mT, (0, self.batch_size - len(x))) for x in rows]
        return unit_rows(torch.stack([embed(x) for embed, x in zip(embeddings, similar, strict=True)], 1))


def _embedding(batch_size: int) -> nn.Sequential:
    width = max(1, batch_size // 4)
    return nn.Sequential(nn.Linear(batch_size, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


def _regressor(student: int, teacher: int) -> nn.Sequential:
    within = 2 * teacher
    return nn.Sequential(
        nn.Conv2d(student, within, 1, bias=False),
        nn.BatchNorm2d(within),
        nn.ReLU(),
        nn.Conv2d(within, within, 3, padding=1, bias=False),
        nn.BatchNorm2d(within),
        nn.ReLU(),
        nn.Conv2d(within, teacher, 1, bias=False),
    )


def _gap(regressor: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of each image (B,)."""
    student, teacher = pool_to_smaller(student, teacher)
    difference: Tensor = regressor(student) - teacher
    return difference.square().mean((1, 2, 3))
