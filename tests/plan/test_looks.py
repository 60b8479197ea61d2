"""The look that a plan would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scl import stats
from scl.plan.estimate import detectable
from scl.plan.looks import level_of_plan, looked_at
from scl.store.study_file import write_study
from tests.support.plans import tiny_plan


@pytest.mark.parametrize(
    ("earlier", "flags", "look", "error"),
    [
        ({}, [], 1, 0.05),
        ({}, ["--looks", "3,6"], 1, 0.025),
        ({"looks": [{"seeds": [0, 1]}]}, [], 2, 0.0015),
        ({"looks": [{"seeds": [0, 1]}], "planned_looks": [2, 3, 4]}, [], 2, 0.0125),
        ({"looks": [{"seeds": [0, 1], "of": "another study"}]}, [], 1, 0.05),
        ({"looks": [{"seeds": [0, 1, 2]}]}, [], 1, 0.05),  # the same seeds again
    ],
)
def test_the_level_of_the_next_look(
    earlier: dict[str, Any], flags: list[str], look: int, error: float, tmp_path: Path
) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "3", "--arms", "kd", *flags)
    if earlier:
        write_study(plan.context.store, {"schema_version": 1, "study": "tiny", "baseline": "baseline", **earlier})
    number, level = level_of_plan(plan)
    assert (number, 1 - level) == (look, pytest.approx(error))
    assert detectable(plan)[0] == stats.smallest_effect(2, 3, level)


def test_a_look_is_at_the_baseline_and_the_data(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "--seeds", "3")
    assert looked_at(plan) == looked_at(tiny_plan(tmp_path, "--seeds", "2", "--arms", "kd"))
    assert looked_at(plan) != looked_at(tiny_plan(tmp_path, "--epochs", "7"))
    assert looked_at(plan) != looked_at(tiny_plan(tmp_path, "--split-seed", "1"))
