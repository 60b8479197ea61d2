"""Checks of the tensors that a loss receives: each raises a ValueError that names the rule and the values."""

from __future__ import annotations

from torch import Tensor


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def require_maps(student: Tensor, teacher: Tensor) -> None:
    for network, x in (("student", student), ("teacher", teacher)):
        require(x.ndim == 4, f"feature maps are (B, C, H, W), the {network}'s is {tuple(x.shape)}")
    require_same_batch(student, teacher)


def require_same_batch(student: Tensor, teacher: Tensor, least: int = 1) -> None:
    s, t = len(student), len(teacher)
    require(s == t, f"student and teacher have different batches: {s} and {t} images")
    require(s >= least, f"relations between images need a batch of at least {least}, got {s}")


def require_same_shape(student: Tensor, teacher: Tensor) -> None:
    s, t = tuple(student.shape), tuple(teacher.shape)
    require(s == t, f"student {s} and teacher {t} must have one shape; use a connector, or pool")


def require_same_channels(student: Tensor, teacher: Tensor) -> None:
    s, t = student.shape[1], teacher.shape[1]
    require(s == t, f"student has {s} channels and teacher {t}: a connector on the student is needed")


def require_logits(student: Tensor, teacher: Tensor) -> None:
    require(student.ndim == 2, f"logits are (B, K), the student's are {tuple(student.shape)}")
    require_same_shape(student, teacher)


def require_temperature(temperature: float) -> None:
    require(temperature > 0, f"temperature must be above 0, got {temperature}")
