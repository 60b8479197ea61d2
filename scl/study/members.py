"""The attributes of classes, modules and descriptors that their author wrote, without those that Python makes."""

from __future__ import annotations

import functools
from types import GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

DESCRIPTORS = (staticmethod, classmethod, property, functools.cached_property)
INNER = ("__func__", "func", "fget", "fset", "fdel")  # the attributes of descriptors that hold functions
OF_MODULES = {"__file__", "__cached__", "__path__", "__spec__", "__loader__", "__builtins__"}  # Python sets them
MADE_BY_PYTHON = (GetSetDescriptorType, MemberDescriptorType, WrapperDescriptorType, MethodDescriptorType)
# Attributes of classes that say nothing about what they do, or that the source says.
NOT_STATE = {
    *("__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__", "_abc_impl"),
    *("__match_args__", "__firstlineno__", "__static_attributes__"),
}


def held(descriptor: Any) -> list[Any]:
    """The functions that a descriptor holds, such as the getter and the setter of a property."""
    return [inner for inner in (getattr(descriptor, name, None) for name in INNER) if inner is not None]


def of_class(thing: type) -> dict[str, Any]:
    """What a class's body, or code after it, gave the class: name → value."""
    return {n: v for n, v in vars(thing).items() if _is_state(n) and not isinstance(v, MADE_BY_PYTHON)}


def _is_state(name: str) -> bool:
    return name not in NOT_STATE and (not name.startswith("__pydantic_") or name == "__pydantic_fields__")
