"""Networks of torchvision: guided layers by stage and by path, pretrained weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scl.errors import UserError
from scl.models.build import build_model, pretrained
from scl.models.networks import start_from
from scl.models.staged import Features
from tests.support.models import images


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
    with pytest.raises(UserError, match="cannot process images of 32×32"):
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
    assert set(model.state_dict()) - set(filled) == (set() if whole else {"net.fc.weight", "net.fc.bias"})
    start_from(model, filled)
    assert torch.equal(model.net.layer4[0].conv1.weight, weights["layer4.0.conv1.weight"])
    assert torch.equal(model.net.fc.weight, weights["fc.weight"]) if whole else model.net.fc.out_features == 10


def test_no_download_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    def fail(self: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(type(models.get_model_weights("resnet18").DEFAULT), "get_state_dict", fail)
    with pytest.raises(UserError, match=r"no network.*--teacher PATH"):
        pretrained("torchvision:resnet18", build_model("torchvision:resnet18", 10))


@pytest.mark.parametrize(
    ("name", "field", "known"),
    [
        ("mobilenet_v2", "dropout", True),
        ("mobilenet_v3_small", "drop_path", False),  # takes any option, and ignores it
        ("resnet18", "dropout", False),
        ("densenet121", "dropout", True),
    ],
)
def test_dropout_is_the_networks_own_or_refused(name: str, field: str, known: bool) -> None:
    def weights(**options: float) -> list[Tensor]:
        torch.manual_seed(0)
        return list(build_model(f"torchvision:{name}", 10, image_size=32, **options).state_dict().values())  # type: ignore[arg-type]

    if known:
        assert all(map(torch.equal, weights(), weights(**{field: 0.3})))
    else:
        with pytest.raises(UserError, match=f"torchvision:{name} has no {field} that can be set"):
            weights(**{field: 0.3})
