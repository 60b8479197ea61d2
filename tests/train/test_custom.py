"""A custom loss reaches nothing of its neighbours, and what it keeps is in checkpoints."""

from __future__ import annotations

import collections
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.study.config import Config
from scl.study.term import Term
from scl.train import custom
from scl.train.teacher import Teacher
from scl.train.types import TrialEnded, TrialFailure, TrialSpec
from tests.support.training import BASE, ends

SHARED = {"calls": 0}
SEEN: list[float] = []


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    return (student.mean((1, 2, 3)) - teacher.mean((1, 2, 3))).square().mean()


def value_of(loss: Callable[..., Any], audit: bool = True) -> Any:
    student = torch.rand(2, 3, 4, 4, requires_grad=True) * 1.0
    return custom.call("mine", loss, student, torch.rand(2, 5, 4, 4), audit)


def adds_in_place(student: Tensor, teacher: Tensor) -> Tensor:
    student.add_(1)
    return distance(student, teacher)


def writes_by_index(student: Tensor, teacher: Tensor) -> Tensor:
    student.detach()[0] = 0
    return distance(student, teacher)


def writes_by_data(student: Tensor, teacher: Tensor) -> Tensor:
    student.data.mul_(2)
    return distance(student, teacher)


def writes_by_numpy(student: Tensor, teacher: Tensor) -> Tensor:
    student.detach().numpy()[:] = 1
    return distance(student, teacher)


def clamps_a_view(student: Tensor, teacher: Tensor) -> Tensor:
    with torch.no_grad():
        student.flatten(1).clamp_(max=0.1)
    return distance(student, teacher)


@pytest.mark.parametrize(
    "loss", [adds_in_place, writes_by_index, writes_by_data, writes_by_numpy, clamps_a_view], ids=lambda f: f.__name__
)
def test_a_loss_that_writes_into_the_students_features_is_named(loss: Callable[..., Any]) -> None:
    with pytest.raises(TrialFailure, match=r"loss 'mine' writes into the student's features.*student.clone\(\)"):
        value_of(loss)


def test_features_that_are_not_numbers_are_not_taken_for_changed_ones() -> None:
    student = torch.full((2, 3, 4, 4), torch.nan, requires_grad=True) * 1.0
    assert custom.call("mine", distance, student, torch.rand(2, 5, 4, 4), audit=True).isnan()


def test_the_teachers_features_are_the_losss_own_copy() -> None:
    teacher = torch.rand(2, 5, 4, 4), torch.rand(2, 5, 2, 2)
    before = [t.clone() for t in teacher]

    def writes(student: Any, teacher: Any) -> Tensor:
        for t in teacher:
            t.zero_()
        return student[0].mean() + teacher[0].mean()  # type: ignore[no-any-return]

    student = (torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 2, 2))
    custom.call("mine", writes, student, teacher, audit=True)
    assert all(map(torch.equal, teacher, before))


@pytest.mark.parametrize("setting", custom.SETTINGS)
def test_a_loss_that_changes_a_setting_of_torch_is_named_and_the_setting_restored(setting: str) -> None:
    read, write = custom.SETTINGS[setting]
    before = read()
    other: Any = {
        "torch.set_default_dtype": torch.float64,
        "torch.set_num_threads": 7,
        "torch.set_float32_matmul_precision": "medium",
        "numpy.seterr": tuple((name, "raise") for name in dict(np.geterr())),
    }.get(setting, not before)

    def changes(student: Tensor, teacher: Tensor) -> Tensor:
        write(other)
        return distance(student, teacher)

    with pytest.raises(TrialFailure, match=f"loss 'mine' changes {setting}, which other arms share"):
        value_of(changes)
    assert read() == before


