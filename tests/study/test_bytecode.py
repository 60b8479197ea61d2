"""Names, imports and edits, read from code that does not run."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest

from scl.study import bytecode

CODE = """
def f(local):
    import os.path as p
    from .beside import one, two
    def inner(): return np.random.rand(GLOBAL) + local.attribute
    return getattr(inner, "text")
"""


def compiled() -> object:
    return compile(CODE, "x.py", "exec").co_consts[0]


def test_names_of_inner_functions_and_texts_count() -> None:
    code = compiled()
    assert {"np", "random", "rand", "GLOBAL", "attribute", "getattr"} <= bytecode.names(code)  # type: ignore[arg-type]
    assert "text" in bytecode.texts(code)  # type: ignore[arg-type]


def test_chains_begin_at_variables_of_the_module() -> None:
    found = bytecode.chains(compiled())  # type: ignore[arg-type]
    assert {("np", "random", "rand"), ("GLOBAL",), ("getattr",)} <= found
    assert not any(chain[0] == "local" for chain in found)


def test_imports_have_level_module_and_names() -> None:
    assert bytecode.imports(compiled()) == [(0, "os.path", ()), (1, "beside", ("one", "two"))]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edited", "same"),
    [
        ("def f(): return {1, 2}, 0.0, 'x'\n", True),
        ("def f(): return {1, 2}, 0.0, 'x'  # words\n", True),
        ("def f(): return {1, 3}, 0.0, 'x'\n", False),
        ("def f(): return {1, 2}, -0.0, 'x'\n", False),
        ("def f(): return {1, 2}, 0.0, 'y'\n", False),
        ("\ndef f(): return {1, 2}, 0.0, 'x'\n", False),
        ("def g(): return {1, 2}, 0.0, 'x'\n", False),
        ("def f(:\n", False),
        ("", True),
    ],
)
def test_an_edited_file_is_noticed(edited: str, same: bool, tmp_path: Path) -> None:
    """A line above counts too: `inspect.getsource` would return other lines. A file that is gone has no source."""
    file = tmp_path / "x.py"
    code = compile("def f(): return {1, 2}, 0.0, 'x'\n", str(file), "exec").co_consts[0]
    file.write_text(edited)
    linecache.checkcache()
    assert bytecode.is_that_of_its_file(code) == same
