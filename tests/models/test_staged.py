"""Self-taught neurons: which losses reach them, and what reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.losses.correlation import channel_correlation, spatial_correlation
from scl.models.build import build_model
from scl.models.staged import Wanted
from tests.support.models import FAMILIES, PLACES, build, images


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


@pytest.mark.parametrize("name", ["plain3", "plain5", "vgg8", "resnet8", "resnet8x4", "wrn_16_1"])
@pytest.mark.parametrize("out", [1, 6, 129])
def test_a_projector_stands_between_the_deepest_stage_and_the_classifier(name: str, out: int) -> None:
    x = torch.randn(2, 1, 16, 16)
    model, bare = (build_model(name, 10, 1, 0.25, projector=channels).eval() for channels in (out, 0))
    model.load_state_dict(
        {**model.state_dict(), **{n: t for n, t in bare.state_dict().items() if "classifier" not in n}}
    )
    for tap in ("relu", "bn", "block"):
        features, before = model.features(x, tap), bare.features(x, "relu")
        projected = model.projector.layers(before.maps[-1])
        torch.testing.assert_close(features.maps[-1], projected if tap == "bn" else projected.relu())
        torch.testing.assert_close(features.embedding, projected.relu().mean((2, 3)))
        torch.testing.assert_close(features.logits, model.classifier(features.embedding))
        for one, two in zip(features.maps[:-1], bare.features(x, tap).maps[:-1], strict=True):
            assert torch.equal(one, two)
        alone = model.features(x, tap, Wanted(frozenset({len(features.maps) - 1}), head=False))
        assert torch.equal(alone.maps[-1], features.maps[-1])
    channels, inside = before.maps[-1].shape[1], max(1, out // 2)
    weights = channels * inside + 9 * inside**2 + inside * out + 2 * (2 * inside + out)  # batch norms: two numbers each
    of_classifiers = 10 * (out + 1) - 10 * (channels + 1)
    assert (
        sum(p.numel() for p in model.parameters())
        == sum(p.numel() for p in bare.parameters()) + weights + of_classifiers
    )
