"""SemCKD: what its layers and its batches may be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scl.losses import semckd


def maps(channels: tuple[int, ...], images: int = 4) -> tuple[Tensor, ...]:
    return tuple(torch.randn(images, c, 4, 4) for c in channels)


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (maps((3,)), maps((4, 6, 5)), "built for 2 and 3 layers, got 1 and 3"),
        (maps((3, 5)), maps((4, 6)), "built for 2 and 3 layers, got 2 and 2"),
        (maps((3, 5), 5), maps((4, 6, 5), 5), "batches of up to 4 images, got 5"),
        (maps((3, 5), 3), maps((4, 6, 5)), "different batches: 3 and 4"),
    ],
)
def test_other_layers_or_more_images_than_it_was_built_for_are_refused(
    student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        semckd((3, 5), (4, 6, 5), batch_size=4)(student, teacher)
