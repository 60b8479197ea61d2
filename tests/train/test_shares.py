"""Weights by share: recomputed by hand, fixed after the first steps, and the same however a trial runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.models.networks import build_student, example_features
from scl.models.staged import Features
from scl.store.files import open_folder
from scl.study.config import Config
from scl.study.loss_table import LOSSES
from scl.study.term import Term
from scl.train import shares
from scl.train.cuda_graphs import GraphRunner, StreamSlot
from scl.train.student import StudentTrainer
from scl.train.teacher import Teacher
from scl.train.types import TrialSpec
from tests.support.studies import CPU
from tests.support.training import BASE, ends, stop_after, train

STEPS = 3  # of the epochs in which shares are recomputed
MOVING, WINDOW = 2 * STEPS - 1, 2  # in place of 64 and 8


class Learned(nn.Module):
    """A custom loss with parts that learn."""

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.net = nn.Conv2d(student, teacher, 1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return 1e4 * (self.net(student).mean((2, 3)) - teacher.mean((2, 3))).square().mean()


class Network(nn.Module):
    """An own network; the last layer is its classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x).mean((2, 3)))


def numbers(step: int) -> Tensor:
    """Of the images of a step."""
    return torch.arange(step * 32, step * 32 + 32)


def stage(config: Config, tiny: SplitData) -> tuple[StudentTrainer, Callable[[int], tuple[Tensor, Tensor, Features]]]:
    """A student in training, and its batches with the features of a random teacher."""
    network = build_student(Config(model="plain7", width=0.25), tiny, 1).eval()
    example = example_features(network, tiny, config.tap)
    one = StudentTrainer(TrialSpec("one", config, 0), tiny, example, CPU, StreamSlot(CPU, graphs=False))

    def batch(step: int) -> tuple[Tensor, Tensor, Features]:
        images = tiny.train.images[step * 32 : step * 32 + 32] / 255
        target = tiny.train.labels[step * 32 : step * 32 + 32]
        if config.augment.startswith("mixup"):
            target = (0.7 * torch.eye(10)[target] + 0.3 * torch.eye(10)[target.roll(1)]).float()
        with torch.no_grad():
            return images, target, network.features(images, config.tap)  # type: ignore[operator]

    return one, batch


def ratio_by_hand(
    one: StudentTrainer, name: str, step: int, images: Tensor, target: Tensor, teacher: Features
) -> float:
    """From a whole backward pass of each loss, each on copies of network and objective."""
    sizes = {}
    torch.manual_seed(one.draw_seed + one.epoch * STEPS + step)
    for loss in ("ce", name):
        network, objective = copy.deepcopy((one.model, one.objective))
        features = network.features(images, one.config.tap)
        if loss == "ce":
            smooth = one.config.label_smoothing
            torch.nn.functional.cross_entropy(features.logits, target, label_smoothing=smooth).backward()
        else:
            values = objective(features, teacher, target, one.config.total_epochs, images, numbers(step))
            values[loss].backward()
        sizes[loss] = {n: p.grad.norm() for n, p in network.named_parameters() if p.grad is not None}
    trunk = [n for n in sizes[name] if "classifier" not in n and "transform" not in n]
    both = [math.sqrt(sum(float(sizes[loss][n]) ** 2 for n in trunk)) for loss in (name, "ce")]
    return both[0] / both[1]


KD = Term(share=0.3, options={"temperature": 4.0})
BY_HAND: dict[str, dict[str, Any]] = {
    "logits": {"losses": {"kd": KD}},
    "connectors": {"losses": {"hint": Term(share=1.0)}, "connector": "always"},
    "one shallow layer": {"losses": {"spatial": Term(share=2.0, layers=(0,))}},
    "beside a weight": {"losses": {"kd": 0.5, "ickd": Term(share=0.1)}, "ce": 0.1},
    "two, one with a weight": {"losses": {"kd": KD, "channel": Term(2.0, share=0.25)}},
    "no cross-entropy": {"losses": {"kd": KD}, "ce": 0.0, "label_smoothing": 0.1},
    "warm-up": {"losses": {"sp": Term(share=0.5, warmup=4)}},
    "self-taught": {"losses": {"channel": Term(share=0.3)}, "self_taught": 4},
    "a branch": {"losses": {"pkt": Term(share=0.3)}, "self_taught": (0, 2, 0, 1), "self_taught_at": "branch"},
    "mixed targets": {"losses": {"kd": KD}, "augment": "mixup"},
    "accumulated": {"losses": {"at": Term(share=0.3)}, "accumulate": 2},
    "averaged": {"losses": {"dist": Term(share=0.3)}, "ema": 0.9},
    "learned parts": {"losses": {"mine": Term(share=0.3, loss=Learned)}},
    "own network": {"model": Network, "width": 1.0, "losses": {"kd": KD}},
}


