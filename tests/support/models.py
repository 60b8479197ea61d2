"""Small networks and images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scl.models.build import build_model

FAMILIES = ("plain5", "vgg8", "resnet14", "wrn_16_2")
PLACES = ("layers", "penultimate", "branch")


def images(batch: int = 2, side: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def build(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, 10, width=0.25, **options)  # type: ignore[arg-type]


def moved(name: str, **options: object) -> nn.Module:
    """A network whose batch norms have seen something, so that folding them wrongly shows."""
    torch.manual_seed(0)
    model = build_model(name, 10, width=0.25, **options)  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
            nn.init.normal_(module.running_mean, 0.0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return model
