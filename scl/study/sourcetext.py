"""The source of functions and classes, where `inspect` alone returns that of another thing or only a part."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from scl.study import bytecode, members


@dataclass(frozen=True)
class ClassSource:
    """The source of a class, and what its body gives its attributes."""

    text: str
    file: str
    first: int
    last: int
    body: tuple[ast.stmt, ...]

    def holds(self, function: Any) -> bool:
        """True if a function is written in the class."""
        code = getattr(function, "__code__", None)
        return code is not None and code.co_filename == self.file and self.first <= code.co_firstlineno <= self.last


def function_source(function: FunctionType) -> str:
    """The source of a function's own code. `inspect` ends a lambda too early if its body starts on a later line.

    Raises:
        OSError: there is none.
    """
    code = function.__code__  # the source of a decorated function would be that of what it wraps
    text = inspect.getsource(code)
    if code.co_name != "<lambda>":
        return text
    last = max(line for inner in bytecode.nested(code) for _, line, _, _ in inner.co_positions() if line is not None)
    if last < code.co_firstlineno + text.count("\n"):
        return text
    return "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : last])


def place_in_line(function: FunctionType, source: str) -> str:
    """Which of several lambdas in one source a lambda is; "" if there is one."""
    if function.__code__.co_name != "<lambda>" or source.count("lambda") < 2:
        return ""
    columns = [(line, column) for line, _, column, _ in function.__code__.co_positions() if column]
    return f"at {min(columns)[1]}" if columns else ""


def class_source(thing: type) -> ClassSource | None:
    """The source of a class; None if there is none, as of one that `type` or `namedtuple` made.

    Of several classes of one name in a file, it is the one that holds the methods.
    """
    methods = [f for f in own_functions(thing) if f.__code__.co_qualname.startswith(f"{thing.__qualname__}.")]
    written = [f for f in methods if not is_generated(thing, f)]
    places: list[FunctionType | None] = [*written] or [None]
    for function in places:
        file = (
            function.__code__.co_filename if function else getattr(sys.modules.get(thing.__module__), "__file__", None)
        )
        lines = linecache.getlines(str(file))
        nodes = _classes(str(file), "".join(lines)).get(thing.__qualname__, ())
        for node in nodes:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            last = node.end_lineno or node.lineno
            if function is None or first <= function.__code__.co_firstlineno <= last:
                text = "".join(inspect.getblock(lines[first - 1 :]))
                return ClassSource(text, str(file), first, last, tuple(node.body))
    return None


def own_functions(thing: type) -> Iterator[FunctionType]:
    """The functions among a class's attributes, also inside descriptors."""
    for member in vars(thing).values():
        held = [member, *(inspect.getattr_static(member, name, None) for name in members.INNER)]
        yield from (f for f in held if isinstance(f, FunctionType))
        if isinstance(member, members.DESCRIPTORS):
            yield from (f for f in members.held(member) if isinstance(f, FunctionType))


def is_generated(owner: type, member: Any) -> bool:
    """True for the methods that dataclasses, named tuples and attrs write; their text follows from the class."""
    if not any(hasattr(owner, mark) for mark in ("__dataclass_fields__", "_fields", "__attrs_attrs__")):
        return False
    function = inspect.unwrap(getattr(member, "__func__", member))
    file = function.__code__.co_filename if isinstance(function, FunctionType) else ""
    return file == "<string>" or file.startswith("<attrs generated")


def says(body: tuple[ast.stmt, ...], name: str, value: Any) -> bool:
    """True if the statements give a variable exactly this value: the same literal, or the thing of this name."""
    found = False
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        given = getattr(node, "value", None)
        if given is None or not any(isinstance(target, ast.Name) and target.id == name for target in targets):
            continue
        try:
            found = repr(ast.literal_eval(given)) == repr(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            last = given.id if isinstance(given, ast.Name) else given.attr if isinstance(given, ast.Attribute) else None
            found = last is not None and last == getattr(value, "__name__", None)
    return found


@functools.lru_cache(maxsize=64)
def statements(file: str, text: str) -> tuple[ast.stmt, ...]:
    """The statements of a file; none if it does not parse."""
    try:
        return tuple(ast.parse(text, file).body)
    except (SyntaxError, ValueError):
        return ()


@functools.lru_cache(maxsize=64)
def _classes(file: str, text: str) -> dict[str, list[ast.ClassDef]]:
    """The classes of a file by their qualified names, in the order of the file."""
    found: dict[str, list[ast.ClassDef]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.ClassDef):
                found.setdefault(prefix + child.name, []).append(child)
                inner = f"{prefix}{child.name}."
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner = f"{prefix}{child.name}.<locals>."
            visit(child, inner)

    for statement in statements(file, text):
        visit(ast.Module([statement], []), "")
    return found


def module_statements(module: ModuleType) -> tuple[ast.stmt, ...]:
    """The statements of a module's file."""
    file = str(getattr(module, "__file__", ""))
    return statements(file, "".join(linecache.getlines(file)))
