"""Packages that are functions too."""

from __future__ import annotations

import inspect
import pickle
import sys
from types import ModuleType

import pytest

import scl
from scl import api
from scl.callable import CallablePackage, make_callable


@pytest.mark.parametrize("name", ["run", "plan"])
def test_the_function_and_its_package_have_one_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = getattr(scl, name)
    assert isinstance(package, ModuleType)
    assert package is sys.modules[f"scl.{name}"]
    assert inspect.signature(package) == inspect.signature(getattr(api, name))
    monkeypatch.setattr(api, name, lambda *args, **options: (name, args, options))
    assert package("study", seeds=3) == (name, ("study",), {"seeds": 3})


def test_the_modules_of_such_a_package_stay_reachable() -> None:
    from scl.plan.plan import make_plan
    from scl.run.run import run_study

    assert pickle.loads(pickle.dumps(run_study)) is run_study
    assert pickle.loads(pickle.dumps(make_plan)) is make_plan
    assert scl.run.run.run_study is run_study


def test_only_a_package_of_that_name_becomes_callable(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("scl.nosuch")
    monkeypatch.setitem(sys.modules, "scl.nosuch", module)
    make_callable("scl.nosuch")
    assert isinstance(module, CallablePackage)
    with pytest.raises(AttributeError, match="nosuch"):
        module()
    assert not callable(scl.study)
