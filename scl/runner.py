"""A study from its command line to its page: plan, teachers, cohorts, results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import isnan
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scl import results
from scl.cli import Options
from scl.cohort import Job, World, execute, load_teacher
from scl.config import Config, UserError
from scl.looks import after_stein, differences, extended, tell_looks, tell_winners
from scl.plan import Plan, make_plan, missing, plan_cohorts, student_jobs
from scl.progress import Progress
from scl.provenance import earlier_record, of_training, study_record
from scl.search import ARM, Dialogue, architectures, left_to_search, with_winners
from scl.stopping import GRACE_ON_RAY, Stop, stopping
from scl.storage import Folder, check_writable, explain, locked, not_writable, open_folder
from scl.study import Study
from scl.track import Tracker, tracking
from scl.trial import EpochDone, Event


def run(study: Study, options: Options) -> int:
    """Run a study; returns the exit code of the contract. Raises UserError before anything has started."""
    out = open_folder(options.out)
    store = out / study.name
    try:
        return _started(study, options, out, store)
    except BrokenPipeError:
        raise  # of stdout, and nothing of the store
    except OSError as error:
        print(f"error: {error.filename or store}: {explain(error)}; {AGAIN}", file=sys.stderr)
        return 1


AGAIN = "then run the same command again, finished trials are kept"


def _started(study: Study, options: Options, out: Folder, store: Folder) -> int:
    if options.report_only:
        results.read_study(store)
        with locked(store):
            return report(store)
    check_writable(out)
    if options.address:
        from scl.nodes import survey

        survey(options.address)
    if options.plan:
        from scl.estimate import show_plan

        plan = make_plan(study, options, out)
        return show_plan(plan, left_to_search(plan))
    with (
        stopping(options.time_budget) as stop,
        locked(store) as held,
        tracking(options.track, store) as tracker,
    ):
        stop.held = held
        store.sweep()
        results.check_study(store)
        known = set((store / "damaged").names())
        plan = replace(make_plan(study, options, out), tracker=tracker)
        dialogue = Dialogue(plan) if study.search else None
        if dialogue:
            dialogue.on_lost = stop.halt
        stop.gentle = True
        code = _run(plan, stop, dialogue)
        damaged = set((store / "damaged").names()) - known
        if damaged:
            print(f"{len(damaged)} damaged files are in {store}/damaged; the page says which", file=sys.stderr)
        return code


def _run(plan: Plan, stop: Stop, dialogue: Dialogue | None) -> int:
    world, began = plan.world, time.time()
    store = world.store
    todo = missing(plan)
    to_search = dialogue.to_go if dialogue else 0
    trials, done = f"{len(plan.cells)} trials", f"{len(plan.cells) - len(todo)} done, {len(todo)} to train"
    if dialogue and plan.study.search:
        to_try = f"a search of {dialogue.total} configurations, {to_search} to go"
        after = f"then {plan.study.search.winners} winners beside {trials} of the arms, {done}"
        print(f"{plan.study.name}: {to_try}" + (f"; {after}" if plan.seeds else ""), file=sys.stderr)
    else:
        print(f"{plan.study.name}: {trials}, {done}", file=sys.stderr)
    before, record = of_training(earlier_record(plan)), study_record(plan)
    started = record["started"]
    results.write_study(store, record)
    if dialogue:
        search, arms_alone = dialogue, plan

        def keep_plan() -> None:
            """The page can be built of a search that was killed."""
            every = replace(arms_alone, cells=[*search.searched_cells(), *arms_alone.cells])
            results.write_study(store, {**study_record(every), **search.record({})})

        dialogue.asked_more = keep_plan
    results.write_reference_predictions(store, {"labels": world.labels["test"]})
    trained = False
    stein: dict[str, Any] | None = None
    winners: dict[str, Config] = {}
    with Executor(stop) as executor:
        if todo or to_search:
            trained = True
            if not executor.teachers(plan):
                if not stop():
                    print("error: the teacher could not be trained; see the message above", file=sys.stderr)
                    return 1
            elif dialogue:
                executor.search(plan, dialogue)
        if dialogue and not stop():
            plan, winners = with_winners(plan, dialogue)
            results.write_study(store, study_record(plan))
        elif dialogue:
            plan = replace(plan, cells=[*dialogue.searched_cells(), *plan.cells])
        if not stop():
            trained |= executor.students(plan)
        if plan.options.interval and not stop():
            plan, stein = extended(plan)
            if stein and not stop():
                results.write_study(store, study_record(plan))
                trained |= executor.teachers(plan) and executor.students(plan)
    record = {**study_record(plan), "started": started}
    if dialogue:
        record |= dialogue.record(winners)
        dialogue.keep()
    if stein:
        record["stein"] = stein | after_stein(plan, stein)
    teachers_done = {i: load_teacher(world, i, plan.teacher) for i in set(plan.teacher_ids.values())}
    accuracies = {i: found[1]["metrics"]["test_acc"] for i, found in teachers_done.items() if found}
    record["teacher"]["test_acc"] = {seed: accuracies.get(i) for seed, i in record["teacher"]["ids"].items()}
    record["wall_seconds"] = round(time.time() - began, 1)
    record["ended"] = results.now().isoformat()
    if not trained:
        record |= before
    if not stop.held():
        print(f"error: {store}: {stop.halted}; its page is not built here", file=sys.stderr)
        return 1
    record["looks"][-1]["differences"] = differences(plan)
    results.write_study(store, record)
    results.compact(store, record)
    results.write_reference_predictions(
        store, {i: found[0].test_logits.argmax(1).numpy() for i, found in teachers_done.items() if found}
    )
    if not trained:
        print("nothing to train: every trial of this plan is done", file=sys.stderr)
    code = report(store)
    tell_looks(record)
    if winners:
        tell_winners(record)
    if stop.signalled:
        print("interrupted; what was finished is kept, the same command goes on", file=sys.stderr)
        return 130
    if stop.halted:
        print(f"error: {store}: {stop.halted}; {AGAIN}", file=sys.stderr)
        return 1
    gaps = missing(plan)
    if not stop.over_budget or not (gaps or (dialogue is not None and dialogue.to_go > 0)):
        return code
    names = [f"{c.arm} seed {c.seed}" for c in gaps if c.arm != ARM]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    print(f"out of time; missing: {', '.join(names[:8])}{more}. The same command goes on", file=sys.stderr)
    return 1 if code == 1 else 3


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
        if row["arm"] == ARM:
            continue  # many configurations under one name
        sd = "" if isnan(row["test_acc_sd"]) else f" ± {100 * row['test_acc_sd']:.2f}"
        mean = "—" if isnan(row["test_acc_mean"]) else f"{100 * row['test_acc_mean']:.2f}{sd}"
        low, high = 100 * row["difference_low"], 100 * row["difference_high"]
        interval = "" if isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
        difference = "—" if isnan(row["difference"]) else f"{100 * row['difference']:+.2f}{interval}"
        shown.add_row(Text(row["arm"]), str(row["n"]), mean, difference, "—" if isnan(row["p"]) else f"{row['p']:.3f}")
    console.print(shown)
    console.print(Text(verdict))


@contextmanager
def halting(stop: Stop) -> Iterator[None]:
    """A place that refuses to be written to ends the run, and no trial."""
    try:
        yield
    except OSError as error:
        if not not_writable(error):
            raise
        stop.halt(explain(error))


class Executor:
    """Trains what a plan lacks: in this process, or on Ray, which starts when it is first needed."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self.ray = ExitStack()
        self.on_ray = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.ray.close()

    def teachers(self, plan: Plan) -> bool:
        """Train the teachers that are not there yet; true when all are.

        Studies share their teachers: where another run trains one, this one waits for it.
        """
        world = plan.world
        wanted = sorted(set(plan.teacher_ids.values()))

        def untrained() -> list[str]:
            return [i for i in wanted if load_teacher(world, i, plan.teacher) is None]

        with ExitStack() as locks:
            for identity in untrained():
                files = world.teacher_files(identity)
                try:
                    locks.enter_context(locked(files, self.stop))
                except UserError:
                    return False  # asked to stop while waiting
                files.sweep()
            if left := untrained():
                self._train(plan, "teacher", [[i] for i in left], dict.fromkeys(left, "teacher"), {})
                return not untrained()
        return True

    def students(self, plan: Plan) -> bool:
        """Train the plan's missing cells; true where there were some. The teachers are there."""
        todo = missing(plan)
        if not todo:
            return False
        with self.stop.overdue_raises():  # a step of each kind is timed, and one of a user's loss may take long
            chosen = [[c.trial_id for c in cohort] for cohort in plan_cohorts(plan, todo)]
            jobs = student_jobs(plan, todo)
        if not self.stop():
            labels = {c.trial_id: f"{c.arm} · seed {c.seed}" for c in todo}
            self._train(plan, "students", chosen, labels, jobs)
        return True

    def search(self, plan: Plan, dialogue: Dialogue) -> None:
        if not dialogue.to_go:
            return
        architectures(dialogue.search, dialogue.template, plan.bench)
        if plan.options.inline:
            with self.stop.overdue_raises(), halting(self.stop):
                _search_inline(plan, self.stop, dialogue)
        else:
            from scl.cluster import search_on_ray

            with self.stop.overdue_raises(GRACE_ON_RAY):
                self._start_ray(plan)
                if not self.stop():
                    search_on_ray(plan, self.stop, "search", dialogue)

    def _train(
        self, plan: Plan, title: str, chosen: list[list[str]], labels: Mapping[str, str], jobs: Mapping[str, Job]
    ) -> None:
        # One teacher of this machine is trained here: a worker would take longer to start than to help.
        teacher_here = title == "teacher" and len(chosen) == 1 and plan.options.address is None
        if plan.options.inline or (teacher_here and plan.world.device == "cpu"):
            with self.stop.overdue_raises(), halting(self.stop):
                _inline(plan, self.stop, title, chosen, labels, jobs)
        else:
            from scl.cluster import train_on_ray

            with self.stop.overdue_raises(GRACE_ON_RAY):
                self._start_ray(plan)
                if not self.stop():
                    train_on_ray(plan, self.stop, title, chosen, labels, jobs)

    def _start_ray(self, plan: Plan) -> None:
        if not self.on_ray:
            from scl.cluster import ray_session

            try:
                self.ray.enter_context(ray_session(plan.options))
            except SystemExit:  # while it starts, Ray answers SIGTERM itself
                self.stop.ask()
                self.stop.overdue = True
                raise
            self.on_ray = True


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
                draw(progress, plan.tracker, world, event)


