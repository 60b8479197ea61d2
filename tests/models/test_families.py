"""The families of networks: parameters, weight layers, guided layers, taps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scl.models.build import build_model
from scl.study.fields import MODELS
from tests.support.models import FAMILIES, build, images


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("vgg8", 3.97), ("vgg13", 9.46), ("resnet8x4", 1.23), ("resnet32x4", 7.43), ("wrn_16_2", 0.70),
        ("wrn_40_2", 2.26), ("resnet20", 0.28), ("resnet56", 0.86), ("resnet110", 1.74),
    ],
)  # fmt: skip
def test_parameters_are_those_of_the_literature(name: str, millions: float) -> None:
    model = build_model(name, 100)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith(("plain", "vgg"))])
def test_a_network_has_its_weight_layers(name: str) -> None:
    layers = [m for m in build_model(name, 10, width=0.1).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    expected = int(name.removeprefix("plain").removeprefix("vgg"))
    # The names of vgg count its three linear layers, of which one is here.
    assert len(layers) == expected - (2 if name.startswith("vgg") else 0)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith(("resnet", "wrn"))])
def test_a_residual_network_has_its_weight_layers(name: str) -> None:
    convolutions = [m for m in build_model(name, 10, width=0.1).modules() if isinstance(m, nn.Conv2d)]
    depth = int(name.removeprefix("resnet").removeprefix("wrn_").replace("x", "_").split("_")[0])
    # A wrn's depth counts its three projections, a resnet's depth its linear layer.
    assert sum(c.kernel_size == (3, 3) for c in convolutions) == depth - (3 if name.startswith("wrn") else 1)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("plain5", [(64, 32), (128, 16), (256, 8), (512, 4)]),
        ("plain11", [(64, 32), (128, 16), (256, 8), (512, 4)]),
        ("plain3", [(128, 32), (512, 8)]),
        ("vgg8", [(128, 16), (256, 8), (512, 4), (512, 4)]),
        ("resnet8", [(16, 32), (32, 16), (64, 8)]),
        ("resnet8x4", [(64, 32), (128, 16), (256, 8)]),
        ("wrn_16_2", [(32, 32), (64, 16), (128, 8)]),
    ],
)
def test_guided_layers_are_the_ends_of_stages_after_relu(name: str, shapes: list[tuple[int, int]]) -> None:
    maps, logits = build_model(name, 100).forward_features(images())
    assert [tuple(m.shape[1:]) for m in maps] == [(c, side, side) for c, side in shapes]
    assert all((m >= 0).all() for m in maps)
    assert logits.shape == (2, 100)


def test_plain_and_vgg_keep_locations_of_small_images() -> None:
    for name, sides in (("plain5", [8, 4, 4, 4]), ("vgg8", [4, 4, 4, 4]), ("resnet8", [8, 4, 2])):
        maps, _ = build_model(name, 10, in_channels=1, width=0.1).forward_features(images(2, 8, 1))
        assert [m.shape[2] for m in maps] == sides


@pytest.mark.parametrize("name", FAMILIES)
def test_taps(name: str) -> None:
    model = build(name).eval()
    relu, bn, block = (model.features(images(), tap) for tap in ("relu", "bn", "block"))
    for after, before, raw in zip(relu.maps, bn.maps, block.maps, strict=True):
        assert (before < 0).any()
        assert torch.equal(F.relu(before), after)
        assert torch.equal(raw, after) == (not name.startswith("wrn"))
    # Where maps are taken moves neither the embedding nor the logits.
    for other in (bn, block):
        assert torch.equal(other.embedding, relu.embedding)
        assert torch.equal(other.logits, relu.logits)
    assert torch.equal(relu.embedding, relu.maps[-1].mean((2, 3)))
