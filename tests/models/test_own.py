"""Own networks are tried before anything trains, and train exactly: alone, in a cohort, and after a stop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scl.data.batches import Images, SplitData
from scl.errors import UserError
from scl.models.build import build_model, macs
from scl.models.networks import build_student
from scl.store.files import open_folder
from scl.study.config import Config
from scl.train.optimizer import Optimizer
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.networks import TRAINABLE, Net, Normed, Small
from tests.support.training import ends, stop_after

SHAPE = {"in_channels": 1, "image_size": 8}


@pytest.fixture(scope="module")
def few(tiny: SplitData) -> SplitData:
    def part(images: Images) -> Images:
        return Images(images.images[:48], images.labels[:48])

    return dataclasses.replace(tiny, train=part(tiny.train), val=part(tiny.val), test=part(tiny.test))


@pytest.fixture(scope="module")
def guide(few: SplitData, teacher: Teacher) -> Teacher:
    return dataclasses.replace(teacher, test_logits=teacher.test_logits[:48])


def config(network: Any) -> Config:
    return Config(
        model=network, epochs=2, batch_size=16, lr=0.02, losses={"channel": 0.1, "kd": 0.5},
        self_taught=1, self_taught_from="taken",
    )  # fmt: skip


def test_alone_in_a_cohort_and_resumed_are_bitwise_equal(few: SplitData, guide: Teacher, tmp_path: Path) -> None:
    trials = [TrialSpec(net.__name__, config(net), 0, open_folder(str(tmp_path / net.__name__))) for net in TRAINABLE]
    cohort = ends([dataclasses.replace(trial, files=None) for trial in trials], few, guide)
    assert {end.metrics["error"] for end in cohort.values()} == {None}
    for trial in trials:
        stop_after(1, trial, few, guide)
        (resumed,) = ends([trial], few, guide).values()
        assert resumed.metrics["restarts"] == 1
        assert resumed.epochs == cohort[trial.id].epochs, trial.id
        assert torch.equal(resumed.test_logits, cohort[trial.id].test_logits), trial.id
        assert resumed.metrics["test_acc_muted"] == cohort[trial.id].metrics["test_acc_muted"]
        for name, tensor in resumed.weights.items():
            assert torch.equal(tensor, cohort[trial.id].weights[name]), f"{trial.id}: {name}"


def test_the_recipe_holds_for_an_own_network_too(few: SplitData, guide: Teacher, tmp_path: Path) -> None:
    recipe = config(Net).replace(
        optimizer="adamw", lr=0.002, ema=0.5, patience=3, accumulate=2, head_lr=2.0, layer_decay=0.5, epochs=3
    )
    trial = TrialSpec("recipe", recipe, 0, open_folder(str(tmp_path / "recipe")))
    beside = TrialSpec("beside", config(Net), 0, None)
    cohort = ends([dataclasses.replace(trial, files=None), beside], few, guide)
    stop_after(1, trial, few, guide)
    (resumed,) = ends([trial], few, guide).values()
    assert resumed.metrics["error"] is None
    assert resumed.epochs == cohort["recipe"].epochs
    assert all(torch.equal(tensor, cohort["recipe"].weights[name]) for name, tensor in resumed.weights.items())


def test_the_classifier_is_the_layer_that_gives_the_logits() -> None:
    class HeadFirst(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(16, num_classes), nn.Linear(64, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.body(x.flatten(1))))

    model = build_model(HeadFirst, 10, **SHAPE)
    assert model.head == "head"
    groups = Optimizer(Config(model=HeadFirst, head_lr=3.0), model).groups
    head = {id(p) for p in model.net.head.parameters()}
    parameters = list(model.parameters())
    assert {id(parameters[i]) for g in groups if g.factor == 3.0 for i in g.indices} == head


def test_the_seed_alone_initialises_and_frozen_parts_stay(few: SplitData) -> None:
    for network in TRAINABLE:
        one, same, other = (build_student(config(network), few, seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_layers_embedding_and_logits_of_an_own_network() -> None:
    model = build_model(Net, 10, **SHAPE)
    assert model.layers == ("first", "second")
    features = model.features(torch.randn(2, 1, 8, 8))
    assert [tuple(m.shape) for m in features.maps] == [(2, 4, 8, 8), (2, 6, 4, 4)]
    assert features.embedding.shape == (2, 96)
    vit = build_model(Small, 10, **SHAPE)
    assert vit.layers == ("block",)
    assert vit.features(torch.randn(3, 1, 8, 8)).maps[0].shape == (3, 8, 4, 4)
    assert build_model(Normed, 10, **SHAPE)(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    with pytest.raises(UserError, match=r"'firs'.*did you mean 'first'"):
        build_model(Net, 10, layers=("firs",), **SHAPE)


def test_products_outside_of_layers_are_counted() -> None:
    class Product(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.fc = nn.Linear(64, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            x = x[:, 0]
            return self.fc((x @ x).flatten(1))

    assert macs(build_model(Product, 10, **SHAPE), (1, 8, 8)) == 8**3 + 64 * 10


class Bad(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(64, num_classes)
        self.setup()

    def setup(self) -> None: ...

    def forward(self, x: Tensor) -> Any:
        return self.fc(x.flatten(1))


def bad(forward: Any = None, setup: Any = None) -> type[nn.Module]:
    members = {name: f for name, f in (("forward", forward), ("setup", setup)) if f is not None}
    return type("Bad", (Bad,), members)


def in_evaluation(change: Any) -> Any:
    def forward(self: Any, x: Tensor) -> Tensor:
        change(self)
        return self.fc(x.flatten(1))

    return forward


REFUSED = {
    "raises": (bad(setup=lambda self: 1 / 0), r"Bad\(num_classes=10\) raised ZeroDivisionError"),
    "exits": (bad(setup=lambda self: exit(3)), "raised SystemExit"),
    "other size": (bad(lambda self, x: self.fc(x)), r"cannot process images \(3, 1, 8, 8\)"),
    "a pair": (bad(lambda self, x: (x, x)), "returns tuple; it must return logits"),
    "nothing": (bad(lambda self, x: None), "returns NoneType"),
    "features": (bad(lambda self, x: x.flatten(1)), r"returns \(3, 64\).*wanted logits \(B, K\) = \(3, 10\)"),
    "squeezed": (bad(lambda self, x: self.fc(x.flatten(1)).squeeze()), r"returns \(10,\).*images \(1, 1, 8, 8\)"),
    "labels": (bad(lambda self, x: self.fc(x.flatten(1)).long()), "of floating point"),
    "NaN": (bad(lambda self, x: self.fc(x.flatten(1)) * float("nan")), "not finite before it has trained"),
    "noise": (bad(lambda self, x: self.fc(x.flatten(1)) + torch.rand(1)), "other logits for the same images"),
    "dropout": (bad(lambda self, x: F.dropout(self.fc(x.flatten(1)))), "other logits for the same images"),
    "batch": (bad(lambda self, x: self.fc((x - x.mean(0)).flatten(1))), "depend on the other images of its batch"),
    "no parameters": (bad(setup=lambda self: delattr(self, "fc")), "no parameters that train"),
    "all frozen": (bad(setup=lambda self: self.requires_grad_(False) and None), "no parameters that train"),
    "lazy": (bad(setup=lambda self: setattr(self, "lazy", nn.LazyLinear(3))), "a lazy module"),
    "late": (
        bad(in_evaluation(lambda self: None if hasattr(self, "late") else setattr(self, "late", nn.Linear(2, 2)))),
        "makes, removes or replaces late.bias in its forward",
    ),
    "counts": (
        bad(in_evaluation(lambda self: self.n.add_(1)), lambda self: self.register_buffer("n", torch.zeros(1))),
        "changes n in evaluation mode",
    ),
    "complex": (
        bad(setup=lambda self: self.register_buffer("z", torch.zeros(1, dtype=torch.complex64))),
        "z is torch.complex64",
    ),
    "seeds": (bad(setup=lambda self: torch.manual_seed(12345) and None), "calls torch.manual_seed"),
    "settings": (bad(setup=lambda self: torch.set_default_dtype(torch.float64)), "changes torch.set_default_dtype"),
    "grown state": (
        type("Bad", (Bad,), {"get_extra_state": lambda self: 1, "set_extra_state": lambda self, state: None}),
        "get_extra_state",
    ),
    "no module": (lambda num_classes: 3, "returned int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_cannot_be_right_is_refused(name: str) -> None:
    network, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        build_model(network, 10, **SHAPE)
    assert torch.get_default_dtype() == torch.float32


class Twice(Net):
    def inner(self, x: Tensor) -> Tensor:
        return self.again(self.again(x))

    def setup(self) -> None:
        self.again = nn.Conv2d(6, 6, 1)


def test_a_layer_that_runs_twice_is_not_found_and_refused_if_named() -> None:
    assert build_model(Twice, 10, **SHAPE).layers == ("first", "second")
    with pytest.raises(UserError, match="'again' runs more than once"):
        build_model(Twice, 10, layers=("again",), **SHAPE)


def test_neurons_are_taken_where_there_is_a_layer() -> None:
    taken: dict[str, Any] = {"self_taught_from": "taken"}
    with pytest.raises(UserError, match="no guided layer"):
        build_model(Bad, 10, self_taught=1, **taken, **SHAPE)
    with pytest.raises(UserError, match="4 cannot be taken from the 4 channels of guided layer 0"):
        build_model(Net, 10, self_taught=(4, 0), **taken, **SHAPE)
    with pytest.raises(UserError, match=r"2 guided layers"):
        build_model(Net, 10, self_taught=(1, 1, 1), **taken, **SHAPE)
    with pytest.raises(UserError, match=r"Net cannot be widened.*self_taught_from='taken'"):
        build_model(Net, 10, self_taught=1, **SHAPE)
    with pytest.raises(UserError, match="Net has no width factor"):
        build_model(Net, 10, width=2.0, **SHAPE)
