"""Packages that are functions too: `scl.run(study)` beside `scl.run.…`, and `scl.plan(study)` beside `scl.plan.…`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that, called, calls the function of its name in `scl.api`."""

    @property
    def _function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(import_module("scl.api"), self.__name__.rpartition(".")[2])
        return function

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)


def make_callable(package: str) -> None:
    sys.modules[package].__class__ = CallablePackage
