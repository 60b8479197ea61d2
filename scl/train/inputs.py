"""What a network from elsewhere takes and gives, if it is not what the data give: normalisation, size, classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.staged import Features, Wanted

INTERPOLATIONS = ("bilinear", "bicubic", "nearest-exact")
MOST_NAMED = 12  # classes in a message


@dataclass(frozen=True)
class Inputs:
    """How a network's images and classes differ from those of the data; a field that is empty or None does not.

    mean, std: of pixels in [0, 1], one number for each channel of the network. size: the side of its images in pixels.
    interpolation: how images of another size are resized, of INTERPOLATIONS; bilinear and bicubic with antialiasing.
    channels: 3 for a colour network on grey data, whose channel is repeated. columns: the network's logit of each class
    of the data. outputs: how many logits it has.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int | None = None
    interpolation: str = "bilinear"
    channels: int | None = None
    columns: tuple[int, ...] = ()
    outputs: int | None = None

    def image_shape(self, data: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape (C, H, W) of the network's images, from that of the data's."""
        channels, height, width = data
        return self.channels or channels, self.size or height, self.size or width

    def plain(self) -> dict[str, Any]:
        """The fields that differ from the data's: part of the teacher's id, and of study.json."""
        found: dict[str, Any] = {
            "mean": list(self.mean),
            "std": list(self.std),
            "size": self.size,
            "channels": self.channels,
        }
        found |= {"columns": list(self.columns), "outputs": self.outputs}
        found |= {"interpolation": self.interpolation if self.size else None}
        return {name: value for name, value in found.items() if value}


class Adapted(nn.Module):
    """A network that takes batches of the data and is fed with its own.

    A batch is un-normalised to pixels in [0, 1], a grey one repeated to three channels, the whole image resized to the
    network's size, without a crop, and normalised by the network's mean and standard deviation. Of the logits, those of
    the data's classes are given, in the data's order.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    std: Tensor
    columns: Tensor

    def __init__(self, network: nn.Module, inputs: Inputs, data: SplitData) -> None:
        super().__init__()
        self.network, self.inputs = network, inputs
        own = (inputs.mean, inputs.std) if inputs.mean else (data.mean.tolist(), data.std.tolist())
        for name, numbers in (("shift", data.mean), ("scale", data.std), ("mean", own[0]), ("std", own[1])):
            values = torch.as_tensor(numbers, dtype=torch.float32).detach().cpu().view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("columns", torch.tensor(inputs.columns, dtype=torch.int64), persistent=False)

    def prepared(self, images: Tensor) -> Tensor:
        """The network's images (B, C', H', W') of a normalised batch (B, C, H, W)."""
        pixels = images.float() * self.scale + self.shift
        if self.inputs.channels:
            pixels = pixels.expand(-1, self.inputs.channels, -1, -1)
        size = self.inputs.size
        if size and tuple(pixels.shape[2:]) != (size, size):
            how = self.inputs.interpolation
            pixels = F.interpolate(pixels, (size, size), mode=how, antialias=how in ("bilinear", "bicubic"))
            pixels = pixels.clamp(0, 1) if how == "bicubic" else pixels  # it overshoots, and an image file cannot
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def features(self, images: Tensor, tap: str = "relu", wanted: Wanted | None = None) -> Features:
        found: Features = self.network.features(self.prepared(images), tap, wanted)  # type: ignore[operator]
        if not len(self.columns) or (wanted is not None and not wanted.head):
            return found
        cams = None if found.cams is None else found.cams.index_select(1, self.columns)
        return found._replace(logits=found.logits.index_select(1, self.columns), cams=cams)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.prepared(images))
        return logits.index_select(1, self.columns) if len(self.columns) else logits


def own_network(model: nn.Module) -> nn.Module:
    """The network itself, which has the weights, without what feeds it."""
    return model.network if isinstance(model, Adapted) else model


def class_columns(data: Sequence[str], network: Sequence[str], where: str) -> tuple[int, ...] | None:
    """The network's logit of each class of the data, by name; None if the names of one side are numbers that say
    nothing of the other's, so that the order is taken as given.

    Names match if they are equal, else if exactly one is equal without regard to case, spaces, `_` and `-`, else if
    exactly one has it among synonyms that commas separate, as `tench, Tinca tinca`. A network may have more classes.

    Args:
        where: what said the network's classes, for messages.

    Raises:
        UserError: some classes of the data are none of the network's, or several names of it fit one.
    """
    tables = [_positions(network, names) for names in (lambda n: (n,), lambda n: (_plainly(n),), _synonyms)]
    keys: list[Callable[[str], str]] = [str, _plainly, _plainly]
    rules = list(zip(tables, keys, strict=True))
    chosen = [next((hits for table, key in rules if (hits := table.get(key(name)))), []) for name in data]
    if several := [name for name, hits in zip(data, chosen, strict=True) if len(hits) > 1]:
        raise UserError(f"{where}: several classes could be {several[0]!r} of the data; give --teacher-classes")
    missing = [name for name, hits in zip(data, chosen, strict=True) if not hits]
    if len(missing) == len(data) and (_numbered(data) or _numbered(network)) and len(data) == len(network):
        return None
    columns = tuple(hits[0] for hits in chosen if hits)
    if missing or len(set(columns)) < len(columns):
        left = [name for i, name in enumerate(network) if i not in columns]
        twice = sorted({data[i] for i, c in enumerate(columns) if columns.count(c) > 1}) if not missing else []
        problem = f"{_named(twice)} are one class of the teacher" if twice else f"no class is {_named(missing)}"
        raise UserError(
            f"{where}: of the data's {len(data)} classes, {problem}"
            + (f"; its classes that match none: {_named(left)}" if left else "")
            + "; name them in the teacher's order with --teacher-classes FILE or A,B,C, or, for a teacher of other "
            "classes, fine-tune it with --teacher-finetune or use its feature maps alone with --teacher-features"
        )
    return columns


def _positions(network: Sequence[str], names: Callable[[str], Sequence[str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for i, name in enumerate(network):
        for key in dict.fromkeys(names(name)):
            found.setdefault(key, []).append(i)
    return found


def _plainly(name: str) -> str:
    text = re.sub(r"[\s_\-]+", " ", name.casefold()).strip()
    return str(int(text)) if text.isdecimal() else text


def _synonyms(name: str) -> list[str]:
    return [_plainly(part) for part in name.split(",")]


def _numbered(names: Sequence[str]) -> bool:
    return all(_plainly(name).isdecimal() for name in names)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(repr, names[:MOST_NAMED])) + more
