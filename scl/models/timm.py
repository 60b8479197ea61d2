"""Image classification models of timm, an optional dependency, with guided layers as for torchvision."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from scl.errors import UserError, first_line, how_to_install
from scl.models.torchvision import TappedModel, tapped, with_dropout
from scl.study.config import TIMM


def build(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    layers: Sequence[str],
    dropout: float | None = None,
    drop_path: float | None = None,
) -> TappedModel:
    """A fresh network by its timm name, `timm:resnet18`; the name may end in a tag of weights, `timm:resnet18.a1_in1k`.

    Raises:
        UserError: timm is not installed, there is no such model or layer, it has no dropout or stochastic depth to set,
            or it cannot process images of this size.
    """

    def make() -> TappedModel:
        net = with_dropout(
            name,
            lambda more: _create(name, num_classes, image_size, pretrained=False, **more),
            image_size,
            {"dropout": (dropout, ("drop_rate",)), "drop_path": (drop_path, ("drop_path_rate",))},
        )
        model = TappedModel(net, channels_last=getattr(net, "output_fmt", "NCHW") == "NHWC")
        model.image_size = image_size  # type: ignore[assignment]  # for `pretrained`, which builds it again
        return model

    _check(name)
    return tapped(name, make, in_channels, image_size, layers)


def pretrained(name: str, model: nn.Module) -> tuple[dict[str, Tensor], bool]:
    """timm's weights as a state dict of `model`, and True if they include the last layer.

    A last layer for other classes stays fresh. On first use timm downloads the weights from Hugging Face's hub; it
    fits position embeddings to the size of the images.

    Raises:
        UserError: there are no weights, or the download fails.
    """
    net: Any = model.net
    size: Any = model.image_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            filled = _create(name, net.num_classes, size, pretrained=True)
    except Exception as error:  # no weights, no network, a wrong file
        raise UserError(
            f"the weights of {name} are not available ({type(error).__name__}: {first_line(error)}); "
            f"give a file: --teacher-model {name} --teacher PATH"
        ) from None
    whole = filled.pretrained_cfg.get("num_classes") == net.num_classes
    return {f"net.{key}": value for key, value in filled.state_dict().items()}, whole


def _timm() -> ModuleType:
    try:
        import timm  # noqa: PLC0415
    except ModuleNotFoundError:
        raise UserError(f"timm is not installed; choose another model, or {how_to_install('timm')}") from None
    return timm


def _check(name: str) -> None:
    """Raise UserError unless timm lists the name: `hf-hub:` and `local-dir:` would build what a stranger describes."""
    timm = _timm()
    plain = name.removeprefix(TIMM)
    if ":" in plain or not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), n=3)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise UserError(
            f"unknown timm model {plain!r}{hint}; valid: the {len(timm.list_models())} names of timm.list_models()"
        )


def _create(name: str, num_classes: int, image_size: int, pretrained: bool, **more: float) -> Any:
    timm = _timm()
    plain = name.removeprefix(TIMM)
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": 3, "pretrained": pretrained, **more}
    try:
        return timm.create_model(plain, img_size=image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    return timm.create_model(plain, **options)  # a network of convolutions takes any size
