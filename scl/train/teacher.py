"""The teacher of a cohort: its network, and its forward pass for the students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.models.fold import fold_batch_norms
from scl.models.networks import build_student, from_seed, in_float32, move_to_device, start_from
from scl.models.staged import Features, Staged, Wanted
from scl.study.config import Config
from scl.train.inputs import Adapted, Inputs, own_network


@dataclass(frozen=True)
class Teacher:
    """A trained teacher: its configuration, its weights, and its logits (N, K) for the test images, None if its last
    layer is not used. inputs: what it takes and gives; None if that is what the data give."""

    config: Config
    weights: Mapping[str, Tensor]
    test_logits: Tensor | None
    inputs: Inputs | None = None


def teacher_network(
    config: Config, data: SplitData, inputs: Inputs | None, seed: int = 0, layers: Sequence[str] = ()
) -> nn.Module:
    """A fresh network as `build_student` makes it, which takes batches of the data however it is fed.

    Raises:
        UserError: see `build_model`.
    """
    if inputs is None:
        return build_student(config, data, seed, layers)
    size = inputs.outputs or data.classes, inputs.image_shape(data.image_shape)
    return Adapted(from_seed(config, seed, *size, layers), inputs, data)


def build_teacher(teacher: Teacher, data: SplitData, device: torch.device, layers: Sequence[str] = ()) -> nn.Module:
    """The teacher's network with its weights, on a device, in evaluation mode and without gradients."""
    model = teacher_network(teacher.config, data, teacher.inputs, 0, layers)
    start_from(own_network(model), teacher.weights)
    return move_to_device(model, data, device).eval().requires_grad_(False)


class TeacherForward:
    """A teacher's forward pass as fast as students need it: batch norms are folded into convolutions, in place, and
    only wanted features are computed."""

    def __init__(self, model: nn.Module, tap: str, bf16: bool) -> None:
        network = fold_batch_norms(own_network(model))
        self.model, self.tap, self.bf16 = model, tap, bf16
        if bf16 and isinstance(network, Staged):
            for part in network.modules():
                if isinstance(part, nn.Conv2d | nn.Linear):
                    part.to(torch.bfloat16)  # once; autocast would convert at every call

    def __call__(self, images: Tensor, wanted: Wanted | None) -> Features:
        """Features, float32, of a batch (B, C, H, W). wanted: the features to compute (None: all)."""
        # Not inference_mode: a loss could not save its tensors for the backward pass.
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            features = self.model.features(images, self.tap, wanted)  # type: ignore[operator]
        return in_float32(features)
