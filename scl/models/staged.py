"""The structure that all families share: stem → stages → average pooling → linear layer.

`stage(x, tap, read)` returns the guided map at that tap, if it is read, and the input of the next stage. The network
knows which channels are guided, removes the self-taught ones from the maps, and runs the branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.errors import UserError
from scl.models.fused import norm_relu_pool
from scl.models.layout import class_activation_maps, first_channels, mean_over_locations
from scl.models.transform import FeatureTransform


class Features(NamedTuple):
    """What transfer losses compare.

    maps: guided maps (B, C_i, H_i, W_i), from shallow to deep. embedding: the last map after its ReLU, average-pooled
    (B, C). logits: (B, K). cams: class activation maps (B, K, H, W), whose means over locations are the logits; None if
    they are not wanted, or the network has none. each: the logits of each of several teachers, whose mean `logits` is.
    """

    maps: list[Tensor]
    embedding: Tensor
    logits: Tensor
    cams: Tensor | None = None
    each: tuple[Tensor, ...] = ()


class Wanted(NamedTuple):
    """The features that are read: the maps of these guided layers (from 0), `head` for embedding and logits, and `cams`
    with them."""

    maps: frozenset[int]
    head: bool
    cams: bool = False

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(self.maps | other.maps, self.head or other.head, self.cams or other.cams)


HEAD = Wanted(frozenset(), head=True)


@dataclass(frozen=True)
class SelfTaught:
    """Self-taught neurons of a network; see the fields of `Config`.

    count: k for every guided layer, or one number for each. place: `layers`, `penultimate` or `branch`. source: `added`
    to the C channels or `taken` from them. guided: transfer losses see the `first` channels, or `all`.
    """

    count: int | Sequence[int] = 0
    place: str = "layers"
    source: str = "added"
    guided: str = "first"

    def channels(self, widths: Sequence[int]) -> tuple[list[int], list[int]]:
        """Guided and self-taught channels of each guided layer, from the widths without self-taught neurons.

        Raises:
            UserError: the counts do not match the guided layers, or take all channels of a layer.
        """
        if isinstance(self.count, int):
            counts = [self.count] * len(widths)
            if self.place == "penultimate":
                counts[:-1] = [0] * (len(widths) - 1)
        else:
            counts = list(self.count)
            if len(counts) != len(widths):
                raise UserError(
                    f"self_taught {tuple(counts)}: this student has {len(widths)} guided layers, give one each"
                )
        if self.source == "added":
            return list(widths), counts
        for i, (width, count) in enumerate(zip(widths, counts, strict=True)):
            if count >= width:
                raise UserError(f"self_taught: {count} cannot be taken from the {width} channels of guided layer {i}")
        return [width - count for width, count in zip(widths, counts, strict=True)], counts


class Staged(nn.Module):
    """A network of stages with its guided layers.

    Args:
        stem: image → input of the first stage.
        stages: the last `len(guided)` of them end in a guided layer.
        guided, self_taught: for each guided layer, the channels that losses see, and the additional ones.
        branch: if given, one stage beside each guided stage, which computes the self-taught channels from all channels
            of the stage before. The guided stages do not receive its output; the classifier receives both.
        all_guided: a control: losses see the self-taught channels as well.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        guided: Sequence[int],
        self_taught: Sequence[int],
        classifier: nn.Linear,
        branch: Sequence[nn.Module | None] | None = None,
        all_guided: bool = False,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.classifier = classifier
        self.unguided_stages = len(stages) - len(guided)
        self.guided_channels = tuple(guided)
        self.self_taught_channels = tuple(self_taught)
        self.all_guided = all_guided
        self.projector: Projector | None = None
        self.transform: FeatureTransform | None = None
        self.branch = None if branch is None else nn.ModuleList([b or nn.Identity() for b in branch])
        # At test time: set the self-taught channels to zero, to measure their contribution.
        self.muted = False

    def project(self, channels: int) -> None:
        """Put a projector to so many channels behind the last stage, and a fresh classifier behind the projector. No
        layer has self-taught channels."""
        self.projector = Projector(self.guided_channels[-1], channels)
        self.classifier = nn.Linear(channels, self.classifier.out_features)
        self.guided_channels = (*self.guided_channels[:-1], channels)

    def expand(self, channels: int) -> None:
        """Put a linear transform that expands the deepest map to so many channels behind the last stage, until
        `fold.folded_state` removes it. It leaves self-taught channels as they are, unless losses see them too."""
        received = self.guided_channels[-1] + (self.self_taught_channels[-1] if self.all_guided else 0)
        self.transform = FeatureTransform(received, channels)

    def features(self, x: Tensor, tap: str = "relu", wanted: Wanted | None = None) -> Features:
        """The features of images (B, C, H, W), with the maps taken at `tap` (see `Config`).

        wanted: the features to compute (None: all). The others are empty tensors, and the network stops after the last
        stage that is needed. The wanted ones have bitwise the same values and gradients as without `wanted`.
        """
        empty = x.new_empty(0)
        guided_stages = len(self.guided_channels)
        needed = guided_stages if wanted is None or wanted.head else max(wanted.maps, default=-1) + 1
        x = self.stem(x)
        maps = [empty] * guided_stages
        beside: Tensor | None = None
        seen = x
        for i, stage in zip(range(-self.unguided_stages, needed), self.stages, strict=False):
            received = x if beside is None else torch.cat([x, beside], 1)
            read = i >= 0 and (wanted is None or i in wanted.maps)
            deepest = i == guided_stages - 1
            projector = self.projector if deepest else None
            expands = deepest and self.transform is not None
            taken, x = stage(x, tap, read and projector is None and not expands)
            if i < 0:
                continue
            if projector is not None:
                taken, x = projector(x, tap)
            guided, extra = self.guided_channels[i], self.self_taught_channels[i]
            if self.branch is None:
                if self.muted and extra:
                    x = torch.cat([x[:, :guided], torch.zeros_like(x[:, guided:])], 1)
                seen = x
            else:
                beside = None
                if extra:
                    beside_taken, beside = self.branch[i](received, tap, read)
                    if self.muted:
                        beside = torch.zeros_like(beside)
                    if self.all_guided:
                        taken = torch.cat([taken, beside_taken], 1)
                seen = x if beside is None else torch.cat([x, beside], 1)
            if read and not expands:
                maps[i] = taken if self.all_guided else first_channels(taken, guided)
        if needed < guided_stages:
            return Features(maps, empty, empty)
        classifier = self.classifier
        if self.transform is not None:
            read = wanted is None or guided_stages - 1 in wanted.maps
            expanded, seen, classifier = self.transform(seen, classifier, read)
            maps[-1] = empty if expanded is None else expanded
        pooled = mean_over_locations(seen)
        embedding = pooled if self.all_guided else pooled[:, : self.guided_channels[-1]]
        cams = class_activation_maps(seen, classifier) if wanted is None or wanted.cams else None
        return Features(maps, embedding, classifier(pooled), cams)

    def forward_features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The guided maps of images (B, C, H, W) after their ReLU, from shallow to deep, and the logits (B, K)."""
        features = self.features(x)
        return features.maps, features.logits

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x, wanted=HEAD).logits


class Convolution(nn.Conv2d):
    """A convolution before a batch norm.

    absorbed: its bias is zero and stays zero (see `fold.absorb_biases`), so training skips the pass that adds it.
    """

    absorbed = False

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, None if self.absorbed and self.training else self.bias)


class Block(nn.Module):
    """Convolutions with BN and ReLU, then 2×2 max-pooling for the next stage.

    It pools `halvings` times while both sides are longer than 4, so that 8×8 images keep locations to correlate. The
    first convolution has the stride.

    fused: norm, ReLU and pooling are one operation in training; see `networks.fuse`.
    """

    fused = False

    def __init__(
        self, channels: int, widths: Sequence[int], halvings: int = 0, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        self.halvings = halvings
        self.channels_first = False  # the memory layout; see `networks.move_to_device`
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            layers += [
                Convolution(channels, width, 3, padding=1, stride=1 if i else stride, bias=bias),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            channels = width
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, tap: str, read: bool) -> tuple[Tensor, Tensor]:
        x = x.contiguous() if self.channels_first else x
        if self.fused and self.training and not (read and tap == "bn"):
            return self._fused(x, read)
        before = self.layers(x)
        if read and tap != "bn":
            taken = F.relu(before, inplace=True)
            return taken, self.pooled(taken)
        # ReLU after max-pooling gives the same values and gradients as before it, on a quarter of the entries.
        out = self.pooled(before)
        return before, F.relu(out, inplace=not read or out is not before)

    def _fused(self, x: Tensor, read: bool) -> tuple[Tensor, Tensor]:
        *convolutions, last = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        *norms, norm = [layer for layer in self.layers if isinstance(layer, nn.BatchNorm2d)]
        for convolution, between in zip(convolutions, norms, strict=True):
            x = norm_relu_pool(convolution(x), between)
        x = last(x)
        if read or not self.halvings or min(x.shape[2:]) <= 4:
            taken = norm_relu_pool(x, norm)
            return taken, self.pooled(taken)
        out = self.pooled(norm_relu_pool(x, norm, 2), self.halvings - 1)
        return out, out

    def pooled(self, x: Tensor, halvings: int | None = None) -> Tensor:
        for _ in range(self.halvings if halvings is None else halvings):
            if min(x.shape[2:]) > 4:
                x = F.max_pool2d(x, 2)
        return x


class Projector(nn.Module):
    """From the deepest map of a student to one with the channels that a teacher's classifier reads (Chen et al., CVPR
    2022): 1×1, 3×3 and 1×1 convolutions, each with BN and ReLU, with half these channels between them."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        inside = max(1, out // 2)
        layers: list[nn.Module] = []
        for width, side in ((inside, 1), (inside, 3), (out, 1)):
            convolution = nn.Conv2d(channels, width, side, padding=side // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, tap: str) -> tuple[Tensor, Tensor]:
        before = self.layers(x)
        out = F.relu(before, inplace=tap != "bn")
        return (before if tap == "bn" else out), out


def assemble(
    stem: nn.Module,
    make_stage: Callable[[int, int, int, int], nn.Module],
    make_branch: Callable[[int, int, int], nn.Module],
    channels: int,
    widths: Sequence[int],
    unguided: int,
    num_classes: int,
    taught: SelfTaught,
) -> Staged:
    """A network from the widths of its stages.

    make_stage(i, channels in, guided, all): stage i with all = C + k channels, the guided ones first.
    make_branch(i, channels in, k): the stage of the branch beside stage i, with k channels.
    """
    guided, extra = taught.channels(widths[unguided:])
    branching = taught.place == "branch" and any(extra)
    stages: list[nn.Module] = []
    branch: list[nn.Module | None] = []
    beside = 0
    for i, width in enumerate(widths):
        first, added = (width, 0) if i < unguided else (guided[i - unguided], extra[i - unguided])
        if branching and i >= unguided:
            branch.append(make_branch(i, channels + beside, added) if added else None)
        inside = first if branching else first + added
        stages.append(make_stage(i, channels, first, inside))
        channels, beside = inside, added if branching else 0
    classifier = nn.Linear(channels + beside, num_classes)
    return Staged(stem, stages, guided, extra, classifier, branch if branching else None, taught.guided == "all")
