"""A custom loss in training reaches nothing of its neighbours.

Arms of a cohort share the teacher's features and the process. So a custom loss gets a copy of the teacher's features,
must leave its inputs and torch's settings as they are, and must not change variables outside of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scl.errors import UserError
from scl.losses.arithmetic import tensors_in
from scl.study.source import state_of
from scl.study.term import Term
from scl.train.types import TrialFailure

# What a custom loss may ask for by name: labels (B,), the batch's images (B, C, H, W), and logits (B, K).
PROVIDED = ("labels", "images", "student_logits", "teacher_logits")
AUDIT_EVERY = 50  # steps, after the first epoch


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _autocast() -> tuple[Any, ...]:
    torch.autocast_increment_nesting()
    nesting = torch.autocast_decrement_nesting()
    devices = [(d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in ("cpu", "cuda")]
    return nesting, torch.is_autocast_cache_enabled(), devices


def _set_autocast(value: tuple[Any, ...]) -> None:
    nesting, cache, devices = value
    for device, enabled, dtype in devices:
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)
    torch.set_autocast_cache_enabled(cache)
    while (now := _autocast()[0]) != nesting:
        torch.autocast_decrement_nesting() if now > nesting else torch.autocast_increment_nesting()
    torch.clear_autocast_cache()


def _set_default_device(value: torch.device) -> None:
    torch.set_default_device(None if value.type == "cpu" else value)
    while torch.get_default_device() != value:  # `with torch.device(…)` was entered and not left
        torch._C._pop_torch_function_stack()


def _global_hooks() -> dict[str, dict[Any, Any]]:
    hooks = vars(torch.nn.modules.module)
    return {name: dict(hooks[name]) for name in hooks if name.startswith("_global") and isinstance(hooks[name], dict)}


def _set_global_hooks(value: dict[str, dict[Any, Any]]) -> None:
    for name, hooks in value.items():
        held = getattr(torch.nn.modules.module, name)
        held.clear()
        held.update(hooks)


def _set_inference_mode(value: bool) -> None:
    guard = torch.inference_mode(value)
    guard.__enter__()
    GUARDS.append(guard)


GUARDS: list[Any] = []  # a guard of inference mode that is freed puts back the mode before it
SMALLEST = 5e-324  # equal to zero if the processor takes denormal numbers for zero; torch cannot tell
# Settings of torch that all arms of a process share: how to read and how to set them.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch.inference_mode": (torch.is_inference_mode_enabled, _set_inference_mode),
    "torch.set_grad_enabled": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.autocast": (_autocast, _set_autocast),
    "torch.set_default_dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.set_default_device": (torch.get_default_device, _set_default_device),
    "torch.set_flush_denormal": (lambda: SMALLEST == 0.0, torch.set_flush_denormal),
    "torch.set_num_threads": (torch.get_num_threads, torch.set_num_threads),
    "torch.set_float32_matmul_precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.use_deterministic_algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.autograd.set_detect_anomaly": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    # Precisions that others follow come first.
    "torch.backends.fp32_precision": _attribute(torch.backends, "fp32_precision"),
    **{
        f"torch.backends.{path}.fp32_precision": _attribute(attrgetter(path)(torch.backends), "fp32_precision")
        for path in ("cudnn", "mkldnn", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
    },
    "torch.backends.cudnn.allow_tf32": _attribute(attrgetter("cudnn.conv")(torch.backends), "fp32_precision"),
    "torch.backends.cuda.matmul.allow_tf32": _attribute(torch.backends.cuda.matmul, "fp32_precision"),
    **{
        f"torch.backends.cudnn.{name}": _attribute(torch.backends.cudnn, name)
        for name in ("benchmark", "deterministic", "enabled")
    },
    **{
        f"torch.backends.cuda.enable_{kind}_sdp": (
            getattr(torch.backends.cuda, f"{kind}_sdp_enabled"),
            getattr(torch.backends.cuda, f"enable_{kind}_sdp"),
        )
        for kind in ("flash", "mem_efficient", "math", "cudnn")
    },
    **{
        f"torch.backends.mkldnn.{name}": _attribute(torch.backends.mkldnn, name)
        for name in ("enabled", "deterministic")
    },
    "hooks of all torch.nn modules": (_global_hooks, _set_global_hooks),
    "numpy.seterr": (lambda: tuple(np.geterr().items()), lambda value: np.seterr(**dict(value))),
}


@contextmanager
def kept_apart(*names: str) -> Iterator[None]:
    """Restore the settings of torch at the end, and survive an exit.

    Raises:
        TrialFailure: the code of these losses changed a setting, or raised SystemExit.
    """
    who = f"loss {' or '.join(map(repr, names))}"
    before = _settings()
    changed: list[str] = []
    try:
        yield
    except SystemExit as error:
        raise TrialFailure(f"{who} ends the process (SystemExit: {error.code}); raise another error") from None
    finally:
        now = _settings()
        changed = [setting for setting in SETTINGS if now[setting] != before[setting]]
        for setting, (_, write) in SETTINGS.items() if changed else ():
            if _value(setting) != before[setting]:  # changed by the loss, or by the setting restored before it
                write(before[setting])
    if changed:
        raise TrialFailure(
            f"{who} changes {' and '.join(changed)}, which other arms share; restore it before it returns"
        )


def _settings() -> dict[str, Any]:
    return {setting: _value(setting) for setting in SETTINGS}


def _value(setting: str) -> Any:
    try:
        return SETTINGS[setting][0]()
    except RuntimeError as error:  # torch refuses to read a precision that two of its interfaces have set
        return type(error)


def asked_for(name: str, term: Term) -> tuple[str, ...]:
    """What a custom loss asks for by name beside student and teacher, of PROVIDED: the parameters that have neither a
    default nor an option, of the function, or of the `forward` of a class.

    Raises:
        UserError: it asks for something else.
    """
    assert callable(term.loss)
    of_class = inspect.isclass(term.loss)
    function: Any = getattr(term.loss, "forward", None) if of_class else term.loss
    try:
        parameters = list(inspect.signature(function).parameters.values())[3 if of_class else 2 :]
    except (TypeError, ValueError):
        return ()
    options = () if of_class else term.options
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    asked = [p for p in parameters if p.default is p.empty and p.kind not in variable and p.name not in options]
    for parameter in asked:
        if parameter.name not in PROVIDED or parameter.kind is parameter.POSITIONAL_ONLY:
            ways = "" if of_class else f", or options={{{parameter.name!r}: …}}, or a default"
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
    with kept_apart(name):
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
    """The variables outside of custom losses that these reach, as they were before the losses were made.

    A change ties arms of a process together, and is lost at a resume.
    """

    def __init__(self, losses: Mapping[str, Callable[..., Any]]) -> None:
        self.losses = losses
        self.before = {name: state_of(loss) for name, loss in losses.items()}

    def check(self) -> None:
        """Raises TrialFailure if one has changed."""
        for name, loss in self.losses.items():
            now, before = state_of(loss), self.before[name]
            for variable in sorted(now.keys() | before.keys()):
                if now.get(variable) != before.get(variable):
                    raise TrialFailure(
                        f"loss {name!r}: {variable} changed while it was made or trained. It is outside of the loss, "
                        "so other arms share it and a resumed trial loses it; keep state in buffers of a loss that is "
                        "a class, and cache with functools.lru_cache"
                    )
