"""What a worker reports to Tune, without Ray: events in batches, and none left behind."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
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


def train(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    def execute(*_: Any) -> Iterator[Event]:
        yield from EVENTS
        if error:
            raise error

    monkeypatch.setattr(worker, "execute", execute)
    context: Any = SimpleNamespace(jobs={"a": SimpleNamespace(columns={"arm": "kd"}, stored=None)})
    worker.train({"cohort": ["a"]}, context)


def states(reports: list[dict[str, Any]]) -> list[Any]:
    events = [event for report in reports for event in report.get("events", ())]
    return [event["row"].get("state", event["row"].get("epoch")) for event in events]


def test_events_are_reported_in_batches(monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(worker, "REPORT_SECONDS", 1000.0)
    train(monkeypatch)
    assert states(reports) == [1, 2, "completed"]
    assert len(reports) == 2  # the first at once, the others at the end
    assert reports[1]["events"][1] == {
        "job": "a",
        "columns": {"arm": "kd"},
        "row": {"state": "completed", "error": None},
    }


def test_events_are_reported_before_an_error(monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]) -> None:
    monkeypatch.setattr(worker, "REPORT_SECONDS", 1000.0)
    with pytest.raises(ConnectionError, match="lost"):
        train(monkeypatch, ConnectionError("lost"))
    assert states(reports) == [1, 2, "completed"]
    assert "death" not in reports[-1]


def test_an_error_of_the_training_is_reported_as_text(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(worker, "REPORT_SECONDS", 1000.0)
    train(monkeypatch, RuntimeError("broken"))
    assert states(reports) == [1, 2, "completed"]
    kind, reason = reports[-1]["death"]
    assert (kind, reason.strip().splitlines()[-1]) == ("RAISED", "RuntimeError: broken")


def test_a_store_that_cannot_be_written_to_halts_the_run(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(worker, "REPORT_SECONDS", 1000.0)
    train(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    assert states(reports) == [1, 2, "completed"]
    assert "disk is full" in reports[-1]["halt"]


def test_other_system_errors_do_not_halt_the_run(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    with pytest.raises(ConnectionResetError):
        train(monkeypatch, ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    assert states(reports) == [1, 2, "completed"]
    assert not any("halt" in report for report in reports)


class Remote:
    """The handle of an actor that lives in this process."""

    def __init__(self, actor: object) -> None:
        self.actor = actor

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self.actor, name))


def test_a_search_hands_jobs_over_and_stops_them(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr("ray.get", lambda value: value)
    mailbox = worker.JobMailbox()
    job: Any = SimpleNamespace(columns=None, stored=None)
    mailbox.put({"a": job, "b": job})
    mailbox.stop("a")
    answers = []

    @dataclass
    class Context:
        jobs: dict[str, Any]

    def execute(context: Any, cohort: Any, stop: Any, prune: Any) -> Iterator[Event]:
        assert set(context.jobs) == {"teacher", "a"}
        yield EVENTS[0]
        yield EVENTS[1]
        answers.extend(prune(name, 2, {}) for name in ("a", "b"))

    monkeypatch.setattr(worker, "execute", execute)
    worker.train({"cohort": ["a"]}, Context({"teacher": job}), Remote(mailbox))  # type: ignore[arg-type]
    assert answers == [True, False]
    assert [len(report["events"]) for report in reports] == [1, 1]  # each epoch at once
