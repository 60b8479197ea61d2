"""LDRLD: which classes come first, and what the others then change."""

from __future__ import annotations

import pytest
import torch

from scl import losses
from tests.support.losses import maps

STUDENT, TEACHER = maps(0, 6, 9), maps(1, 6, 9)


def test_the_first_classes_are_the_students() -> None:
    """With alpha = 0, the first classes do not count, so the student's may be raised, each image's together."""
    first = STUDENT.topk(3, 1).indices
    for beta, alpha in ((1.0, 0.0), (0.0, 1.0)):
        before = losses.ldrld(STUDENT, TEACHER, alpha, beta, top=3)
        raised = STUDENT.scatter_add(1, first, torch.full((6, 3), 2.0, dtype=STUDENT.dtype))
        torch.testing.assert_close(losses.ldrld(raised, TEACHER, alpha, beta, top=3), before)
        other = TEACHER.scatter_add(1, first, maps(2, 6, 3))
        assert (losses.ldrld(STUDENT, other, alpha, beta, top=3) == before) == (alpha == 0)


@pytest.mark.parametrize("top", [7, 8, 100])
def test_with_few_classes_all_come_first_and_beta_has_no_effect(top: int) -> None:
    s, t = STUDENT[:, :7], TEACHER[:, :7]
    assert losses.ldrld(s, t, beta=7.0, top=top) == losses.ldrld(s, t, beta=0.0, top=7)
    everything = 22 * losses.ldrld(s, t, alpha=1.0, top=7)  # 21 pairs, and all together
    assert everything > losses.kd(s, t, temperature=4.0)
