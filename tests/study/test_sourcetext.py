"""The source of lambdas and classes."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scl.study import sourcetext

FILE = """
one = lambda: 1
lines = (
    lambda:
        2
)
first, second = lambda: 1, lambda: 2
class C:
    def f(self): return 1
first_class = C
class C:
    v = 1
    @property
    def g(self): return 2
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "sources_of_tests.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sources_of_tests", raising=False)
    return importlib.import_module("sources_of_tests")


def test_a_lambda_is_whole(module: ModuleType) -> None:
    assert sourcetext.function_source(module.one) == "one = lambda: 1\n"
    assert sourcetext.function_source(module.lines).split() == ["lambda:", "2"]


def test_lambdas_of_one_line_are_told_apart(module: ModuleType) -> None:
    source = sourcetext.function_source(module.first)
    assert source == sourcetext.function_source(module.second)
    assert sourcetext.place_in_line(module.first, source) != sourcetext.place_in_line(module.second, source)
    assert sourcetext.place_in_line(module.one, sourcetext.function_source(module.one)) == ""


def test_of_two_classes_of_one_name_it_is_the_one_with_the_methods(module: ModuleType) -> None:
    one, two = sourcetext.class_source(module.first_class), sourcetext.class_source(module.C)
    assert one is not None
    assert two is not None
    assert "def f" in one.text
    assert "def g" in two.text
    assert two.holds(vars(module.C)["g"].fget)
    assert not one.holds(vars(module.C)["g"].fget)
    assert sourcetext.class_source(type("Made", (), {})) is None


@pytest.mark.parametrize(
    ("text", "value", "says"),
    [
        ("v = 2.5", 2.5, True),
        ("v: float = 2.5", 2.5, True),
        ("v = 2.5", 3.5, False),
        ("v = 1", True, False),
        ("v = 1\nv = 2", 2, True),
        ("v = 1\nv = 2", 1, False),
        ("v = {'a': [1]}", {"a": [1]}, True),
        ("v = math.sin", abs, False),
        ("v = abs", abs, True),
        ("w = 2.5", 2.5, False),
        ("v = f()", 2.5, False),
    ],
)
def test_what_statements_say_of_a_variable(text: str, value: object, says: bool) -> None:
    assert sourcetext.says(tuple(ast.parse(text).body), "v", value) == says
