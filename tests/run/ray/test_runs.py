"""Tune runs as the driver sees them, with a Tune that is played by the test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scl.models.networks import build_student
from scl.plan.context import data_of
from scl.plan.plan import Plan, student_jobs
from scl.plan.teachers import evaluate_and_save
from scl.run.backend import Work
from scl.run.live import Live
from scl.run.ray import rpc, runs
from scl.run.ray.folding import Folding
from scl.run.ray.runs import Runs
from scl.run.ray.tune import DriverCalls, TuneRun
from scl.run.stopping import Stop
from scl.run.trackers.tracker import Tracker
from scl.store.tables import read_trials
from tests.support.studies import SMALL, planned

FLAGS = ["--limit", "60", "--teacher-epochs", "1", "--epochs", "1"]


class Tune:
    """Plays Tune: keeps what it is asked for, reports `messages`, returns `failed`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.failed: list[tuple[list[str], str]] = []

    def __call__(self, run: TuneRun, context: Any, driver: DriverCalls) -> Any:
        self.run, self.context, self.driver = run, context, driver
        driver.events(self.messages)
        for jobs, reason in self.failed:
            driver.failed(jobs, reason)


class Ended(Tracker):
    """Records the ends of trials."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[Any] = []

    def ended(self, columns: Any, metrics: Any) -> None:
        self.ends.append((columns["arm"], metrics["state"]))


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Tune:
    made = Tune()
    monkeypatch.setattr(runs, "run_tune", made)
    monkeypatch.setattr(runs, "cluster_slots", lambda options, device, nodes, stop: 4)
    monkeypatch.setattr(runs, "has_other_hosts", lambda: False)
    return made


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    made = planned(SMALL, tmp_path, *FLAGS)
    teacher = build_student(made.teacher, data_of(made.context), 0).state_dict()
    evaluate_and_save(made.context, made.teacher, dict(teacher), next(iter(made.teacher_ids.values())))
    return made


def work_of(plan: Plan) -> Work:
    ids = [trial.trial_id for trial in plan.trials]
    return Work("students", [ids[:3], ids[3:]], {i: i[:6] for i in ids}, student_jobs(plan, plan.trials))


def test_cohorts_are_made_again_if_the_cluster_has_other_slots(plan: Plan, tune: Tune) -> None:
    work = work_of(plan)
    Runs(Stop(), Tracker(), Live(None), (), Folding()).train(plan, work)
    assert (tune.run.title, tune.run.slots, tune.run.cpus, tune.run.gpus) == ("students", 4, 1, 0.0)
    assert len(tune.run.cohorts) == 4
    assert sorted(i for cohort in tune.run.cohorts for i in cohort) == sorted(work.labels)
    assert set(work.labels) <= set(tune.context.jobs)


def test_a_given_size_keeps_the_cohorts(tmp_path: Path, plan: Plan, tune: Tune) -> None:
    sized = planned(SMALL, tmp_path, *FLAGS, "--cohort-size", "3")
    work = work_of(plan)
    Runs(Stop(), Tracker(), Live(None), (), Folding()).train(sized, work)
    assert tune.run.cohorts == work.cohorts


def test_events_reach_the_tracker_and_a_lost_cohort_has_failed(
    plan: Plan, tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    work, tracker = work_of(plan), Ended()
    first, second = plan.trials[:2]
    row = {"state": "completed", "error": None}
    columns = work.jobs[first.trial_id].columns
    tune.messages = [{"job": first.trial_id, "columns": columns, "row": row}]
    tune.failed = [([second.trial_id], "the worker died 4 times")]
    Runs(Stop(), tracker, Live(None), (), Folding()).train(plan, work)
    assert tracker.ends == [(first.arm, "completed"), (second.arm, "failed")]
    rows = read_trials(plan.context.store)
    assert rows[["trial_id", "state", "error"]].values.tolist() == [
        [second.trial_id, "failed", "the worker died 4 times"]
    ]
    assert "the worker died 4 times" in capsys.readouterr().err


def test_other_hosts_reach_the_folder_through_the_driver(
    plan: Plan, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    functions: dict[str, Any] = {}

    def rpc_to_driver(given: dict[str, Any]) -> Any:
        functions.update(given)
        return nullcontext("the client")

    monkeypatch.setattr(runs, "has_other_hosts", lambda: True)
    monkeypatch.setattr(rpc, "rpc_to_driver", rpc_to_driver)
    Runs(Stop(), Tracker(), Live(None), (), Folding()).train(plan, work_of(plan))
    assert isinstance(tune.context.out, rpc.DriverFolder)
    assert (tune.context.out.client, tune.context.out.path) == ("the client", plan.context.out.path)
    assert set(functions) == {"events", "notice", "stop", "halt", "named", "failed", "folder", "images"}


def test_a_search_hands_over_the_jobs_of_its_suggestions(plan: Plan, tune: Tune) -> None:
    batch = plan.trials[:2]
    searcher: Any = SimpleNamespace(
        to_go=2,
        batch=2,
        suggest=lambda size: batch[:size],
        numbers={trial.trial_id: i for i, trial in enumerate(batch)},
        label=lambda trial: trial.arm,
        epoch=None,
        ended=None,
        cohort_ended=None,
    )
    stop = Stop()
    Runs(stop, Tracker(), Live(None), (), Folding()).search(plan, searcher)
    assert (tune.run.title, tune.run.batch, tune.run.cohorts) == ("search", 2, ())
    assert tune.driver.suggest is not None
    suggested = tune.driver.suggest(2)
    assert suggested is not None
    assert {i: (job.config, job.seed) for i, job in suggested.items()} == {
        t.trial_id: (t.config, t.seed) for t in batch
    }
    batch.clear()
    searcher.waits = True
    assert tune.driver.suggest(2) is None
    stop.halt("the disk is full")
    assert tune.driver.suggest(2) == {}
