"""Classification models of torchvision, with guided layers found by stage or named by module path.

`TappedModel` wraps models of timm as well (`scl.models.timm`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from scl.errors import UserError, first_line, unknown
from scl.models.layout import mean_over_locations
from scl.models.mode import eval_mode
from scl.models.staged import Features, Wanted
from scl.study.config import TORCHVISION

MOST_GUIDED = 4  # the number of guided layers that are found by stage; more can be named


class TappedModel(nn.Module):
    """A network of another library; its guided maps are the outputs of the modules at `layers`.

    One-channel images are repeated to three channels. Tokens (B, T, D) without the class token become the square map
    that they came from; maps (B, H, W, C), as in Swin, become (B, C, H, W). The embedding is the input of the last
    linear layer. `tap` has no effect: the path of a layer says where its map is taken.
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
                # An in-place ReLU would change the map that was stored before it.
                module.inplace = False  # type: ignore[assignment]
        last = [m for m in net.modules() if isinstance(m, nn.Linear)]
        if last:
            last[-1].register_forward_pre_hook(self._store_embedding)

    def _store_embedding(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._embedding = inputs[0]

    def tap_at(self, layers: Sequence[str]) -> None:
        """Take the guided maps at these module paths.

        Raises:
            UserError: a path does not exist.
        """
        paths = [path for path, _ in self.net.named_modules() if path]
        wrong = [path for path in layers if path not in paths]
        if wrong:
            top = [path for path in paths if path.count(".") < 2]
            raise UserError(f"teacher layer: {unknown('module path', wrong[0], top)}")
        self.layers = tuple(layers)
        for path in self.layers:
            self.net.get_submodule(path).register_forward_hook(partial(self._store_output, path))

    def _store_output(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        found = self.as_map(module, output)
        if found is None:
            raise UserError(f"teacher layer {path!r} has no feature map, tokens or four-dimensional tensor as output")
        self._outputs[path] = found.clone()  # a residual network adds to its last map in place

    def as_map(self, module: nn.Module, output: Any) -> Tensor | None:
        """A module's output as a map; the channels of a convolution come first in every network."""
        return as_map(output, self.channels_last and not isinstance(module, nn.Conv2d))

    def features(self, x: Tensor, tap: str = "relu", wanted: Wanted | None = None) -> Features:
        """All features of images (B, C, H, W); the network always runs to its end, whatever is wanted.

        Raises:
            UserError: the forward pass does not run a guided layer.
        """
        self._outputs = {}
        logits = self.net(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x)
        outputs, self._outputs = self._outputs, {}
        embedding, self._embedding = self._embedding, None
        missing = [path for path in self.layers if path not in outputs]
        if missing:
            raise UserError(f"teacher layer {missing[0]!r}: no forward pass runs this module; name its parent")
        maps = [outputs[path] for path in self.layers]
        return Features(maps, mean_over_locations(maps[-1]) if embedding is None else embedding.flatten(1), logits)

    def forward_features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.features(x)
        return features.maps, features.logits

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).logits


def as_map(output: Any, channels_last: bool) -> Tensor | None:
    """A module's output as a map (B, C, H, W), or None if it is not a map."""
    if not isinstance(output, Tensor):
        return None
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if channels_last else output
    if output.ndim == 3:
        side = isqrt(output.shape[1])  # T = side², or side² + 1 with a class token in front
        if side > 1 and output.shape[1] - side * side in (0, 1):
            return output[:, -side * side :].mT.unflatten(2, (side, side))  # type: ignore[no-untyped-call]
    return None


# What torchvision's models call their dropout, the usual name first.
DROPOUT, DROP_PATH = ("dropout", "drop_rate"), ("stochastic_depth_prob",)


def build(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    layers: Sequence[str],
    dropout: float | None = None,
    drop_path: float | None = None,
) -> TappedModel:
    """A fresh network by its torchvision name, with or without the prefix `torchvision:`.

    Raises:
        UserError: there is no such model or layer, it has no dropout or stochastic depth to set, or it cannot process
            images of this size.
    """
    from torchvision import models  # noqa: PLC0415

    name = name.removeprefix(TORCHVISION)
    names = models.list_models(module=models)
    if name not in names:
        raise UserError(unknown("torchvision model", name, names))
    options: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit"):
        options["image_size"] = image_size
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}

    def make() -> TappedModel:
        net = with_dropout(
            f"{TORCHVISION}{name}",
            lambda more: models.get_model(name, weights=None, **options, **more),
            image_size,
            {"dropout": (dropout, DROPOUT), "drop_path": (drop_path, DROP_PATH)},
        )
        return TappedModel(net, channels_last=isinstance(net, models.SwinTransformer))

    return tapped(f"{TORCHVISION}{name}", make, in_channels, image_size, layers)


