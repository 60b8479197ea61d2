"""What a plan lacks is trained here: its teachers, then its students. A backend does the work."""

from __future__ import annotations

from contextlib import ExitStack

from scl.errors import UserError
from scl.plan.packing import plan_cohorts
from scl.plan.plan import Plan, missing, student_jobs
from scl.plan.teachers import load_teacher
from scl.run.backend import Backend, Work
from scl.run.leftovers import sweep_partials
from scl.run.stopping import Stop
from scl.store.locks import locked


def train_teachers(plan: Plan, backend: Backend, stop: Stop) -> bool:
    """Train the missing teachers; true if all are there in the end.

    Studies share their teachers: if another run trains one, this run waits for it.
    """

    def missing_teachers() -> list[str]:
        return [
            i for i in sorted(set(plan.teacher_ids.values())) if load_teacher(plan.context, i, plan.teacher) is None
        ]

    with ExitStack() as locks:
        for teacher_id in missing_teachers():
            files = plan.context.teacher_files(teacher_id)
            try:
                locks.enter_context(locked(files, stop))
            except UserError:
                return False  # stopped while waiting
            sweep_partials(files)
        if left := missing_teachers():
            backend.train(plan, Work("teacher", [[i] for i in left], dict.fromkeys(left, "teacher")))
            return not missing_teachers()
    return True


def train_students(plan: Plan, backend: Backend, stop: Stop) -> bool:
    """Train the plan's missing trials, whose teachers are there; true if there were any."""
    todo = missing(plan)
    if not todo:
        return False
    with stop.overdue_raises():  # packing times a step of each kind, and one with a custom loss may take long
        cohorts = [[trial.trial_id for trial in cohort] for cohort in plan_cohorts(plan, todo)]
        jobs = student_jobs(plan, todo)
    if not stop():
        labels = {trial.trial_id: f"{trial.arm} · seed {trial.seed}" for trial in todo}
        backend.train(plan, Work("students", cohorts, labels, jobs))
    return True
