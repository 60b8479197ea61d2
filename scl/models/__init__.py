"""Students and teachers by name, their guided layers and their self-taught neurons.

Every model answers `model(x)` with logits, `model.forward_features(x)` with the guided feature maps, shallow to
deep, and the logits, and `model.features(x, tap, wanted)` with what a loss may compare. Self-taught channels are
cut off the maps: transfer losses cannot see them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scl.config import (
    GUIDED,
    MODEL_NAMES,
    MODELS,
    SELF_TAUGHT_PLACES,
    SELF_TAUGHT_SOURCES,
    TIMM,
    TORCHVISION,
    UserError,
    unknown,
)
from scl.models import families, timm, torchvision
from scl.models.staged import Features, SelfTaught, Staged, Wanted

__all__ = ["Features", "SelfTaught", "Staged", "Wanted", "build_model", "macs", "pretrained"]


def build_model(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    self_taught: int | Sequence[int] = 0,
    self_taught_at: str = "layers",
    self_taught_from: str = "added",
    guided: str = "first",
    image_size: int = 32,
    layers: Sequence[str] = (),
) -> nn.Module:
    """A fresh model by name, initialised from torch's global random stream.

    Args:
        name: one of MODELS, `torchvision:NAME` or `timm:NAME`.
        width: factor on every stage's channels, rounded, at least 1.
        self_taught, self_taught_at, self_taught_from, guided: see `Config`.
        image_size, layers: of other libraries' models alone: the side of the images, and module paths of the guided
            layers; none finds them by stage.

    Raises:
        UserError: a name that does not exist, a count of self-taught neurons that does not fit.
    """
    for kind, value, valid in (
        ("self_taught_at", self_taught_at, SELF_TAUGHT_PLACES),
        ("self_taught_from", self_taught_from, SELF_TAUGHT_SOURCES),
        ("guided", guided, GUIDED),
    ):
        if value not in valid:
            raise UserError(unknown(kind, value, valid))
    if isinstance(width, bool) or not width > 0:
        raise UserError(f"width must be above 0, got {width!r}")
    counts = [self_taught] if isinstance(self_taught, int) else list(self_taught)
    if any(isinstance(k, bool) or not isinstance(k, int) or k < 0 for k in counts):
        raise UserError(f"self_taught must be whole numbers of 0 or more, got {self_taught!r}")
    if name.startswith(TORCHVISION) and (width != 1 or any(counts)):
        raise UserError(f"{name}: a model of torchvision has no width factor and no self-taught neurons")
    if name.startswith(TORCHVISION):
        return torchvision.build(name, num_classes, in_channels, image_size, layers)
    if name.startswith(TIMM):
        return timm.build(name, num_classes, in_channels, image_size, layers)
    if name not in MODELS:
        raise UserError(unknown("model", name, MODEL_NAMES))
    if layers:
        raise UserError(
            f"teacher layers are named for models of torchvision and timm; {name} has guided layers of its own"
        )
    taught = SelfTaught(self_taught, self_taught_at, self_taught_from, guided)
    return families.build(name, num_classes, in_channels, width, taught)


def pretrained(name: str, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """Published weights of `torchvision:NAME` or `timm:NAME` for this model, and whether its head has them too."""
    library = torchvision if name.startswith(TORCHVISION) else timm
    return library.pretrained(name, model)


def macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image (C, H, W), as torch's own counter has them.

    Where all is convolutions and linear layers they are counted by their shapes: the counter's first use costs 4 s.
    """
    training = model.training
    leaves = [m for m in model.modules() if not list(m.children())]
    known = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    image = torch.zeros(1, *image_shape, device=next(model.parameters()).device)
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        weight = module.weight
        assert isinstance(weight, Tensor)
        # Each output element is a product of its input with one row of the weight.
        counted += output.numel() * weight[0].numel()

    if all(isinstance(m, known) or not list(m.parameters()) for m in leaves) and _owns_all(model, leaves):
        hooks = [m.register_forward_hook(count) for m in leaves if isinstance(m, (nn.Conv2d, nn.Linear))]
        with torch.no_grad():
            model.eval()(image)
        for hook in hooks:
            hook.remove()
    else:
        from torch.utils.flop_counter import FlopCounterMode

        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model.eval()(image)
        counted = int(counter.get_total_flops() // 2)
    model.train(training)
    return counted


def _owns_all(model: nn.Module, leaves: list[nn.Module]) -> bool:
    """Whether every parameter is one of a leaf: nothing is multiplied outside of layers."""
    mine = {id(p) for m in leaves for p in m.parameters()}
    return all(id(p) in mine for p in model.parameters())
