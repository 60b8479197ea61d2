"""The jobs of students: what each trains, and the columns of its row that are known before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scl.plan.context import Job
from scl.plan.plan import Plan
from scl.plan.teachers import load_teacher
from scl.study.identity import Trial, canonical_json, requested
from scl.study.params import column, params


def student_jobs(plan: Plan, todo: Sequence[Trial], numbers: Mapping[str, int] | None = None) -> dict[str, Job]:
    """The jobs of trials, with the columns that are known before training.

    Args:
        numbers: trial_id → the order in which a search suggested it. Given while a search runs: then the machine is
            busy, and no latency is measured.
    """
    accuracy = {}
    for identity in {trial.teacher_id for trial in todo}:
        found = load_teacher(plan.context, identity, plan.teacher)
        assert found is not None
        accuracy[identity] = found[1]["metrics"]["test_acc"]
    jobs = {}
    for trial in todo:
        cost = plan.feasibility.cost(trial.config, idle=numbers is None)
        columns = {
            "trial_id": trial.trial_id,
            "study": plan.study.name,
            "arm": trial.arm,
            "config_id": trial.config_id,
            "seed": trial.seed,
            "config_json": canonical_json(requested(trial.config)),
            "teacher_id": trial.teacher_id,
            "teacher_test_acc": accuracy[trial.teacher_id],
            "params": cost.params,
            "macs": cost.macs,
            "latency_ms": cost.latency_ms,
            "number": None if numbers is None else numbers[trial.trial_id],
            **{column(name): value for name, value in params(trial.config).items()},
        }
        jobs[trial.trial_id] = Job(trial.config, trial.seed, trial.teacher_id, columns)
    return jobs
