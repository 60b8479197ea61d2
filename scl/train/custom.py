"""A custom loss in training: it reaches nothing of its neighbours, and what it keeps is in checkpoints.

Arms of a cohort share the teacher's features and the process. So a custom loss gets a copy of the teacher's features,
must leave its inputs and torch's settings as they are, and must not change variables outside of it. Its own state is
saved: parameters and buffers, and plain attributes that hold tensors, numbers, words, and lists and dicts of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scl.losses.arithmetic import tensors_in
from scl.study.source import state_of
from scl.train.types import TrialFailure

AUDIT_EVERY = 50  # steps, after the first epoch
# Settings of torch that all arms of a process share: how to read and how to set them.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "torch.set_default_dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.set_grad_enabled": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.set_num_threads": (torch.get_num_threads, torch.set_num_threads),
    "torch.set_float32_matmul_precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.use_deterministic_algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.autograd.set_detect_anomaly": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch.backends.cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    "numpy.seterr": (lambda: tuple(np.geterr().items()), lambda value: np.seterr(**dict(value))),
}
EXTRA = "_extra_state"  # what torch calls the state that `get_extra_state` returns
MODULES_OWN = frozenset(vars(nn.Module())) | {"training"}  # attributes that every nn.Module has


def call(name: str, loss: Callable[..., Any], student: Any, teacher: Any, audit: bool) -> Any:
    """The value of a custom loss, kept apart from other losses and arms.

    Args:
        name: of its term. student, teacher: what it compares: tensors, or pairs of tensors.
        audit: compare the values of the student's features too. A loss can change them without raising their version.

    Raises:
        TrialFailure: it changed the student's features, or a setting of torch that all arms share.
    """
    given = tensors_in(student)
    versions = [tensor._version for tensor in given]
    copies = [tensor.detach().clone() for tensor in given] if audit else []
    settings = {setting: read() for setting, (read, _) in SETTINGS.items()}
    changed = []
    try:
        value = loss(student, _copied(teacher))
    finally:
        for setting, (read, write) in SETTINGS.items():
            if read() != settings[setting]:
                write(settings[setting])
                changed.append(setting)
    if changed:
        raise TrialFailure(f"loss {name!r} changes {changed[0]}, which other arms share; restore it before it returns")
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
    """The variables outside of custom losses that these reach, as they were. A change ties arms of a process together,
    and is lost at a resume."""

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
                        f"loss {name!r}: {variable} changed while it trained. It is outside of the loss, so other arms "
                        "share it and a resumed trial loses it; keep state in buffers of a loss that is a class, and "
                        "cache with functools.lru_cache"
                    )


# --- state that a state dict does not hold -----------------------------------------------------------------------


def loss_state(losses: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What custom losses hold beside parameters and persistent buffers: tensors by name, and the rest as JSON values
    that name these tensors. Attributes of other types are left out; a rehearsal finds out whether they matter."""
    tensors: dict[str, Tensor] = {}
    plain = {}
    for path, name, value in _attributes(losses):
        try:
            plain[f"{path}.{name}"] = _encoded(value, f"{path}.{name}", tensors)
        except TypeError:
            continue
    return tensors, plain


def restore_loss_state(losses: nn.Module, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    """Put back what `loss_state` returned."""
    modules = dict(losses.named_modules())
    for key, encoded in plain.items():
        path, _, name = key.rpartition(".")
        if name == EXTRA:
            modules[path].set_extra_state(_decoded(encoded, tensors, _device(losses)))
            continue
        before = getattr(modules[path], name, None)
        device = before.device if isinstance(before, Tensor) else _device(losses)
        setattr(modules[path], name, _decoded(encoded, tensors, device))


def _attributes(losses: nn.Module) -> Iterator[tuple[str, str, Any]]:
    for path, module in losses.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            yield path, name, module._buffers[name]
        for name, value in vars(module).items():
            if name not in MODULES_OWN:
                yield path, name, value
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            yield path, EXTRA, module.get_extra_state()


def _device(losses: nn.Module) -> torch.device:
    return next((t.device for t in (*losses.parameters(), *losses.buffers())), torch.device("cpu"))


def _encoded(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON, with its tensors in `tensors`. Raises TypeError for other types."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        tensors[key] = value.detach().clone()  # it may share its memory with a buffer
        return {"tensor": key}
    if type(value) is np.ndarray and value.dtype.kind in "bif":
        tensors[key] = torch.from_numpy(value.copy())
        return {"array": key}
    if type(value) in (list, tuple, deque):
        kind = type(value).__name__
        length = {"maxlen": value.maxlen} if isinstance(value, deque) else {}
        return {kind: [_encoded(v, f"{key}.{i}", tensors) for i, v in enumerate(value)], **length}
    if type(value) is dict:
        return {"dict": [[k, _encoded(v, f"{key}.{i}", tensors)] for i, (k, v) in enumerate(_plain_keys(value))]}
    raise TypeError(f"{key} is a {type(value).__name__}")


def _plain_keys(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    if any(type(key) not in (int, str) for key in value):
        raise TypeError("keys of a dict are numbers or words")
    return list(value.items())


def _decoded(value: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]].to(device)
    if "array" in value:
        return tensors[value["array"]].cpu().numpy()
    if "dict" in value:
        return {k: _decoded(v, tensors, device) for k, v in value["dict"]}
    (kind,) = value.keys() - {"maxlen"}
    items = [_decoded(v, tensors, device) for v in value[kind]]
    return {"list": list, "tuple": tuple}[kind](items) if kind != "deque" else deque(items, value["maxlen"])
