"""The identity of a custom loss: a hash of all user code that it can reach.

A trial's id must change if its numbers may change. So the hash covers the source of the loss, the values of its
defaults, and, at any depth, every function, class and constant that it names and that the user wrote. Installed
packages (torch, scl, …) do not enter the hash.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from scl.errors import UserError

INSTALLED = {"site-packages", "dist-packages"}  # every worker has the modules of these folders
CONSTANTS = (int, float, str, bool, bytes, type(None))


def is_users(module: ModuleType | None) -> bool:
    """True if a user wrote the module: it is not installed, not part of Python and not part of scl."""
    file = getattr(module, "__file__", None)
    if module is None or not file or module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return False
    return _is_users_file(file)


def _is_users_file(file: str) -> bool:
    path = Path(file).resolve()
    libraries = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    scl = Path(__file__).resolve().parents[1]
    return not INSTALLED & set(path.parts) and not any(folder in path.parents for folder in [scl, *libraries])


def _is_users_code(thing: Any) -> bool:
    """The same for a function or class, by the file of its code, since its module may have a temporary name."""
    if inspect.isfunction(thing):
        return _is_users_file(thing.__code__.co_filename)
    methods = [f for f in vars(thing).values() if inspect.isfunction(f)]
    return any(map(_is_users_code, methods)) or is_users(sys.modules.get(thing.__module__))


def source_identity(name: str, loss: Callable[..., Any]) -> dict[str, str]:
    """The qualified name of a custom loss and the SHA-256 of its code. `name` names its term in messages.

    Raises:
        UserError: the loss is neither a function nor a class, or reads a value that cannot be hashed.
    """
    if not inspect.isfunction(loss) and not inspect.isclass(loss):
        raise UserError(
            f"loss {name!r}: a custom loss is a function or a class, got {type(loss).__name__} {loss!r}; "
            "pass its parameters as options={…}"
        )
    seen: dict[Any, str] = {}
    _add_source(name, loss, seen)
    return {"function": loss.__qualname__, "sha256": hashlib.sha256("\n".join(seen.values()).encode()).hexdigest()}


def _add_source(term: str, thing: Any, seen: dict[Any, str]) -> None:
    """Add the source of a user's function or class to `seen`, and that of all code and constants it reaches."""
    if id(thing) in seen:
        return
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        raise UserError(
            f"loss {term!r}: the source of {thing!r} cannot be read; define it in a file that you import"
        ) from None
    seen[id(thing)] = source
    functions = [thing] if inspect.isfunction(thing) else [f for f in vars(thing).values() if inspect.isfunction(f)]
    if inspect.isclass(thing):
        for base in thing.__bases__:
            _add_value(term, base.__qualname__, base, seen)
    for function in functions:
        for value in [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]:
            _add_value(term, f"a default of {function.__qualname__}", value, seen)
        for variable, value in _variables(term, function):
            _add_value(term, variable, value, seen)


def _add_value(term: str, variable: str, value: Any, seen: dict[Any, str]) -> None:
    if inspect.isfunction(value) or inspect.isclass(value):
        if _is_users_code(value):
            _add_source(term, value, seen)
        return
    if isinstance(value, ModuleType):
        if is_users(value) and id(value) not in seen:
            seen[id(value)] = inspect.getsource(value)
        return
    text = _constant(value)
    if text is not None:
        seen[variable, text] = f"{variable} = {text}"
    elif _is_users_code(type(value)):
        raise UserError(
            f"loss {term!r} reads {variable}, a {type(value).__name__} whose value cannot be part of the trial's id; "
            "create it inside the loss, from numbers in options={…}"
        )
    # The rest are objects of installed packages, such as functions of torch or a logger.


def _constant(value: Any) -> str | None:
    """The text of a constant or of a container of constants; None for other values."""
    if isinstance(value, CONSTANTS):
        return repr(value)
    if hasattr(value, "tolist"):  # an array or a tensor
        return f"{type(value).__name__}{value.tolist()}"
    if isinstance(value, (tuple, list, set, frozenset)):
        inside = [_constant(v) for v in value]
        ordered = sorted(map(str, inside)) if isinstance(value, (set, frozenset)) else inside
        return None if None in inside else f"{type(value).__name__}{ordered}"
    if isinstance(value, dict):
        inside = [_constant(v) for pair in value.items() for v in pair]
        return None if None in inside else f"dict{inside}"
    return None


def _variables(term: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals and closure variables that a function reads, with their values."""
    closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for variable, cell in closure.items():
        if variable == "__class__":
            continue
        value = cell.cell_contents
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            raise UserError(
                f"loss {term!r} reads {variable} of an enclosing function; pass such values as options={{…}}"
            )
        yield variable, value
    for variable in sorted(_names(function.__code__)):
        if variable in function.__globals__:
            yield variable, function.__globals__[variable]


def _names(code: CodeType) -> set[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*inner)
