"""A custom loss reaches nothing of its neighbours."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scl.data.batches import SplitData
from scl.errors import UserError
from scl.models import settings
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
    return custom.call("mine", loss, student, torch.rand(2, 5, 4, 4), {}, audit)


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
    assert custom.call("mine", distance, student, torch.rand(2, 5, 4, 4), {}, audit=True).isnan()


def test_the_teachers_features_are_the_losss_own_copy() -> None:
    teacher = torch.rand(2, 5, 4, 4), torch.rand(2, 5, 2, 2)
    before = [t.clone() for t in teacher]

    def writes(student: Any, teacher: Any) -> Tensor:
        for t in teacher:
            t.zero_()
        return student[0].mean() + teacher[0].mean()  # type: ignore[no-any-return]

    student = (torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 2, 2))
    custom.call("mine", writes, student, teacher, {}, audit=True)
    assert all(map(torch.equal, teacher, before))


OTHER_VALUES: dict[str, Any] = {  # of the settings that are not switches
    "torch.autocast": (0, True, [("cpu", True, torch.float16), ("cuda", False, torch.bfloat16)]),
    "torch.set_default_dtype": torch.float64,
    "torch.set_default_device": torch.device("meta"),
    "torch.set_num_threads": 7,
    "torch.set_float32_matmul_precision": "medium",
    "hooks of all torch.nn modules": {"_global_forward_hooks": {0: print}},
    "numpy.seterr": tuple((name, "raise") for name in dict(np.geterr())),
}


@pytest.mark.parametrize("setting", settings.SETTINGS)
def test_a_loss_that_changes_a_setting_of_torch_is_named_and_the_setting_restored(setting: str) -> None:
    read, write = settings.SETTINGS[setting]
    before = read()
    precision = {"none": "ieee", "ieee": "none", "tf32": "ieee"}
    other = OTHER_VALUES[setting] if setting in OTHER_VALUES else precision.get(before) or not before

    def changes(student: Tensor, teacher: Tensor) -> Tensor:
        write(other)
        return student.sum()

    with pytest.raises(TrialFailure, match=f"loss 'mine' changes .*{setting}.*, which other arms share"):
        value_of(changes)
    assert read() == before


LEFT_ON = {
    "torch.autocast": lambda: torch.autocast("cpu", torch.bfloat16).__enter__(),
    # A space at the end tells apart ways to change one setting.
    "torch.autocast ": lambda: torch.set_autocast_enabled("cuda", True),
    "torch.autocast  ": lambda: torch.set_autocast_cache_enabled(False),
    "torch.autocast   ": torch.autocast_increment_nesting,
    "torch.set_default_device": lambda: torch.device("meta").__enter__(),
    "torch.set_grad_enabled": lambda: torch.no_grad().__enter__(),
    "torch.inference_mode": lambda: SEEN.append(held := torch.inference_mode(True)) or held.__enter__(),  # type: ignore[func-returns-value,arg-type]
    "torch.backends.cuda.matmul.allow_tf32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "torch.backends.cuda.matmul.allow_tf32 ": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "torch.backends.mkldnn.matmul.fp32_precision": lambda: setattr(
        torch.backends.mkldnn.matmul, "fp32_precision", "bf16"
    ),
    "torch.backends.mkldnn.fp32_precision": lambda: setattr(torch.backends.mkldnn, "fp32_precision", "bf16"),
    "torch.backends.fp32_precision": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "torch.set_float32_matmul_precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch.backends.cudnn.allow_tf32": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "hooks of all torch.nn modules": lambda: nn.modules.module.register_module_forward_hook(print),
}


@pytest.mark.parametrize("setting", LEFT_ON)
def test_a_loss_that_leaves_a_setting_on_fails_and_its_neighbours_numbers_stay(
    setting: str, tiny: SplitData, teacher: Teacher
) -> None:
    def leaves_on(student: Tensor, teacher: Tensor) -> Tensor:
        value = distance(student, teacher)
        LEFT_ON[setting]()
        return value

    before = settings._settings()
    alone = trained({"other": BASE}, tiny, teacher)["other"]
    ended = trained({"a": with_loss(leaves_on), "other": BASE}, tiny, teacher)
    assert f"{setting.strip()}" in ended["a"].metrics["error"]
    assert [row["train_loss"] for row in alone.epochs] == [row["train_loss"] for row in ended["other"].epochs]
    assert settings._settings() == before


def test_a_setting_that_a_loss_changes_while_it_is_made_is_refused(tiny: SplitData, teacher: Teacher) -> None:
    class Doubles(CountsInItsClass):
        def __init__(self, student: int, teacher: int) -> None:
            super().__init__(student, teacher)
            torch.set_default_dtype(torch.float64)

    assert "loss 'mine' changes torch.set_default_dtype" in fails_alone(Doubles, tiny, teacher)
    assert torch.get_default_dtype() == torch.float32


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, code: Callable[[], Any]) -> Tensor:
        ctx.code = code
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # type: ignore[override]
        ctx.code()
        return grad, None


def test_a_setting_that_a_loss_changes_in_its_backward_is_named(tiny: SplitData, teacher: Teacher) -> None:
    def doubles(student: Tensor, teacher: Tensor) -> Tensor:
        value = distance(student, teacher)
        return Backward.apply(value, lambda: torch.set_default_dtype(torch.float64))  # type: ignore[no-any-return,no-untyped-call]

    ended = trained({"mine": with_loss(doubles)}, tiny, teacher)
    assert "loss 'mine' changes torch.set_default_dtype" in ended["mine"].metrics["error"]
    assert torch.get_default_dtype() == torch.float32


def exits(student: Tensor, teacher: Tensor) -> Tensor:
    raise SystemExit(3)


def exits_in_backward(student: Tensor, teacher: Tensor) -> Tensor:
    return Backward.apply(distance(student, teacher), lambda: exits(student, teacher))  # type: ignore[no-any-return,no-untyped-call]


@pytest.mark.parametrize("loss", [exits, exits_in_backward])
def test_a_loss_that_ends_the_process_fails_its_trial(
    loss: Callable[..., Any], tiny: SplitData, teacher: Teacher
) -> None:
    ended = trained({"baseline": BASE, "mine": with_loss(loss)}, tiny, teacher)
    assert ended["baseline"].metrics["state"] == "completed"
    assert ended["mine"].metrics["error"] == "loss 'mine' ends the process (SystemExit: 3); raise another error"


def test_a_loss_that_ends_the_process_while_it_is_made_is_refused(tiny: SplitData, teacher: Teacher) -> None:
    class Exits(CountsInItsClass):
        def __init__(self, student: int, teacher: int) -> None:
            raise SystemExit(3)

    assert fails_alone(Exits, tiny, teacher).startswith("loss 'mine' ends the process")


def test_a_loss_that_interrupts_stops_everything(tiny: SplitData, teacher: Teacher) -> None:
    def interrupts(student: Tensor, teacher: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained({"mine": with_loss(interrupts)}, tiny, teacher)


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
    assert "changed while it was made or trained. It is outside of the loss" in ended["mine"].metrics["error"]


MADE: list[Any] = []


class CountsItsInstances(CountsInItsClass):
    made = 0

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__(student, teacher)
        CountsItsInstances.made += 1


class RegistersItself(CountsInItsClass):
    def __init__(self, student: int, teacher: int) -> None:
        super().__init__(student, teacher)
        MADE.append(self)


@pytest.mark.parametrize(("loss", "variable"), [(CountsItsInstances, "made"), (RegistersItself, "MADE")])
def test_a_loss_that_changes_variables_outside_while_it_is_made_is_refused(
    loss: Any, variable: str, tiny: SplitData, teacher: Teacher
) -> None:
    assert f"{variable} changed while it was made" in fails_alone(loss, tiny, teacher)


def with_loss(loss: Callable[..., Any]) -> Config:
    return BASE.replace(losses={"mine": Term(1.0, loss=loss)})


def trained(arms: dict[str, Config], data: SplitData, teacher: Teacher) -> dict[str, TrialEnded]:
    return ends([TrialSpec(arm, config, 0) for arm, config in arms.items()], data, teacher)


def fails_alone(loss: Any, data: SplitData, teacher: Teacher) -> str:
    """The error of a trial whose loss cannot be made, beside a trial that completes."""
    ended = trained({"mine": with_loss(loss), "baseline": BASE.replace(epochs=1)}, data, teacher)
    assert {name: end.metrics["state"] for name, end in ended.items()} == {"mine": "failed", "baseline": "completed"}
    return str(ended["mine"].metrics["error"])


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


def asks_for_all(
    student: Tensor, teacher: Tensor, labels: Tensor, images: Tensor, *, student_logits: Tensor, teacher_logits: Tensor
) -> Tensor:
    right = student_logits.gather(1, labels[:, None]) - teacher_logits.gather(1, labels[:, None])
    return distance(student, teacher) + (right[:, 0] * images.mean((1, 2, 3))).square().mean()


def asks_and_has_an_option(student: Tensor, teacher: Tensor, alpha: float, labels: Tensor) -> Tensor:
    return alpha * distance(student, teacher) * labels.float().mean()


def has_defaults(student: Tensor, teacher: Tensor, labels: Any = None, beta: float = 2.0) -> Tensor:
    assert labels is None
    return beta * distance(student, teacher)


class AsksInForward(nn.Module):
    def __init__(self, student: int, teacher: int, labels: float = 1.0) -> None:
        super().__init__()
        self.map = nn.Linear(student, 10)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.map(student.mean((2, 3))), labels)


def asks_for_target(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    return distance(student, teacher)


def asks_by_place(student: Tensor, teacher: Tensor, labels: Tensor, /) -> Tensor:
    return distance(student, teacher)


class AsksForEpoch(AsksInForward):
    def forward(self, student: Tensor, teacher: Tensor, epoch: int) -> Tensor:  # type: ignore[override]
        return distance(student, teacher)


ASKED: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [
    (distance, {}, ()),
    (asks_for_all, {}, ("labels", "images", "student_logits", "teacher_logits")),
    (asks_and_has_an_option, {"alpha": 2.0}, ("labels",)),
    (has_defaults, {}, ()),
    (has_defaults, {"beta": 3.0}, ()),
    (asks_for_target, {"target": 1}, ()),
    (AsksInForward, {}, ("labels",)),
    (AsksInForward, {"labels": 2.0}, ("labels",)),  # an option of the class, and an argument of its forward
]


@pytest.mark.parametrize(("loss", "options", "asked"), ASKED)
def test_a_loss_asks_by_the_names_of_its_parameters(loss: Any, options: dict[str, Any], asked: tuple[str, ...]) -> None:
    assert custom.asked_for("mine", Term(1.0, loss=loss, options=options)) == asked


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        (
            asks_for_target,
            {},
            "asks for 'target', which nobody provides; .*by name labels, images, student_logits, tea",
        ),
        (asks_and_has_an_option, {}, r"asks for 'alpha', which nobody provides; .*or options=\{'alpha': …\}"),
        (asks_by_place, {}, "asks for 'labels' by its place"),
        (AsksForEpoch, {}, "asks for 'epoch', which nobody provides"),
    ],
)
def test_what_nobody_provides_is_refused(loss: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        custom.asked_for("mine", Term(1.0, loss=loss, options=options))


@pytest.mark.parametrize("loss", [asks_for_all, AsksInForward])
def test_a_loss_gets_what_it_asks_for_in_training(loss: Any, tiny: SplitData, teacher: Teacher) -> None:
    ended = trained({"mine": with_loss(loss)}, tiny, teacher)["mine"]
    assert ended.metrics["state"] == "completed", ended.metrics["error"]
    assert ended.epochs[-1]["term.mine"] < ended.epochs[0]["term.mine"] * 1.5


def writes_into_labels(student: Tensor, teacher: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    labels.zero_()
    images.zero_()
    return distance(student, teacher)


def writes_into_logits(student: Tensor, teacher: Tensor, student_logits: Tensor) -> Tensor:
    student_logits.data.zero_()
    return distance(student, teacher)


def test_what_is_provided_is_a_copy_or_stays_as_it_is(tiny: SplitData, teacher: Teacher) -> None:
    arms = {
        "writes": with_loss(writes_into_labels),
        "reads": with_loss(distance),
        "spoils": with_loss(writes_into_logits),
    }
    ended = trained(arms, tiny, teacher)
    assert ended["writes"].epochs[-1]["term.ce"] == ended["reads"].epochs[-1]["term.ce"]
    assert "writes into the student's features" in ended["spoils"].metrics["error"]
