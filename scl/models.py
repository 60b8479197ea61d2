"""Students and teachers by name, their guided layers and their self-taught neurons.

Every model answers ``model(x)`` with logits and ``model.forward_features(x)`` with the guided feature maps,
shallow to deep, and the logits. Self-taught channels are cut off the maps that it returns: transfer losses
cannot see them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scl.config import MODELS, SELF_TAUGHT_PLACES, UserError, unknown

PLAIN_WIDTHS = (64, 128, 256, 512)


class Plain(nn.Module):
    """A plain network of `layers` weight layers: 3×3 convolutions with BN and ReLU, then one linear layer.

    The convolutions fill four stages of 64, 128, 256 and 512 channels (× `width`), the deeper stages first:
    plain5 has 1-1-1-1, plain11 has 2-2-3-3. Two convolutions (plain3) take stages 2 and 4. Stages are parted by
    2×2 max-pooling while a side is longer than 4, so that 8×8 images keep locations to correlate.
    The guided layers are the last convolution of each stage, after ReLU and before pooling.

    `self_taught` widens guided layers by that many channels, which come after the guided ones; the next layer
    sees them all. `self_taught_at`: every guided layer (`layers`) or only the deepest (`penultimate`).
    """

    def __init__(
        self,
        layers: int,
        num_classes: int,
        in_channels: int = 3,
        width: float = 1.0,
        self_taught: int = 0,
        self_taught_at: str = "layers",
    ) -> None:
        super().__init__()
        convolutions = layers - 1
        count = min(len(PLAIN_WIDTHS), convolutions)
        # Stages by their number in the full family, so that a shallow student meets the teacher's right layers.
        self.stage_numbers = tuple((i + 1) * len(PLAIN_WIDTHS) // count - 1 for i in range(count))
        self.halvings = [
            b - a for a, b in zip(self.stage_numbers[:1] + self.stage_numbers, self.stage_numbers, strict=False)
        ]
        depths = [convolutions // count + (i >= count - convolutions % count) for i in range(count)]
        self.guided_channels = tuple(max(1, round(PLAIN_WIDTHS[s] * width)) for s in self.stage_numbers)
        self.stages = nn.ModuleList()
        channels = in_channels
        for i, (guided, depth) in enumerate(zip(self.guided_channels, depths, strict=True)):
            extra = self_taught if self_taught_at == "layers" or i == count - 1 else 0
            blocks: list[nn.Module] = []
            for j in range(depth):
                out = guided + (extra if j == depth - 1 else 0)
                blocks += [
                    nn.Conv2d(channels, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(inplace=True),
                ]
                channels = out
            self.stages.append(nn.Sequential(*blocks))
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """x (B, C, H, W) → the guided maps [(B, C_i, H_i, W_i), …] and logits (B, num_classes)."""
        maps = []
        for halvings, stage, guided in zip(self.halvings, self.stages, self.guided_channels, strict=True):
            for _ in range(halvings):
                if min(x.shape[2:]) > 4:
                    x = F.max_pool2d(x, 2)
            x = stage(x)
            maps.append(x[:, :guided])
        return maps, self.classifier(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)[1]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def build_model(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    self_taught: int = 0,
    self_taught_at: str = "layers",
) -> nn.Module:
    """A fresh model by name, initialised from torch's global random stream.

    Args:
        width: factor on every stage's channels, rounded, at least 1.
        self_taught: extra channels of the guided layers, which no transfer loss sees.

    Raises:
        UserError: no model of that name, or a place of self-taught neurons that does not exist.
    """
    if name not in MODELS:
        raise UserError(unknown("model", name, MODELS))
    if self_taught_at not in SELF_TAUGHT_PLACES:
        raise UserError(unknown("self_taught_at", self_taught_at, SELF_TAUGHT_PLACES))
    family, layers = re.fullmatch(r"([a-z]+)(\d+)", name).groups()  # type: ignore[union-attr]
    families: dict[str, Callable[..., nn.Module]] = {"plain": Plain}
    return families[family](int(layers), num_classes, in_channels, width, self_taught, self_taught_at)


def macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image (C, H, W), by torch's own counter."""
    counter = FlopCounterMode(display=False)
    training = model.training
    with counter, torch.no_grad():
        model.eval()(torch.zeros(1, *image_shape))
    model.train(training)
    return int(counter.get_total_flops() // 2)
