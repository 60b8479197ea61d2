"""Students and teachers: parameters, guided layers, self-taught neurons and where they are heard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scl.config import MODELS, UserError
from scl.losses import channel_correlation, spatial_correlation
from scl.models import Features, build_model, macs, pretrained

FAMILIES = ("plain5", "vgg8", "resnet14", "wrn_16_2")
PLACES = ("layers", "penultimate", "branch")


def images(batch: int = 2, side: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def build(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, 10, width=0.25, **options)  # type: ignore[arg-type]


# ---- networks ----------------------------------------------------------------------------------------------


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


def test_parameters_and_macs_of_plain5_by_hand() -> None:
    model = build_model("plain5", 100)
    widths = [3, 64, 128, 256, 512]
    convolutions = [9 * a * b for a, b in pairwise(widths)]
    assert sum(p.numel() for p in model.parameters()) == sum(convolutions) + 2 * sum(widths[1:]) + 512 * 100 + 100
    sides = [32, 16, 8, 4]
    expected = sum(c * s * s for c, s in zip(convolutions, sides, strict=True)) + 512 * 100
    assert macs(model, (3, 32, 32)) == expected


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


# ---- self-taught neurons -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_self_taught_neurons_is_the_plain_student_to_the_bit(name: str, place: str) -> None:
    torch.manual_seed(3)
    plain = build_model(name, 10, width=0.25)
    after_plain = torch.rand(1)
    torch.manual_seed(3)
    zero = build_model(name, 10, width=0.25, self_taught=0, self_taught_at=place)
    assert torch.equal(after_plain, torch.rand(1))
    assert list(plain.state_dict()) == list(zero.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), zero.state_dict().values(), strict=True))
    assert torch.equal(plain(images()), zero(images()))


def whole_maps(model: nn.Module) -> list[Tensor]:
    """Filled by the next forward: each stage's map, self-taught channels included, with its gradient kept."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        outputs[0].retain_grad()
        seen.append(outputs[0])

    for stage in model.stages:
        stage.register_forward_hook(keep)
    return seen


@pytest.mark.parametrize("loss", [channel_correlation, spatial_correlation])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_layers_own_losses_leave_its_self_taught_channels_alone(
    name: str, loss: Callable[[Tensor, Tensor], Tensor]
) -> None:
    student, teacher = build(name, self_taught=5), build(name)
    guides = teacher.forward_features(images(4))[0]
    for layer in range(len(guides)):
        seen = whole_maps(student)
        maps, logits = student.forward_features(images(4))
        whole, guided = seen[layer - len(guides)], maps[layer].shape[1]
        assert whole.shape[1] == guided + 5
        loss(maps[layer], guides[layer].detach()).backward(retain_graph=True)
        assert whole.grad[:, :guided].abs().sum() > 0
        assert whole.grad[:, guided:].abs().max() == 0
        F.cross_entropy(logits, torch.arange(4)).backward()
        assert whole.grad[:, guided:].abs().sum() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_deeper_layers_reach_the_self_taught_channels(name: str) -> None:
    student = build(name, self_taught=5)
    seen = whole_maps(student)
    maps, _ = student.forward_features(images(4))
    maps[-1].square().mean().backward()
    first_guided = seen[-len(maps)]
    assert first_guided.grad[:, maps[0].shape[1] :].abs().sum() > 0


def test_the_next_layer_sees_the_self_taught_channels() -> None:
    def convolutions(model: nn.Module) -> list[tuple[int, int]]:
        return [(m.in_channels, m.out_channels) for m in model.modules() if isinstance(m, nn.Conv2d)]

    student = build_model("plain5", 10, self_taught=5)
    assert convolutions(student) == [(3, 69), (69, 133), (133, 261), (261, 517)]
    assert student.classifier.in_features == 517
    deepest = build_model("plain5", 10, self_taught=5, self_taught_at="penultimate")
    assert convolutions(deepest) == [(3, 64), (64, 128), (128, 256), (256, 517)]
    each = build_model("plain5", 10, self_taught=(0, 1, 0, 2))
    assert convolutions(each) == [(3, 64), (64, 129), (129, 256), (256, 514)]
    taken = build_model("plain5", 10, self_taught=5, self_taught_from="taken")
    assert convolutions(taken) == convolutions(build_model("plain5", 10))
    assert [m.shape[1] for m in taken.forward_features(images())[0]] == [59, 123, 251, 507]
    everything = build_model("plain5", 10, self_taught=5, guided="all")
    assert [m.shape[1] for m in everything.forward_features(images())[0]] == [69, 133, 261, 517]


def test_blocks_and_shortcuts_of_a_residual_stage_are_as_wide_as_the_stage() -> None:
    student = build_model("resnet14", 10, self_taught=5)
    for stage, width in zip(student.stages, (21, 37, 69), strict=True):
        convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
        assert {m.out_channels for m in convolutions} == {width}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_branch_hears_the_student_and_only_the_classifier_hears_it(name: str) -> None:
    student = build(name, self_taught=4, self_taught_at="branch").eval()
    plain = build(name)
    assert [tuple(m.shape) for m in student.forward_features(images())[0]] == [
        tuple(m.shape) for m in plain.forward_features(images())[0]
    ]
    before = student.features(images())
    sum(m.square().mean() for m in before.maps).backward(retain_graph=True)
    assert all(p.grad is None for p in student.branch.parameters())
    before.logits.square().mean().backward()
    assert all(p.grad is not None for p in student.branch.parameters())
    with torch.no_grad():
        for parameter in student.branch.parameters():
            parameter.add_(0.1)
    after = student.features(images())
    assert all(torch.equal(a, b) for a, b in zip(after.maps, before.maps, strict=True))
    assert torch.equal(after.embedding, before.embedding)
    assert not torch.equal(after.logits, before.logits)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FAMILIES)
