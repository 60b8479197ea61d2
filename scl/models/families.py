"""The families of networks for images of about 32×32 pixels: plain, vgg, resnet and wrn.

vgg, resnet and wrn are the variants that the knowledge-distillation literature uses on CIFAR-100 (Tian et al., ICLR
2020; their code is RepDistiller). Their tensors have the same order as in RepDistiller, so its state dicts fit by
order.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from scl.models.staged import Block, SelfTaught, Staged, assemble

PLAIN_WIDTHS = (64, 128, 256, 512)
VGG_WIDTHS = (64, 128, 256, 512, 512)
VGG_DEPTHS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def build(name: str, num_classes: int, in_channels: int, width: float, taught: SelfTaught) -> Staged:
    """A network of MODELS by name, initialised from torch's global random stream."""
    family, *numbers = re.findall(r"[a-z]+|\d+", name.replace("x", "_"))
    first, *rest = map(int, numbers)
    if family == "plain":
        model = _plain(first, num_classes, in_channels, width, taught)
    elif family == "vgg":
        model = _vgg(first, num_classes, in_channels, width, taught)
    elif family == "resnet":
        widths = (32, 64, 128, 256) if rest else (16, 16, 32, 64)  # 8x4: stages four times, the stem twice as wide
        model = _residual(ResidualStage, (first - 2) // 6, widths, num_classes, in_channels, width, taught)
    else:
        widths = (16, 16 * rest[0], 32 * rest[0], 64 * rest[0])
        model = _residual(PreactStage, (first - 4) // 6, widths, num_classes, in_channels, width, taught)
    model.apply(partial(_initialise, narrow_classifier=family in ("plain", "vgg")))
    return model


def scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _initialise(module: nn.Module, narrow_classifier: bool) -> None:
    if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
        return  # its shape alone is asked for; the first normal numbers on that device would import for seconds
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear) and narrow_classifier:
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def _plain(layers: int, num_classes: int, in_channels: int, width: float, taught: SelfTaught) -> Staged:
    """A plain network of `layers` weight layers: 3×3 convolutions with BN and ReLU, then one linear layer.

    The convolutions fill four stages of 64, 128, 256 and 512 channels (× `width`), the deeper stages first: plain5 has
    1-1-1-1, plain11 has 2-2-3-3. The two convolutions of plain3 are stages 2 and 4. 2×2 max-pooling separates stages.
    The guided layer of a stage is its last convolution.
    """
    convolutions = layers - 1
    count = min(len(PLAIN_WIDTHS), convolutions)
    # Stage numbers within the four, so that a shallow student is compared with the right layers of its teacher.
    numbers = [(i + 1) * len(PLAIN_WIDTHS) // count - 1 for i in range(count)]
    halvings = [b - a for a, b in pairwise([*numbers, numbers[-1]])]  # after a stage, for the next
    depths = [convolutions // count + (i >= count - convolutions % count) for i in range(count)]
    return assemble(
        nn.Identity(),
        lambda i, channels, guided, all_: Block(channels, [guided] * (depths[i] - 1) + [all_], halvings[i]),
        lambda i, channels, k: Block(channels, [k], halvings[i]),
        in_channels,
        [scaled(PLAIN_WIDTHS[n], width) for n in numbers],
        unguided=0,
        num_classes=num_classes,
        taught=taught,
    )


def _vgg(layers: int, num_classes: int, in_channels: int, width: float, taught: SelfTaught) -> Staged:
    """VGG with batch norm and one linear layer (Simonyan & Zisserman, ICLR 2015, for CIFAR).

    Five stages with max-pooling between them (before the fifth only for images larger than 32 pixels). The guided
    layers are the last convolutions of stages 2 to 5; the first stage counts as the stem, as in published settings.
    """
    return assemble(
        nn.Identity(),
        lambda i, channels, guided, all_: Block(
            channels, [guided] * (VGG_DEPTHS[layers][i] - 1) + [all_], halvings=int(i + 1 < len(VGG_WIDTHS)), bias=True
        ),
        lambda i, channels, k: Block(channels, [k], halvings=int(i + 1 < len(VGG_WIDTHS))),
        in_channels,
        [scaled(c, width) for c in VGG_WIDTHS],
        unguided=1,
        num_classes=num_classes,
        taught=taught,
    )


def _residual(
    stage: type[ResidualStage] | type[PreactStage],
    blocks: int,
    widths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
    width: float,
    taught: SelfTaught,
) -> Staged:
    """Three residual stages of `blocks` blocks of two convolutions; the second and the third stage halve the sides.

    All blocks and shortcuts of a stage have C + k channels, the guided ones first. The guided layer is the output of
    the last block.
    """
    stem, *stages = (scaled(c, width) for c in widths)
    convolution = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
    activation = [nn.BatchNorm2d(stem), nn.ReLU(inplace=True)] if stage is ResidualStage else []
    return assemble(
        nn.Sequential(convolution, *activation),
        lambda i, channels, guided, all_: stage(channels, all_, blocks, stride=1 + (i > 0), first=i == 0),
        lambda i, channels, k: Block(channels, [k], stride=1 + (i > 0)),
        stem,
        stages,
        unguided=0,
        num_classes=num_classes,
        taught=taught,
    )


class ResidualStage(nn.Module):
    """A stage of a CIFAR ResNet (He et al., CVPR 2016, section 4.2) with projections (option B)."""

    def __init__(self, channels: int, out: int, blocks: int, stride: int, first: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(out if i else channels, out, 1 if i else stride) for i in range(blocks)
        )

    def forward(self, x: Tensor, tap: str, read: bool) -> tuple[Tensor, Tensor]:
        before = x
        for block in self.blocks:
            before = block(x)
            x = F.relu(before, inplace=tap != "bn")
        return (before if tap == "bn" else x), x


class ResidualBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus the shortcut; the stage applies the last ReLU."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        total: Tensor = self.bn2(self.conv2(inner)) + self.shortcut(x)
        return total


class PreactStage(nn.Module):
    """A stage of a wide ResNet (Zagoruyko & Komodakis, BMVC 2016), followed by BN and ReLU.

    Blocks are BN-ReLU-conv-BN-ReLU-conv plus the shortcut. The BN and ReLU at the end belong to the first block of the
    next stage, whose convolution and projection both read their output; this stage computes them once, and their
    output is the guided map. `first`: the input of this stage has not passed such a BN and ReLU.
    """

    def __init__(self, channels: int, out: int, blocks: int, stride: int, first: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            PreactBlock(out if i else channels, out, 1 if i else stride, activate=first or i > 0) for i in range(blocks)
        )
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, tap: str, read: bool) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x = block(x)
        before = self.norm(x)
        out = F.relu(before, inplace=tap != "bn")
        return {"block": x, "bn": before, "relu": out}[tap], out


class PreactBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int, activate: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels) if activate else None
        self.conv1 = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = None
        if stride != 1 or channels != out or not activate:
            self.shortcut = nn.Conv2d(channels, out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = x if self.bn1 is None else F.relu(self.bn1(x))
        residual = x if self.shortcut is None else self.shortcut(active)
        inner = F.relu(self.bn2(self.conv1(active)), inplace=True)
        total: Tensor = self.conv2(inner) + residual
        return total
