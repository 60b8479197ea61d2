"""An arm against its teacher, and declared contrasts, from completed trials."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from scl.report.declared import absent, against_teacher, contrast

WEIGHTS = {"kd": 1.0, "at": -1.0}


def completed(teachers: str, learnt: tuple[bool, ...] = (True,) * 4) -> pd.DataFrame:
    """Four trials of `kd`, one each 0.01, …, 0.04 above its teacher, and one of another arm."""
    rows = [
        {"arm": "kd", "seed": seed, "test_acc": 0.6 + 0.01 * (seed + 1), "teacher_test_acc": 0.6, "teacher_id": teacher}
        for seed, teacher in enumerate(teachers)
    ]
    other = {"arm": "at", "seed": 0, "test_acc": 0.1, "teacher_test_acc": 0.6, "teacher_id": "a"}
    return pd.DataFrame([*rows, other]).assign(learnt=[*learnt, True])


@pytest.mark.parametrize(
    ("teachers", "unit", "n"),
    [("aaaa", "seed", 4), ("abcd", "seed", 4), ("abab", "teacher", 2), ("aaab", "teacher", 2)],
)
def test_seeds_count_unless_they_share_several_teachers(teachers: str, unit: str, n: int) -> None:
    found = against_teacher("kd", completed(teachers), ("test_acc", "teacher_test_acc"), 5, 0.95, 1)
    assert (found.unit, found.test.differences.n, found.planned) == (unit, n, 5)
    assert found.by_seed["student"].tolist() == pytest.approx([0.61, 0.62, 0.63, 0.64])
    if unit == "seed":
        assert found.test.differences.mean == pytest.approx(0.025)


def test_trials_that_collapsed_are_named_and_not_counted() -> None:
    learnt = (True, False, True, True)
    found = against_teacher("kd", completed("aaaa", learnt), ("test_acc", "teacher_test_acc"), 4, 0.95, 1)
    assert (found.collapsed, found.test.differences.n) == ((1,), 3)


def test_a_trial_whose_teacher_is_unknown_does_not_count() -> None:
    rows = completed("aaaa").assign(teacher_test_acc=[0.6, math.nan, 0.6, 0.6, 0.6])
    assert against_teacher("kd", rows, ("test_acc", "teacher_test_acc"), 4, 0.95, 1).by_seed.index.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("arms", "missing"), [(("kd", "at"), ()), (("kd",), ("at",)), ((), ("kd", "at")), (("at", "sp"), ("kd",))]
)
def test_a_contrast_without_all_its_arms_is_not_tested(arms: tuple[str, ...], missing: tuple[str, ...]) -> None:
    about: dict[str, Any] = {"question": "Is KD better?", "weights": WEIGHTS}
    scores = pd.DataFrame({"kd": [0.6, 0.7, 0.6], "at": [0.5, 0.5, 0.6]})[[a for a in arms if a in WEIGHTS]]
    found = contrast(about, arms, scores, 0.95, 1)
    assert absent(about, arms) == found.missing == missing
    assert (found.test is None) == bool(missing)
    if found.test:
        assert found.test.differences.mean == pytest.approx(0.1)


@pytest.mark.parametrize(("said", "late"), [({}, False), ({"declared_after_look": 2}, True)])
def test_a_contrast_says_if_it_was_declared_late(said: dict[str, Any], late: bool) -> None:
    scores = pd.DataFrame({"kd": [0.6, 0.7], "at": [0.5, 0.5]})
    assert contrast({"question": "?", "weights": WEIGHTS, **said}, tuple(WEIGHTS), scores, 0.95, 1).late is late