PROJECTED: dict[bool, dict[str, Any]] = {True: {"projector": 128}, False: {}}  # the teacher's deepest map is so wide
EVERY = {name: {"losses": {name: Term(share=0.3)}, **PROJECTED[row.reuses]} for name, row in LOSSES.items()}


@pytest.mark.parametrize("case", [*BY_HAND, *(pytest.param(name, marks=pytest.mark.slow) for name in EVERY)])
def test_weights_are_the_shares_over_the_ratios_of_whole_gradients(
    case: str, tiny: SplitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "STEPS", MOVING)
    monkeypatch.setattr(shares, "WINDOW", WINDOW)
    config = BASE.replace(**{**BY_HAND, **EVERY}[case])
    one, batch = stage(config, tiny)
    named = {name: term for name, term in config.losses.items() if term.share is not None}
    ratios: dict[str, list[float]] = {name: [] for name in named}
    for epoch in (1, 2, 3):
        used: dict[str, list[float]] = {name: [] for name in named}
        one.start_epoch(STEPS, CPU)
        for step in range(STEPS):
            for name in named:
                ratios[name].append(ratio_by_hand(one, name, step, *batch(step)))
            one.step(*batch(step), step, STEPS, numbers(step))
            for name, term in named.items():
                ramp = min(1.0, epoch / term.warmup) if term.warmup else 1.0
                window = ratios[name][:MOVING][-WINDOW:]
                mean = math.prod(window) ** (1 / len(window))
                used[name].append(term.weight * ramp * term.share / mean)  # type: ignore[operator]
                assert one.weights[name] == pytest.approx(used[name][-1], rel=1e-3), (name, epoch, step)
        values = {name: one.values[:, list(one.weights).index(name)].tolist() for name in named}
        one.end_epoch([32] * STEPS, {})
        row = one.history[-1]
        for name in named:
            assert row[f"share.{name}"] == pytest.approx(ratios[name][-STEPS] * used[name][0], rel=1e-3)
            assert row[f"weight.{name}"] == one.weights[name] == pytest.approx(used[name][-1], rel=1e-3)
            mean = sum(w * v for w, v in zip(used[name], values[name], strict=True)) / STEPS
            assert row[f"weighted.{name}"] == pytest.approx(mean, rel=1e-3)
        assert row["train_loss"] == pytest.approx(sum(v for k, v in row.items() if k.startswith("weighted.")))
    for name, term in named.items():  # in the first step, the share is what was asked for
        ramp = 1 / term.warmup if term.warmup else 1.0
        assert one.history[0][f"share.{name}"] == pytest.approx(term.weight * ramp * term.share)  # type: ignore[operator]


SHARED = {
    "several": BASE.replace(
        losses={
            "kd": Term(share=0.3),
            "hint": Term(share=0.5, warmup=2),
            "mine": Term(share=0.3, loss=Learned),
            "at": 2.0,
        },
        **{"connector": "always", "self_taught": 4, "ema": 0.9, "accumulate": 2, "epochs": 2},
    ),
    "fsp first": BASE.replace(
        losses={"fsp": Term(5.0, stage="pretrain"), "spatial": Term(share=0.3, end=1)}, pretrain_epochs=1, epochs=2
    ),
}


