"""Which attributes their author wrote."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from scl.study import members


class Written:
    """Words."""

    __slots__ = ("slot",)
    number: int = 3

    def method(self) -> int:
        return self.number

    @staticmethod
    def static() -> int:
        return 1

    @property
    def both(self) -> int:
        return 1

    @both.setter
    def both(self, value: int) -> None: ...


class Plain:
    pass


def test_a_class_has_what_its_body_gave_it() -> None:
    assert members.of_class(Written).keys() - {"__slots__"} == {"number", "method", "static", "both"}
    assert members.of_class(Plain) == {}
    assert members.of_class(type("Late", (), {"later": 5})) == {"later": 5}


@pytest.mark.parametrize(
    ("descriptor", "names"),
    [
        (vars(Written)["static"], ["static"]),
        (vars(Written)["both"], ["both", "both"]),
        (property(), []),
        (functools.cached_property(len), ["len"]),
        (classmethod(repr), ["repr"]),
        (3, []),
    ],
)
def test_a_descriptor_holds_functions(descriptor: Any, names: list[str]) -> None:
    assert [function.__name__ for function in members.held(descriptor)] == names
