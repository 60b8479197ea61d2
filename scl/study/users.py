"""What the user wrote: modules, classes and functions that are neither installed, nor part of Python, nor of scl."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, MethodType, ModuleType
from typing import Any

from scl.study import bytecode, sourcetext
from scl.study.opaque import is_shared_stream

INSTALLED = {"site-packages", "dist-packages"}  # every worker has the modules of these folders


def is_users(module: ModuleType | None) -> bool:
    """True if a user wrote the module: it is not installed, not part of Python and not part of scl."""
    file = getattr(module, "__file__", None)
    return module is not None and bool(file) and is_users_file(file)


@functools.lru_cache(maxsize=4096)
def is_users_file(file: str) -> bool:
    if file.startswith(("<frozen ", "<attrs generated")):  # modules that are built into Python; what attrs wrote
        return False
    path = Path(file).resolve()
    libraries = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    scl = Path(__file__).resolve().parents[1]
    return not INSTALLED & set(path.parts) and not any(folder in path.parents for folder in [scl, *libraries])


def is_users_class(thing: type) -> bool:
    """By the files of its methods, since its module may have a temporary name."""
    files = {f.__code__.co_filename for f in sourcetext.own_functions(thing) if not sourcetext.is_generated(thing, f)}
    return (
        any(map(is_users_file, files)) or thing.__module__ == "__main__" or is_users(sys.modules.get(thing.__module__))
    )


def is_users_module(value: Any) -> bool:
    return isinstance(value, ModuleType) and is_users(value)


def is_library_function(value: Any) -> bool:
    """True for functions that are written in C and for those of the global random streams."""
    if not isinstance(value, (BuiltinFunctionType, MethodType)):
        return False
    owner = value.__self__
    if isinstance(owner, type):
        return not is_users_class(owner)
    return owner is None or isinstance(owner, ModuleType) or is_shared_stream(owner)


def imported(code: CodeType, variables: Mapping[str, Any]) -> Iterator[ModuleType]:
    """The user's modules that are imported inside the code."""
    package = variables.get("__package__") or ""
    for level, name, wanted in bytecode.imports(code):
        target = "." * level + name
        for full in (target, *(f"{target}.{one}" for one in wanted)):
            module = _users_module(full, package)
            if module is not None:
                yield module


def _users_module(name: str, package: str) -> ModuleType | None:
    """The module of this name if it is the user's. It is imported only then."""
    try:
        absolute = importlib.util.resolve_name(name, package)
        if absolute not in sys.modules:
            spec = importlib.util.find_spec(absolute)
            if spec is None or not spec.origin or not is_users_file(spec.origin):
                return None
        module = importlib.import_module(absolute)
    except (
        Exception,
        SystemExit,
    ):  # not every name after `from` is a module; a broken module stops the loss itself, with its error
        return None
    return module if is_users(module) else None
