"""What a study declared before its results: an arm against its teacher, and differences between arms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scl import stats


@dataclass(frozen=True)
class AgainstTeacher:
    """An arm against its teacher, as declared before the run.

    by_seed: the metric of `student` and `teacher`, a row for each completed seed on which the arm learnt. collapsed:
    its other completed seeds. planned: the number of its seeds in the present plan. unit: `seed` or, if seeds share
    several teachers, `teacher`, whose mean gaps are tested then.
    """

    arm: str
    by_seed: pd.DataFrame
    collapsed: tuple[int, ...]
    planned: int
    test: stats.Declared
    unit: str = "seed"


@dataclass(frozen=True)
class DeclaredContrast:
    """A difference between arms that the study declared: Σ weight · metric, by seed.

    test: None if an arm of it is not in this run; `missing` names those. late: declared after results were seen.
    """

    question: str
    weights: dict[str, float]
    test: stats.Declared | None
    missing: tuple[str, ...]
    late: bool


def against_teacher(
    arm: str, completed: pd.DataFrame, columns: tuple[str, str], planned: int, level: float, family: int
) -> AgainstTeacher:
    """An arm against its teacher, of their completed trials with a column `learnt`.

    columns: of the metric of the student and of its teacher. planned: the arm's seeds in the plan. level, family: of
    the interval, and the number of declared differences that it is corrected for.
    """
    metric, of_teacher = columns
    rows = completed[(completed["arm"] == arm) & completed[of_teacher].notna()]
    rows = rows.set_index("seed").sort_index()
    collapsed = tuple(map(int, rows.index[~rows["learnt"]]))
    rows = rows.drop(index=list(collapsed))
    frame = pd.DataFrame({"student": rows[metric], "teacher": rows[of_teacher]}).astype(float)
    gaps = frame["student"] - frame["teacher"]
    shared = 1 < rows["teacher_id"].nunique() < len(rows)
    if shared:
        gaps = gaps.groupby(rows["teacher_id"]).mean()
    test = stats.declared(gaps.to_numpy(), level, family)
    return AgainstTeacher(arm, frame, collapsed, planned, test, "teacher" if shared else "seed")


def absent(about: Mapping[str, Any], arms: Collection[str]) -> tuple[str, ...]:
    """The arms of a declared contrast that are not in this run."""
    return tuple(arm for arm in about["weights"] if arm not in arms)


def contrast(
    about: Mapping[str, Any], arms: Collection[str], learnt: pd.DataFrame, level: float, family: int
) -> DeclaredContrast:
    """A contrast of study.json, as `against_teacher`. learnt: scores (seeds, arms), NaN for trials that collapsed."""
    missing, weights = absent(about, arms), {str(a): float(w) for a, w in about["weights"].items()}
    values = stats.weighted(learnt, weights).to_numpy()
    test = None if missing else stats.declared(values, level, family)
    return DeclaredContrast(str(about["question"]), weights, test, missing, bool(about.get("declared_after_look")))
