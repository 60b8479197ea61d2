"""The linear transform behind the deepest map: by hand, and folded into the classifier."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scl.models.build import build_model
from scl.models.fold import folded_state
from scl.models.staged import Wanted
from scl.models.transform import FeatureTransform

PLACES: dict[str, dict[str, Any]] = {
    "plain": {"name": "plain5"},
    "shallow": {"name": "plain3"},
    "vgg": {"name": "vgg8"},
    "residual": {"name": "resnet8x4"},
    "wide": {"name": "wrn_16_1"},
    "self-taught": {"name": "resnet8", "self_taught": 3},
    "taken": {"name": "plain5", "self_taught": 3, "self_taught_from": "taken"},
    "penultimate": {"name": "vgg8", "self_taught": 3, "self_taught_at": "penultimate"},
    "a branch": {"name": "wrn_16_1", "self_taught": 3, "self_taught_at": "branch"},
    "all guided": {"name": "plain5", "self_taught": 3, "guided": "all"},
    "all guided, a branch": {"name": "plain5", "self_taught": 3, "self_taught_at": "branch", "guided": "all"},
    "residual, all guided, a branch": {
        "name": "resnet8",
        "self_taught": 3,
        "self_taught_at": "branch",
        "guided": "all",
    },
    "wide, all guided": {"name": "wrn_16_1", "self_taught": 3, "guided": "all"},
}


def built(case: str, expanded: int = 24) -> Any:
    """A network with a transform, in float64, whose batch norms have seen images and have random weights."""
    torch.manual_seed(0)
    model: Any = build_model(num_classes=7, in_channels=1, width=0.125, image_size=16, **PLACES[case])
    if expanded:
        model.expand(expanded)
    model.double().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.5)
            nn.init.normal_(module.bias)
    for _ in range(3):
        model(images())
    return model


def images() -> Tensor:
    return torch.randn(6, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def normalised(x: Tensor, norm: Any, batch: bool) -> Tensor:
    """Batch norm of (B, C, H, W), by hand."""
    mean = x.mean((0, 2, 3)) if batch else norm.running_mean
    variance = x.var((0, 2, 3), correction=0) if batch else norm.running_var
    centred = (x - mean[:, None, None]) / (variance + norm.eps).sqrt()[:, None, None]
    return norm.weight[:, None, None] * centred + norm.bias[:, None, None]


@pytest.mark.parametrize("batch", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("case", PLACES)
def test_the_classifier_reads_the_map_its_contraction_and_the_self_taught_channels(case: str, batch: bool) -> None:
    model, bare = built(case), built(case)
    bare.transform = None
    for network in (model, bare):
        network.train(batch)
    features, before = model.features(images()), bare.features(images())
    deepest = before.maps[-1]
    transform = model.transform
    assert transform.channels == deepest.shape[1]
    matrices = [layer[0].weight.flatten(1) for layer in (transform.up, transform.down)]
    up = normalised(torch.einsum("oc,bchw->bohw", matrices[0], deepest), transform.up[1], batch)
    down = normalised(torch.einsum("oc,bchw->bohw", matrices[1], up), transform.down[1], batch)
    torch.testing.assert_close(features.maps[-1], up)
    weight = bare.classifier.weight[:, : deepest.shape[1]]
    torch.testing.assert_close(features.logits, before.logits + down.mean((2, 3)) @ weight.T)
    torch.testing.assert_close(features.cams.mean((2, 3)), features.logits)
    for one, two in zip(features.maps[:-1], before.maps[:-1], strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("expanded", [1, 5, 64])
@pytest.mark.parametrize("case", PLACES)
def test_folded_the_network_has_nothing_more_and_predicts_the_same(case: str, expanded: int) -> None:
    """Bitwise what the network in training predicts in evaluation, which the test above computes by hand."""
    model, plain = built(case, expanded).eval(), built(case, 0).eval()
    state = folded_state(model)
    assert {name: t.shape for name, t in state.items()} == {name: t.shape for name, t in plain.state_dict().items()}
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, model.state_dict()[name])}
    assert changed == {"classifier.weight", "classifier.bias"}
    plain.load_state_dict(state)
    for muted in (False, True):
        model.muted = plain.muted = muted
        assert torch.equal(plain(images()), model(images()))


def test_a_network_without_a_transform_has_its_own_state() -> None:
    model = build_model("plain3", 4, 1, 0.125)
    assert folded_state(model).keys() == model.state_dict().keys()
    linear = nn.Linear(2, 3)
    assert all(torch.equal(folded_state(linear)[name], tensor) for name, tensor in linear.state_dict().items())


def test_folding_draws_no_random_numbers_and_changes_nothing() -> None:
    model = built("residual")
    state, before = torch.random.get_rng_state(), {n: t.clone() for n, t in model.state_dict().items()}
    folded_state(model.eval())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_evaluation_computes_the_expanded_map_only_where_it_is_read() -> None:
    model = built("plain").eval()
    runs: list[int] = []
    model.transform.up.register_forward_hook(lambda *_: runs.append(1))
    model(images())
    assert not runs
    last = len(model.guided_channels) - 1
    alone = model.features(images(), wanted=Wanted(frozenset({last}), head=False))
    assert runs == [1]
    assert torch.equal(alone.maps[-1], model.features(images()).maps[-1])
    assert model.train().features(images(), wanted=Wanted(frozenset(), head=True)).maps[-1].numel() == 24 * 6 * 16


@pytest.mark.parametrize("autocast", [False, True])
def test_folding_computes_in_float64(autocast: bool) -> None:
    torch.manual_seed(0)
    transform, classifier = FeatureTransform(64, 512), nn.Linear(70, 100)
    for _ in range(3):
        transform(torch.randn(8, 70, 4, 4), classifier, True)
    exact = copy.deepcopy(transform).double().eval().folded(copy.deepcopy(classifier).double())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        folded = transform.eval().folded(classifier)
    assert torch.equal(folded.weight, exact.weight.float())
    assert torch.equal(folded.bias, exact.bias.float())
    assert not any(p.requires_grad for p in folded.parameters())
