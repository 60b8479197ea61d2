"""What modules of any network return, as feature maps (B, C, H, W) and logits (B, K).

Three layouts are maps: (B, C, H, W); (B, H, W, C), as in Swin; and tokens (B, T, D), as in vision transformers, whose
first tokens may stand for a class or be registers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor, nn

MOST_PREFIX = 8  # class and register tokens in front of those of the image
STATE = "last_hidden_state"  # the map in an output of Hugging Face's transformers
CHANNELS_FIRST = (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d)


@dataclass(frozen=True)
class Grid:
    """What tells the places of a network's maps from their channels.

    image_size: (H, W) of its images. prefix: tokens in front of those of the image, if the network says. channels_last:
    maps are (B, H, W, C), where their shape does not tell. seen: (H, W) of its four-dimensional maps, such as that of
    patches.
    """

    image_size: tuple[int, int]
    prefix: int | None = None
    channels_last: bool = False
    seen: tuple[tuple[int, int], ...] = ()

    def of_tokens(self, count: int) -> tuple[int, int] | None:
        """The rows and columns of the places behind so many tokens; None if they are no grid of the image's shape."""
        if self.prefix is not None:
            return self._exactly(count - self.prefix) or self._exactly(count) or self._exactly(count - 1)
        over = [(count - h * w, (h, w)) for h, w in self.seen if h * w > 1 and 0 <= count - h * w <= MOST_PREFIX]
        return min(over)[1] if over else self._of_the_image(count) or self._of_the_image(count - 1)

    def _exactly(self, places: int) -> tuple[int, int] | None:
        return next((grid for grid in self.seen if grid[0] * grid[1] == places > 1), None) or self._of_the_image(places)

    def _of_the_image(self, places: int) -> tuple[int, int] | None:
        """The grid of so many places with the proportions of the image."""
        height, width = self.image_size
        rows = isqrt(places * height // width) if places > 1 else 0
        if rows and places % rows == 0 and rows * width == places // rows * height:
            return rows, places // rows
        return None

    def has_proportions(self, size: tuple[int, ...]) -> bool:
        """True if a map of this size may be one of the image's places: rounded strides change its proportions a bit."""
        (height, width), (rows, columns) = self.image_size, size
        slack = 0 if height == width else max(height, width)
        return abs(rows * width - columns * height) <= slack


def tensor_in(output: Any) -> Tensor | None:
    """The tensor that a module passes on: its output, the first of several, or the last hidden state."""
    if isinstance(output, (tuple, list)):
        output = output[0] if output else None
    elif not isinstance(output, Tensor):
        output = output.get(STATE) if isinstance(output, Mapping) else getattr(output, STATE, None)
    return output if isinstance(output, Tensor) else None


def logits_of(output: Any) -> Tensor | None:
    """The logits that a network returns: a tensor, the only one in a tuple, or `logits` in an object or a mapping."""
    if isinstance(output, Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None and isinstance(output, (tuple, list)) and len(output) == 1:
        found = output[0]
    return found if isinstance(found, Tensor) else None


def map_of(module: nn.Module, output: Any, grid: Grid, batch: int) -> Tensor | None:
    """A module's output as a map (B, C, H, W), or None if it is no map of a batch of so many images."""
    x = tensor_in(output)
    if x is None or not x.is_floating_point() or x.ndim not in (3, 4) or len(x) != batch:
        return None
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2) if _channels_last(module, x, grid) else x
    if (places := grid.of_tokens(x.shape[1])) is None:
        return None
    return x[:, -places[0] * places[1] :].mT.unflatten(2, places)  # type: ignore[no-untyped-call]


def without_last_channels(module: nn.Module, output: Any, count: int, grid: Grid) -> Any:
    """A module's output with its last channels at zero, in every place and token."""
    x = tensor_in(output)
    assert x is not None
    first = x.ndim == 4 and not _channels_last(module, x, grid)
    x = x.clone()
    x.narrow(1 if first else -1, -count, count).zero_()
    if isinstance(output, Tensor):
        return x
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(x, *output[1:])
    if isinstance(output, (tuple, list)):
        return type(output)([x, *output[1:]])
    changed = copy.copy(output)
    if isinstance(changed, Mapping):
        changed[STATE] = x  # type: ignore[index]
    else:
        setattr(changed, STATE, x)
    return changed


def _channels_last(module: nn.Module, x: Tensor, grid: Grid) -> bool:
    """True if a tensor of four dimensions is (B, H, W, C)."""
    if isinstance(module, CHANNELS_FIRST):
        return False
    first, last = grid.has_proportions(x.shape[2:]), grid.has_proportions(x.shape[1:3])
    if first != last:
        return last
    return grid.channels_last or (first and type(module) in (nn.LayerNorm, nn.Linear))
