"""All transfer losses against plain numpy, and the properties that all of them share."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from scl import losses
from tests.support.losses import LARGER, SMALL, Case, leaves, numpy_inputs, small_cases, with_leaves


@pytest.mark.parametrize("case", SMALL + LARGER, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_value_is_the_oracles(case: Case, seed: int) -> None:
    inputs, loss = case.inputs(seed), case.build()
    value = loss(*inputs)
    extra = {"module": loss} if case.is_module else dict(case.options)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(case.oracle(*numpy_inputs(inputs), **extra), rel=1e-5, abs=1e-7)


def test_every_public_loss_has_a_case() -> None:
    assert {case.name for case in SMALL} == set(losses.__all__)


@small_cases
def test_gradient_is_that_of_the_value(case: Case) -> None:
    inputs, loss = case.inputs(3, torch.float64), case.build()
    if isinstance(loss, nn.Module):
        loss.double()
    if case.remembers:  # the constants that the first batch sets have no gradient
        loss.state["constants"] += 12.0  # type: ignore[operator]
    student = [x.requires_grad_() for x in leaves(inputs[0])]
    teacher = [x.requires_grad_() for x in leaves(inputs[1])]

    def value(*tensors: Tensor) -> Tensor:
        parts = tensors[: len(student)], tensors[len(student) :]
        s, t = parts if isinstance(inputs[0], tuple) else (parts[0][0], parts[1][0])
        return loss(s, t, *inputs[2:])

    assert torch.autograd.gradcheck(value, (*student, *teacher))


@pytest.mark.parametrize("name", ["vid", "ickd", "cc", "crd", "reviewkd", "semckd", "ofd", "ctkd"])
def test_learned_parts_train(name: str) -> None:
    case = next(case for case in SMALL if case.name == name)
    inputs, loss = case.inputs(), case.build()
    loss(*inputs).backward()
    for parameter, tensor in loss.named_parameters():
        assert tensor.grad is not None, parameter
        assert torch.isfinite(tensor.grad).all()
    assert any(tensor.grad.abs().sum() > 0 for tensor in loss.parameters())


def gradients(student: tuple[Tensor, ...]) -> list[Tensor]:
    """Of the parts of the student that the loss compares: `ofd` leaves the embedding out."""
    found = [x.grad for x in student if x.grad is not None]
    assert found
    return found


def degenerate(x: Tensor, kind: str) -> Tensor:
    x = x.clone()
    if kind == "zeros":
        return torch.zeros_like(x)
    if kind == "constant":
        return torch.full_like(x, 3.7)
    if kind == "dead channel":
        x[:, 0] = 0
    elif kind == "constant channel":
        x[:, 0] = 100.1
    elif kind == "dead image":
        x[0] = 0
    elif kind == "equal images":
        x[:] = x[0]
    elif kind == "dead location" and x.ndim == 4:
        x[:, :, 0, 0] = 0
    elif kind == "tiny":
        x *= 1e-12
    elif kind == "large":
        x *= 1e4
    return x


KINDS = ["zeros", "constant", "dead channel", "constant channel", "dead image", "equal images", "dead location"]


@small_cases
@pytest.mark.parametrize("kind", [*KINDS, "tiny", "large"])
def test_degenerate_inputs_stay_finite(case: Case, kind: str) -> None:
    """Those of the student alone and of both, in float32 and under bfloat16 autocast."""
    for both, half in product([False, True], repeat=2):
        where = f"both: {both}, half: {half}"
        inputs, loss = case.inputs(), case.build()
        student = tuple(degenerate(x, kind) for x in leaves(inputs[0]))
        if both:
            teacher = tuple(degenerate(x, kind) for x in leaves(inputs[1]))
            inputs[1] = teacher if isinstance(inputs[1], tuple) else teacher[0]
        if half:
            student = tuple(x.bfloat16() for x in student)
        student = tuple(x.requires_grad_() for x in student)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss(*with_leaves(inputs, student))
        value.backward()
        assert value.dtype == torch.float32, where
        assert torch.isfinite(value), where
        assert all(torch.isfinite(grad).all() for grad in gradients(student)), where


@small_cases
def test_autocast_does_not_change_a_value(case: Case) -> None:
    loss = case.build()

    def cast(value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, tuple):
            return tuple(cast(part, dtype) for part in value)
        return value.to(dtype) if value.is_floating_point() else value

    half = [cast(x, torch.bfloat16) for x in case.inputs()]
    expected = loss(*[cast(x, torch.float32) for x in half])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(*half), expected)


WITH_DIRECTIONS = [
    case for case in SMALL if case.name in ("sp", "rkd", "pkt", "at", "nst", "dist") or "zscore" in str(case.options)
]


@pytest.mark.parametrize("case", WITH_DIRECTIONS, ids=str)
def test_what_has_no_direction_sends_back_no_explosion(case: Case) -> None:
    """Dividing a zero row by an epsilon gives gradients of 1e8 to 1e12."""
    inputs, loss = case.inputs(), case.build()
    student = degenerate(inputs[0], "dead image").requires_grad_()
    loss(student, *inputs[1:]).backward()
    assert student.grad.abs().max() < 1e3


@small_cases
def test_nothing_reads_a_value_from_the_device(case: Case) -> None:
    """Fake tensors have no values: `.item()`, a branch on a value and indexing by a mask raise."""
    loss = case.build() if case.remembers else None  # the labels that it is built from have values
    with FakeTensorMode(allow_non_fake_inputs=case.remembers):
        with pytest.raises(DataDependentOutputException):
            torch.ones(()).item()
        inputs, loss = case.inputs(), loss or case.build()
        student = tuple(x.requires_grad_() for x in leaves(inputs[0]))
        loss(*with_leaves(inputs, student)).backward()
        assert [grad.shape for grad in gradients(student)] == [x.shape for x in student if x.grad is not None]


# The smallest value of the others is not exactly 0: correlations with an epsilon, a cross-entropy, a teacher that alone
# has a temperature. `norm` has two sides of unequal channels.
ZERO_WHEN_EQUAL = [case for case in SMALL if not case.is_module and case.name not in ("dist", "nkd", "norm", "wttm")]


@pytest.mark.parametrize("case", ZERO_WHEN_EQUAL, ids=str)
def test_zero_when_equal_and_not_otherwise(case: Case) -> None:
    inputs, loss = case.inputs(), case.build()
    assert loss(inputs[0], inputs[0], *inputs[2:]).item() == 0
    assert loss(*inputs).item() > 0
