"""Networks by name, their published weights, and their multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scl.errors import UserError, unknown
from scl.models import families, timm, torchvision
from scl.models.mode import eval_mode
from scl.models.staged import SelfTaught
from scl.study.config import HUBS, MODEL_NAMES, MODELS, TIMM, TORCHVISION, WORDS


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
    dropout: float | None = None,
    drop_path: float | None = None,
) -> nn.Module:
    """A fresh network by name, initialised from torch's global random stream.

    Args:
        name: one of MODELS, `torchvision:NAME` or `timm:NAME`.
        width: a factor on the channels of every stage; the product is rounded and at least 1.
        self_taught, self_taught_at, self_taught_from, guided: see `Config`.
        image_size, layers: only for torchvision and timm: the side of the images in pixels, and the module paths of
            the guided layers (empty: one is found for each stage).
        dropout, drop_path: only for torchvision and timm; see `Config`.

    Raises:
        UserError: the name or an option does not exist, or a number of self-taught neurons does not fit.
    """
    words = {"self_taught_at": self_taught_at, "self_taught_from": self_taught_from, "guided": guided}
    for field, value in words.items():
        if value not in WORDS[field]:
            raise UserError(unknown(field, value, WORDS[field]))
    if isinstance(width, bool) or not width > 0:
        raise UserError(f"width must be above 0, got {width!r}")
    counts = [self_taught] if isinstance(self_taught, int) else list(self_taught)
    if any(isinstance(k, bool) or not isinstance(k, int) or k < 0 for k in counts):
        raise UserError(f"self_taught must be whole numbers of 0 or more, got {self_taught!r}")
    if name.startswith(HUBS) and (width != 1 or any(counts)):
        raise UserError(f"{name}: models of torchvision and timm have no width factor and no self-taught neurons")
    if name.startswith(TORCHVISION):
        return torchvision.build(name, num_classes, in_channels, image_size, layers, dropout, drop_path)
    if name.startswith(TIMM):
        return timm.build(name, num_classes, in_channels, image_size, layers, dropout, drop_path)
    if name not in MODELS:
        raise UserError(unknown("model", name, MODEL_NAMES))
    if dropout is not None or drop_path is not None:
        raise UserError(f"dropout and drop_path are for models of torchvision and timm; {name} has none")
    if layers:
        raise UserError(f"teacher layers can be named for models of torchvision and timm; those of {name} are fixed")
    taught = SelfTaught(self_taught, self_taught_at, self_taught_from, guided)
    return families.build(name, num_classes, in_channels, width, taught)


def pretrained(name: str, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """Published weights of `torchvision:NAME` or `timm:NAME` as a state dict of `model`.

    Returns:
        The state dict, and True if it includes the last layer; for other classes that layer stays fresh.

    Raises:
        UserError: there are no weights, or the download fails.
    """
    library = torchvision if name.startswith(TORCHVISION) else timm
    return library.pretrained(name, model)


def macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates for one image (C, H, W), equal to half the FLOPs that torch counts.

    A network of convolutions and linear layers is counted from shapes, because the first use of torch's counter takes
    4 s.
    """
    leaves = [m for m in model.modules() if not list(m.children())]
    known = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    image = torch.zeros(1, *image_shape, device=next(model.parameters()).device)
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        weight = module.weight
        assert isinstance(weight, Tensor)
        # Each output element is the product of one row of the weight with its input.
        counted += output.numel() * weight[0].numel()

    if all(isinstance(m, known) or not list(m.parameters()) for m in leaves) and _hold_all_parameters(model, leaves):
        hooks = [m.register_forward_hook(count) for m in leaves if isinstance(m, (nn.Conv2d, nn.Linear))]
        with torch.no_grad(), eval_mode(model):
            model(image)
        for hook in hooks:
            hook.remove()
    else:
        from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad(), eval_mode(model):
            model(image)
        counted = int(counter.get_total_flops() // 2)
    return counted


def _hold_all_parameters(model: nn.Module, leaves: list[nn.Module]) -> bool:
    """True if every parameter belongs to a leaf module, so that nothing is multiplied outside of layers."""
    held = {id(p) for m in leaves for p in m.parameters()}
    return all(id(p) in held for p in model.parameters())
