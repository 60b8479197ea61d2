"""What a function's code names, without running it; and whether its file still holds this code.

The code object is read instead of the source, because the source of a method, a lambda or a decorated function is a
fragment that need not parse.
"""

from __future__ import annotations

import dis
import functools
import linecache
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

# The instructions that read a variable of the module. Python 3.12 and later use the last one in class bodies.
READS_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
READS_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")


def nested(code: CodeType) -> Iterator[CodeType]:
    """The code and all code inside it: inner functions, classes, comprehensions."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def names(code: CodeType) -> set[str]:
    """Every name that the code mentions: variables of the module, attributes, modules."""
    return {name for inner in nested(code) for name in inner.co_names}


def cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables of enclosing functions that a function reads, as far as they have a value."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue


def texts(code: CodeType) -> set[str]:
    """Every constant text in the code. It may be the name of an attribute."""
    return {constant for inner in nested(code) for constant in inner.co_consts if isinstance(constant, str)}


def chains(code: CodeType) -> set[tuple[str, ...]]:
    """The variables of the module that the code reads, each with the attributes read from it: ``np.random.rand`` is
    ("np", "random", "rand").
    """
    found: set[tuple[str, ...]] = set()
    for inner in nested(code):
        chain: tuple[str, ...] = ()
        for instruction in dis.get_instructions(inner):
            if chain and instruction.opname in READS_ATTRIBUTE:
                chain = (*chain, instruction.argval)
            else:
                found.add(chain)
                chain = (instruction.argval,) if instruction.opname in READS_GLOBAL else ()
    return found - {()}


def attributes_read(code: CodeType) -> set[str]:
    """The attributes that the code reads, of anything."""
    instructions = (i for inner in nested(code) for i in dis.get_instructions(inner))
    return {i.argval for i in instructions if i.opname in READS_ATTRIBUTE}


def imports(code: CodeType) -> list[tuple[int, str, tuple[str, ...]]]:
    """The imports inside the code: level (0: absolute), module, and the names of ``from module import …``."""
    found = []
    for inner in nested(code):
        constants: list[object] = []
        for instruction in dis.get_instructions(inner):
            if instruction.opname == "IMPORT_NAME":
                level, wanted = constants[-2:]
                assert isinstance(level, int)
                found.append((level, str(instruction.argval), wanted if isinstance(wanted, tuple) else ()))
            if instruction.opname.startswith("LOAD_CONST") or instruction.opname == "LOAD_SMALL_INT":
                constants.append(instruction.argval)
    return found


def is_that_of_its_file(code: CodeType) -> bool:
    """False if the code's file was edited after the code was loaded, so that its source would be that of other code.
    True if there is no file.
    """
    text = "".join(linecache.getlines(code.co_filename))
    return not text or any(_same(code, other) for other in _compiled(code.co_filename, text).get(_place(code), ()))


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


@functools.lru_cache(maxsize=64)
def _compiled(file: str, text: str) -> dict[tuple[str, int], list[CodeType]]:
    try:
        module = compile(text, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return {}
    found: dict[tuple[str, int], list[CodeType]] = {}
    for code in nested(module):
        found.setdefault(_place(code), []).append(code)
    return found


def _same(one: CodeType, other: CodeType) -> bool:
    """True if two pieces of code do the same, whatever their lines and files."""
    same = one.co_code == other.co_code and one.co_names == other.co_names
    same = same and one.co_varnames == other.co_varnames and len(one.co_consts) == len(other.co_consts)
    return same and all(
        _same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else _same_constant(a, b)
        for a, b in zip(one.co_consts, other.co_consts, strict=True)
    )


def _same_constant(one: object, other: object) -> bool:
    # The text tells 0.0 from -0.0 and 1 from True, but not equal sets, whose order may differ.
    return one == other if isinstance(one, frozenset) else repr(one) == repr(other)
