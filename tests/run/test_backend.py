"""Training in this process, and the choice of a backend."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scl.plan.context import RunContext
from scl.plan.plan import Plan, missing, student_jobs
from scl.run import backend as module
from scl.run.backend import InlineBackend, Work, open_backend
from scl.run.live import Live
from scl.run.stopping import Stop
from scl.run.trackers.tracker import Tracker
from scl.store.files import Folder
from scl.store.tables import read_trials
from scl.study.identity import Trial
from scl.study.options import Options
from scl.train.types import EpochDone, Event, TrialEnded
from tests.support.plans import put_teachers, tiny_plan


class Watched(Tracker):
    """Notes what reaches the tracker: the arm (None: a teacher), and the epoch or the state."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str | None, object]] = []

    def epoch(self, columns: Mapping[str, Any] | None, row: Mapping[str, Any]) -> None:
        self.seen.append((columns and columns["arm"], row["epoch"]))

    def ended(self, columns: Mapping[str, Any] | None, metrics: Mapping[str, Any]) -> None:
        self.seen.append((columns and columns["arm"], metrics["state"]))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = tiny_plan(tmp_path, "--seeds", "1")
    put_teachers(plan)
    return plan


def work_of(plan: Plan, *cohorts: Sequence[Trial]) -> Work:
    trials = [trial for cohort in cohorts for trial in cohort]
    ids = [[trial.trial_id for trial in cohort] for cohort in cohorts]
    return Work("students", ids, {t.trial_id: t.arm for t in trials}, student_jobs(plan, trials))


def one_epoch(context: RunContext, cohort: list[str], stop: Stop, prune: Any = None) -> Iterator[Event]:
    """Instead of training: an epoch and an end of each trial; pruned if it may not go on."""
    for trial_id in cohort:
        yield EpochDone(trial_id, {"epoch": 1, "val_acc": 0.5})
        state = "pruned" if prune and prune(trial_id, 1, {}) else "completed"
        yield TrialEnded(trial_id, {"state": state, "error": None}, [])