def test_muted_is_a_network_whose_self_taught_channels_say_nothing(name: str, place: str) -> None:
    student = build(name, self_taught=4, self_taught_at=place).eval()
    heard = student(images())
    student.muted = True
    muted = student(images())
    assert not torch.equal(muted, heard)
    # Weights of the classifier that read self-taught channels make no difference any more.
    with torch.no_grad():
        student.classifier.weight[:, -4:] = 7.0
    assert torch.equal(student(images()), muted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"self_taught": (1, 2)}, "has 4 guided layers"),
        ({"self_taught": 64, "self_taught_from": "taken"}, "64 cannot be taken of the 64 channels of guided layer 0"),
        ({"self_taught_at": "everywhere"}, "layers, penultimate, branch"),
        ({"guided": "some"}, "first, all"),
        ({"layers": ("stages.1",)}, "models of torchvision"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model("plain5", 10, **options)  # type: ignore[arg-type]


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(UserError, match="did you mean 'plain5'"):
        build_model("plan5", 10)
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        build_model("torchvision:resnet_18", 10)


# ---- torchvision -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ("relu", "layer1", "layer2", "layer3")),
        ("vgg11", ("features.4", "features.9", "features.14", "features.19")),
        ("mobilenet_v2", ("features.1", "features.3", "features.6", "features.13")),
        ("swin_t", ("features.1", "features.3", "features.5")),
        ("vit_b_16", ("encoder",)),
    ],
)
def test_guided_layers_of_torchvision_are_found_by_stage(name: str, layers: tuple[str, ...]) -> None:
    model = build_model(f"torchvision:{name}", 10, in_channels=1).eval()
    assert model.layers == layers
    features: Features = model.features(images(channels=1))
    sides = [m.shape[2] for m in features.maps]
    assert sides == sorted(sides, reverse=True)
    assert all(m.shape[2] == m.shape[3] > 1 for m in features.maps)
    assert features.logits.shape == (2, 10)
    assert features.embedding.ndim == 2


def test_guided_layers_of_torchvision_by_module_path() -> None:
    model = build_model("torchvision:resnet18", 10, layers=("layer3", "layer1.0.bn1")).eval()
    deep, inner = model.features(images()).maps
    assert (deep.shape[1:], inner.shape[1:]) == ((256, 2, 2), (64, 8, 8))
    assert (inner < 0).any()  # not what the in-place ReLU after it made of it
    whole = build_model("torchvision:resnet18", 10).eval()
    whole.load_state_dict(model.state_dict())
    assert torch.equal(whole(images()), model(images()))
    with pytest.raises(UserError, match="'layer9'"):
        build_model("torchvision:resnet18", 10, layers=("layer9",))


def test_a_torchvision_model_that_cannot_take_the_images_is_refused() -> None:
    with pytest.raises(UserError, match="takes no images of 32×32"):
        build_model("torchvision:alexnet", 10)


def stand_in(monkeypatch: pytest.MonkeyPatch, classes: int) -> dict[str, Tensor]:
    """torchvision's weights without its download."""
    from torchvision import models

    torch.manual_seed(1)
    weights = models.resnet18(num_classes=classes).state_dict()
    cls = type(models.get_model_weights("resnet18").DEFAULT)
    monkeypatch.setattr(cls, "get_state_dict", lambda self, **options: weights)
    return weights


@pytest.mark.parametrize(("classes", "whole"), [(10, True), (1000, False)])
def test_pretrained_weights_fill_all_but_a_head_for_other_classes(
    monkeypatch: pytest.MonkeyPatch, classes: int, whole: bool
) -> None:
    weights = stand_in(monkeypatch, classes)
    model = build_model("torchvision:resnet18", 10)
    filled, all_fit = pretrained("torchvision:resnet18", model)
    assert all_fit == whole
    model.load_state_dict(filled)
    assert torch.equal(model.net.layer4[0].conv1.weight, weights["layer4.0.conv1.weight"])
    assert torch.equal(model.net.fc.weight, weights["fc.weight"]) if whole else model.net.fc.out_features == 10


def test_no_download_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def fail(self: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(type(models.get_model_weights("resnet18").DEFAULT), "get_state_dict", fail)
    with pytest.raises(UserError, match=r"no network.*--teacher PATH"):
        pretrained("torchvision:resnet18", build_model("torchvision:resnet18", 10))


def test_models_of_scl_do_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    names: Sequence[str] = FAMILIES
    assert all(build_model(name, 10, width=0.1) for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "plain5",
        "plain11",
        "vgg8",
        "resnet8",
        "resnet8x4",
        "wrn_16_2",
        "torchvision:mobilenet_v2",
        "torchvision:vit_b_16",
    ],
)
def test_macs_are_those_of_torchs_counter(name: str) -> None:
    """Models of torchvision with attention are counted by it outright; the others by their layers."""
    size = 224 if "vit" in name else 32
    model = build_model(name, 10, 3, image_size=size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    assert macs(model, (3, size, size)) == counter.get_total_flops() // 2 > 0
