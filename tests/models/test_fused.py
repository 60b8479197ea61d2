"""Blocks with fused kernels compute what blocks compute, and what cannot be fused is refused."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F

from scl.errors import UserError
from scl.models import staged
from scl.models.build import build_model
from scl.models.networks import fuse
from scl.study.config import Config


@pytest.mark.parametrize(
    ("model", "device", "reason"),
    [
        ("plain5", "cpu", "they need a GPU, and this device is cpu"),
        ("resnet8x4", "cuda", "they are for plain and vgg students, not for resnet8x4"),
        ("wrn_16_1", "cuda", "they are for plain and vgg students, not for wrn_16_1"),
    ],
)
def test_what_cannot_be_fused_is_refused(model: str, device: str, reason: str) -> None:
    config = Config(model=model, width=0.125, kernels="fused")
    network = build_model(model, 10, width=0.125)
    fuse(network, config.replace(kernels="torch"), torch.device(device))
    with pytest.raises(UserError, match=re.escape(f"kernels='fused': {reason}; use kernels='torch'")):
        fuse(network, config, torch.device(device))


@pytest.mark.parametrize("tap", ["relu", "bn", "block"])
@pytest.mark.parametrize("model", ["plain5", "vgg13"])
@pytest.mark.parametrize("read", [frozenset(), frozenset({0, 2})])
def test_fused_blocks_compute_what_blocks_compute(
    tap: str, model: str, read: frozenset[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch's functions in place of the kernels: all values, gradients and running statistics."""
    monkeypatch.setattr(staged, "norm_relu_pool", lambda maps, norm, pool=1: F.max_pool2d(F.relu(norm(maps)), pool))
    results = []
    for fused in (False, True):
        torch.manual_seed(0)
        network = build_model(model, 10, width=0.125).train()
        for module in network.modules():
            if isinstance(module, staged.Block):
                module.fused = fused
        features = network.features(torch.randn(4, 3, 18, 18), tap, staged.Wanted(read, head=True))
        (features.logits.sum() + sum(m.square().mean() for m in features.maps if m.numel())).backward()
        gradients = [p.grad for p in network.parameters()]
        results.append([features.logits, *features.maps, *gradients, *network.buffers()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
