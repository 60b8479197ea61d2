"""Networks by name, their published weights, and their multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor, nn

from scl.errors import UserError, unknown
from scl.models import families, own, timm, torchvision
from scl.models.mode import eval_mode
from scl.models.staged import SelfTaught
from scl.models.tapped import runs_own_code
from scl.study.fields import (
    MODEL_NAMES,
    MODELS,
    TORCHVISION,
    UNTAUGHT,
    WORDS,
    neurons_problem,
    of_library,
    projector_problem,
)
from scl.study.network import Model, is_own, model_name


def build_model(
    name: Model,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    self_taught: int | Sequence[int] = 0,
    self_taught_at: str = "layers",
    self_taught_from: str = "added",
    guided: str = "first",
    image_size: int | tuple[int, int] = 32,
    layers: Sequence[str] = (),
    dropout: float | None = None,
    drop_path: float | None = None,
    projector: int = 0,
) -> nn.Module:
    """A fresh network, initialised from torch's global random stream (an own one also from Python's and numpy's).

    Args:
        name: as `Config.model`.
        num_classes: number of classes K.
        in_channels: channels of the images.
        width: a factor on the channels of every stage; the product is rounded and at least 1.
        self_taught, self_taught_at, self_taught_from, guided: as in `Config`.
        image_size: side of the images in pixels, or (height, width); scl's own networks take any size.
        layers: as in `Config`; not for scl's own networks.
        dropout, drop_path: as in `Config`; only for torchvision and timm.
        projector: as in `Config`; only for scl's own networks.

    Returns:
        `model(x)` gives logits (B, K); `model.forward_features(x)` gives the list of guided feature maps, shallow to
        deep, and the logits.

    Raises:
        UserError: the name or an option does not exist, or a number of self-taught neurons does not fit.

    Example:
        import torch
        from scl.models import build_model

        model = build_model("plain5", num_classes=10, width=0.5, self_taught=4)
        maps, logits = model.forward_features(torch.randn(2, 3, 32, 32))
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
    taught = SelfTaught(self_taught, self_taught_at, self_taught_from, guided)
    if not of_library(name) and (dropout is not None or drop_path is not None):
        raise UserError(f"dropout and drop_path are for models of torchvision and timm; {model_name(name)} has none")
    if is_own(name) or of_library(name):
        if projector:
            raise UserError(projector_problem(model_name(name)))
        if width != 1:
            raise UserError(f"{model_name(name)} has no width factor; width must be 1, got {width:g}")
        if any(counts) and (problem := neurons_problem(model_name(name), self_taught_at, self_taught_from)):
            raise UserError(problem)
        side = (image_size, image_size) if isinstance(image_size, int) else image_size
        shape = (in_channels, *side)
        if isinstance(name, str):
            model = _library(name).build(name, num_classes, shape, layers, dropout, drop_path)
        else:
            model = own.build(name, num_classes, shape, layers)
        if any(counts):
            model.teach(taught)
        return model
    if name not in MODELS:
        raise UserError(unknown("model", name, MODEL_NAMES))
    if layers:
        raise UserError(
            f"guided layers can be named for models of torchvision and timm and for own networks; those of {name} are "
            "fixed"
        )
    if projector and any(counts):
        raise UserError(UNTAUGHT)
    model = families.build(name, num_classes, in_channels, width, taught)
    if projector:
        model.project(projector)
    return model


def _library(name: str) -> ModuleType:
    return torchvision if name.startswith(TORCHVISION) else timm


def pretrained(name: str, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """Published weights of `torchvision:NAME` or `timm:NAME` for `model`.

    Returns:
        Tensors by their names in the state dict of `model`, and True if they are all of it; a last layer for other
        classes is not among them.

    Raises:
        UserError: there are no weights, or the download fails.
    """
    return _library(name).pretrained(name, model)


def published_normalisation(name: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1], with which the published weights of
    `torchvision:NAME` or `timm:NAME` were trained.

    Raises:
        UserError: the library does not say.
    """
    found: tuple[list[float], list[float]] | None = _library(name).normalisation(name)
    if found is None or not len(found[0]) == len(found[1]) == 3:
        raise UserError(
            f"{name}: the library does not say with which normalisation its weights were trained; give "
            "normalisation='data'"
        )
    return found


def macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates for one image (C, H, W), equal to half the FLOPs that torch counts, attention included.

    A network of convolutions and linear layers is counted from shapes, because the first use of torch's counter takes
    4 s. An own network may multiply outside of its layers, so torch counts it.
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

    layers_alone = all(isinstance(m, known) or not list(m.parameters()) for m in leaves)
    if not runs_own_code(model) and layers_alone and _hold_all_parameters(model, leaves):
        hooks = [m.register_forward_hook(count) for m in leaves if isinstance(m, (nn.Conv2d, nn.Linear))]
        with torch.no_grad(), eval_mode(model):
            model(image)
        for hook in hooks:
            hook.remove()
    else:
        from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

        counter = FlopCounterMode(display=False)
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # torch does not count fused attention
        try:
            with counter, torch.no_grad(), eval_mode(model):
                model(image)
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        counted = int(counter.get_total_flops() // 2)
    return counted


def _hold_all_parameters(model: nn.Module, leaves: list[nn.Module]) -> bool:
    """True if every parameter belongs to a leaf module, so that nothing is multiplied outside of layers."""
    held = {id(p) for m in leaves for p in m.parameters()}
    return all(id(p) in held for p in model.parameters())
