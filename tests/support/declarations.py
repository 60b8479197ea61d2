"""Studies that were declared, with results that nobody trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scl.plan.plan import Plan
from scl.report.facts import Facts, gather
from scl.run.declaring import check_nothing_trained, declare
from scl.run.provenance import study_record
from scl.store.results import read_results
from scl.store.study_file import write_study
from scl.study.study import Study
from tests.support.plans import STUDY, put_rows, tiny_plan

ASKING = replace(STUDY, contrasts={"Does KD help?": ("kd", "baseline"), "Is KD above AT?": ("kd", "at")})
ACCURACY = {"baseline": 0.5, "kd": 0.6, "at": 0.55}


def declared(out: Path, *flags: str, study: Study = ASKING) -> Plan:
    """A store with a declaration and without results."""
    plan = tiny_plan(out, *flags, study=study)
    check_nothing_trained(plan.context.store)
    assert declare(plan) == 0
    return plan


def ran(out: Path, *flags: str, study: Study = ASKING, arms: Sequence[str] = tuple(ACCURACY)) -> Facts:
    """A run with made-up results of these arms; the facts of its page."""
    plan = tiny_plan(out, *flags, study=study)
    write_study(plan.context.store, study_record(plan))
    known = set(read_results(plan.context.store).trials["trial_id"])
    for trial in plan.trials:
        accuracy = ACCURACY[trial.arm] + 0.01 * ((7 * trial.seed + 3 * len(trial.arm)) % 5)
        if trial.arm in arms and trial.trial_id not in known:
            put_rows(plan, [trial], test_acc=accuracy, teacher_test_acc=0.5, chance=0.1)
    return gather(read_results(plan.context.store))
