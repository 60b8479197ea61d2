"""From configurations to networks: a student as its seed makes it, and a teacher as it guides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scl.config import Config
from scl.models import Features, Staged, Wanted, build_model
from scl.models.staged import Block, Convolution
from scl.trial import Data, Teacher, stream_seed


def build_student(config: Config, data: Data, seed: int, layers: Sequence[str] = ()) -> nn.Module:
    """A fresh network. `layers`: guided layers by module path, for a teacher of another library."""
    channels, height, _ = data.image_shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed("initialisation", seed))
        return build_model(
            config.student,
            data.classes,
            channels,
            config.width,
            config.self_taught,
            config.self_taught_at,
            config.self_taught_from,
            config.guided,
            image_size=height,
            layers=layers,
        )


def build_teacher(teacher: Teacher, data: Data, device: torch.device, layers: Sequence[str] = ()) -> nn.Module:
    model = build_student(teacher.config, data, 0, layers)
    model.load_state_dict(teacher.weights)
    return laid_out(model, data, device).eval().requires_grad_(False)


# Where a CPU's convolutions are faster with channels first: maps of so many locations or fewer, of so many channels or
# more. Up to twice as fast at 512 channels × 4×4 (oneDNN, AVX-512); elsewhere channels last are, by up to a third.
FEW_LOCATIONS, MANY_CHANNELS = 25, 256


def laid_out(model: nn.Module, data: Data, device: torch.device) -> nn.Module:
    """A network on its device, its memory laid out as its convolutions are fastest: by shapes alone, so that numbers
    depend on no timing."""
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type != "cpu":
        return model

    def look(block: Block, inputs: tuple[Tensor, str, bool]) -> None:
        _, channels, height, width = inputs[0].shape
        if height * width <= FEW_LOCATIONS and channels >= MANY_CHANNELS:
            block.channels_first = True
            block.to(memory_format=torch.contiguous_format)

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, Block)]
    if hooks:
        example_features(model, data, "relu")
    for hook in hooks:
        hook.remove()
    return model


def example_features(model: nn.Module, data: Data, tap: str) -> Features:
    """Features of two blank images: what an Objective reads shapes from."""
    training = model.training
    device = next(model.parameters()).device
    with torch.no_grad():
        features: Features = model.eval().features(torch.zeros(2, *data.image_shape, device=device), tap)  # type: ignore[operator]
    model.train(training)
    return features


class Guide:
    """A teacher as its students need it: batch norm folded into the convolutions before it, no more of it run than
    somebody reads."""

    def __init__(self, model: nn.Module, tap: str, bf16: bool) -> None:
        self.model, self.tap, self.bf16 = folded(model), tap, bf16
        if bf16 and isinstance(model, Staged):
            for part in model.modules():
                if isinstance(part, nn.Conv2d | nn.Linear):
                    part.to(torch.bfloat16)  # once, where autocast would at every call

    def __call__(self, images: Tensor, wanted: Wanted | None) -> Features:
        """Features of a batch (B, C, H, W), float32: what is wanted of them, None is all."""
        # Not inference_mode: what it makes cannot be saved for a loss's backward.
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.model.features(images, self.tap, wanted)  # type: ignore[operator]
        return in_float32(features)


def folded(model: nn.Module) -> nn.Module:
    """A network in evaluation mode whose batch norms are folded into the convolutions before them, in place, where it
    is one of this project's: other libraries' may use a layer in more than one place."""
    for parent, (first, convolution), (second, norm) in list(normed(model)):
        setattr(parent, first, fuse_conv_bn_eval(convolution, norm).requires_grad_(False))
        setattr(parent, second, nn.Identity())
    return model


@torch.no_grad()
def absorb_biases(model: nn.Module) -> None:
    """Biases of convolutions before batch norms go into the norms' running means, where a trained network's outputs
    are the same. They are zero then and do not learn: batch norm takes away whatever they add."""
    for _, (_, convolution), (_, norm) in normed(model):
        if isinstance(convolution, Convolution) and convolution.bias is not None and norm.running_mean is not None:
            norm.running_mean -= convolution.bias
            convolution.bias.zero_()
            convolution.absorbed = True


def normed(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    """Convolutions with a batch norm right behind, in one of this project's networks: where they are, and by name."""
    if isinstance(model, Staged):
        for parent in model.modules():
            for (first, convolution), (second, norm) in pairwise(parent.named_children()):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    yield parent, (first, convolution), (second, norm)


def in_bf16(config: Config, device: torch.device) -> bool:
    """Whether networks run in bfloat16, losses apart: where it is asked for, and on a GPU unless it is not."""
    return config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")


def in_float32(features: Features) -> Features:
    return Features([m.float() for m in features.maps], features.embedding.float(), features.logits.float())
