"""The plain family: layers, widths, guided layers, self-taught neurons."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from scl.config import MODELS, UserError
from scl.losses import channel_correlation, spatial_correlation
from scl.models import build_model, macs


@pytest.mark.parametrize("name", MODELS)
def test_a_plain_network_has_its_weight_layers(name: str) -> None:
    model = build_model(name, 10)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == int(name.removeprefix("plain"))
    maps, logits = model.forward_features(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert maps[-1].shape == ((2, 512, 8, 8) if name == "plain3" else (2, 512, 4, 4))


def test_plain5_and_plain11_meet_at_four_stages() -> None:
    for name in ("plain5", "plain11"):
        maps, _ = build_model(name, 100).forward_features(torch.randn(2, 3, 32, 32))
        assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
        assert all((m >= 0).all() for m in maps)


def test_small_images_keep_locations() -> None:
    maps, _ = build_model("plain5", 10, in_channels=1).forward_features(torch.randn(2, 1, 8, 8))
    assert [m.shape[2] for m in maps] == [8, 4, 4, 4]


def test_parameters_and_macs_of_plain5_by_hand() -> None:
    model = build_model("plain5", 100)
    widths = [3, 64, 128, 256, 512]
    convolutions = [9 * a * b for a, b in pairwise(widths)]
    assert sum(p.numel() for p in model.parameters()) == sum(convolutions) + 2 * sum(widths[1:]) + 512 * 100 + 100
    sides = [32, 16, 8, 4]
    expected = sum(c * s * s for c, s in zip(convolutions, sides, strict=True)) + 512 * 100
    assert macs(model, (3, 32, 32)) == expected


def test_no_self_taught_neurons_is_the_plain_student_to_the_bit() -> None:
    torch.manual_seed(3)
    plain = build_model("plain5", 10)
    after_plain = torch.rand(1)
    torch.manual_seed(3)
    zero = build_model("plain5", 10, self_taught=0)
    assert torch.equal(after_plain, torch.rand(1))
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), zero.state_dict().values(), strict=True))


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("loss", [channel_correlation, spatial_correlation])
def test_a_layers_own_losses_leave_its_self_taught_channels_alone(layer: int, loss: object) -> None:
    torch.manual_seed(0)
    student, teacher = build_model("plain5", 10, width=0.25, self_taught=5), build_model("plain11", 10, width=0.25)
    x = torch.randn(4, 3, 32, 32)
    maps, logits = student.forward_features(x)
    guided = maps[layer].shape[1]
    assert guided == (16, 32, 64, 128)[layer]
    loss(maps[layer], teacher.forward_features(x)[0][layer].detach()).backward(retain_graph=True)
    convolution = student.stages[layer][0]
    assert convolution.weight.grad[:guided].abs().sum() > 0
    assert convolution.weight.grad[guided:].abs().max() == 0
    assert student.stages[layer][1].bias.grad[guided:].abs().max() == 0
    logits.sum().backward()
    assert convolution.weight.grad[guided:].abs().sum() > 0


def test_the_next_layer_sees_the_self_taught_channels() -> None:
    student = build_model("plain5", 10, self_taught=5)
    assert [stage[0].in_channels for stage in student.stages] == [3, 69, 133, 261]
    assert student.classifier.in_features == 517
    deepest = build_model("plain5", 10, self_taught=5, self_taught_at="penultimate")
    assert [stage[0].out_channels for stage in deepest.stages] == [64, 128, 256, 517]


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match="did you mean 'plain5'"):
        build_model("plan5", 10)
    with pytest.raises(UserError, match="layers, penultimate"):
        build_model("plain5", 10, self_taught_at="everywhere")