def test_a_setting_is_restored_after_a_loss_that_raised() -> None:
    def raises(student: Tensor, teacher: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        value_of(raises)
    assert torch.get_default_dtype() == torch.float32


# --- variables outside -------------------------------------------------------------------------------------------


def counts_in_a_dict(student: Tensor, teacher: Tensor) -> Tensor:
    SHARED["calls"] += 1
    return distance(student, teacher) * SHARED["calls"]


def keeps_a_list(student: Tensor, teacher: Tensor) -> Tensor:
    SEEN.append(float(student.detach().mean()))
    return distance(student, teacher)


def counts_in_an_attribute(student: Tensor, teacher: Tensor) -> Tensor:
    counts_in_an_attribute.calls += 1  # type: ignore[attr-defined]
    return distance(student, teacher)


counts_in_an_attribute.calls = 0  # type: ignore[attr-defined]


def counts_in_a_default(student: Tensor, teacher: Tensor, calls: list[int] = [0]) -> Tensor:  # noqa: B006
    calls[0] += 1
    return distance(student, teacher)


def made_with_a_counter() -> Callable[..., Tensor]:
    calls = 0

    def counts_in_a_closure(student: Tensor, teacher: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return distance(student, teacher)

    return counts_in_a_closure


class CountsInItsClass(nn.Module):
    calls = 0

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        type(self).calls += 1
        return distance(student, teacher)


OUTSIDE = [counts_in_a_dict, keeps_a_list, counts_in_an_attribute, counts_in_a_default, made_with_a_counter()]


@pytest.mark.parametrize("loss", [*OUTSIDE, CountsInItsClass], ids=lambda f: f.__name__)
def test_a_loss_that_changes_variables_outside_fails_and_its_neighbours_go_on(
    loss: Callable[..., Any], tiny: SplitData, teacher: Teacher
) -> None:
    arms = {"baseline": BASE, "mine": with_loss(loss)}
    ended = trained(arms, tiny, teacher)
    assert ended["baseline"].metrics["state"] == "completed"
    assert ended["mine"].metrics["state"] == "failed"
    assert "changed while it trained. It is outside of the loss" in ended["mine"].metrics["error"]


def with_loss(loss: Callable[..., Any]) -> Config:
    return BASE.replace(losses={"mine": Term(1.0, loss=loss)})


def trained(arms: dict[str, Config], data: SplitData, teacher: Teacher) -> dict[str, TrialEnded]:
    return ends([TrialSpec(arm, config, 0) for arm, config in arms.items()], data, teacher)


def spoils_the_teacher(student: Tensor, teacher: Tensor) -> Tensor:
    teacher.data.zero_()
    return distance(student, teacher)


@pytest.mark.parametrize("loss", [spoils_the_teacher, adds_in_place, writes_by_data, keeps_a_list])
def test_the_numbers_of_other_arms_stay_whatever_a_loss_does(
    loss: Callable[..., Any], tiny: SplitData, teacher: Teacher
) -> None:
    other = BASE.replace(losses={"at": Term(10.0), "kd": Term(0.9)})
    alone = trained({"other": other}, tiny, teacher)["other"]
    beside = trained({"a": with_loss(loss), "other": other, "z": with_loss(loss)}, tiny, teacher)["other"]
    assert [row["train_loss"] for row in alone.epochs] == [row["train_loss"] for row in beside.epochs]
    assert all(torch.equal(beside.weights[name], tensor) for name, tensor in alone.weights.items())


# --- random streams ----------------------------------------------------------------------------------------------


def draws(student: Tensor, teacher: Tensor) -> Tensor:
    return distance(student, teacher) * (1 + random.random() + np.random.rand() + torch.rand(1).item())


def draws_much(student: Tensor, teacher: Tensor) -> Tensor:
    [random.random() for _ in range(7)]
    np.random.rand(13)
    return distance(student, teacher)


class DrawsAtFirst(nn.Module):
    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(random.random() + float(np.random.rand())))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return distance(student, teacher) * self.factor


@pytest.mark.parametrize("loss", [draws, DrawsAtFirst])
def test_draws_of_python_and_numpy_are_the_seeds(loss: Callable[..., Any], tiny: SplitData, teacher: Teacher) -> None:
    """Whatever the process has drawn before, and whatever other arms draw."""
    random.seed(1)
    one = trained({"mine": with_loss(loss)}, tiny, teacher)["mine"]
    random.seed(2)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    two = trained({"a": with_loss(draws_much), "mine": with_loss(loss)}, tiny, teacher)["mine"]
    assert one.metrics["state"] == "completed"
    assert [row["train_loss"] for row in one.epochs] == [row["train_loss"] for row in two.epochs]
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[union-attr]


# --- state that a state dict does not hold -----------------------------------------------------------------------


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.values: dict[str, Any] = {}


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.5,
        "word",
        True,
        None,
        [1, "a", None],
        (1, (2.5,)),
        {"a": [1], 3: "b"},
        torch.arange(3),
        [torch.ones(2), torch.zeros(1)],
        {"bank": torch.ones(2, 2, dtype=torch.float64)},
        np.arange(3.0),
        collections.deque([1, 2], maxlen=3),
        collections.deque([torch.ones(1)]),
    ],
    ids=str,
)
def test_attributes_and_hidden_buffers_come_back(value: Any) -> None:
    one, two = (nn.ModuleDict({"mine-loss": nn.ModuleList([Keeps()])}) for _ in range(2))
    one["mine-loss"][0].values = value  # type: ignore[index]
    one["mine-loss"][0].hidden.fill_(3)  # type: ignore[index]
    tensors, plain = custom.loss_state(one)
    custom.restore_loss_state(two, tensors, json.loads(json.dumps(plain)))
    found = two["mine-loss"][0]  # type: ignore[index]
    assert type(found.values) is type(value)
    assert str(found.values) == str(value)
    assert getattr(found.values, "maxlen", None) == getattr(value, "maxlen", None)
    assert found.hidden.tolist() == [3, 3]
    assert "hidden" not in found.state_dict()


def test_extra_state_comes_back() -> None:
    class Extra(nn.Module):
        count = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    one, two = (nn.ModuleDict({"mine-loss": Extra()}) for _ in range(2))
    one["mine-loss"].count = 5
    custom.restore_loss_state(two, *custom.loss_state(one))
    assert two["mine-loss"].count == 5


def test_attributes_of_other_types_are_left_out() -> None:
    module = Keeps()
    module.values = {"a": object()}
    assert list(custom.loss_state(nn.ModuleDict({"mine-loss": module}))[1]) == ["mine-loss.hidden"]
