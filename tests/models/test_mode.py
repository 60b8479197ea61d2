"""Evaluation mode for a while."""

from __future__ import annotations

import pytest
from torch import nn

from scl.models.mode import eval_mode


def test_each_module_returns_to_its_own_mode() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.BatchNorm2d(1), nn.ReLU()))
    model[1][0].eval()  # a frozen batch norm
    other = nn.Linear(1, 1).eval()
    with eval_mode(model, other):
        assert not any(module.training for module in [*model.modules(), *other.modules()])
    assert model.training
    assert not model[1][0].training
    assert not other.training


def test_an_exception_restores_the_mode() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(RuntimeError), eval_mode(model):
        raise RuntimeError
    assert model.training
