"""Everything that a custom loss reaches: code of the user, and the values that this code reads.

The walk starts at a function or class and follows what it names: helpers, classes and their bases, decorators and what
they wrap, closures, defaults, partial functions, containers, objects and their state, and modules of the user. It stops
at installed packages: their code is not followed, but a user's function that one of them holds is. What it cannot
follow is kept in `Reached.opaque`, with the reason.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from scl.study import bytecode
from scl.study.opaque import is_shared_stream, opaque_reads, why_opaque

INSTALLED = {"site-packages", "dist-packages"}  # every worker has the modules of these folders
CONSTANTS = (int, float, str, bool, bytes, complex, range, slice, type(None), type(...), type(NotImplemented))
DESCRIPTORS = (staticmethod, classmethod, property, functools.cached_property)
INNER = ("__func__", "func", "fget", "fset", "fdel")  # the attributes of descriptors that hold functions
MADE_BY_PYTHON = (GetSetDescriptorType, MemberDescriptorType, WrapperDescriptorType, MethodDescriptorType)
REFLECTION = {"getattr", "vars", "dir", "__dict__", "attrgetter", "methodcaller", "getmembers"}
MANY = 100_000  # numbers of an array; larger ones enter as the hash of their bytes
# Attributes of classes that say nothing about what they do, or that the source says.
NOT_STATE = {
    *("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__", "_abc_impl"),
    *("__match_args__", "__firstlineno__", "__static_attributes__"),
}


def is_users(module: ModuleType | None) -> bool:
    """True if a user wrote the module: it is not installed, not part of Python and not part of scl."""
    file = getattr(module, "__file__", None)
    if module is None or not file or module.__name__.partition(".")[0] in sys.stdlib_module_names:
        return False
    return is_users_file(file)


@functools.lru_cache(maxsize=4096)
def is_users_file(file: str) -> bool:
    if file.startswith("<frozen "):  # modules of Python that are built into it
        return False
    path = Path(file).resolve()
    libraries = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    scl = Path(__file__).resolve().parents[1]
    return not INSTALLED & set(path.parts) and not any(folder in path.parents for folder in [scl, *libraries])


def _is_users_class(thing: type) -> bool:
    """By the files of its methods, since its module may have a temporary name."""
    functions = [f for f in vars(thing).values() if inspect.isfunction(f) and not _is_generated(thing, f)]
    return any(is_users_file(f.__code__.co_filename) for f in functions) or is_users(sys.modules.get(thing.__module__))


def _is_generated(owner: type, member: Any) -> bool:
    """True for the methods that dataclasses, named tuples and attrs write; their text follows from the class."""
    if not any(hasattr(owner, mark) for mark in ("__dataclass_fields__", "_fields", "__attrs_attrs__")):
        return False
    function = inspect.unwrap(getattr(member, "__func__", member))
    return isinstance(function, FunctionType) and function.__code__.co_filename.startswith("<")


@dataclass
class Reached:
    """What a walk has found.

    texts: what was reached → its text, in the order found. A variable's key is its name and its text.
    opaque: what cannot be followed → why. edited: functions → their files, which were edited after the import.
    """

    texts: dict[Any, str] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)
    edited: dict[str, str] = field(default_factory=dict)
    _sources: dict[int, str] = field(default_factory=dict)  # of functions and classes, by id
    _modules: list[ModuleType] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)  # all that the reached code mentions
    _kept: list[Any] = field(default_factory=list)  # an id is a key only as long as its object lives
    _inside: list[int] = field(default_factory=list)  # the objects whose text is being made

    def walk(self, where: str, thing: Callable[..., Any]) -> None:
        """Follow a function or class, and then what it names in modules of the user, until nothing new is found."""
        self._value(where, thing)
        done: set[tuple[int, str]] = set()
        while True:
            all_of_it = bool(self._names & REFLECTION)  # getattr(module, name) can read anything in it
            todo = [
                (module, name)
                for module in self._modules
                for name in sorted(vars(module))
                if (name in self._names or (all_of_it and not name.startswith("__"))) and (id(module), name) not in done
            ]
            if not todo:
                return
            for module, name in todo:
                done.add((id(module), name))
                self._variable(f"{module.__name__}.{name}", vars(module)[name])

    # --- variables and values ---------------------------------------------------------------------------------

    def _variable(self, where: str, value: Any) -> None:
        """Add a variable that code reads: its value, or the code that it stands for."""
        text = self._value(where, value)
        if not isinstance(value, (FunctionType, type, ModuleType)) and not _is_library_function(value):
            self.texts[where, text] = f"{where} = {text}"

    def _value(self, where: str, value: Any) -> str:
        """The text of a value; the code that it holds is added on the way."""
        if isinstance(value, FunctionType):
            return self._function(where, value)
        if isinstance(value, type):
            return self._class(where, value)
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, CONSTANTS):
            return repr(value)
        if id(value) in self._inside:
            return "itself"
        self._inside.append(id(value))
        try:
            return self._object(where, value)
        finally:
            self._inside.pop()

    def _object(self, where: str, value: Any) -> str:
        kind = type(value).__name__
        if (reason := why_opaque(value)) is not None:
            self.opaque.setdefault(where, reason)
            return kind
        if hasattr(value, "tolist") and hasattr(value, "dtype"):
            return _array(value)
        if isinstance(value, (tuple, list, set, frozenset)):
            inside = [self._value(where, v) for v in value]
            own = self._value(where, type(value)) if _is_users_class(type(value)) else ""
            return f"{own}{kind}{sorted(inside) if isinstance(value, (set, frozenset)) else inside}"
        if isinstance(value, (dict, MappingProxyType)):
            inside = [self._value(where, part) for pair in value.items() for part in pair]
            factory = getattr(value, "default_factory", None)
            return f"{kind}{inside}" + ("" if factory is None else self._value(where, factory))
        if isinstance(value, (BuiltinFunctionType, MethodType)):
            held = "" if _is_library_function(value) else self._value(where, value.__self__)
            return f"{held}.{self._value(where, value.__func__) if isinstance(value, MethodType) else value.__name__}"
        if isinstance(value, DESCRIPTORS):
            inner = [getattr(value, name, None) for name in INNER]
            return f"{kind}{[self._value(where, i) for i in inner if i is not None]}"
        return self._state(where, value)

    def _state(self, where: str, value: Any) -> str:
        """The class and the state of an object, as pickle would take it apart."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
        except Exception as error:  # objects without a state to copy, such as locks, files and generators
            self.opaque.setdefault(where, f"is a {type(value).__name__}, whose state cannot be read ({error})")
            return type(value).__name__
        if isinstance(reduced, str):  # the name of an object that its module holds, such as torch.float32
            wrapped = getattr(value, "__wrapped__", None)  # of functools.lru_cache
            return reduced if wrapped is None else f"{reduced} {self._value(where, wrapped)}"
        self._kept.append(reduced)
        parts = [self._value(where, part) for part in reduced[:3]]
        items = [self._value(where, item) for part in reduced[3:5] if part is not None for item in part]
        return f"{parts}{items}"

    # --- code -------------------------------------------------------------------------------------------------

    def _function(self, where: str, function: FunctionType) -> str:
        if not is_users_file(function.__code__.co_filename):
            return self._library_function(where, function)
        if id(function) not in self._sources:
            self._add_source(where, function)
            self._check_loaded(function)
            self._read(function)
            for name, value in sorted(vars(function).items()):
                if name != "__wrapped__" or not any(value is held for _, held in _cells(function)):
                    self._variable(f"{function.__qualname__}.{name}", value)
        return f"<{function.__qualname__} {_short(self._sources[id(function)])}>"

    def _library_function(self, where: str, function: FunctionType) -> str:
        """Installed code is not followed, only what it was given: what it wraps and what it closes over."""
        if id(function) not in self._sources:
            name = f"{function.__module__}.{function.__qualname__}"
            self._sources[id(function)] = ""  # it may close over itself
            self._kept.append(function)
            given = [
                self._given(where, v) for v in (vars(function).get("__wrapped__"), *(v for _, v in _cells(function)))
            ]
            if found := [text for text in given if text]:
                self._sources[id(function)] = text = f"{name}{found}"
                self.texts[id(function)] = text
        return self._sources[id(function)] or f"{function.__module__}.{function.__qualname__}"

    def _given(self, where: str, value: Any) -> str:
        """The text of a value that installed code holds, if it is a number, a word, or code of the user; else ""."""
        if isinstance(value, (int, float, str)):
            return repr(value)
        if isinstance(value, FunctionType):
            text = self._function(where, value)
            return text if self._sources[id(value)] else ""
        if (
            isinstance(value, (functools.partial, type))
            or _is_users_class(type(value))
            or hasattr(value, "__wrapped__")
        ):
            return self._value(where, value) if not isinstance(value, type) or _is_users_class(value) else ""
        if isinstance(value, MethodType):
            return self._value(where, value) if _is_users_class(type(value.__self__)) else ""
        if not isinstance(value, (tuple, list, set, frozenset, dict, MappingProxyType)) or id(value) in self._inside:
            return ""
        self._inside.append(id(value))
        parts = [p for pair in value.items() for p in pair] if hasattr(value, "items") else value
        inside = [self._given(where, part) for part in parts]
        self._inside.pop()
        return str(sorted(inside) if isinstance(value, (set, frozenset)) else inside) if any(inside) else ""

    def _class(self, where: str, thing: type) -> str:
        if not _is_users_class(thing):
            return f"{thing.__module__}.{thing.__qualname__}"
        if id(thing) not in self._sources:
            self._add_source(where, thing)
            for base in (*thing.__bases__, *([type(thing)] if _is_users_class(type(thing)) else [])):
                self._value(base.__qualname__, base)
            members = {n: v for n, v in vars(thing).items() if n not in NOT_STATE and not isinstance(v, MADE_BY_PYTHON)}
            functions = {name: value for name, value in members.items() if isinstance(value, FunctionType)}
            for name, function in functions.items():
                if _is_generated(thing, function):
                    self._defaults(function)
                elif function.__code__.co_qualname.startswith(f"{thing.__qualname__}."):
                    self._check_loaded(function)
                    self._read(function)
                else:  # written elsewhere, such as the wrapper of a decorator
                    self._value(f"{thing.__qualname__}.{name}", function)
            for name in sorted(members.keys() - functions.keys()):
                if not _is_generated(thing, members[name]):
                    self._variable(f"{thing.__qualname__}.{name}", members[name])
        return f"<{thing.__qualname__} {_short(self._sources[id(thing)])}>"

    def _module(self, module: ModuleType) -> str:
        if is_users(module) and id(module) not in self.texts:
            self.texts[id(module)] = "".join(linecache.getlines(str(module.__file__)))
            self._modules.append(module)
        return f"<module {module.__name__}>"

    def _add_source(self, where: str, thing: Any) -> None:
        """The source of a function or class, once. That of its whole module may be in already."""
        self._kept.append(thing)
        try:
            # Of the code, since that of a decorated function would be the source of what it wraps.
            source = inspect.getsource(thing.__code__ if isinstance(thing, FunctionType) else thing)
        except (OSError, TypeError):
            if isinstance(thing, FunctionType) or not any(hasattr(thing, made) for made in ("_fields", "__members__")):
                reason = "has no source that can be read; define it in a file that you import"
                self.opaque.setdefault(f"{where} ({thing!r})", reason)
            source = thing.__qualname__
        self._sources[id(thing)] = source
        if not any(module.__name__ == thing.__module__ for module in self._modules):
            self.texts[id(thing)] = source

    def _check_loaded(self, function: FunctionType) -> None:
        # Import hooks, such as pytest's and beartype's, change code on its way from the file.
        loader = function.__globals__.get("__loader__")
        hooked = loader is not None and type(loader) is not SourceFileLoader
        if not hooked and not bytecode.is_that_of_its_file(function.__code__):
            self.edited.setdefault(function.__qualname__, function.__code__.co_filename)

    def _read(self, function: FunctionType) -> None:
        """Follow what a function's code reads: defaults, closure, variables of its module, imports inside it."""
        code, variables = function.__code__, function.__globals__
        self._defaults(function)
        for name, value in _cells(function):
            if name != "__class__":
                self._variable(name, value)
        names = bytecode.names(code)
        self._names |= names | bytecode.texts(code)
        for name in sorted(names & variables.keys()):
            self._variable(name, variables[name])
        for module in _imported(code, variables):
            self._module(module)
        for name, reason in sorted(opaque_reads(code, variables).items()):
            self.opaque.setdefault(f"{name} in {function.__qualname__}", reason)

    def _defaults(self, function: FunctionType) -> None:
        for value in [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]:
            self._variable(f"a default of {function.__qualname__}", value)


