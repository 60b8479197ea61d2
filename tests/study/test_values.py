"""The text of arrays, constants and names."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scl.study import values


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (torch.ones(2), "Tensor[1.0, 1.0]"),
        (torch.ones(2, dtype=torch.int64), "Tensor[1, 1]"),
        (torch.ones(1, dtype=torch.bool), "Tensor[True]"),
        (torch.ones(1, dtype=torch.float16), "Tensor[1.0] float16"),
        (torch.zeros(0), "Tensor[]"),
        (torch.zeros(0, 3), "Tensor[] float32 (0, 3)"),
        (torch.zeros(0, dtype=torch.int64), "Tensor[] int64 (0,)"),
        (np.ones(1), "ndarray[1.0]"),
        (np.ones(1, np.float32), "ndarray[1.0] float32"),
        (np.array(["a", None], dtype=object), "ndarray['a', None] (2,) object"),
    ],
)
def test_arrays_by_their_values_and_types(array: Any, text: str) -> None:
    assert values.is_array(array)
    assert values.array_text(array, lambda element: element).replace("'", "") == text.replace("'", "")


def test_what_only_looks_like_an_array_is_not_one() -> None:
    class Looks:
        dtype, tolist, numel = "float32", list, int

    assert not values.is_array(Looks())


@pytest.mark.parametrize(
    ("variable", "thing", "like"),
    [
        ("F", F, True), ("np", np, True), ("torch", torch, True), ("functional", F, True), ("M", np, False),
        ("np", math, False), ("relu", F.relu, True), ("own.relu", F.relu, True), ("act", F.relu, False),
        ("sin", math.sin, True), ("fn", math.sin, False), ("ReLU", torch.nn.ReLU, True), ("Act", torch.nn.ReLU, False),
    ],
)  # fmt: skip
def test_names_that_say_what_they_hold(variable: str, thing: Any, like: bool) -> None:
    assert values.is_named_like(variable, thing) == like


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("/a/b", "'.'"),
        ("/a/b/c.txt", "'./c.txt'"),
        ("/a/bc", "'/a/bc'"),
        ("a/b", "'a/b'"),
        (2.5, "2.5"),
    ],
)
def test_paths_below_the_folder_are_relative_to_it(value: Any, text: str) -> None:
    assert values.constant_text(value, "/a/b") == text


def test_long_texts_and_full_names() -> None:
    assert values.plain_text(PurePosixPath("/a/b/c"), "/a/b") == "PurePosixPath './c'"
    assert values.shortened("x") == "x"
    assert len(values.shortened("x" * 200_000)) < 50
    assert values.full_name(math.sin) == "math.sin"
    assert values.full_name(F) == "torch.nn.functional"
