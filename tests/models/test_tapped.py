"""Networks of libraries as students: taken neurons, the published normalisation, named layers."""

from __future__ import annotations

import copy

import pytest
import torch

from scl.errors import UserError
from scl.models.build import build_model
from scl.models.networks import renormalising, start_from
from scl.models.staged import Features
from scl.models.tapped import TappedModel, examples
from tests.support.models import images

TAKEN = {"self_taught_from": "taken"}


@pytest.fixture(scope="module")
def resnet() -> TappedModel:
    torch.manual_seed(0)
    made = build_model("torchvision:resnet18", 10, image_size=32, self_taught=(0, 5, 0, 7), **TAKEN)  # type: ignore[arg-type]
    assert isinstance(made, TappedModel)
    return made.eval()


def test_taken_channels_are_not_guided_and_are_zero_if_muted(resnet: TappedModel) -> None:
    x = images()
    features: Features = resnet.features(x)
    assert [m.shape[1] for m in features.maps] == [64, 59, 128, 249]
    plain = TappedModel(copy.deepcopy(resnet.net), (3, 32, 32))
    assert torch.equal(resnet(x), plain(x))
    resnet.muted = True
    muted = resnet.features(x)
    resnet.muted = False
    assert torch.equal(muted.maps[1], features.maps[1])
    assert not torch.equal(muted.maps[2], features.maps[2])
    assert not torch.equal(muted.logits, features.logits)
    assert torch.equal(resnet(x), features.logits)


def test_a_layers_own_losses_give_taken_channels_no_gradient(resnet: TappedModel) -> None:
    maps: dict[str, torch.Tensor] = {}
    hook = resnet.net.layer1.register_forward_hook(lambda m, i, o: maps.update(layer1=o) or o.retain_grad())
    resnet.features(images()).maps[1].square().mean().backward()
    hook.remove()
    gradient = maps["layer1"].grad
    assert gradient is not None
    assert (gradient[:, 59:] == 0).all()
    assert (gradient[:, :59] != 0).any()


def test_all_guided_and_penultimate() -> None:
    every = build_model("torchvision:resnet18", 10, self_taught=4, guided="all", **TAKEN)  # type: ignore[arg-type]
    assert [m.shape[1] for m in every.features(images()).maps] == [64, 64, 128, 256]  # type: ignore[operator]
    assert every.self_taught_channels == (4, 4, 4, 4)
    last = build_model("torchvision:resnet18", 10, self_taught=4, self_taught_at="penultimate", **TAKEN)  # type: ignore[arg-type]
    assert [m.shape[1] for m in last.features(images()).maps] == [64, 64, 128, 252]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("layers", "size", "width"),
    [(("layer3", "layer4"), 64, 508), (("layer3",), 64, 512)],
)
def test_the_embedding_lacks_the_neurons_of_the_layer_that_it_pools(
    layers: tuple[str, ...], size: int, width: int
) -> None:
    model = build_model("torchvision:resnet18", 10, image_size=size, layers=layers, self_taught=4, **TAKEN)  # type: ignore[arg-type]
    assert model.features(images(side=size)).embedding.shape == (2, width)  # type: ignore[operator]


def test_a_published_normalisation_is_in_the_weights(resnet: TappedModel) -> None:
    other, loaded = copy.deepcopy(resnet), copy.deepcopy(resnet)
    scale, shift = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0.1, 0.2, 0.3])
    start_from(other, {"scale": scale, "shift": shift})
    x = images()
    changed = x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    assert torch.equal(other(x), resnet(changed))
    stored = other.state_dict()
    assert set(renormalising(stored)) == {"scale", "shift"}
    start_from(loaded, stored)
    assert torch.equal(loaded(x), other(x))
    grey = x[:, :1]
    assert torch.equal(other(grey), resnet(grey.expand(-1, 3, -1, -1) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)))


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("torchvision:inception_v3", 32, r"cannot process images of 32×32 pixels .*larger images"),
        ("torchvision:vit_b_16", 30, "cannot process images of 30×30"),
        ("torchvision:vit_b_16", (32, 64), "its images are square"),
    ],
)
def test_sizes_that_a_network_cannot_process(name: str, size: int | tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(name, 10, image_size=size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"self_taught": 2}, r"resnet18 cannot be widened by self-taught neurons.*'taken'"),
        ({"self_taught": 2, "self_taught_at": "branch"}, "cannot have a branch"),
        ({"width": 0.5}, "has no width factor; width must be 1, got 0.5"),
    ],
)
def test_what_a_librarys_network_cannot_have(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("torchvision:resnet18", 10, **options)  # type: ignore[arg-type]


def test_examples_are_the_same_always() -> None:
    assert torch.equal(examples((1, 4, 4), 2), examples((1, 4, 4), 2))
