"""Numbers of numpy, torch and pandas become Python's at the border: the same ids as numbers typed by hand."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from scl import Choice, Config, Float, Int, Scale, Search, Setting, Study, Term, UserError, designs
from scl.plain import plain
from scl.study.controls import self_taught_controls
from scl.study.designs import Design
from scl.study.identity import requested, sha256
from scl.study.options import options_for
from scl.study.study import Published


class Word(enum.StrEnum):
    RELU = "relu"


class Number(enum.IntEnum):
    TWO = 2


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(3), 3),
        (np.uint8(255), 255),
        (np.bool_(True), True),
        (np.str_("relu"), "relu"),
        (np.array(0.5), 0.5),
        (np.array(3), 3),
        (np.array(True), True),
        (np.array("relu"), "relu"),
        (np.array([1, 2]), [1, 2]),
        (np.linspace(0, 1, 3), [0.0, 0.5, 1.0]),
        (np.array([[1.0], [2.0]]), [[1.0], [2.0]]),
        (torch.tensor(0.5), 0.5),
        (torch.tensor(3), 3),
        (torch.tensor(True), True),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        (pd.Series([1, 2]), [1, 2]),
        (Fraction(1, 2), 0.5),
        (Word.RELU, "relu"),
        (Number.TWO, 2),
        ([np.int64(1), (np.float64(2),)], [1, (2.0,)]),
        ({np.str_("a"): {"b": np.bool_(False)}}, {"a": {"b": False}}),
        ({np.int64(1)}, {1}),
    ],
    ids=repr,
)
def test_a_value_becomes_pythons_own(value: Any, wanted: Any) -> None:
    found = plain(value)
    assert types(found) == types(wanted)
    assert found == wanted


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return {types(k): types(v) for k, v in value.items()}
    return (type(value), *map(types, value)) if isinstance(value, (list, tuple, set)) else type(value)


@pytest.mark.parametrize(
    "value", [None, 1, 1.5, "a", True, (1, 2), {"a": [1]}, object(), len, int, Config(), np.clongdouble(1j), range(3)]
)
def test_what_is_pythons_own_or_unknown_stays_the_same_object(value: Any) -> None:
    assert plain(value) is value
    assert plain(torch.empty(2, device="meta")).shape == (2,)


def mine(student: Any, teacher: Any, **options: Any) -> Any:
    return student


# Each takes a number, a whole number, a truth value and a word, and returns what is stored or part of an id.
BORDERS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "fields": lambda x, n, b, w: requested(
        Config(lr=x, epochs=n, nesterov=b, tap=w, self_taught=(n, 0, n, 0), ce=n, model="plain5")
    ),
    "milestones": lambda x, n, b, w: requested(Config(schedule="multistep", milestones=(n,))),
    "weights": lambda x, n, b, w: requested(Config(losses={"kd": x, "at": n})),
    "terms": lambda x, n, b, w: requested(
        Config(losses={"at": Term(x, layers=(n,), warmup=n, end=n), "kd": Term(n, options={"temperature": x})})
    ),
    "options": lambda x, n, b, w: requested(
        Config(losses={"m": Term(1, loss=mine, options={"x": x, "n": n, "b": b, "w": w, "all": [x, {"n": n}]})})
    ),
    "replace": lambda x, n, b, w: requested(Config().replace(lr=x, nesterov=b)),
    "grid": lambda x, n, b, w: stored(designs.grid({"lr": [x, 1.0], "nesterov": [b, not b], "tap": [w, "bn"]})),
    "levels by name": lambda x, n, b, w: stored(designs.grid({"lr": {"low": {"lr": x}, "high": {"lr": 1.0}}})),
    "changes": lambda x, n, b, w: stored(
        designs.grid({"t": [x, 1.0]}, changes=lambda t: {"losses": {"kd": Term(1, options={"temperature": t})}})
    ),
    "one at a time": lambda x, n, b, w: stored(designs.one_at_a_time({"lr": [x], "epochs": [n]})),
    "leave one out": lambda x, n, b, w: stored(designs.leave_one_out({"a": {"lr": x}, "b": {"epochs": n}})),
    "a design": lambda x, n, b, w: stored(Design({"a": {"lr": x}}, "arms", {"a": {"lr": x, "n": n, "b": b, "w": w}})),
    "controls": lambda x, n, b, w: self_taught_controls("kd", {"losses": {"kd": x}}, n),
    "arms": lambda x, n, b, w: Study(name="s", question="q", arms={"baseline": {"lr": x, "nesterov": b}}).arms,
    "seeds": lambda x, n, b, w: Study(name="s", question="q", arms={"baseline": {}}, seeds=n).seeds,
    "a setting": lambda x, n, b, w: Setting(student={"lr": x}, teacher={"epochs": n}),
    "a scale": lambda x, n, b, w: Scale(student={"lr": x}, limit=n, val=x, seeds=n),
    "published": lambda x, n, b, w: Published({"kd": x}, "source"),
    "ranges": lambda x, n, b, w: [Float(x, 2.0, log=b), Int(n, 9, step=n), Choice([x, n, b, w])],
    "a search": lambda x, n, b, w: Search({"lr": Float(0.1, 1)}, trials=n, start=({"lr": x},), template={"tap": w}),
    "keywords": lambda x, n, b, w: options_for(
        Study(name="s", question="q", arms={"baseline": {}}),
        {"lr": x, "seeds": n, "deterministic": b, "precision": "fp32", "set": {"lr": x, "nesterov": b, "tap": w}},
    ),
}


def stored(design: Design) -> Any:
    levels = json.loads(json.dumps({arm: dict(at) for arm, at in design.levels.items()}))
    return [levels, {arm: requested(Config().replace(**dict(changes))) for arm, changes in design.items()}]


@pytest.mark.parametrize(
    "kind",
    [
        (np.float64, np.int64, np.bool_, np.str_),
        (np.float64, np.uint8, lambda b: np.array(b), lambda w: np.array(w)),
        (lambda x: np.array(x), lambda n: np.array(n), lambda b: torch.tensor(b), np.str_),
        (lambda x: torch.tensor(x, dtype=torch.float64), torch.tensor, torch.tensor, np.str_),
    ],
    ids=["numpy", "mixed", "arrays", "tensors"],
)
@pytest.mark.parametrize("border", BORDERS)
def test_every_border_takes_them_as_pythons_numbers(border: str, kind: Any) -> None:
    """`repr` tells 0.5 from np.float64(0.5); ids are hashes of JSON, which it must be too."""
    at = BORDERS[border]
    own, given = at(0.5, 2, True, "relu"), at(*(make(v) for make, v in zip(kind, (0.5, 2, True, "relu"), strict=True)))
    assert repr(given) == repr(own)
    if isinstance(own, dict) and border not in ("controls", "arms"):
        assert sha256(given) == sha256(own)


@pytest.mark.parametrize("value", [np.datetime64("2026-01-01"), np.complex64(1), b"x", object(), {1: 2}, 1j])
def test_what_is_no_number_word_or_list_of_them_is_refused_as_an_option(value: Any) -> None:
    with pytest.raises(UserError, match="option 'x' is of type"):
        requested(Config(losses={"m": Term(1, loss=mine, options={"x": value})}))
