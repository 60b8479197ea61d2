"""Classification models of torchvision, with guided layers found by stage or named by module path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scl.errors import UserError, first_line, unknown
from scl.models.tapped import TappedModel, tap
from scl.study.fields import TORCHVISION

# What torchvision's models call their dropout, the usual name first.
DROPOUT, DROP_PATH = ("dropout", "drop_rate"), ("stochastic_depth_prob",)


def build(
    name: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    layers: Sequence[str] = (),
    dropout: float | None = None,
    drop_path: float | None = None,
) -> TappedModel:
    """A fresh network by its torchvision name, with or without the prefix `torchvision:`.

    Raises:
        UserError: there is no such model or layer, it has no dropout or stochastic depth to set, or it cannot process
            images (C, H, W) of this size.
    """
    from torchvision import models  # noqa: PLC0415

    name = name.removeprefix(TORCHVISION)
    names = models.list_models(module=models)
    if name not in names:
        raise UserError(unknown("torchvision model", name, names))
    _, height, width = image_shape
    options: dict[str, Any] = {"num_classes": num_classes}
    if name.startswith("vit"):
        options["image_size"] = height
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}

    def make() -> nn.Module:
        if name.startswith("vit") and height != width:
            raise ValueError("its images are square")
        return with_dropout(
            f"{TORCHVISION}{name}",
            lambda more: models.get_model(name, weights=None, **options, **more),
            (height, width),
            {"dropout": (dropout, DROPOUT), "drop_path": (drop_path, DROP_PATH)},
        )

    last = name.startswith("swin")
    return library_model(f"{TORCHVISION}{name}", make, image_shape, layers, lambda net: last)


def with_dropout(
    name: str,
    make: Callable[[dict[str, float]], nn.Module],
    image_size: tuple[int, int],
    asked: Mapping[str, tuple[float | None, Sequence[str]]],
) -> nn.Module:
    """A network with the dropout and stochastic depth that are asked for.

    Args:
        make: builds it, with options of the library's function. image_size: (H, W). asked: field of `Config` → its
            value, and what the library may call it.

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


def _has_effect(make: Callable[[dict[str, float]], nn.Module], option: str, image_size: tuple[int, int]) -> bool:
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
            net(torch.zeros(2, 3, *image_size))
            states.append(torch.get_rng_state())
    return not torch.equal(*states)


def library_model(
    name: str,
    make: Callable[[], nn.Module],
    image_shape: tuple[int, int, int],
    layers: Sequence[str],
    channels_last: Callable[[nn.Module], bool],
) -> TappedModel:
    """The network from `make` with its guided layers: `layers`, or one found for each stage. The embedding is the input
    of its last linear layer.

    Raises:
        UserError: the model cannot process such images, or a named layer does not exist.
    """
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise UserError(f"{name} takes images of 1 or 3 channels, got {channels}")
    try:
        net = make()
        model = TappedModel(net, image_shape, channels_last(net))
        linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
        if linear:
            model.embed_at(linear[-1])
        tap(model, layers)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each library says in its own way that a size does not fit
        raise UserError(
            f"{name} cannot process images of {height}×{width} pixels ({type(error).__name__}: {first_line(error)}); "
            "choose another network, or larger images"
        ) from None
    return model


def pretrained(name: str, model: TappedModel) -> tuple[dict[str, Tensor], bool]:
    """torchvision's default weights for `model`, and True if they fill all of it.

    A last layer for other classes is not among them. The first use downloads the weights to torch's hub folder and
    checks them against the hash in the name of the file.

    Raises:
        UserError: there are no weights, or the download fails.
    """
    from torchvision import models  # noqa: PLC0415

    name = name.removeprefix(TORCHVISION)
    try:
        weights = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # no weights, no network, a wrong hash
        raise not_available(f"{TORCHVISION}{name}", error) from None
    wanted = model.state_dict()
    named = {f"net.{key}": value for key, value in weights.items()}
    fitting = {k: named[k] for k, old in wanted.items() if k in named and named[k].shape == old.shape}
    return fitting, len(fitting) == len(wanted)


def not_available(name: str, error: Exception) -> UserError:
    return UserError(
        f"the weights of {name} are not available ({type(error).__name__}: {first_line(error)}); give a file: "
        f"--teacher-model {name} --teacher PATH, or --student {name} --student-weights PATH"
    )


def normalisation(name: str) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of each channel, of pixels in [0, 1], with which the default weights were trained;
    None if the library does not say."""
    from torchvision import models  # noqa: PLC0415

    try:
        preset = models.get_model_weights(name.removeprefix(TORCHVISION)).DEFAULT.transforms()
        return list(preset.mean), list(preset.std)
    except (AttributeError, ValueError):
        return None
