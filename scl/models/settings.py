"""The settings of torch and numpy that all code of a process shares, and that code of users must leave as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
import torch


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
    # The old switch is a flag of its own, which must agree with the two new ones, or torch refuses to read it.
    "torch.backends.cudnn.allow_tf32": _attribute(torch.backends.cudnn, "allow_tf32"),
    "torch.backends.cudnn.conv.fp32_precision": _attribute(attrgetter("cudnn.conv")(torch.backends), "fp32_precision"),
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
def settings_restored() -> Iterator[list[str]]:
    """Restore the settings at the end; yields a list, in which the names of those that had changed are then."""
    before = _settings()
    changed: list[str] = []
    try:
        yield changed
    finally:
        now = _settings()
        changed += [setting for setting in SETTINGS if now[setting] != before[setting]]
        for setting, (_, write) in SETTINGS.items() if changed else ():
            # Changed by the code, or by the setting restored before it; what could not be read cannot be restored.
            if before[setting] is not RuntimeError and _value(setting) != before[setting]:
                write(before[setting])


def _settings() -> dict[str, Any]:
    return {setting: _value(setting) for setting in SETTINGS}


def _value(setting: str) -> Any:
    try:
        return SETTINGS[setting][0]()
    except RuntimeError as error:  # torch refuses to read a precision that two of its interfaces have set
        return type(error)
