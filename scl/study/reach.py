"""Everything that a custom loss reaches: code of the user, and the values that this code reads.

The walk starts at a function or class and follows what it names: helpers, classes and their bases, decorators and what
they wrap, closures, defaults, partial functions, containers, objects and their state, and modules of the user. It stops
at installed packages: their code is not followed, but a user's function that one of them holds is. What it cannot
follow is kept in `Reached.opaque`, with the reason.
"""

from __future__ import annotations

import ast
import collections
import copyreg
import functools
import linecache
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, cast

from scl.study import bytecode, members, sourcetext, values
from scl.study.opaque import OPAQUE, is_shared_stream, opaque_reads, why_opaque, why_opaque_function
from scl.study.users import imported, is_library_function, is_users, is_users_class, is_users_file, is_users_module

REFLECTION = {"getattr", "vars", "dir", "__dict__", "attrgetter", "methodcaller", "getmembers"}
CONTAINERS = (tuple, list, set, frozenset, dict, MappingProxyType)


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
    _captured: dict[int, str] = field(default_factory=dict)  # what functions and classes were made with, by id
    _classes: list[sourcetext.ClassSource] = field(default_factory=list)
    _objects: dict[int, str] = field(default_factory=dict)  # texts of objects by id: many may share one
    _bindings: list[tuple[str, str, Any]] = field(default_factory=list)  # variables of the name of what they hold
    _modules: list[ModuleType] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)  # all that the reached code mentions
    _kept: list[Any] = field(default_factory=list)  # an id is a key only as long as its object lives
    _inside: list[int] = field(default_factory=list)  # the objects whose text is being made
    _held: list[tuple[str, ModuleType]] = field(default_factory=list)  # by closures and containers
    _folder: str | None = None  # of the loss's file
    _is_in_modules: bool = False  # what code names by itself is done; what it reads from modules follows

    def walk(self, where: str, thing: Callable[..., Any]) -> None:
        """Follow a function or class, and then what it names in modules of the user, until nothing new is found."""
        functions = [thing] if isinstance(thing, FunctionType) else sourcetext.own_functions(cast(type, thing))
        files = [f.__code__.co_filename for f in functions if is_users_file(f.__code__.co_filename)]
        self._folder = os.path.dirname(os.path.abspath(files[0])) if files else None
        self._value(where, thing)
        self._is_in_modules = True
        done: set[tuple[int, str]] = set()
        while True:
            all_of_it = bool(self._names & REFLECTION)  # getattr(module, name) can read anything in it
            todo = [
                (module, name)
                for module in self._modules
                for name in sorted(vars(module).keys() - members.OF_MODULES)
                if (name in {"__getattr__", *self._names} or (all_of_it and not name.startswith("__")))
                and (id(module), name) not in done
            ]
            if not todo:
                break
            for module, name in todo:
                done.add((id(module), name))
                self._variable(f"{module.__name__}.{name}", vars(module)[name], sourcetext.module_statements(module))
        self._tell_apart()
        for where, module in self._held:  # any name that the code mentions may be read from it
            for full in sorted(f"{module.__name__}.{name}" for name in self._names):
                if full in OPAQUE:
                    self.opaque.setdefault(f"{full} by {where}", OPAQUE[full])

    def _tell_apart(self) -> None:
        """Add the variables whose name does not say which of several things of this name they hold."""
        held: dict[str, set[int]] = {}
        for variable, _, value in self._bindings:
            held.setdefault(variable.rpartition(".")[2], set()).add(id(value))
        for variable, text, value in sorted(self._bindings, key=lambda binding: binding[:2]):
            is_one_of_many = len(held[variable.rpartition(".")[2]]) > 1
            if is_one_of_many or (
                is_users_module(value) and not values.is_named_like(variable, value) and len(self._modules) > 1
            ):
                self.texts[variable, text] = f"{variable} = {text}"

    # --- variables and values ---------------------------------------------------------------------------------

    def _variable(self, where: str, value: Any, said: tuple[ast.stmt, ...] = ()) -> None:
        """Add a variable that code reads: its value, or the code that it stands for.

        Args:
            said: statements whose source is in already. What they say of the variable is not added again.
        """
        try:
            text = self._value(where, value)
        except RecursionError:
            self.opaque.setdefault(where, "is nested too deeply")
            return
        if sourcetext.says(said, where.rpartition(".")[2], value) or self._is_written_in_class(value):
            return
        if isinstance(value, (FunctionType, type, ModuleType)) or is_library_function(value):
            source = self._sources.get(id(value), "")
            is_its_lambda = source.lstrip().startswith(where) and source.count("lambda") == 1
            if is_users_module(value) or is_its_lambda or values.is_named_like(where, value):
                self._bindings.append((where, text, value))
                return
        self.texts[where, text] = f"{where} = {text}"

    def _is_written_in_class(self, value: Any) -> bool:
        """True for static methods, properties and the like whose source is that of their class."""
        held = members.held(value) if type(value) in members.DESCRIPTORS else []
        return bool(held) and all(any(source.holds(i) for source in self._classes) for i in held)

    def _value(self, where: str, value: Any) -> str:
        """The text of a value; the code that it holds is added on the way."""
        if type(value) in values.CONSTANTS:
            return values.constant_text(value, self._folder)
        if (reason := why_opaque_function(value)) is not None:
            self.opaque.setdefault(where, reason)
        if isinstance(value, FunctionType):
            return self._function(where, value)
        if isinstance(value, type):
            return self._class(where, value)
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, values.CONSTANTS) and not is_users_class(type(value)):
            return repr(value)
        if id(value) in self._inside:
            distance = len(self._inside) - self._inside.index(id(value)) - 1
            return "itself" if distance == 0 else f"itself {distance}"
        if id(value) not in self._objects:
            self._kept.append(value)
            self._inside.append(id(value))
            try:
                self._objects[id(value)] = self._object(where, value)
            finally:
                self._inside.pop()
        return self._objects[id(value)]

    def _part(self, where: str, value: Any) -> str:
        if isinstance(value, ModuleType):
            self._held.append((where, value))
        return values.shortened(self._value(where, value))

    def _object(self, where: str, value: Any) -> str:
        kind = type(value).__name__
        if (reason := why_opaque(value)) is not None:
            self.opaque.setdefault(where, reason)
            return kind
        if is_shared_stream(value):
            return "the global random stream"
        if (text := values.plain_text(value, self._folder)) is not None:
            return text
        if values.is_array(value):
            return values.array_text(value, lambda element: self._part(where, element)) + self._extras(where, value)
        if isinstance(value, (tuple, list)):
            inside = [self._part(where, v) for v in value]
            return f"{self._own_class(where, value)}{kind}{inside}{self._extras(where, value)}"
        if isinstance(value, (set, frozenset)):
            inside = sorted([self._part(where, v) for v in self._in_order(value)])
            return f"{self._own_class(where, value)}{kind}{inside}{self._extras(where, value)}"
        if isinstance(value, (dict, MappingProxyType)):
            inside = [self._part(where, part) for pair in value.items() for part in pair]
            factory = value.default_factory if isinstance(value, collections.defaultdict) else None
            text = f"{self._own_class(where, value)}{kind}{inside}{self._extras(where, value)}"
            return text + ("" if factory is None else self._value(where, factory))
        if isinstance(value, (BuiltinFunctionType, MethodType)):
            if is_library_function(value):
                return values.full_name(value)
            of = self._value(where, value.__self__)
            return f"{of}.{self._value(where, value.__func__) if isinstance(value, MethodType) else value.__name__}"
        if isinstance(value, members.DESCRIPTORS):
            return f"{kind}{[self._value(where, i) for i in members.held(value)]}"
        return self._state(where, value)

    def _own_class(self, where: str, value: Any) -> str:
        is_plain = type(value) in (*CONTAINERS, collections.defaultdict, collections.OrderedDict)
        return self._value(where, type(value)) if not is_plain and is_users_class(type(value)) else ""

    def _extras(self, where: str, value: Any) -> str:
        """The attributes that a user gave an array or a container, and its class if this is the user's."""
        own = self._own_class(where, value) if values.is_array(value) else ""
        state = {n: v for n, v in values.attributes(value).items() if n != "_is_buffer"}
        return own + (self._part(where, state) if state else "")

    def _in_order(self, elements: Iterable[Any]) -> list[Any]:
        """The elements of a set in an order that does not depend on the process: by all that each one reaches."""
        keys = {}
        for element in elements:
            apart = Reached(_folder=self._folder, _inside=[*self._inside])
            text = apart._value("", element)
            keys[id(element)] = (
                text,
                "" if type(element) in values.CONSTANTS else values.short("".join(apart.texts.values())),
            )
        return sorted(elements, key=lambda element: keys[id(element)])

    def _state(self, where: str, value: Any) -> str:
        """The class and the state of an object, as pickle would take it apart."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(2) if reduce is None else reduce(value)
            if not isinstance(reduced, (str, tuple)):
                raise TypeError("it has no state to copy")
        except RecursionError:
            raise
        except Exception as error:  # objects without a state to copy, such as locks, files and generators
            self.opaque.setdefault(where, f"is a {type(value).__name__}, whose state cannot be read ({error})")
            return type(value).__name__
        if isinstance(reduced, str):  # the name of an object that its module holds, such as torch.float32
            wrapped = values.attributes(value).get("__wrapped__")  # of functools.lru_cache
            return reduced if wrapped is None else f"{reduced} {self._value(where, wrapped)}"
        self._kept.append(reduced)
        parts = [self._part(where, part) for part in reduced[:3]]
        items = [self._part(where, item) for part in reduced[3:5] if part is not None for item in part]
        return f"{parts}{items}"

    # --- code -------------------------------------------------------------------------------------------------

    def _function(self, where: str, function: FunctionType) -> str:
        if not is_users_file(function.__code__.co_filename):
            return self._library_function(where, function)
        if id(function) not in self._sources:
            self._add_source(where, function)
            self._check_loaded(function)
            self._read(function)
            self._captured[id(function)] = self._made_with(function)
            for name, value in sorted(vars(function).items()):
                if name != "__wrapped__" or not any(value is held for _, held in bytecode.cells(function)):
                    self._variable(f"{function.__qualname__}.{name}", value)
        return f"<{function.__qualname__} {values.short(self._sources[id(function)])}{self._captured_by(function)}>"

    def _captured_by(self, thing: Any) -> str:
        """Tells functions and classes apart that one piece of code made with other values."""
        inside = self._captured.get(id(thing), "")
        return f" {values.short(inside)}" if inside and "<" in thing.__qualname__ else ""

    def _library_function(self, where: str, function: FunctionType) -> str:
        """Installed code is not followed, only what it was given: what it wraps and what it closes over."""
        if id(function) not in self._sources:
            name = f"{function.__module__}.{function.__qualname__}"
            self._sources[id(function)] = ""  # it may close over itself
            self._kept.append(function)
            given = [
                self._given(where, v)
                for v in (vars(function).get("__wrapped__"), *(v for _, v in bytecode.cells(function)))
            ]
            if found := [text for text in given if text]:
                self._sources[id(function)] = text = f"{name}{found}"
                self.texts[id(function)] = text
        return self._sources[id(function)] or f"{function.__module__}.{function.__qualname__}"

    def _given(self, where: str, value: Any) -> str:
        """The text of a value that installed code holds, if it is a number, a word, or code of the user; else ""."""
        if type(value) in (int, float, str, bool):
            return repr(value)
        if isinstance(value, FunctionType):
            text = self._function(where, value)
            return text if self._sources[id(value)] else ""
        if (
            isinstance(value, (functools.partial, type))
            or is_users_class(type(value))
            or "__wrapped__" in values.attributes(value)
        ):
            return self._value(where, value) if not isinstance(value, type) or is_users_class(value) else ""
        if isinstance(value, MethodType):
            return self._value(where, value) if is_users_class(type(value.__self__)) else ""
        if not isinstance(value, CONTAINERS) or id(value) in self._inside:
            return ""
        self._inside.append(id(value))
        is_set = isinstance(value, (set, frozenset))
        if isinstance(value, (dict, MappingProxyType)):
            parts = [part for pair in value.items() for part in pair]
        else:
            parts = self._in_order(value) if is_set else list(value)
        inside = [self._given(where, part) for part in parts]
        self._inside.pop()
        return str(sorted(inside) if is_set else inside) if any(inside) else ""

    def _class(self, where: str, thing: type) -> str:
        if id(thing) not in self._sources and not is_users_class(thing):
            return f"{thing.__module__}.{thing.__qualname__}"
        if id(thing) not in self._sources:
            source = sourcetext.class_source(thing)
            self._add(thing, source.text if source else thing.__qualname__)
            if source:
                self._classes.append(source)
            for base in (*thing.__bases__, *([type(thing)] if is_users_class(type(thing)) else [])):
                self._value(base.__qualname__, base)
            state = members.of_class(thing)
            functions = {name: value for name, value in state.items() if isinstance(value, FunctionType)}
            for name, function in functions.items():
                if sourcetext.is_generated(thing, function):
                    self._defaults(function)
                elif source and source.holds(function):
                    self._check_loaded(function)
                    self._read(function)
                    self._captured[id(thing)] = self._captured.get(id(thing), "") + self._made_with(function)
                    if function.__name__ not in (name, "<lambda>") and not sourcetext.says(source.body, name, function):
                        self.texts[id(thing), name] = f"{thing.__qualname__}.{name} = {function.__name__}"
                else:  # written elsewhere, such as the wrapper of a decorator
                    self._variable(f"{thing.__qualname__}.{name}", function)
            for name in sorted(state.keys() - functions.keys()):
                if not sourcetext.is_generated(thing, state[name]):
                    self._variable(f"{thing.__qualname__}.{name}", state[name], source.body if source else ())
        return f"<{thing.__qualname__} {values.short(self._sources[id(thing)])}{self._captured_by(thing)}>"

    def _module(self, module: ModuleType) -> str:
        made = getattr(module, "__file__", None) is None and module.__spec__ is None and module.__name__ != "__main__"
        if (is_users(module) or made) and id(module) not in self.texts:  # made: by types.ModuleType
            self.texts[id(module)] = "".join(linecache.getlines(str(getattr(module, "__file__", ""))))
            self._modules.append(module)
        return f"<module {module.__name__}>"

    def _add_source(self, where: str, function: FunctionType) -> None:
        try:
            source = sourcetext.function_source(function)
        except (OSError, TypeError):
            reason = "has no source that can be read; define it in a file that you import"
            self.opaque.setdefault(f"{where} ({function!r})", reason)
            source = function.__qualname__
        self._add(function, source)

    def _add(self, thing: Any, source: str) -> None:
        """The source of a function or class, once. That of its whole module or class may be in already."""
        self._kept.append(thing)
        self._sources[id(thing)] = source
        in_module = self._is_in_modules and any(module.__name__ == thing.__module__ for module in self._modules)
        if not in_module and not any(one.holds(thing) for one in self._classes):
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
        for name, value in bytecode.cells(function):
            if name != "__class__":
                self._held += [(name, value)] if isinstance(value, ModuleType) else []
                self._variable(name, value)
        names = bytecode.names(code)
        self._names |= names | bytecode.texts(code)
        for name in sorted((names & variables.keys()) - members.OF_MODULES):
            self._variable(name, variables[name])
        for module in imported(code, variables):
            self._module(module)
        for name, reason in sorted(opaque_reads(code, variables).items()):
            self.opaque.setdefault(f"{name} in {function.__qualname__}", reason)

    def _defaults(self, function: FunctionType) -> None:
        source = self._sources.get(id(function), "")
        for value in [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]:
            said = isinstance(value, (FunctionType, type, ModuleType)) or is_library_function(value)
            if said and re.search(rf"\b{re.escape(getattr(value, '__name__', ''))}\b", source):
                self._value(f"a default of {function.__qualname__}", value)
            else:
                self._variable(f"a default of {function.__qualname__}", value)

    def _made_with(self, function: FunctionType) -> str:
        """What a function was made with: its closure and defaults, and which of several lambdas in a line it is."""
        held = [value for name, value in bytecode.cells(function) if name != "__class__" and value is not function]
        held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        place = sourcetext.place_in_line(function, self._sources.get(id(function), ""))
        return (str([self._part(function.__qualname__, value) for value in held]) if held else "") + place
