"""What a plan lacks is trained here: its teachers, then its students. A backend does the work."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from scl.errors import UserError
from scl.plan.packing import plan_cohorts, stream_of
from scl.plan.plan import Plan, missing, missing_teachers, student_jobs
from scl.report.formatting import plural
from scl.run.backend import Backend, Work
from scl.run.leftovers import sweep_partials
from scl.run.stopping import Stop
from scl.search.driver import SearchDriver
from scl.store.files import Folder
from scl.store.locks import locked
from scl.store.logits import LOGITS, lost_logits
from scl.store.networks import MISSING, STUDENT, in_words, lost_networks
from scl.store.node import drop_run
from scl.store.tables import read_trials
from scl.terminal import say


def train_teachers(plan: Plan, backend: Backend, stop: Stop, every: bool = False) -> bool:
    """Train the missing teachers of what has not ended, or `every` one; true if all are there in the end.

    Studies share their teachers: if another run trains one, this run waits for it.
    """
    with ExitStack() as locks:
        for teacher_id in missing_teachers(plan, every):
            files = plan.context.teacher_files(teacher_id)
            try:
                locks.enter_context(locked(files, stop))
            except UserError:
                return False  # stopped while waiting
            sweep_partials(files)
        left = missing_teachers(plan, every)
        while left:
            ready = [i for i in left if plan.context.jobs[i].teacher_id not in left]  # its own teacher is there
            backend.train(plan, Work("teacher", [[i] for i in ready], dict.fromkeys(ready, "teacher")))
            left = missing_teachers(plan, every)
            if not set(ready).isdisjoint(left):
                return False  # stopped, or one failed
    return True


def train_students(plan: Plan, backend: Backend, stop: Stop) -> bool:
    """Train the plan's missing trials, whose teachers are there; true if there were any."""
    todo = missing(plan)
    if not todo:
        return False
    say(f"timing the networks of {plural(len(todo), 'trial')}")
    with stop.overdue_raises():  # packing times a step of each kind, and one with a custom loss may take long
        cohorts = [[trial.trial_id for trial in cohort] for cohort in plan_cohorts(plan, todo)]
        jobs = student_jobs(plan, todo)
    if not stop():
        labels = {trial.trial_id: f"{trial.arm} · seed {trial.seed}" for trial in todo}
        streams = set(map(stream_of, todo))
        with sharing_teachers(plan) if len(cohorts) > len(streams) else nullcontext(plan) as plan:
            backend.train(plan, Work("students", cohorts, labels, jobs))
    return True


def search_students(plan: Plan, searcher: SearchDriver, backend: Backend) -> None:
    """Train what a search suggests."""
    with sharing_teachers(plan) as plan:
        backend.search(plan, searcher)


@contextmanager
def sharing_teachers(plan: Plan) -> Iterator[Plan]:
    """A plan whose cohorts keep what a teacher gives for their batches, each on its own machine, for later cohorts. At
    the end this machine's files are removed; another machine removes them when it keeps those of a later run."""
    token = secrets.token_hex(8)
    try:
        yield replace(plan, context=replace(plan.context, sharing=token))
    finally:
        drop_run(token)


def remake_students(plan: Plan, backend: Backend, stop: Stop) -> None:
    """Train the plan's completed trials again whose network or logits are lost, and their teacher if it is. Rows stay
    as they are: a network is kept if it gives all numbers of its row."""
    store = plan.context.store
    rows = _planned_rows(plan)
    lost, logits = _lost(store, rows)
    if not train_teachers(plan, backend, stop, every=True) or stop() or not (lost or logits):
        return
    for name, faults in ((STUDENT, lost), (LOGITS, logits)):
        for trial_id, fault in faults.items():
            if fault != MISSING:
                replace(store / "checkpoints" / trial_id, aside=f"{store.path}/damaged").set_aside(name, fault)
    todo = [trial for trial in plan.trials if trial.trial_id in lost.keys() | logits.keys()]
    stored = {row["trial_id"]: row for row in rows}
    with stop.overdue_raises():
        cohorts = [[trial.trial_id for trial in cohort] for cohort in plan_cohorts(plan, todo)]
        jobs = {i: replace(job, stored=stored[i]) for i, job in student_jobs(plan, todo).items()}
    labels = {trial.trial_id: f"{trial.arm} · seed {trial.seed} again" for trial in todo}
    backend.train(plan, Work("lost networks", cohorts, labels, jobs))
    for what, before, after in zip(("networks", "files of logits"), (lost, logits), _lost(store, rows), strict=True):
        if before:
            say(f"{len(before) - len(after)} of {len(before)} lost {what} were made again")


def _lost(store: Folder, rows: list[dict[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    """What is wrong with the networks, and with the logits, of completed trials, by trial."""
    return lost_networks(store, rows, thorough=True), lost_logits(store, rows, thorough=True)


def tell_lost_networks(plan: Plan) -> None:
    """Say which networks of the plan's completed trials are missing or damaged, and of a finished plan its teachers."""
    store, rows = plan.context.store, _planned_rows(plan)
    if lost := lost_networks(store, rows):
        say(f"{store}: {in_words(lost, rows)}; --remake-students trains what is lost again")
    if logits := lost_logits(store, rows):
        say(f"{store}: the logits of {plural(len(logits), 'trial')} are lost; --remake-students makes them again")
    if rows and not missing(plan):
        for identity in missing_teachers(plan, every=True):
            say(f"teacher {identity[:12]} is missing or damaged; --remake-students trains it again")


def _planned_rows(plan: Plan) -> list[dict[str, Any]]:
    """The rows of the plan's trials that have ended, in its order."""
    rows = {row["trial_id"]: row for row in read_trials(plan.context.store).to_dict("records")}
    return [rows[trial.trial_id] for trial in plan.trials if trial.trial_id in rows]