def test_cohorts_train_in_order_and_their_events_reach_the_tracker_and_the_log(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contexts = []

    def execute(context: RunContext, cohort: list[str], stop: Stop) -> Iterator[Event]:
        contexts.append((context, cohort))
        yield from one_epoch(context, cohort, stop)

    monkeypatch.setattr(module, "execute", execute)
    baseline, kd, at = plan.trials
    tracker = Watched()
    InlineBackend(Stop(), tracker, Live(None)).train(plan, work := work_of(plan, [kd, at], [baseline]))
    assert [cohort for _, cohort in contexts] == work.cohorts
    assert all(context.jobs == {**plan.context.jobs, **work.jobs} for context, _ in contexts)
    assert tracker.seen == [(arm, what) for arm in ("kd", "at", "baseline") for what in (1, "completed")]
    log = capsys.readouterr().err.splitlines()
    assert log[0] == "students: 3 to train in 2 cohorts"
    assert [line.split(":")[0] for line in log[1:]] == ["[1/3] kd", "[2/3] at", "[3/3] baseline"]


def test_a_teachers_events_have_no_columns(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "execute", one_epoch)
    (identity,) = plan.context.jobs
    tracker = Watched()
    InlineBackend(Stop(), tracker, Live(None)).train(plan, Work("teacher", [[identity]], {identity: "teacher"}))
    assert tracker.seen == [(None, 1), (None, "completed")]


def test_no_cohort_starts_after_a_stop(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()

    def execute(context: RunContext, cohort: list[str], stop: Stop) -> Iterator[Event]:
        stop.halt("enough")
        yield from one_epoch(context, cohort, stop)

    monkeypatch.setattr(module, "execute", execute)
    tracker = Watched()
    InlineBackend(stop, tracker, Live(None)).train(plan, work_of(plan, *([trial] for trial in plan.trials)))
    assert tracker.seen == [("baseline", 1), ("baseline", "completed")]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full, so free some space"),
        (errno.EDQUOT, "your quota on this disk is used up, so free some space"),
        (errno.EROFS, "it is mounted read-only, so make it writable"),
        (errno.EACCES, "you have no permission, so change its mode or ask its owner"),
    ],
)
def test_a_store_that_cannot_be_written_halts_the_run(
    number: int, reason: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the run and no trial: a real training, and a disk that fails at its first file."""

    def write(folder: Folder, name: str, content: bytes, durable: bool = False) -> None:
        raise OSError(number, "an error")

    stop, tracker = Stop(), Watched()
    work = work_of(plan, plan.trials[:1], plan.trials[1:])
    monkeypatch.setattr(Folder, "write", write)
    InlineBackend(stop, tracker, Live(None)).train(plan, work)
    assert stop.halted == reason
    assert missing(plan) == plan.trials
    assert not any(isinstance(what, str) for _, what in tracker.seen)  # no trial has ended, failed ones included


def test_another_error_of_the_system_is_not_the_stores(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(context: RunContext, cohort: list[str], stop: Stop) -> Iterator[Event]:
        raise ConnectionResetError(errno.ECONNRESET, "reset")
        yield

    monkeypatch.setattr(module, "execute", execute)
    stop = Stop()
    with pytest.raises(ConnectionResetError):
        InlineBackend(stop, Tracker(), Live(None)).train(plan, work_of(plan, plan.trials))
    assert stop.halted is None


def test_an_inline_run_stores_what_it_trains(plan: Plan) -> None:
    backend = InlineBackend(Stop(), Tracker(), Live(None))
    assert backend.nodes() == ()
    backend.train(plan, work_of(plan, plan.trials[:2]))
    rows = read_trials(plan.context.store)
    assert set(rows["trial_id"]) == {trial.trial_id for trial in plan.trials[:2]}
    assert set(rows["state"]) == {"completed"}
    assert [trial.arm for trial in missing(plan)] == ["at"]


class Searcher:
    """A search of the plan's trials, two at a time, that prunes the arm kd and notes what it hears."""

    batch = 2

    def __init__(self, plan: Plan) -> None:
        self.left = list(plan.trials)
        self.arms = {t.trial_id: t.arm for t in plan.trials}
        self.numbers = {t.trial_id: i for i, t in enumerate(plan.trials)}
        self.to_go = len(self.left)
        self.seen: list[tuple[object, ...]] = []

    def suggest(self, size: int) -> list[Trial]:
        batch, self.left = self.left[:size], self.left[size:]
        return batch

    def label(self, trial: Trial) -> str:
        return f"search · {trial.arm}"

    def epoch(self, trial_id: str, row: dict[str, float]) -> bool:
        self.seen.append((self.arms[trial_id], row["epoch"], row["val_acc"]))
        return self.arms[trial_id] == "kd"

    def ended(self, trial_id: str, state: str) -> None:
        self.seen.append((self.arms[trial_id], state))

    def cohort_ended(self, trial_ids: list[str]) -> None:
        self.seen.append(tuple(self.arms[i] for i in trial_ids))


def test_a_search_trains_what_is_suggested_and_prunes(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "execute", one_epoch)
    searcher: Any = Searcher(plan)
    InlineBackend(Stop(), Tracker(), Live(None)).search(plan, searcher)
    assert searcher.seen == [
        ("baseline", 1, 0.5), ("baseline", "completed"), ("kd", 1, 0.5), ("kd", "pruned"), ("baseline", "kd"),
        ("at", 1, 0.5), ("at", "completed"), ("at",),
    ]  # fmt: skip


def test_a_search_that_is_stopped_leaves_its_cohort_unfinished(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run goes on with trials that were cut off; they have not failed."""
    stop = Stop()

    def execute(context: RunContext, cohort: list[str], stop: Stop, prune: Any) -> Iterator[Event]:
        stop.halt("enough")
        yield EpochDone(cohort[0], {"epoch": 1, "val_acc": 0.5})

    monkeypatch.setattr(module, "execute", execute)
    searcher: Any = Searcher(plan)
    InlineBackend(stop, Tracker(), Live(None)).search(plan, searcher)
    assert searcher.seen == [("baseline", 1, 0.5)]
    assert [trial.arm for trial in searcher.left] == ["at"]


def test_a_full_disk_halts_a_search(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(context: RunContext, cohort: list[str], stop: Stop, prune: Any) -> Iterator[Event]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    monkeypatch.setattr(module, "execute", execute)
    stop, searcher = Stop(), Searcher(plan)
    InlineBackend(stop, Tracker(), Live(None)).search(plan, searcher)  # type: ignore[arg-type]
    assert stop.halted == "the disk is full, so free some space"
    assert searcher.seen == []


def test_ray_is_imported_for_a_run_that_needs_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []

    class RayBackend:
        def __init__(self, *given: Any) -> None:
            log.append(given)

        def __enter__(self) -> RayBackend:
            log.append("entered")
            return self

        def __exit__(self, *_: object) -> None:
            log.append("left")

    def imported(name: str) -> Any:
        log.append(name)
        return SimpleNamespace(RayBackend=RayBackend)

    monkeypatch.setattr(module, "import_module", imported)
    stop, tracker, live = Stop(), Tracker(), Live(None)
    with open_backend(Options(inline=True), stop, tracker, live) as found:
        assert found == InlineBackend(stop, tracker, live)
    assert log == []
    options = Options()
    with open_backend(options, stop, tracker, live) as found:
        assert isinstance(found, RayBackend)
    assert log == [
        "scl.run.ray.backend", (options, stop, tracker, live, InlineBackend(stop, tracker, live)), "entered", "left",
    ]  # fmt: skip
