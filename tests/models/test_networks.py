"""Networks for training: seeds, memory layout, example features."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scl.data.batches import SplitData
from scl.models.networks import build_student, example_features, move_to_device, renormalising, strides_by_slices
from scl.study.config import Config
from tests.support.studies import CPU


def test_memory_is_laid_out_by_shapes_and_moves_rounding_alone(tiny: SplitData) -> None:
    config = Config(model="vgg8", self_taught=3)
    images = torch.rand(4, *tiny.image_shape)
    plain = build_student(config, tiny, 0)
    laid = move_to_device(build_student(config, tiny, 0), tiny, CPU)
    first = [block.channels_first for block in laid.stages]  # type: ignore[union-attr]
    assert first == [False, False, False, True, True]  # 256 and more channels of 4×4
    for block, channels_first in list(zip(laid.stages, first, strict=True))[1:]:  # type: ignore[arg-type]
        assert block.layers[0].weight.is_contiguous() == channels_first
    torch.testing.assert_close(laid(images), plain(images), rtol=1e-3, atol=1e-4)
    narrow = move_to_device(build_student(Config(width=0.125), tiny, 0), tiny, CPU)
    assert not any(block.channels_first for block in narrow.stages)  # type: ignore[union-attr]


def test_a_seed_alone_decides_the_weights(tiny: SplitData) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, same, other = (build_student(Config(width=0.125), tiny, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(one.state_dict()["classifier.weight"], other.state_dict()["classifier.weight"])


def test_example_features_have_shapes_and_leave_the_network_as_it_was(tiny: SplitData) -> None:
    model = build_student(Config(width=0.125), tiny, 0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    features = example_features(model, tiny, "relu")
    assert [tuple(m.shape) for m in features.maps] == [(2, 8, 8, 8), (2, 16, 4, 4), (2, 32, 4, 4), (2, 64, 4, 4)]
    assert features.logits.shape == (2, 10)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["scale", "shift", "net.conv1.weight"], {"scale", "shift"}),
        (["scale", "shift"], {"scale", "shift"}),  # all others come from the seed
        (["scale", "shift", "conv1.weight"], set()),  # parameters of a network that scl has not stored
        (["net.scale", "net.shift"], set()),
        (["scale", "net.conv1.weight"], set()),
        ([], set()),
    ],
)
def test_constants_in_front_of_a_network_are_told_from_its_parameters(names: list[str], found: set[str]) -> None:
    assert set(renormalising(dict.fromkeys(names, 0))) == found


@pytest.mark.parametrize(
    ("channels", "side", "batch", "groups", "bias"),
    [(8, 64, 64, 1, False), (4, 96, 16, 1, True), (1, 64, 16, 1, False), (15, 33, 8, 1, False), (32, 32, 4, 4, True)],
)
def test_narrow_convolutions_with_a_stride_have_right_gradients(
    channels: int, side: int, batch: int, groups: int, bias: bool
) -> None:
    """Where channels come last, oneDNN's own gradient of the first of these ends the process."""
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 16, 1, stride=2, bias=bias, groups=groups)
    ours = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    strides_by_slices(ours)
    images = torch.randn(batch, channels, side, side)
    given = [images.clone().requires_grad_(), images.to(memory_format=torch.channels_last).requires_grad_()]
    for _ in range(2):
        outputs = [conv(x) for conv, x in zip((plain, ours), given, strict=True)]
        for output in outputs:
            output.square().mean().backward()
    torch.testing.assert_close(outputs[1], outputs[0])
    assert ours.stride == (2, 2)
    gradients = [[x.grad, *(p.grad for p in conv.parameters())] for x, conv in zip(given, (plain, ours), strict=True)]
    for mine, right in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)
