"""What code reads from outside of itself."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from scl.study.opaque import is_shared_stream, opaque_reads, why_opaque


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("np.load('x')", ["np.load"]),
        ("np.load", ["np.load"]),
        ("np.zeros(1)", []),
        ("x.load()", []),
        ("load('x')", ["load"]),
        ("open('x').read()", ["open"]),
        ("os.environ.get('x')", ["os.environ.get"]),
        ("p.read_text()", [".read_text()"]),
        ("[eval(t) for t in x]", ["eval"]),
        ("lambda: open('x')", ["open"]),
    ],
)
def test_reads_are_found_by_their_full_names(text: str, found: list[str]) -> None:
    code = compile(text, "x.py", "eval")
    variables = {"np": np, "os": os, "load": torch.load, "x": None, "p": None}
    assert sorted(opaque_reads(code, variables)) == found


@pytest.mark.parametrize(
    "value",
    [random.Random(0), torch.Generator(), np.random.default_rng(0), np.random.RandomState(0), os.environ,
     torch.ones(1, requires_grad=True), torch.nn.Linear(1, 1)],
)  # fmt: skip
def test_what_has_a_hidden_state_is_opaque(value: object) -> None:
    assert why_opaque(value)


@pytest.mark.parametrize("value", [1, "x", torch.ones(1), torch.nn.ReLU(), torch.nn.Linear(1, 1).requires_grad_(False)])
def test_values_are_not_opaque(value: object) -> None:
    assert why_opaque(value) is None


def test_the_streams_that_are_seeded_each_step_are_shared() -> None:
    assert is_shared_stream(random.random.__self__)  # type: ignore[attr-defined]
    assert is_shared_stream(np.random.rand.__self__)  # type: ignore[attr-defined]
    assert not is_shared_stream(random.Random(0))
