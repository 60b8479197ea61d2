"""Networks by name: what cannot be built, and multiply-accumulates."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scl.errors import UserError
from scl.models.build import build_model, macs
from tests.support.models import FAMILIES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"self_taught": (1, 2)}, "has 4 guided layers"),
        ({"self_taught": 64, "self_taught_from": "taken"}, "64 cannot be taken from the 64 channels of guided layer 0"),
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
    """Models of torchvision with attention are counted by it outright; the others by their layers. It does not see the
    products of fused attention, so ViT-B/16 would have 11.3 instead of its 17.6 billion."""
    size = 224 if "vit" in name else 32
    model = build_model(name, 10, 3, image_size=size)
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    torch.backends.mha.set_fastpath_enabled(True)
    assert macs(model, (3, size, size)) == counter.get_total_flops() // 2 > 0


def test_parameters_and_macs_of_plain5_by_hand() -> None:
    model = build_model("plain5", 100)
    widths = [3, 64, 128, 256, 512]
    convolutions = [9 * a * b for a, b in pairwise(widths)]
    assert sum(p.numel() for p in model.parameters()) == sum(convolutions) + 2 * sum(widths[1:]) + 512 * 100 + 100
    sides = [32, 16, 8, 4]
    expected = sum(c * s * s for c, s in zip(convolutions, sides, strict=True)) + 512 * 100
    assert macs(model, (3, 32, 32)) == expected
