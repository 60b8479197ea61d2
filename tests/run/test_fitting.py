"""How many trials fit into memory side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scl.run.fitting import Fitting, kind_of
from scl.study.config import Config
from scl.study.term import Term


@pytest.mark.parametrize(
    ("failed", "cohort", "pieces"),
    [
        ([], "aaaa", "aaaa"),
        ([], "", ""),
        (["aaaa"], "aaaaa", "aa aa a"),
        (["aaaaa"], "aaaaaaaa", "aaa aaa aa"),
        (["aaaa", "aa"], "aaa", "a a a"),
        (["aa", "aaaa"], "aaa", "a a a"),  # the least counts
        (["a"], "aaa", "aaa"),  # one alone teaches nothing
        (["aaaa"], "bbbb", "bbbb"),
        (["abcd"], "abcd", "ab cd"),
        (["abcd"], "bbbbbbbb", "bbbbbbbb"),  # perhaps only `a` is large
        (["abcd"], "abcde", "ab cde"),
        (["aaaa"], "aabbbbbb", "aabbbbbb"),
        (["aa"], "aabbbbbb", "a abbbbbb"),
        (["abcd", "cd"], "abcd", "ab c d"),
    ],
)
def test_cohorts_start_at_most_at_the_size_that_fitted(failed: list[str], cohort: str, pieces: str) -> None:
    fitting = Fitting()
    for together in failed:
        fitting.learn(together)
    assert ["".join(piece) for piece in fitting.pieces(cohort, lambda kind: kind)] == pieces.split()


BASE = Config(losses={"kd": 1.0, "at": 0.0})


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (replace(BASE, lr=0.01, epochs=7, weight_decay=0.0), True),
        (replace(BASE, losses={"kd": Term(0.5, options={"temperature": 2.0})}), True),
        (replace(BASE, losses={"kd": 1.0, "at": 1.0}), False),
        (replace(BASE, batch_size=64), False),
        (replace(BASE, width=0.5), False),
        (replace(BASE, model="plain3"), False),
        (replace(BASE, precision="bf16"), False),
        (replace(BASE, optimizer="adamw", lr=0.001), False),
        (replace(BASE, ema=0.99), False),
    ],
)
def test_trials_of_a_kind_take_the_same_memory(other: Config, same: bool) -> None:
    assert (kind_of(other) == kind_of(BASE)) == same
