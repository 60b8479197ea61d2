"""Networks for training: built from a configuration and a seed, placed on a device, tried on an example batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models.build import build_model
from scl.models.fused import unavailable
from scl.models.mode import eval_mode
from scl.models.staged import Block, Features, Staged
from scl.models.streams import seeded_streams
from scl.models.tapped import TappedModel, runs_own_code
from scl.study.config import Config
from scl.study.identity import stream_seed
from scl.study.network import is_own

# With at most so many locations and at least so many channels, a CPU's convolutions are faster with channels first: up
# to twice as fast at 512 channels × 4×4 (oneDNN, AVX-512). Otherwise channels last is faster, by up to a third.
FEW_LOCATIONS, MANY_CHANNELS = 25, 256
# A block of oneDNN's channels on AVX-512, see `strides_by_slices`.
BLOCK_OF_CHANNELS = 16
# With at most so many locations no fault was found (sides 4 and 8, 2 to 8 channels, up to 256 images, 1 to 8 threads),
# and the numbers of such trials stay: slices round otherwise.
SAFE_LOCATIONS = 8 * 8
CONSTANTS = ("scale", "shift")  # of `TappedModel.renormalise`


def build_student(config: Config, data: SplitData, seed: int, layers: Sequence[str] = ()) -> nn.Module:
    """A fresh network, initialised from the seed alone; torch's global random stream does not move.

    Args:
        layers: module paths of the guided layers of a teacher; empty: those of its configuration.

    Raises:
        UserError: see `build_model`.
    """
    return from_seed(config, seed, data.classes, data.image_shape, layers)


def from_seed(
    config: Config, seed: int, classes: int, image_shape: tuple[int, int, int], layers: Sequence[str] = ()
) -> nn.Module:
    """`build_student` for images (C, H, W) and classes other than those of the data."""
    stream = stream_seed("initialisation", seed)
    with torch.random.fork_rng(devices=[]), seeded_streams(stream) if is_own(config.model) else nullcontext():
        torch.default_generator.manual_seed(stream)
        return build_network(config, classes, image_shape, layers)


def build_network(
    config: Config, classes: int, image_shape: tuple[int, int, int], layers: Sequence[str] = ()
) -> nn.Module:
    """The network of a configuration for images (C, H, W), initialised from torch's global random stream.

    Raises:
        UserError: see `build_model`.
    """
    channels, *size = image_shape
    taught = config.self_taught, config.self_taught_at, config.self_taught_from, config.guided
    return build_model(
        config.model,
        classes,
        channels,
        config.width,
        *taught,
        image_size=(size[0], size[1]),
        layers=layers or config.layers,
        dropout=config.dropout,
        drop_path=config.drop_path,
        projector=config.projector,
    )


def tensors_of(
    config: Config, classes: int, image_shape: tuple[int, int, int], layers: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The state dict of a configuration's network, for its names, shapes and types alone: a network of scl allocates
    nothing here, whatever its size.

    Raises:
        UserError: see `build_model`.
    """
    # Models of other libraries compute with numbers while they are built, and own ones may.
    device = "cpu" if config.is_foreign else "meta"
    with torch.random.fork_rng(devices=[]), torch.device(device):
        return build_network(config, classes, image_shape, layers).state_dict()


