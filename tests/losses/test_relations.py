"""Losses of relations between images: what their definitions leave unchanged."""

from __future__ import annotations

import pytest
import torch

from scl import losses
from tests.support.losses import maps


@pytest.mark.parametrize("loss", [losses.sp, losses.rkd, losses.pkt])
def test_rotations_of_an_embedding_change_nothing(loss: object) -> None:
    student, teacher = maps(0, 6, 5), maps(1, 6, 4)
    rotation, _ = torch.linalg.qr(maps(2, 5, 5))
    torch.testing.assert_close(loss(student @ rotation, teacher), loss(student, teacher))  # type: ignore[operator]


@pytest.mark.parametrize("loss", [losses.sp, losses.rkd, losses.pkt])
def test_a_rescaled_embedding_changes_nothing_and_another_one_does(loss: object) -> None:
    student, teacher = maps(0, 6, 5), maps(1, 6, 4)
    value = loss(student, teacher)  # type: ignore[operator]
    torch.testing.assert_close(loss(7 * student, teacher), value)  # type: ignore[operator]
    assert loss(maps(3, 6, 5), teacher) != pytest.approx(value.item(), rel=0.01)  # type: ignore[operator]


def test_rkd_does_not_see_shifts() -> None:
    student, teacher = maps(0, 6, 5), maps(1, 6, 4)
    torch.testing.assert_close(losses.rkd(student + maps(2, 5), teacher), losses.rkd(student, teacher))


def test_cc_falls_with_the_distance_of_the_embeddings() -> None:
    torch.manual_seed(0)
    module = losses.cc(5, 4)
    with torch.no_grad():
        module.embed_teacher.weight.zero_()
        module.embed_teacher.bias.copy_(module.embed_student.bias)
    student, teacher = maps(0, 6, 5, dtype=torch.float32), maps(1, 6, 4, dtype=torch.float32)
    assert module(0 * student, teacher).item() == 0
    assert 0 < module(student, teacher).item() < module(2 * student, teacher).item()
