"""CTKD: the temperature learns against the student, the more the later."""

from __future__ import annotations

import math

import pytest
import torch

from scl import losses
from tests.support.losses import maps

LOGITS = maps(0, 4, 6, dtype=torch.float32), maps(1, 4, 6, dtype=torch.float32)


@pytest.mark.parametrize(("rise", "epoch", "share"), [
    (10, 1, (1 - math.cos(math.pi / 10)) / 2), (10, 5, 0.5), (10, 10, 1), (10, 200, 1), (1, 1, 1), (0, 1, 1),
])  # fmt: skip
def test_theta_gets_the_reversed_gradient_times_lambda(rise: float, epoch: int, share: float) -> None:
    loss = losses.ctkd(6, 6, rise=rise)
    loss.start_epoch(epoch)
    loss(*LOGITS).backward()
    theta = torch.ones(1, requires_grad=True)
    temperature = 1 + 20 * theta.sigmoid()
    s, t = ((z / temperature).log_softmax(1) for z in LOGITS)
    plain = temperature**2 * (t.exp() * (t - s)).sum() / len(s)
    (expected,) = torch.autograd.grad(plain, theta)
    torch.testing.assert_close(loss.theta.grad, -share * expected)


def test_lambda_is_that_of_the_first_epoch_at_first() -> None:
    loss = losses.ctkd(6, 6)
    first = loss.factor.clone()
    loss.start_epoch(1)
    assert torch.equal(loss.factor, first)


@pytest.mark.parametrize(("options", "problem"), [
    ({"start": 0.0}, "start must be above 0, got 0"),
    ({"span": -1.0}, "span must be 0 or more, got -1"),
    ({"rise": -1.0}, "rise must be 0 or more, got -1"),
])  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, float], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        losses.ctkd(6, 6, **options)  # type: ignore[arg-type]
