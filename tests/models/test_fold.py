"""Folded batch norms and absorbed biases change rounding alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scl.models.fold import absorb_biases, fold_batch_norms
from scl.study.fields import MODELS
from tests.support.models import moved


@pytest.mark.parametrize("name", MODELS)
def test_folding_changes_rounding_alone(name: str) -> None:
    model, images = moved(name).eval().double(), torch.rand(2, 3, 32, 32, dtype=torch.float64)
    for tap in ("relu", "bn"):
        with torch.no_grad():
            before = model.features(images, tap)  # type: ignore[operator]
            after = fold_batch_norms(moved(name).eval().double()).features(images, tap)  # type: ignore[operator]
        for a, b in zip([*before.maps, before.logits], [*after.maps, after.logits], strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in fold_batch_norms(moved(name).eval()).modules())
    # Only a wide residual network normalises what no convolution has just put out.
    assert norms == 0 or (
        name.startswith("wrn") and norms < sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    )


def test_biases_before_batch_norms_are_absorbed_and_nothing_else_learns_otherwise() -> None:
    """Three steps of SGD in float64, with the biases that batch norm takes away and without."""
    images, target = torch.rand(8, 3, 32, 32, dtype=torch.float64), torch.arange(8)
    models = [moved("vgg8").double() for _ in range(2)]
    for model in models:
        for name, parameter in model.named_parameters():
            if name.endswith("layers.0.bias"):
                nn.init.ones_(parameter)
    with_biases, without = models
    absorb_biases(without)
    torch.testing.assert_close(without.eval()(images), with_biases.eval()(images), rtol=1e-9, atol=1e-9)
    for model in models:
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), target).backward()
            optimizer.step()
    idle = 0
    for (name, parameter), other in zip(without.named_parameters(), with_biases.parameters(), strict=True):
        if name.endswith("layers.0.bias"):
            idle += 1
            assert not parameter.any()
        else:
            torch.testing.assert_close(parameter, other, rtol=1e-9, atol=1e-9)
    assert idle == 5
    torch.testing.assert_close(without.eval()(images), with_biases.eval()(images), rtol=1e-9, atol=1e-9)
