"""The identity of a custom loss: all user code that it reaches."""

from __future__ import annotations

import functools
import importlib
import linecache
import os
import sys
from pathlib import Path

import pytest

from scl.errors import UserError
from scl.study.config import Config
from scl.study.identity import requested, sha256
from scl.study.params import params
from scl.study.source import source_identity
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

def plain(s, t):
    return inner(s - t).mean()

def with_helper(s, t):
    return helper.shift(s) - helper.shift(t)

def unrelated():
    return 1
"""
HELPER = "def shift(x):\n    return x.mean()\n"


def ids(folder: Path, file: str = FILE, helper: str = HELPER, loss: str = "loss") -> str:
    folder.mkdir()
    (folder / "helper.py").write_text(helper)
    (folder / "own_study.py").write_text(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        for name in ("helper", "own_study"):
            patch.delitem(sys.modules, name, raising=False)
        linecache.checkcache()
        return source_identity("mine", getattr(importlib.import_module("own_study"), loss))["sha256"]


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


def reads_environment(s: object, t: object) -> object:
    return os.environ.get("X")


def test_values_that_a_loss_was_made_with_are_in_its_id_or_refused() -> None:
    for make in (made, made_deep):
        assert source_identity("mine", make(1)) != source_identity("mine", make(2))  # type: ignore[arg-type]
    for loss, message in (
        (Bound().loss, "a function or a class, got method"),
        (functools.partial(made(1), p=2), "a function or a class, got partial"),  # type: ignore[arg-type]
        (Bound(), "a function or a class, got <tests.study.test_source.Bound"),
        (reads_environment, "reaches os.environ.get in reads_environment, .* it reads environment variables"),
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


def test_a_stated_version_stands_for_what_cannot_be_followed() -> None:
    def config(version: str | None) -> Config:
        return Config(losses={"mine": Term(1.0, loss=reads_environment, version=version)})

    with pytest.raises(UserError, match="state version="):
        requested(config(None))
    assert len({sha256(requested(config(version))) for version in ("1", "2")}) == 2
    for value in ("", 1):
        with pytest.raises(UserError, match="version is a text"):
            config(value)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="version is only for a custom loss"):
        Config(losses={"kd": Term(1.0, version="1")})


@pytest.mark.parametrize(
    ("loss", "sha256"),
    [
        ("Loss", "3fbd3818ca55c439bf7b55f4c96125189e955841b44dd6d895a956bf66649aa4"),
        ("plain", "c8ea77bbee2d830d3284e2440960de12c86d4ce293bd30115ae759e51f94e2b5"),
        ("with_helper", "040c474642a712da6685c23e8b95e75a9668b8f5b3eaaa6ac3b721027ec96a24"),
    ],
)
def test_losses_whose_code_was_all_held_keep_their_id(loss: str, sha256: str, tmp_path: Path) -> None:
    """Golden: these identities are in stores."""
    assert ids(tmp_path / "a", loss=loss) == sha256


HELD_HEAD = """import math, torch
from torch import nn
import torch.nn.functional as F
import helper
from helper import shift
"""
HELD_HELPER = "SCALE = 2.5\ndef shift(x):\n    return x.mean() * SCALE\n"
HELD_CLASS = """class Own(nn.Module):
    scale = 2.5
    @staticmethod
    def twice(x): return 2 * x
    @property
    def half(self): return 0.5
    def forward(self, s, t): return self.twice(s).mean() * self.half * self.scale
loss = Own
"""
HELD_MODULE = "def loss(s, t): return F.mse_loss(s, t) * helper.SCALE + helper.shift(s)\n"
HELD_CONTAINERS = """TABLE = [1, (2, {'a': {3, 4}})]
WORDS = frozenset({'x', 'y'})
def loss(s, t): return TABLE, WORDS
"""
HELD_TENSORS = """T = torch.ones(2)
I = torch.arange(3)
B = torch.ones(2, dtype=torch.bool)
def loss(s, t): return (s - t).mean() * T * I[0] * B[0]
"""


@pytest.mark.parametrize(
    ("text", "sha256"),
    [
        (HELD_CLASS, "078a503d42fe4e97d2d1d0b0897d21d2c7b81e1d106b6c6b66d0bd73a099cffc"),
        (HELD_MODULE, "136d876d09a14f898c723ea4f6691e533ee584a8f5f714d17370f22de3088e89"),
        (HELD_CONTAINERS, "00ea9695286452398afcfaa768f8cb9c491de853a4b368a525db30622a68513d"),
        (HELD_TENSORS, "54eac10a39910278eae9b3c306a3c9c9668ef613fc47c077808e1c900a1a4c47"),
    ],
)
def test_what_the_source_of_a_class_or_module_says_adds_nothing(text: str, sha256: str, tmp_path: Path) -> None:
    """Golden: the values of attributes were not read once, but the sources that give them were."""
    assert ids(tmp_path / "a", HELD_HEAD + text, HELD_HELPER) == sha256
    changed = ids(tmp_path / "b", HELD_HEAD + text, HELD_HELPER + "SCALE += 1\n")
    assert (changed != sha256) == ("helper" in text)
