"""A study from its command line to its page: plan, teachers, cohorts, results."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import isnan
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scl import results
from scl.cli import Options
from scl.cohort import Job, execute, load_teacher
from scl.plan import Plan, make_plan, missing, plan_cohorts, show_plan, student_jobs
from scl.progress import Progress
from scl.provenance import study_record
from scl.storage import Folder, check_writable, explain, locked, open_folder
from scl.study import Study
from scl.track import tracking
from scl.trainer import EpochDone


@dataclass
class Stop:
    """Why a run should end early: a signal, or its time budget."""

    budget: float | None
    began: float = field(default_factory=time.monotonic)
    signalled: bool = False

    @property
    def over_budget(self) -> bool:
        return self.budget is not None and time.monotonic() - self.began > self.budget

    def __call__(self) -> bool:
        return self.signalled or self.over_budget


def run(study: Study, options: Options) -> int:
    """Run a study; returns the exit code of the contract. Raises UserError before anything has started."""
    out = open_folder(options.out)
    store = out / study.name
    if options.report_only:
        results.read_study(store)
        with locked(store):
            return report(store)
    check_writable(out)
    if options.address and not options.plan:
        from scl.cluster import check_answers

        check_answers(options.address)
    if options.plan:
        return show_plan(make_plan(study, options, out))
    with locked(store), tracking(options.track, store) as tracker, stopping(options.time_budget) as stop:
        try:
            return _run(replace(make_plan(study, options, out), tracker=tracker), stop)
        except OSError as error:
            print(f"error: {store}: {explain(error)}", file=sys.stderr)
            return 1


def _run(plan: Plan, stop: Stop) -> int:
    world, began = plan.world, time.time()
    store = world.store
    todo = missing(plan)
    print(
        f"{plan.study.name}: {len(plan.cells)} trials, {len(plan.cells) - len(todo)} done, {len(todo)} to train",
        file=sys.stderr,
    )
    record = study_record(plan)
    results.write_study(store, record)
    results.write_reference_predictions(store, {"labels": world.labels["test"]})
    if todo:
        with executor(plan, stop) as train:
            teachers = dict.fromkeys(set(plan.teacher_ids.values()), plan.teacher)
            untrained = [i for i in teachers if load_teacher(world.out, i, plan.teacher) is None]
            if untrained:
                train("teacher", [[i] for i in sorted(untrained)], dict.fromkeys(untrained, "teacher"))
            absent = [i for i in untrained if load_teacher(world.out, i, plan.teacher) is None]
            if absent and not stop():
                print("error: the teacher could not be trained; see the message above", file=sys.stderr)
                return 1
            if not absent:
                # Only now are the teachers' accuracies known, which every row carries.
                jobs = student_jobs(plan, todo)
                labels = {c.trial_id: f"{c.arm} · seed {c.seed}" for c in todo}
                chosen = plan_cohorts(plan, todo)
                train("students", [[c.trial_id for c in cohort] for cohort in chosen], labels, jobs)
    teachers_done = {i: load_teacher(world.out, i, plan.teacher) for i in set(plan.teacher_ids.values())}
    accuracies = {i: found[1]["metrics"]["test_acc"] for i, found in teachers_done.items() if found}
    record["teacher"]["test_acc"] = {seed: accuracies.get(i) for seed, i in record["teacher"]["ids"].items()}
    record["wall_seconds"] = round(time.time() - began, 1)
    record["ended"] = results.now().isoformat()
    results.write_study(store, record)
    results.compact(store, record)
    results.write_reference_predictions(
        store, {i: found[0].test_logits.argmax(1).numpy() for i, found in teachers_done.items() if found}
    )
    if not todo:
        print("nothing to train: every trial of this plan is done", file=sys.stderr)
    code = report(store)
    if stop.signalled:
        print("interrupted; what was finished is kept, the same command goes on", file=sys.stderr)
        return 130
    return 3 if stop.over_budget and code != 1 and missing(plan) else code


def report(store: Folder) -> int:
    """Write the page, print the table and the verdict; 0 when every cell is completed or pruned, else 1."""
    read = results.read(store)
    states = read.cells()["state"]
    failed = int((states == "failed").sum())
    try:
        from scl import report as page
    except ModuleNotFoundError as error:
        print(f"no page was written, {error.name} is not installed; elsewhere: --report-only", file=sys.stderr)
    else:
        page.write(store)
        print_summary(page.summary(read), page.verdict(read))
        print(f"page: {store}/report.html", file=sys.stderr)
    if failed:
        print(
            f"{failed} trials failed; the page says which and why. The same command tries them again.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def print_summary(table: Any, verdict: str) -> None:
    """The main table in short and the verdict, on stdout; the page has the rest."""
    console = Console()
    shown = Table("arm", "n", "test acc ± sd, %", "difference [95 % interval]", "p")
    for row in table.to_dict("records"):
        sd = "" if isnan(row["test_acc_sd"]) else f" ± {100 * row['test_acc_sd']:.2f}"
        mean = "—" if isnan(row["test_acc_mean"]) else f"{100 * row['test_acc_mean']:.2f}{sd}"
        low, high = 100 * row["difference_low"], 100 * row["difference_high"]
        interval = "" if isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
        difference = "—" if isnan(row["difference"]) else f"{100 * row['difference']:+.2f}{interval}"
        shown.add_row(Text(row["arm"]), str(row["n"]), mean, difference, "—" if isnan(row["p"]) else f"{row['p']:.3f}")
    console.print(shown)
    console.print(Text(verdict))


@contextmanager
def stopping(budget: float | None) -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask the run to stop; a second Ctrl-C ends it at once."""
    stop = Stop(budget)

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.signalled:
            raise KeyboardInterrupt
        stop.signalled = True
        print("stopping: finished trials are kept", file=sys.stderr)

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


@contextmanager
def executor(plan: Plan, stop: Stop) -> Iterator[Any]:
    """A function that trains lists of job ids: in this process, or on Ray, which lives as long as the context."""
    if plan.options.inline:
        yield lambda title, chosen, labels, jobs=None: _inline(plan, stop, title, chosen, labels, jobs or {})
        return
    from scl.cluster import ray_session, train_on_ray

    with ray_session(plan.options):
        yield lambda title, chosen, labels, jobs=None: train_on_ray(plan, stop, title, chosen, labels, jobs or {})


def _inline(
    plan: Plan,
    stop: Stop,
    title: str,
    chosen: list[list[str]],
    labels: Mapping[str, str],
    jobs: Mapping[str, Job],
) -> None:
    world = replace(plan.world, jobs={**plan.world.jobs, **jobs})
    with Progress(title, labels, {i: world.jobs[i].config.total_epochs for i in labels}) as progress:
        for cohort in chosen:
            if stop():
                return
            for event in execute(world, cohort, stop):
                columns = world.jobs[event.trial_id].columns
                if isinstance(event, EpochDone):
                    plan.tracker.epoch(columns, event.row)
                    progress.epoch(event.trial_id, event.row["epoch"], event.row.get("val_acc", -1.0))
                else:
                    plan.tracker.ended(columns, event.metrics)
                    progress.ended(event.trial_id, event.metrics["state"], event.metrics["error"] or "")