@pytest.mark.parametrize(
    ("steps", "stops"), [(9, (0, 1)), pytest.param(3, (0, 1), marks=pytest.mark.slow)], ids=["two epochs", "one epoch"]
)
def test_alone_in_a_cohort_and_resumed_are_bitwise_equal(
    steps: int, stops: tuple[int, ...], tiny: SplitData, teacher: Teacher, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(shares, "STEPS", steps)
    together = ends([TrialSpec(name, config, 0) for name, config in SHARED.items()], tiny, teacher)
    for i, (name, config) in enumerate(SHARED.items()):
        assert together[name].metrics["error"] is None
        for stop in stops:
            trial = TrialSpec(name, config, 0, open_folder(str(tmp_path / f"{i}-{stop}")) if stop else None)
            if stop:
                stop_after(stop, trial, tiny, teacher)
            (ended,) = ends([trial], tiny, teacher).values()
            assert ended.epochs == together[name].epochs
            assert torch.equal(ended.test_logits, together[name].test_logits)


def test_terms_without_a_share_have_neither_columns_nor_further_backward_passes(
    tiny: SplitData, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.autograd, "grad", None)
    (ended,) = train(["both"], tiny, teacher).values()
    assert ended.metrics["state"] == "completed"
    assert {name.partition(".")[0] for name in ended.epochs[0] if "." in name} == {"term", "weighted"}
    off = BASE.replace(losses={"kd": Term(0.0, share=0.3)})
    (ended,) = ends([TrialSpec("off", off, 0)], tiny, teacher).values()
    assert ended.metrics["state"] == "completed"


def test_steps_that_measure_run_outside_of_graphs(tiny: SplitData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "STEPS", 2)
    one, batch = stage(BASE.replace(losses={"kd": KD}), tiny)
    monkeypatch.setattr(shares, "WINDOW", 2)
    ran: list[tuple[int, int]] = []
    run = GraphRunner.__call__
    monkeypatch.setattr(
        GraphRunner, "__call__", lambda self, *a, **k: (ran.append((one.epoch, step)), run(self, *a, **k))[1]
    )
    for _ in range(2):
        one.start_epoch(STEPS, CPU)
        for step in range(STEPS):
            one.step(*batch(step), step, STEPS, numbers(step))
        one.end_epoch([32] * STEPS, {})
    assert ran == [(0, 2), (1, 1), (1, 2)]


def without_gradient(student: Tensor, teacher: Tensor) -> Tensor:
    return (0.0 * student).sum() + teacher.mean()


def of_no_finite_gradient(student: Tensor, teacher: Tensor) -> Tensor:
    return (0.0 * student).square().sum().sqrt()


def of_no_student(student: Tensor, teacher: Tensor) -> Tensor:
    return torch.zeros((), requires_grad=True) + teacher.mean()


@pytest.mark.parametrize(("loss", "ce"), [(without_gradient, 1.0), (of_no_finite_gradient, 0.0), (of_no_student, 0.0)])
def test_a_term_without_a_gradient_fails_its_trial_alone(
    loss: Callable[..., Tensor], ce: float, tiny: SplitData, teacher: Teacher
) -> None:
    config = BASE.replace(losses={"mine": Term(share=0.3, loss=loss)}, ce=ce, epochs=1)
    other = BASE.replace(losses={"kd": KD}, epochs=1)
    ended = ends([TrialSpec("bad", config, 0), TrialSpec("kd", other, 0)], tiny, teacher)
    assert ended["bad"].metrics["state"] == "failed"
    assert ended["bad"].metrics["error"].startswith("loss 'mine': share=0.3 gives no weight, since in each of the")
    assert "Term(0.9)" in ended["bad"].metrics["error"]
    assert ended["kd"].metrics["state"] == "completed"


class LateGradient(nn.Module):
    """A custom loss whose gradient is 0 or not finite in its first steps."""

    def __init__(self, student: int, teacher: int, root: bool = False) -> None:
        super().__init__()
        self.steps, self.root = 0, root

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        self.steps += 1
        far = (student.mean() - teacher.mean()).square()
        if self.steps > 2:
            return far
        return (0 * far).sqrt() if self.root else 0 * far


@pytest.mark.parametrize("root", [False, True])
def test_steps_without_a_ratio_do_not_count(root: bool, tiny: SplitData, teacher: Teacher) -> None:
    term = Term(share=0.3, loss=LateGradient, layers=(-1,), options={"root": root})
    (ended,) = ends([TrialSpec("late", BASE.replace(losses={"mine": term}, epochs=2), 0)], tiny, teacher).values()
    assert ended.metrics["error"] is None
    assert 0 < ended.epochs[0]["weight.mine"] < math.inf
    assert ended.epochs[0].get("share.mine") == (None if root else 0.0)
    assert ended.epochs[1]["share.mine"] > 0