def with_dropout(
    name: str,
    make: Callable[[dict[str, float]], Any],
    image_size: int,
    asked: Mapping[str, tuple[float | None, Sequence[str]]],
) -> Any:
    """A network with the dropout and stochastic depth that are asked for.

    Args:
        make: builds it, with options of the library's function. asked: field of `Config` → its value, and what the
            library may call it.

    Raises:
        UserError: the model does not know such an option, or ignores it.
    """
    options: dict[str, float] = {}
    for field, (value, names) in asked.items():
        if value is None:
            continue
        found = [option for option in names if _has_effect(make, option, image_size)]
        if not found:
            raise UserError(f"{name} has no {field} that can be set ({' or '.join(names)}); leave it out")
        options[found[0]] = value
    return make(options)


def _has_effect(make: Callable[[dict[str, float]], Any], option: str, image_size: int) -> bool:
    """True if the network draws random numbers for this rate in training: some models take any option and ignore it."""
    states = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for rate in (0.0, 0.9):
            torch.default_generator.manual_seed(0)
            try:
                net = make({option: rate}).train()
            except TypeError as error:
                if option in str(error):
                    return False
                raise
            net(torch.zeros(2, 3, image_size, image_size))
            states.append(torch.get_rng_state())
    return not torch.equal(*states)


def tapped(
    name: str, make: Callable[[], TappedModel], in_channels: int, image_size: int, layers: Sequence[str]
) -> TappedModel:
    """The model from `make` with its guided layers: `layers`, or one found for each stage.

    Raises:
        UserError: the model cannot process such images, no layer is found, or a named layer does not exist.
    """
    if in_channels not in (1, 3):
        raise UserError(f"{name} takes images of 1 or 3 channels, got {in_channels}")
    try:
        model = make()
        found = _layers_by_stage(model, torch.zeros(2, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"{name} cannot process images of {image_size}×{image_size} pixels ({first_line(error)}); "
            "choose another teacher, or larger images"
        ) from None
    if not layers and not found:
        raise UserError(f"{name}: no layer with more than one location was found; name the teacher layers")
    model.tap_at(layers or found)
    with torch.no_grad(), eval_mode(model):  # batch norm must not count blank images
        model.features(torch.zeros(2, 3, image_size, image_size))  # raises for a layer that does not run
    return model


def _layers_by_stage(model: TappedModel, images: Tensor) -> list[str]:
    """For each resolution above 1×1, the last module of the trunk that outputs a map, pooling excluded; the deepest
    four. The trunk consists of modules at most two names deep, such as `layer1` and `features.3`."""
    last: dict[tuple[int, int], str] = {}
    pooled: list[Tensor] = []  # held, so that no other tensor is given their memory

    def record(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        found = model.as_map(module, output)
        if found is None or min(found.shape[2:]) < 2:
            return
        if "Pool" in type(module).__name__:
            pooled.append(output)
        elif all(output.data_ptr() != p.data_ptr() for p in pooled):  # not a container that ends in pooling
            last[(found.shape[2], found.shape[3])] = path

    trunk = {path: m for path, m in model.net.named_modules() if path and path.count(".") < 2}
    hooks = [module.register_forward_hook(partial(record, path)) for path, module in trunk.items()]
    with torch.no_grad(), eval_mode(model):
        model.net(images)
    for hook in hooks:
        hook.remove()
    return sorted(last.values(), key=list(trunk).index)[-MOST_GUIDED:]


def pretrained(name: str, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """torchvision's default weights as a state dict of `model`, and True if all of them fit.

    A last layer for other classes stays fresh. The first use downloads the weights to torch's hub folder and checks
    them against the hash in the name of the file.

    Raises:
        UserError: there are no weights, or the download fails.
    """
    from torchvision import models  # noqa: PLC0415

    name = name.removeprefix(TORCHVISION)
    try:
        weights = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no weights, no network, a wrong hash
        raise UserError(
            f"the weights of {TORCHVISION}{name} are not available ({type(error).__name__}: {error}); "
            f"give a file: --teacher-model {TORCHVISION}{name} --teacher PATH"
        ) from None
    wanted = model.state_dict()
    named = {f"net.{key}": value for key, value in weights.items()}
    fitting = {k: named[k] for k, old in wanted.items() if k in named and named[k].shape == old.shape}
    return {**wanted, **fitting}, len(fitting) == len(wanted)
