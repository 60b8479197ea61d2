"""Image classification models of timm, an optional dependency, with guided layers as for torchvision."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from scl.errors import UserError, how_to_install
from scl.models.tapped import TappedModel
from scl.models.torchvision import library_model, not_available, with_dropout
from scl.study.fields import TIMM


def build(
    name: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    layers: Sequence[str] = (),
    dropout: float | None = None,
    drop_path: float | None = None,
) -> TappedModel:
    """A fresh network by its timm name, `timm:resnet18`; the name may end in a tag of weights, `timm:resnet18.a1_in1k`.

    Raises:
        UserError: timm is not installed, there is no such model or layer, it has no dropout or stochastic depth to set,
            or it cannot process images (C, H, W) of this size.
    """
    size = image_shape[1:]

    def make() -> nn.Module:
        return with_dropout(
            name,
            lambda more: _create(name, num_classes, size, pretrained=False, **more),
            size,
            {"dropout": (dropout, ("drop_rate",)), "drop_path": (drop_path, ("drop_path_rate",))},
        )

    _check(name)
    return library_model(name, make, image_shape, layers, lambda net: getattr(net, "output_fmt", "NCHW") == "NHWC")


def pretrained(name: str, model: TappedModel) -> tuple[dict[str, Tensor], bool]:
    """timm's weights for `model`, and True if they fill all of it.

    A last layer for other classes is not among them. On first use timm downloads the weights from Hugging Face's hub;
    it fits position embeddings to the size of the images.

    Raises:
        UserError: there are no weights, or the download fails.
    """
    net: Any = model.net
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            filled = _create(name, net.num_classes, model.image_shape[1:], pretrained=True)
    except Exception as error:  # no weights, no network, a wrong file
        raise not_available(name, error) from None
    whole = filled.pretrained_cfg.get("num_classes") == net.num_classes
    heads = filled.pretrained_cfg.get("classifier") or ()
    fresh = () if whole else tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    return {f"net.{k}": value for k, value in filled.state_dict().items() if not k.startswith(fresh)}, whole


def normalisation(name: str) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of each channel, of pixels in [0, 1], with which the weights of this name were
    trained; None if the library does not say."""
    found = _timm().get_pretrained_cfg(name.removeprefix(TIMM))
    return None if found is None else (list(found.mean), list(found.std))


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


def _create(name: str, num_classes: int, image_size: tuple[int, int], pretrained: bool, **more: float) -> Any:
    timm = _timm()
    plain = name.removeprefix(TIMM)
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": 3, "pretrained": pretrained, **more}
    try:
        return timm.create_model(plain, img_size=image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    return timm.create_model(plain, **options)  # a network of convolutions takes any size
