"""The teacher of a cohort: its network, and its forward pass for the students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.models.fold import fold_batch_norms
from scl.models.mode import eval_mode
from scl.models.networks import build_student, from_seed, in_float32, move_to_device, start_from
from scl.models.staged import HEAD, Features, Staged, Wanted
from scl.study.config import Config
from scl.train.inputs import Adapted, Inputs, own_network


@dataclass(frozen=True)
class Teacher:
    """A trained teacher: its configuration, its weights, and its logits (N, K) for the test images, None if its last
    layer is not used. inputs: what it takes and gives; None if that is what the data give. members: the teachers whose
    logits this one averages; it has no weights then."""

    config: Config
    weights: Mapping[str, Tensor]
    test_logits: Tensor | None
    inputs: Inputs | None = None
    members: tuple[Teacher, ...] = ()


def mean_teacher(members: Sequence[Teacher]) -> Teacher:
    """The teacher whose logits are the mean of those of its members."""
    logits = torch.stack([of.test_logits for of in members if of.test_logits is not None]).mean(0)
    return Teacher(members[0].config, {}, logits, None, tuple(members))


class MeanOfLogits(nn.Module):
    """Several networks as one, which has logits (B, K) alone: those of each, and their mean."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def features(self, images: Tensor, tap: str = "relu", wanted: Wanted | None = None) -> Features:
        logits = [network.features(images, tap, HEAD).logits for network in self.networks]  # type: ignore[operator]
        each = tuple(of.float() for of in logits)
        return only_logits(torch.stack(each).mean(0), each)


def only_logits(logits: Tensor, each: tuple[Tensor, ...]) -> Features:
    return Features([], logits.new_empty(0), logits, each=each)


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
    if teacher.members:
        return MeanOfLogits([build_teacher(member, data, device) for member in teacher.members])
    model = teacher_network(teacher.config, data, teacher.inputs, 0, layers)
    start_from(own_network(model), teacher.weights)
    return move_to_device(model, data, device).eval().requires_grad_(False)


class TeacherForward:
    """A teacher's forward pass as fast as students need it: batch norms are folded into convolutions, in place, and
    only wanted features are computed."""

    def __init__(self, model: nn.Module, tap: str, bf16: bool) -> None:
        self.model, self.tap, self.bf16 = model, tap, bf16
        for network in model.networks if isinstance(model, MeanOfLogits) else [own_network(model)]:
            fold_batch_norms(network)
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


def with_average(network: nn.Module, tap: str, images: Tensor, teacher: Features | None, trained: int) -> Features:
    """The logits of the teachers of a student, with the average of its own weights as one more, and their mean.

    The average predicts as in evaluation, with its own statistics of batch norms and without dropout (Tarvainen &
    Valpola, NeurIPS 2017, let it train its batch norms on the batch).

    Args:
        network: the average. teacher: the features of the `trained` teachers (None: there are none).
    """
    with torch.no_grad(), eval_mode(network):
        own = network.features(images, tap, HEAD).logits.float()  # type: ignore[operator]
    if teacher is None:
        return only_logits(own, (own,))
    return only_logits((teacher.logits * trained + own) / (trained + 1), (*(teacher.each or (teacher.logits,)), own))
