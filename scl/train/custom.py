"""A custom loss or an own network in training reaches nothing of its neighbours.

Arms of a cohort share the teacher's features and the process. So a custom loss gets a copy of the teacher's features,
must leave its inputs and torch's settings as they are, and must not change variables outside of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from scl.errors import UserError
from scl.losses.arithmetic import tensors_in
from scl.models.settings import settings_restored
from scl.study.source import state_of
from scl.study.term import Term, asked_by
from scl.train.types import TrialFailure

# What a custom loss may ask for by name: labels (B,), the batch's images (B, C, H, W), and logits (B, K).
PROVIDED = ("labels", "images", "student_logits", "teacher_logits")
AUDIT_EVERY = 50  # steps, after the first epoch


@contextmanager
def kept_apart(*whose: str) -> Iterator[None]:
    """Restore the settings of torch at the end, and survive an exit.

    Args:
        whose: the code that runs, for messages, as in `loss 'mine'`.

    Raises:
        TrialFailure: this code changed a setting, or raised SystemExit.
    """
    who = " or ".join(whose)
    with settings_restored() as changed:
        try:
            yield
        except SystemExit as error:
            raise TrialFailure(f"{who} ends the process (SystemExit: {error.code}); raise another error") from None
    if changed:
        raise TrialFailure(
            f"{who} changes {' and '.join(changed)}, which other arms share; restore it before it returns"
        )


def asked_for(name: str, term: Term) -> tuple[str, ...]:
    """What a custom loss asks for by name beside student and teacher, of PROVIDED.

    Raises:
        UserError: it asks for something else.
    """
    asked = asked_by(term)
    for parameter in asked:
        if parameter.name not in PROVIDED or parameter.kind is parameter.POSITIONAL_ONLY:
            ways = "" if inspect.isclass(term.loss) else f", or options={{{parameter.name!r}: …}}, or a default"
            raise UserError(
                f"loss {name!r} asks for {parameter.name!r}"
                + (" by its place" if parameter.name in PROVIDED else ", which nobody provides")
                + f"; a loss takes student and teacher, and by name {', '.join(PROVIDED)}{ways}"
            )
    return tuple(parameter.name for parameter in asked)


def call(
    name: str, loss: Callable[..., Any], student: Any, teacher: Any, asked: Mapping[str, Tensor | None], audit: bool
) -> Any:
    """The value of a custom loss, kept apart from other losses and arms.

    Args:
        name: of its term. student, teacher: what it compares: tensors, or pairs of tensors. asked: what it asks for by
            name beside them, of PROVIDED.
        audit: compare the values of the student's features too. A loss can change them without raising their version.

    Raises:
        TrialFailure: it changed the student's features, or a setting of torch that all arms share.
    """
    logits = asked.get("student_logits")
    given = [*tensors_in(student), *([] if logits is None else [logits])]
    shared = {what: value if what == "student_logits" else _copied(value) for what, value in asked.items()}
    versions = [tensor._version for tensor in given]
    copies = [tensor.detach().clone() for tensor in given] if audit else []
    with kept_apart(f"loss {name!r}"):
        value = loss(student, _copied(teacher), **shared)
    if versions != [tensor._version for tensor in given] or not all(map(same_bits, given, copies or given)):
        raise TrialFailure(
            f"loss {name!r} writes into the student's features, which other losses read; work on a copy, "
            "student.clone(), without operations in place such as add_ or x[…] = …"
        )
    return value


def same_bits(one: Tensor, other: Tensor) -> bool:
    """True if two tensors of one shape and type have equal values; NaN equals itself."""
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return torch.equal(one.detach().view(integer), other.detach().view(integer))


def _copied(features: Any) -> Any:
    if isinstance(features, Tensor):
        return features.clone()
    return type(features)(_copied(part) for part in features)


class Outside:
    """The variables outside of custom losses and own networks that these reach, as they were before they were made.

    A change ties arms of a process together, and is lost at a resume.

    Args:
        code: whose code, as in `loss 'mine'` → the code.
    """

    def __init__(self, code: Mapping[str, Callable[..., Any]]) -> None:
        self.code = code
        self.before = {whose: state_of(thing) for whose, thing in code.items()}

    def check(self) -> None:
        """Raises TrialFailure if one has changed."""
        for whose, thing in self.code.items():
            now, before = state_of(thing), self.before[whose]
            for variable in sorted(now.keys() | before.keys()):
                if now.get(variable) != before.get(variable):
                    what = whose.partition(" ")[0]  # loss or network
                    raise TrialFailure(
                        f"{whose}: {variable} changed while it was made or trained. It is outside of the {what}, so "
                        "other arms share it and a resumed trial loses it; keep state in buffers of a module that is "
                        "a class, and cache with functools.lru_cache"
                    )
