"""Losses of logits in cases that the shared tests do not cover."""

from __future__ import annotations

import pytest
import torch

from scl import losses


def test_dist_is_about_zero_when_equal() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert losses.dist(logits, logits).item() == pytest.approx(0, abs=1e-5)


def test_dkd_of_certain_networks_is_finite_and_right() -> None:
    """Probabilities that underflow: the teacher is certain of class 0, the student of class 1."""
    student = torch.tensor([[0.0, 500.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[500.0, 0.0, 0.0]])
    value = losses.dkd(student, teacher, torch.tensor([0]), beta=0.0, temperature=1.0)
    value.backward()
    assert value.item() == pytest.approx(500)
    assert student.grad.tolist() == [pytest.approx([-1.0, 1.0, 0.0])]
