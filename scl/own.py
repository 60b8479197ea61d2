"""What identifies a loss that a user wrote: all of their own code that it can reach.

A trial's id must change when its numbers may. So the identity of a function is its source, the values of its
defaults, and the same of every function, class and constant of the user's that it names, however deep; what is
installed (torch, scl, …) counts by its name alone.
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

INSTALLED = {"site-packages", "dist-packages"}  # folders whose modules every worker has too
CONSTANTS = (int, float, str, bool, bytes, type(None))


def is_users(module: ModuleType | None) -> bool:
    """Whether a module is a user's own file: neither installed, nor Python's, nor part of scl."""
    file = getattr(module, "__file__", None)
    if module is None or not file or module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return False
    return _is_users_file(file)


def _is_users_file(file: str) -> bool:
    path = Path(file).resolve()
    inside = [
        Path(__file__).resolve().parent,
        *(Path(sysconfig.get_path(p)).resolve() for p in ("stdlib", "platstdlib")),
    ]
    return not INSTALLED & set(path.parts) and not any(folder in path.parents for folder in inside)


def _is_users_code(thing: Any) -> bool:
    """The same of a function or class, by the file it was compiled from: its module may have no lasting name."""
    if inspect.isfunction(thing):
        return _is_users_file(thing.__code__.co_filename)
    methods = [f for f in vars(thing).values() if inspect.isfunction(f)]
    return any(map(_is_users_code, methods)) or is_users(sys.modules.get(thing.__module__))


def identity(name: str, loss: Callable[..., Any]) -> dict[str, str]:
    """The name and the hash of a loss. `name` is that of its term, for messages.

    Raises:
        UserError: it is neither a function nor a class, or reads something that has no lasting value.
    """
    if not inspect.isfunction(loss) and not inspect.isclass(loss):
        raise UserError(
            f"loss {name!r}: a loss of your own is a function or a class, got {type(loss).__name__} {loss!r}; "
            "pass what it needs as options={…}"
        )
    seen: dict[Any, str] = {}
    _visit(name, loss, seen)
    return {"function": loss.__qualname__, "sha256": hashlib.sha256("\n".join(seen.values()).encode()).hexdigest()}


def _visit(term: str, thing: Any, seen: dict[Any, str]) -> None:
    """Add the text that stands for a function or class of the user's, and for all that it reaches."""
    if id(thing) in seen:
        return
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        raise UserError(
            f"loss {term!r}: the source of {thing!r} cannot be read; define it with `def` or `class` in a file"
        ) from None
    seen[id(thing)] = source
    functions = [thing] if inspect.isfunction(thing) else [f for f in vars(thing).values() if inspect.isfunction(f)]
    if inspect.isclass(thing):
        for base in thing.__bases__:
            _reach(term, base.__qualname__, base, seen)
    for function in functions:
        for value in [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]:
            _reach(term, f"a default of {function.__qualname__}", value, seen)
        for variable, value in _variables(term, function):
            _reach(term, variable, value, seen)


def _reach(term: str, variable: str, value: Any, seen: dict[Any, str]) -> None:
    if inspect.isfunction(value) or inspect.isclass(value):
        if _is_users_code(value):
            _visit(term, value, seen)
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
            "make it inside the loss, from numbers in options={…}"
        )
    # What is left is an object of an installed package, such as torch's functions or a logger.


def _constant(value: Any) -> str | None:
    """The text of a constant or of a container of constants; None for anything else."""
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
    """The globals that a function names and the values that it has caught, with their names."""
    caught = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for variable, cell in caught.items():
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
