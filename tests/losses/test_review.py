"""ReviewKD: what its levels may be, and at which resolutions maps are compared."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scl.losses import reviewkd


def maps(channels: tuple[int, ...], sides: tuple[int, ...], batch: int = 4) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, c, side, side) for c, side in zip(channels, sides, strict=True))


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (maps((3, 5), (8, 1)), maps((4, 6, 6), (8, 4, 1)), "built for 2 levels, got 2, 3"),
        (maps((3,), (8,)), maps((4,), (8,)), "built for 2 levels, got 1, 1"),
        (maps((3, 5), (8, 1), batch=1), maps((4, 6), (8, 1), batch=1), "a batch of at least 2, got 1"),
        (maps((3, 5), (8, 1)), maps((4, 6), (8, 1), batch=3), "4.* 3"),
    ],
)
def test_other_levels_than_it_was_built_for_are_refused(
    student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        reviewkd((3, 5), (4, 6))(student, teacher)


def test_as_many_levels_on_both_sides() -> None:
    with pytest.raises(ValueError, match="as many levels, got 2 and 3"):
        reviewkd((3, 5), (4, 6, 6))


@pytest.mark.parametrize(
    ("side", "pooled"), [(1, ()), (2, (1,)), (3, (2, 1)), (4, (2, 1)), (5, (4, 2, 1)), (8, (4, 2, 1))]
)
def test_maps_are_compared_at_their_size_and_at_smaller_ones(side: int, pooled: tuple[int, ...]) -> None:
    """One level: the loss is that of its expanded map, so its weights can be recomputed by hand."""
    torch.manual_seed(0)
    module = reviewkd((6,), (5,))
    (student,), (teacher,) = maps((6,), (side,)), maps((5,), (side,))
    out, _ = module.fusions[0](student, None, (side, side))
    terms = [(1.0, F.mse_loss(out, teacher))]
    for i, size in enumerate(pooled, 1):
        small = [F.adaptive_avg_pool2d(x, size) for x in (out, teacher)]
        terms.append((0.5**i, F.mse_loss(*small)))
    wanted = sum(w * v for w, v in terms) / sum(w for w, _ in terms)
    torch.testing.assert_close(module((student,), (teacher,)), wanted)
