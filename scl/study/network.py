"""A user's own network in a configuration: its class, or a function that makes one, passed as itself.

No torch here, so that a mistyped study file is answered at once. `scl.models.own` builds and tries such a network.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from scl.errors import first_line, shown
from scl.study.source import library_name, source_of

# What a network may ask for by the names of its parameters; it must take the first.
GIVEN = ("num_classes", "in_channels", "image_size")
FORM = "class MyNet(torch.nn.Module) whose __init__ takes num_classes"

Model = str | Callable[..., Any]


def is_own(model: Model) -> bool:
    """True for a class or a function of the user's, False for the name of a network."""
    return not isinstance(model, str)


def model_name(model: Model) -> str:
    """The name of a network in columns, tables and messages; of an own one, that of its class or function."""
    return model if isinstance(model, str) else str(model.__qualname__).rpartition(".")[2]


def model_problem(model: Any, taken: Collection[str]) -> str:
    """Why something that is no text cannot be a network; "" if it can.

    Args:
        taken: names of built-in networks, which an own one cannot have.
    """
    if not inspect.isclass(model) and not inspect.isfunction(model):
        kind = type(model)
        if _is_module(kind):
            return (
                f"model: {kind.__qualname__} is given as an object; give the class, model={kind.__qualname__}, because "
                "each seed makes its own"
            )
        return f"model must be a name, or a {FORM}, got {shown(model)}"
    if inspect.isclass(model) and not _is_module(model):
        return f"model: class {model.__qualname__} is no torch.nn.Module; give a {FORM}"
    name = model_name(model)
    if name == "<lambda>":
        return "model: a lambda has no name for the results; define a function that returns the network"
    if name in taken:
        return f"model: {name!r} is the name of a built-in network; give yours another"
    try:
        parameters = list(inspect.signature(model).parameters.values())
    except (TypeError, ValueError):
        return ""  # building it will tell
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if "num_classes" not in named and not any_name:
        return f"model: {name}({', '.join(p.name for p in parameters)}) takes no num_classes; {rule(name)}"
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    open_ = [p.name for p in parameters if p.default is p.empty and p.kind not in fixed and p.name not in GIVEN]
    if open_:
        return (
            f"model: {name} needs {', '.join(open_)}, which it is not given; give defaults, or a subclass. {rule(name)}"
        )
    return ""


def rule(name: str) -> str:
    return f"it is built as {name}(num_classes=K), with in_channels= and image_size= if it names them"


def arguments(model: Callable[..., Any], classes: int, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """What an own network is built with. image_size is the side of square images, else (H, W)."""
    channels, height, width = image_shape
    values = (classes, channels, height if height == width else (height, width))
    try:
        parameters = inspect.signature(model).parameters
    except (TypeError, ValueError):
        return {"num_classes": classes}
    return {n: v for n, v in zip(GIVEN, values, strict=True) if n in parameters or n == "num_classes"}


def network_identity(model: Callable[..., Any]) -> dict[str, str]:
    """The name of an own network, and the SHA-256 of its code and of the values that this reads.

    Raises:
        UserError: it reaches what cannot be followed.
    """
    name = model_name(model)
    way_out = "Write it into the class, or give trained weights as a file: initial_weights='…', --student-weights FILE"
    found = {"network": name, "sha256": source_of(f"network {name}", model, way_out)}
    library = library_name(model)
    return {**found, "library": library} if library else found


def same_network(model: Callable[..., Any], stored: dict[str, Any]) -> str:
    """Why a class is not the network that was stored under an identity; "" if it is."""
    name, was = model_name(model), stored.get("network")
    if name != was:
        return f"it is a student of {was}, and model is {name}; give {was}"
    if network_identity(model) != stored:
        return (
            f"it is a student of another {name}: the source of that class, or what it reads, has changed since; give "
            "the class as it was when the student was trained"
        )
    return ""


def model_from_file(path: str, name: str) -> Model:
    """The class or function of this name in a Python file, which is imported.

    Raises:
        ValueError: there is no such file or name, or its import fails.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"{path}: no such file; give FILE.py:CLASS, as in networks.py:MyNet")
    module = next((m for m in list(sys.modules.values()) if _is_of(m, file) and m.__name__ != "__main__"), None)
    if module is None:
        module = _imported(file)
    found: Any = getattr(module, name, None)
    if found is None:
        raise ValueError(f"{path} has no {name}; give the name of a class or function in it")
    return found


def _imported(file: Path) -> ModuleType:
    """The module in a file, under a name that no other module has. Modules beside it can be imported."""
    name = file.stem
    while name in sys.modules or importlib.util.find_spec(name) is not None:
        name += "_"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where pickle looks for it
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{file} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    return module


def _is_of(module: Any, file: Path) -> bool:
    own = getattr(module, "__file__", None)
    return isinstance(own, str) and Path(own).resolve() == file


def _is_module(kind: type) -> bool:
    return any((c.__module__, c.__name__) == ("torch.nn.modules.module", "Module") for c in kind.__mro__)
