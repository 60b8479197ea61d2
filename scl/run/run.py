"""The life of a run: lock the store, plan, train what is missing, write the record, the tables and the page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from scl.errors import RunFailed, UserError
from scl.models.streams import random_streams_kept
from scl.plan.estimate import PlanSummary, summarise
from scl.plan.plan import Plan, cache_of, make_plan, missing
from scl.plan.teachers import load_teacher
from scl.report.agreed import changes
from scl.report.formatting import plural
from scl.run.backend import open_backend
from scl.run.declared import check_declarations, remarks
from scl.run.declaring import check_nothing_trained, declare
from scl.run.leftovers import sweep
from scl.run.live import PAGE, Live
from scl.run.pictures import keep_pictures
from scl.run.provenance import earlier_record, of_training, study_record
from scl.run.sequential import differences, print_looks, print_winners, stein_extension, stein_interval
from scl.run.stopping import Stop, stopping
from scl.run.summary import report, report_again
from scl.run.trackers.tracker import Tracker, tracking
from scl.run.training import remake_students, search_students, tell_lost_networks, train_students, train_teachers
from scl.search.driver import SearchDriver
from scl.search.record import search_record
from scl.search.trials import ARM, left_to_search
from scl.search.winners import measure_architectures, with_winners
from scl.store.declaration import read_declaration
from scl.store.files import Folder, check_writable, explain, open_folder
from scl.store.lease import LostLease, check_held
from scl.store.locks import locked
from scl.store.moves import pinned
from scl.store.pictures import remove_pictures
from scl.store.progress import in_a_line, read_progress
from scl.store.results import inspect
from scl.store.schema import now
from scl.store.study_file import check_study, write_study
from scl.store.tables import compact, mend, read_tables, read_trials, reference_rows, write_reference_predictions
from scl.streams import lasting_output
from scl.study.config import Config
from scl.study.options import DATA, Options
from scl.study.study import Study
from scl.terminal import say
from scl.train.process import environment
from scl.train.teacher import Teacher

AGAIN = "then run the same command again, finished trials are kept"


def run_study(study: Study, options: Options) -> int:
    """Run a study of one size with settled options; returns the exit code of the contract.

    Raises:
        UserError: nothing has started.
        RunFailed: the run cannot go on; what was finished is kept.
    """
    out = open_folder(options.out)
    store = out / study.name
    with lasting_output(), _writing_to(store), environment(), random_streams_kept(), ExitStack() as stack:
        if options.report_only:
            return report_again(store, options.page, options.force, options.no_pictures)
        stop = stack.enter_context(stopping(options.time_budget))
        try:
            stop.held = stack.enter_context(locked(store, command=options.command))
            check_writable(store)
        except OSError as error:
            raise UserError(f"--out {out} cannot be written: {explain(error)}, or name another folder") from error
        out, stop.moved = stack.enter_context(pinned(out, store))
        store = out / study.name
        if options.declare:
            check_nothing_trained(store)
        tracker = stack.enter_context(tracking(None if options.declare else options.track, store))
        live = Live(store, options.command)
        stack.callback(live.end)
        live.begin()
        backend = stack.enter_context(open_backend(options, stop, tracker, live))
        sweep(out, store, cache_of(out))
        check_study(store)
        damaged = set((store / "damaged").names())
        mend(store)
        nodes = backend.nodes()
        live.stage(f"reading the data: {options.data}")
        plan = make_plan(study, options, out, nodes)
        live.say(_data_line(plan))
        check_declarations(plan, earlier_record(plan))
        if options.declare:
            return declare(plan)
        searcher = SearchDriver(plan, stop.halt) if study.search else None
        stop.gentle = True
        began = time.monotonic()
        earlier = of_training(earlier_record(plan))
        started = _start_record(plan, searcher)
        live.first_page(len(plan.trials) + (searcher.total if searcher else 0))
        trained, stein, winners = False, None, dict[str, Config]()
        if missing(plan) or (searcher and searcher.to_go):
            trained = True
            if not train_teachers(plan, backend, stop):
                if not stop():
                    raise RunFailed("the teacher could not be trained; see the message above")
            elif searcher and searcher.to_go:
                measure_architectures(searcher.search, searcher.template, plan.feasibility)
                search_students(plan, searcher, backend)
        if searcher and not stop():
            plan, winners = with_winners(plan, searcher)
            write_study(store, study_record(plan))
        elif searcher:
            plan = replace(plan, trials=[*searcher.configurations.in_order(), *plan.trials])
        if not stop():
            trained |= train_students(plan, backend, stop)
        if options.interval and not stop():
            plan, stein = stein_extension(plan)
            if stein and not stop():
                write_study(store, study_record(plan))
                trained |= train_teachers(plan, backend, stop) and train_students(plan, backend, stop)
        if options.remake_students and not stop():
            remake_students(plan, backend, stop)
        live.end()  # before the last page
        record = {**study_record(plan), "started": started, "wall_seconds": round(time.monotonic() - began, 1)}
        record |= {} if trained else earlier
        code = _finish(plan, stop, searcher, record, trained, stein, winners, damaged)
        tracker.page()
        return code


def plan_study(study: Study, options: Options) -> PlanSummary:
    """What a run with these settled options would do. Only reads `--out`. Raises UserError."""
    out = open_folder(options.out, reading=True)
    inspect(out / study.name)
    if (record := read_progress(out / study.name)) is not None:
        say(f"{out / study.name}: {in_a_line(record)}")
    with stopping(None) as stop, open_backend(options, stop, Tracker(), Live(None)) as backend:
        plan = make_plan(study, options, out, backend.nodes())
        tell_lost_networks(plan)
        check_declarations(plan, earlier_record(plan))
        return summarise(plan, left_to_search(plan))


def costs_of(study: Study, options: Options) -> dict[str, dict[str, float]]:
    """What the network of each arm costs in inference, by the names of COSTS: here, on one thread, before anything
    trains. Only reads `--out`. Raises UserError."""
    here = replace(options, address=None, device="cpu", gpus_per_trial=None, cpus_per_trial=1, teacher=None, plan=True)
    plan = make_plan(study, here, open_folder(options.out, reading=True))
    return {arm: asdict(plan.feasibility.cost(config)) for arm, config in plan.arms.items()}


@contextmanager
def _writing_to(store: Folder) -> Iterator[None]:
    """Turns an error of the system into a RunFailed that names what failed and the way out: the file, if known; the
    store, if only a file system can be the cause; else the error."""
    try:
        yield
    except BrokenPipeError:
        raise  # of stdout, not of the store
    except OSError as error:
        of_files = error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError))
        what = error.filename or (store if of_files else type(error).__name__)
        raise RunFailed(f"{what}: {explain(error)}; {AGAIN}") from error


def _data_line(plan: Plan) -> str:
    """What was read, and from where."""
    about, name = plan.about_data, str(plan.options.data)
    parts = ((about["train"], "training"), (about["val"], "validation"), (about["test"], "test"))
    images = ", ".join(f"{count:,} {part}" for count, part in parts)
    where = "built in" if name == "digits" else f"in {cache_of(plan.context.out)}/torchvision" if name in DATA else ""
    size = f"{about['channels']} × {about['height']} × {about['width']}"
    read = f"data: {name}{where and f' ({where})'}, {images} images of {size}"
    return f"{read}, {plural(about['classes'], 'class', 'classes')}"


def _start_record(plan: Plan, searcher: SearchDriver | None) -> str:
    """Write study.json before anything trains, and print what is to do; returns the time of the start."""
    store, todo = plan.context.store, missing(plan)
    counts = f"{len(plan.trials) - len(todo)} done, {len(todo)} to train"
    if searcher:
        line = f"a search of {searcher.total} configurations, "
        line += (
            f"each on {n} seeds, {searcher.to_go} trials" if (n := searcher.search.seeds) > 1 else str(searcher.to_go)
        )
        line += " to go"
        if plan.seeds:
            line += f"; then {searcher.search.winners} winners beside {len(plan.trials)} trials of the arms, {counts}"
    else:
        line = f"{len(plan.trials)} trials, {counts}"
    say(f"{plan.study.name}: {line}")
    for caveat in plan.about_data.get("caveats", ()):
        say(f"note: {caveat}")
    record = study_record(plan)
    for remark in [*remarks(record, plan.study.arms), *changes(read_declaration(store, record), record)]:
        say(f"note: {remark}")
    write_study(store, record)
    if record.get("pictures") is False and remove_pictures(store):
        store.remove(PAGE)  # it shows them
    if searcher:

        def write_plan() -> None:
            """So that a page can be built of a search that was killed."""
            every = replace(plan, trials=[*searcher.configurations.in_order(), *plan.trials])
            with suppress(LostLease):  # the run stops at its next step
                write_study(store, {**study_record(every), **search_record(searcher, {})})

        searcher.on_new_trials = write_plan
    write_reference_predictions(store, {"labels": plan.context.labels["test"]})
    return str(record["started"])


def _finish(
    plan: Plan,
    stop: Stop,
    searcher: SearchDriver | None,
    record: dict[str, Any],
    trained: bool,
    stein: Mapping[str, Any] | None,
    winners: Mapping[str, Config],
    damaged: set[str],
) -> int:
    """Write what came out, print it, and return the exit code."""
    store = plan.context.store
    if gone := stop.moved():
        raise RunFailed(f"{store}: {gone}")
    if searcher:
        record |= search_record(searcher, winners)
        searcher.copy_journal()
    if stein:
        record["stein"] = {**stein, **stein_interval(plan, stein)}
    teachers = {i: load_teacher(plan.context, i, job.config) for i, job in plan.context.jobs.items()}
    rows = read_trials(store).dropna(subset=["teacher_test_acc"])
    accuracies = dict(zip(rows["teacher_id"], rows["teacher_test_acc"], strict=True))  # of one that is lost
    accuracies |= {i: found[1]["metrics"]["test_acc"] for i, found in teachers.items() if found}
    record["teacher"]["test_acc"] = {key: accuracies.get(i) for key, i in record["teacher"]["ids"].items()}
    for entry in record["teacher"].get("of_arms", ()):
        entry |= {"test_acc": accuracies.get(entry["id"]), "each": [accuracies.get(i) for i in entry["members"]]}
    of_arms = {i: i for i in plan.context.jobs if i not in plan.teacher_ids.values()}
    record["teacher"] |= _teachers_effort(
        {**record["teacher"]["ids"], **of_arms},
        {i: found[1] for i, found in teachers.items() if found and not plan.context.jobs[i].members},
    )
    record.setdefault("ended", now().isoformat())
    check_held(store)
    record["looks"][-1]["differences"] = differences(store, record)
    write_study(store, record)
    compact(store, record, _predictions(plan, teachers))
    keep_pictures(plan, store, record.get("pictures") is not False)
    tell_lost_networks(plan)
    if not trained:
        say("nothing to train: every trial of this plan is done")

    def looks_and_winners() -> None:
        print_looks(record)
        if winners:
            print_winners(record)

    code = report(store, also=looks_and_winners)
    if new := set((store / "damaged").names()) - damaged:
        say(f"{len(new)} damaged files are in {store}/damaged; the page lists them")
    if stop.signalled:
        say(f"interrupted by {stop.asked_by}; finished trials are kept, and the same command continues")
        return 130
    if stop.halted:
        raise RunFailed(f"{store}: {stop.halted}; {AGAIN}")
    gaps = missing(plan)
    if not stop.over_budget or not (gaps or (searcher is not None and searcher.to_go > 0)):
        return code
    names = [f"{trial.arm} seed {trial.seed}" for trial in gaps if trial.arm != ARM]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    say(f"out of time; missing: {', '.join(names[:8])}{more}. The same command continues")
    return 1 if code == 1 else 3


def _teachers_effort(ids: Mapping[str, str], stored: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Seconds of training steps and joules of each teacher that was trained here, as far as its record tells them."""
    metrics = {key: stored[identity].get("metrics") or {} for key, identity in ids.items() if identity in stored}
    found: dict[str, Any] = {}
    for name in ("train_seconds", "energy_joules"):
        known = {key: of[name] for key, of in metrics.items() if isinstance(of.get(name), (int, float))}
        found |= {name: known} if known else {}
    sources = sorted({str(of["energy_source"]) for of in metrics.values() if of.get("energy_source")})
    return found | ({"energy_source": " and ".join(sources)} if sources else {})


def _predictions(plan: Plan, teachers: Mapping[str, tuple[Teacher, Any] | None]) -> dict[str, np.ndarray]:
    """The teachers' predictions of the test images, of those that have none yet. Stored ones stay, and belong to the
    stored trials: a teacher that was lost and trained again may be another network."""
    (stored,) = read_tables(plan.context.store, [], "predictions")
    logits = {i: teacher[0].test_logits for i, teacher in teachers.items() if teacher}
    found = {i: of.argmax(1).numpy() for i, of in logits.items() if of is not None}
    before = reference_rows(stored, found)
    for identity, predicted in found.items():
        if before.get(identity, predicted.tolist()) != predicted.tolist():
            say(
                f"teacher {identity[:12]} was trained again and is another network than that of the stored trials, as "
                "on another type of processor: trials that train from now on have another teacher than those before"
            )
    return {identity: predicted for identity, predicted in found.items() if identity not in before}
