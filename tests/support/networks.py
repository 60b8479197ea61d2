"""Own networks that tests train: small, for 8×8 images, each with something that training must keep exact."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """Two convolutions and a linear layer, with a `view` as in many tutorials."""

    def __init__(self, num_classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.fc = nn.Linear(6 * 4 * 4, num_classes)
        self.setup()

    def setup(self) -> None: ...

    def inner(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.inner(self.second(self.first(x))).view(x.size(0), -1))


class Dropout(Net):
    def setup(self) -> None:
        self.drop = nn.Dropout(0.5)

    def inner(self, x: Tensor) -> Tensor:
        return self.drop(x)


class DropPath(Net):
    def inner(self, x: Tensor) -> Tensor:
        keep = torch.rand(len(x), 1, 1, 1, device=x.device) > 0.3
        return x + torch.tanh(x) * keep if self.training else x + 0.7 * torch.tanh(x)


class PythonsRandom(Net):
    def inner(self, x: Tensor) -> Tensor:
        return x * random.random() * float(np.random.rand()) if self.training else x


class InitialisedElsewhere(Net):
    def setup(self) -> None:
        self.gain = nn.Parameter(torch.tensor([random.random(), float(np.random.rand())]).float())

    def inner(self, x: Tensor) -> Tensor:
        return x * self.gain.sum()


class Groups(Net):
    def setup(self) -> None:
        self.norm = nn.GroupNorm(2, 6)

    def inner(self, x: Tensor) -> Tensor:
        return self.norm(x)


class EndlessAverage(Net):
    def setup(self) -> None:
        self.norm = nn.BatchNorm2d(6, momentum=None)

    def inner(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Buffers(Net):
    """Buffers of several types, one with infinities, one empty; one counts."""

    count: Tensor

    def setup(self) -> None:
        self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.uint8, torch.bool):
            self.register_buffer(f"a_{str(dtype).rpartition('.')[2]}", torch.ones(3).to(dtype))
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def inner(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
        return x * (1 + 0.01 * self.count)


class Tied(Net):
    def setup(self) -> None:
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight

    def inner(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)))


class Hidden(Net):
    """State that no state dict holds, which evaluation does not read."""

    seen: Tensor

    def setup(self) -> None:
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.steps = 0
        self.last = torch.zeros(2)

    def inner(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.steps += 1
        self.seen += x.detach().mean()
        self.last = x.detach().mean() + 0.1 * self.last
        return x * (1 + 0.01 * self.steps) + 0.01 * self.seen + 0.01 * self.last.sum()


class Frozen(Net):
    def setup(self) -> None:
        self.first.requires_grad_(False)
        self.unused = nn.Linear(2, 2)


class Normed(Net):
    """With weights that are computed from others, and an output like those of Hugging Face."""

    def setup(self) -> None:
        self.fc = nn.utils.parametrizations.weight_norm(self.fc)

    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x), "hidden": x}


class Small(nn.Module):
    """A vision transformer without an nn.Conv2d: tokens of patches behind a class token, attention by products."""

    def __init__(self, num_classes: int, in_channels: int = 1, image_size: int = 8) -> None:
        super().__init__()
        self.patch = nn.Linear(in_channels * 4, 8)
        self.first = nn.Parameter(torch.zeros(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, (image_size // 2) ** 2 + 1, 8) * 0.1)
        self.block, self.head = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True), nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 2, stride=2).mT
        tokens = torch.cat([self.first.expand(len(x), -1, -1), self.patch(patches)], 1) + self.place
        return self.head(self.block(tokens)[:, 0])


def small_transformer(num_classes: int, in_channels: int = 1) -> nn.Module:
    """A factory."""
    return Small(num_classes, in_channels)


TRAINABLE = (
    Net, Dropout, DropPath, PythonsRandom, InitialisedElsewhere, Groups, EndlessAverage, Buffers, Tied, Hidden, Frozen,
    Normed, Small, small_transformer,
)  # fmt: skip