def _is_library_function(value: Any) -> bool:
    """True for functions that are written in C and for those of the global random streams."""
    if not isinstance(value, (BuiltinFunctionType, MethodType)):
        return False
    owner = value.__self__
    return owner is None or isinstance(owner, (ModuleType, type)) or is_shared_stream(owner)


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables of enclosing functions that a function reads, as far as they have a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def _imported(code: CodeType, variables: Mapping[str, Any]) -> Iterator[ModuleType]:
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
    except Exception:  # not every name after `from` is a module; a broken module stops the loss itself, with its error
        return None
    return module if is_users(module) else None


def _array(value: Any) -> str:
    """An array or a tensor by its values; one with many by the hash of its bytes."""
    kind, is_tensor = type(value).__name__, hasattr(value, "numel")
    dtype = str(value.dtype).removeprefix("torch.")
    suffix = "" if dtype in ("float32" if is_tensor else "float64", "int64") else f" {dtype}"
    if (value.numel() if is_tensor else value.size) <= MANY:
        return f"{kind}{value.tolist()}{suffix}"
    plain = (
        value.detach().cpu().contiguous().reshape(-1).view(sys.modules["torch"].uint8).numpy() if is_tensor else value
    )
    return f"{kind}{tuple(value.shape)} {hashlib.sha256(plain.tobytes()).hexdigest()}{suffix}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