def _search_inline(plan: Plan, stop: Stop, dialogue: Dialogue) -> None:
    stopped: set[str] = set()
    with Progress("search", {}, {}, expected=dialogue.to_go) as progress:
        while not stop() and (batch := dialogue.ask(dialogue.batch)):
            jobs = student_jobs(plan, batch, dialogue.numbers)
            world = replace(plan.world, jobs={**plan.world.jobs, **jobs})
            for cell in batch:
                progress.add(cell.trial_id, dialogue.label(cell), cell.config.total_epochs)
            for event in execute(world, list(jobs), stop, lambda trial_id, epoch, row: trial_id in stopped):
                draw(progress, plan.tracker, world, event)
                if isinstance(event, EpochDone):
                    if dialogue.epoch(event.trial_id, event.row["epoch"], event.row["val_acc"]):
                        stopped.add(event.trial_id)
                else:
                    dialogue.ended(event.trial_id, event.metrics["state"])
            if not stop():
                dialogue.lost(list(jobs))


def draw(progress: Progress, tracker: Tracker, world: World, event: Event) -> None:
    columns = world.jobs[event.trial_id].columns
    if isinstance(event, EpochDone):
        tracker.epoch(columns, event.row)
        progress.epoch(event.trial_id, event.row["epoch"], event.row.get("val_acc", -1.0))
    else:
        tracker.ended(columns, event.metrics)
        progress.ended(event.trial_id, event.metrics["state"], event.metrics["error"] or "")