def start_from(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network these weights, by their names in its state dict; the others stay. Among them may be the
    normalisation of a network that was trained elsewhere, see `TappedModel.renormalise`."""
    constants = renormalising(weights)
    if isinstance(model, TappedModel) and constants:
        model.renormalise(**constants)
        weights = {name: tensor for name, tensor in weights.items() if name not in constants}
    model.load_state_dict({**model.state_dict(), **weights})


Held = TypeVar("Held")  # a tensor, or its shape


def renormalising(weights: Mapping[str, Held]) -> dict[str, Held]:
    """The two tensors of `TappedModel.renormalise` in a state dict, if it has them. A network's own parameters may have
    such names too, but in a state dict of scl they stand below `net.`."""
    others = [name for name in weights if name not in CONSTANTS]
    if not all(name in weights for name in CONSTANTS) or not all(name.startswith("net.") for name in others):
        return {}
    return {name: weights[name] for name in CONSTANTS}


def move_to_device(model: nn.Module, data: SplitData, device: torch.device) -> nn.Module:
    """The network on its device, in the memory layout in which its convolutions are fastest.

    Shapes alone decide the layout, not a timing, so that numbers are reproducible.
    """
    if device.type == "cpu":
        strides_by_slices(model)
    if runs_own_code(model):
        return model.to(device)  # code of users may call `view`
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type != "cpu":
        return model

    def set_layout(block: Block, inputs: tuple[Tensor, str, bool]) -> None:
        _, channels, height, width = inputs[0].shape
        if height * width <= FEW_LOCATIONS and channels >= MANY_CHANNELS:
            block.channels_first = True
            block.to(memory_format=torch.contiguous_format)

    hooks = [m.register_forward_pre_hook(set_layout) for m in model.modules() if isinstance(m, Block)]
    if hooks:
        example_features(model, data, "relu")
    for hook in hooks:
        hook.remove()
    return model


def strides_by_slices(model: nn.Module) -> None:
    """Let narrow 1×1 convolutions with a stride read every so many pixels of their input themselves.

    oneDNN's gradient of their weights writes beyond its memory, where channels come last and are fewer than a block:
    the process ends, or numbers are wrong (uxlfoundation/oneDNN#6035). Without a stride it does not, and numbers that
    were right stay the same.
    """
    for conv in model.modules():
        if (
            type(conv) is nn.Conv2d
            and conv.kernel_size == (1, 1)
            and conv.stride != (1, 1)
            and conv.padding in (0, (0, 0), "valid")
            and conv.in_channels // conv.groups < BLOCK_OF_CHANNELS
        ):
            # Not the field `stride`, which code of users may read.
            conv._conv_forward = partial(_sliced, conv.stride, conv.groups)  # type: ignore[method-assign,arg-type]


def _sliced(stride: tuple[int, int], groups: int, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1×1 convolution with a stride, as one without of every so many pixels."""
    if x[0, 0].numel() <= SAFE_LOCATIONS:
        return F.conv2d(x, weight, bias, stride, groups=groups)
    return F.conv2d(x[..., :: stride[0], :: stride[1]], weight, bias, groups=groups)


def example_features(model: nn.Module, data: SplitData, tap: str) -> Features:
    """Features of two blank images; an Objective reads the shapes from them."""
    device = next(model.parameters()).device
    with torch.no_grad(), eval_mode(model):
        features: Features = model.features(torch.zeros(2, *data.image_shape, device=device), tap)  # type: ignore[operator]
    return features


def fuse(model: nn.Module, config: Config, device: torch.device) -> None:
    """Let a network train with the kernels of its configuration.

    Raises:
        UserError: they are fused, and the network has blocks that are not plain, or the device cannot run them.
    """
    if config.kernels == "torch":
        return
    reason = unavailable(device)
    if not (isinstance(model, Staged) and all(type(stage) is Block for stage in model.stages)):
        reason = f"they are for plain and vgg students, not for {config.model_name}"
    if reason:
        raise UserError(f"kernels='fused': {reason}; use kernels='torch'")
    for module in model.modules():
        if isinstance(module, Block):
            module.fused = True


def in_bf16(config: Config, device: torch.device) -> bool:
    """True if networks (but not losses) run in bfloat16: always with `bf16`, with `auto` on a GPU."""
    return config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")


def in_float32(features: Features) -> Features:
    maps, each = [m.float() for m in features.maps], tuple(logits.float() for logits in features.each)
    cams = None if features.cams is None else features.cams.float()
    return Features(maps, features.embedding.float(), features.logits.float(), cams, each)
