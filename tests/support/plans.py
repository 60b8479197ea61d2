"""Plans of a small study on digits, with teachers and results that nobody trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scl.models.networks import build_student
from scl.plan.context import data_of
from scl.plan.plan import Plan
from scl.plan.teachers import evaluate_and_save
from scl.store.parts import write_part
from scl.store.schema import now
from scl.study.config import Config
from scl.study.identity import Trial
from scl.study.search import Search
from scl.study.space import Choice, Float
from scl.study.study import Study
from tests.support.studies import planned

SHORT = ("--inline", "--limit", "60", "--epochs", "2", "--teacher-epochs", "1")
STUDY = Study(
    name="tiny",
    question="?",
    arms={"baseline": {}, "kd": {"losses": {"kd": 1.0}}, "at": {"losses": {"at": 10.0}}},
    base=Config(model="plain3", width=0.125, batch_size=32, lr=0.05),
    teacher=Config(model="plain5", width=0.125, batch_size=32, lr=0.05),
)
SEARCHING = replace(
    STUDY, search=Search({"lr": Float(0.01, 0.1), "self_taught": Choice((0, 4))}, trials=7, winners=2, batch=3)
)


def tiny_plan(out: Path | str, *flags: str, study: Study = STUDY) -> Plan:
    """The plan of a short run of the study."""
    return planned(study, out, *SHORT, *flags)


def put_teachers(plan: Plan) -> dict[str, float]:
    """Store fresh networks as the plan's teachers; their test accuracies by id."""
    ids = sorted(set(plan.teacher_ids.values()))
    weights = [build_student(plan.teacher, data_of(plan.context), seed).state_dict() for seed in range(len(ids))]
    return {i: evaluate_and_save(plan.context, plan.teacher, w, i) for i, w in zip(ids, weights, strict=True)}


def put_rows(plan: Plan, trials: Sequence[Trial], state: str = "completed", **columns: Any) -> None:
    """Store a row for each trial, as if it had ended."""
    for trial in trials:
        row = {
            "trial_id": trial.trial_id, "study": plan.study.name, "arm": trial.arm, "config_id": trial.config_id,
            "seed": trial.seed, "state": state, "teacher_id": trial.teacher_id, "test_acc": 0.5, "device": "cpu",
            "cohort_size": 1, "restarts": 0, "started": now(), "ended": now(),
        }  # fmt: skip
        write_part(plan.context.store, {**row, **columns}, [], None)
