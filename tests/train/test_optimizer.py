"""Updates against torch's own optimizer classes; groups by layer; state."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from scl.errors import UserError
from scl.models.build import build_model
from scl.study.config import Config
from scl.train.optimizer import STATE, UPDATES, Optimizer, layers_of

CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.95), "eps": 1e-6}),
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.95), "eps": 1e-6}),
    "nadam": (torch.optim.NAdam, {"betas": (0.8, 0.95), "eps": 1e-6}),
    "radam": (torch.optim.RAdam, {"betas": (0.8, 0.95), "eps": 1e-6}),
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(4 * 36, 5))


def backward(net: nn.Module, step: int) -> None:
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(step))
    for parameter in net.parameters():
        parameter.grad = None
    nn.functional.cross_entropy(net(images), torch.arange(6) % 5).backward()


def test_every_optimizer_has_its_table() -> None:
    assert set(CLASSES) == set(STATE) == set(UPDATES)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_steps_are_those_of_torchs_class(name: str, clip: float) -> None:
    ours, theirs = network(), network()
    fields = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "clip_norm": clip}
    mine = Optimizer(Config(optimizer=name, **fields), ours)  # type: ignore[arg-type]
    kind, options = CLASSES[name]
    reference = kind(theirs.parameters(), lr=0.01, weight_decay=0.1, **options)
    for step in range(8):
        backward(ours, step)
        backward(theirs, step)
        if clip:
            nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        mine.step(0.01)
        reference.step()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_a_parameter_may_get_its_first_gradient_later(name: str) -> None:
    ours, theirs = network(), network()
    fields = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    mine = Optimizer(Config(optimizer=name, **fields), ours)  # type: ignore[arg-type]
    kind, options = CLASSES[name]
    reference = kind(theirs.parameters(), lr=0.01, weight_decay=0.1, **options)
    for step in range(5):
        for net in (ours, theirs):
            backward(net, step)
            if step < 2:
                net[0].weight.grad = net[4].bias.grad = None  # type: ignore[union-attr]
        mine.step(0.01)
        reference.step()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_groups_are_those_of_torchs_class() -> None:
    ours, theirs = network(), network()
    config = Config(optimizer="adamw", weight_decay=0.3, decay_norms=False, head_lr=5.0, layer_decay=0.5)
    mine = Optimizer(config, ours)
    conv, norm, head = theirs[0], theirs[1], theirs[4]
    groups = [
        {"params": [conv.weight], "lr": 0.005, "weight_decay": 0.3},
        {"params": [norm.weight, norm.bias], "lr": 0.005, "weight_decay": 0.0},
        {"params": [head.weight], "lr": 0.05, "weight_decay": 0.3},
        {"params": [head.bias], "lr": 0.05, "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups)
    for step in range(4):
        backward(ours, step)
        backward(theirs, step)
        mine.step(0.01)
        reference.step()
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_loaded_state_continues_bitwise_and_parameters_without_gradients_stay(name: str) -> None:
    config = Config(optimizer=name)
    one, other = network(), network()
    extra = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))]
    first, second = Optimizer(config, one, extra[:1]), Optimizer(config, other, extra[1:])
    for step in range(3):
        backward(one, step)
        first.step(0.01)
    other.load_state_dict(one.state_dict())
    second.load({**first.tensors(), "model.0.weight": torch.zeros(1)}, captured=False)
    for net, optimizer in ((one, first), (other, second)):
        backward(net, 3)
        optimizer.step(0.01)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(extra[0], torch.ones(2))
    first.reset()
    assert first.tensors() == {}


@pytest.mark.parametrize(
    ("name", "layers", "first"),
    [
        ("plain5", 5, 0.5**4),
        ("resnet8", 5, 0.5**4),
        ("torchvision:resnet18", 10, 0.5**9),  # stem, 8 blocks, classifier
        ("torchvision:mobilenet_v3_small", 15, 0.5**14),
        ("torchvision:vit_b_32", 14, 0.5**13),
    ],
)
def test_layers_are_blocks_from_the_images_to_the_classifier(name: str, layers: int, first: float) -> None:
    with torch.device("meta"):
        net = build_model(name, 10) if name[0] != "t" else library(name)
    found = layers_of(net)
    assert sum(map(len, found)) == len(list(net.parameters()))
    assert len(found) == layers
    groups = Optimizer(Config(layer_decay=0.5, optimizer="adamw"), net).groups
    assert min(group.factor for group in groups) == first
    assert max(group.factor for group in groups) == 1.0


def library(name: str) -> nn.Module:
    from torchvision import models

    net: nn.Module = models.get_model(name.partition(":")[2], weights=None, num_classes=10)
    return net


def test_a_network_without_a_linear_classifier_has_no_rate_for_it() -> None:
    with pytest.raises(UserError, match="no linear layer as its classifier"):
        Optimizer(Config(head_lr=2.0), nn.Sequential(nn.Conv2d(3, 10, 1)))


def test_no_optimizer_imports_torchs_compiler() -> None:
    script = """
import sys, torch
from torch import nn
from scl.study.config import Config
from scl.study.fields import WORDS
from scl.train.optimizer import Optimizer
for name in WORDS["optimizer"]:
    net = nn.Linear(3, 2)
    net(torch.ones(1, 3)).sum().backward()
    Optimizer(Config(optimizer=name, clip_norm=1.0), net).step(0.1)
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
