"""Limits of a search: which are valid, and what keeps them."""

from __future__ import annotations

import math

import pytest

from scl.study.limits import OBJECTIVES, excess, in_words, kept, limit_problems


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, ""),
        ({"latency_ms": 5, "params": 2e6, "macs": 1, "file_bytes": 1e6, "val_loss": 0.5, "val_acc": 0.9}, ""),
        ({"latency": 5}, "unknown constraint 'latency' (did you mean 'latency_ms'?)"),
        ({"test_acc": 0.5}, "unknown constraint 'test_acc'"),
        ({"params": 0}, "constraint params: the limit must be a finite number above 0, got 0"),
        ({"params": math.inf}, "must be a finite number above 0, got inf"),
        ({"params": "many"}, "must be a finite number above 0, got 'many'"),
        ({"params": True}, "must be a finite number above 0, got True"),
        ({"val_acc": 90}, "constraint val_acc: the least value is a fraction of 0 to 1, got 90"),
        ([("params", 1)], "constraints must be a dict"),
    ],
)
def test_limits_are_checked(given: dict[str, float], problem: str) -> None:
    assert problem in "; ".join(limit_problems(given))
    assert bool(limit_problems(given)) == bool(problem)


def test_what_breaks_a_limit() -> None:
    bounds = {"params": 100.0, "val_acc": 0.75}
    assert excess(bounds, {"params": 120.0, "val_acc": 1.0}) == {"params": 20.0, "val_acc": -0.25}
    assert kept(bounds, {"params": 100.0, "val_acc": 0.75})
    assert not kept(bounds, {"params": 101.0, "val_acc": 0.75})
    assert not kept(bounds, {"params": 100.0, "val_acc": 0.7})
    assert not kept(bounds, {"params": 100.0})  # what is unknown keeps no limit
    assert (
        in_words({"params": 2e6, "latency_ms": 5.0, "val_acc": 0.9})
        == "params ≤ 2,000,000 and latency_ms ≤ 5 and val_acc ≥ 0.9"
    )
    assert set(OBJECTIVES.values()) == {"maximize", "minimize"}
