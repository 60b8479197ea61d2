"""The identity of a custom loss: all user code that it reaches."""

from __future__ import annotations

import functools
import importlib
import linecache
import sys
from pathlib import Path

import pytest

from scl import losses
from scl.errors import UserError
from scl.study import loss_table
from scl.study.config import Config
from scl.study.identity import requested, sha256
from scl.study.params import params
from scl.study.source import is_users, source_identity
from scl.study.term import Term

FILE = """
import math
import torch
import helper

POWER = 2
TABLE = {"a": (1, 2.5)}
WEIGHTS = torch.tensor([1.0, 2.0])

def inner(x):
    return x.abs() ** POWER

class Base(torch.nn.Module):
    def measure(self, x):
        return inner(x)

class Loss(Base):
    def forward(self, s, t, scale=1.0):
        return scale * (self.measure(s) - self.measure(t)).mean() * TABLE["a"][1] * math.pi * WEIGHTS.sum()

def loss(s, t):
    return Loss()(s, t) + helper.shift(s)

def unrelated():
    return 1
"""
HELPER = "def shift(x):\n    return x.mean()\n"


def ids(folder: Path, file: str = FILE, helper: str = HELPER) -> str:
    folder.mkdir()
    (folder / "helper.py").write_text(helper)
    (folder / "own_study.py").write_text(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for name in ("helper", "own_study"):
            patch.delitem(sys.modules, name, raising=False)
        linecache.checkcache()
        return source_identity("mine", importlib.import_module("own_study").loss)["sha256"]


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("POWER = 2", "POWER = 3", True),
        ("x.abs() **", "x.square() **", True),
        ("2.5)", "2.75)", True),
        ("1.0, 2.0]", "1.0, 3.0]", True),
        ("scale=1.0", "scale=2.0", True),
        ("return inner(x)", "return 2 * inner(x)", True),
        ("return 1\n", "return 2\n", False),
    ],
)
def test_all_that_a_loss_reaches_is_in_its_id_and_nothing_else(
    tmp_path: Path, old: str, new: str, changes: bool
) -> None:
    one, two = ids(tmp_path / "a"), ids(tmp_path / "b", FILE.replace(old, new))
    assert (one != two) == changes


def test_a_module_beside_the_study_is_in_the_id(tmp_path: Path) -> None:
    assert ids(tmp_path / "a") != ids(tmp_path / "b", helper=HELPER.replace("mean", "sum"))


def made(power: int) -> object:
    def loss(s: object, t: object, p: int = power) -> int:
        return p

    return loss


def made_deep(power: int) -> object:
    def inner() -> int:
        return power

    def loss(s: object, t: object) -> int:
        return inner()

    return loss


class Bound:
    def loss(self, s: object, t: object) -> int:
        return 0


OBJECT = Bound()


def reads_object(s: object, t: object) -> object:
    return OBJECT.loss(s, t)


def test_values_that_a_loss_was_made_with_are_in_its_id_or_refused() -> None:
    assert source_identity("mine", made(1)) != source_identity("mine", made(2))  # type: ignore[arg-type]
    for loss, message in (
        (made_deep(1), "reads power of an enclosing function"),
        (Bound().loss, "a function or a class, got method"),
        (functools.partial(made(1), p=2), "a function or a class, got partial"),  # type: ignore[arg-type]
        (Bound(), "a function or a class, got <tests.study.test_source.Bound"),
        (reads_object, "reads OBJECT, a Bound whose value cannot be part"),
    ):
        with pytest.raises(UserError, match=message):
            requested(Config(losses={"mine": Term(1.0, loss=loss)}))  # type: ignore[arg-type]


def test_an_option_of_none_is_an_option() -> None:
    def loss(s: object, t: object, q: object = 1) -> int:
        return 0

    def config(**options: object) -> Config:
        return Config(losses={"mine": Term(1.0, loss=loss, options=options)})

    assert len({sha256(requested(config(**o))) for o in ({}, {"q": None}, {"q": 1}, {"q": [1, 2]})}) == 4
    assert params(config(q=[1, 2]))["mine.q"] == "[1,2]"
    with pytest.raises(UserError, match="option 'q' is of type object"):
        requested(config(q=object()))


def test_installed_modules_and_scl_are_not_the_users() -> None:
    """Workers have these; a custom loss that calls them does not change its id with their code."""
    assert not any(map(is_users, [losses, losses.logits, loss_table, pytest, functools, sys, None]))
    assert is_users(sys.modules[__name__])
