"""Teachers from timm, which is optional: these tests skip where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scl.errors import UserError
from scl.models.build import build_model, pretrained
from scl.models.staged import Features
from scl.store.results import load
from tests.support.studies import SMALL, run_study


def test_without_timm_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install '\.\[timm\]'"):
        build_model("timm:resnet18", 10)


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm", reason="timm is an extra")


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ("act1", "layer1", "layer2", "layer3")),
        ("convnext_pico", ("stages.0", "stages.1", "stages.2")),
        ("vit_tiny_patch16_224", ("norm",)),
        ("swin_tiny_patch4_window7_224", ("layers.0", "layers.1", "layers.2")),
        ("mobilenetv3_small_100", ("bn1", "blocks.0", "blocks.1", "blocks.3")),
    ],
)
def test_guided_layers_of_timm_are_found_by_stage(timm: Any, name: str, layers: tuple[str, ...]) -> None:
    model = build_model(f"timm:{name}", 10, in_channels=1).eval()
    assert model.layers == layers
    features: Features = model.features(torch.rand(2, 1, 32, 32))
    sides = [m.shape[2] for m in features.maps]
    assert sides == sorted(sides, reverse=True)
    assert all(m.ndim == 4 and m.shape[2] == m.shape[3] > 1 for m in features.maps)
    assert (features.logits.shape, features.embedding.ndim) == ((2, 10), 2)


def test_the_wrapped_network_is_timm_s(timm: Any) -> None:
    torch.manual_seed(0)
    model = build_model("timm:resnet18", 10, layers=("layer2", "layer1.0.bn1")).eval()
    plain = timm.create_model("resnet18", num_classes=10).eval()
    plain.load_state_dict(model.net.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(images), plain(images))
    deep, inner = model.features(images).maps
    assert (deep.shape[1:], inner.shape[1:]) == ((128, 4, 4), (64, 8, 8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_18", "did you mean resnet18"),
        ("hf-hub:somebody/anything", "unknown timm model"),
        ("local-dir:/tmp", "unknown timm model"),
    ],
)
def test_only_names_of_timm_are_taken(timm: Any, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(f"timm:{name}", 10)


@pytest.mark.parametrize(("classes", "whole"), [(1000, True), (10, False)])
def test_pretrained_weights_are_those_of_timm(
    timm: Any, monkeypatch: pytest.MonkeyPatch, classes: int, whole: bool
) -> None:
    asked = []
    create = timm.create_model

    def stand_in(name: str, pretrained: bool, **options: Any) -> Any:  # the hub is not asked in tests
        asked.append(pretrained)
        torch.manual_seed(3)
        net = create(name, pretrained=False, **options)
        return net

    model = build_model("timm:resnet18", classes)
    monkeypatch.setattr(timm, "create_model", stand_in)
    weights, all_fit = pretrained("timm:resnet18", model)
    assert True in asked
    assert all_fit == whole
    assert set(model.state_dict()) - set(weights) == (set() if whole else {"net.fc.weight", "net.fc.bias"})


def test_no_download_names_the_way_out(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("timm:resnet18", 10)

    def fail(*names: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError, match=r"no network.*--teacher PATH"):
        pretrained("timm:resnet18", model)


def test_a_timm_teacher_from_the_command_line(timm: Any, tmp_path: Path) -> None:
    flags = ["--out", str(tmp_path), "--arms", "scl", "--seeds", "1", "--epochs", "1", "--limit", "100"]
    assert run_study(SMALL, *flags, "--teacher-model", "timm:mobilenetv3_small_100") == 0
    loaded = load(str(tmp_path / "small"))
    assert loaded.study["teacher"]["model"] == "timm:mobilenetv3_small_100"
    assert list(loaded.trials["state"]) == ["completed", "completed"]
