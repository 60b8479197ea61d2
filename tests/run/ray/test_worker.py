"""What a worker reports to Tune, without Ray: events in batches, and none left behind."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from scl.run.ray import worker
from scl.train.types import EpochDone, Event, TrialEnded

EVENTS: list[Event] = [
    EpochDone("a", {"epoch": 1, "val_acc": 0.5}),
    EpochDone("a", {"epoch": 2, "val_acc": 0.6}),
    TrialEnded("a", {"state": "completed", "error": None}, []),
]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.tune.report", made.append)
    return made


class Box:
    """The handle of a mailbox in this process: hands over these cohorts, then ends the slot."""

    def __init__(self, *cohorts: list[str], jobs: Any = None) -> None:
        letters = [pickle.dumps(worker.Handed(cohort, f"cohort {cohort[0]}", jobs or {})) for cohort in cohorts]
        given = iter([*letters, None])
        self.stops: set[str] = set()
        self.take = SimpleNamespace(remote=lambda slot: next(given))
        self.stopped = SimpleNamespace(remote=self.stops.__contains__)


class Context:
    def __init__(self, **jobs: Any) -> None:
        self.jobs = jobs


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No Ray: references are values, and contexts are played. Returns the titles of this process."""
    titles: list[str] = []
    monkeypatch.setattr("ray.get", lambda value: value)
    monkeypatch.setattr(worker, "replace", lambda context, jobs: Context(**jobs))
    monkeypatch.setattr(worker, "show_title", titles.append)
    return titles


JOB = SimpleNamespace(columns={"arm": "kd"}, stored=None)


def train(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    def execute(*_: Any) -> Iterator[Event]:
        yield from EVENTS
        if error:
            raise error

    monkeypatch.setattr(worker, "execute", execute)
    context: Any = Context(a=JOB)
    worker.train({"slot": "s", "name": ""}, context, Box(["a"]), 1000.0, False)


def states(reports: list[dict[str, Any]]) -> list[Any]:
    events = [event for report in reports for event in report.get("events", ())]
    return [event["row"].get("state", event["row"].get("epoch")) for event in events]


def test_events_are_reported_in_batches(monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]) -> None:
    train(monkeypatch)
    assert states(reports) == [1, 2, "completed"]
    assert len(reports) == 2  # the first at once, the others at the end
    assert [report.get("free") for report in reports] == [None, True]
    assert reports[1]["events"][1] == {
        "job": "a",
        "columns": {"arm": "kd"},
        "row": {"state": "completed", "error": None},
    }


def test_events_are_reported_before_an_error(monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]) -> None:
    with pytest.raises(ConnectionError, match="lost"):
        train(monkeypatch, ConnectionError("lost"))
    assert states(reports) == [1, 2, "completed"]
    assert "death" not in reports[-1]


def test_an_error_of_the_training_is_reported_as_text(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    train(monkeypatch, RuntimeError("broken"))
    assert states(reports) == [1, 2, "completed"]
    kind, reason = reports[-1]["death"]
    assert (kind, reason.strip().splitlines()[-1]) == ("RAISED", "RuntimeError: broken")


def test_a_store_that_cannot_be_written_to_halts_the_run(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    train(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    assert states(reports) == [1, 2, "completed"]
    assert "disk is full" in reports[1]["halt"]


def test_other_system_errors_do_not_halt_the_run(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    with pytest.raises(ConnectionResetError):
        train(monkeypatch, ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    assert states(reports) == [1, 2, "completed"]
    assert not any("halt" in report for report in reports)


def test_a_worker_trains_cohort_after_cohort_until_it_is_given_none(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]], here: list[str]
) -> None:
    trained: list[tuple[list[str], set[str]]] = []

    def execute(context: Any, cohort: list[str], *_: Any) -> Iterator[Event]:
        trained.append((cohort, set(context.jobs)))
        if cohort == ["b"]:
            raise ValueError("wrong")
        yield TrialEnded(cohort[0], {"state": "completed", "error": None}, [])

    monkeypatch.setattr(worker, "execute", execute)
    config: dict[str, Any] = {"slot": "s", "name": "cohort a"}
    context: Any = Context(teacher=JOB)
    worker.train(config, context, Box(["a"], ["b"], ["c"], jobs={"a": JOB, "c": JOB}), 1000.0, False)
    assert trained == [(name, {"teacher", "a", "c"}) for name in (["a"], ["b"], ["c"])]
    assert [report["free"] for report in reports if "free" in report] == [True] * 3
    assert states(reports) == ["completed"] * 2
    assert [report["death"][0] for report in reports if "death" in report] == ["RAISED"]  # and the worker goes on
    assert here == ["cohort a", "cohort b", "cohort c"]
    assert config["name"] == "cohort c"


def test_a_search_reports_each_epoch_and_asks_which_trials_should_stop(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    answers = []

    def execute(context: Any, cohort: Any, stop: Any, prune: Any, crowded: Any) -> Iterator[Event]:
        yield EVENTS[0]
        yield EVENTS[1]
        answers.extend(prune(name, 2, {}) for name in ("a", "b"))

    monkeypatch.setattr(worker, "execute", execute)
    box, context = Box(["a"], jobs={"a": JOB, "b": JOB}), Context(teacher=JOB)
    box.stops.add("a")
    worker.train({"slot": "s", "name": ""}, context, box, 1000.0, True)  # type: ignore[arg-type]
    assert answers == [True, False]
    assert [len(report["events"]) for report in reports] == [1, 1, 0]  # each epoch at once


def test_what_did_not_fit_side_by_side_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    def execute(context: Any, cohort: Any, stop: Any, prune: Any, crowded: Any) -> Iterator[Event]:
        crowded(["a", "b"])
        yield EVENTS[0]

    monkeypatch.setattr(worker, "execute", execute)
    context: Any = Context(a=JOB, b=JOB)
    worker.train({"slot": "s", "name": ""}, context, Box(["a", "b"]), 0.0, False)
    assert [report["crowded"] for report in reports if "crowded" in report] == [(["a", "b"],)]
