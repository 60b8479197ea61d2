"""Networks compute only the wanted features, and those are bitwise the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scl.models.build import build_model
from scl.models.staged import Features, Wanted
from tests.support.models import moved

FAMILIES = ("plain5", "plain3", "vgg8", "resnet8", "wrn_16_1")


def gradients(model: nn.Module, features: Features, maps: frozenset[int]) -> list[torch.Tensor | None]:
    model.zero_grad()
    (sum(features.maps[i].square().sum() for i in maps) + features.logits.square().sum()).backward()  # type: ignore[union-attr]
    return [p.grad for p in model.parameters()]


@pytest.mark.parametrize("tap", ["relu", "bn", "block"])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_not_wanted_moves_no_bit_of_the_rest(name: str, tap: str) -> None:
    images = torch.rand(4, 3, 32, 32)
    guided = len(moved(name).features(images).maps)  # type: ignore[operator]
    for maps in (frozenset(), frozenset({guided - 1}), frozenset({0}), frozenset(range(guided))):
        model = moved(name)
        whole = model.features(images, tap)  # type: ignore[operator]
        expected = gradients(model, whole, maps)
        model = moved(name)
        part = model.features(images, tap, Wanted(maps, head=True))  # type: ignore[operator]
        assert torch.equal(part.logits, whole.logits)
        assert torch.equal(part.embedding, whole.embedding)
        for i in range(guided):
            assert torch.equal(part.maps[i], whole.maps[i]) if i in maps else part.maps[i].numel() == 0
        for got, want in zip(gradients(model, part, maps), expected, strict=True):
            assert torch.equal(got, want)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*FAMILIES, "torchvision:resnet18"])
def test_means_of_class_activation_maps_are_the_logits(name: str) -> None:
    width, side = (0.25, 16) if name in FAMILIES else (1.0, 64)
    model = build_model(name, 5, width=width, image_size=side).eval()
    images, head = torch.rand(2, 3, side, side), Wanted(frozenset(), head=True)
    without, given = model.features(images, wanted=head), model.features(images, wanted=head._replace(cams=True))  # type: ignore[operator]
    assert without.cams is None
    assert given.cams.shape[2] > 1
    torch.testing.assert_close(given.cams.mean((2, 3)), given.logits)
    assert torch.equal(given.logits, without.logits)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_ends_after_the_last_stage_that_is_wanted(name: str) -> None:
    model, images = moved(name).eval(), torch.rand(2, 3, 32, 32)
    ran: list[int] = []
    for i, stage in enumerate(model.stages):  # type: ignore[arg-type]
        stage.register_forward_hook(lambda *_, i=i: ran.append(i))
    whole = model.features(images)  # type: ignore[operator]
    ran.clear()
    part = model.features(images, wanted=Wanted(frozenset({0}), head=False))  # type: ignore[operator]
    assert ran == list(range(model.unguided_stages + 1))  # type: ignore[operator]
    assert torch.equal(part.maps[0], whole.maps[0])
    assert part.logits.numel() == part.embedding.numel() == 0
