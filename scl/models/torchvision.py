"""Any classification model of torchvision, with guided layers found by stage or named by module path.

The wrapper serves models of timm too (`scl.models.timm`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from scl.config import TORCHVISION, UserError, unknown
from scl.errors import first_line
from scl.layout import over_locations
from scl.models.staged import Features, Wanted

MOST_GUIDED = 4  # guided layers that are found; more can be named


class Guided(nn.Module):
    """A network of another library whose guided maps are what the modules at `layers` put out.

    One-channel images are repeated to three. Tokens (B, T, D) are laid out as the square map that they came
    from, without the class token; Swin's (B, H, W, C) maps are turned to (B, C, H, W). The embedding is the input
    of the last linear layer. `tap` does not apply: a layer's path says where its map is taken.
    """

    def __init__(self, net: nn.Module, channels_last: bool) -> None:
        super().__init__()
        self.net = net
        self.channels_last = channels_last
        self.layers: tuple[str, ...] = ()
        self._outputs: dict[str, Tensor] = {}
        self._embedding: Tensor | None = None
        for module in net.modules():
            if hasattr(module, "inplace"):
                # An in-place ReLU would change the map that was kept before it.
                module.inplace = False  # type: ignore[assignment]
        last = [m for m in net.modules() if isinstance(m, nn.Linear)]
        if last:
            last[-1].register_forward_pre_hook(self._keep_embedding)

    def _keep_embedding(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._embedding = inputs[0]

    def guide_at(self, layers: Sequence[str]) -> None:
        """Take the guided maps at these module paths. Raises UserError for a path that is not there."""
        paths = [path for path, _ in self.net.named_modules() if path]
        wrong = [path for path in layers if path not in paths]
        if wrong:
            top = [path for path in paths if path.count(".") < 2]
            raise UserError(f"teacher layer: {unknown('module path', wrong[0], top)}")
        self.layers = tuple(layers)
        for path in self.layers:
            self.net.get_submodule(path).register_forward_hook(partial(self._keep_output, path))

    def _keep_output(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        found = self.as_map(module, output)
        if found is None:
            raise UserError(f"teacher layer {path!r} puts out no feature map, tokens or tensor of four dimensions")
        self._outputs[path] = found.clone()  # a residual network adds to its last map in place

    def as_map(self, module: nn.Module, output: Any) -> Tensor | None:
        """A module's output as a map; a convolution's channels come first in any network."""
        return as_map(output, self.channels_last and not isinstance(module, nn.Conv2d))

    def features(self, x: Tensor, tap: str = "relu", wanted: Wanted | None = None) -> Features:
        """All features, whatever is wanted: where another library's network may end is not known."""
        self._outputs = {}
        logits = self.net(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x)
        outputs, self._outputs = self._outputs, {}
        embedding, self._embedding = self._embedding, None
        silent = [path for path in self.layers if path not in outputs]
        if silent:
            raise UserError(f"teacher layer {silent[0]!r}: no forward pass runs this module; name the one around it")
        maps = [outputs[path] for path in self.layers]
        return Features(maps, over_locations(maps[-1]) if embedding is None else embedding.flatten(1), logits)

    def forward_features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.features(x)
        return features.maps, features.logits

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).logits


def as_map(output: Any, channels_last: bool) -> Tensor | None:
    """A module's output as a map (B, C, H, W), or None where it is none."""
    if not isinstance(output, Tensor):
        return None
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3:
        side = isqrt(output.shape[1])  # of T = side², or side² + 1 with a class token before them
        if side > 1 and output.shape[1] - side * side in (0, 1):
            return output[:, -side * side :].mT.unflatten(2, (side, side))  # type: ignore[no-untyped-call]
    return None


def build(name: str, num_classes: int, in_channels: int, image_size: int, layers: Sequence[str]) -> Guided:
    """A fresh network by its torchvision name, with or without `torchvision:` before it.

    Raises:
        UserError: no such model, one that takes no images of this size, no such layer.
    """
    from torchvision import models

    name = name.removeprefix(TORCHVISION)
    names = models.list_models(module=models)
    if name not in names:
        raise UserError(unknown("torchvision model", name, names))
    options: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit"):
        options["image_size"] = image_size
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}

    def make() -> Guided:
        net = models.get_model(name, weights=None, **options)
        return Guided(net, channels_last=isinstance(net, models.SwinTransformer))

    return with_guided_layers(f"{TORCHVISION}{name}", make, in_channels, image_size, layers)


def with_guided_layers(
    name: str, make: Callable[[], Guided], in_channels: int, image_size: int, layers: Sequence[str]
) -> Guided:
    """What `make` builds, with its guided layers: `layers`, or those found by stage.

    Raises:
        UserError: it takes no such images, no layer is found, or a named one is not there.
    """
    if in_channels not in (1, 3):
        raise UserError(f"{name} takes images of 1 or 3 channels, these have {in_channels}")
    try:
        model = make()
        found = _layers_by_stage(model, torch.zeros(2, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"{name} takes no images of {image_size}×{image_size} pixels ({first_line(error)}); "
            "choose another teacher, or larger images"
        ) from None
    if not layers and not found:
        raise UserError(f"{name}: no guided layer of more than one location was found; name teacher layers")
    model.guide_at(layers or found)
    training = model.training
    with torch.no_grad():  # in evaluation mode, for batch norm must not count blank images
        model.eval().features(torch.zeros(2, 3, image_size, image_size))  # refuses a layer that no forward reaches
    return model.train(training)


def _layers_by_stage(model: Guided, images: Tensor) -> list[str]:
    """Of each resolution of more than one location the last module of the trunk that puts out a map, pooling left
    out; the deepest four. The trunk: modules no more than two names deep, such as `layer1` and `features.3`."""
    last: dict[tuple[int, int], str] = {}
    pooled: list[Tensor] = []  # kept alive, so that no other tensor gets their memory

    def look(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        found = model.as_map(module, output)
        if found is None or min(found.shape[2:]) < 2:
            return
        if "Pool" in type(module).__name__:
            pooled.append(output)
        elif all(
            output.data_ptr() != p.data_ptr() for p in pooled
        ):  # a container that ends in pooling puts out the pooled map
            last[(found.shape[2], found.shape[3])] = path

    trunk = {path: m for path, m in model.net.named_modules() if path and path.count(".") < 2}
    hooks = [module.register_forward_hook(partial(look, path)) for path, module in trunk.items()]
    training = model.training
    with torch.no_grad():
        model.eval().net(images)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return sorted(last.values(), key=list(trunk).index)[-MOST_GUIDED:]


def pretrained(name: str, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """torchvision's default weights for this model, and whether all fit: a head for other classes stays fresh.

    Downloaded on first use to torch's hub folder, checked against the hash in the file's name.

    Raises:
        UserError: the weights cannot be downloaded, or there are none.
    """
    from torchvision import models

    name = name.removeprefix(TORCHVISION)
    try:
        weights = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no weights, no network, a wrong hash: all end here, with the reason
        raise UserError(
            f"weights of {TORCHVISION}{name} cannot be had ({type(error).__name__}: {error}); "
            f"give a file: --teacher-model {TORCHVISION}{name} --teacher PATH"
        ) from None
    wanted = model.state_dict()
    named = {f"net.{key}": value for key, value in weights.items()}
    fitting = {k: named[k] for k, old in wanted.items() if k in named and named[k].shape == old.shape}
    return {**wanted, **fitting}, len(fitting) == len(wanted)
