"""The text of values that name no code of the user: arrays, paths, and what installed packages made."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import PurePath
from types import ModuleType
from typing import Any

CONSTANTS = (int, float, str, bool, bytes, complex, range, slice, type(None), type(...), type(NotImplemented))
MANY = 100_000  # numbers of an array; larger ones enter as the hash of their bytes
LONG = 100_000  # characters; a longer text enters the text around it as its hash
USUAL_ALIASES = {
    "F": "torch.nn.functional",
    "nn": "torch.nn",
    "np": "numpy",
    "optim": "torch.optim",
    "pd": "pandas",
    "plt": "matplotlib.pyplot",
    "tv": "torchvision",
}
# Objects without a state to copy that their text describes in full.
BY_TEXT = ("torch.finfo", "torch.iinfo", "numpy.finfo", "numpy.iinfo", "typing.ForwardRef")
TORCH_OPERATIONS = ("torch._ops.",)


def short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def shortened(text: str) -> str:
    """The text, or its hash if it is long: parts that many containers share must not multiply."""
    return text if len(text) <= LONG else f"sha256 {short(text)}"


def full_name(thing: Any) -> str:
    """The name of a function, class or module with that of its module: torch.nn.functional.mse_loss."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    owner = getattr(thing, "__self__", None)
    module = getattr(thing, "__module__", None) or (full_name(owner) if isinstance(owner, (type, ModuleType)) else "")
    return f"{module}.{getattr(thing, '__qualname__', None) or getattr(thing, '__name__', type(thing).__qualname__)}"


def is_named_like(variable: str, thing: Any) -> bool:
    """True if the variable's name says what it stands for, as after ``from torch import sin``."""
    variable = variable.rpartition(".")[2]
    if isinstance(thing, ModuleType):
        first, _, _ = thing.__name__.partition(".")
        last = thing.__name__.rpartition(".")[2]
        return variable in (first, last) or USUAL_ALIASES.get(variable) == thing.__name__
    return variable == getattr(thing, "__name__", None)


def constant_text(value: Any, folder: str | None) -> str:
    """The text of a constant. Paths below the folder of the loss's file are relative to it: a study may move."""
    if folder and type(value) is str and os.path.isabs(value):
        for root in (folder, os.path.realpath(folder)):
            if value == root or value.startswith(root + os.sep):
                return repr("." + value[len(root) :])
    return repr(value)


def plain_text(value: Any, folder: str | None) -> str | None:
    """The text of an object that its text describes in full; None for others."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if kind in BY_TEXT or (kind.startswith(TORCH_OPERATIONS) and not isinstance(value, ModuleType)):
        return str(value)
    if kind.endswith(".ScriptFunction"):
        text = str(value.inlined_graph.str(False))
        return None if "<Tensor>" in text else text
    if isinstance(value, PurePath) and value.is_absolute() and folder:
        text = constant_text(str(value), folder)
        return f"{type(value).__name__} {text}" if text != repr(str(value)) else None
    return None


def is_array(value: Any) -> bool:
    """True for tensors of torch and arrays and numbers of numpy. Objects that only look like one are not."""
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        return True
    return numpy is not None and (type(value) is numpy.ndarray or isinstance(value, numpy.generic))


def array_text(value: Any, text_of: Callable[[Any], str]) -> str:
    """An array or a tensor by its values; one with many by the hash of its bytes.

    Args:
        text_of: gives the text of an element, for arrays of objects.
    """
    torch: Any = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(value, torch.Tensor)
    kind, dtype = type(value).__name__, str(value.dtype).removeprefix("torch.")
    size, shape = value.numel() if is_tensor else value.size, tuple(value.shape)
    if dtype == "object":
        return f"{kind}{[text_of(element) for element in value.reshape(-1)]} {shape} object"
    unsaid = ("float32" if is_tensor else "float64", "int64", "bool")  # the numbers say which of these it is
    suffix = "" if dtype in unsaid else f" {dtype}"
    if size == 0 and (len(shape) > 1 or dtype != unsaid[0]):
        suffix = f" {dtype} {shape}"
    if size <= MANY:
        return f"{kind}{value.tolist()}{suffix}"
    if not is_tensor:
        whole = f" {dtype}" if dtype in ("int64", "bool") else suffix
        return f"{kind}{shape} {hashlib.sha256(value.tobytes()).hexdigest()}{whole}"
    plain = value.detach().as_subclass(torch.Tensor).cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return f"{kind}{shape} {hashlib.sha256(plain.view(torch.uint8).numpy().tobytes()).hexdigest()}{suffix}"


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, without code of the object that finds them."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, dict) else {}
